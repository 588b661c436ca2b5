//! Operations recorded first and run later.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use super::graph::{self, Followers, Graph};
use super::node::{Node, Shared, Slot, forward_on, lock, up};
use super::op::{Output, Path};
use super::recorded::{Operand, Recorded};
use crate::error::{Code, Error, Result};
use crate::tensor::{DType, Tensor};

/// One operation to run.
pub(super) struct Task {
    id: usize,
    node: Arc<Node>,
    /// Let go when it has run, so that values nobody else asks for are freed.
    operands: Mutex<Vec<Arc<Slot>>>,
    /// The same goes for its own value: then those that follow hold it.
    out: Mutex<Option<Arc<Slot>>>,
    saved: Option<Arc<OnceLock<Vec<Tensor>>>>,
}

impl Task {
    pub fn new(
        id: usize,
        node: Arc<Node>,
        operands: Vec<Arc<Slot>>,
        out: Arc<Slot>,
        saved: Option<Arc<OnceLock<Vec<Tensor>>>>,
    ) -> Task {
        Task {
            id,
            node,
            operands: Mutex::new(operands),
            out: Mutex::new(Some(out)),
            saved,
        }
    }

    /// What it would do.
    pub fn recorded(&self) -> Recorded {
        let slots = lock(&self.operands);
        let operand = |(&id, slot): (&usize, &Arc<Slot>)| Operand {
            id,
            value: slot.value.get().cloned(),
        };
        let x = self.node.inputs.iter().zip(&*slots).map(operand);
        Recorded {
            op: self.node.op.clone().expect("a task has an operation"),
            x: x.collect(),
            y: self.id,
            shape: lock(&self.out)
                .as_ref()
                .map_or(self.node.shapes[0], |s| s.shape),
        }
    }

    /// Runs the operation.
    pub fn run(&self, shared: &Shared) -> Result<()> {
        let operands = std::mem::take(&mut *lock(&self.operands));
        let out = lock(&self.out).take().expect("a task runs once");
        let op = self.node.op.as_ref().expect("a task has an operation");
        let stored: Vec<Tensor> = operands
            .iter()
            .map(|s| s.value.get().expect("operands run before").clone())
            .collect();
        drop(operands);
        let wide = || -> Vec<Tensor> { stored.iter().cloned().map(up).collect() };
        let start = shared.start();
        let Output { mut y, saved } = match shared.cx.path {
            Path::Fast => op.forward(&wide())?,
            Path::Reference => op.forward_reference(&wide())?,
            Path::Device(e) => forward_on(e, &**op, &stored)?,
        };
        shared.note(op.name(), start, |t, s| {
            t.calls += 1;
            t.forward += s;
        });
        assert_eq!(
            *y.shape(),
            out.shape,
            "{}: shape rule and forward differ",
            op.name()
        );
        if out.dtype == DType::Bf16 {
            y = y.cast(DType::Bf16);
        }
        assert_eq!(
            y.dtype(),
            out.dtype,
            "{}: type rule and forward differ",
            op.name()
        );
        if shared.cx.check_finite && !y.all_finite() {
            return Err(Error::new(
                Code::Diverged,
                format!(
                    "op `{}` (node {}) gave a value that is not finite",
                    op.name(),
                    self.id
                ),
            )
            .at(format!("output {}", y.shape())));
        }
        if let Some(slot) = &self.saved {
            let _ = slot.set(saved.clone());
        }
        if self.node.needs_grad {
            self.node.keep(&**op, shared.cx.path, &stored, &y, saved);
        }
        let _ = out.value.set(y);
        Ok(())
    }
}

struct Forward<'a> {
    shared: &'a Shared,
    tasks: Vec<Task>,
    followers: Followers,
}

impl Graph for Forward<'_> {
    fn len(&self) -> usize {
        self.tasks.len()
    }

    fn followers(&self, i: usize) -> &[usize] {
        self.followers.of(i)
    }

    fn waits_for(&self, i: usize) -> usize {
        self.followers.waits_for(i)
    }

    fn run(&self, i: usize) -> Result<()> {
        self.tasks[i].run(self.shared)
    }
}

/// Runs `tasks`, given in the order of the record.
///
/// # Errors
/// Of those that fail the one recorded first.
pub(super) fn run(shared: &Shared, tasks: Vec<Task>) -> Result<()> {
    let of_node: HashMap<usize, usize> = tasks.iter().enumerate().map(|(i, t)| (t.id, i)).collect();
    let pairs: Vec<(usize, usize)> = tasks
        .iter()
        .enumerate()
        .flat_map(|(i, t)| {
            let known = t.node.inputs.iter().filter_map(|id| of_node.get(id));
            known.map(move |&from| (from, i))
        })
        .collect();
    let followers = Followers::new(tasks.len(), &pairs);
    let forward = Forward {
        shared,
        tasks,
        followers,
    };
    graph::run(&forward, shared.cx.path)
}
