#!/usr/bin/env python3
"""PyTorch peer: every candidate operation and its parts, forward and forward + backward.

GB/s counts each distinct tensor once (forward x, y; backward dy, x, dx) and GFLOP/s counts convolutions only,
so neither depends on how the work is done.  Rows named dweight have the time of the weight's gradient in place of
forward + backward; their GB/s and GFLOP/s mean nothing.
"""

import contextlib
import math
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from measure import Clock, peak_memory
from options import fill, parser, prepare, save
from primitives import OPS, MixedOp, depthwise, make_op, pointwise


class BnRelu(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.bn = nn.BatchNorm2d(c)

    def forward(self, x):
        return F.relu(self.bn(x))


class WithWeights(nn.Module):
    """A mixed operation with its own architecture row."""

    def __init__(self, channels, stride, k, tuned):
        super().__init__()
        self.mixed = MixedOp(channels, stride, k, tuned)
        self.alpha = nn.Parameter(1e-3 * torch.randn(len(OPS)))

    def forward(self, x):
        return self.mixed(x, F.softmax(self.alpha, 0))


class Blend(nn.Module):
    """Weighted sum of eight ready tensors (views of one input)."""

    def __init__(self):
        super().__init__()
        self.alpha = nn.Parameter(1e-3 * torch.randn(len(OPS)))

    def forward(self, x):
        w = F.softmax(self.alpha, 0).to(x.dtype)
        return sum(w[i] * x[i] for i in range(len(OPS)))


def op_table(c, k, tuned):
    """(name, module, input channels, macs per output position or None, stride)"""

    def sep(kk):
        return 2 * (kk * kk * c + c * c)

    def dil(kk):
        return kk * kk * c + c * c

    mixed = sep(3) + sep(5) + dil(3) + dil(5)
    return [
        ("dw3 s1", depthwise(c, 3, 1), c, 9 * c, 1),
        ("dw3 s2", depthwise(c, 3, 2), c, 9 * c, 2),
        ("dw5 s1", depthwise(c, 5, 1), c, 25 * c, 1),
        ("dw5 s2", depthwise(c, 5, 2), c, 25 * c, 2),
        ("dw3 d2", depthwise(c, 3, 1, 2), c, 9 * c, 1),
        ("dw5 d2", depthwise(c, 5, 1, 2), c, 25 * c, 1),
        ("dw3 dweight", depthwise(c, 3, 1), c, 9 * c, 1),
        ("dw5 dweight", depthwise(c, 5, 1), c, 25 * c, 1),
        ("pw", pointwise(c, c), c, c * c, 1),
        ("bn+relu", BnRelu(c), c, None, 1),
        ("max3+bn", make_op("max3", c, 1), c, None, 1),
        ("avg3+bn", make_op("avg3", c, 1), c, None, 1),
        ("skip s2", make_op("skip", c, 2), c, c * c, 2),
        ("sep3 s1", make_op("sep3", c, 1), c, sep(3), 1),
        ("sep3 s2", make_op("sep3", c, 2), c, sep(3), 2),
        ("sep5 s1", make_op("sep5", c, 1), c, sep(5), 1),
        ("dil3 s1", make_op("dil3", c, 1), c, dil(3), 1),
        ("dil5 s1", make_op("dil5", c, 1), c, dil(5), 1),
        ("blend8", Blend(), c, None, 1),
        ("mixed s1", WithWeights(c * k, 1, k, tuned), c * k, mixed, 1),
        ("mixed s2", WithWeights(c * k, 2, k, tuned), c * k, mixed + c * c, 2),
    ]


def op_shapes(args):
    """Active tensors of the multi-task frames' stages, and two with all channels."""
    if args.shapes != "auto":
        return [tuple(int(v) for v in part.split("x")) for part in args.shapes.split(",")]
    out = []
    stem = 4 if args.height >= 128 else 1
    for i in range(4 if stem == 4 else 3):
        s = stem * 2 ** i
        out.append((args.batch, args.channels * 2 ** i // args.partial_k,
                    args.height // s, args.width // s))
    if args.partial_k > 1:
        for i in (1, 2):
            s = stem * 2 ** i
            out.append((args.batch, args.channels * 2 ** i, args.height // s, args.width // s))
    return out


def capture(fn, x_sets):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for x in x_sets:
            fn(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for x in x_sets:
            fn(x)
    return graph.replay


def weight_gradient(conv, x, g):
    """Of a convolution's weight and of nothing else."""
    return torch.ops.aten.convolution_backward(
        g, x.detach(), conv.weight.detach(), None, conv.stride, conv.padding, conv.dilation, False,
        [0, 0], conv.groups, [False, True, False])


def time_op(module, x_sets, args, cuda, weight_only=False):
    """Median milliseconds of forward, and of forward + backward (or of the weight's gradient), per call; the same in
    processor time."""
    amp = (torch.autocast(x_sets[0].device.type, dtype=torch.bfloat16)
           if args.dtype == "amp" else contextlib.nullcontext())
    params = list(module.parameters())
    with amp:
        g = torch.randn_like(module(x_sets[0]))

    def forward(x):
        with amp:
            return module(x)

    def both(x):
        if weight_only:
            weight_gradient(module, x, g)
            return
        x.grad = None
        for p in params:
            p.grad = None
        with amp:
            y = module(x)
        y.backward(g)

    out, cpu_ms = [], []
    for fn in (forward, both):
        if cuda and args.cuda_graph:
            once = capture(fn, x_sets)
        else:
            def once(fn=fn):
                for x in x_sets:
                    fn(x)
        for _ in range(max(1, args.warmup // 2)):
            once()
        if cuda:
            torch.cuda.synchronize()
        clock = Clock(cuda)
        clock.mark()
        spent = time.perf_counter()
        for i in range(args.iters):
            once()
            clock.mark()
            # do not let a slow machine spend minutes on one row
            if not cuda and i >= 2 and time.perf_counter() - spent > args.row_seconds:
                break
        out.append(statistics.median(clock.gaps()) / len(x_sets))
        if not cuda:
            cpu_ms.append(statistics.median(clock.cpu_gaps()) / len(x_sets))
    return out, cpu_ms


def input_sets(lead, c_in, h, w, args, device, dtype, cuda):
    """Several input sets, so that repeated runs do not just hit a cache."""
    n = math.prod(lead) * c_in * h * w
    budget = 256 * 2**20 if cuda else 24 * 2**20
    size = torch.finfo(dtype).bits // 8
    xs = []
    for _ in range(max(1, min(16 if cuda else 4, math.ceil(budget / (n * size))))):
        x = torch.randn(*lead, c_in, h, w, device=device).to(dtype)
        if args.channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        xs.append(x.requires_grad_(True))
    return xs


def run_ops(args, device):
    cuda = device.type == "cuda"
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    size = torch.finfo(dtype).bits // 8
    rows = []
    wanted = set(args.only.split(",")) if args.only else None
    print(f"{'op':10} {'shape':>18} {'fwd ms':>9} {'f+b ms':>9} {'GB/s fwd':>9} {'GB/s f+b':>9} "
          f"{'GF/s fwd':>9} {'GF/s f+b':>9}")
    for b, c, h, w in op_shapes(args):
        for name, module, c_in, macs, stride in op_table(c, args.partial_k, args.impl == "tuned"):
            if wanted and name.split()[0] not in wanted and name not in wanted:
                continue
            module = module.to(device)
            if args.dtype == "bf16":
                for m in module.modules():
                    if isinstance(m, nn.Conv2d):
                        m.to(dtype)
            module.train()
            if args.compile != "off":
                module.compile(dynamic=False)
            lead = (len(OPS), b) if name == "blend8" else (b,)
            xs = input_sets(lead, c_in, h, w, args, device, dtype, cuda)
            shape = f"{b}x{c_in}x{h}x{w}"
            try:
                (f_ms, fb_ms), cpu_ms = time_op(module, xs, args, cuda, "dweight" in name)
            except RuntimeError as e:
                print(f"{name:10} {shape}: {str(e).splitlines()[0]}")
                continue
            out_pos = b * math.ceil(h / stride) * math.ceil(w / stride)
            n_in, n_out = xs[0].numel(), c_in * out_pos
            # each distinct tensor once: forward x, y; backward dy, x, dx
            by_f, by_fb = (n_in + n_out) * size, (3 * n_in + 2 * n_out) * size
            gf = 2e-9 * macs * out_pos if macs else None
            r = {"op": name, "shape": [b, c_in, h, w], "sets": len(xs),
                 "fwd_ms": f_ms, "fwd_bwd_ms": fb_ms, "cpu_ms": cpu_ms,
                 "fwd_bytes": by_f, "fwd_bwd_bytes": by_fb,
                 "fwd_gbs": by_f / f_ms / 1e6, "fwd_bwd_gbs": by_fb / fb_ms / 1e6,
                 "fwd_gflops": gf / f_ms * 1e3 if gf else None,
                 "fwd_bwd_gflops": 3 * gf / fb_ms * 1e3 if gf else None}
            rows.append(r)
            fg = f"{r['fwd_gflops']:9.1f}" if gf else f"{'-':>9}"
            fbg = f"{r['fwd_bwd_gflops']:9.1f}" if gf else f"{'-':>9}"
            print(f"{name:10} {shape:>18} {f_ms:9.4f} {fb_ms:9.4f} {r['fwd_gbs']:9.2f} "
                  f"{r['fwd_bwd_gbs']:9.2f} {fg} {fbg}", flush=True)
            del xs, module
    result = {"rows": rows, "memory": peak_memory(cuda)}
    print(", ".join(f"{k} {v:.0f}" for k, v in result["memory"].items()))
    return result


def main():
    p = parser(__doc__.splitlines()[0])
    p.add_argument("--shapes", default="auto", help="BxCxHxW,... of the active channels, or auto")
    p.add_argument("--only", default="", help="comma list of rows, e.g. dw3,pw,mixed")
    p.add_argument("--row-seconds", type=float, default=3.0, help="CPU: cap per row")
    args = p.parse_args()
    fill(p, args, "ops")
    device, env = prepare(args)
    save(args, env, run_ops(args, device))


if __name__ == "__main__":
    main()
