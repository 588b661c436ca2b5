//! The reference path: plain loops, generic over f32, f64 and dual numbers. It is the specification of every op.

use crate::backend::host::by_float;
use crate::dual::Scalar;
use crate::error::Result;
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{Buffer, DType, Element, Shape, Tensor};

/// A shape and its values, row-major.
#[derive(Debug, Clone)]
pub struct Arr<S> {
    /// Sizes.
    pub shape: Shape,
    /// Values.
    pub data: Vec<S>,
}

impl<S: Scalar> Arr<S> {
    /// All zeros.
    pub fn zeros(shape: Shape) -> Arr<S> {
        Arr {
            shape,
            data: vec![S::zero(); shape.numel()],
        }
    }

    /// `f` at each value.
    pub fn map(&self, f: impl Fn(S) -> S) -> Arr<S> {
        Arr {
            shape: self.shape,
            data: self.data.iter().map(|&v| f(v)).collect(),
        }
    }

    /// Dimensions as `[N, C, H, W]`; asserts rank 4.
    pub fn nchw(&self) -> [usize; 4] {
        self.shape.dims().try_into().expect("a shape of rank 4")
    }

    /// Dimension `i`.
    pub fn dim(&self, i: usize) -> usize {
        self.shape.dims()[i]
    }
}

/// An op written once for every scalar. Integer operands (class ids) arrive as constants.
pub trait Reference {
    /// The output.
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S>;

    /// Gradients of the float operands (`None` for integer ones).
    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>>;

    /// What the forward puts aside for others than the backward, which recomputes: batch statistics.
    ///
    /// # Errors
    /// None by default.
    fn saved(&self, _x: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![])
    }
}

/// The values in `S`.
pub fn arr<S: Scalar>(t: &Tensor) -> Arr<S> {
    Arr {
        shape: *t.shape(),
        data: t.to_f64().into_iter().map(S::c).collect(),
    }
}

/// As a tensor.
pub fn tensor<S: Scalar + Element>(a: Arr<S>) -> Tensor {
    Tensor::from_buffer(a.shape, Buffer::from_slice(&a.data))
}

/// The dtype that computes: that of the first float operand.
fn compute(mut x: impl Iterator<Item = DType>) -> DType {
    x.find(|d| d.is_float()).unwrap_or(DType::F32)
}

/// [`crate::tape::Op::forward_reference`] of a [`Reference`].
pub fn forward(op: &impl Reference, x: &[Tensor]) -> Result<Output> {
    let dtype = compute(x.iter().map(|t| t.dtype()));
    Ok(Output {
        y: by_float!(dtype, T => tensor::<T>(op.fwd(&x.iter().map(arr::<T>).collect::<Vec<_>>()))),
        saved: op.saved(x)?,
    })
}

/// [`crate::tape::Op::backward_reference`] of a [`Reference`]. The tape saves all operands on this path.
pub fn backward(op: &impl Reference, b: &Backward) -> Result<Vec<Option<Grad>>> {
    by_float!(b.dy.dtype(), T => {
        let x: Vec<Arr<T>> = (0..b.x.len()).map(|i| arr(b.input(i))).collect();
        let dx = op.bwd(&x, &arr(b.dy));
        Ok(dx.into_iter().zip(b.need).map(|(g, &n)| g.filter(|_| n).map(|a| Grad::Whole(tensor::<T>(a)))).collect())
    })
}

fn arrays<S: Clone>(x: &[(Shape, Vec<S>)]) -> Vec<Arr<S>> {
    x.iter()
        .map(|(shape, data)| Arr {
            shape: *shape,
            data: data.clone(),
        })
        .collect()
}

/// [`crate::tape::Op::forward_dual`] and [`crate::tape::Op::forward_bounded`] of a [`Reference`].
pub fn forward_over<S: Scalar>(op: &impl Reference, x: &[(Shape, Vec<S>)]) -> Option<Vec<S>> {
    Some(op.fwd(&arrays(x)).data)
}

/// [`crate::tape::Op::backward_bounded`] of a [`Reference`].
pub fn backward_over<S: Scalar>(
    op: &impl Reference,
    x: &[(Shape, Vec<S>)],
    dy: &(Shape, Vec<S>),
) -> Option<Vec<Option<Vec<S>>>> {
    let dy = Arr {
        shape: dy.0,
        data: dy.1.clone(),
    };
    let dx = op.bwd(&arrays(x), &dy);
    Some(dx.into_iter().map(|g| g.map(|a| a.data)).collect())
}

/// The reference methods of an `impl Op` whose type is a [`Reference`].
///
/// `reference_path!(check)` calls `self.check(x: &[Tensor]) -> Result<()>` before the forward: for ops that refuse values.
#[macro_export]
macro_rules! reference_path {
    ($($check:ident)?) => {
        fn forward_reference(
            &self,
            x: &[$crate::tensor::Tensor],
        ) -> $crate::Result<$crate::tape::Output> {
            $(self.$check(x)?;)?
            $crate::ops::reference::forward(self, x)
        }
        fn backward_reference(
            &self,
            b: &$crate::tape::Backward,
        ) -> $crate::Result<Vec<Option<$crate::tape::Grad>>> {
            $crate::ops::reference::backward(self, b)
        }
        fn forward_dual(
            &self,
            x: &[($crate::tensor::Shape, Vec<$crate::dual::Dual>)],
        ) -> Option<Vec<$crate::dual::Dual>> {
            $crate::ops::reference::forward_over(self, x)
        }
        fn forward_bounded(
            &self,
            x: &[($crate::tensor::Shape, Vec<$crate::rounding::Bounded>)],
        ) -> Option<Vec<$crate::rounding::Bounded>> {
            $crate::ops::reference::forward_over(self, x)
        }
        fn backward_bounded(
            &self,
            x: &[($crate::tensor::Shape, Vec<$crate::rounding::Bounded>)],
            dy: &($crate::tensor::Shape, Vec<$crate::rounding::Bounded>),
        ) -> Option<Vec<Option<Vec<$crate::rounding::Bounded>>>> {
            $crate::ops::reference::backward_over(self, x, dy)
        }
    };
}
