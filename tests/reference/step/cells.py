"""Primitives, mixed operation, mixed and derived cells."""

import ast

import torch
import torch.nn.functional as F

import names
from layers import Mismatch, batch_norm, conv, shuffle

NODES = 4


def relu_conv_bn(s, x, c, kernel, affine):
    """Kernel 1, or kernel 3 without padding."""
    a, b = names.RELU_CONV_BN
    return batch_norm(s / b, conv(s / a, F.relu(x), c, kernel), affine)


def factorized_reduce(s, x, c, affine):
    """ReLU, two stride-2 pointwise convolutions, the second one pixel down and right, concat, BN."""
    if x.shape[2] % 2 or x.shape[3] % 2:
        raise Mismatch(f"{s.path}: factorized reduction of an odd map {tuple(x.shape[2:])}")
    first, second, bn = names.FACTORIZED
    r = F.relu(x)
    halves = (conv(s / first, r, c // 2, 1, 2), conv(s / second, r[:, :, 1:, 1:], c // 2, 1, 2))
    return batch_norm(s / bn, torch.cat(halves, 1), affine)


def depthwise_separable(s, where, x, kernel, stride, dilation, affine):
    """ReLU, depthwise, pointwise, batch norm."""
    dw, pw, bn = (s / w for w in where)
    c = x.shape[1]
    if c == 1:
        # a single channel's factor is undone by the norm
        s.store.cancels[f"{pw.path}.weight"] = f"{dw.path}.weight"
    pad = dilation * (kernel // 2)
    y = conv(dw, F.relu(x), c, kernel, stride, pad, dilation, groups=c)
    return batch_norm(bn, conv(pw, y, c, 1), affine)


def separable(s, x, kernel, stride, affine):
    y = depthwise_separable(s, names.SEPARABLE[:3], x, kernel, stride, 1, affine)
    return depthwise_separable(s, names.SEPARABLE[3:], y, kernel, 1, 1, affine)


def dilated(s, x, kernel, stride, affine):
    return depthwise_separable(s, names.DILATED, x, kernel, stride, 2, affine)


def pool(s, x, kind, stride, search):
    if kind == "max":
        y = F.max_pool2d(x, 3, stride, 1)
    else:
        y = F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    return batch_norm(s / names.POOL_BN, y, affine=False) if search else y


def primitive(s, x, name, stride, search):
    """One candidate on all channels of x; None stands for zeros.  In a search network norms have no scale and shift."""
    if name == "none":
        return None
    if name == "skip_connect":
        return x if stride == 1 else factorized_reduce(s, x, x.shape[1], not search)
    if name.endswith("pool_3x3"):
        return pool(s, x, name[:3], stride, search)
    kernel = int(name[-1])
    op = separable if name.startswith("sep") else dilated
    return op(s, x, kernel, stride, not search)


def mixed_op(s, edge, x, weights, stride, k):
    """Weighted sum of the candidates on the first C / k channels; the rest bypasses (2x2 max pool if strided)."""
    active = x.shape[1] // k
    total = 0.0
    for p, name in enumerate(names.PRIMITIVES):
        y = primitive(s / names.mixed(edge, p), x[:, :active], name, stride, search=True)
        if y is not None:
            total = total + weights[p] * y
    if k == 1:
        return total
    rest = x[:, active:]
    if stride == 2:
        rest = F.max_pool2d(rest, 2, 2)
    return shuffle(torch.cat((total, rest), 1), k)


def edge_weights(beta):
    """Softmax over the incoming edges of each node."""
    sizes = [2 + node for node in range(NODES)]
    return torch.cat([F.softmax(part, 0) for part in beta.split(sizes)])


class Rule:
    """How the cells of a group are made: searched under architecture parameters, or from a genotype."""

    def __init__(self, group, spec, alphas, k):
        self.k, self.search = k, "alpha" in spec
        if self.search:
            self.tables = {}
            for kind in ("normal", "reduce"):
                a = alphas.get(names.alpha(spec["alpha"], kind))
                b = alphas.get(names.beta(spec["alpha"], kind))
                if a is not None:
                    ones = torch.ones(a.shape[0], dtype=a.dtype)
                    self.tables[kind] = (F.softmax(a, 1), ones if b is None else edge_weights(b))
        elif "genotype" in spec:
            self.genotype = parse_genotype(spec["genotype"])
        else:
            raise Mismatch(f"group {group}: neither alpha nor genotype")

    @property
    def affine(self):
        return not self.search

    def last_norms(self, s):
        """Prefixes of the affine norms right in front of the output of a derived normal cell: those of nodes that no
        other node reads."""
        if self.search:
            return []
        kept = self.genotype["normal"]
        read = {j - 2 for _, j in kept}
        last = {"sep": names.SEPARABLE[-1], "dil": names.DILATED[-1]}
        return [f"{(s / names.kept(i) / last[op[:3]]).path}." for i, (op, _) in enumerate(kept)
                if op[:3] in last and i // 2 not in read]

    def cell(self, s, states, reduction):
        """Concat of the four nodes; `states` are the two preprocessed inputs."""
        states = list(states)
        kind = "reduce" if reduction else "normal"
        c = states[0].shape[1]
        if states[0].shape != states[1].shape:
            raise Mismatch(f"{s.path}: inputs {tuple(states[0].shape)} and {tuple(states[1].shape)}")
        if self.search:
            if kind not in self.tables:
                raise Mismatch(f"{s.path}: no architecture parameters for a {kind} cell")
            alpha, beta = self.tables[kind]
            edge = 0
            for node in range(NODES):
                total = 0.0
                for j in range(2 + node):
                    stride = 2 if reduction and j < 2 else 1
                    y = mixed_op(s, edge, states[j], alpha[edge], stride, self.k)
                    total = total + beta[edge] * y
                    edge += 1
                states.append(total)
        else:
            for node in range(NODES):
                total = 0.0
                for i in (2 * node, 2 * node + 1):
                    op, j = self.genotype[kind][i]
                    stride = 2 if reduction and j < 2 else 1
                    total = total + primitive(s / names.kept(i), states[j], op, stride, search=False)
                states.append(total)
        out = torch.cat(states[2:], 1)
        assert out.shape[1] == NODES * c
        return out


def parse_genotype(text):
    """`Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), reduce=[...], ...)`."""
    call = ast.parse(text.strip(), mode="eval").body
    found = {k.arg: k.value for k in call.keywords}
    out = {}
    for kind in ("normal", "reduce"):
        pairs = [(str(op), int(j)) for op, j in ast.literal_eval(found[kind])]
        if len(pairs) != 2 * NODES:
            raise Mismatch(f"genotype: {len(pairs)} {kind} operations, expected {2 * NODES}")
        out[kind] = pairs
    return out


def inputs(s, s0, s1, c, halve_first, affine):
    """The usual preprocessing of a cell's two inputs."""
    p0, p1 = (s / p for p in names.PREPROCESS)
    first = factorized_reduce(p0, s0, c, affine) if halve_first else relu_conv_bn(p0, s0, c, 1, affine)
    return first, relu_conv_bn(p1, s1, c, 1, affine)
