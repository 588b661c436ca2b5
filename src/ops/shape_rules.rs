//! Checks and views of shapes that several ops share.

use crate::error::{Code, Error, Result};
use crate::tensor::Shape;

/// Sizes before, at and after dimension `dim`: row-major data is `(outer, len, inner)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Product of the dimensions before.
    pub outer: usize,
    /// The dimension.
    pub len: usize,
    /// Product of the dimensions after.
    pub inner: usize,
}

impl Split {
    /// Elements of one outer index.
    pub fn row(&self) -> usize {
        self.len * self.inner
    }
}

/// [`Split`] of a shape; asserts that the dimension exists (shape rules have checked it by [`has_dim`]).
pub fn split(s: &Shape, dim: usize) -> Split {
    let d = s.dims();
    Split {
        outer: d[..dim].iter().product(),
        len: d[dim],
        inner: d[dim + 1..].iter().product(),
    }
}

/// `s` with `len` at dimension `dim`.
pub fn with_dim(s: &Shape, dim: usize, len: usize) -> Shape {
    let mut d = s.dims().to_vec();
    d[dim] = len;
    Shape::new(&d)
}

/// A shape error of `op`.
pub fn refuse(op: &str, message: impl std::fmt::Display) -> Error {
    Error::new(Code::Shape, format!("{op}: {message}"))
}

/// Error unless `s` has dimension `dim`.
pub fn has_dim(op: &str, s: &Shape, dim: usize) -> Result<()> {
    if dim < s.rank() {
        return Ok(());
    }
    Err(refuse(op, format!("{s} has no dimension {dim}")))
}

/// Error unless both shapes are the same.
pub fn same(op: &str, a: &Shape, b: &Shape) -> Result<()> {
    if a == b {
        return Ok(());
    }
    Err(refuse(
        op,
        format!("expected operands of one shape, got {a} and {b}"),
    ))
}

/// Error unless the shapes agree in every dimension but `dim`.
pub fn same_but(op: &str, a: &Shape, b: &Shape, dim: usize) -> Result<()> {
    let fits = a.rank() == b.rank() && with_dim(b, dim, a.dims()[dim]) == *a;
    if fits {
        return Ok(());
    }
    Err(refuse(
        op,
        format!("shapes may differ in dimension {dim} only, got {a} and {b}"),
    ))
}
