//! The tape: records operations as they run and walks back over them. It knows no operation.
//!
//! A [`Var`] owns its value; the tape keeps only what an operation says its backward needs ([`Saves`]), so an activation
//! that nobody needs any more is freed at once. First order only: second-order DARTS is two more first-order passes.
//!
//! Networks of a search are many small operations, too small to be shared among threads one by one. Within
//! [`Tape::deferred`] operations are only recorded; at its end all of them run, independent ones at the same time, and a
//! walk back does the same. Every value is computed by one thread in one order, and gradients that meet are summed in the
//! order of the record, so results do not depend on the number of threads.

mod deferred;
mod graph;
mod node;
mod op;
mod recorded;
mod results;
mod sketch;
mod walk;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use crate::error::{Code, Error, Result};
use crate::tensor::{DType, Shape, Tensor};
use node::{Node, Shared, Slot};
pub use op::{Backward, Cx, Grad, Op, OpTime, Output, Path, Saves};
pub use recorded::{Operand, Recorded};
pub use results::Aside;
pub use sketch::{Elementwise, Sketched};

struct Inner {
    shared: Shared,
    nodes: RefCell<Vec<Arc<Node>>>,
    /// Operations recorded and not yet run; there is one within [`Tape::deferred`].
    queue: RefCell<Option<Vec<deferred::Task>>>,
}

/// Records operations; clones share the record.
#[derive(Clone)]
pub struct Tape(Rc<Inner>);

/// A value on a tape.
#[derive(Clone)]
pub struct Var {
    tape: Tape,
    id: usize,
    slot: Arc<Slot>,
}

impl Debug for Var {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.slot.value.get() {
            Some(value) => write!(f, "Var #{} {value:?}", self.id),
            None => write!(f, "Var #{} {} to be computed", self.id, self.slot.shape),
        }
    }
}

impl Var {
    /// The value. Asserts that it has been computed: within [`Tape::deferred`] it has not.
    pub fn value(&self) -> &Tensor {
        self.slot
            .value
            .get()
            .expect("a value was read before the operations of `Tape::deferred` ran")
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        &self.slot.shape
    }

    /// Its dimensions.
    pub fn dims(&self) -> &[usize] {
        self.slot.shape.dims()
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.slot.dtype
    }

    /// The tape it is on.
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Which value of its tape it is.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The same value without history.
    pub fn detach(&self) -> Var {
        self.tape.leaf(self.value().clone())
    }
}

/// What the forward of an operation put aside, once it has run.
#[derive(Debug, Clone)]
pub struct Saved(Arc<OnceLock<Vec<Tensor>>>);

impl Saved {
    /// The tensors. Asserts that the operation ran: within [`Tape::deferred`] it did not.
    pub fn get(&self) -> &[Tensor] {
        self.0.get().expect(
            "what an operation saved was read before the operations of `Tape::deferred` ran",
        )
    }
}

/// Gradients of the leaves that wanted one.
pub struct Grads(Vec<Option<Tensor>>);

impl Grads {
    /// The gradient of `v`; `None` if the loss does not depend on it or it wanted none.
    pub fn get(&self, v: &Var) -> Option<&Tensor> {
        self.0.get(v.id).and_then(|g| g.as_ref())
    }

    /// Takes the gradient of `v` out.
    pub fn take(&mut self, v: &Var) -> Option<Tensor> {
        self.0.get_mut(v.id).and_then(|g| g.take())
    }
}

impl Tape {
    /// An empty tape.
    pub fn new(cx: Cx) -> Tape {
        Tape(Rc::new(Inner {
            shared: Shared::new(cx),
            nodes: RefCell::default(),
            queue: RefCell::default(),
        }))
    }

    /// How it runs.
    pub fn cx(&self) -> Cx {
        self.0.shared.cx
    }

    /// Number of recorded nodes.
    pub fn len(&self) -> usize {
        self.0.nodes.borrow().len()
    }

    /// True before anything is recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Times by name of the operation, if [`Cx::profile`] is set; `(sum of gradients)` is where several meet.
    pub fn profile(&self) -> BTreeMap<&'static str, OpTime> {
        self.0.shared.times()
    }

    fn push(&self, node: Node, slot: Slot) -> Var {
        let mut nodes = self.0.nodes.borrow_mut();
        nodes.push(Arc::new(node));
        Var {
            tape: self.clone(),
            id: nodes.len() - 1,
            slot: Arc::new(slot),
        }
    }

    /// A value that wants no gradient: data, frozen weights.
    pub fn leaf(&self, value: Tensor) -> Var {
        self.push(Node::source(false), Slot::of(value))
    }

    /// [`Tape::leaf`] of values that are the same in every step: on a device they are uploaded once.
    ///
    /// # Errors
    /// Those of the device.
    pub fn constant(&self, value: Tensor) -> Result<Var> {
        Ok(self.leaf(self.constant_value(value)?))
    }

    fn constant_value(&self, value: Tensor) -> Result<Tensor> {
        match self.cx().path {
            Path::Device(e) => Tensor::constant_on(e, &value),
            _ => Ok(value),
        }
    }

    /// A value that wants a gradient.
    pub fn param(&self, value: Tensor) -> Var {
        self.push(Node::source(true), Slot::of(value))
    }

    /// Runs `op` and records it.
    ///
    /// # Errors
    /// Those of the op's shape rule; [`Code::Diverged`] when outputs are checked and one is not finite.
    pub fn apply(&self, op: impl Op + 'static, x: &[&Var]) -> Result<Var> {
        self.record(Arc::new(op), x, None, [1, 0])
    }

    /// Like [`Tape::apply`]; also returns what the forward saved (batch statistics, for example).
    pub fn apply_saving(&self, op: impl Op + 'static, x: &[&Var]) -> Result<(Var, Saved)> {
        let saved = Arc::new(OnceLock::new());
        let y = self.record(Arc::new(op), x, Some(saved.clone()), [1, 0])?;
        Ok((y, Saved(saved)))
    }

    /// Like [`Tape::apply_saving`] for an op with `results` results of one type ([`Op::aside`]).
    ///
    /// # Errors
    /// As [`Tape::apply`].
    pub fn apply_many(
        &self,
        op: impl Op + 'static,
        x: &[&Var],
        results: usize,
    ) -> Result<(Vec<Var>, Saved)> {
        let (op, saved): (Arc<dyn Op>, _) = (Arc::new(op), Arc::new(OnceLock::new()));
        let first = self.record(op.clone(), x, Some(saved.clone()), [results, 0])?;
        let shapes: Vec<Shape> = x.iter().map(|v| *v.shape()).collect();
        let mut all = vec![first.clone()];
        for result in 1..results {
            let (of, shape) = (op.clone(), (*op).infer_result(result, &shapes)?);
            let further = results::Further { of, result, shape };
            all.push(self.record(Arc::new(further), &[&first], None, [1, result])?);
        }
        Ok((all, Saved(saved)))
    }

    fn record(
        &self,
        op: Arc<dyn Op>,
        x: &[&Var],
        saved: Option<Arc<OnceLock<Vec<Tensor>>>>,
        [results, result]: [usize; 2],
    ) -> Result<Var> {
        assert!(
            x.iter().all(|v| Rc::ptr_eq(&v.tape.0, &self.0)),
            "{}: operands of another tape",
            op.name()
        );
        let shapes: Vec<Shape> = x.iter().map(|v| *v.shape()).collect();
        let dtypes: Vec<DType> = x.iter().map(|v| v.dtype()).collect();
        let shape = op.infer(&shapes)?;
        let dtype = node::output_dtype(op.name(), &dtypes, &shape)?;
        let inputs: Vec<usize> = x.iter().map(|v| v.id).collect();
        let needs_grad = {
            let nodes = self.0.nodes.borrow();
            inputs.iter().any(|&i| nodes[i].needs_grad)
        };
        let mut node = Node::of(op, inputs, shapes, dtypes, needs_grad);
        (node.results, node.result) = (results, result);
        let y = self.push(node, Slot::empty(shape, dtype));
        let node = self.0.nodes.borrow()[y.id].clone();
        let operands = x.iter().map(|v| v.slot.clone()).collect();
        let task = deferred::Task::new(y.id, node, operands, y.slot.clone(), saved);
        match &mut *self.0.queue.borrow_mut() {
            Some(queue) => queue.push(task),
            None => task.run(&self.0.shared)?,
        }
        Ok(y)
    }

    /// Records what `f` applies and runs it at the end, independent operations at the same time. Values are there when this
    /// returns; `f` itself sees shapes only. Within `f` the call is the same as calling `f`.
    ///
    /// # Errors
    /// Those of `f`; those of the operations: of several the one that was recorded first.
    pub fn deferred<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        if self.0.queue.borrow().is_some() {
            return f();
        }
        *self.0.queue.borrow_mut() = Some(vec![]);
        let made = f();
        let tasks = self.0.queue.take().unwrap_or_default();
        let made = made?;
        deferred::run(&self.0.shared, tasks)?;
        Ok(made)
    }

    /// The operations that `f` applies, in order. None of them runs: what `f` returns has shapes and no values.
    ///
    /// # Errors
    /// Those of `f`; [`Code::Internal`] within [`Tape::deferred`].
    pub fn recorded<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<(R, Vec<Recorded>)> {
        if self.0.queue.borrow().is_some() {
            let text = "operations are recorded already, and will be run";
            return Err(Error::new(Code::Internal, text));
        }
        *self.0.queue.borrow_mut() = Some(vec![]);
        let made = f();
        let tasks = self.0.queue.take().unwrap_or_default();
        Ok((made?, tasks.iter().map(deferred::Task::recorded).collect()))
    }

    /// Gradients of `loss`, a tensor with one element, with respect to every parameter on the tape. Consumes what the
    /// nodes saved: a tape can be walked once.
    ///
    /// # Errors
    /// [`Code::Shape`] when `loss` has more than one element; [`Code::Diverged`] as [`Tape::apply`].
    pub fn backward(&self, loss: &Var) -> Result<Grads> {
        if loss.shape().numel() != 1 {
            return Err(Error::new(
                Code::Shape,
                format!(
                    "backward: the loss must be one number, got {}",
                    loss.shape()
                ),
            ));
        }
        let seed = Tensor::full(*loss.shape(), loss.dtype(), 1.0);
        self.backward_from(loss, self.constant_value(seed)?)
    }

    /// Vector-Jacobian product: gradients of `sum(dy * y)`.
    ///
    /// # Errors
    /// As [`Tape::backward`].
    pub fn backward_from(&self, y: &Var, dy: Tensor) -> Result<Grads> {
        let nodes = self.0.nodes.borrow();
        walk::back(&self.0.shared, &nodes[..=y.id], dy).map(Grads)
    }
}

#[cfg(test)]
mod tests;
