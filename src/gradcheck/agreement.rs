//! Fast path against reference, each element within its own bound; repeatability; bf16 storage; linearity of the backward.

use std::sync::Arc;

use super::derivative::{normal, pull};
use crate::backend::threads::always_parallel;
use crate::error::{Code, Error, Result};
use crate::ops::table::Case;
use crate::rng::Rng;
use crate::rounding::Bounded;
use crate::tape::{Op, Path};
use crate::tensor::{DType, Shape, Tensor};

/// Bounds are of first order in the roundoff, and both sides round: twice, and a little for the higher orders.
pub(super) const SAFETY: f64 = 2.5;

/// Unit roundoff.
pub(super) fn roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => f64::EPSILON / 2.0,
        _ => f32::EPSILON as f64 / 2.0,
    }
}

pub(super) fn cast(x: &[Tensor], dtype: DType) -> Vec<Tensor> {
    let float = |t: &Tensor| t.dtype().is_float();
    x.iter()
        .map(|t| if float(t) { t.cast(dtype) } else { t.clone() })
        .collect()
}

pub(super) fn bounded(t: &Tensor) -> (Shape, Vec<Bounded>) {
    let v = t.to_f64().into_iter().map(Bounded::exact).collect();
    (*t.shape(), v)
}

/// The largest share of its bound that an element uses; a complaint about the first beyond 1.
fn compare(
    what: &str,
    got: &Tensor,
    exact: &[Bounded],
    u: f64,
) -> std::result::Result<f64, String> {
    let mut worst = 0.0f64;
    for (i, (g, e)) in got.to_f64().into_iter().zip(exact).enumerate() {
        let (error, bound) = ((g - e.v).abs(), SAFETY * e.error(u));
        if error == 0.0 {
            continue;
        }
        let share = error / bound;
        if share.is_nan() || share > 1.0 {
            return Err(format!(
                "{what}[{i}] is {g:e} on the fast path, {:e} by the reference: {error:.1e} apart, the bound is {bound:.1e}",
                e.v
            ));
        }
        worst = worst.max(share);
    }
    Ok(worst)
}

/// Fast in `dtype` against the reference in f64 on the same (rounded) operands: output and all gradients.
/// The largest share of a bound that was used; `None` when the op brings no bounds.
///
/// # Errors
/// Those of the op, or [`Code::CheckFailed`].
pub fn fast_against_reference(case: &Case, dtype: DType, r: &mut Rng) -> Result<Option<f64>> {
    let x = cast(&case.x, dtype);
    let operands: Vec<_> = x.iter().map(bounded).collect();
    let Some(y) = case.op.forward_bounded(&operands) else {
        return Ok(None);
    };
    let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
    let dy = normal(&case.op.infer(&shapes)?, r).cast(dtype);
    let Some(dx) = case.op.backward_bounded(&operands, &bounded(&dy)) else {
        return Ok(None);
    };
    let (fast_y, fast_dx) = pull(&case.op, &x, Path::Fast, &dy)?;
    let u = roundoff(dtype);
    let failed = |text| Error::new(Code::CheckFailed, format!("in {}: {text}", dtype.name()));
    let mut worst = compare("y", &fast_y, &y, u).map_err(failed)?;
    for (k, (g, e)) in fast_dx.iter().zip(&dx).enumerate() {
        if let (Some(g), Some(e)) = (g, e) {
            let used = compare(&format!("dx{k}"), g, e, u).map_err(failed)?;
            worst = worst.max(used);
        }
    }
    Ok(Some(worst))
}

/// Output and gradients of the fast path.
fn all(op: &Arc<dyn Op>, x: &[Tensor], dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
    let (y, dx) = pull(op, x, Path::Fast, dy)?;
    Ok([Some(y)].into_iter().chain(dx).collect())
}

/// The same bits in a second run, on one thread and on two.
///
/// # Errors
/// Those of the op, or [`Code::CheckFailed`].
pub fn repeatable(case: &Case, r: &mut Rng) -> Result<()> {
    let x = cast(&case.x, DType::F32);
    let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
    let dy = normal(&case.op.infer(&shapes)?, r).cast(DType::F32);
    let first = all(&case.op, &x, &dy)?;
    if all(&case.op, &x, &dy)? != first {
        return Err(Error::new(
            Code::CheckFailed,
            "a second run gave other bits",
        ));
    }
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|e| Error::new(Code::Internal, format!("no threads: {e}")))?;
        let again = pool.install(|| always_parallel(|| all(&case.op, &x, &dy)))?;
        if again != first {
            let text = format!("{threads} threads gave other bits");
            return Err(Error::new(Code::CheckFailed, text));
        }
    }
    Ok(())
}

/// On bf16 operands: f32 arithmetic on the rounded values, rounded when stored.
///
/// # Errors
/// Those of the op, or [`Code::CheckFailed`].
pub fn bf16_storage(case: &Case, r: &mut Rng) -> Result<()> {
    let x = cast(&case.x, DType::Bf16);
    let wide = cast(&x, DType::F32);
    let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
    let dy = normal(&case.op.infer(&shapes)?, r).cast(DType::Bf16);
    let narrow = all(&case.op, &x, &dy)?;
    let exact = all(&case.op, &wide, &dy.cast(DType::F32))?;
    // A backward that reads its output reads the stored, rounded one: only the forward is then the same to the bit.
    let compared = if case.op.saves().output {
        1
    } else {
        narrow.len()
    };
    for (k, (n, e)) in narrow.iter().zip(&exact).enumerate().take(compared) {
        let same = match (n, e) {
            (Some(n), Some(e)) => *n == e.cast(n.dtype()),
            (n, e) => n.is_none() && e.is_none(),
        };
        if !same {
            let text = format!("bf16: result {k} is not the rounded f32 result");
            return Err(Error::new(Code::CheckFailed, text));
        }
    }
    Ok(())
}

/// The backward is linear in dy: `J^T (u1 + u2) = J^T u1 + J^T u2` up to rounding, on both paths.
///
/// # Errors
/// Those of the op, or [`Code::CheckFailed`].
pub fn linear_backward(case: &Case, r: &mut Rng) -> Result<()> {
    let shapes: Vec<Shape> = case.x.iter().map(|x| *x.shape()).collect();
    let shape = case.op.infer(&shapes)?;
    let (u1, u2) = (normal(&shape, r), normal(&shape, r));
    let sum = u1
        .f64s()
        .iter()
        .zip(u2.f64s())
        .map(|(a, b)| a + b)
        .collect();
    let sum = Tensor::from_f64(shape, sum)?;
    for path in [Path::Fast, Path::Reference] {
        let of = |u: &Tensor| pull(&case.op, &case.x, path, u).map(|(_, g)| g);
        let (g1, g2, g) = (of(&u1)?, of(&u2)?, of(&sum)?);
        for k in 0..g.len() {
            let (Some(a), Some(b), Some(c)) = (&g1[k], &g2[k], &g[k]) else {
                continue;
            };
            let size = |t: &Tensor| t.f64s().iter().fold(0.0f64, |m, v| m.max(v.abs()));
            let allowed = 1e-12 * (size(a) + size(b));
            for i in 0..c.numel() {
                let off = (a.f64s()[i] + b.f64s()[i] - c.f64s()[i]).abs();
                if off.is_nan() || off > allowed {
                    let text =
                        format!("the backward is not linear in dy: dx{k}[{i}] is off by {off:.1e}");
                    return Err(Error::new(Code::CheckFailed, text));
                }
            }
        }
    }
    Ok(())
}
