"""Candidate operations and the mixed operation of the peer.

Two ways of computing one function: `usual`, as such code is commonly written, and `tuned`, cheaper in eager
mode (no `none`, one shared ReLU, mixing weight inside the last batch norm, concat and shuffle in one copy).
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

OPS = ("none", "skip", "max3", "avg3", "sep3", "sep5", "dil3", "dil5")


class Norm(nn.BatchNorm2d):
    """Batch norm, in a supernet without scale and shift.  `scale`, a 0-d tensor, multiplies the output; passing
    it as the norm's weight saves a pass over the tensor."""

    def __init__(self, channels, affine=False):
        super().__init__(channels, affine=affine)

    def forward(self, x, scale=None):
        if scale is None:
            return super().forward(x)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        weight = scale.to(self.running_mean.dtype).expand(self.num_features).contiguous()
        return F.batch_norm(x, self.running_mean, self.running_var, weight, None,
                            True, self.momentum, self.eps)


def depthwise(channels, kernel, stride, dilation=1):
    pad = dilation * (kernel // 2)
    return nn.Conv2d(channels, channels, kernel, stride, pad, dilation,
                     groups=channels, bias=False)


def pointwise(c_in, c_out):
    return nn.Conv2d(c_in, c_out, 1, bias=False)


class SepConv(nn.Module):
    """(ReLU, depthwise, pointwise, BN) twice; the stride is in the first."""

    def __init__(self, c, kernel, stride, affine=False):
        super().__init__()
        self.dw1 = depthwise(c, kernel, stride)
        self.pw1 = pointwise(c, c)
        self.bn1 = Norm(c, affine)
        self.dw2 = depthwise(c, kernel, 1)
        self.pw2 = pointwise(c, c)
        self.bn2 = Norm(c, affine)

    def forward(self, x, scale=None, rectified=None):
        r = F.relu(x) if rectified is None else rectified
        h = self.bn1(self.pw1(self.dw1(r)))
        return self.bn2(self.pw2(self.dw2(F.relu(h))), scale)


class DilConv(nn.Module):
    """ReLU, depthwise with dilation 2, pointwise, BN."""

    def __init__(self, c, kernel, stride, affine=False):
        super().__init__()
        self.dw = depthwise(c, kernel, stride, dilation=2)
        self.pw = pointwise(c, c)
        self.bn = Norm(c, affine)

    def forward(self, x, scale=None, rectified=None):
        r = F.relu(x) if rectified is None else rectified
        return self.bn(self.pw(self.dw(r)), scale)


class Pool(nn.Module):
    """3x3 pool, in a supernet followed by a batch norm."""

    def __init__(self, c, kind, stride, norm=True):
        super().__init__()
        self.kind, self.stride = kind, stride
        self.bn = Norm(c) if norm else None

    def forward(self, x, scale=None, rectified=None):
        if self.kind == "max":
            y = F.max_pool2d(x, 3, self.stride, 1)
        else:
            y = F.avg_pool2d(x, 3, self.stride, 1, count_include_pad=False)
        return y if self.bn is None else self.bn(y, scale)


class HalveConv(nn.Module):
    """ReLU, two stride-2 pointwise convolutions on shifted grids, concat, BN."""

    def __init__(self, c_in, c_out, affine=False):
        super().__init__()
        self.a = nn.Conv2d(c_in, c_out // 2, 1, 2, bias=False)
        self.b = nn.Conv2d(c_in, c_out - c_out // 2, 1, 2, bias=False)
        self.bn = Norm(c_out, affine)

    def forward(self, x, scale=None, rectified=None):
        r = F.relu(x) if rectified is None else rectified
        y = torch.cat((self.a(r), self.b(r[:, :, 1:, 1:])), 1)
        return self.bn(y, scale)


class Skip(nn.Module):
    def forward(self, x, scale=None, rectified=None):
        return x if scale is None else x * scale.to(x.dtype)


class Zero(nn.Module):
    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, x, scale=None, rectified=None):
        s = self.stride
        return (x if s == 1 else x[:, :, ::s, ::s]).mul(0.0)


def make_op(name, c, stride, derived=False):
    """One candidate; `derived` has affine norms and none after a pool."""
    if name == "none":
        return Zero(stride)
    if name == "skip":
        return Skip() if stride == 1 else HalveConv(c, c, derived)
    if name in ("max3", "avg3"):
        return Pool(c, name[:3], stride, norm=not derived)
    if name in ("sep3", "sep5"):
        return SepConv(c, int(name[3]), stride, derived)
    if name in ("dil3", "dil5"):
        return DilConv(c, int(name[3]), stride, derived)
    raise ValueError(name)


def is_nhwc(x):
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


class MixedOp(nn.Module):
    """Softmax-weighted sum of the candidates on the first 1/k of the channels; the other channels bypass it; a
    channel shuffle over k groups follows."""

    def __init__(self, channels, stride, k, tuned):
        super().__init__()
        assert channels % k == 0, "channels must be a multiple of partial-k"
        self.k, self.stride, self.tuned = k, stride, tuned
        self.active = channels // k
        self.ops = nn.ModuleList(make_op(n, self.active, stride) for n in OPS)

    def active_sum(self, x, w):
        if not self.tuned:
            return sum(w[i] * op(x) for i, op in enumerate(self.ops))
        r = F.relu(x)  # shared by the ops that begin with a ReLU
        total = None
        for i, op in enumerate(self.ops):
            if i == 0:
                continue  # `none` adds exactly zero
            y = op(x, w[i], r)
            total = y if total is None else total + y
        return total

    def forward(self, x, w):
        w = w.to(x.dtype)
        if self.k == 1:
            return self.active_sum(x, w)
        a = self.active
        first, rest = x[:, :a], x[:, a:]
        y = self.active_sum(first, w)
        if self.stride != 1:
            rest = F.max_pool2d(rest, 2, 2)
        if self.tuned:
            return interleave([y] + [rest[:, i * a:(i + 1) * a] for i in range(self.k - 1)])
        return shuffle(torch.cat((y, rest), 1), self.k)


def shuffle(x, groups):
    b, c, h, w = x.shape
    if is_nhwc(x):
        z = x.permute(0, 2, 3, 1).reshape(b, h, w, groups, c // groups)
        return z.transpose(3, 4).reshape(b, h, w, c).permute(0, 3, 1, 2)
    return x.view(b, groups, c // groups, h, w).transpose(1, 2).reshape(b, c, h, w)


def interleave(parts):
    """Concat and channel shuffle in one copy."""
    if is_nhwc(parts[0]):
        z = torch.stack([p.permute(0, 2, 3, 1) for p in parts], dim=-1)
        return z.flatten(3).permute(0, 3, 1, 2)
    return torch.stack(parts, dim=2).flatten(1, 2)
