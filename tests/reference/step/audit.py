#!/usr/bin/env python3
"""Dumps steps of every frame and task with `mtnas step`, recomputes them and writes the figures.

    python audit.py --mtnas ../../../target/release/mtnas            # all cases, f64 and f32
    python audit.py --mtnas ... --dtype f64 --case release-det       # one of them

Writes results/{f64,f32}.json and results/README.md when all cases of a dtype were run; exit status 0 if all agree.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import torch

import compare
from check import read

HERE = os.path.dirname(os.path.abspath(__file__))
PC_DARTS = ["search.genotypes.det=PC_DARTS_cifar", "search.genotypes.seg=PC_DARTS_cifar"]
HAND = ["model.branches=hand-crafted"]
ORDER2 = ["search.order=2"]

# name -> configuration, task, overrides, steps before the recorded one
CASES = {
    "release-det": ("release", "det", [], 0),
    "release-seg": ("release", "seg", [], 0),
    "peer-det": ("peer", "det", [], 0),
    "peer-seg": ("peer", "seg", [], 0),
    "cifar-cls": ("cifar", "cls", [], 0),
    "release-det-later": ("release", "det", [], 2),
    "peer-seg-later": ("peer", "seg", [], 2),
    "cifar-cls-later": ("cifar", "cls", [], 2),
    "presearch-cls": ("release", "cls", [], 1),
    "hand-crafted-det": ("release", "det", HAND, 3),
    "hand-crafted-seg": ("release", "seg", HAND, 1),
    "derived-branches-det": ("release", "det", PC_DARTS + ["model.loc_values=4", "search.alpha.clip=0.01"], 1),
    "derived-branches-seg": ("release", "seg", PC_DARTS, 1),
    "second-order-det": ("release", "det", ORDER2, 1),
    "second-order-seg": ("peer", "seg", ORDER2, 1),
    "second-order-cls": ("cifar", "cls", ORDER2, 1),
}


def audit(mtnas, name, dtype, folder, seed):
    """Figures of one case."""
    config, task, overrides, before = CASES[name]
    path = os.path.join(folder, f"{name}-{dtype}.safetensors")
    command = [mtnas, "step", os.path.join(HERE, "configs", f"{config}.toml"), "--dump", path, "--task", task,
               "--dtype", dtype, "--noise", "--before", str(before), "--seed", str(seed), "--quiet"]
    for o in overrides:
        command += ["-s", o]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    metadata, tensors = read(path)
    os.remove(path)
    rows, facts = compare.check(metadata, tensors)
    groups = compare.summary(rows)
    return {"case": name, "config": config, "task": task, "overrides": overrides, "before": before, "seed": seed,
            "agrees": compare.agrees(rows), "tensors": len(rows), **facts,
            "largest_error": max(g["largest_error"] for g in groups.values()), "groups": groups}


def table(book):
    """Markdown rows of one dtype."""
    f32 = book["dtype"] == "f32"
    lines = [f"## {book['dtype']}", "", "| case | tensors | outputs | gradients of alpha | gradients of weights | " +
             ("over limit | median ratio to PyTorch | " if f32 else "") + "verdict |",
             "| --- " * (6 + 2 * f32) + "|"]
    for c in book["cases"]:
        g = c["groups"]
        worst = [f"{max(g[f'{p}.{k}']['largest_error'] for p in ps):.1e}"
                 for k, ps in (("output", ("arch", "weight")), ("grad", ("arch",)), ("grad", ("weight",)))]
        more = []
        if f32:
            more = [str(sum(x["over_limit"] for x in g.values())), f"{g['weight.grad']['median_ratio_to_pytorch']:.2f}"]
        lines.append(f"| `{c['case']}` | " + " | ".join([str(c["tensors"]), *worst, *more,
                                                       "agrees" if c["agrees"] else "DIFFERS"]) + " |")
    return lines + [""]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--mtnas", required=True, help="the program")
    p.add_argument("--dtype", choices=("f64", "f32"), action="append", help="default: both")
    p.add_argument("--case", choices=tuple(CASES), action="append", help="default: all")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    torch.set_num_threads(1)
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for dtype in a.dtype or ("f64", "f32"):
            book = {"torch": torch.__version__, "dtype": dtype, "cases": []}
            for name in a.case or CASES:
                found = audit(a.mtnas, name, dtype, folder, a.seed)
                good &= found["agrees"]
                print(f"{dtype} {name:22} {found['tensors']:6d} tensors, largest error {found['largest_error']:.1e}: "
                      f"{'agrees' if found['agrees'] else 'DIFFERS'}", flush=True)
                book["cases"].append(found)
            if not a.case:
                with open(os.path.join(HERE, "results", f"{dtype}.json"), "w") as f:
                    json.dump(book, f, indent=1)
                    f.write("\n")
    if not a.case:
        lines = ["# Figures of the audit", "", "Made by `audit.py`; |a - b|_inf / |b|_inf, the largest tensor of each group. "
                 "The limit of f64 is 1e-9; those of f32 are explained in ../../README.md.", ""]
        for dtype in ("f64", "f32"):
            path = os.path.join(HERE, "results", f"{dtype}.json")
            if os.path.exists(path):
                with open(path) as f:
                    lines += table(json.load(f))
        with open(os.path.join(HERE, "results", "README.md"), "w") as f:
            f.write("\n".join(lines).rstrip() + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
