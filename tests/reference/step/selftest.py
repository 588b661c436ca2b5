#!/usr/bin/env python3
"""Tests the reference itself, without any dump of the engine's.

    python selftest.py           # a few minutes on one core
    python selftest.py --fast    # one minute: classification only

Dumps made by PyTorch agree, also when every function is replaced by its definition; the networks equal the benchmark
peers'; the optimisers equal torch.optim; matching equals a plain loop; every planted error is found.
"""

import argparse
import json
import math
import sys
import time

import torch

import by_hand
import cells
import compare
import cross_check
import detection
import generate
import layers
import networks
import steps
from planted import PLANTS, patched
from steps import Task, Variant

FAST = "cifar-cls"


def split(name):
    case, _, dtype = name.rpartition("-")
    return case, dtype


def honest(name, by_definition):
    """A dump of PyTorch's making must agree."""
    changes = [(m, "F", by_hand) for m in (layers, cells, networks, detection, steps)]
    with patched(*(changes if by_definition else [])):
        metadata, tensors = generate.dump(*split(name))
    rows, _ = compare.check(metadata, tensors)
    bad = [g for g, e in compare.summary(rows).items() if not e["agrees"]]
    worst = max(r.error for r in rows)
    return not bad, f"largest error {worst:.1e}" if not bad else f"does not agree: {bad}"


def found(plant):
    """A planted error must be reported in its group."""
    with patched(*plant.patch):
        metadata, tensors = generate.dump(*split(plant.case), rule=lambda s: s | plant.rule)
    if plant.edit:
        plant.edit(metadata, tensors)
    rows, _ = compare.check(metadata, tensors)
    groups = {g: e for g, e in compare.summary(rows).items() if not e["agrees"]}
    if plant.group in groups:
        return True, f"found: {plant.group}, worst {groups[plant.group]['worst_error']:.1e}"
    return False, f"NOT FOUND in {plant.group}; only in {list(groups)}"


def facts():
    """Single facts known from the description of the networks."""
    x = torch.arange(8.0).reshape(1, 8, 1, 1)
    yield "channel shuffle", layers.shuffle(x, 4).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    _, net, _ = generate.release(7)
    maps = [(80, 128), (40, 64), (20, 32), (10, 16), (5, 8), (3, 6), (1, 4)]
    p = detection.priors(net, maps, 320, 512)
    yield "81,964 priors", len(p) == 81964
    yield "first centre", p[0, :2].tolist() == [0.5 * 4 / 512, 0.5 * 4 / 320]
    yield "first size", p[0, 2:].tolist() == [10 / 512, 10 / 320]
    yield "last centre", float(p[-1, 0]) == 1.75
    w = cells.edge_weights(torch.randn(14, dtype=torch.float64))
    yield "betas sum to one a node", math.isclose(float(w[2:5].sum()), 1.0)
    ramp = torch.arange(1.0, 17.0).reshape(1, 1, 4, 4)
    store = layers.Store({"conv_1.weight": torch.ones(1, 1, 1, 1), "conv_2.weight": torch.ones(1, 1, 1, 1)},
                         {f"bn.running_{k}": torch.ones(2) for k in ("mean", "var")},
                         {"eps": 1e-5, "momentum": 0.1})
    store.update = {}
    cells.factorized_reduce(layers.Scope(store), ramp, 2, False)
    mean = store.update["bn.running_mean"]
    # pixels (0,0) (0,2) (2,0) (2,2), and (1,1) (1,3) (3,1) (3,3)
    want = [0.9 + 0.1 * (1 + 3 + 9 + 11) / 4, 0.9 + 0.1 * (6 + 8 + 14 + 16) / 4]
    yield "factorized reduction's pixels", torch.allclose(mean, torch.tensor(want))


def optimisers():
    """Against torch.optim, one clipped step each from a given state."""
    metadata, tensors = generate.dump("cifar-cls", "f64")
    t = Task(metadata, tensors, Variant(torch.float64))
    rule = json.loads(metadata["step"])
    w, g, b = t.group("before.w"), t.group("weight.grad"), t.group("before.momentum")
    params = [v.clone().requires_grad_(True) for v in w.values()]
    sgd = torch.optim.SGD(params, **rule["weight"])
    for p, k in zip(params, w):
        p.grad = g[k].clone()
        if k in b:
            sgd.state[p]["momentum_buffer"] = b[k].clone()
    torch.nn.utils.clip_grad_norm_(params, rule["clip"])
    sgd.step()
    ours = steps.sgd(t, w, g, b)
    yield "SGD", all(torch.allclose(p, ours[f"w.{k}"], rtol=1e-13, atol=1e-15) for p, k in zip(params, w))
    a, g, r = t.group("before.alpha"), t.group("arch.grad"), rule["arch"]
    m, v = t.group("before.adam_m"), t.group("before.adam_v")
    params = [x.clone().requires_grad_(True) for x in a.values()]
    adam = torch.optim.Adam(params, lr=r["lr"], betas=(r["beta1"], r["beta2"]), eps=r["eps"],
                            weight_decay=r["weight_decay"])
    for p, k in zip(params, a):
        p.grad = g[k].clone()
        if k in m:
            adam.state[p] = {"step": torch.tensor(3.0), "exp_avg": m[k].clone(), "exp_avg_sq": v[k].clone()}
    adam.step()
    ours = steps.adam(t, a, g, m, v, t.group("before.adam_t"))
    yield "Adam", all(torch.allclose(p, ours[f"alpha.{k}"], rtol=1e-13, atol=1e-15) for p, k in zip(params, a))


def match_by_loops(prior, corner):
    """Owner of every prior, -1 for none, in plain loops over lists."""
    def clamp(b):
        return [min(1.0, max(0.0, v)) for v in b]

    def iou(a, b):
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        inter = max(0.0, w) * max(0.0, h)
        return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)

    boxes = [clamp([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) for x, y, w, h in prior.tolist()]
    truth = [clamp(c) for c in corner.tolist()]
    owner = []
    for b in boxes:
        best = max(range(len(truth)), key=lambda g: iou(b, truth[g]))
        owner.append(best if iou(b, truth[best]) >= 0.5 else -1)
    for g, c in enumerate(truth):
        owner[max(range(len(boxes)), key=lambda i: iou(boxes[i], c))] = g
    return owner


def matching():
    """Random boxes, some alike so that they compete for a prior, some past the border."""
    gen = torch.Generator().manual_seed(9)
    _, net, _ = generate.peer()
    prior = detection.priors(net, [(16, 8), (8, 4), (4, 2), (2, 1)], 128, 64)
    for trial in range(20):
        n = 1 + trial % 6
        lo = torch.rand(n, 2, generator=gen, dtype=torch.float64) * 0.9 - 0.05
        corner = torch.cat((lo, lo + 0.05 + 0.6 * torch.rand(n, 2, generator=gen, dtype=torch.float64)), 1)
        if n > 2:
            corner[1] = corner[0]
        classes = torch.arange(n)
        label, offset = detection.match(prior, corner, classes)
        owner = match_by_loops(prior, corner)
        if label.tolist() != [g + 1 for g in owner]:
            yield f"matching, trial {trial}", False
        # decoding the offsets gives the clamped box back
        for i in [i for i, g in enumerate(owner) if g >= 0][:3]:
            centre = prior[i, :2] + 0.1 * offset[i, :2] * prior[i, 2:]
            size = prior[i, 2:] * torch.exp(0.2 * offset[i, 2:])
            back = torch.cat((centre - size / 2, centre + size / 2))
            if not torch.allclose(back, corner[owner[i]].clamp(0, 1)):
                yield f"offsets, trial {trial}", False
    yield "matching and offsets, 20 trials", True


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--fast", action="store_true")
    p.add_argument("--skip-peers", action="store_true", help="without the comparison to benches/peers")
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    failed, began = [], time.time()

    def say(name, ok, note=""):
        print(f"{'ok  ' if ok else 'FAIL'} {name:58} {note}", flush=True)
        if not ok:
            failed.append(name)

    for group in (facts, optimisers, matching):
        for name, ok in group():
            say(name, ok)
    names = [f"{case}-{d}" for case in generate.CASES for d in ("f64", "f32")
             if case != "release-det-7" and not (d == "f32" and "order2" in case)]
    for name in [n for n in names if not a.fast or n.startswith(FAST)]:
        say(f"honest dump {name}", *honest(name, False))
    by_definition = ["cifar-cls-f64", "cifar-cls-f32", "release-det-f64", "release-seg-f64",
                     "peer-det-f64", "peer-seg-f64", "release-det-f32", "peer-seg-f32"]
    for name in [n for n in by_definition if not a.fast or n.startswith(FAST)]:
        say(f"by definition {name}", *honest(name, True))
    for plant in [q for q in PLANTS if not a.fast or q.case.startswith(FAST)]:
        say(f"planted: {plant.name}", *found(plant))
    if not a.fast and not a.skip_peers:
        for name, error in cross_check.run():
            say(f"benchmark peer {name}", error < 1e-12, f"{error:.1e}")
    print(f"{len(failed)} failed in {time.time() - began:.0f} s" if failed else
          f"all passed in {time.time() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
