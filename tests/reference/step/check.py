#!/usr/bin/env python3
"""Recomputes a step dump in PyTorch and compares every tensor.

    mtnas step CFG --dump step.safetensors
    python check.py step.safetensors [more.safetensors ...] [--json figures.json]

Exit status: 0 every tensor agrees, 1 some do not, 2 the file cannot be checked.  See ../README.md.
"""

import argparse
import json
import sys

import torch
from safetensors import SafetensorError, safe_open

import compare
from layers import Mismatch

REQUIRED = ("task", "frame", "dtype", "network", "step")


def read(path):
    with safe_open(path, "pt") as f:
        metadata = f.metadata() or {}
        tensors = {name: f.get_tensor(name) for name in f.keys()}
    missing = [k for k in REQUIRED if k not in metadata]
    if missing:
        raise Mismatch(f"metadata lacks {', '.join(missing)}")
    kind = {"f32": torch.float32, "f64": torch.float64}[metadata["dtype"]]
    for name, t in tensors.items():
        if t.is_floating_point() and t.dtype != kind:
            raise Mismatch(f"{name} is {t.dtype}, the dump says {metadata['dtype']}")
    return metadata, tensors


def show(path, metadata, rows, facts, verbose):
    size = json.loads(metadata["network"])
    print(f"{path}: {metadata['frame']} {metadata['task']} {metadata['dtype']}, "
          f"C {size['channels']}, {size['cells']} cells, k {size['k']}; "
          f"{facts['weights']} weights, {facts['not read by this task']} not read by this task")
    f32 = metadata["dtype"] == "f32"
    print(f"  {'group':17} {'tensors':>7} {'largest':>8} " + (f"{'PyTorch':>8} {'ratio':>6} " if f32 else "") +
          f"{'worst':>8} {'limit':>8}  worst against its limit")
    for g, e in compare.summary(rows).items():
        peer = (f"{e.get('largest_pytorch_f32', 0.0):8.1e} {e.get('median_ratio_to_pytorch', 0.0):6.2f} "
                if f32 else "")
        mark = "" if e["agrees"] else "  FAIL"
        mark += f" ({e['over_limit']} over)" if e["over_limit"] else ""
        print(f"  {g:17} {e['tensors']:7d} {e['largest_error']:8.1e} {peer}{e['worst_error']:8.1e} "
              f"{e['worst_limit']:8.1e}  {e['worst']}{mark}")
    bad = sorted((r for r in rows if r.over), key=lambda r: -r.error / (r.limit or 1))
    for r in bad if verbose else bad[:12]:
        detail = r.why or f"error {r.error:.2e}, limit {r.limit:.2e}"
        print(f"  {'FAIL' if r.fails else 'over'} {r.name}: {detail}")
    if len(bad) > 12 and not verbose:
        print(f"  and {len(bad) - 12} more: --verbose")
    agree = compare.agrees(rows)
    print("  agrees" if agree else f"  DIFFERS: {len(bad)} of {len(rows)} tensors over their limit")
    return agree


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("dump", nargs="+")
    p.add_argument("--json", default="", help="write the figures here")
    p.add_argument("--verbose", action="store_true", help="name every tensor that differs")
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    agree, book = True, {"torch": torch.__version__, "dumps": []}
    for path in a.dump:
        try:
            metadata, tensors = read(path)
            rows, facts = compare.check(metadata, tensors)
        except (Mismatch, SafetensorError, OSError, KeyError, ValueError) as e:
            print(f"{path}: cannot be checked: {type(e).__name__}: {e}", file=sys.stderr)
            return 2
        agree &= show(path, metadata, rows, facts, a.verbose)
        book["dumps"].append({
            "file": path.rsplit("/", 1)[-1], "frame": metadata["frame"], "task": metadata["task"],
            "dtype": metadata["dtype"], "network": json.loads(metadata["network"]), **facts,
            "groups": compare.summary(rows)})
    if a.json:
        with open(a.json, "w") as f:
            json.dump(book, f, indent=1)
            f.write("\n")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
