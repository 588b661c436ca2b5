//! Dropout (Srivastava et al. 2014), inverted: `y = m x / (1 - p)` with `m` 0 with probability p, else 1; `dx = m dy / (1 - p)`.
//! The mask is a pure function of the key, so it is drawn again in the backward instead of being kept.

use std::sync::Arc;

use super::on_device::{self, THREADS};
use super::reference::{Arr, Reference};
use super::table::{Case, Entry, FACTOR, Planted, Refusal};
use crate::backend::driver::{self as k, Arg, Launch, Scalar as Scalar64};
use crate::backend::host::by_float;
use crate::backend::threads::for_pieces;
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::rng::{Rng, prefix};
use crate::tape::{Backward, Grad, Op, Output, Saves, Var};
use crate::tensor::{Buffer, Engine, Shape, Tensor};

/// The op with its probability and the key of its mask.
#[derive(Debug, Clone)]
pub struct Dropout {
    /// Probability that an element becomes 0, in 0..1.
    pub p: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Path of the stream: stage, step, place in the network.
    pub path: Vec<u64>,
}

/// Sets random elements to 0 and scales the others, in training; do not call it in evaluation.
///
/// # Errors
/// [`Code::Argument`] unless p is in 0..1.
pub fn dropout(x: &Var, op: Dropout) -> Result<Var> {
    x.tape().apply(op, &[x])
}

/// [`dropout`] on a device, the mask drawn by what lies there ([`draw_words`]) in place of seed and path; the last word of the path
/// says which stream is this op's.
///
/// # Errors
/// As there.
pub fn dropout_drawn(x: &Var, op: Dropout, draw: &Var) -> Result<Var> {
    x.tape().apply(op, &[x, draw])
}

/// Words that kernels draw with, six of 64 bits: seed, the part of the path that streams have in common, for dropout the bound below
/// which 32 bits drop and the factor of what stays, for drop path the same of 53 bits. `key`: seed, stage, step.
///
/// # Errors
/// None: the shape is right.
pub fn draw_words(key: [u64; 3], dropout: f64, drop_path: f64) -> Result<Tensor> {
    words(key[0], &key[1..], dropout, drop_path)
}

fn words(seed: u64, path: &[u64], dropout: f64, drop_path: f64) -> Result<Tensor> {
    let keep = |p: f64| u64::from(((1.0 / (1.0 - p)) as f32).to_bits());
    let all = [
        seed,
        prefix(path),
        (dropout * 4_294_967_296.0) as u64,
        keep(dropout),
        // A coin falls when its 53 bits, as a fraction, are below p.
        (drop_path * (1u64 << 53) as f64).ceil() as u64,
        keep(drop_path),
    ];
    let halves = all.iter().flat_map(|w| [*w as i32, (*w >> 32) as i32]);
    Tensor::from_i32([12], halves.collect())
}

/// The words of an op, from its operand or its own key, and which stream is its; `None` for a path without words.
pub(super) fn drawn(
    e: Engine,
    draw: Option<&Tensor>,
    (seed, path): (u64, &[u64]),
    p: [f64; 2],
) -> Result<Option<(Tensor, [Arg; 2])>> {
    let Some((&which, head)) = path.split_last() else {
        return Ok(None);
    };
    let words = match draw {
        Some(words) => words.clone(),
        None => words(seed, head, p[0], p[1])?,
    };
    let Arg::In(at, _) = words.arg(e)? else {
        unreachable!("an operand is read");
    };
    let args = [Arg::In(at, Scalar64::I64), Arg::I64(which as i64)];
    Ok(Some((words, args)))
}

/// Error unless `p` is a probability below 1.
pub(super) fn check_probability(op: &str, p: f64) -> Result<()> {
    if (0.0..1.0).contains(&p) {
        return Ok(());
    }
    let text = format!("{op}: the probability must be in 0..1, got {p}");
    Err(Error::new(Code::Argument, text))
}

/// Elements of one stream, and of one thread at a time.
const PIECE: usize = 1 << 12;

impl Dropout {
    /// Calls `f` for every element of piece `i` with the factor it is multiplied by.
    fn each(&self, i: usize, n: usize, mut f: impl FnMut(usize, f64)) {
        let path: Vec<u64> = self.path.iter().copied().chain([i as u64]).collect();
        let mut r = Rng::new(self.seed, &path);
        let keep = 1.0 / (1.0 - self.p);
        // An element is dropped when 32 random bits, as a fraction, are below p.
        let below = (self.p * 4_294_967_296.0) as u64;
        for k in 0..n {
            f(k, if (r.u32() as u64) < below { 0.0 } else { keep });
        }
    }

    fn masked<S: Scalar>(&self, x: &Arr<S>) -> Arr<S> {
        let mut y = x.clone();
        for (i, y) in y.data.chunks_mut(PIECE).enumerate() {
            self.each(i, y.len(), |k, m| y[k] = y[k] * S::c(m));
        }
        y
    }
}

impl Reference for Dropout {
    fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
        self.masked(&x[0])
    }

    fn bwd<S: Scalar>(&self, _x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
        vec![Some(self.masked(dy))]
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        check_probability(self.name(), self.p)?;
        Ok(x[0])
    }

    fn saves(&self) -> Saves {
        DRAW
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        let x = &x[0];
        let mut y = Buffer::scratch(x.dtype(), x.numel());
        by_float!(x.dtype(), T => {
            let x = x.data::<T>();
            for_pieces(y.values_mut::<T>(), PIECE, 8 * x.len(), |i, y| {
                let x = &x[i * PIECE..][..y.len()];
                self.each(i, x.len(), |k, m| y[k] = x[k] * T::c(m));
            });
        });
        Ok(Tensor::from_buffer(*x.shape(), y).into())
    }

    fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
        let dx = self.forward(std::slice::from_ref(b.dy))?.y;
        Ok(of_operands(b, dx))
    }

    crate::reference_path!();

    fn forward_device(&self, e: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        let (draw, x) = (x.get(1), &x[0]);
        let kernel = on_device::pick(x.dtype(), k::DROPOUT_F32, k::DROPOUT_BF16);
        let drawn = drawn(e, draw, (self.seed, &self.path), [self.p, 0.0])?;
        let (Some(kernel), Some((_words, [words, which]))) = (kernel, drawn) else {
            return Ok(None);
        };
        let n = x.numel();
        let mut y = Tensor::scratch_on(e, *x.shape(), x.dtype())?;
        if n > 0 {
            let args = [x.arg(e)?, y.arg_out(e)?, words, which, Arg::I64(n as i64)];
            e.launch(kernel, Launch::over(n.div_ceil(4), THREADS), &args)?;
        }
        Ok(Some(y.into()))
    }

    fn backward_device(&self, e: Engine, b: &Backward) -> Result<Option<Vec<Option<Grad>>>> {
        let dx = self.forward_device(e, &with_draw(b))?;
        Ok(dx.map(|dx| of_operands(b, dx.y)))
    }
}

/// The gradient of the map, none of the words.
pub(super) fn of_operands(b: &Backward, dx: Tensor) -> Vec<Option<Grad>> {
    let mut all: Vec<Option<Grad>> = b.need.iter().map(|_| None).collect();
    all[0] = Some(Grad::Whole(dx));
    all
}

/// The gradient of the output in place of the map, and the words.
pub(super) fn with_draw(b: &Backward) -> Vec<Tensor> {
    let words = b.x.get(1).and_then(|w| w.as_ref());
    [b.dy].into_iter().chain(words).cloned().collect()
}

/// What a backward reads: the words, where there are any.
pub(super) const DRAW: Saves = Saves {
    inputs: 0b10,
    output: false,
};

/// The planted error of both kinds of dropping: the dropped elements pass their gradient too.
pub(super) const MASK_FORGOTTEN: Planted = Planted {
    what: "the mask forgotten",
    spoil: |_, dy, g| {
        let Some(dx) = g[0].as_mut() else {
            return false;
        };
        let mut hit = false;
        for (d, g) in dx.data_mut::<f64>().iter_mut().zip(dy.f64s()) {
            if *d == 0.0 {
                *d = *g;
                hit = true;
            }
        }
        hit
    },
};

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "dropout",
    case: |g| {
        // More values than one stream of bits serves.
        let s = match g.side > 9 {
            true => [2, g.int(20, 25), 11, g.int(10, 12)],
            false => g.map_shape(),
        };
        Case {
            op: Arc::new(Dropout {
                p: g.pick(&[0.0, 0.1, 0.5, 0.8]),
                seed: g.rng.u64(),
                path: vec![g.rng.u64()],
            }),
            x: vec![g.normal(s)],
        }
    },
    refusals: || {
        vec![Refusal {
            op: Arc::new(Dropout {
                p: 1.0,
                seed: 0,
                path: vec![],
            }),
            shapes: vec![[3].into()],
            expect: "dropout: the probability must be in 0..1, got 1",
        }]
    },
    planted: &[FACTOR, MASK_FORGOTTEN],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_of_zeros_and_mean() {
        let op = Dropout {
            p: 0.3,
            seed: 4,
            path: vec![1, 2],
        };
        let n = 100_000;
        let y = op.masked(&Arr {
            shape: [n].into(),
            data: vec![1.0; n],
        });
        let zeros = y.data.iter().filter(|v| **v == 0.0).count() as f64 / n as f64;
        let mean = y.data.iter().sum::<f64>() / n as f64;
        assert!((zeros - 0.3).abs() < 0.006, "{zeros}");
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
    }
}
