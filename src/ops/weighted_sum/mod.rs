//! Weighted sum, the mixed operation (DARTS, Liu et al. 2019, equation 2; PC-DARTS, Xu et al. 2020, equations 1 and 2):
//! `y = sum_i w[p_i] x_i[:, s_i..]`; `dx_i = w[p_i] dy`, `dw[p_i] += <dy, x_i[:, s_i..]>`.
//!
//! A term may take only the channels from `s_i` on, so that the channels that bypass a partial-channel operation are
//! summed without being copied out first.
//!
//! Longer than 300 lines: the mixed operation is the hottest sum of a search; its two paths, cases and planted errors stay side by side.

mod device;

use std::sync::Arc;

use super::on_device::one_type;
use super::reference::{Arr, Reference};
use super::shape_rules::{refuse, same_but, split, with_dim};
use super::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::backend::host::{Float, by_float, combine};
use crate::backend::threads::{map_tasks, shards, tree_fold};
use crate::dual::Scalar;
use crate::error::Result;
use crate::tape::{Backward, Elementwise, Grad, Op, Output, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// One term: which weight, and the first channel of the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Row-major index into the tensor of weights.
    pub weight: usize,
    /// First channel (dimension 1) taken.
    pub start: usize,
}

/// The op; operands are the inputs in the order of the terms, then the weights.
#[derive(Debug, Clone)]
pub struct WeightedSum {
    /// One for each input.
    pub terms: Vec<Term>,
}

/// `sum_i w[pick[i]] * x[i]`; inputs of one shape, `w` of any shape, indexed row-major.
///
/// # Errors
/// [`crate::Code::Shape`] for no input, as many indices as inputs not given, an index outside `w`, or shapes that differ.
pub fn weighted_sum(x: &[&Var], w: &Var, pick: &[usize]) -> Result<Var> {
    if x.len() != pick.len() {
        let text = format!("{} inputs but {} weights", x.len(), pick.len());
        return Err(refuse("weighted_sum", text));
    }
    let terms: Vec<Term> = pick
        .iter()
        .map(|&weight| Term { weight, start: 0 })
        .collect();
    weighted_sum_of(x, w, terms)
}

/// [`weighted_sum`] whose inputs may each start at a channel of their own: `sum_i w[weight_i] * x_i[:, start_i..]`.
///
/// # Errors
/// As [`weighted_sum`]; also when the remaining channels differ in number.
pub fn weighted_sum_of(x: &[&Var], w: &Var, terms: Vec<Term>) -> Result<Var> {
    let operands: Vec<&Var> = x.iter().copied().chain([w]).collect();
    w.tape().apply(WeightedSum { terms }, &operands)
}

/// `w[i] * x`: one term of a weighted sum.
///
/// # Errors
/// [`crate::Code::Shape`] when `i` is outside `w`.
pub fn scale_by(x: &Var, w: &Var, i: usize) -> Result<Var> {
    weighted_sum(&[x], w, &[i])
}

/// Where term `i` reads in its operand: image stride and offset of the first channel, in elements.
fn place(s: &Shape, t: &Term) -> (usize, usize) {
    let v = split(s, 1);
    (v.row(), t.start * v.inner)
}

impl Reference for WeightedSum {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        let (w, x) = x.split_last().expect("inputs and weights");
        let mut y = Arr::zeros(self.out(&x[0].shape));
        let row = split(&y.shape, 1).row();
        for (t, x) in self.terms.iter().zip(x) {
            let (stride, offset) = place(&x.shape, t);
            for (n, y) in y.data.chunks_mut(row.max(1)).enumerate() {
                for (y, &x) in y.iter_mut().zip(&x.data[n * stride + offset..]) {
                    *y += w.data[t.weight] * x;
                }
            }
        }
        y
    }

    fn bwd<S: Scalar>(&self, x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        let (w, x) = x.split_last().expect("inputs and weights");
        let row = split(&dy.shape, 1).row();
        let mut dw = Arr::zeros(w.shape);
        let mut grads = Vec::new();
        for (t, x) in self.terms.iter().zip(x) {
            let mut dx = Arr::zeros(x.shape);
            let (stride, offset) = place(&x.shape, t);
            for (n, dy) in dy.data.chunks(row.max(1)).enumerate() {
                for (i, &g) in dy.iter().enumerate() {
                    let at = n * stride + offset + i;
                    dx.data[at] = w.data[t.weight] * g;
                    dw.data[t.weight] += g * x.data[at];
                }
            }
            grads.push(Some(dx));
        }
        grads.push(Some(dw));
        grads
    }
}

/// Elements of one image that a thread takes at a time.
const PIECE: usize = 1 << 14;

/// A part of one image of the output (or of `dy`) and the same part of the gradients that are wanted.
struct Task<'a, T> {
    image: usize,
    from: usize,
    len: usize,
    out: Vec<Option<&'a mut [T]>>,
}

/// Cuts `outs`, each one of `images` rows of `row` elements, into tasks in order.
fn tasks<'a, T: Float>(
    outs: Vec<Option<&'a mut [T]>>,
    images: usize,
    row: usize,
) -> Vec<Task<'a, T>> {
    let mut rest = outs;
    let mut tasks = Vec::new();
    for image in 0..images {
        for from in (0..row).step_by(PIECE) {
            let len = PIECE.min(row - from);
            let out = rest
                .iter_mut()
                .map(|r| r.as_mut().and_then(|r| r.split_off_mut(..len)))
                .collect();
            tasks.push(Task {
                image,
                from,
                len,
                out,
            });
        }
    }
    tasks
}

impl WeightedSum {
    fn out(&self, x0: &Shape) -> Shape {
        match self.terms[0].start {
            0 => *x0,
            s => with_dim(x0, 1, x0.dims()[1] - s),
        }
    }

    fn fast_forward<T: Float>(&self, x: &[Tensor], w: &[T], y: &mut [T], out: &Shape) {
        let v = split(out, 1);
        let weights: Vec<T> = self.terms.iter().map(|t| w[t.weight]).collect();
        let places: Vec<_> = self
            .terms
            .iter()
            .zip(x)
            .map(|(t, x)| place(x.shape(), t))
            .collect();
        let work = x.len() * y.len();
        map_tasks(tasks(vec![Some(y)], v.outer, v.row()), work, |mut t| {
            let parts: Vec<&[T]> = x
                .iter()
                .zip(&places)
                .map(|(x, (stride, offset))| {
                    &x.data::<T>()[t.image * stride + offset + t.from..][..t.len]
                })
                .collect();
            if let Some(y) = t.out[0].as_mut() {
                combine::weighted_sum(&weights, &parts, y);
            }
        });
    }

    /// Writes `dx_i = w_i dy` where wanted; returns `<dy, x_i>` of every term if `dots`.
    fn fast_backward<T: Float>(
        &self,
        b: &Backward,
        w: &[T],
        dx: Vec<Option<&mut [T]>>,
        dots: bool,
    ) -> Vec<f64> {
        let v = split(b.dy.shape(), 1);
        let dy = b.dy.data::<T>();
        let m = self.terms.len();
        let work = 2 * m * dy.len();
        let per_image = v.row().div_ceil(PIECE);
        let parts = map_tasks(tasks(dx, v.outer, v.row()), work, |mut task| {
            let mut sums = vec![0.0; if dots { m } else { 0 }];
            for at in (0..task.len).step_by(combine::BLOCK) {
                let n = combine::BLOCK.min(task.len - at);
                let dy = &dy[task.image * v.row() + task.from + at..][..n];
                for (i, t) in self.terms.iter().enumerate() {
                    let x = || {
                        let (stride, offset) = place(&b.shapes[i], t);
                        &b.input(i).data::<T>()[task.image * stride + offset + task.from + at..]
                            [..n]
                    };
                    let dx = task.out[i].as_mut().map(|d| &mut d[at..at + n]);
                    match (dx, dots) {
                        (Some(dx), true) => {
                            sums[i] += combine::scale_dot(w[t.weight], dy, x(), dx).v();
                        }
                        (Some(dx), false) => {
                            crate::backend::host::elementwise::scale(w[t.weight], dy, dx);
                        }
                        (None, true) => {
                            sums[i] += crate::backend::host::elementwise::dot(dy, x()).v();
                        }
                        (None, false) => {}
                    }
                }
            }
            sums
        });
        if !dots {
            return vec![];
        }
        let add = |mut a: Vec<f64>, b: Vec<f64>| {
            a.iter_mut().zip(&b).for_each(|(a, b)| *a += b);
            a
        };
        let per_shard = shards(v.outer)
            .map(|r| {
                parts[r.start * per_image..r.end * per_image]
                    .iter()
                    .fold(vec![0.0; m], |a, b| add(a, b.clone()))
            })
            .collect();
        tree_fold(per_shard, add).unwrap_or(vec![0.0; m])
    }
}

impl Op for WeightedSum {
    fn name(&self) -> &'static str {
        "weighted_sum"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        let (w, x) = x.split_last().expect("inputs and weights");
        if x.is_empty() || x.len() != self.terms.len() {
            let text = format!("{} inputs but {} weights", x.len(), self.terms.len());
            return Err(refuse(self.name(), text));
        }
        for (t, x) in self.terms.iter().zip(x) {
            if x.rank() < 2 || t.start >= x.dims()[1].max(1) {
                let text = format!("{x} has no channel {}", t.start);
                return Err(refuse(self.name(), text));
            }
            if t.weight >= w.numel() {
                let text = format!("no weight {} in {w}", t.weight);
                return Err(refuse(self.name(), text));
            }
        }
        let y = self.out(&x[0]);
        for (t, x) in self.terms.iter().zip(x) {
            same_but(self.name(), &y, x, 1)?;
            if x.dims()[1] - t.start != y.dims()[1] {
                let text = format!(
                    "expected {} channels from {} on, got {x}",
                    y.dims()[1],
                    t.start
                );
                return Err(refuse(self.name(), text));
            }
        }
        Ok(y)
    }

    fn elementwise(&self, x: &[Shape], y: &Shape) -> Elementwise {
        Elementwise {
            add: (y.numel() * (2 * (x.len() - 1) - 1)) as u64,
            ..Elementwise::default()
        }
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let (w, x) = x.split_last().expect("inputs and weights");
        let shape = self.out(x[0].shape());
        let mut y = Buffer::scratch(w.dtype(), shape.numel());
        by_float!(w.dtype(), T => self.fast_forward::<T>(x, w.data(), y.values_mut(), &shape));
        Ok(Tensor::from_buffer(shape, y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let m = self.terms.len();
        let dtype = b.dy.dtype();
        let dots = b.need[m];
        let mut dx: Vec<Option<Buffer>> = (0..m)
            .map(|i| b.need[i].then(|| Buffer::scratch(dtype, b.dy.numel())))
            .collect();
        let sums = by_float!(dtype, T => {
            let outs = dx.iter_mut().map(|d| d.as_mut().map(|d| d.values_mut::<T>())).collect();
            self.fast_backward::<T>(b, b.input(m).data(), outs, dots)
        });
        let mut grads: Vec<Option<Grad>> = dx
            .into_iter()
            .zip(&self.terms)
            .map(|(d, t)| {
                let dx = Tensor::from_buffer(*b.dy.shape(), d?);
                Some(match t.start {
                    0 => Grad::Whole(dx),
                    start => Grad::Channels { start, dx },
                })
            })
            .collect();
        grads.push(dots.then(|| {
            let mut dw = vec![0.0; b.shapes[m].numel()];
            for (t, s) in self.terms.iter().zip(&sums) {
                dw[t.weight] += s;
            }
            let dw = Tensor::from_buffer(b.shapes[m], Buffer::from_slice(&dw));
            Grad::Whole(dw.cast(dtype))
        }));
        Ok(grads)
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let (w, x) = x.split_last().expect("inputs and weights");
        if !one_type(x) {
            return Ok(None);
        }
        device::forward(e, &self.terms, x, w, self.out(x[0].shape()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        device::backward(e, &self.terms, b)
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "weighted_sum",
    case: |g| {
        let [n, c, h, w] = g.map_shape();
        let s = [n, c.min(7), h, w];
        // Sixteen is the most that a kernel takes at a time.
        let m: usize = g.pick(&[1, 1, 2, 3, 5, 8, 9, 16, 18]);
        let w = g.int(m.div_ceil(2), m + 2);
        let terms: Vec<Term> = (0..m)
            .map(|_| Term {
                weight: g.int(0, w - 1),
                start: g.int(0, 2),
            })
            .collect();
        let mut x: Vec<Tensor> = terms
            .iter()
            .map(|t| g.normal([s[0], s[1] + t.start, s[2], s[3]]))
            .collect();
        x.push(g.normal([w]));
        Case {
            op: Arc::new(WeightedSum { terms }),
            x,
        }
    },
    refusals: || {
        let op = |start, weight| {
            Arc::new(WeightedSum {
                terms: vec![
                    Term {
                        weight: 0,
                        start: 0,
                    },
                    Term { weight, start },
                ],
            })
        };
        let map = Shape::from([1, 4, 2, 2]);
        vec![
            Refusal {
                op: op(0, 3),
                shapes: vec![map, map, [3].into()],
                expect: "no weight 3 in (3)",
            },
            Refusal {
                op: op(1, 1),
                shapes: vec![map, map, [3].into()],
                expect: "expected 4 channels from 1 on, got (1, 4, 2, 2)",
            },
            Refusal {
                op: op(0, 1),
                shapes: vec![map, [1, 4, 2, 3].into(), [3].into()],
                expect: "shapes may differ in dimension 1 only",
            },
            Refusal {
                op: op(0, 1),
                shapes: vec![map, [3].into()],
                expect: "1 inputs but 2 weights",
            },
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "dw too large by a factor 1.0005",
            spoil: |_, _, g| {
                let last = g.len() - 1;
                scale_gradient(g, last)
            },
        },
        Planted {
            what: "dw misses the last image",
            spoil: |c, dy, g| {
                // The lost part can be told from outside where there is one term: its weight is the one with a gradient.
                let (x, n) = (&c.x[0], dy.dims()[0]);
                if c.x.len() != 2 || n < 2 {
                    return false;
                }
                let (row, stride) = (dy.numel() / n, x.numel() / n);
                let (dy, x) = (&dy.f64s()[(n - 1) * row..], &x.f64s()[n * stride - row..]);
                let lost: f64 = dy.iter().zip(x).map(|(a, b)| a * b).sum();
                let Some(dw) = g[1].as_mut() else {
                    return false;
                };
                for v in dw.data_mut::<f64>().iter_mut().filter(|v| **v != 0.0) {
                    *v -= lost;
                }
                true
            },
        },
    ],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Cx, Path, Tape};
    use crate::tensor::{DType, Engine};

    #[test]
    fn bypass_channels_are_summed_in_place() {
        let tape = Tape::new(Cx::default());
        let a = tape.param(Tensor::from_f32([1, 2, 1, 2], vec![1., 2., 3., 4.]).unwrap());
        let b = tape.param(Tensor::from_f32([1, 1, 1, 2], vec![10., 20.]).unwrap());
        let w = tape.param(Tensor::from_f32([2], vec![2.0, 0.5]).unwrap());
        let terms = vec![
            Term {
                weight: 0,
                start: 1,
            },
            Term {
                weight: 1,
                start: 0,
            },
        ];
        let y = weighted_sum_of(&[&a, &b], &w, terms).unwrap();
        assert_eq!(y.value().f32s(), &[11.0, 18.0]);
        let g = tape
            .backward_from(&y, Tensor::full([1, 1, 1, 2], DType::F32, 1.0))
            .unwrap();
        assert_eq!(g.get(&a).unwrap().f32s(), &[0.0, 0.0, 2.0, 2.0]);
        assert_eq!(g.get(&b).unwrap().f32s(), &[0.5, 0.5]);
        assert_eq!(g.get(&w).unwrap().f32s(), &[7.0, 30.0]);
    }

    #[test]
    fn more_terms_than_one_launch_takes() {
        let run = |path| {
            let tape = Tape::new(Cx {
                path,
                ..Cx::default()
            });
            let part = |k: usize| (0..12).map(|i| (k * 5 + i) as f32).collect();
            let x: Vec<Var> = (0..19)
                .map(|k| tape.param(Tensor::from_f32([2, 1, 2, 3], part(k)).unwrap()))
                .collect();
            let w = tape.param(Tensor::from_f32([3], vec![1.0, -2.0, 0.5]).unwrap());
            let pick: Vec<usize> = (0..19).map(|k| k % 3).collect();
            let y = weighted_sum(&x.iter().collect::<Vec<_>>(), &w, &pick).unwrap();
            let dy = Tensor::from_f32(*y.shape(), part(1)).unwrap();
            let g = tape.backward_from(&y, dy).unwrap();
            let mut all = vec![y.value().f32s().to_vec(), g.get(&w).unwrap().to_f32()];
            all.extend(x.iter().map(|x| g.get(x).unwrap().to_f32()));
            all
        };
        let e = Engine::emulated(2);
        // Whole numbers: both are exact.
        assert_eq!(run(Path::Device(e)), run(Path::Fast));
        assert!(e.fallbacks().is_empty());
    }
}
