"""One search step of the peer: alpha phase, weight phase, and their capture in CUDA graphs."""

import contextlib

import torch
import torch.nn as nn

from batches import make_batch, task_loss
from cells import Cell
from networks import build
from primitives import MixedOp


class Searcher:
    """Model, the two optimisers and the two phases of a first-order bi-level step."""

    def __init__(self, args, device):
        self.args, self.device = args, device
        self.cuda = device.type == "cuda"
        self.model = build(args).to(device)
        self.data_dtype = torch.float32
        if args.dtype == "bf16":
            # weights and activations in bf16; norm parameters and statistics,
            # and the architecture parameters, stay in fp32
            self.data_dtype = torch.bfloat16
            for m in self.model.modules():
                if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                    m.to(torch.bfloat16)
        if args.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self.model.train()
        self.arch = list(self.model.arch.parameters())
        ids = {id(p) for p in self.arch}
        self.weights = [p for p in self.model.parameters() if id(p) not in ids]
        # foreach, not fused: fused SGD fails when a head gets its first gradient
        # in a later step than the others, as happens with alternating tasks
        self.w_opt = torch.optim.SGD(self.weights, lr=args.lr, momentum=0.9,
                                     weight_decay=3e-4, foreach=True)
        self.a_opt = torch.optim.Adam(self.arch, lr=6e-4, betas=(0.5, 0.999), weight_decay=1e-3,
                                      capturable=self.cuda and args.cuda_graph, foreach=True)
        self.call = self.model
        if args.compile != "off":
            # many instances of few classes, with few distinct shapes
            torch._dynamo.config.recompile_limit = 64
        if args.compile in ("mixed", "cell"):
            kind = MixedOp if args.compile == "mixed" else Cell
            for m in self.model.modules():
                if isinstance(m, kind):
                    m.compile(dynamic=False)
        elif args.compile == "model":
            self.call = torch.compile(self.model, dynamic=False)

    def autocast(self):
        if self.args.dtype == "amp":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def loss(self, task, batch):
        x, target = batch
        with self.autocast():
            out = self.call(x, task)
        return task_loss(task, out, target)

    def alpha_step(self, task, batch):
        self.a_opt.zero_grad(set_to_none=True)
        if self.args.impl == "tuned":
            loss = self.loss(task, batch)
            loss.backward(inputs=self.arch)  # no weight gradients wanted here
        else:
            self.w_opt.zero_grad(set_to_none=True)
            loss = self.loss(task, batch)
            loss.backward()
        self.a_opt.step()
        return loss.detach()

    def weight_step(self, task, batch):
        self.w_opt.zero_grad(set_to_none=True)
        loss = self.loss(task, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.w_opt.step()
        return loss.detach()


class GraphedPhase:
    """One captured CUDA graph holding a whole phase, optimiser included."""

    def __init__(self, fn, pool):
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.loss = fn()

    def __call__(self):
        self.graph.replay()
        return self.loss


def build_phases(s, args, device):
    """task -> [alpha phase, weight phase], each a function of no arguments."""
    tasks = s.model.tasks if args.tasks == "both" else (args.tasks,)
    phases = {}
    for task in tasks:
        train = make_batch(task, s.model, args, device, s.data_dtype)
        valid = make_batch(task, s.model, args, device, s.data_dtype)
        phases[task] = [lambda t=task, b=valid: s.alpha_step(t, b),
                        lambda t=task, b=train: s.weight_step(t, b)]
    if not args.cuda_graph:
        return phases
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(4):
            for alpha, weight in phases.values():
                alpha()
                weight()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    pool = torch.cuda.graph_pool_handle()
    return {t: [GraphedPhase(f, pool) for f in fs] for t, fs in phases.items()}
