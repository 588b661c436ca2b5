//! The tape: records operations as they run and walks back over them. It knows no operation.
//!
//! A [`Var`] owns its value; the tape keeps only what an operation says its backward needs ([`Saves`]), so an activation
//! that nobody needs any more is freed at once. First order only: second-order DARTS is two more first-order passes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Instant;

use crate::backend::host::elementwise;
use crate::dual::Dual;
use crate::error::{Code, Error, Result};
use crate::rounding::Bounded;
use crate::tensor::{Buffer, DType, Shape, Tensor};

/// Which implementation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Path {
    /// Vectorised and threaded.
    #[default]
    Fast,
    /// Plain loops: the specification.
    Reference,
}

/// How a tape runs its operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cx {
    /// Implementation to use.
    pub path: Path,
    /// Check every output; an operation that yields NaN or infinity is an error that names it.
    pub check_finite: bool,
    /// Note the wall-clock time of every operation, for [`Tape::profile`].
    pub profile: bool,
}

/// What the operations of one name cost on a tape.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OpTime {
    /// Forward calls.
    pub calls: u64,
    /// Seconds of the forwards.
    pub forward: f64,
    /// Seconds of the backwards.
    pub backward: f64,
}

/// What an operation's backward reads besides the gradient.
#[derive(Debug, Clone, Copy)]
pub struct Saves {
    /// Bit i set: input i.
    pub inputs: u32,
    /// The output.
    pub output: bool,
}

impl Saves {
    /// Every input.
    pub const INPUTS: Saves = Saves {
        inputs: u32::MAX,
        output: false,
    };
    /// The output only.
    pub const OUTPUT: Saves = Saves {
        inputs: 0,
        output: true,
    };
    /// Shapes suffice.
    pub const NOTHING: Saves = Saves {
        inputs: 0,
        output: false,
    };
}

/// What a forward yields.
pub struct Output {
    /// The result.
    pub y: Tensor,
    /// Whatever the backward wants besides inputs and output.
    pub saved: Vec<Tensor>,
}

impl From<Tensor> for Output {
    fn from(y: Tensor) -> Output {
        Output { y, saved: vec![] }
    }
}

/// What a backward is given.
pub struct Backward<'a> {
    /// Inputs; present where [`Saves`] asks.
    pub x: &'a [Option<Tensor>],
    /// Shapes of all inputs.
    pub shapes: &'a [Shape],
    /// The output, if saved.
    pub y: Option<&'a Tensor>,
    /// What the forward put aside.
    pub saved: &'a [Tensor],
    /// Gradient of the loss with respect to the output.
    pub dy: &'a Tensor,
    /// Which inputs want a gradient.
    pub need: &'a [bool],
}

impl Backward<'_> {
    /// Input `i`; asserts that it was saved.
    pub fn input(&self, i: usize) -> &Tensor {
        self.x[i]
            .as_ref()
            .expect("an input that the op did not ask to save")
    }
}

/// The gradient of one input.
pub enum Grad {
    /// Same shape as the input.
    Whole(Tensor),
    /// Only the channels from `start` on; zero elsewhere.
    Channels {
        /// First channel.
        start: usize,
        /// Their gradient, `(N, C', H, W)`.
        dx: Tensor,
    },
}

/// One differentiable operation with its parameters (strides, sizes); the operands come at each call.
pub trait Op: Debug + Send + Sync {
    /// Name in the table and in messages.
    fn name(&self) -> &'static str;

    /// Shape of the output; checks the shapes of the inputs.
    ///
    /// # Errors
    /// [`Code::Shape`] or [`Code::Argument`], naming the op, what was expected and what came.
    fn infer(&self, x: &[Shape]) -> Result<Shape>;

    /// What the backward reads.
    fn saves(&self) -> Saves {
        Saves::INPUTS
    }

    /// The fast path. Shapes have been checked by [`Op::infer`]; float inputs are all f32 or all f64.
    fn forward(&self, x: &[Tensor]) -> Result<Output>;

    /// Gradients of the inputs that need one (`None` for the others), by the fast path.
    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>>;

    /// The reference path; the default uses the fast one.
    fn forward_reference(&self, x: &[Tensor]) -> Result<Output> {
        self.forward(x)
    }

    /// Gradients by the reference path; the default uses the fast one.
    fn backward_reference(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        self.backward(b)
    }

    /// The forward over dual numbers, if there is one. Inputs of integers come as constants.
    fn forward_dual(&self, _x: &[(Shape, Vec<Dual>)]) -> Option<Vec<Dual>> {
        None
    }

    /// The forward over numbers that carry a bound of their rounding errors, if there is one.
    fn forward_bounded(&self, _x: &[(Shape, Vec<Bounded>)]) -> Option<Vec<Bounded>> {
        None
    }

    /// The gradients over such numbers, `None` for integer operands; `dy` has the shape of the output.
    fn backward_bounded(
        &self,
        _x: &[(Shape, Vec<Bounded>)],
        _dy: &(Shape, Vec<Bounded>),
    ) -> Option<Vec<Option<Vec<Bounded>>>> {
        None
    }
}

struct Node {
    op: Option<Rc<dyn Op>>,
    inputs: Vec<usize>,
    shapes: Vec<Shape>,
    dtypes: Vec<DType>,
    x: Vec<Option<Tensor>>,
    y: Option<Tensor>,
    saved: Vec<Tensor>,
    needs_grad: bool,
}

struct Inner {
    cx: Cx,
    nodes: RefCell<Vec<Node>>,
    times: RefCell<BTreeMap<&'static str, OpTime>>,
}

/// Records operations; clones share the record.
#[derive(Clone)]
pub struct Tape(Rc<Inner>);

/// A value on a tape.
#[derive(Clone)]
pub struct Var {
    tape: Tape,
    id: usize,
    value: Tensor,
}

impl Debug for Var {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Var #{} {:?}", self.id, self.value)
    }
}

impl Var {
    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Its shape.
    pub fn shape(&self) -> &Shape {
        self.value.shape()
    }

    /// Its dimensions.
    pub fn dims(&self) -> &[usize] {
        self.value.dims()
    }

    /// The tape it is on.
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    /// The same value without history.
    pub fn detach(&self) -> Var {
        self.tape.leaf(self.value.clone())
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
            cx,
            nodes: RefCell::new(Vec::new()),
            times: RefCell::default(),
        }))
    }

    /// How it runs.
    pub fn cx(&self) -> Cx {
        self.0.cx
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
        self.0.times.borrow().clone()
    }

    fn start(&self) -> Option<Instant> {
        self.0.cx.profile.then(Instant::now)
    }

    fn note(&self, name: &'static str, start: Option<Instant>, add: impl FnOnce(&mut OpTime, f64)) {
        if let Some(start) = start {
            add(
                self.0.times.borrow_mut().entry(name).or_default(),
                start.elapsed().as_secs_f64(),
            );
        }
    }

    fn push(&self, node: Node, value: Tensor) -> Var {
        let mut nodes = self.0.nodes.borrow_mut();
        nodes.push(node);
        Var {
            tape: self.clone(),
            id: nodes.len() - 1,
            value,
        }
    }

    fn source(&self, value: Tensor, needs_grad: bool) -> Var {
        let node = Node {
            op: None,
            inputs: vec![],
            shapes: vec![],
            dtypes: vec![],
            x: vec![],
            y: None,
            saved: vec![],
            needs_grad,
        };
        self.push(node, value)
    }

    /// A value that wants no gradient: data, frozen weights.
    pub fn leaf(&self, value: Tensor) -> Var {
        self.source(value, false)
    }

    /// A value that wants a gradient.
    pub fn param(&self, value: Tensor) -> Var {
        self.source(value, true)
    }

    /// Runs `op` and records it.
    ///
    /// # Errors
    /// Those of the op's shape rule; [`Code::Diverged`] when outputs are checked and one is not finite.
    pub fn apply(&self, op: impl Op + 'static, x: &[&Var]) -> Result<Var> {
        Ok(self.apply_saving(op, x)?.0)
    }

    /// Like [`Tape::apply`]; also returns what the forward saved (batch statistics, for example).
    pub fn apply_saving(&self, op: impl Op + 'static, x: &[&Var]) -> Result<(Var, Vec<Tensor>)> {
        assert!(
            x.iter().all(|v| Rc::ptr_eq(&v.tape.0, &self.0)),
            "{}: operands of another tape",
            op.name()
        );
        let shapes: Vec<Shape> = x.iter().map(|v| *v.shape()).collect();
        let dtypes: Vec<DType> = x.iter().map(|v| v.value.dtype()).collect();
        let expected = op.infer(&shapes)?;
        let operands = compute_dtype(op.name(), x.iter().map(|v| &v.value))?;
        let start = self.start();
        let Output { mut y, saved } = match self.0.cx.path {
            Path::Fast => op.forward(&operands)?,
            Path::Reference => op.forward_reference(&operands)?,
        };
        self.note(op.name(), start, |t, s| {
            t.calls += 1;
            t.forward += s;
        });
        assert_eq!(
            *y.shape(),
            expected,
            "{}: shape rule and forward differ",
            op.name()
        );
        // bf16 is storage: a map computed from bf16 maps is stored in bf16, a scalar (a loss) stays f32.
        if dtypes.first() == Some(&DType::Bf16) && y.dtype() == DType::F32 && y.shape().rank() > 1 {
            y = y.cast(DType::Bf16);
        }
        if self.0.cx.check_finite && !y.all_finite() {
            let n = self.len();
            return Err(Error::new(
                Code::Diverged,
                format!(
                    "op `{}` (node {n}) gave a value that is not finite",
                    op.name()
                ),
            )
            .at(format!("output {}", y.shape())));
        }
        let needs_grad = {
            let nodes = self.0.nodes.borrow();
            x.iter().any(|v| nodes[v.id].needs_grad)
        };
        let node = if needs_grad {
            // The reference path recomputes from the operands, whatever the fast path would keep.
            let s = match self.0.cx.path {
                Path::Fast => op.saves(),
                Path::Reference => Saves::INPUTS,
            };
            Node {
                inputs: x.iter().map(|v| v.id).collect(),
                x: x.iter()
                    .enumerate()
                    .map(|(i, v)| (s.inputs >> i.min(31) & 1 == 1).then(|| v.value.clone()))
                    .collect(),
                y: s.output.then(|| y.clone()),
                saved: saved.clone(),
                shapes,
                dtypes,
                op: Some(Rc::new(op)),
                needs_grad,
            }
        } else {
            Node {
                op: None,
                inputs: vec![],
                shapes: vec![],
                dtypes: vec![],
                x: vec![],
                y: None,
                saved: vec![],
                needs_grad,
            }
        };
        Ok((self.push(node, y), saved))
    }

    /// Gradients of `loss`, a tensor with one element, with respect to every parameter on the tape. Consumes what the
    /// nodes saved: a tape can be walked once.
    ///
    /// # Errors
    /// [`Code::Shape`] when `loss` has more than one element.
    pub fn backward(&self, loss: &Var) -> Result<Grads> {
        if loss.value.numel() != 1 {
            return Err(Error::new(
                Code::Shape,
                format!(
                    "backward: the loss must be one number, got {}",
                    loss.shape()
                ),
            ));
        }
        self.backward_from(loss, Tensor::full(*loss.shape(), loss.value.dtype(), 1.0))
    }

    /// Vector-Jacobian product: gradients of `sum(dy * y)`.
    pub fn backward_from(&self, y: &Var, dy: Tensor) -> Result<Grads> {
        let mut nodes = self.0.nodes.borrow_mut();
        let mut grads: Vec<Option<Tensor>> = Vec::new();
        grads.resize_with(nodes.len(), || None);
        grads[y.id] = Some(dy);
        for id in (0..=y.id).rev() {
            let Some(op) = nodes[id].op.take() else {
                continue;
            };
            let Some(dy) = grads[id].take() else { continue };
            let node = &mut nodes[id];
            let (inputs, shapes) = (
                std::mem::take(&mut node.inputs),
                std::mem::take(&mut node.shapes),
            );
            let (x, dtypes) = (
                std::mem::take(&mut node.x),
                std::mem::take(&mut node.dtypes),
            );
            let (y, saved) = (node.y.take(), std::mem::take(&mut node.saved));
            let need: Vec<bool> = inputs.iter().map(|&i| nodes[i].needs_grad).collect();
            // bf16 operands compute in f32, like the forward.
            let x: Vec<Option<Tensor>> = x.into_iter().map(|t| t.map(up)).collect();
            let (y, dy) = (y.map(up), up(dy));
            let b = Backward {
                x: &x,
                shapes: &shapes,
                y: y.as_ref(),
                saved: &saved,
                dy: &dy,
                need: &need,
            };
            let start = self.start();
            let dx = match self.0.cx.path {
                Path::Fast => op.backward(&b)?,
                Path::Reference => op.backward_reference(&b)?,
            };
            self.note(op.name(), start, |t, s| t.backward += s);
            let start = self.start();
            debug_assert_eq!(dx.len(), inputs.len(), "{}", op.name());
            for (k, g) in dx.into_iter().enumerate() {
                if let (Some(g), true) = (g, need[k]) {
                    if self.0.cx.check_finite && !g.tensor().all_finite() {
                        let text = format!(
                            "the backward of op `{}` (node {id}) gave a value that is not finite",
                            op.name()
                        );
                        return Err(Error::new(Code::Diverged, text)
                            .at(format!("gradient of input {k}, {}", shapes[k])));
                    }
                    accumulate(&mut grads[inputs[k]], g, shapes[k], dtypes[k]);
                }
            }
            self.note("(sum of gradients)", start, |t, s| t.backward += s);
        }
        Ok(Grads(grads))
    }
}

impl Grad {
    fn tensor(&self) -> &Tensor {
        match self {
            Grad::Whole(t) | Grad::Channels { dx: t, .. } => t,
        }
    }
}

/// bf16 to f32, anything else unchanged.
fn up(t: Tensor) -> Tensor {
    if t.dtype() == DType::Bf16 {
        t.cast(DType::F32)
    } else {
        t
    }
}

/// The operands in the dtype that computes: bf16 becomes f32; f32 and f64 do not mix.
fn compute_dtype<'a>(op: &str, x: impl Iterator<Item = &'a Tensor>) -> Result<Vec<Tensor>> {
    let operands: Vec<Tensor> = x.map(|t| up(t.clone())).collect();
    let mut floats = operands.iter().map(|t| t.dtype()).filter(|d| d.is_float());
    if let Some(first) = floats.next()
        && let Some(other) = floats.find(|d| *d != first)
    {
        return Err(Error::new(
            Code::DType,
            format!("{op}: operands of {} and {}", first.name(), other.name()),
        )
        .help("cast one of them"));
    }
    Ok(operands)
}

fn accumulate(slot: &mut Option<Tensor>, g: Grad, shape: Shape, dtype: DType) {
    match g {
        Grad::Whole(t) => {
            debug_assert_eq!(*t.shape(), shape);
            match slot {
                None => {
                    *slot = Some(if dtype == DType::Bf16 {
                        t.cast(dtype)
                    } else {
                        t
                    })
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// y = a * x, elementwise by a constant.
    #[derive(Debug)]
    struct Scale(f64);
    impl Op for Scale {
        fn name(&self) -> &'static str {
            "scale"
        }
        fn infer(&self, x: &[Shape]) -> Result<Shape> {
            Ok(x[0])
        }
        fn saves(&self) -> Saves {
            Saves::NOTHING
        }
        fn forward(&self, x: &[Tensor]) -> Result<Output> {
            let v = x[0].to_f64().iter().map(|v| v * self.0).collect();
            Ok(Tensor::from_f64(*x[0].shape(), v)?
                .cast(x[0].dtype())
                .into())
        }
        fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
            Ok(vec![Some(Grad::Whole(
                self.forward(std::slice::from_ref(b.dy))?.y,
            ))])
        }
    }

    #[test]
    fn fan_out_adds_gradients() {
        let tape = Tape::new(Cx::default());
        let x = tape.param(Tensor::from_f64([1], vec![2.0]).unwrap());
        let a = tape.apply(Scale(3.0), &[&x]).unwrap();
        let b = tape.apply(Scale(5.0), &[&a]).unwrap();
        let g = tape.backward(&b).unwrap();
        assert_eq!(g.get(&x).unwrap().item(), 15.0);
    }

    #[test]
    fn no_gradient_is_recorded_for_leaves() {
        let tape = Tape::new(Cx::default());
        let x = tape.leaf(Tensor::from_f32([1], vec![2.0]).unwrap());
        let y = tape.apply(Scale(3.0), &[&x]).unwrap();
        assert!(tape.backward(&y).unwrap().get(&x).is_none());
    }

    #[test]
    fn checked_tape_names_the_op() {
        let tape = Tape::new(Cx {
            check_finite: true,
            ..Cx::default()
        });
        let x = tape.param(Tensor::from_f32([1], vec![3e38]).unwrap());
        let e = tape.apply(Scale(1e10), &[&x]).unwrap_err();
        assert_eq!(e.code(), Code::Diverged);
        assert!(e.message().contains("`scale`"));
    }

    #[test]
    fn loss_must_be_scalar() {
        let tape = Tape::new(Cx::default());
        let x = tape.param(Tensor::zeros([2], DType::F32));
        assert_eq!(tape.backward(&x).err().unwrap().code(), Code::Shape);
    }
}
