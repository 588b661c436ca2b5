"""ABOUT

Needs PyTorch alone:

    from model import load
    net = load("model.safetensors")
    with torch.no_grad():
        outputs = net(image)      # image: (N, SIZE), normalised

    python model.py               # builds it, loads the weights, says what comes out
    python model.py --check FILE  # compares with the outputs stored in a safetensors file
"""

import json
import os
import struct
import sys

import torch
import torch.nn.functional as F
from torch import nn


class Group(nn.Module):
    """Layers by name; numbers are names too: `group[3]`."""

    def __getitem__(self, name):
        return getattr(self, str(name))


def seq(**layers):
    """Layers one after the other under the names `_0`, `_1`, ..., without the underscore."""
    chain = nn.Sequential()
    for name, layer in layers.items():
        chain.add_module(name[1:], layer)
    return chain


def rows(x, width):
    """(N, A width, H, W) to (N, H W A, width): a row for each prior."""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)


class Net(Group):
    def __init__(self):
        super().__init__()
        LAYERS

    def put(self, path, layer):
        """Puts a layer under a dotted name, in groups that are made as needed."""
        group = self
        *outer, last = path.split(".")
        for name in outer:
            if not hasattr(group, name):
                group.add_module(name, Group())
            group = getattr(group, name)
        group.add_module(last, layer)

    def forward(self, image):
        FORWARD


def read(path):
    """The tensors of a safetensors file of f32."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        values = torch.frombuffer(data, dtype=torch.float32, count=(last - first) // 4, offset=first)
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def load(path):
    """The network with the weights of a file, for inference."""
    net = Net()
    found = net.load_state_dict(read(path), strict=False)
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        raise ValueError(f"missing {missing}, not known {found.unexpected_keys}")
    return net.eval()


def main():
    here = os.path.splitext(os.path.abspath(__file__))[0]
    net = load(here + ".safetensors")
    if sys.argv[1:2] != ["--check"]:
        with torch.no_grad():
            for name, value in net(torch.zeros(1, SIZE)).items():
                print(name, tuple(value.shape))
        return 0
    stored = read(sys.argv[2])
    with torch.no_grad():
        outputs = net(stored.pop("image"))
    largest = 0.0
    for name, wanted in stored.items():
        difference = (outputs[name] - wanted).abs() / wanted.abs().clamp(min=1)
        largest = max(largest, difference.max().item())
    print(f"largest difference {largest:.3g}")
    return 0 if largest <= 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
