"""Holds a dump's tensors against the recomputation, tensor by tensor, in the max-norm."""

import statistics
from dataclasses import dataclass

import torch

from steps import Task, Variant, recompute

F64_LIMIT = 1e-9
F32_FACTOR = 2.0  # times PyTorch's own distance to f64
HARD = 8.0  # times the limit: no f32 tensor may be farther out
STRAY = 0.01  # share of a group's f32 tensors that may lie between limit and hard limit
ULP = 2.0 ** -24  # half the spacing of f32 numbers near 1
OPTIONAL = ("arch.target.", "weight.target.")
UPDATED = ("after_arch.", "after.w.", "after.momentum.")

# PyTorch's own f32, rounded in several orders and from inputs moved by their last bit, so that what a single tensor
# is held against is not a stroke of luck
F32_VARIANTS = tuple(Variant(torch.float32, onednn, turned) for onednn in (True, False)
                     for turned in (False, True))
F32_VARIANTS += tuple(Variant(torch.float32, seed % 2 == 0, seed % 4 < 2, seed) for seed in range(1, 9))


@dataclass
class Row:
    """One tensor's verdict.  `peer`: distance of PyTorch's f32 to f64, None when the dump is f64."""

    name: str
    error: float
    limit: float
    peer: float | None = None
    why: str = ""

    @property
    def over(self):
        return bool(self.why) or not self.error <= self.limit

    @property
    def fails(self):
        hard = self.limit if self.peer is None else HARD * self.limit
        return bool(self.why) or not self.error <= hard


def distance(a, b, scale):
    """Largest absolute difference over the scale; infinite when something is not finite."""
    d = (a.double() - b.double()).abs()
    worst = float(d.max()) if d.numel() else 0.0
    if worst != worst or worst == float("inf"):
        return float("inf")
    return worst / scale if scale > 0 else (0.0 if worst == 0 else float("inf"))


def scale_of(name, exact, cancels):
    """Max-norm of the exact tensor.  A gradient that cancels to rounding (a bias or a single channel's factor in front
    of a batch norm) is held against the gradient of its neighbour instead."""
    t = exact[name]
    prefix = "weight.grad."
    if name.startswith(prefix) and name[len(prefix):] in cancels:
        t = exact.get(prefix + cancels[name[len(prefix):]], t)
    return float(t.double().abs().max()) if t.numel() else 0.0


def compared(name):
    return name.startswith(("arch.", "after_arch.", "weight.", "after."))


def check(metadata, tensors):
    """Rows of all tensors, and facts about the dump."""
    exact, cancels, used = recompute(Task(metadata, tensors, Variant(torch.float64)), from_dump=True)
    peers = []
    if metadata["dtype"] == "f32":
        peers = [(v, recompute(Task(metadata, tensors, v), from_dump=True)[0]) for v in F32_VARIANTS]
    rows = []
    for name in sorted(set(exact) | {n for n in tensors if compared(n)}):
        if name not in exact:
            rows.append(Row(name, float("inf"), 0.0, why="not expected: the step does not reach it"))
            continue
        if name not in tensors:
            if not name.startswith(OPTIONAL):
                rows.append(Row(name, float("inf"), 0.0, why="missing"))
            continue
        rows.append(verdict(name, tensors[name], exact, peers, cancels))
    known = {n[len("before.w."):] for n in tensors if n.startswith("before.w.")}
    return rows, {"weights": len(known), "not read by this task": len(known - used)}


def verdict(name, found, exact, peers, cancels):
    want = exact[name]
    if found.numel() != want.numel() or (want.dim() > 1 and found.shape != want.shape):
        return Row(name, float("inf"), 0.0, why=f"shape {tuple(found.shape)}, expected {tuple(want.shape)}")
    found = found.reshape(want.shape)
    if not want.is_floating_point():
        different = int((found != want).sum())
        return Row(name, float(different), 0.0, why=f"{different} integers differ" if different else "")
    scale = scale_of(name, exact, cancels)
    error = distance(found, want, scale)
    if not peers:
        return Row(name, error, F64_LIMIT)
    updated = name.startswith(UPDATED)
    # an update starts from the dump's numbers: moved ones would only blunt the check
    fair = [p for v, p in peers if not (updated and v.jitter)]
    peer = max(distance(p[name], want, scale) for p in fair)
    return Row(name, error, max(F32_FACTOR * peer, (4 if updated else 8) * ULP), peer)


GROUPS = ("arch.output", "arch.loss", "arch.target", "arch.grad", "after_arch.alpha", "after_arch.adam",
          "weight.output", "weight.loss", "weight.target", "weight.grad_norm", "weight.grad",
          "after.w", "after.momentum", "after.buffer")


def group_of(name):
    return next(g for g in GROUPS if name.startswith(g))


def summary(rows):
    """Group -> counts, worst figures and whether it agrees."""
    out = {}
    for g in GROUPS:
        mine = [r for r in rows if group_of(r.name) == g]
        if not mine:
            continue
        worst = max(mine, key=lambda r: r.error / r.limit if r.limit > 0 else r.error)
        over, fails = sum(r.over for r in mine), sum(r.fails for r in mine)
        entry = {"agrees": not fails and over <= STRAY * len(mine), "tensors": len(mine),
                 "over_limit": over, "failing": fails, "largest_error": max(r.error for r in mine),
                 "worst": worst.name, "worst_error": worst.error, "worst_limit": worst.limit}
        ratios = [r.error / r.peer for r in mine if r.peer]
        if ratios:
            entry["largest_pytorch_f32"] = max(r.peer or 0.0 for r in mine)
            entry["median_ratio_to_pytorch"] = statistics.median(ratios)
            entry["agrees"] &= len(ratios) < 100 or entry["median_ratio_to_pytorch"] <= F32_FACTOR
        out[g] = entry
    return out


def agrees(rows):
    return all(e["agrees"] for e in summary(rows).values())
