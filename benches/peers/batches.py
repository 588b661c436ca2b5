"""Losses and synthetic batches of the peer's workloads."""

import torch
import torch.nn.functional as F

from networks import SEG_CLASSES

SEG_IGNORE = 255


def detection_loss(out, target):
    """Smooth L1 on positives plus cross entropy with 3:1 hard negatives.  Shapes are static and nothing is read
    back to the host.  Of six location values an anchor the last two are not trained."""
    loc, cls = (t.float() for t in out)
    loc_t, cls_t = target
    ce = F.cross_entropy(cls.flatten(0, 1), cls_t.flatten(), reduction="none").view_as(cls_t)
    pos = (cls_t > 0).float()
    n_pos = pos.sum(1)
    negatives = torch.sort(ce * (1 - pos), dim=1, descending=True).values
    rank = torch.arange(ce.shape[1], device=ce.device)
    keep = (rank[None] < (3 * n_pos)[:, None]).float()
    box = (F.smooth_l1_loss(loc[..., :4], loc_t, reduction="none").sum(-1) * pos).sum()
    return ((ce * pos).sum() + (negatives * keep).sum() + box) / n_pos.sum().clamp(min=1)


def task_loss(task, out, target):
    if task == "det":
        return detection_loss(out, target)
    if task == "seg":
        return F.cross_entropy(out.float(), target, ignore_index=SEG_IGNORE)
    return F.cross_entropy(out.float(), target)


def make_batch(task, model, args, device, dtype):
    """Random input and target, already on the device: no loader is measured."""
    b, h, w = args.batch, args.height, args.width
    x = torch.randn(b, 3, h, w, device=device).to(dtype)
    if args.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    if task == "cls":
        return x, torch.randint(0, 10, (b,), device=device)
    if task == "seg":
        t = torch.randint(0, SEG_CLASSES, (b, h, w), device=device)
        drop = torch.rand(b, h, w, device=device) < 0.05
        return x, torch.where(drop, torch.full_like(t, SEG_IGNORE), t)
    n = model.anchors(h, w)
    positive = torch.rand(b, n, device=device) < 0.01
    label = torch.randint(1, model.conf_width, (b, n), device=device)
    return x, (torch.randn(b, n, 4, device=device), torch.where(positive, label, 0))
