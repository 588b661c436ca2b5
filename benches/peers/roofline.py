#!/usr/bin/env python3
"""Floor of a search phase (one forward and backward) from first principles.

Counts arithmetic and the device-memory traffic of a fused implementation of
the same supernet as step.py, and turns both into times.  Pure Python.

Traffic model of the fused design, per edge, in units of one active tensor
(batch x channels/k x height x width):

  forward  K1  read x; write z of sep3a, sep5a, dil3, dil5 (before BN) with
               channel statistics; pools and skip: statistics only     1 + 4
           K2  sep second halves, BN+ReLU applied on load              2 + 2
           K3  weighted sum with BN folded into scale and shift        1 + 4
  backward B1  channel sums for every BN and for alpha                 2 + 4
           B2  last halves: read dy, x, six z; write dx part, two g    8 + 3
           B3  sep first halves: read two g, two z, x, dx; write dx    6 + 1
plus the bypassed channels (read per edge, written once per node).

`--recompute` stores no z: forward reads x three times, backward reads dy and x
three times each, at the price of repeated arithmetic.

In `mtnas-release` sums with enlarged maps ride on the reads of what follows.
"""

import argparse

DEFAULTS = {"mtnas-peer": (32, 320, 512, 16, 8), "mtnas-release": (32, 320, 512, 32, 14),
            "cifar": (256, 32, 32, 16, 8)}
ANCHORS = (6, 6, 6, 6, 6, 6, 4)  # of mtnas-release
# an H200: memory and bf16 matrix products as read on one, fp32 from the data sheet
TBS, FP32, TENSOR = 4.3, 67, 790


class Count:
    def __init__(self, k, recompute):
        self.k, self.recompute = k, recompute
        self.dw_macs = self.pw_macs = self.tensor_macs = 0
        self.elements = self.stored = self.edge_elements = self.cells = self.heads = 0
        self.launches = 6

    def conv(self, c_in, c_out, taps, pos_in, pos_out, bn=True):
        """One dense convolution with BN and ReLU folded into its neighbours."""
        n = 3 * c_in * pos_in + (5 if bn else 3) * c_out * pos_out
        self.tensor_macs += 3 * c_in * c_out * taps * pos_out
        self.elements += n
        self.heads += n
        self.launches += 4

    def cell(self, inputs, c, pos_in, reduce):
        """Mixed cell; inputs are (channels, positions, taps, positions after).  Returns its map."""
        pos_out = pos_in // 4 if reduce else pos_in
        n = 0
        # preprocessing: no ReLU after its BN
        for c_in, read, taps, written in inputs:
            self.tensor_macs += 3 * c_in * c * taps * written
            n += 3.5 * c_in * read + 5 * c * written
        act, k = c // self.k, self.k
        for node in range(4):
            n += 2 * k * act * pos_out  # node and its gradient, written once
            for j in range(2 + node):
                s2 = reduce and j < 2
                ni = act * (pos_in if s2 else pos_out)
                no = act * pos_out
                self.edge_elements += no
                taps = 9 + 25 + 2 * 9 + 2 * 25
                self.dw_macs += taps * no * (10 if self.recompute else 4)
                pw = 6 * act * no + (act * no if s2 else 0)
                self.pw_macs += pw * (7 if self.recompute else 3)
                if self.recompute:
                    n += 3 * ni + 3 * (no + ni) + 3 * ni
                else:
                    extra = 2 if s2 else 0
                    n += ni + 4 * no + 4 * no + ni + 4 * no + extra * no
                    n += no + 4 * no + ni
                    n += no + 6 * no + ni + ni + 2 * no
                    n += 4 * no + 2 * ni + ni
                    self.stored += 6 * no
                n += (k - 1) * ni + (k - 1) * no
        self.elements += n
        self.cells += n
        self.launches += 13 + 15
        self.stored += 2 * c * pos_in + 4 * c * pos_out
        return 4 * c, pos_out


def standard(pp, p):
    """Both inputs of a cell by pointwise convolutions, the first halved where it is larger."""
    return (*pp, 1, p[1]), (*p, 1, p[1])


def floor(mode, task, batch, height, width, channels, cells, k=4, recompute=False):
    """Counts of one phase."""
    n, c, pixels = Count(k, recompute), channels, batch * height * width
    if mode == "cifar":
        n.conv(3, 3 * c, 9, pixels, pixels)
        s0 = s1 = (3 * c, pixels)
        reds = [cells // 3, 2 * cells // 3]
    elif mode == "mtnas-peer":
        half = max(8, c // 2)
        n.conv(3, half, 9, pixels, pixels // 4)
        n.conv(half, c, 9, pixels // 4, pixels // 16)
        s0 = s1 = (c, pixels // 16)
        reds = [cells * i // 4 for i in (1, 2, 3)]
    else:
        n.conv(3, c // 2, 9, pixels, pixels // 4)
        n.conv(c // 2, c, 9, pixels // 4, pixels // 4)
        n.conv(c, c, 9, pixels // 4, pixels // 16)
        s0, s1 = (c, pixels // 4), (c, pixels // 16)
        reds = [6, 9, 12] if cells == 14 else [cells * i // 4 for i in (1, 2, 3)]
    maps = [s0, s1]
    for i in range(cells):
        if i in reds:
            c *= 2
        maps.append(n.cell(standard(maps[i], maps[i + 1]), c, maps[i + 1][1], i in reds))
    outs = maps[2:]
    if mode == "mtnas-peer":
        peer_heads(n, task, outs, reds)
    elif mode == "mtnas-release":
        release_heads(n, task, batch, height, width, channels, s0, outs, reds)
    return n


def peer_heads(n, task, outs, reds):
    f = 64
    taps = [outs[reds[1] - 1], outs[reds[2] - 1], outs[-1]]
    for c, pos in taps:
        n.conv(c, f, 1, pos, pos, bn=False)
        n.conv(f, f, 9, pos, pos)
    if task == "det":
        p5 = taps[-1][1]
        n.conv(f, f, 9, p5, p5 // 4)
        for q in [pos for _, pos in taps] + [p5 // 4]:
            n.conv(f, 54, 9, q, q, bn=False)
    else:
        q = taps[0][1]
        n.conv(f, 32, 4, q, 4 * q)
        n.conv(32, 16, 4, 4 * q, 16 * q)
        n.conv(16, 16, 4, 16 * q, 64 * q, bn=False)


def release_heads(n, task, batch, height, width, c, half, outs, reds):
    last, taps = outs[-1], [outs[r - 1] for r in reversed(reds)]
    x, down = last, []
    for w, skip in zip((4 * c, 2 * c, c, c // 4), [*taps, half][:3 if task == "det" else 4]):
        n.cell(standard(x, x), w, x[1], False)
        x = skip
        down.append(x)
    if task != "det":
        n.conv(x[0], 16, 1, x[1], x[1])
        return
    maps = [down[2], down[1], down[0], last]
    y = n.cell(standard(outs[-2], last), 8 * c, last[1], True)
    maps.append(y)
    w, q = 4 * c, batch * (height // 64 - 2) * (width // 64 - 2)
    # the first input is halved, then both lose two rows and columns to 3x3 windows
    halved = (w, last[1] // 4)
    inputs = ((*last, 1, halved[1]), (*halved, 9, q), (*y, 9, q))
    y = n.cell(inputs, w, q, False)
    maps.append(y)
    q = batch * (height // 64 - 4) * (width // 64 - 4)
    maps.append(n.cell(((*y, 9, q), (*y, 9, q)), w, q, False))
    for (f, pos), a in zip(maps, ANCHORS):
        n.conv(f, 10 * a, 9, pos, pos)


def step_floor_ms(mode, size, batch, height, width, channels, cells, k=4, tbs=TBS):
    """Milliseconds of a step, alpha and weight phase, mean of the tasks."""
    tasks = ("cls",) if mode == "cifar" else ("det", "seg")
    ms = []
    for task in tasks:
        n = floor(mode, task, batch, height, width, channels, cells, k)
        ms.append(2 * max(n.elements * size / tbs, 2 * (n.dw_macs + n.pw_macs) / FP32) / 1e9)
    return sum(ms) / len(ms)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mode", choices=tuple(DEFAULTS), default="mtnas-peer")
    p.add_argument("--task", choices=("det", "seg"), default="seg")
    for name in ("batch", "height", "width", "channels", "cells"):
        p.add_argument(f"--{name}", type=int)
    p.add_argument("--partial-k", type=int, default=4)
    p.add_argument("--bytes", type=int, default=2, help="bytes per stored element")
    p.add_argument("--tbs", type=float, default=TBS, help="memory, TB/s")
    p.add_argument("--fp32", type=float, default=FP32, help="fp32 FMA peak, TFLOP/s")
    p.add_argument("--tensor", type=float, default=TENSOR, help="bf16 matrix rate, TFLOP/s")
    p.add_argument("--fp32-efficiency", type=float, default=0.45)
    p.add_argument("--node-us", type=float, default=2.0, help="cost of a dependent launch")
    p.add_argument("--recompute", action="store_true")
    a = p.parse_args()
    given = (a.batch, a.height, a.width, a.channels, a.cells)
    size = [d if g is None else g for g, d in zip(given, DEFAULTS[a.mode])]
    n = floor(a.mode, a.task, *size, a.partial_k, a.recompute)
    byts = n.elements * a.bytes
    t_mem = byts / a.tbs / 1e9
    t_dw = 2 * n.dw_macs / a.fp32 / 1e9
    t_pw = 2 * n.pw_macs / a.fp32 / 1e9
    t_tc = 2 * n.tensor_macs / a.tensor / 1e9
    real_alu = (t_dw + t_pw) / a.fp32_efficiency
    b, h, w, c, cells = size
    print(f"{a.mode} {'' if a.mode == 'cifar' else a.task} batch {b} {h}x{w} C={c} cells={cells} "
          f"k={a.partial_k} {'recompute' if a.recompute else 'stored'}")
    print(f"  sum of edge tensors {n.edge_elements / 1e6:.1f} M elements")
    print(f"  traffic {byts / 1e9:.2f} GB (cells {n.cells * a.bytes / 1e9:.2f}, stem/heads "
          f"{n.heads * a.bytes / 1e9:.2f})  -> {t_mem:.2f} ms at {a.tbs} TB/s")
    print(f"  depthwise {2 * n.dw_macs / 1e9:.1f} GFLOP -> {t_dw:.2f} ms, cell pointwise "
          f"{2 * n.pw_macs / 1e9:.1f} GFLOP -> {t_pw:.2f} ms at fp32 peak; "
          f"{real_alu:.2f} ms at {a.fp32_efficiency:.0%}")
    print(f"  dense {2 * n.tensor_macs / 1e9:.1f} GFLOP -> {t_tc:.2f} ms on matrix units")
    print(f"  launches {n.launches} -> {n.launches * a.node_us / 1e3:.2f} ms at {a.node_us} us each")
    print(f"  floor (max of traffic, arithmetic) {max(t_mem, t_dw + t_pw):.2f} ms; "
          f"practical {max(t_mem / 0.75, real_alu) + t_tc / 0.3 + n.launches * a.node_us / 1e3:.2f} ms; "
          f"stored for backward {n.stored * a.bytes / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
