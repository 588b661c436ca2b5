"""The architecture step and the weight step, recomputed from a dump's inputs and state."""

import json
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import detection
from layers import Mismatch, Store
from networks import forward

IGNORE = 255
warnings.filterwarnings("ignore", message="TF32 acceleration")  # said when oneDNN is switched off


@dataclass
class Variant:
    """One way of rounding: the dtype, the convolution library, the order of the images, a last-bit jitter."""

    dtype: torch.dtype
    onednn: bool = True
    reversed: bool = False
    jitter: int = 0  # seed; 0 does not move anything


class Task:
    """Frame, network and rules of a dump, and what the steps need of its tensors in one variant."""

    def __init__(self, metadata, tensors, variant, generator=None):
        self.task, self.frame = metadata["task"], metadata["frame"]
        self.net = json.loads(metadata["network"])
        self.rules = json.loads(metadata["step"])
        self.variant, self.generator = variant, generator
        self.tensors = tensors
        self.noise = torch.Generator().manual_seed(variant.jitter)

    def group(self, prefix):
        """Tensors under a prefix, floating ones in the variant's dtype."""
        found = {}
        for name, t in self.tensors.items():
            if name.startswith(prefix + "."):
                found[name[len(prefix) + 1:]] = self.cast(t)
        return found

    def cast(self, t):
        return t.detach().clone().to(self.variant.dtype) if t.is_floating_point() else t.clone()

    def jittered(self, found):
        """Every number moved by -1, 0 or +1 units of its last f32 bit."""
        if not self.variant.jitter:
            return found
        out = {}
        for k, t in found.items():
            move = torch.randint(-1, 2, t.shape, generator=self.noise).to(t.dtype)
            out[k] = t * (1 + move * 2.0 ** -23) if t.is_floating_point() else t
        return out

    def loss(self, store, alphas, phase):
        """Outputs, loss and, for detection, the targets, of one batch."""
        batch = self.jittered(self.group(f"input.{phase}"))
        image = batch["image"]
        n, _, height, width = image.shape
        turn = torch.arange(n - 1, -1, -1) if self.variant.reversed else torch.arange(n)
        outputs, maps = forward(store, self.frame, self.net, alphas, image[turn], self.task)
        outputs = {k: v[turn] for k, v in outputs.items()}
        if self.task == "det":
            boxes = self.tensors[f"input.{phase}.boxes"]
            label, offset = detection.targets(self.net, maps, boxes, n, height, width)
            loc, conf = outputs["loc"], outputs["conf"]
            if label.shape != conf.shape[:2]:
                raise Mismatch(f"{conf.shape[1]} outputs for {label.shape[1]} priors")
            value, used = detection.loss(loc, conf, label, offset)
            extra = {"label": label.int(), "offset": offset, "used": used.int()}
        elif self.task == "seg":
            value, extra = self.segmentation(outputs["logits"], batch["labels"].long()), {}
        else:
            value, extra = F.cross_entropy(outputs["logits"], batch["class"].long()), {}
        return outputs, value, extra

    def segmentation(self, logits, labels):
        valid = labels != IGNORE
        total = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        counted = {"all-pixels": labels.numel(), "valid-pixels": int(valid.sum())}
        return total / max(1, counted[self.rules["seg_loss"]])

    def store(self, weights=None):
        weights = self.jittered(self.group("before.w")) if weights is None else weights
        return Store(weights, self.group("before.buffer"), self.rules["bn"], self.generator,
                     self.variant.dtype)

    def frozen(self, name):
        return any(name.startswith(p) for p in self.rules.get("frozen", []))


def gradients(value, params):
    """Gradients of the reached ones among the named parameters."""
    found = torch.autograd.grad(value, list(params.values()), allow_unused=True)
    return {k: g for k, g in zip(params, found) if g is not None}


def wanted(params):
    return {k: v.detach().clone().requires_grad_(True) for k, v in params.items()}


def architecture_gradient(t):
    """First- or second-order gradient of the architecture parameters; outputs and loss at which it was taken."""
    alphas = wanted(t.group("before.alpha"))
    store = t.store()
    if t.rules.get("order", 1) == 1:
        outputs, value, extra = t.loss(store, alphas, "arch")
        return store, outputs, value, extra, gradients(value, alphas)
    w = wanted(store.weights)
    _, value, _ = t.loss(t.store(w), alphas, "weight")
    eta, sgd, buf = t.rules["weight"]["lr"], t.rules["weight"], t.group("before.momentum")
    g = gradients(value, {k: v for k, v in w.items() if not t.frozen(k)})
    moved = {k: v.detach() for k, v in w.items()}
    for k, d in g.items():
        d = d + sgd["weight_decay"] * moved[k]
        if k in buf:
            d = d + sgd["momentum"] * buf[k]
        moved[k] = moved[k] - eta * d
    moved = wanted(moved)
    store = t.store(moved)
    outputs, value, extra = t.loss(store, alphas, "arch")
    both = gradients(value, {**alphas, **{k: moved[k] for k in g}})
    v = {k: both[k] for k in g if k in both}
    r = 0.01 / norm(v.values())
    ends = []
    for sign in (1.0, -1.0):
        near = {k: p.detach() + sign * r * v[k] if k in v else p.detach() for k, p in w.items()}
        _, train, _ = t.loss(t.store(near), alphas, "weight")
        ends.append(gradients(train, alphas))
    grads = {}
    for k in alphas:
        if k in both:
            grads[k] = both[k] - eta * (ends[0][k] - ends[1][k]) / (2 * r)
    store.weights = {k: p.detach() for k, p in w.items()}  # the weight step starts from the weights before
    return store, outputs, value, extra, grads


def norm(tensors):
    return torch.sqrt(sum((t.double() ** 2).sum() for t in tensors)).to(next(iter(tensors)).dtype)


def adam(t, alphas, grads, m, v, steps):
    """Adam with coupled weight decay; parameters without a gradient are left alone."""
    rule = t.rules["arch"]
    b1, b2 = rule["beta1"], rule["beta2"]
    clip = rule.get("clip") or 0.0
    factor = min(1.0, clip / (float(norm(grads.values())) + 1e-6)) if clip and grads else 1.0
    out = {}
    for k, a in alphas.items():
        count = int(steps.get(k, 0))
        if k not in grads:
            out[f"alpha.{k}"] = a
            kept = (("adam_m", m), ("adam_v", v), ("adam_t", steps))
            out |= {f"{what}.{k}": state[k] for what, state in kept if k in state}
            continue
        g = grads[k] * factor + rule["weight_decay"] * a
        m_new = b1 * m.get(k, torch.zeros_like(a)) + (1 - b1) * g
        v_new = b2 * v.get(k, torch.zeros_like(a)) + (1 - b2) * g * g
        count += 1
        step = (m_new / (1 - b1 ** count)) / (torch.sqrt(v_new / (1 - b2 ** count)) + rule["eps"])
        out |= {f"alpha.{k}": a - rule["lr"] * step, f"adam_m.{k}": m_new, f"adam_v.{k}": v_new,
                f"adam_t.{k}": torch.tensor([count], dtype=torch.int32)}
    return out


def sgd(t, weights, grads, momentum):
    """Clipping by the common norm, coupled weight decay on all reached parameters, momentum without dampening."""
    rule, clip = t.rules["weight"], t.rules.get("clip") or 0.0
    total = norm(grads.values())
    factor = min(1.0, clip / (float(total) + 1e-6)) if clip else 1.0
    out = {}
    for k, w in weights.items():
        if k not in grads:
            out[f"w.{k}"] = w
            if k in momentum:
                out[f"momentum.{k}"] = momentum[k]
            continue
        d = grads[k] * factor + rule["weight_decay"] * w
        b = rule["momentum"] * momentum[k] + d if k in momentum else d
        out |= {f"w.{k}": w - rule["lr"] * b, f"momentum.{k}": b}
    return out


def recompute(t, from_dump):
    """Every tensor of the two steps; see `both_steps`."""
    with torch.backends.mkldnn.flags(enabled=t.variant.onednn):
        return both_steps(t, from_dump)


def both_steps(t, from_dump):
    """Every tensor of the two steps.

    `from_dump`: take each stage's inputs from the dump (gradients for the optimisers, architecture parameters
    for the weight step), so that an error is reported where it arises and rounding does not pile up.  Without
    it the stages feed each other: that is how a dump is made.  Returns the tensors, the weights whose gradient
    cancels, and the names read.
    """
    out = {}
    store, outputs, value, extra, grads = architecture_gradient(t)
    used = set(store.used)
    record(out, "arch", outputs, value, extra)
    out |= {f"arch.grad.{k}": g for k, g in grads.items()}
    g = t.group("arch.grad") if from_dump else grads
    after = adam(t, t.group("before.alpha"), g, t.group("before.adam_m"), t.group("before.adam_v"),
                 t.group("before.adam_t"))
    out |= {f"after_arch.{k}": a for k, a in after.items()}

    alphas = (t.group("after_arch.alpha") if from_dump else
              {k[6:]: a.detach() for k, a in after.items() if k.startswith("alpha.")})
    weights = wanted(store.weights)
    store = t.store(weights)
    store.update = {}
    outputs, value, extra = t.loss(store, alphas, "weight")
    used |= store.used
    record(out, "weight", outputs, value, extra)
    grads = gradients(value, {k: w for k, w in weights.items() if not t.frozen(k)})
    out |= {f"weight.grad.{k}": g for k, g in grads.items()}
    out["weight.grad_norm"] = norm(grads.values()).reshape(1)
    g = t.group("weight.grad") if from_dump else grads
    plain = {k: w.detach() for k, w in weights.items()}
    after = sgd(t, plain, g, t.group("before.momentum"))
    after |= {f"buffer.{k}": store.update.get(k, b) for k, b in store.buffers.items()}
    out |= {f"after.{k}": a for k, a in after.items()}
    return {k: v.detach() for k, v in out.items()}, dict(store.cancels), used


def record(out, phase, outputs, value, extra):
    out |= {f"{phase}.output.{k}": v for k, v in outputs.items()}
    out[f"{phase}.loss"] = value.reshape(1)
    out |= {f"{phase}.target.{k}": v for k, v in extra.items()}
