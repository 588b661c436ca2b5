"""Cells of the peer: mixed (supernet) and derived, and stacks of them."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from primitives import OPS, HalveConv, MixedOp, Norm, make_op, pointwise

NODES = 4
EDGES = sum(2 + i for i in range(NODES))  # 14

# op and input of the two edges of each node, nodes separated by a bar
GENOTYPES = {
    "mtnas-backbone": ("sep3 0 dil3 1 | skip 0 sep3 1 | sep3 1 sep3 3 | sep3 0 dil5 4",
                       "avg3 0 sep5 1 | sep3 0 dil5 2 | avg3 0 dil3 1 | dil3 1 dil5 3"),
    "mtnas-det": ("skip 0 sep3 1 | skip 0 sep3 2 | sep3 1 skip 0 | sep3 0 skip 1",
                  "avg3 0 max3 1 | max3 0 skip 2 | avg3 0 dil5 3 | skip 2 skip 3"),
    "mtnas-seg": ("dil3 1 sep5 0 | dil3 0 skip 1 | dil3 0 skip 1 | dil3 0 skip 2",
                  "dil3 0 skip 1 | max3 2 avg3 0 | dil3 0 skip 2 | skip 2 max3 0"),
}


class ReluConvNorm(nn.Module):
    def __init__(self, c_in, c_out, kernel=1, affine=False):
        super().__init__()
        # a 3x3 kernel is used without padding: it shrinks the map by two
        self.conv = (pointwise(c_in, c_out) if kernel == 1
                     else nn.Conv2d(c_in, c_out, kernel, bias=False))
        self.bn = Norm(c_out, affine)

    def forward(self, x):
        return self.bn(self.conv(F.relu(x)))


def standard_inputs(c_pp, c_p, c, prev_reduce, derived):
    """The usual preprocessing of a cell's two inputs."""
    first = HalveConv(c_pp, c, derived) if prev_reduce else ReluConvNorm(c_pp, c, 1, derived)
    return first, ReluConvNorm(c_p, c, 1, derived)


class Cell(nn.Module):
    """Mixed cell: every node sums the mixed operations over all its predecessors."""

    def __init__(self, inputs, c, reduce, k, tuned):
        super().__init__()
        self.reduce = reduce
        self.pre0, self.pre1 = inputs
        self.edges = nn.ModuleList()
        for i in range(NODES):
            for j in range(2 + i):
                stride = 2 if reduce and j < 2 else 1
                self.edges.append(MixedOp(c, stride, k, tuned))

    def forward(self, s0, s1, arch):
        alpha, beta = arch[self.reduce]
        states = [self.pre0(s0), self.pre1(s1)]
        e = 0
        for _ in range(NODES):
            acc = None
            for h in states:
                y = beta[e].to(h.dtype) * self.edges[e](h, alpha[e])
                acc = y if acc is None else acc + y
                e += 1
            states.append(acc)
        return torch.cat(states[2:], 1)


class DerivedCell(nn.Module):
    """Cell of a genotype: every node sums two operations."""

    def __init__(self, inputs, c, reduce, genotype):
        super().__init__()
        self.pre0, self.pre1 = inputs
        words = GENOTYPES[genotype][reduce].replace("|", " ").split()
        self.sources = [int(s) for s in words[1::2]]
        self.ops = nn.ModuleList(
            make_op(op, c, 2 if reduce and s < 2 else 1, derived=True)
            for op, s in zip(words[::2], self.sources))

    def forward(self, s0, s1, arch=None):
        states = [self.pre0(s0), self.pre1(s1)]
        for i in range(NODES):
            a, b = 2 * i, 2 * i + 1
            states.append(self.ops[a](states[self.sources[a]]) +
                          self.ops[b](states[self.sources[b]]))
        return torch.cat(states[2:], 1)


def edge_softmax(beta):
    """Edge normalisation: one softmax per node over its incoming edges."""
    return torch.cat([F.softmax(p, 0) for p in beta.split([2 + i for i in range(NODES)])])


class Arch(nn.Module):
    """Architecture parameters of one group: alphas and betas, normal and reduce."""

    def __init__(self):
        super().__init__()
        self.alpha_normal = nn.Parameter(1e-3 * torch.randn(EDGES, len(OPS)))
        self.alpha_reduce = nn.Parameter(1e-3 * torch.randn(EDGES, len(OPS)))
        self.beta_normal = nn.Parameter(1e-3 * torch.randn(EDGES))
        self.beta_reduce = nn.Parameter(1e-3 * torch.randn(EDGES))

    def forward(self):
        """(alpha, beta) of normal cells, then of reduction cells."""
        return ((F.softmax(self.alpha_normal, -1), edge_softmax(self.beta_normal)),
                (F.softmax(self.alpha_reduce, -1), edge_softmax(self.beta_reduce)))


def backbone_cells(stem_channels, c, cells, reductions, k, tuned, genotype=None, halved=False):
    """Stacked cells and their output channels.  `halved`: the first input of cell 0 has twice the
    resolution of the second."""
    stack, widths = nn.ModuleList(), []
    c_pp = c_p = stem_channels
    prev = halved
    for i in range(cells):
        red = i in reductions
        if red:
            c *= 2
        inputs = standard_inputs(c_pp, c_p, c, prev, genotype is not None)
        stack.append(DerivedCell(inputs, c, red, genotype) if genotype
                     else Cell(inputs, c, red, k, tuned))
        c_pp, c_p, prev = c_p, NODES * c, red
        widths.append(c_p)
    return stack, widths


def run_cells(stack, s0, s1, arch):
    outs = []
    for cell in stack:
        s0, s1 = s1, cell(s0, s1, arch)
        outs.append(s1)
    return outs
