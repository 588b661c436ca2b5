#!/usr/bin/env python3
"""Runs step.py in its configurations, most telling first, inside a time budget; prints one table and keeps every
JSON result."""

import argparse
import json
import os
import subprocess
import sys
import time

from configurations import CPU, CUDA

HERE = os.path.dirname(os.path.abspath(__file__))


def run_one(path, command, seconds):
    """Runs one program that writes `path`; returns its result, or None and why there is none."""
    try:
        r = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, "timed out"
    with open(path[:-5] + ".log", "w") as f:
        f.write(r.stdout + r.stderr)
    if r.returncode:
        return None, (r.stderr.strip().splitlines() or [f"exit {r.returncode}"])[-1][:90]
    with open(path) as f:
        return json.load(f)["result"], ""


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--device", default="cuda")
    p.add_argument("--mode", choices=("cifar", "mtnas-peer", "mtnas-release"), default="mtnas-peer")
    p.add_argument("--budget", type=float, default=540, help="seconds in all")
    p.add_argument("--out", default="sweep", help="folder for the JSON files")
    p.add_argument("rest", nargs="*", help="passed on, after --: e.g. -- --channels 32")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    t0, rows = time.time(), []
    for name, flags in CUDA if a.device == "cuda" else CPU:
        left = a.budget - (time.time() - t0)
        if left < 20:
            rows.append((name, None, "no time left"))
            continue
        path = os.path.join(a.out, f"{a.mode}-{name.replace(' ', '-')}.json")
        cmd = [sys.executable, os.path.join(HERE, "step.py"), "--device", a.device,
               "--mode", a.mode, "--json", path, *flags.split(), *a.rest]
        result, why = run_one(path, cmd, left)
        rows.append((name, result, why))
        print(f"{name}: {'done' if result else 'failed'} at {time.time() - t0:.0f} s", flush=True)
    print(f"\n{'configuration':30} {'step ms':>9} {'det':>9} {'seg':>9} {'peak MiB':>9}")
    done = [r for r in rows if r[1]]
    for name, r, why in sorted(done, key=lambda r: r[1]["step_ms_mean_of_tasks"]):
        cols = [r["ms"].get(k, {}).get("step", {}).get("median") for k in ("det", "seg")]
        cells = " ".join(f"{c:9.2f}" if c else f"{'-':>9}" for c in cols)
        mem = r["memory"].get("device_peak_allocated_mib", r["memory"]["host_peak_rss_mib"])
        print(f"{name:30} {r['step_ms_mean_of_tasks']:9.2f} {cells} {mem:9.0f}")
    for name, r, why in rows:
        if not r:
            print(f"{name:30} {why}")


if __name__ == "__main__":
    main()
