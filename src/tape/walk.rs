//! The walk back over the record.

use std::sync::{Arc, Mutex};

use super::graph::{self, Followers, Graph};
use super::node::{Kept, Node, Shared, lock, up};
use super::op::{Backward, Grad, Op, Path};
use crate::backend::engine::labelled;
use crate::backend::host::elementwise;
use crate::error::{Code, Error, Result};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// A gradient that reached a node: from operand `k` of the step that sent it.
struct Arrival {
    from: usize,
    k: usize,
    grad: Grad,
    shape: Shape,
    dtype: DType,
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
        targets,
        reached,
    };
    *lock(&walk.grads[0]) = Some(dy);
    graph::run(&walk, shared.cx.path)?;
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
        let Some(dy) = self.sum(i)? else {
            return Ok(());
        };
        let (Some(op), Some(kept)) = (&node.op, lock(&node.kept).take()) else {
            *lock(&self.grads[i]) = Some(dy);
            return Ok(());
        };
        let need: Vec<bool> = self.targets[i].iter().map(|t| t.is_some()).collect();
        let start = self.shared.start();
        let dx = self.gradients(&**op, kept, &node.shapes, dy, &need)?;
        self.shared.note(op.name(), start, |t, s| t.backward += s);
        debug_assert_eq!(dx.len(), need.len(), "{}", op.name());
        for (k, grad) in dx.into_iter().enumerate() {
            let (Some(grad), Some(target)) = (grad, self.targets[i][k]) else {
                continue;
            };
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
            });
        }
        Ok(())
    }
}

impl Walk<'_> {
    /// The gradients that one operation sends to its operands.
    fn gradients(
        &self,
        op: &dyn Op,
        kept: Kept,
        shapes: &[Shape],
        dy: Tensor,
        need: &[bool],
    ) -> Result<Vec<Option<Grad>>> {
        let backward = |x: &[Option<Tensor>], y: Option<&Tensor>, dy: &Tensor, path| {
            let saved = &kept.saved;
            let b = Backward {
                x,
                shapes,
                y,
                saved,
                dy,
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
        let (y, dy) = (kept.y.clone().map(up), up(dy));
        let dx = backward(&x, y.as_ref(), &dy, host)?.expect("a host path has every operation");
        if let Path::Device(e) = path {
            e.healthy()?;
        }
        Ok(dx)
    }

    /// The gradient of a node whose consumers have all sent theirs, summed from the last consumer to the first.
    fn sum(&self, step: usize) -> Result<Option<Tensor>> {
        let mut all = std::mem::take(&mut *lock(&self.arrivals[step]));
        let mut sum = lock(&self.grads[step]).take();
        all.sort_by_key(|a| (a.from, a.k));
        let start = self.shared.start();
        for a in all {
            match self.shared.cx.path {
                Path::Device(e) if a.dtype != DType::F64 => {
                    labelled("(sum of gradients)", || accumulate_on(e, &mut sum, a))?
                }
                _ => accumulate(&mut sum, a.grad, a.shape, a.dtype),
            }
        }
        self.shared
            .note("(sum of gradients)", start, |t, s| t.backward += s);
        Ok(sum)
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
    }
}

/// [`accumulate`] on a device.
fn accumulate_on(e: Engine, slot: &mut Option<Tensor>, a: Arrival) -> Result<()> {
    match a.grad {
        Grad::Whole(t) => match slot {
            None => *slot = Some(t.cast(a.dtype)),
            Some(acc) => e.accumulate(acc.on_mut(e)?, t.on(e)?)?,
        },
        Grad::Channels { start, dx } => {
            let mut acc = match slot.take() {
                Some(acc) => acc,
                None => Tensor::zeros_on(e, a.shape, a.dtype)?,
            };
            let (n, _, h, w) = a.shape.nchw("gradient")?;
            e.accumulate_part(acc.on_mut(e)?, dx.on(e)?, n, start * h * w)?;
            *slot = Some(acc);
        }
    }
    Ok(())
}
