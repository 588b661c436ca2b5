//! What an operation is to the tape, and how a tape runs it.

use std::fmt::Debug;

use super::results::Aside;
use super::sketch::Elementwise;
use crate::dual::Dual;
use crate::error::Result;
use crate::portable::{Graph, Id};
use crate::rounding::Bounded;
use crate::tensor::{Engine, Shape, Tensor};

/// Which implementation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Path {
    /// Vectorised and threaded.
    #[default]
    Fast,
    /// Plain loops: the specification.
    Reference,
    /// Kernels on a device; an operation without kernels is computed by the fast path, its operands fetched.
    Device(Engine),
}

/// How a tape runs its operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cx {
    /// Implementation to use.
    pub path: Path,
    /// Check every output; an operation that yields NaN or infinity is an error that names it.
    pub check_finite: bool,
    /// Note the wall-clock time of every operation, for [`super::Tape::profile`].
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
    /// Gradients of each result, of the output first ([`super::Tape::apply_many`]): those of one add up. One or none each, but on a
    /// device as many as there are where [`Op::takes_terms`]; `dy` is one of them then.
    pub terms: &'a [Vec<Tensor>],
    /// On a device, where [`Op::adds_up`]: of each input the gradient that other operations have sent so far, or some of it, as the input
    /// is stored; what the backward gives for it is their sum. Nothing elsewhere.
    pub so_far: &'a [Option<Tensor>],
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
    /// The channels from `start` on of a larger tensor, as many as the input has. For backwards on a device: there the sum of
    /// gradients reads them where they are.
    Within {
        /// First channel.
        start: usize,
        /// Has the input's size but for its channels.
        dx: Tensor,
    },
    /// Partial sums, f32 `(chunks, values)`, on a device: the gradients of many parameters are added up in one launch.
    Chunks(Tensor),
}

/// One differentiable operation with its parameters (strides, sizes); the operands come at each call.
pub trait Op: Debug + Send + Sync {
    /// Name in the table and in messages.
    fn name(&self) -> &'static str;

    /// Shape of the output; checks the shapes of the inputs.
    ///
    /// # Errors
    /// [`crate::Code::Shape`] or [`crate::Code::Argument`], naming the op, what was expected and what came.
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

    /// The forward by launches on `e`, as [`Op::forward`]; `None` when the op has no kernels for these operands. Maps may be f32 or
    /// bf16; the result has the type of the first operand.
    ///
    /// # Errors
    /// Those of the device.
    fn forward_device(&self, _e: Engine, _x: &[Tensor]) -> Result<Option<Output>> {
        Ok(None)
    }

    /// Gradients by launches on `e`, as [`Op::backward`], each in the type of its operand; `None` when the op has no kernels for
    /// these operands.
    ///
    /// # Errors
    /// Those of the device.
    fn backward_device(&self, _e: Engine, _b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        Ok(None)
    }

    /// Its work on single values, from the shapes of operands and result; none where values are only moved, and of the multiply-adds of
    /// convolutions and linear layers.
    fn elementwise(&self, _x: &[Shape], _y: &Shape) -> Elementwise {
        Elementwise::default()
    }

    /// Shape of result `result`, 0 the first, as [`Op::infer`]; all are of one unless the op says otherwise.
    ///
    /// # Errors
    /// As [`Op::infer`].
    fn infer_result(&self, _result: usize, x: &[Shape]) -> Result<Shape> {
        self.infer(x)
    }

    /// Where the forward puts results besides the first, all of its type.
    fn aside(&self) -> Option<&Aside> {
        None
    }

    /// Whether the backward on a device adds gradients of its results itself, [`Backward::terms`].
    fn takes_terms(&self) -> bool {
        false
    }

    /// Whether the backward on a device adds the gradient of operand `k` to [`Backward::so_far`].
    fn adds_up(&self, _k: usize) -> bool {
        false
    }

    /// Appends the operation to `g` as other programs know it: `x` stand there for its operands, `y` is the shape of its result. `None`
    /// where they do not know it.
    fn portable(&self, _g: &mut Graph, _x: &[Id], _y: Shape) -> Option<Id> {
        None
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

impl Grad {
    pub(super) fn tensor(&self) -> &Tensor {
        match self {
            Grad::Whole(t)
            | Grad::Channels { dx: t, .. }
            | Grad::Within { dx: t, .. }
            | Grad::Chunks(t) => t,
        }
    }
}
