"""Priors, matching and the multi-box loss."""

import math

import torch
import torch.nn.functional as F

OVERLAP = 0.5  # of a prior and its best box, to be positive
NEGATIVES = 3  # mined for each positive of the image


def priors(net, maps, height, width):
    """[P, 4] centre x, centre y, width, height relative to the image, not clipped; float64."""
    out = []
    for spec, (rows, columns) in zip(net["priors"], maps, strict=True):
        step, small, large = spec["step"], spec["min"], spec["max"]
        sizes = [(small, small), (math.sqrt(small * large),) * 2]
        for r in spec["ratios"]:
            q = math.sqrt(r)
            sizes += [(small * q, small / q), (small / q, small * q)]
        for i in range(rows):
            for j in range(columns):
                cx, cy = (j + 0.5) * step / width, (i + 0.5) * step / height
                out += [(cx, cy, w / width, h / height) for w, h in sizes]
    return torch.tensor(out, dtype=torch.float64)


def match(prior, corner, classes):
    """Label (0 = background) and offsets of every prior for one image.  `corner` [n, 4] relative x1 y1 x2 y2."""
    count = prior.shape[0]
    label = torch.zeros(count, dtype=torch.int64)
    offset = torch.zeros(count, 4, dtype=torch.float64)
    if len(corner) == 0:
        return label, offset
    truth = corner.double().clamp(0, 1)
    box = torch.cat((prior[:, :2] - prior[:, 2:] / 2, prior[:, :2] + prior[:, 2:] / 2), 1).clamp(0, 1)
    low = torch.maximum(box[:, None, :2], truth[None, :, :2])
    high = torch.minimum(box[:, None, 2:], truth[None, :, 2:])
    inter = (high - low).clamp(min=0).prod(2)
    area = (box[:, 2:] - box[:, :2]).prod(1)[:, None] + (truth[:, 2:] - truth[:, :2]).prod(1)[None]
    iou = inter / (area - inter)
    # first index wins ties in both directions
    best_iou, best = first_max(iou, 1)
    owner = torch.where(best_iou >= OVERLAP, best, torch.full_like(best, -1))
    for g in range(len(truth)):
        owner[first_max(iou[:, g], 0)[1]] = g
    positive = owner >= 0
    g = owner[positive]
    label[positive] = classes[g].long() + 1
    centre = (truth[g, :2] + truth[g, 2:]) / 2
    size = truth[g, 2:] - truth[g, :2]
    p = prior[positive]
    offset[positive] = torch.cat(((centre - p[:, :2]) / (0.1 * p[:, 2:]),
                                  torch.log(size / p[:, 2:]) / 0.2), 1)
    return label, offset


def first_max(x, dim):
    """Largest value along a dimension and the lowest index that has it."""
    value = x.max(dim, keepdim=True).values
    order = torch.arange(x.shape[dim], dtype=torch.int64)
    shape = [1] * x.dim()
    shape[dim] = -1
    index = torch.where(x == value, order.view(shape), x.shape[dim]).min(dim).values
    return value.squeeze(dim), index


def targets(net, maps, boxes, batch, height, width):
    """Labels [N, P] and offsets [N, P, 4] of rows (image, class, x1, y1, x2, y2) in pixels."""
    prior = priors(net, maps, height, width)
    scale = torch.tensor([width, height, width, height], dtype=torch.float64)
    labels, offsets = [], []
    for n in range(batch):
        mine = boxes[boxes[:, 0] == n].double()
        label, offset = match(prior, mine[:, 2:] / scale, mine[:, 1])
        labels.append(label)
        offsets.append(offset)
    return torch.stack(labels), torch.stack(offsets)


def loss(loc, conf, label, offset):
    """Smooth L1 over positives and cross entropy over positives and mined negatives, by the number of positives.
    Also the priors used (positive or mined)."""
    n, p = label.shape
    ce = torch.logsumexp(conf, 2) - conf.gather(2, label[..., None]).squeeze(2)
    positive = label > 0
    used = positive.clone()
    for i in range(n):
        background = torch.nonzero(~positive[i]).squeeze(1)
        hardness = ce[i].detach()[background]
        order = torch.argsort(hardness, descending=True, stable=True)
        used[i, background[order[:NEGATIVES * int(positive[i].sum())]]] = True
    box = F.smooth_l1_loss(loc[..., :4], offset.to(loc.dtype), reduction="none", beta=1.0)
    total = box[positive].sum() + ce[used].sum()
    return total / max(1, int(positive.sum())), used
