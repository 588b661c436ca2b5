"""The functions of torch.nn.functional that the reference uses, once more from their definitions.

`selftest.py` puts them in place of PyTorch's: padding, dilation, counting and transposition are then not taken on
trust, and in f32 they round in an order of their own, as another engine would.
"""

import torch


def pair(v):
    return v if isinstance(v, tuple) else (v, v)


def taps(x, kernel, stride, pad, dilation, fill):
    """The kernel * kernel shifted and strided views of the padded input, rows first."""
    n, c, h, w = x.shape
    big = x.new_full((n, c, h + 2 * pad, w + 2 * pad), fill)
    big[:, :, pad:pad + h, pad:pad + w] = x
    reach = dilation * (kernel - 1) + 1
    out = []
    for i in range(kernel):
        for j in range(kernel):
            y, z = i * dilation, j * dilation
            out.append(big[:, :, y:h + 2 * pad - reach + 1 + y:stride,
                           z:w + 2 * pad - reach + 1 + z:stride])
    return out


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    c_out, per, kernel, _ = weight.shape
    total = 0.0
    for t, view in enumerate(taps(x, kernel, stride, padding, dilation, 0.0)):
        w = weight[:, :, t // kernel, t % kernel]
        if per == 1 and groups == c_out:
            total = total + view * w.view(1, c_out, 1, 1)
        else:
            assert groups == 1
            total = total + torch.einsum("nchw,oc->nohw", view, w)
    return total if bias is None else total + bias.view(1, -1, 1, 1)


def conv_transpose2d(x, weight, bias=None, stride=1, padding=0):
    """Every input position adds its filter to the output."""
    n, _, h, w = x.shape
    _, c_out, kernel, _ = weight.shape
    big = x.new_zeros(n, c_out, (h - 1) * stride + kernel, (w - 1) * stride + kernel)
    for i in range(kernel):
        for j in range(kernel):
            y = torch.einsum("nchw,co->nohw", x, weight[:, :, i, j])
            part = torch.zeros_like(big)
            part[:, :, i:i + (h - 1) * stride + 1:stride, j:j + (w - 1) * stride + 1:stride] = y
            big = big + part
    out = big[:, :, padding:big.shape[2] - padding, padding:big.shape[3] - padding]
    return out if bias is None else out + bias.view(1, -1, 1, 1)


def linear(x, weight, bias):
    return x @ weight.t() + bias


def relu(x):
    return torch.where(x > 0, x, torch.zeros_like(x))


def max_pool2d(x, kernel, stride, padding=0):
    best = None
    for view in taps(x, kernel, stride, padding, 1, float("-inf")):
        best = view if best is None else torch.where(view > best, view, best)
    return best


def avg_pool2d(x, kernel, stride, padding, count_include_pad):
    assert not count_include_pad
    total = sum(taps(x, kernel, stride, padding, 1, 0.0))
    return total / sum(taps(torch.ones_like(x), kernel, stride, padding, 1, 0.0))


def batch_norm(x, running_mean, running_var, scale, shift, training, momentum, eps):
    assert training and running_mean is None and running_var is None
    # sums over a batch in double precision, as PyTorch's on the CPU
    centred = x.double() - x.double().mean((0, 2, 3), keepdim=True)
    y = (centred / torch.sqrt((centred * centred).mean((0, 2, 3), keepdim=True) + eps)).to(x.dtype)
    return y if scale is None else y * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def softmax(x, dim):
    e = torch.exp(x - x.max(dim, keepdim=True).values)
    return e / e.sum(dim, keepdim=True)


def cross_entropy(logits, target, ignore_index=-100, reduction="mean"):
    valid = target != ignore_index
    top = logits.max(1, keepdim=True).values
    lse = torch.log(torch.exp(logits - top).sum(1)) + top.squeeze(1)
    safe = torch.where(valid, target, torch.zeros_like(target))
    ce = torch.where(valid, lse - logits.gather(1, safe.unsqueeze(1)).squeeze(1), 0.0)
    return ce.sum() if reduction == "sum" else ce.sum() / valid.sum()


def smooth_l1_loss(a, b, reduction, beta):
    assert reduction == "none"
    d = (a - b).abs()
    return torch.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta)
