"""The three frames.  Each gives the outputs of one task: `loc` and `conf`, or `logits`; and the detection maps' sizes."""

import torch
import torch.nn.functional as F

import names
from cells import Rule, factorized_reduce, inputs, relu_conv_bn
from layers import (Mismatch, Scope, batch_norm, conv, conv_bias_bn, conv_transposed, linear,
                    upsample2)


def rows(y, width):
    """[N, A * width, H, W] to [N, H * W * A, width]: rows, columns, priors of a position."""
    n, _, h, w = y.shape
    return y.reshape(n, -1, width, h, w).permute(0, 3, 4, 1, 2).reshape(n, -1, width)


def backbone(root, net, rule, s0, s1, halved):
    """All cell outputs.  `halved`: cell 0 is built as after a reduction."""
    outs, c = [], net["channels"]
    for i in range(net["cells"]):
        reduction = i in net["reductions"]
        c = 2 * c if reduction else c
        s = root / names.cell("backbone", i)
        out = rule.cell(s, inputs(s, s0, s1, c, halved, rule.affine), reduction)
        s0, s1, halved = s1, out, reduction
        outs.append(out)
    return outs


def conv_bn(root, where, x, c, kernel, stride):
    a, b = where
    return batch_norm(root / b, conv(root / a, x, c, kernel, stride, kernel // 2), affine=True)


# ------------------------------------------------------------------------------------------- classifier

def classifier(root, net, alphas, image):
    c, stem = net["channels"], net["stem"]
    if stem == "cifar":
        s0 = s1 = conv_bn(root, names.STEM_CIFAR, image, 3 * c, 3, 1)
        halved = False
    else:
        s0, s1 = half_stem(root, image, c, second_stride=2 if stem == "imagenet" else 1)
        halved = True
    rule = Rule("backbone", net["groups"]["backbone"], alphas, net["k"])
    features = backbone(root, net, rule, s0, s1, halved)[-1].mean((2, 3))
    return {"logits": linear(root / names.CLASSIFIER, features, net["classes"])}, []


def half_stem(root, image, c, second_stride):
    """Convolutions 3 -> C/2 -> C -> C with a norm each; the second input has half the resolution of the first."""
    w = names.STEM_HALF
    y = F.relu(conv_bn(root, w[0:2], image, c // 2, 3, 2))
    s0 = F.relu(conv_bn(root, w[2:4], y, c, 3, second_stride))
    return s0, conv_bn(root, w[4:6], s0, c, 3, 2)


# ---------------------------------------------------------------------------------------- mtnas-release

def top_down(root, net, alphas, f3, taps, half, with_half):
    """feature2, feature1, feature0 and, if wanted, the segmentation feature."""
    c, spec = net["channels"], net["groups"]["seg"]
    skips = list(reversed(taps)) + [half]
    out, t, shifts = [], f3, []
    for i, skip in enumerate(skips if with_half else skips[:-1]):
        if spec.get("hand_crafted"):
            s = root / names.HAND_TOP_DOWN / i
            a, b = names.HEAD
            y = conv_bias_bn(s / a, s / b, t, (16 * c, 8 * c, 4 * c, c)[i], 1)
            shifts.append(f"{(s / b).path}.")
        else:
            rule = Rule("seg", spec, alphas, net["k"])
            s = root / names.cell("seg", i)
            width = (4 * c, 2 * c, c, c // 4)[i]
            y = rule.cell(s, inputs(s, t, t, width, False, rule.affine), reduction=False)
            shifts = rule.last_norms(s)
        t = upsample2(y) + skip
        out.append(t)
    if with_half:
        # only a pointwise convolution and a norm follow, which removes any shift
        root.store.cancels |= {f"{n}bias": f"{n}weight" for n in shifts}
    return out


def detection_cells(root, net, alphas, outs):
    """Features below stride 32, one a level beyond the fourth."""
    c, spec = net["channels"], net["groups"]["det"]
    found = []
    if spec.get("hand_crafted"):
        y = outs[-1]
        plan = ((16 * c, 32 * c, 2, 1), (8 * c, 16 * c, 1, 0), (8 * c, 16 * c, 1, 0))
        for i, (mid, wide, stride, pad) in enumerate(plan[:net["levels"] - 4]):
            s = root / names.HAND_EXTRA / i
            y = F.relu(conv_bias_bn(s / 0, s / 1, y, mid, 1))
            y = F.relu(conv_bias_bn(s / 3, s / 4, y, wide, 3, stride, pad))
            found.append(y)
        return found
    rule = Rule("det", spec, alphas, net["k"])
    p0, p1 = names.PREPROCESS
    s0, s1 = outs[-2], outs[-1]
    for i in range(net["levels"] - 4):
        s = root / names.cell("det", i)
        if i == 0:
            # after a last cell that reduces, the cell before it has twice the resolution
            halved = net["cells"] - 1 in net["reductions"]
            pair = inputs(s, s0, s1, 8 * c, halved, rule.affine)
        elif i == 1:
            a, b = names.HALVE_THEN_CONV
            y = factorized_reduce(s / p0 / a, s0, 4 * c, rule.affine)
            pair = (relu_conv_bn(s / p0 / b, y, 4 * c, 3, rule.affine),
                    relu_conv_bn(s / p1, s1, 4 * c, 3, rule.affine))
        else:
            pair = tuple(relu_conv_bn(s / p, s1, 4 * c, 3, rule.affine) for p in (p0, p1))
        y = rule.cell(s, pair, reduction=i == 0)
        s0, s1 = s1, y
        found.append(y)
    return found


def release(root, net, alphas, image, task):
    c = net["channels"]
    # the release rectifies the half-resolution feature in place: cell 0 and the last skip see it rectified
    half, s1 = half_stem(root, image, c, second_stride=1)
    rule = Rule("backbone", net["groups"]["backbone"], alphas, net["k"])
    outs = backbone(root, net, rule, half, s1, halved=True)
    taps = [outs[r - 1] for r in net["reductions"]]
    down = top_down(root, net, alphas, outs[-1], taps, half, with_half=task == "seg")
    if task == "seg":
        a, b = names.SEG_OUT
        y = conv_bias_bn(root / a, root / b, down[3], net["seg_outputs"], 1)
        return {"logits": upsample2(y)}, []
    features = [down[2], down[1], down[0], outs[-1]] + detection_cells(root, net, alphas, outs)
    loc, conf, width = [], [], net.get("loc_values", 6)
    a, b = names.HEAD
    for level, f in enumerate(features):
        per = priors_of(net, level)
        s = root / names.LOC / level
        loc.append(rows(conv_bias_bn(s / a, s / b, f, width * per, 3, 1, 1), width))
        s = root / names.CONF / level
        classes = net["det_outputs"]
        conf.append(rows(conv_bias_bn(s / a, s / b, f, classes * per, 3, 1, 1), classes))
    return ({"loc": torch.cat(loc, 1), "conf": torch.cat(conf, 1)},
            [tuple(f.shape[2:]) for f in features])


def priors_of(net, level):
    return 2 + 2 * len(net["priors"][level]["ratios"])


# ------------------------------------------------------------------------------------------- mtnas-peer

def peer(root, net, alphas, image, task):
    c, fpn = net["channels"], net["fpn"]
    w = names.STEM_PEER
    y = F.relu(conv_bn(root, w[0:2], image, max(8, c // 2), 3, 2))
    s = conv_bn(root, w[2:4], y, c, 3, 2)
    rule = Rule("backbone", net["groups"]["backbone"], alphas, net["k"])
    outs = backbone(root, net, rule, s, s, halved=False)
    reds = net["reductions"]
    taps = [outs[reds[1] - 1], outs[reds[2] - 1], outs[-1]]
    p = [conv(root / names.LATERAL / i, t, fpn, 1, bias=True) for i, t in enumerate(taps)]
    p[1] = p[1] + upsample2(p[2])
    p[0] = p[0] + upsample2(p[1])
    wanted = p[:1] if task == "seg" else p
    p = []
    for i, q in enumerate(wanted):
        s = root / names.SMOOTH / i
        p.append(F.relu(batch_norm(s / 1, conv(s / 0, q, fpn, 3, 1, 1), affine=True)))
    if task == "seg":
        y = p[0]
        for i, (a, b) in enumerate(names.UP):
            y = F.relu(conv_transposed(root / a, y, fpn // 2 // (i + 1), 4, 2, 1))
            y = batch_norm(root / b, y, affine=True)
        y = conv_transposed(root / names.UP_LAST, y, net["seg_outputs"], 4, 2, 1, bias=True)
        return {"logits": y}, []
    p.append(F.relu(conv_bn(root, names.EXTRA, p[-1], fpn, 3, 2)))
    loc, conf = [], []
    for level, q in enumerate(p):
        per, classes = priors_of(net, level), net["det_outputs"]
        loc.append(rows(conv(root / names.LOC / level, q, 4 * per, 3, 1, 1, bias=True), 4))
        conf.append(rows(conv(root / names.CONF / level, q, classes * per, 3, 1, 1, bias=True), classes))
    return ({"loc": torch.cat(loc, 1), "conf": torch.cat(conf, 1)},
            [tuple(q.shape[2:]) for q in p])


def forward(store, frame, net, alphas, image, task):
    root = Scope(store)
    if frame == "classifier":
        return classifier(root, net, alphas, image)
    if frame == "mtnas-release":
        return release(root, net, alphas, image, task)
    if frame == "mtnas-peer":
        return peer(root, net, alphas, image, task)
    raise Mismatch(f"unknown frame {frame}")
