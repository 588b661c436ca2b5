#!/usr/bin/env python3
"""Writes a step dump made by PyTorch alone, to try `check.py` on and to show the form of a dump.

    python generate.py release-det-f64 step.safetensors
    python generate.py --list
"""

import argparse
import json
import sys

import torch
from safetensors.torch import save_file

from layers import Store
from networks import forward
from steps import Task, Variant, recompute

TABLE = ((4, 10, 30), (8, 30, 60), (16, 60, 100), (32, 100, 160), (64, 160, 220), (128, 220, 280),
         (256, 280, 340))
GENOTYPE = ("Genotype(normal=[('sep_conv_3x3', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), "
            "('sep_conv_3x3', 1), ('sep_conv_5x5', 1), ('avg_pool_3x3', 3), ('sep_conv_3x3', 0), "
            "('dil_conv_5x5', 4)], normal_concat=range(2, 6), "
            "reduce=[('avg_pool_3x3', 0), ('skip_connect', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2), "
            "('max_pool_3x3', 0), ('dil_conv_3x3', 1), ('skip_connect', 1), ('dil_conv_5x5', 3)], "
            "reduce_concat=range(2, 6))")


def prior_table(first, count):
    return [{"step": s, "min": a, "max": b, "ratios": [2] if i == 6 else [2, 3]}
            for i, (s, a, b) in list(enumerate(TABLE))[first:first + count]]


def release(levels=5, height=128, width=128, batch=2, cells=4, **groups):
    net = {"channels": 16, "cells": cells, "reductions": [cells - 3, cells - 2, cells - 1], "k": 4, "levels": levels,
           "det_outputs": 4, "seg_outputs": 16, "priors": prior_table(0, levels),
           "groups": {g: {"alpha": g} for g in ("backbone", "det", "seg")} | groups}
    return "mtnas-release", net, (batch, height, width)


def peer():
    net = {"channels": 8, "cells": 4, "reductions": [1, 2, 3], "k": 2, "fpn": 16, "det_outputs": 5,
           "seg_outputs": 16, "priors": prior_table(1, 4), "groups": {"backbone": {"alpha": "backbone"}}}
    return "mtnas-peer", net, (3, 128, 64)


def cifar():
    net = {"channels": 8, "cells": 3, "reductions": [1, 2], "k": 4, "classes": 10, "stem": "cifar",
           "groups": {"backbone": {"alpha": "backbone"}}}
    return "classifier", net, (4, 16, 16)


def imagenet(stem):
    net = {"channels": 16, "cells": 4, "reductions": [1, 2], "k": 4, "classes": 7, "stem": stem,
           "groups": {"backbone": {"alpha": "backbone"}}}
    return "classifier", net, (3, 64, 64)


CASES = {
    "release-det": (release, "det", {}), "release-seg": (release, "seg", {}),
    "peer-det": (peer, "det", {}), "peer-seg": (peer, "seg", {}),
    "cifar-cls": (cifar, "cls", {}),
    "imagenet-cls": (lambda: imagenet("imagenet"), "cls", {}),
    "presearch-cls": (lambda: imagenet("release"), "cls", {}),
    "release-det-5-cells": (lambda: release(cells=5), "det", {}),
    "release-det-7": (lambda: release(7, 320, 512), "det", {}),
    "derived-branches-det": (lambda: release(det={"genotype": GENOTYPE}, seg={"genotype": GENOTYPE}),
                             "det", {}),
    "hand-branches-det": (lambda: release(det={"hand_crafted": True}, seg={"hand_crafted": True}),
                          "det", {}),
    "tied-backbone-seg": (lambda: release(backbone={"alpha": "seg"}, det={"hand_crafted": True}),
                          "seg", {}),
    "release-det-order2": (release, "det", {"order": 2}),
}


def rules(change):
    step = {"order": 1, "clip": 0.5, "seg_loss": "all-pixels",
            "weight": {"lr": 0.1, "momentum": 0.9, "weight_decay": 3e-4},
            "arch": {"lr": 6e-4, "beta1": 0.5, "beta2": 0.999, "eps": 1e-8, "weight_decay": 1e-3},
            "bn": {"eps": 1e-5, "momentum": 0.1}}
    return step | change


def batch(task, net, size, generator):
    """Random image and target; noise everywhere, so that no pool or mining decision is a tie."""
    n, h, w = size

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    found = {"image": torch.randn(n, 3, h, w, generator=generator, dtype=torch.float64)}
    if task == "cls":
        found["class"] = torch.randint(0, net["classes"], (n,), generator=generator).int()
    elif task == "seg":
        labels = torch.randint(0, net["seg_outputs"], (n, h, w), generator=generator)
        labels[uniform(n, h, w) < 0.05] = 255
        found["labels"] = labels.int()
    else:
        boxes = []
        for image in range(n - 1):  # the last image has no box
            for _ in range(4):
                w2, h2 = (float(v) for v in 6 + uniform(2) * torch.tensor([w / 2, h / 2]))
                x, y = float(uniform(1) * (w - w2 / 2)), float(uniform(1) * (h - h2 / 2))
                c = float(torch.randint(0, net["det_outputs"] - 1, (1,), generator=generator))
                boxes.append([image, c, x, y, x + w2, y + h2])
        found["boxes"] = torch.tensor(boxes, dtype=torch.float64)
    return found


def inputs(case, dtype, seed):
    """Metadata and all `input.*` and `before.*` tensors of a case."""
    make, task, change = CASES[case]
    frame, net, size = make()
    metadata = {"task": task, "frame": frame, "dtype": dtype, "config": "",
                "network": json.dumps(net), "step": json.dumps(rules(change))}
    generator = torch.Generator().manual_seed(seed)

    def noise(shape, scale):
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = {}
    for phase in ("arch", "weight"):
        for k, v in batch(task, net, size, generator).items():
            tensors[f"input.{phase}.{k}"] = v
    alphas = {}
    for prefix in sorted({g["alpha"] for g in net["groups"].values() if "alpha" in g}):
        for kind in ("normal", "reduce"):
            alphas[f"{prefix}.alpha_{kind}"] = noise((14, 8), 0.5)
            alphas[f"{prefix}.beta_{kind}"] = noise((14,), 0.5)
    # forward passes of all tasks name and fill the parameters, also those this step does not reach
    store = Store({}, {}, rules(change)["bn"], generator, torch.float64)
    for which in ("det", "seg") if frame != "classifier" else ("cls",):
        forward(store, frame, net, alphas, tensors["input.arch.image"], which)
    tensors |= {f"before.w.{k}": v for k, v in store.weights.items()}
    tensors |= {f"before.buffer.{k}": v for k, v in store.buffers.items()}
    tensors |= {f"before.momentum.{k}": noise(v.shape, 0.01) for k, v in store.weights.items()
                if not k.endswith("bias")}
    for k, v in alphas.items():
        tensors[f"before.alpha.{k}"] = v
        if "beta" not in k:  # betas take their first step
            tensors[f"before.adam_m.{k}"] = noise(v.shape, 1e-3)
            tensors[f"before.adam_v.{k}"] = noise(v.shape, 1e-3) ** 2
            tensors[f"before.adam_t.{k}"] = torch.tensor([3], dtype=torch.int32)
    if dtype == "f32":
        tensors = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    return metadata, tensors


def dump(case, dtype, seed=0, rule=lambda step: step):
    """A whole dump of PyTorch's own making.  `rule` changes what is done, not what the metadata say."""
    metadata, tensors = inputs(case, dtype, seed)
    done = metadata | {"step": json.dumps(rule(json.loads(metadata["step"])))}
    kind = {"f32": torch.float32, "f64": torch.float64}[dtype]
    # images in the other order than the checker's, so that agreement is not one of equal bits
    found, _, _ = recompute(Task(done, tensors, Variant(kind, reversed=True)), from_dump=False)
    found = {k: v.to(kind) if v.is_floating_point() else v for k, v in found.items()}
    return metadata, tensors | found


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("case", nargs="?", help="CASE-f32 or CASE-f64")
    p.add_argument("file", nargs="?")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--list", action="store_true")
    a = p.parse_args()
    if a.list:
        print("\n".join(CASES))
        return 0
    case, _, dtype = (a.case or "").rpartition("-")
    if case not in CASES or dtype not in ("f32", "f64") or not a.file:
        p.error("give a case of --list followed by -f32 or -f64, and a file")
    torch.set_num_threads(1)
    metadata, tensors = dump(case, dtype, a.seed)
    save_file({k: v.contiguous() for k, v in tensors.items()}, a.file, metadata)
    return 0


if __name__ == "__main__":
    sys.exit(main())
