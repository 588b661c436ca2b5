"""The three workloads as PyTorch modules: `cifar`, `mtnas-peer`, `mtnas-release`.

`forward(x, task)` gives logits for `cls` and `seg`, (loc, conf) for `det`, and all outputs for `both`.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from cells import (NODES, Arch, Cell, DerivedCell, ReluConvNorm, backbone_cells, run_cells,
                   standard_inputs)
from primitives import HalveConv

DET_CLASSES = 4  # object classes of `mtnas-peer`, without background
SEG_CLASSES = 16
ANCHORS = 6
RELEASE_CONF = 4  # class scores of `mtnas-release`, with background


class CifarNet(nn.Module):
    """PC-DARTS classification supernet."""

    tasks = ("cls",)

    def __init__(self, c, cells, k, tuned, classes=10):
        super().__init__()
        stem = 3 * c
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem))
        reds = {cells // 3, 2 * cells // 3} if cells >= 3 else set()
        self.cells, widths = backbone_cells(stem, c, cells, reds, k, tuned)
        self.head = nn.Linear(widths[-1], classes)
        self.arch = Arch()

    def forward(self, x, task):
        s = self.stem(x)
        return self.head(run_cells(self.cells, s, s, self.arch())[-1].mean((2, 3)))


class ConvNormRelu(nn.Sequential):
    def __init__(self, c_in, c_out, kernel=3, stride=1):
        super().__init__(nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
                         nn.BatchNorm2d(c_out), nn.ReLU())


class UpReluNorm(nn.Sequential):
    def __init__(self, c_in, c_out):
        super().__init__(nn.ConvTranspose2d(c_in, c_out, 4, 2, 1, bias=False),
                         nn.ReLU(), nn.BatchNorm2d(c_out))


def rows(t, width):
    """[N, A * width, H, W] to [N, H * W * A, width]."""
    return t.permute(0, 2, 3, 1).reshape(t.shape[0], -1, width)


class PeerNet(nn.Module):
    """Stem to stride 4, cells with three reductions to stride 32, FPN over strides 8, 16, 32, an SSD head over
    four levels and an FCN head."""

    tasks = ("det", "seg")
    loc_width, conf_width = 4, DET_CLASSES + 1

    def __init__(self, c, cells, k, tuned, fpn=64):
        super().__init__()
        if cells < 3:
            raise SystemExit("mtnas-peer needs --cells 3 or more (three reductions)")
        half = max(8, c // 2)
        self.stem = nn.Sequential(
            nn.Conv2d(3, half, 3, 2, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
            nn.Conv2d(half, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c))
        reds = [cells * i // 4 for i in (1, 2, 3)]
        self.cells, widths = backbone_cells(c, c, cells, set(reds), k, tuned)
        # last cell at strides 8, 16 and 32
        self.taps = (reds[1] - 1, reds[2] - 1, cells - 1)
        self.lateral = nn.ModuleList(nn.Conv2d(widths[t], fpn, 1) for t in self.taps)
        self.smooth = nn.ModuleList(ConvNormRelu(fpn, fpn) for _ in self.taps)
        self.extra = ConvNormRelu(fpn, fpn, 3, 2)  # stride 64
        self.loc = nn.ModuleList(nn.Conv2d(fpn, ANCHORS * 4, 3, 1, 1) for _ in range(4))
        self.cls = nn.ModuleList(
            nn.Conv2d(fpn, ANCHORS * (DET_CLASSES + 1), 3, 1, 1) for _ in range(4))
        self.up = nn.Sequential(UpReluNorm(fpn, fpn // 2), UpReluNorm(fpn // 2, fpn // 4),
                                nn.ConvTranspose2d(fpn // 4, SEG_CLASSES, 4, 2, 1))
        self.arch = Arch()

    def pyramid(self, x):
        s = self.stem(x)
        outs = run_cells(self.cells, s, s, self.arch())
        p = [lat(outs[t]) for lat, t in zip(self.lateral, self.taps)]
        for i in (1, 0):
            p[i] = p[i] + F.interpolate(p[i + 1], scale_factor=2, mode="nearest")
        return [s(q) for s, q in zip(self.smooth, p)]

    def forward(self, x, task):
        p = self.pyramid(x)
        seg = self.up(p[0]) if task in ("seg", "both") else None
        if task == "seg":
            return seg
        p.append(self.extra(p[-1]))
        loc = torch.cat([rows(h(q), 4) for h, q in zip(self.loc, p)], 1)
        cls = torch.cat([rows(h(q), DET_CLASSES + 1) for h, q in zip(self.cls, p)], 1)
        return (loc, cls) if task == "det" else (loc, cls, seg)

    @staticmethod
    def anchors(height, width):
        n = sum((height // s) * (width // s) for s in (8, 16, 32))
        n += math.ceil(height // 32 / 2) * math.ceil(width // 32 / 2)
        return n * ANCHORS


class HalveThenConv(nn.Sequential):
    """First input of detection cell 1: halved, then a 3x3 convolution without padding."""

    def __init__(self, c_in, c, affine):
        super().__init__(HalveConv(c_in, c, affine), ReluConvNorm(c, c, 3, affine))


class HeadConv(nn.Sequential):
    def __init__(self, c_in, c_out, kernel):
        super().__init__(nn.Conv2d(c_in, c_out, kernel, 1, kernel // 2), nn.BatchNorm2d(c_out))


class ReleaseNet(nn.Module):
    """The released frame: backbone, detection cells below it, segmentation cells as its top-down path, all
    mixed (supernet) or all derived from the published genotypes."""

    tasks = ("det", "seg")
    loc_width, conf_width = 6, RELEASE_CONF
    anchors_of_level = (6, 6, 6, 6, 6, 6, 4)

    def __init__(self, c, cells, k, tuned, reductions, levels=7, derived=False):
        super().__init__()
        if not 4 <= levels <= 7:
            raise SystemExit("mtnas-release has 4 to 7 detection levels")
        affine = derived
        self.stem0 = nn.Sequential(
            nn.Conv2d(3, c // 2, 3, 2, 1, bias=False), nn.BatchNorm2d(c // 2), nn.ReLU(),
            nn.Conv2d(c // 2, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c))
        self.stem1 = nn.Sequential(nn.Conv2d(c, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c))
        self.cells, widths = backbone_cells(c, c, cells, set(reductions), k, tuned,
                                            "mtnas-backbone" if derived else None, halved=True)
        self.taps = tuple(r - 1 for r in reductions)

        def cell(inputs, width, reduce, branch):
            if derived:
                return DerivedCell(inputs, width, reduce, f"mtnas-{branch}")
            return Cell(inputs, width, reduce, k, tuned)

        self.det_cells = nn.ModuleList()
        if levels > 4:
            last_reduces = cells - 1 in reductions
            pre = standard_inputs(widths[-2], widths[-1], 8 * c, last_reduces, affine)
            self.det_cells.append(cell(pre, 8 * c, True, "det"))
        if levels > 5:
            pre = (HalveThenConv(widths[-1], 4 * c, affine),
                   ReluConvNorm(32 * c, 4 * c, 3, affine))
            self.det_cells.append(cell(pre, 4 * c, False, "det"))
        if levels > 6:
            pre = (ReluConvNorm(16 * c, 4 * c, 3, affine), ReluConvNorm(16 * c, 4 * c, 3, affine))
            self.det_cells.append(cell(pre, 4 * c, False, "det"))

        self.seg_cells = nn.ModuleList()
        c_in = widths[-1]
        for width in (4 * c, 2 * c, c, c // 4):
            pre = standard_inputs(c_in, c_in, width, False, affine)
            self.seg_cells.append(cell(pre, width, False, "seg"))
            c_in = NODES * width
        self.seg_out = HeadConv(c, SEG_CLASSES, 1)

        features = (4 * c, 8 * c, 16 * c, widths[-1], 32 * c, 16 * c, 16 * c)[:levels]
        self.loc = nn.ModuleList(
            HeadConv(f, 6 * a, 3) for f, a in zip(features, self.anchors_of_level))
        self.conf = nn.ModuleList(
            HeadConv(f, RELEASE_CONF * a, 3) for f, a in zip(features, self.anchors_of_level))
        if not derived:
            self.arch = nn.ModuleDict({g: Arch() for g in ("backbone", "det", "seg")})

    def forward(self, x, task):
        search = hasattr(self, "arch")
        arch = {g: a() for g, a in self.arch.items()} if search else {}
        half = F.relu(self.stem0(x))  # rectified in place in the release: both uses see it so
        outs = run_cells(self.cells, half, self.stem1(half), arch.get("backbone"))
        f3 = outs[-1]
        t, down = f3, []
        skips = [outs[i] for i in reversed(self.taps)] + [half]
        for cell, skip in zip(self.seg_cells, skips):
            if task == "det" and skip is half:
                break
            t = F.interpolate(cell(t, t, arch.get("seg")), scale_factor=2, mode="nearest") + skip
            down.append(t)
        seg = None
        if task != "det":
            seg = F.interpolate(self.seg_out(down[3]), scale_factor=2, mode="nearest")
            if task == "seg":
                return seg
        maps = [down[2], down[1], down[0], f3]
        s0, s1 = outs[-2], f3
        for i, cell in enumerate(self.det_cells):
            y = cell(s0, s1, arch.get("det"))
            s0, s1 = (y, y) if i == 1 else (s1, y)
            maps.append(y)
        loc = torch.cat([rows(h(m), 6) for h, m in zip(self.loc, maps)], 1)
        conf = torch.cat([rows(h(m), RELEASE_CONF) for h, m in zip(self.conf, maps)], 1)
        return (loc, conf) if task == "det" else (loc, conf, seg)

    @staticmethod
    def level_maps(height, width, levels):
        """Map sizes of the detection levels; refuses levels whose map would vanish."""
        maps = [(height // s, width // s) for s in (4, 8, 16, 32)]
        h, w = maps[-1]
        if levels > 4:
            if h % 2 or w % 2:
                raise SystemExit("detection cell 0 needs an even map at stride 32")
            h, w = h // 2, w // 2
            maps.append((h, w))
        for name in ("1", "2")[:max(0, levels - 5)]:
            h, w = h - 2, w - 2
            if h < 1 or w < 1:
                raise SystemExit(f"the map of detection cell {name} vanishes: fewer --levels")
            maps.append((h, w))
        return maps

    def anchors(self, height, width):
        maps = self.level_maps(height, width, len(self.loc))
        return sum(h * w * a for (h, w), a in zip(maps, self.anchors_of_level))


def default_reductions(cells):
    """Cells that halve the map in `mtnas-release`."""
    return (6, 9, 12) if cells == 14 else tuple(cells * i // 4 for i in (1, 2, 3))


def build(args):
    """The network of the command line."""
    tuned = args.impl == "tuned"
    if args.mode == "cifar":
        return CifarNet(args.channels, args.cells, args.partial_k, tuned)
    if args.mode == "mtnas-peer":
        return PeerNet(args.channels, args.cells, args.partial_k, tuned)
    reds = args.reductions or default_reductions(args.cells)
    return ReleaseNet(args.channels, args.cells, args.partial_k, tuned, reds, args.levels,
                      args.derived)
