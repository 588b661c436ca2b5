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
"""

import argparse


def conv(acc, c_in, c_out, taps, pos_in, pos_out, bn=True):
    """One dense convolution with BN and ReLU folded into its neighbours."""
    macs = c_in * c_out * taps * pos_out
    acc["tensor_macs"] += 3 * macs
    e_in, e_out = c_in * pos_in, c_out * pos_out
    acc["elements"] += 3 * e_in + (5 if bn else 3) * e_out
    acc["launches"] += 4
    acc["heads"] += 3 * e_in + (5 if bn else 3) * e_out


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mode", choices=("mtnas-peer", "cifar"), default="mtnas-peer")
    p.add_argument("--task", choices=("det", "seg"), default="seg")
    p.add_argument("--batch", type=int, default=0)
    p.add_argument("--height", type=int, default=0)
    p.add_argument("--width", type=int, default=0)
    p.add_argument("--channels", type=int, default=16)
    p.add_argument("--cells", type=int, default=8)
    p.add_argument("--partial-k", type=int, default=4)
    p.add_argument("--bytes", type=int, default=2, help="bytes per stored element")
    p.add_argument("--tbs", type=float, default=4.3, help="memory, TB/s")
    p.add_argument("--fp32", type=float, default=67, help="fp32 FMA peak, TFLOP/s")
    p.add_argument("--tensor", type=float, default=790, help="bf16 matrix rate, TFLOP/s")
    p.add_argument("--fp32-efficiency", type=float, default=0.45)
    p.add_argument("--node-us", type=float, default=2.0, help="cost of a dependent launch")
    p.add_argument("--recompute", action="store_true")
    a = p.parse_args()
    mt = a.mode == "mtnas-peer"
    b = a.batch or (32 if mt else 256)
    h, w = a.height or (320 if mt else 32), a.width or (512 if mt else 32)
    k, c = a.partial_k, a.channels
    acc = dict(dw_macs=0, pw_macs=0, tensor_macs=0, elements=0, launches=0, stored=0,
               edge_elements=0, cells=0, heads=0)

    if mt:
        conv(acc, 3, max(8, c // 2), 9, b * h * w, b * h * w // 4)
        conv(acc, max(8, c // 2), c, 9, b * h * w // 4, b * h * w // 16)
        pos, stem = b * h * w // 16, c
        reds = {a.cells * i // 4 for i in (1, 2, 3)}
    else:
        conv(acc, 3, 3 * c, 9, b * h * w, b * h * w)
        pos, stem = b * h * w, 3 * c
        reds = {a.cells // 3, 2 * a.cells // 3}
    c_pp = c_p = stem
    prev = False
    outs = []
    cur_pos = pos
    for i in range(a.cells):
        red = i in reds
        if red:
            c *= 2
        p_in = cur_pos
        p_out = cur_pos // 4 if red else cur_pos
        n = 0
        # preprocessing: two pointwise convolutions, no ReLU after their BN
        for c_in, factor in ((c_pp, 4 if prev else 1), (c_p, 1)):
            acc["tensor_macs"] += 3 * c_in * c * p_in
            n += 3.5 * c_in * p_in * factor + 5 * c * p_in
        act = c // k
        for node in range(4):
            n += 2 * k * act * p_out  # node and its gradient, written once
            for j in range(2 + node):
                s2 = red and j < 2
                ni = act * (p_in if s2 else p_out)
                no = act * p_out
                acc["edge_elements"] += no
                taps = 9 + 25 + 2 * 9 + 2 * 25
                acc["dw_macs"] += taps * no * (10 if a.recompute else 4)
                pw = 6 * act * no + (act * no if s2 else 0)
                acc["pw_macs"] += pw * (7 if a.recompute else 3)
                if a.recompute:
                    n += 3 * ni + 3 * (no + ni) + 3 * ni
                else:
                    extra = 2 if s2 else 0
                    n += ni + 4 * no + 4 * no + ni + 4 * no + extra * no
                    n += no + 4 * no + ni
                    n += no + 6 * no + ni + ni + 2 * no
                    n += 4 * no + 2 * ni + ni
                    acc["stored"] += 6 * no
                n += (k - 1) * ni + (k - 1) * no
        acc["elements"] += n
        acc["cells"] += n
        acc["launches"] += 13 + 15
        acc["stored"] += 2 * c * p_in + 4 * c * p_out
        c_pp, c_p, prev = c_p, 4 * c, red
        cur_pos = p_out
        outs.append((4 * c, p_out))
    if mt:
        f = 64
        rl = sorted(reds)
        taps_at = (rl[1] - 1, rl[2] - 1, a.cells - 1)
        for t in taps_at:
            conv(acc, outs[t][0], f, 1, outs[t][1], outs[t][1], bn=False)
            conv(acc, f, f, 9, outs[t][1], outs[t][1])
        if a.task == "det":
            p5 = outs[-1][1]
            conv(acc, f, f, 9, p5, p5 // 4)
            for q in [outs[t][1] for t in taps_at] + [p5 // 4]:
                conv(acc, f, 54, 9, q, q, bn=False)
        else:
            q = outs[taps_at[0]][1]
            conv(acc, f, 32, 4, q, 4 * q)
            conv(acc, 32, 16, 4, 4 * q, 16 * q)
            conv(acc, 16, 16, 4, 16 * q, 64 * q, bn=False)
    byts = acc["elements"] * a.bytes
    t_mem = byts / a.tbs / 1e9
    t_dw = 2 * acc["dw_macs"] / a.fp32 / 1e9
    t_pw = 2 * acc["pw_macs"] / a.fp32 / 1e9
    t_tc = 2 * acc["tensor_macs"] / a.tensor / 1e9
    real_alu = (t_dw + t_pw) / a.fp32_efficiency
    launches = acc["launches"] + 6
    print(f"{a.mode} {a.task if mt else ''} batch {b} {h}x{w} C={a.channels} cells={a.cells} k={k} "
          f"{'recompute' if a.recompute else 'stored'}")
    print(f"  sum of edge tensors {acc['edge_elements'] / 1e6:.1f} M elements")
    print(f"  traffic {byts / 1e9:.2f} GB (cells {acc['cells'] * a.bytes / 1e9:.2f}, stem/heads "
          f"{acc['heads'] * a.bytes / 1e9:.2f})  -> {t_mem:.2f} ms at {a.tbs} TB/s")
    print(f"  depthwise {2 * acc['dw_macs'] / 1e9:.1f} GFLOP -> {t_dw:.2f} ms, cell pointwise "
          f"{2 * acc['pw_macs'] / 1e9:.1f} GFLOP -> {t_pw:.2f} ms at fp32 peak; "
          f"{real_alu:.2f} ms at {a.fp32_efficiency:.0%}")
    print(f"  dense {2 * acc['tensor_macs'] / 1e9:.1f} GFLOP -> {t_tc:.2f} ms on matrix units")
    print(f"  launches {launches} -> {launches * a.node_us / 1e3:.2f} ms at {a.node_us} us each")
    print(f"  floor (max of traffic, arithmetic) {max(t_mem, t_dw + t_pw):.2f} ms; "
          f"practical {max(t_mem / 0.75, real_alu) + t_tc / 0.3 + launches * a.node_us / 1e3:.2f} ms; "
          f"stored for backward {acc['stored'] * a.bytes / 2**30:.2f} GiB")


if __name__ == "__main__":
    main()
