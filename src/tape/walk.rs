//! The walk back over the record.

use std::sync::{Arc, Mutex};

use super::graph::{self, Followers, Graph};
use super::node::{Kept, Node, Shared, lock, up};
use super::op::{Backward, Grad, Op, Path};
use crate::backend::engine::{SUMS, Slab, labelled};
use crate::backend::host::elementwise;
use crate::error::{Code, Error, Result};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// Blocks of one sum of chunks at most.
const BLOCKS: usize = 1 << 16;

/// A gradient that reached a node: from operand `k` of the step that sent it.
struct Arrival {
    from: usize,
    k: usize,
    grad: Grad,
    shape: Shape,
    dtype: DType,
    /// Which of the node's results it is of.
    result: usize,
}

/// What reached a node: its gradient, and the terms of those of all results ([`Backward::terms`]).
struct Reached {
    dy: Tensor,
    terms: Vec<Vec<Tensor>>,
}

/// Gradients on their way. Step `i` is the i-th node that is reached, last node first.
struct Walk<'a> {
    shared: &'a Shared,
    nodes: &'a [Arc<Node>],
    /// Nodes that the walk reaches, in descending order.
    reached: Vec<usize>,
    /// Step of each input of each reached node; `None` where no gradient is wanted.
    targets: Vec<Vec<Option<usize>>>,
    followers: Followers,
    arrivals: Vec<Mutex<Vec<Arrival>>>,
    grads: Vec<Mutex<Option<Tensor>>>,
    /// Gradients of leaves in chunks, with their steps, that wait to be added up together.
    chunks: Mutex<Vec<(usize, Arrival)>>,
}

/// Gradients of `sum(dy * y)` for the last of `nodes`, by node; only those of leaves are kept.
///
/// # Errors
/// Those of the operations: of several that of the last node.
pub(super) fn back(
    shared: &Shared,
    nodes: &[Arc<Node>],
    dy: Tensor,
) -> Result<Vec<Option<Tensor>>> {
    let last = nodes.len() - 1;
    let mut step_of = vec![None; nodes.len()];
    let (mut reached, mut wanted) = (vec![], vec![false; nodes.len()]);
    wanted[last] = true;
    for id in (0..=last)
        .rev()
        .filter(|&id| nodes[id].needs_grad || id == last)
    {
        if !wanted[id] {
            continue;
        }
        step_of[id] = Some(reached.len());
        reached.push(id);
        for &i in nodes[id].inputs.iter().filter(|&&i| nodes[i].needs_grad) {
            wanted[i] = true;
        }
    }
    let targets: Vec<Vec<Option<usize>>> = reached
        .iter()
        .map(|&id| nodes[id].inputs.iter().map(|&i| step_of[i]).collect())
        .collect();
    let pairs: Vec<(usize, usize)> = targets
        .iter()
        .enumerate()
        .flat_map(|(from, t)| t.iter().flatten().map(move |&to| (from, to)))
        .collect();
    let walk = Walk {
        shared,
        nodes,
        followers: Followers::new(reached.len(), &pairs),
        arrivals: reached.iter().map(|_| Mutex::default()).collect(),
        grads: reached.iter().map(|_| Mutex::default()).collect(),
        chunks: Mutex::default(),
        targets,
        reached,
    };
    *lock(&walk.grads[0]) = Some(dy);
    graph::run(&walk, shared.cx.path)?;
    walk.add_chunks()?;
    let mut all: Vec<Option<Tensor>> = Vec::new();
    all.resize_with(nodes.len(), || None);
    for (step, g) in walk.grads.into_iter().enumerate() {
        all[walk.reached[step]] = lock(&g).take();
    }
    Ok(all)
}

impl Graph for Walk<'_> {
    fn len(&self) -> usize {
        self.reached.len()
    }

    fn followers(&self, i: usize) -> &[usize] {
        self.followers.of(i)
    }

    fn waits_for(&self, i: usize) -> usize {
        self.followers.waits_for(i)
    }

    fn run(&self, i: usize) -> Result<()> {
        let (id, node) = (self.reached[i], &self.nodes[self.reached[i]]);
        if let (result @ 1.., &[Some(first)]) = (node.result, &self.targets[i][..]) {
            let all = std::mem::take(&mut *lock(&self.arrivals[i]));
            let moved = all.into_iter().map(|a| Arrival { result, ..a });
            lock(&self.arrivals[first]).extend(moved);
            return Ok(());
        }
        if node.op.is_none() && self.waits(i)? {
            return Ok(());
        }
        let Some(dy) = self.reached(i)? else {
            return Ok(());
        };
        let (Some(op), Some(kept)) = (&node.op, lock(&node.kept).take()) else {
            *lock(&self.grads[i]) = Some(dy.dy);
            return Ok(());
        };
        let need: Vec<bool> = self.targets[i].iter().map(|t| t.is_some()).collect();
        let start = self.shared.start();
        let so_far = self.so_far(i, &**op);
        let tensors: Vec<Option<Tensor>> = so_far
            .iter()
            .map(|s| s.as_ref().map(|s| s.1.clone()))
            .collect();
        let dx = self.gradients(&**op, kept, &node.shapes, dy, &need, &tensors)?;
        drop(tensors);
        self.shared.note(op.name(), start, |t, s| t.backward += s);
        debug_assert_eq!(dx.len(), need.len(), "{}", op.name());
        for (k, grad) in dx.into_iter().enumerate() {
            let (Some(grad), Some(target)) = (grad, self.targets[i][k]) else {
                continue;
            };
            // The sum of both takes the place of what it was added to.
            if let Some(Some((from, _))) = so_far.get(k) {
                lock(&self.arrivals[target]).retain(|a| (a.from, a.k) != *from);
            }
            let (shape, dtype) = (node.shapes[k], node.dtypes[k]);
            if self.shared.cx.check_finite && !grad.tensor().all_finite() {
                let text = format!(
                    "the backward of op `{}` (node {id}) gave a value that is not finite",
                    op.name()
                );
                return Err(
                    Error::new(Code::Diverged, text).at(format!("gradient of input {k}, {shape}"))
                );
            }
            lock(&self.arrivals[target]).push(Arrival {
                from: i,
                k,
                grad,
                shape,
                dtype,
                result: 0,
            });
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// Of each operand of a step a gradient that it has and the operation adds its own to, with the step and operand that sent it. Of an
    /// operand that comes twice only the first time; on a device steps come one after the other.
    fn so_far(&self, step: usize, op: &dyn Op) -> Vec<Option<((usize, usize), Tensor)>> {
        if !matches!(self.shared.cx.path, Path::Device(_)) {
            return vec![];
        }
        let targets = &self.targets[step];
        let of = |(k, target): (usize, &Option<usize>)| {
            let target = target.filter(|t| op.adds_up(k) && !targets[..k].contains(&Some(*t)))?;
            let arrivals = lock(&self.arrivals[target]);
            let last = arrivals.iter().rfind(|a| a.result == 0 && a.is_stored())?;
            Some(((last.from, last.k), last.grad.tensor().clone()))
        };
        targets.iter().enumerate().map(of).collect()
    }

    /// The gradients that one operation sends to its operands.
    fn gradients(
        &self,
        op: &dyn Op,
        kept: Kept,
        shapes: &[Shape],
        dy: Reached,
        need: &[bool],
        so_far: &[Option<Tensor>],
    ) -> Result<Vec<Option<Grad>>> {
        let backward = |x: &[Option<Tensor>], y: Option<&Tensor>, dy: &Reached, path| {
            let saved = &kept.saved;
            let b = Backward {
                x,
                shapes,
                y,
                saved,
                dy: &dy.dy,
                terms: &dy.terms,
                so_far,
                need,
            };
            match path {
                Path::Fast => op.backward(&b).map(Some),
                Path::Reference => op.backward_reference(&b).map(Some),
                Path::Device(e) => labelled(op.name(), || op.backward_device(e, &b)),
            }
        };
        let path = self.shared.cx.path;
        let mut host = path;
        if let Path::Device(e) = path {
            if let Some(dx) = backward(&kept.x, kept.y.as_ref(), &dy, path)? {
                return Ok(dx);
            }
            e.note_fallback(op.name());
            host = Path::Fast;
        }
        // bf16 operands compute in f32, like the forward.
        let x: Vec<Option<Tensor>> = kept.x.iter().map(|t| t.clone().map(up)).collect();
        let y = kept.y.clone().map(up);
        let dy = Reached {
            dy: up(dy.dy),
            terms: (dy.terms.into_iter())
                .map(|t| t.into_iter().map(up).collect())
                .collect(),
        };
        let dx = backward(&x, y.as_ref(), &dy, host)?.expect("a host path has every operation");
        if let Path::Device(e) = path {
            e.healthy()?;
        }
        Ok(dx)
    }

    /// Whether the gradient of a leaf came in chunks, which wait for those of others.
    fn waits(&self, step: usize) -> Result<bool> {
        let mut arrivals = lock(&self.arrivals[step]);
        if !matches!(&arrivals[..], [a] if matches!(a.grad, Grad::Chunks(_))) {
            return Ok(false);
        }
        let waiting = {
            let mut chunks = lock(&self.chunks);
            chunks.extend(arrivals.drain(..).map(|a| (step, a)));
            chunks.len()
        };
        drop(arrivals);
        if waiting == SUMS {
            self.add_chunks()?;
        }
        Ok(true)
    }

    /// Adds up what waits.
    fn add_chunks(&self) -> Result<()> {
        let all = std::mem::take(&mut *lock(&self.chunks));
        let Path::Device(e) = self.shared.cx.path else {
            return Ok(());
        };
        let (steps, all): (Vec<usize>, Vec<Arrival>) = all.into_iter().unzip();
        for (step, sum) in steps.into_iter().zip(added(e, &all)?) {
            *lock(&self.grads[step]) = Some(sum);
        }
        Ok(())
    }

    /// The gradient of a node whose consumers have all sent theirs, summed from the last consumer to the first.
    fn reached(&self, step: usize) -> Result<Option<Reached>> {
        let mut all = std::mem::take(&mut *lock(&self.arrivals[step]));
        let given = lock(&self.grads[step]).take();
        all.sort_by_key(|a| (a.from, a.k));
        let start = self.shared.start();
        let node = &self.nodes[self.reached[step]];
        let takes = |op: &Arc<dyn Op>| (**op).takes_terms();
        let whole = matches!(self.shared.cx.path, Path::Device(_))
            && node.op.as_ref().is_some_and(takes)
            && all.iter().all(Arrival::is_stored);
        let mut of: Vec<Vec<Arrival>> = (0..node.results).map(|_| vec![]).collect();
        for a in all {
            of[a.result].push(a);
        }
        let mut terms: Vec<Vec<Tensor>> = vec![];
        for all in of {
            terms.push(match whole {
                true => all.into_iter().map(Arrival::into_tensor).collect(),
                false => self.sum(all)?.into_iter().collect(),
            });
        }
        terms[0].extend(given);
        self.shared
            .note("(sum of gradients)", start, |t, s| t.backward += s);
        let dy = terms.iter().flatten().next().cloned();
        Ok(dy.map(|dy| Reached { dy, terms }))
    }

    /// The sum of gradients of one value, in their order.
    fn sum(&self, all: Vec<Arrival>) -> Result<Option<Tensor>> {
        let mut sum = None;
        match self.shared.cx.path {
            Path::Device(e) if all.first().is_some_and(|a| a.dtype != DType::F64) => {
                sum = Some(labelled("(sum of gradients)", || sum_on(e, all))?);
            }
            _ => {
                for a in all {
                    accumulate(&mut sum, a.grad, a.shape, a.dtype);
                }
            }
        }
        Ok(sum)
    }
}

impl Arrival {
    /// Whether it is as the value is stored.
    fn is_stored(&self) -> bool {
        matches!(&self.grad, Grad::Whole(t) if t.dtype() == self.dtype)
    }

    fn into_tensor(self) -> Tensor {
        match self.grad {
            Grad::Whole(t)
            | Grad::Channels { dx: t, .. }
            | Grad::Within { dx: t, .. }
            | Grad::Chunks(t) => t,
        }
    }
}

fn accumulate(slot: &mut Option<Tensor>, g: Grad, shape: Shape, dtype: DType) {
    match g {
        Grad::Whole(t) => {
            debug_assert_eq!(*t.shape(), shape);
            match slot {
                None if dtype == DType::Bf16 => *slot = Some(t.cast(dtype)),
                None => *slot = Some(t),
                Some(acc) => elementwise::add_into(acc, &t),
            }
        }
        Grad::Channels { start, dx } => {
            let acc = slot.get_or_insert_with(|| {
                Tensor::from_buffer(shape, Buffer::zeros(dtype, shape.numel()))
            });
            elementwise::add_channels_into(acc, start, &dx);
        }
        Grad::Within { .. } | Grad::Chunks(_) => unreachable!("the host sends whole gradients"),
    }
}

/// Gradients that came in chunks, added up.
fn added(e: Engine, all: &[Arrival]) -> Result<Vec<Tensor>> {
    let mut parts = vec![];
    for a in all {
        let part = a.grad.tensor();
        parts.push((part.on(e)?, part.dims()[0]));
    }
    let sums = labelled("(sum of gradients)", || e.sum_chunks(&parts, BLOCKS))?;
    let whole = |(a, sum): (&Arrival, _)| Tensor::from_device(a.shape, sum).cast(a.dtype);
    Ok(all.iter().zip(sums).map(whole).collect())
}

/// The sum of gradients of one value on a device, in one launch: what reads them is the kernel, so none is cut out or filled up.
fn sum_on(e: Engine, mut all: Vec<Arrival>) -> Result<Tensor> {
    for a in &mut all {
        if matches!(a.grad, Grad::Chunks(_)) {
            let sum = added(e, std::slice::from_ref(a))?.remove(0);
            a.grad = Grad::Whole(sum);
        }
    }
    let (shape, dtype) = (all[0].shape, all[0].dtype);
    if let [
        Arrival {
            grad: Grad::Whole(t),
            ..
        },
    ] = &all[..]
    {
        return Ok(t.cast(dtype));
    }
    let parts = all.iter().any(|a| !matches!(a.grad, Grad::Whole(_)));
    let size = match *shape.dims() {
        [images, channels, ref plane @ ..] if parts => [images, channels, plane.iter().product()],
        _ => [1, 1, shape.numel()],
    };
    let stored: Vec<Tensor> = (all.iter().map(|a| a.grad.tensor().cast(dtype))).collect();
    let mut terms = vec![];
    for (a, t) in all.iter().zip(&stored) {
        let held = if parts { t.dims()[1] } else { 1 };
        let (from, channels, to) = match a.grad {
            Grad::Whole(_) => (0, held, 0),
            Grad::Channels { start, .. } => (0, held, start),
            Grad::Within { start, .. } => (start, size[1], 0),
            Grad::Chunks(_) => unreachable!("added up before"),
        };
        terms.push(Slab {
            x: t.on(e)?,
            held,
            from,
            channels,
            to,
        });
    }
    Ok(Tensor::from_device(shape, e.sum(size, &terms)?))
}
