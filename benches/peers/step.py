#!/usr/bin/env python3
"""PyTorch peer: one search step (alpha phase, then weight phase) of our workloads.

Times are medians.  CUDA work is timed with events.  See README.md.
"""

import math
import statistics
import sys
import time

import torch

from measure import Clock, peak_memory, summary
from options import check_frame, fill, parser, prepare, save


def parse():
    p = parser(__doc__.splitlines()[0])
    p.add_argument("--mode", choices=("cifar", "mtnas-peer", "mtnas-release"), default="cifar")
    p.add_argument("--tasks", choices=("both", "det", "seg", "cls"), default="both")
    p.add_argument("--lr", type=float, default=0.025)
    p.add_argument("--reductions", default="", help="mtnas-release: comma list of three cells")
    p.add_argument("--levels", type=int, default=7, help="mtnas-release: detection levels, 4 to 7")
    p.add_argument("--derived", action="store_true",
                   help="mtnas-release: the published genotypes, only with --macs")
    p.add_argument("--macs", action="store_true", help="multiply-adds and parameters, any machine")
    p.add_argument("--count", action="store_true", help="count operators, bytes and flops")
    p.add_argument("--top", type=int, default=12, help="--count: rows printed")
    p.add_argument("--profile", action="store_true", help="CUDA: kernels per step")
    a = p.parse_args()
    a.reductions = tuple(int(r) for r in a.reductions.split(",")) if a.reductions else ()
    if a.reductions and len(a.reductions) != 3:
        p.error("--reductions takes three cell indices, e.g. 2,4,6")
    if a.macs:
        a.device = "meta"
    fill(p, a, a.mode)
    if a.mode == "cifar":
        a.tasks = "both"
    else:
        check_frame(p, a)
        if a.tasks == "cls":
            p.error("--tasks cls is for cifar mode")
    if a.derived and not a.macs:
        p.error("--derived only with --macs")
    if a.device == "meta" and not (a.count or a.macs):
        p.error("--device meta only with --count or --macs")
    return a


def profile_kernels(phases, iters=2):
    """Kernels per step as the CUDA profiler sees them (CUDA only)."""
    from torch.profiler import ProfilerActivity, profile
    counts = {}
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as prof:
        for _ in range(iters):
            for fs in phases.values():
                for f in fs:
                    f()
        torch.cuda.synchronize()
    total = 0
    for ev in prof.events():
        if ev.device_type == torch.autograd.DeviceType.CUDA:
            c = counts.setdefault(ev.name, [0, 0.0])
            c[0] += 1
            c[1] += ev.time_range.elapsed_us()
            total += 1
    steps = iters * len(phases)
    rows = sorted(counts.items(), key=lambda kv: -kv[1][1])
    print(f"device activities per step: {total / steps:.0f}")
    for name, (n, us) in rows[:25]:
        print(f"  {n / steps:8.1f} x  {us / steps / 1e3:9.3f} ms  {name[:90]}")
    return {"per_step": total / steps,
            "kernels": [{"name": n, "calls_per_step": c / steps, "ms_per_step": u / steps / 1e3}
                        for n, (c, u) in rows[:60]]}


def time_steps(phases, args, cuda):
    """Milliseconds per phase and step, task by task, and the first and last losses."""
    names = list(phases)
    first, last = {}, {}
    for _ in range(args.warmup):
        for t in names:
            losses = tuple(f().clone() for f in phases[t])
            first.setdefault(t, losses)
    if cuda:
        torch.cuda.synchronize()
    warm_at = time.perf_counter()
    kinds = ("alpha", "weight", "step") + (() if cuda else ("step_cpu",))
    ms = {t: {k: [] for k in kinds} for t in names}
    clock, order = Clock(cuda), []
    clock.mark()
    for i in range(args.iters):
        t = names[i % len(names)]
        alpha = phases[t][0]()
        clock.mark()
        weight = phases[t][1]()
        clock.mark()
        order.append(t)
        last[t] = (alpha, weight)
    gaps, cpu = clock.gaps(), clock.cpu_gaps()
    for i, t in enumerate(order):
        alpha, weight = gaps[2 * i], gaps[2 * i + 1]
        ms[t]["alpha"].append(alpha)
        ms[t]["weight"].append(weight)
        ms[t]["step"].append(alpha + weight)
        if not cuda:
            ms[t]["step_cpu"].append(cpu[2 * i] + cpu[2 * i + 1])
    return ms, first, last, warm_at


def run_search(args, device):
    from searcher import Searcher, build_phases
    cuda = device.type == "cuda"
    t0 = time.perf_counter()
    phases = build_phases(Searcher(args, device), args, device)
    ms, first, last, warm_at = time_steps(phases, args, cuda)
    memory = peak_memory(cuda)
    result = {"setup_and_warmup_s": warm_at - t0, "ms": {}, "memory": memory, "losses": {}}
    print(f"{'task':5} {'alpha ms':>10} {'weight ms':>10} {'step ms':>10} {'min..max':>20} "
          f"{'images/s':>9}" + ("" if cuda else f" {'cpu ms':>10}"))
    for t in phases:
        if not ms[t]["step"]:
            continue
        r = {k: summary(v) for k, v in ms[t].items()}
        result["ms"][t] = r
        # each step consumes one training and one validation batch
        ips = 2 * args.batch / r["step"]["median"] * 1e3
        span = f"{r['step']['min']:.2f}..{r['step']['max']:.2f}"
        print(f"{t:5} {r['alpha']['median']:10.3f} {r['weight']['median']:10.3f} "
              f"{r['step']['median']:10.3f} {span:>20} {ips:9.1f}" +
              ("" if cuda else f" {r['step_cpu']['median']:10.1f}"))
        ls = {"first": [float(v) for v in first[t]]} if t in first else {}
        ls["last"] = [float(v) for v in last[t]]
        result["losses"][t] = ls
    mean = statistics.mean(r["step"]["median"] for r in result["ms"].values())
    result["step_ms_mean_of_tasks"] = mean
    print(f"step, mean of tasks: {mean:.3f} ms; setup and warm-up {warm_at - t0:.1f} s; " +
          ", ".join(f"{k} {v:.0f}" for k, v in memory.items()))
    print("losses (alpha, weight): " + "; ".join(
        f"{t}: " + " -> ".join(f"({a:.3f}, {b:.3f})" for a, b in v.values())
        for t, v in result["losses"].items()))
    if not all(math.isfinite(v) for ls in result["losses"].values()
               for vs in ls.values() for v in vs):
        print("WARNING: a loss is not finite", file=sys.stderr)
        result["not_finite"] = True
    if args.profile and cuda:
        result["profile"] = profile_kernels(phases)
    return result


def main():
    args = parse()
    device, env = prepare(args)
    shown = ("mode", "batch", "height", "width", "channels", "cells", "partial_k", "dtype",
             "impl", "channels_last", "compile", "cuda_graph")
    print(" ".join(f"{k}={getattr(args, k)}" for k in shown))
    if args.macs:
        from count import run_macs
        result = run_macs(args)
    elif args.count:
        from count import run_count
        result = run_count(args)
    else:
        result = run_search(args, device)
    save(args, env, result)


if __name__ == "__main__":
    main()
