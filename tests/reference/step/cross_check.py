"""Holds the reference's networks against the benchmark peers (benches/peers), which were written apart from it."""

import importlib
import os
import sys

import torch

import names
from layers import Store
from networks import forward

PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "benches", "peers")
COLUMN = {"none": 0, "max3": 1, "avg3": 2, "skip": 3, "sep3": 4, "sep5": 5, "dil3": 6, "dil5": 7}


def peer_modules():
    """The peers' modules; some share their names with ours, so ours step aside meanwhile."""
    ours = {n: sys.modules.pop(n) for n in ("cells", "networks") if n in sys.modules}
    sys.path.insert(0, PEERS)
    try:
        found = [importlib.import_module(n) for n in ("networks", "cells", "primitives")]
        for n in ("networks", "cells"):
            sys.modules.pop(n)
        return found
    finally:
        sys.path.remove(PEERS)
        sys.modules.update(ours)


class Names:
    """Walks a peer's modules and files its tensors under our names."""

    def __init__(self, primitives):
        self.primitives, self.weights, self.buffers = primitives, {}, {}

    def put(self, path, module):
        for k, v in module.named_parameters(recurse=False):
            self.weights[f"{path}.{k}"] = v.detach()
        for k, v in module.named_buffers(recurse=False):
            if k.startswith("running"):
                self.buffers[f"{path}.{k}"] = v

    def sequence(self, paths, modules):
        for path, module in zip(paths, modules, strict=True):
            self.put(path, module)

    def entry(self, path, module):
        """A cell's preprocessing."""
        if hasattr(module, "conv"):
            where = [f"{path}.{p}" for p in names.RELU_CONV_BN]
            self.sequence(where, (module.conv, module.bn))
        elif hasattr(module, "a"):
            where = [f"{path}.{p}" for p in names.FACTORIZED]
            self.sequence(where, (module.a, module.b, module.bn))
        else:
            for p, part in zip(names.HALVE_THEN_CONV, module):
                self.entry(f"{path}.{p}", part)

    def op(self, path, module):
        if hasattr(module, "dw1"):
            parts = (module.dw1, module.pw1, module.bn1, module.dw2, module.pw2, module.bn2)
            self.sequence([f"{path}.{p}" for p in names.SEPARABLE], parts)
        elif hasattr(module, "dw"):
            self.sequence([f"{path}.{p}" for p in names.DILATED], (module.dw, module.pw, module.bn))
        elif hasattr(module, "kind"):
            if module.bn is not None:
                self.put(f"{path}.{names.POOL_BN}", module.bn)
        elif hasattr(module, "a"):
            self.entry(path, module)

    def cell(self, path, module):
        for p, part in zip(names.PREPROCESS, (module.pre0, module.pre1)):
            self.entry(f"{path}.{p}", part)
        if hasattr(module, "edges"):
            for e, mixed in enumerate(module.edges):
                for name, op in zip(self.primitives.OPS, mixed.ops):
                    self.op(f"{path}.{names.mixed(e, COLUMN[name])}", op)
        else:
            for i, op in enumerate(module.ops):
                self.op(f"{path}.{names.kept(i)}", op)

    def cells(self, group, stack):
        for i, module in enumerate(stack):
            self.cell(names.cell(group, i), module)


def alphas_of(prefix, arch, primitives):
    """Columns in our order of primitives."""
    order = sorted(range(8), key=lambda i: COLUMN[primitives.OPS[i]])
    out = {}
    for kind in ("normal", "reduce"):
        out[names.alpha(prefix, kind)] = getattr(arch, f"alpha_{kind}").detach()[:, order]
        out[names.beta(prefix, kind)] = getattr(arch, f"beta_{kind}").detach()
    return out


def genotype_text(pair):
    long = {"sep": "sep_conv_{0}x{0}", "dil": "dil_conv_{0}x{0}", "max": "max_pool_3x3",
            "avg": "avg_pool_3x3", "ski": "skip_connect"}
    lists = []
    for text in pair:
        w = text.replace("|", " ").split()
        lists.append([(long[op[:3]].format(op[3:]), int(j)) for op, j in zip(w[::2], w[1::2])])
    return f"Genotype(normal={lists[0]}, reduce={lists[1]})"


def compare(frame, net, model, filed, alphas, image, tasks):
    """Largest relative difference of any output."""
    worst = 0.0
    for task in tasks:
        store = Store(filed.weights, filed.buffers, {"eps": 1e-5, "momentum": 0.1})
        with torch.no_grad():
            ours, _ = forward(store, frame, net, alphas, image, task)
            theirs = model(image, task)
        theirs = theirs if isinstance(theirs, tuple) else (theirs,)
        for a, b in zip(ours.values(), theirs, strict=True):
            worst = max(worst, float((a - b).abs().max() / b.abs().max()))
    return worst


def run():
    """(name, largest relative difference) of each network."""
    torch.manual_seed(5)
    nets, cells, primitives = peer_modules()
    priors = [{"ratios": [2, 3]}] * 6 + [{"ratios": [2]}]
    out = []

    def randomised(model):
        model = model.double().train()
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() < 3:
                    p.add_(0.3 * torch.randn_like(p))
        return model

    model = randomised(nets.CifarNet(8, 6, 4, False))
    f = Names(primitives)
    f.sequence(names.STEM_CIFAR, model.stem)
    f.cells("backbone", model.cells)
    f.put(names.CLASSIFIER, model.head)
    net = {"channels": 8, "cells": 6, "reductions": [2, 4], "k": 4, "classes": 10, "stem": "cifar",
           "groups": {"backbone": {"alpha": "b"}}}
    image = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    out.append(("cifar", compare("classifier", net, model, f, alphas_of("b", model.arch, primitives),
                                 image, ["cls"])))

    model = randomised(nets.PeerNet(8, 8, 2, True, fpn=16))
    f = Names(primitives)
    f.sequence(names.STEM_PEER, [m for m in model.stem if not isinstance(m, torch.nn.ReLU)])
    f.cells("backbone", model.cells)
    for i in range(3):
        f.put(f"{names.LATERAL}.{i}", model.lateral[i])
        f.put(f"{names.SMOOTH}.{i}.0", model.smooth[i][0])
        f.put(f"{names.SMOOTH}.{i}.1", model.smooth[i][1])
    f.sequence(names.EXTRA, list(model.extra)[:2])
    for i in range(4):
        f.put(f"{names.LOC}.{i}", model.loc[i])
        f.put(f"{names.CONF}.{i}", model.cls[i])
    for where, block in zip(names.UP, model.up):
        f.sequence(where, (block[0], block[2]))
    f.put(names.UP_LAST, model.up[2])
    net = {"channels": 8, "cells": 8, "reductions": [2, 4, 6], "k": 2, "fpn": 16, "det_outputs": 5,
           "seg_outputs": 16, "priors": priors[:4], "groups": {"backbone": {"alpha": "b"}}}
    image = torch.randn(2, 3, 96, 64, dtype=torch.float64)
    out.append(("mtnas-peer", compare("mtnas-peer", net, model, f,
                                      alphas_of("b", model.arch, primitives), image, ["det", "seg"])))

    # the derived network ends in a reduction cell and has all seven levels
    for derived, depth, levels, size in ((False, 8, 5, (128, 128)), (True, 7, 7, (320, 512))):
        model = randomised(nets.ReleaseNet(16, depth, 4, False, (2, 4, 6), levels, derived))
        f = Names(primitives)
        convs = [m for m in model.stem0 if not isinstance(m, torch.nn.ReLU)] + list(model.stem1)
        f.sequence(names.STEM_HALF, convs)
        for group, stack in (("backbone", model.cells), ("det", model.det_cells),
                             ("seg", model.seg_cells)):
            f.cells(group, stack)
        for kind, heads in ((names.LOC, model.loc), (names.CONF, model.conf)):
            for i, head in enumerate(heads):
                f.sequence([f"{kind}.{i}.{p}" for p in names.HEAD], head)
        f.sequence(names.SEG_OUT, model.seg_out)
        if derived:
            groups = {g: {"genotype": genotype_text(cells.GENOTYPES[f"mtnas-{g}"])}
                      for g in ("backbone", "det", "seg")}
            alphas = {}
        else:
            groups = {g: {"alpha": g} for g in ("backbone", "det", "seg")}
            alphas = {}
            for g in groups:
                alphas |= alphas_of(g, model.arch[g], primitives)
        net = {"channels": 16, "cells": depth, "reductions": [2, 4, 6], "k": 4, "levels": levels,
               "det_outputs": 4, "seg_outputs": 16, "priors": priors, "groups": groups}
        image = torch.randn(2, 3, *size, dtype=torch.float64)
        out.append((f"mtnas-release {'derived' if derived else 'supernet'}",
                    compare("mtnas-release", net, model, f, alphas, image, ["det", "seg"])))
    return out


if __name__ == "__main__":
    for name, error in run():
        print(f"{name:24} {error:.1e}")
