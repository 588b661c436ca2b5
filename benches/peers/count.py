"""Counting: operators, launches, bytes and flops of a phase; multiply-adds and parameters of a network.

Works on the meta device, where nothing is computed, so that the full-size problem can be counted on a small
machine.
"""

import math

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from batches import make_batch
from measure import peak_memory
from networks import build
from searcher import Searcher


def tensors_in(tree):
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for t in tree:
            yield from tensors_in(t)
    elif isinstance(tree, dict):
        yield from tensors_in(list(tree.values()))


def conv_macs(x, weight, out, transposed):
    """Multiply-adds of a convolution, groups and kernel included, bias not."""
    taps = weight.shape[1] * math.prod(weight.shape[2:])
    return (x if transposed else out).numel() * taps


class OpCounter(TorchDispatchMode):
    """Counts dispatched operators that launch work, the bytes of their tensor arguments and results (each read
    or written once), and the multiply-adds of convolutions and matrix products."""

    SKIP = {"detach", "empty", "empty_like", "empty_strided", "_unsafe_view", "new_empty"}

    def __init__(self):
        super().__init__()
        self.calls, self.bytes, self.macs = {}, {}, {}

    @staticmethod
    def kind(weight, groups):
        if groups > 1 and weight.shape[1] == 1:
            return "depthwise"
        return "pointwise" if math.prod(weight.shape[2:]) == 1 else "full"

    def add_macs(self, kind, n):
        self.macs[kind] = self.macs.get(kind, 0) + n

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        rets = func._schema.returns
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in rets)
        name = func._schema.name.split("::")[-1]
        if view or name in self.SKIP:
            return out
        if name == "convolution":
            x, weight, transposed, groups = args[0], args[1], args[6], args[8]
            kind = self.kind(weight, groups)
            self.add_macs(kind, conv_macs(x, weight, out, transposed))
            name = f"convolution[{kind}]"
        elif name == "convolution_backward":
            grad, x, weight, transposed, groups, mask = (
                args[0], args[1], args[2], args[7], args[9], args[10])
            kind = self.kind(weight, groups)
            self.add_macs(kind, conv_macs(x, weight, grad, transposed) * (mask[0] + mask[1]))
            name = f"convolution_backward[{kind}]"
        elif name in ("addmm", "mm"):
            a = args[-2]
            self.add_macs("linear", out.numel() * a.shape[-1])
        self.calls[name] = self.calls.get(name, 0) + 1
        n = sum(t.numel() * t.element_size() for t in tensors_in([args, kwargs or {}, out]))
        self.bytes[name] = self.bytes.get(name, 0) + n
        return out


def network_macs(args):
    """Multiply-adds of one forward pass of one image, per task and for all outputs, and parameter counts."""
    with torch.device("meta"):
        model = build(args).eval()
        x = torch.empty(1, 3, args.height, args.width)
    arch = list(model.arch.parameters()) if hasattr(model, "arch") else []
    total = sum(p.numel() for p in model.parameters())
    n_arch = sum(p.numel() for p in arch)
    result = {"params": total - n_arch, "arch_params": n_arch, "macs": {}}
    tasks = model.tasks + (("both",) if len(model.tasks) > 1 else ())
    for task in tasks:
        counter = OpCounter()
        with torch.no_grad(), counter:
            model(x, task)
        by_kind = dict(sorted(counter.macs.items()))
        conv = sum(n for k, n in by_kind.items() if k != "linear")
        result["macs"][task] = {"conv": conv, **by_kind}
    return result


def run_macs(args):
    r = network_macs(args)
    print(f"params {r['params']:,} ({r['arch_params']:,} architecture parameters apart)")
    for task, m in r["macs"].items():
        parts = ", ".join(f"{k} {v:,}" for k, v in m.items() if k != "conv")
        print(f"{task:5} conv MACs {m['conv']:,} ({2e-9 * m['conv']:.3f} GFLOPs): {parts}")
    return r


def count_phase(s, task, batch, phase):
    pruned = phase == "alpha" and s.args.impl == "tuned"
    counter = OpCounter()
    with counter:
        loss = s.loss(task, batch)
        if pruned:
            loss.backward(inputs=s.arch)
        else:
            loss.backward()
    s.w_opt.zero_grad(set_to_none=True)
    s.a_opt.zero_grad(set_to_none=True)
    calls = sum(counter.calls.values())
    # a convolution backward is one operator but two kernels or more
    extra = 0 if pruned else sum(
        n for k, n in counter.calls.items() if k.startswith("convolution_backward"))
    return {"operators": calls, "launches_at_least": calls + extra,
            "gib_touched": sum(counter.bytes.values()) / 2**30,
            "gflop": {k: 2 * v / 1e9 for k, v in counter.macs.items()},
            "by_operator": {k: {"calls": counter.calls[k], "gib": counter.bytes[k] / 2**30}
                            for k in sorted(counter.calls, key=lambda k: -counter.bytes[k])}}


def run_count(args):
    """Forward and backward only."""
    device = torch.device(args.device)
    s = Searcher(args, device)
    result = {}
    for task in s.model.tasks:
        if args.tasks not in ("both", task):
            continue
        batch = make_batch(task, s.model, args, device, s.data_dtype)
        for phase in ("weight", "alpha"):
            if phase == "alpha" and args.impl == "usual":
                continue  # identical to the weight phase
            c = count_phase(s, task, batch, phase)
            result[f"{task}/{phase}"] = c
            print(f"{task} {phase} phase, forward+backward: {c['operators']} operators, "
                  f"at least {c['launches_at_least']} launches, "
                  f"{c['gib_touched']:.2f} GiB touched; GFLOP: " +
                  ", ".join(f"{k} {v:.2f}" for k, v in sorted(c["gflop"].items())))
            print(f"  {'operator':38} {'calls':>7} {'GiB':>9}")
            for k, v in list(c["by_operator"].items())[:args.top]:
                print(f"  {k:38} {v['calls']:7d} {v['gib']:9.3f}")
    if device.type != "meta":
        result["memory"] = peak_memory(device.type == "cuda")
    n_w = sum(p.numel() for p in s.weights)
    print(f"weights: {n_w} in {len(s.weights)} tensors")
    result["weights"] = n_w
    return result
