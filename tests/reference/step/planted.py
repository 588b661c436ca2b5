"""Errors planted in a dump: each must be reported, and in the group of tensors where it arises."""

import contextlib
import types
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

import cells
import detection
import layers
import networks


@dataclass
class Plant:
    """`rule` and `patch` change how the dump is made, `edit` the dump afterwards.  `group` must not agree."""

    name: str
    case: str
    group: str
    rule: dict = field(default_factory=dict)
    patch: tuple = ()  # (module, attribute, replacement)
    edit: object = None


def with_functions(**changed):
    """torch.nn.functional with some functions replaced."""
    proxy = types.SimpleNamespace(**{k: getattr(F, k) for k in dir(F) if not k.startswith("_")})
    for k, v in changed.items():
        setattr(proxy, k, v)
    return proxy


@contextlib.contextmanager
def patched(*changes):
    old = [(m, a, getattr(m, a)) for m, a, _ in changes]
    try:
        for m, a, new in changes:
            setattr(m, a, new)
        yield
    finally:
        for m, a, value in old:
            setattr(m, a, value)


def scaled(name, factor):
    def edit(metadata, t):
        t[name] = t[name] * factor
    return edit


def wrong_shuffle(x, k):
    n, c, h, w = x.shape
    return x.reshape(n, c // k, k, h, w).transpose(1, 2).reshape(n, c, h, w)


def unshifted(s, x, c, affine):
    first, second, bn = (s / p for p in ("conv_1", "conv_2", "bn"))
    r = F.relu(x)
    y = torch.cat((layers.conv(first, r, c // 2, 1, 2), layers.conv(second, r, c // 2, 1, 2)), 1)
    return layers.batch_norm(bn, y, affine)


def undilated(s, x, c_out, kernel, stride=1, pad=0, dilation=1, groups=1, bias=False):
    return layers.conv(s, x, c_out, kernel, stride, pad // dilation, 1, groups, bias)


def early_tap(*args, **kw):
    """The tap at stride 4 is taken one cell too early."""
    outs = PLAIN_BACKBONE(*args, **kw)
    outs[1] = outs[0]
    return outs


def not_rectified(root, image, c, second_stride):
    """The half-resolution feature as it is before the in-place ReLU."""
    w = networks.names.STEM_HALF
    y = F.relu(networks.conv_bn(root, w[0:2], image, c // 2, 3, 2))
    half = networks.conv_bn(root, w[2:4], y, c, 3, second_stride)
    return half, networks.conv_bn(root, w[4:6], F.relu(half), c, 3, 2)


def clipped_priors(*args):
    return PLAIN_PRIORS(*args).clamp(0, 1)


def wide_bypass(x, kernel, stride, padding=0):
    return F.max_pool2d(x, 3, stride, 1) if kernel == 2 else F.max_pool2d(x, kernel, stride, padding)


def padding_counted(x, kernel, stride, padding, count_include_pad):
    return F.avg_pool2d(x, kernel, stride, padding)


def none_left_out(x, dim):
    """Softmax over seven columns of the alphas, `none` apart."""
    if x.dim() != 2:
        return F.softmax(x, dim)
    return torch.cat((torch.zeros_like(x[:, :1]), F.softmax(x[:, 1:], dim)), 1)


def decay_everything(metadata, t):
    """Weight decay also on weights that the loss does not reach."""
    reached = {k[len("weight.grad."):] for k in t if k.startswith("weight.grad.")}
    for k in t:
        if k.startswith("after.w.") and k[len("after.w."):] not in reached:
            t[k] = t[k] * (1 - 0.1 * 3e-4)


def not_a_number(metadata, t):
    t["weight.output.logits"].view(-1)[3] = float("nan")


def drop_gradient(metadata, t):
    del t["weight.grad.classifier.bias"]


def stray_gradient(metadata, t):
    t["arch.grad.det.alpha_normal"] = torch.zeros(14, 8, dtype=torch.float64)


def swapped_alphas(metadata, t):
    a = t["after_arch.alpha.backbone.alpha_normal"]
    a[3], a[4] = a[4].clone(), a[3].clone()


def stale_alphas(metadata, t):
    """The weight step reads the architecture parameters of before the architecture step."""
    from generate import dump
    other = dump("cifar-cls", "f64", rule=lambda s: s | {"arch": s["arch"] | {"lr": 0.0}})[1]
    t.update({k: v for k, v in other.items() if k.startswith(("weight.", "after."))})


PLAIN_BACKBONE, PLAIN_PRIORS = networks.backbone, detection.priors
NORMAL = "arch.grad.backbone.alpha_normal"

PLANTS = [
    Plant("alpha gradient x 1.0005", "cifar-cls-f64", "arch.grad", edit=scaled(NORMAL, 1.0005)),
    Plant("alpha gradient x 1.0005, f32", "cifar-cls-f32", "arch.grad", edit=scaled(NORMAL, 1.0005)),
    Plant("a weight gradient x 1.0005", "cifar-cls-f64", "weight.grad",
          edit=scaled("weight.grad.stem.0.weight", 1.0005)),
    Plant("wrong channel shuffle", "cifar-cls-f64", "arch.output", patch=((cells, "shuffle", wrong_shuffle),)),
    Plant("wrong channel shuffle, f32", "cifar-cls-f32", "arch.output",
          patch=((cells, "shuffle", wrong_shuffle),)),
    Plant("no weight decay", "cifar-cls-f64", "after.w",
          rule={"weight": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}}),
    Plant("no weight decay, f32", "cifar-cls-f32", "after.momentum",
          rule={"weight": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0}}),
    Plant("no clipping", "cifar-cls-f64", "after.w", rule={"clip": 0.0}),
    Plant("no decay of the alphas", "cifar-cls-f64", "after_arch.adam",
          rule={"arch": {"lr": 6e-4, "beta1": 0.5, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}}),
    Plant("Adam eps under the root", "cifar-cls-f64", "after_arch.alpha",
          rule={"arch": {"lr": 6e-4, "beta1": 0.5, "beta2": 0.999, "eps": 1e-4, "weight_decay": 1e-3}}),
    Plant("biased running variance", "cifar-cls-f64", "after.buffer",
          patch=((layers, "bessel", lambda n: 1.0),)),
    Plant("running statistics moved twice", "cifar-cls-f64", "after.buffer",
          rule={"bn": {"eps": 1e-5, "momentum": 0.19}}),
    Plant("batch norm eps 1e-3", "cifar-cls-f64", "arch.output",
          rule={"bn": {"eps": 1e-3, "momentum": 0.1}}),
    Plant("factorized reduction without its shift", "cifar-cls-f64", "arch.output",
          patch=((cells, "factorized_reduce", unshifted),)),
    Plant("betas over all edges", "cifar-cls-f64", "arch.output",
          patch=((cells, "edge_weights", lambda b: F.softmax(b, 0)),)),
    Plant("softmax without none", "cifar-cls-f64", "arch.output",
          patch=((cells, "F", with_functions(softmax=none_left_out)),)),
    Plant("3x3 bypass pool", "cifar-cls-f64", "arch.output",
          patch=((cells, "F", with_functions(max_pool2d=wide_bypass)),)),
    Plant("average pool counts padding", "cifar-cls-f64", "arch.output",
          patch=((cells, "F", with_functions(avg_pool2d=padding_counted)),)),
    Plant("dilation 1", "cifar-cls-f64", "arch.output", patch=((cells, "conv", undilated),)),
    Plant("stale alphas in the weight step", "cifar-cls-f64", "weight.output", edit=stale_alphas),
    Plant("two alpha rows swapped after the step", "cifar-cls-f64", "after_arch.alpha",
          edit=swapped_alphas),
    Plant("not a number", "cifar-cls-f64", "weight.output", edit=not_a_number),
    Plant("not a number, f32", "cifar-cls-f32", "weight.output", edit=not_a_number),
    Plant("a gradient is missing", "cifar-cls-f64", "weight.grad", edit=drop_gradient),
    Plant("gradient of a parameter not reached", "release-seg-f64", "arch.grad", edit=stray_gradient),
    Plant("decay of weights not reached", "release-seg-f64", "after.w", edit=decay_everything),
    Plant("segmentation loss by valid pixels", "peer-seg-f64", "arch.loss",
          rule={"seg_loss": "valid-pixels"}),
    Plant("half-resolution feature not rectified", "release-seg-f64", "arch.output",
          patch=((networks, "half_stem", not_rectified),)),
    Plant("a tap one cell early", "release-det-5-cells-f64", "arch.output",
          patch=((networks, "backbone", early_tap),)),
    Plant("two negatives a positive", "peer-det-f64", "arch.target",
          patch=((detection, "NEGATIVES", 2),)),
    Plant("overlap 0.4", "peer-det-f64", "arch.target", patch=((detection, "OVERLAP", 0.4),)),
    Plant("clipped priors", "peer-det-f64", "arch.target",
          patch=((detection, "priors", clipped_priors),)),
    Plant("first order for second", "release-det-order2-f64", "arch.grad", rule={"order": 1}),
]
