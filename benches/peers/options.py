"""Command-line options that the step and the operation benchmark share."""

import argparse
import json
import math

import torch

from measure import environment

# batch, height, width, channels, cells
DEFAULTS = {"cifar": (64, 32, 32, 16, 8), "mtnas-peer": (32, 320, 512, 16, 8),
            "mtnas-release": (32, 320, 512, 32, 14), "ops": (32, 320, 512, 16, 8)}


def parser(description):
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--device", default="cpu", help="cpu, cuda, or meta (to count)")
    p.add_argument("--batch", type=int)
    p.add_argument("--height", type=int)
    p.add_argument("--width", type=int)
    p.add_argument("--channels", type=int)
    p.add_argument("--cells", type=int)
    p.add_argument("--partial-k", type=int, default=4)
    p.add_argument("--dtype", choices=("fp32", "bf16", "amp"), default="fp32")
    p.add_argument("--impl", choices=("usual", "tuned"), default="usual")
    p.add_argument("--channels-last", action="store_true")
    p.add_argument("--compile", nargs="?", const="mixed", default="off",
                   choices=("off", "mixed", "cell", "model"),
                   help="granularity of torch.compile; coarser compiles much longer")
    p.add_argument("--cuda-graph", action="store_true")
    p.add_argument("--no-tf32", action="store_true", help="exact fp32 convolutions on CUDA")
    p.add_argument("--cudnn-benchmark", action="store_true")
    p.add_argument("--iters", type=int, default=10)
    p.add_argument("--warmup", type=int, default=2)
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--json", default="", help="write the full result here")
    return p


def fill(p, a, mode):
    """Defaults of the mode, and checks every program needs."""
    for key, value in zip(("batch", "height", "width", "channels", "cells"), DEFAULTS[mode]):
        if getattr(a, key) is None:
            setattr(a, key, value)
    if a.channels % a.partial_k:
        p.error("--channels must be a multiple of --partial-k")
    if a.cuda_graph and a.device != "cuda":
        p.error("--cuda-graph needs --device cuda")
    if a.device == "cuda" and not torch.cuda.is_available():
        p.error("no CUDA device here: use --device cpu")


def check_frame(p, a):
    """Sizes the two multi-task frames need."""
    if a.height % 32 or a.width % 32:
        p.error("height and width must be multiples of 32")
    rest = a.batch * math.ceil(a.height / 64) * math.ceil(a.width / 64)
    if a.device != "meta" and rest < 2:
        p.error("batch norm at stride 64 needs more than one value a channel: enlarge the input")


def prepare(a):
    """Threads, seed and precision; returns the device and the description of the machine."""
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    device = torch.device(a.device)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = not a.no_tf32
        torch.backends.cuda.matmul.allow_tf32 = not a.no_tf32
        torch.backends.cudnn.benchmark = a.cudnn_benchmark
    env = environment(device)
    print(" ".join(f"{k}={v}" for k, v in env.items()))
    return device, env


def save(a, env, result):
    if a.json:
        config = {k: v for k, v in vars(a).items() if k != "json"}
        with open(a.json, "w") as f:
            json.dump({"config": config, "environment": env, "result": result}, f, indent=1)
