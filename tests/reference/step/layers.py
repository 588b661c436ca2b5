"""Parameters by name, and the layers that read them.

Written from the description of the networks, in plain PyTorch functions; nothing here is shared with the engine or with
the benchmark peers.
"""

import math

import torch
import torch.nn.functional as F


class Mismatch(Exception):
    """The dump does not hold what the network needs."""


class Store:
    """Weights and buffers by name.  With a `generator` missing ones are created, else they are an error."""

    def __init__(self, weights, buffers, bn, generator=None, dtype=None):
        self.weights, self.buffers, self.generator, self.dtype = weights, buffers, generator, dtype
        self.eps, self.momentum = bn["eps"], bn["momentum"]
        self.update = None  # a dict: batch norms put their new running statistics there
        self.used = set()
        # weights whose gradient cancels to rounding -> the weight whose gradient has the size of what cancels
        self.cancels = {}

    def fetch(self, table, name, shape, create):
        self.used.add(name)
        if name not in table:
            if self.generator is None:
                raise Mismatch(f"{name} {tuple(shape)} is not in the dump")
            table[name] = create().to(self.dtype)
        if tuple(table[name].shape) != tuple(shape):
            raise Mismatch(f"{name} has shape {tuple(table[name].shape)}, expected {tuple(shape)}")
        return table[name]

    def weight(self, name, shape, fan_in):
        def create():
            bound = 1 / math.sqrt(fan_in)
            u = torch.rand(*shape, generator=self.generator, dtype=torch.float64)
            return (2 * u - 1) * bound
        return self.fetch(self.weights, name, shape, create)

    def scale_or_shift(self, name, channels, centre):
        def create():
            return centre + 0.1 * torch.randn(channels, generator=self.generator, dtype=torch.float64)
        return self.fetch(self.weights, name, (channels,), create)

    def statistic(self, name, channels, centre):
        def create():
            r = torch.rand(channels, generator=self.generator, dtype=torch.float64)
            return centre + 0.2 * (r - 0.5)
        return self.fetch(self.buffers, name, (channels,), create)


class Scope:
    """A place in the dotted names; `scope / "op.1"` is a place below."""

    def __init__(self, store, path=""):
        self.store, self.path = store, path

    def __truediv__(self, part):
        return Scope(self.store, f"{self.path}.{part}" if self.path else str(part))


def conv(s, x, c_out, kernel, stride=1, pad=0, dilation=1, groups=1, bias=False):
    c_in = x.shape[1]
    fan_in = c_in // groups * kernel * kernel
    w = s.store.weight(f"{s.path}.weight", (c_out, c_in // groups, kernel, kernel), fan_in)
    b = s.store.weight(f"{s.path}.bias", (c_out,), fan_in) if bias else None
    return F.conv2d(x, w, b, stride, pad, dilation, groups)


def conv_transposed(s, x, c_out, kernel, stride, pad, bias=False):
    c_in = x.shape[1]
    fan_in = c_out * kernel * kernel
    w = s.store.weight(f"{s.path}.weight", (c_in, c_out, kernel, kernel), fan_in)
    b = s.store.weight(f"{s.path}.bias", (c_out,), fan_in) if bias else None
    return F.conv_transpose2d(x, w, b, stride, pad)


def linear(s, x, c_out):
    w = s.store.weight(f"{s.path}.weight", (c_out, x.shape[1]), x.shape[1])
    return F.linear(x, w, s.store.weight(f"{s.path}.bias", (c_out,), x.shape[1]))


def bessel(n):
    """Unbiased over biased variance of n values."""
    return n / max(1, n - 1)


def batch_norm(s, x, affine):
    """Training mode: normalised by the biased variance of the batch; the running variance takes the unbiased."""
    st, c = s.store, x.shape[1]
    mean = st.statistic(f"{s.path}.running_mean", c, 0.0)
    var = st.statistic(f"{s.path}.running_var", c, 1.0)
    if st.update is not None:
        d = x.detach()
        batch_var = d.var((0, 2, 3), unbiased=False) * bessel(d.numel() // c)
        keep = 1 - st.momentum
        st.update[f"{s.path}.running_mean"] = keep * mean + st.momentum * d.mean((0, 2, 3))
        st.update[f"{s.path}.running_var"] = keep * var + st.momentum * batch_var
    scale = st.scale_or_shift(f"{s.path}.weight", c, 1.0) if affine else None
    shift = st.scale_or_shift(f"{s.path}.bias", c, 0.0) if affine else None
    return F.batch_norm(x, None, None, scale, shift, True, 0.0, st.eps)


def conv_bias_bn(s_conv, s_bn, x, c_out, kernel, stride=1, pad=0):
    """Convolution with bias, then batch norm: the norm removes the shift, so the bias has no gradient but rounding."""
    s_conv.store.cancels[f"{s_conv.path}.bias"] = f"{s_conv.path}.weight"
    return batch_norm(s_bn, conv(s_conv, x, c_out, kernel, stride, pad, bias=True), affine=True)


def upsample2(x):
    """Nearest neighbour, factor 2."""
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def shuffle(x, k):
    """Channel shuffle over k groups: 8 channels, k 4 give 0 2 4 6 1 3 5 7."""
    n, c, h, w = x.shape
    return x.reshape(n, k, c // k, h, w).transpose(1, 2).reshape(n, c, h, w)
