#!/usr/bin/env python3
"""PyTorch peer: inference of a network that `mtnas export --to torch-py` wrote, all heads in one pass, eager.

    mtnas export MTNAS --to torch-py -o net/model.py
    python inference.py --model net/model.py --batch 1,32 --threads 1 --json times.json

Times are of one pass from images in memory to raw outputs.  --channels-last and --compile are not eager PyTorch as
people first run it; they are there to know how far one gets with it.
"""

import argparse
import importlib.util
import json
import sys
import time

import torch

from measure import environment, peak_memory, summary


def parse():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--model", required=True, help="model.py; its weights lie beside it")
    p.add_argument("--batch", default="1,32", help="images of a pass, several with commas")
    p.add_argument("--size", default="", help="HxW; what the file says without it")
    p.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    p.add_argument("--threads", type=int, default=0, help="0: as PyTorch chooses")
    p.add_argument("--rounds", type=int, default=30)
    p.add_argument("--seconds", type=float, default=20.0, help="no new pass, after three, when a batch has taken this long")
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--channels-last", action="store_true")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--json", default="", help="file; - for the standard output")
    return p.parse_args()


def load(path):
    spec = importlib.util.spec_from_file_location("model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.load(path[: -len(".py")] + ".safetensors")


def size_of(a, module):
    if a.size:
        return [int(v) for v in a.size.split("x")]
    # "image (N, 3, 320, 512)" in the first lines of the file
    text = module.__doc__
    dims = text[text.index("(N, 3, ") + 7:]
    return [int(v) for v in dims[: dims.index(")")].split(",")]


def rounds(a, call, cuda):
    first, ms = time.perf_counter(), []
    for _ in range(a.warmup):
        call()
    while len(ms) < a.rounds and (len(ms) < 3 or time.perf_counter() - first <= a.seconds):
        if cuda:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            ms.append(start.elapsed_time(end))
        else:
            start = time.perf_counter()
            call()
            ms.append((time.perf_counter() - start) * 1e3)
    return ms


def main():
    a = parse()
    if a.threads:
        torch.set_num_threads(a.threads)
    module, net = load(a.model)
    h, w = size_of(a, module)
    device, cuda = torch.device(a.device), a.device == "cuda"
    layout = torch.channels_last if a.channels_last else torch.contiguous_format
    net = net.to(device).to(memory_format=layout)
    if a.compile:
        net = torch.compile(net)
    batches = []
    with torch.inference_mode():
        for n in (int(n) for n in a.batch.split(",")):
            x = torch.randn(n, 3, h, w, generator=torch.Generator().manual_seed(0))
            x = x.to(device).to(memory_format=layout)
            ms = summary(rounds(a, lambda: net(x), cuda))
            batches.append({"batch": n, "ms": ms, "images_per_s": 1e3 * n / ms["median"]})
    found = {"input": [h, w], "environment": environment(device), "batches": batches, "memory": peak_memory(cuda)}
    for b in batches:
        ms = b["ms"]
        print(f"batch {b['batch']:3}  {ms['median']:9.2f} ms  {ms['p10']:.2f}..{ms['p90']:.2f}  {b['images_per_s']:.2f} images/s",
              file=sys.stderr if a.json == "-" else sys.stdout)
    if a.json == "-":
        print(json.dumps(found))
    elif a.json:
        with open(a.json, "w") as f:
            json.dump(found, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
