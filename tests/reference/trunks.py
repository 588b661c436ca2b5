"""Trunks of torchvision, with weights that a formula makes of a tensor's name, against which `src/model/trunk/reference_tests.rs` holds
the engine's: `python trunks.py` prints its literals, `--count` parameters and multiply-adds at 224x224, `--names` hashes of the names and
shapes, `--timm` the names and shapes of timm's MobileNetV2. Tried with torch 2.11, torchvision 0.26, timm 1.0.31.

The formula: element i of the tensor `name` is ((h xor (i * 2654435761)) * 1103515245 + 12345) mod 2^32, its upper 24 bits over 2^24, less
a half, where h is FNV-1a of the name, 32 bits.
"""
import hashlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

torch.set_num_threads(2)
M = np.uint64(0xFFFFFFFF)


def uniform(name, n):
    h = 2166136261
    for byte in name.encode():
        h = (h ^ byte) * 16777619 & 0xFFFFFFFF
    i = np.arange(n, dtype=np.uint64)
    x = (np.uint64(h) ^ (i * np.uint64(2654435761) & M)) & M
    x = (x * np.uint64(1103515245) + np.uint64(12345)) & M
    return (x >> np.uint64(8)).astype(np.float64) / 2.0**24 - 0.5


def fill(net):
    for name, t in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        u = uniform(name, t.numel())
        if name.endswith("running_var"):
            v = 1.0 + 0.5 * u
        elif name.endswith("running_mean"):
            v = 0.2 * u
        elif t.dim() == 1:
            v = 0.2 * u + (1.0 if name.endswith("weight") else 0.0)
        else:
            v = u * np.sqrt(24.0 / (t.numel() / t.shape[0]))
        t.copy_(torch.from_numpy(v.reshape(tuple(t.shape))))
    return net.eval()


def image(h, w):
    return torch.from_numpy(uniform("image", 3 * h * w).reshape(1, 3, h, w) * 4.0)


def vgg(deeplab):
    net = models.vgg16_bn()
    if not deeplab:
        hidden = 8  # in place of 4096, so that a test can hold it
        net.classifier[0] = nn.Linear(25088, hidden)
        net.classifier[3] = nn.Linear(hidden, hidden)
        net.classifier[6] = nn.Linear(hidden, 5)
        return net
    layers = net.features
    for i in (33, 43):
        layers[i] = nn.MaxPool2d(3, 1, 1)
    for i in (34, 37, 40):
        layers[i].dilation, layers[i].padding = (2, 2), (2, 2)
    hidden = 8  # in place of 1024
    net.avgpool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    net.classifier = nn.Sequential(
        nn.Conv2d(512, hidden, 3, padding=12, dilation=12, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(), nn.Dropout(),
        nn.Conv2d(hidden, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(), nn.Dropout(),
        nn.Conv2d(hidden, 5, 1),
    )
    net.forward = lambda x: net.classifier(net.avgpool(net.features(x))).mean((2, 3))
    return net


def layer(c, out, k, stride=1, padding=0):
    return [nn.Conv2d(c, out, k, stride, padding), nn.BatchNorm2d(out)]


class Mtl(nn.Module):
    """The hand-crafted baseline of the MTNAS release (systems.md 4) with five levels of detection, by our names."""

    def __init__(self, objects, labels, levels=5):
        super().__init__()
        self.trunk = models.resnet18()
        del self.trunk.fc
        self.top = nn.ModuleList(nn.Sequential(*layer(c, out, 1)) for c, out in ((512, 256), (256, 128), (128, 64), (64, 64)))
        first, second = layer(512, 256, 1), layer(256, 512, 3, 2, 1)
        self.extra = nn.ModuleList([nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU())])
        widths = (64, 128, 256, 512, 512)[:levels]
        self.loc = nn.ModuleList(nn.Sequential(*layer(c, 6 * 6, 3, 1, 1)) for c in widths)
        self.conf = nn.ModuleList(nn.Sequential(*layer(c, 6 * (objects + 1), 3, 1, 1)) for c in widths)
        self.seg_out = nn.Sequential(*layer(64, labels, 1))
        self.objects = objects

    def forward(self, x):
        t = self.trunk
        half = t.relu(t.bn1(t.conv1(x)))
        f0 = t.layer1(t.maxpool(half))
        f1 = t.layer2(f0)
        f2 = t.layer3(f1)
        f3 = t.layer4(f2)
        sums, y = [], f3
        for top, tap in zip(self.top, (f2, f1, f0, half)):
            y = tap + F.interpolate(top(y), scale_factor=2)
            sums.append(y)
        seg = F.interpolate(self.seg_out(sums[3]), scale_factor=2)
        features = [sums[2], sums[1], sums[0], f3, self.extra[0](f3)]
        rows = lambda heads, width: torch.cat(
            [head(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, width) for head, x in zip(heads, features)], 1)
        return rows(self.loc, 6), rows(self.conf, self.objects + 1), seg


def probes(t):
    """Three weighted sums of a tensor: what a slip anywhere in it changes."""
    v = t.reshape(-1).numpy()
    return [float((v * uniform(f"probe {k}", v.size)).sum()) for k in range(3)]


CASES = [
    ("Resnet18", lambda: models.resnet18(num_classes=5), (41, 53)),
    ("Resnet34", lambda: models.resnet34(num_classes=5), (32, 32)),
    ("Resnet50", lambda: models.resnet50(num_classes=5), (41, 53)),
    ("Vgg16", lambda: vgg(False), (32, 32)),
    ("Vgg16Deeplab", lambda: vgg(True), (36, 28)),
    ("MobileNetV2", lambda: models.mobilenet_v2(num_classes=5), (41, 53)),
]


def count():
    for make in (models.resnet18, models.resnet34, models.resnet50, models.vgg16_bn, models.mobilenet_v2):
        net, macs = make().eval(), {"conv": 0, "linear": 0}

        def conv(m, x, y):
            macs["conv"] += y.numel() * m.weight[0].numel()

        def linear(m, x, y):
            macs["linear"] += m.weight.numel()

        for m in net.modules():
            if isinstance(m, nn.Conv2d):
                m.register_forward_hook(conv)
            if isinstance(m, nn.Linear):
                m.register_forward_hook(linear)
        with torch.no_grad():
            net(torch.zeros(1, 3, 224, 224))
        print(make.__name__, sum(p.numel() for p in net.parameters()), macs)


def lines(net):
    """Names and shapes, counters left out, sorted."""
    shapes = {n: ",".join(map(str, t.shape)) for n, t in net.state_dict().items() if not n.endswith("num_batches_tracked")}
    return "".join(f"{n} {shapes[n]}\n" for n in sorted(shapes))


def names():
    for make in (models.resnet18, models.resnet34, models.resnet50, models.vgg16_bn, models.mobilenet_v2):
        text = lines(make())
        print(make.__name__, text.count("\n"), hashlib.sha256(text.encode()).hexdigest())


def main():
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        for name, make, (h, w) in CASES:
            y = fill(make())(image(h, w))[0]
            print(f"    (TrunkKind::{name}, [{h}, {w}], [{', '.join(f'{v:.9e}' for v in y.tolist())}]),")
        for name, y in zip(("loc", "conf", "seg"), fill(Mtl(3, 4))(image(64, 128))):
            print(f"    (\"{name}\", {list(y.shape)}, [{', '.join(f'{v:.9e}' for v in probes(y))}]),")


if __name__ == "__main__":
    if "--count" in sys.argv:
        count()
    elif "--names" in sys.argv:
        names()
    elif "--timm" in sys.argv:  # into timm_mobilenetv2_100.txt
        import timm

        print(lines(timm.create_model("mobilenetv2_100")), end="")
    else:
        main()
