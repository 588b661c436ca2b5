//! Scores of classes about which an image says nothing: `z` `(N, P, C)`, labels t `(N, P)`, labelled m `(N, C)`, 0 or 1.
//! `y_nic = low` where `t_ni = 0` and `m_nc = 0`, else `z_nic`; `dz = dy`, and 0 where the score was replaced.
//!
//! With a `low` far below all scores the softmax of a background prior runs over the labelled classes alone: in f32 `exp` of the
//! difference is 0 exactly.

use std::sync::Arc;

use super::on_device;
use super::reference::{Arr, Reference};
use super::shape_rules::refuse;
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver::{self as k, Arg};
use crate::backend::host::{Float, by_float};
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, DType, Engine, Shape, Tensor};

/// A score below all others, within every float type; `exp(FAR - z)` is 0 for any score z above -1e29.
pub const FAR: f64 = -1e30;

/// The op; operands are scores, labels and which classes are labelled.
#[derive(Debug, Clone)]
pub struct LeaveOut {
    /// What stands in place of a score that is left out.
    pub low: f64,
}

/// The scores `(N, P, C)`, C with the background as class 0, without those of classes that an image does not label, at its background
/// priors. `labels` is `(N, P)` i32, 0 the background; `labelled` is `(N, C)` i32, 0 or 1, 1 for the background.
///
/// # Errors
/// [`Code::Shape`] for operands that do not fit; [`Code::DType`] when labels or marks are not i32; [`Code::Argument`] for a mark other
/// than 0 or 1, or 0 for the background.
pub fn leave_out(scores: &Var, labels: &Var, labelled: &Var, op: LeaveOut) -> Result<Var> {
    scores.tape().apply(op, &[scores, labels, labelled])
}

/// `z` with `low` where it is left out.
fn replaced<S: Scalar>(z: &Arr<S>, labels: &Arr<S>, labelled: &Arr<S>, low: S) -> Arr<S> {
    let (priors, classes) = (z.shape.dims()[1], z.shape.dims()[2]);
    let mut y = z.clone();
    for (j, y) in y.data.iter_mut().enumerate() {
        let (i, c) = (j / classes, j % classes);
        if labels.data[i].v() == 0.0 && labelled.data[i / priors * classes + c].v() == 0.0 {
            *y = low;
        }
    }
    y
}

impl Reference for LeaveOut {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        replaced(&x[0], &x[1], &x[2], S::c(self.low))
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        vec![Some(replaced(dy, &x[1], &x[2], S::zero())), None, None]
    }
}

impl LeaveOut {
    fn check(&self, x: &[Tensor]) -> Result<()> {
        for (name, t) in [("labels", &x[1]), ("marks", &x[2])] {
            if t.dtype() != DType::I32 {
                let text = format!("leave_out: {name} must be i32, got {}", t.dtype().name());
                return Err(Error::new(Code::DType, text));
            }
        }
        if x[2].only_on_device() {
            return Ok(()); // checked before it went up
        }
        let classes = x[2].dims()[1];
        for (i, &m) in x[2].i32s().iter().enumerate() {
            let text = match m {
                1 => continue,
                0 if i % classes > 0 => continue,
                0 => "leave_out: the background is not labelled".into(),
                _ => format!("leave_out: mark {m} is neither 0 nor 1"),
            };
            let place = format!("image {}, class {}", i / classes, i % classes);
            return Err(Error::new(Code::Argument, text).at(place));
        }
        Ok(())
    }
}

/// As [`replaced`], an image a piece.
fn fast<T: Float>(z: &Tensor, labels: &Tensor, labelled: &Tensor, low: T) -> Buffer {
    let (priors, classes) = (z.dims()[1], z.dims()[2]);
    let (from, labels, labelled) = (z.data::<T>(), labels.i32s(), labelled.i32s());
    let mut y = Buffer::scratch(z.dtype(), z.numel());
    let piece = priors * classes;
    for_pieces(y.values_mut::<T>(), piece, from.len(), |n, y| {
        y.copy_from_slice(&from[n * piece..][..piece]);
        let marks = &labelled[n * classes..][..classes];
        let rows = y.chunks_exact_mut(classes).zip(&labels[n * priors..]);
        for (row, _) in rows.filter(|(_, t)| **t == 0) {
            let out = row.iter_mut().zip(marks).filter(|(_, m)| **m == 0);
            out.for_each(|(y, _)| *y = low);
        }
    });
    y
}

/// As [`fast`], by a launch; `None` for types without a kernel.
fn launched(
    e: Engine,
    z: &Tensor,
    labels: &Tensor,
    labelled: &Tensor,
    low: f64,
) -> Result<Option<Tensor>> {
    let Some(kernel) = on_device::pick(z.dtype(), k::LEAVE_OUT_F32, k::LEAVE_OUT_BF16) else {
        return Ok(None);
    };
    let mut y = Tensor::scratch_on(e, *z.shape(), z.dtype())?;
    let args = [
        z.arg(e)?,
        labels.arg(e)?,
        labelled.arg(e)?,
        y.arg_out(e)?,
        Arg::F32(low as f32),
        Arg::I32(z.dims()[1] as i32),
        Arg::I32(z.dims()[2] as i32),
    ];
    e.over(kernel, z.numel(), &args)?;
    Ok(Some(y))
}

impl Op for LeaveOut {
    fn name(&self) -> &'static str {
        "leave_out"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let fits = match x[0].dims() {
            [n, p, c] => *c >= 1 && x[1].dims() == [*n, *p] && x[2].dims() == [*n, *c],
            _ => false,
        };
        if !fits {
            let text = format!(
                "expected (N, P, C), (N, P), (N, C), got {}, {}, {}",
                x[0], x[1], x[2]
            );
            return Err(refuse(self.name(), text));
        }
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        Saves {
            inputs: 0b110,
            output: false,
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        self.check(x)?;
        let z = &x[0];
        let y = by_float!(z.dtype(), T => fast(z, &x[1], &x[2], T::c(self.low)));
        Ok(Tensor::from_buffer(*z.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let dz = by_float!(b.dy.dtype(), T => fast(b.dy, b.input(1), b.input(2), T::c(0.0)));
        let dz = Tensor::from_buffer(b.shapes[0], dz);
        Ok(vec![Some(Grad::Whole(dz)), None, None])
    }

    crate::reference_path!(check);

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        self.check(x)?;
        let y = launched(e, &x[0], &x[1], &x[2], self.low)?;
        Ok(y.map(Output::from))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let dz = launched(e, b.dy, b.input(1), b.input(2), 0.0)?;
        Ok(dz.map(|dz| vec![Some(Grad::Whole(dz)), None, None]))
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "leave_out",
    case: |g| {
        let (n, p) = match g.side > 9 {
            true => (3, g.int(190, 230)),
            false => (g.int(1, 3), g.int(1, 12)),
        };
        let classes = g.int(1, 5);
        let label = |g: &mut super::table::Gen| match g.rng.coin(0.6) {
            true => 0,
            false => g.rng.below(classes + 1) as i32 - 1,
        };
        let labels = (0..n * p).map(|_| label(g)).collect();
        let mark =
            |g: &mut super::table::Gen, i: usize| i.is_multiple_of(classes) || g.rng.coin(0.5);
        let labelled = (0..n * classes).map(|i| mark(g, i) as i32).collect();
        let ids = |shape: [usize; 2], v| Tensor::from_i32(shape, v).expect("one for each place");
        let low = g.pick(&[-3.0, -0.5]);
        Case {
            op: Arc::new(LeaveOut { low }),
            x: vec![
                g.normal([n, p, classes]),
                ids([n, p], labels),
                ids([n, classes], labelled),
            ],
        }
    },
    refusals: || {
        let refuse = |shapes: [Shape; 3], expect| Refusal {
            op: Arc::new(LeaveOut { low: FAR }) as Arc<dyn Op>,
            shapes: shapes.to_vec(),
            expect,
        };
        vec![
            refuse(
                [[2, 5, 3].into(), [2, 4].into(), [2, 3].into()],
                "expected (N, P, C), (N, P), (N, C), got (2, 5, 3), (2, 4), (2, 3)",
            ),
            refuse(
                [[2, 5, 3].into(), [2, 5].into(), [1, 3].into()],
                "got (2, 5, 3), (2, 5), (1, 3)",
            ),
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "the first score that is left out gets a gradient",
            spoil: |c, dy, g| {
                let (priors, classes) = (c.x[0].dims()[1], c.x[0].dims()[2]);
                let (labels, labelled) = (c.x[1].i32s(), c.x[2].i32s());
                let out = |j: &usize| {
                    let image = j / classes / priors;
                    labels[j / classes] == 0 && labelled[image * classes + j % classes] == 0
                };
                let Some(j) = (0..c.x[0].numel()).find(out) else {
                    return false;
                };
                let Some(d) = g[0].as_mut() else { return false };
                d.data_mut::<f64>()[j] += 0.1 * dy.f64s()[j];
                true
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Cx, Path, Tape};

    fn run(path: Path, marks: [i32; 6]) -> Result<(Vec<f32>, Vec<f32>)> {
        let tape = Tape::new(Cx {
            path,
            ..Cx::default()
        });
        // Two images of two priors: a background each, an object, one of neither.
        let z = tape.param(Tensor::from_f32(
            [2, 2, 3],
            (1..13).map(|v| v as f32).collect(),
        )?);
        let labels = tape.leaf(Tensor::from_i32([2, 2], vec![0, 1, -1, 0])?);
        let labelled = tape.leaf(Tensor::from_i32([2, 3], marks.to_vec())?);
        let y = leave_out(&z, &labels, &labelled, LeaveOut { low: -7.0 })?;
        let dy = Tensor::from_f32([2, 2, 3], vec![0.5; 12])?;
        let g = tape.backward_from(&y, dy)?;
        let dz = g.get(&z).expect("a gradient").f32s().to_vec();
        Ok((y.value().f32s().to_vec(), dz))
    }

    #[test]
    fn scores_and_gradients_by_hand() {
        for path in [
            Path::Fast,
            Path::Reference,
            Path::Device(Engine::emulated(2)),
        ] {
            let (y, dz) = run(path, [1, 1, 0, 1, 0, 0]).unwrap();
            let want = [1., 2., -7., 4., 5., 6., 7., 8., 9., 10., -7., -7.];
            assert_eq!(y, want, "{path:?}");
            let kept = want.map(|v| if v == -7.0 { 0.0 } else { 0.5 });
            assert_eq!(dz, kept, "{path:?}");
            let (y, _) = run(path, [1; 6]).unwrap();
            assert!(y.iter().zip(1..).all(|(y, v)| *y == v as f32));
        }
    }

    #[test]
    fn bad_marks_name_image_and_class() {
        for (marks, place) in [
            ([1, 1, 1, 0, 1, 1], "image 1, class 0"),
            ([1, 2, 1, 1, 1, 1], "image 0, class 1"),
        ] {
            let e = run(Path::Fast, marks).unwrap_err();
            assert!(
                e.code() == Code::Argument && e.place() == Some(place),
                "{e}"
            );
        }
    }
}
