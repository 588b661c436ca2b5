#!/usr/bin/env python3
"""What the machine can do: copy rate, matrix rate, launch cost.  The ceilings of `roofline.py`."""

import argparse
import json
import statistics
import time

import torch

from measure import environment


def median_ms(fn, device, iters):
    """Median milliseconds of one call."""
    fn()
    fn()
    out = []
    if device.type == "cuda":
        torch.cuda.synchronize()
        for _ in range(iters):
            a, b = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            a.record()
            fn()
            b.record()
            b.synchronize()
            out.append(a.elapsed_time(b))
    else:
        for _ in range(iters):
            t = time.perf_counter()
            fn()
            out.append((time.perf_counter() - t) * 1e3)
    return statistics.median(out)


def copy_rates(device, iters, quick):
    """GB/s of a copy, bytes read plus bytes written; small sizes show the caches."""
    rates = {}
    for mib in (1, 16, 256) if quick else (1, 4, 16, 64, 256, 1024, 4096):
        try:
            a = torch.empty(mib * 2**18, device=device).fill_(1.0)
            b = torch.empty_like(a)
        except RuntimeError:
            continue
        ms = median_ms(lambda a=a, b=b: b.copy_(a), device, iters)
        rates[f"{mib} MiB"] = 2 * a.numel() * 4 / ms / 1e6
    return rates


def matrix_rates(device, iters, quick):
    """TFLOP/s of square products."""
    cuda = device.type == "cuda"
    n = 512 if quick else 8192 if cuda else 2048
    kinds = [("fp32", torch.float32, False), ("bf16", torch.bfloat16, False)]
    if cuda:
        kinds.insert(1, ("tf32", torch.float32, True))
    rates = {}
    for name, dtype, tf32 in kinds:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(n, n, device=device).to(dtype)
        b = torch.randn(n, n, device=device).to(dtype)
        c = torch.empty_like(a)
        ms = median_ms(lambda a=a, b=b, c=c: torch.mm(a, b, out=c), device, iters)
        rates[name] = 2 * n**3 / ms / 1e9
    return rates


def launch_costs(device, count=1000):
    """Microseconds an operation of one element costs: dispatched one by one, and in a captured graph."""
    x = torch.zeros(1, device=device)

    def eager():
        for _ in range(count):
            x.add_(1.0)

    cost = {"eager_us": median_ms(eager, device, 5) / count * 1e3}
    if device.type == "cuda":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            eager()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            eager()
        cost["graph_us"] = median_ms(graph.replay, device, 20) / count * 1e3
    return cost


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--device", default="cuda")
    p.add_argument("--iters", type=int, default=20)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--quick", action="store_true")
    p.add_argument("--json", default="")
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    device = torch.device(a.device)
    result = {"copy_gbs": copy_rates(device, a.iters, a.quick),
              "matrix_tflops": matrix_rates(device, a.iters, a.quick),
              "launch": launch_costs(device)}
    env = environment(device)
    print(json.dumps({"environment": env, **result}, indent=1))
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"config": {"device": a.device, "quick": a.quick}, "environment": env,
                       "result": result}, f, indent=1)


if __name__ == "__main__":
    main()
