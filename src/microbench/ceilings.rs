//! What a device can do at most: its copy bandwidth, and the rates of f32 multiply-adds and of matrix products by `mma.sync`. The kernels
//! of the rates are checked on whole numbers, whose sums are exact, before they are timed.

use serde::{Deserialize, Serialize};

use super::{Options, Size, quantile, time};
use crate::backend::driver::{self as k, Arg, Launch, Stream};
use crate::error::{Code, Error, Result};
use crate::tensor::{DType, Engine, Tensor};

/// What bounds an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Bytes: the copy bandwidth.
    Copy,
    /// Multiply-adds in f32, one by one.
    Fma,
    /// Products of bf16 matrices.
    Matrix,
}

/// Measured at the start of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Copy bandwidth, bytes read and written a second.
    pub copy: f64,
    /// Rate of f32 multiply-adds, operations a second.
    pub fma: f64,
    /// Rate of bf16 matrix products with f32 sums by `mma.sync`, operations a second.
    pub matrix: f64,
}

impl Ceilings {
    /// Measures all three.
    ///
    /// # Errors
    /// Those of the device; `CheckFailed` where a kernel computes something else.
    pub fn measure(e: Engine, o: &Options) -> Result<Ceilings> {
        check_ceilings(e)?;
        Ok(Ceilings {
            copy: copy_bandwidth(e, o.span * 4, o.repeats)?,
            fma: rate(e, o, Unit::FMA)?,
            matrix: rate(e, o, Unit::MATRIX)?,
        })
    }

    /// The share of the ceiling that `bytes` and `flops` in `seconds` are, and which ceiling that is: the one that takes longer at its full
    /// rate. `math` is the unit that may do the operations.
    pub fn share(&self, bytes: f64, flops: f64, math: Bound, seconds: f64) -> (f64, Bound) {
        let rate = match math {
            Bound::Matrix => self.matrix,
            _ => self.fma,
        };
        let (moved, done) = (bytes / self.copy, flops / rate);
        match moved >= done {
            true => (moved / seconds, Bound::Copy),
            false => (done / seconds, math),
        }
    }
}

/// Values from 0.4 to 0.6 in no order: zeros take less power, and so less time, than numbers do.
fn spread(n: usize) -> Result<Tensor> {
    let mut state = 0x9E37_79B9u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        0.4 + 0.2 * (state >> 8) as f32 / (1u32 << 24) as f32
    };
    Tensor::from_f32([n], (0..n).map(|_| next()).collect())
}

/// Bytes a second that a copy within the device moves, reads and writes together.
///
/// # Errors
/// Those of the device.
pub fn copy_bandwidth(e: Engine, bytes: usize, repeats: usize) -> Result<f64> {
    let a = spread(bytes / 4)?;
    let mut b = Tensor::zeros_on(e, [bytes / 4], DType::F32)?;
    let (Arg::In(from, _), Arg::Out(to, _)) = (a.arg(e)?, b.arg_out(e)?) else {
        unreachable!("a tensor is passed as a pointer");
    };
    let copy = || e.driver().copy(Stream::MAIN, to, from, bytes);
    copy()?;
    let ms = time(e, repeats, copy)?;
    Ok(2.0 * bytes as f64 / quantile(&ms, 0.5) * 1e3)
}

/// A kernel of chains of operations, each value or each warp of them by itself.
#[derive(Clone, Copy)]
struct Unit {
    kernel: k::Kernel,
    /// Values that it counts as one.
    lanes: usize,
    /// Operations of one value and round.
    flops: f64,
    /// Rounds that take about a millisecond.
    rounds: i32,
    /// What it must leave of `lanes` values.
    host: fn(&[f32], i32) -> Vec<f32>,
}

impl Unit {
    const FMA: Unit = Unit {
        kernel: k::CEILING_FMA_F32,
        lanes: 1,
        flops: 16.0,
        rounds: 4096,
        host: |x, rounds| vec![chains(x[0], rounds)],
    };
    const MATRIX: Unit = Unit {
        kernel: k::CEILING_MMA_BF16,
        lanes: 32,
        // Eight products of 16 x 16 by 16 x 8 a warp.
        flops: 8.0 * 2.0 * (16 * 16 * 8) as f64 / 32.0,
        rounds: 1024,
        host: products,
    };

    fn run(&self, e: Engine, x: &Tensor, y: &mut Tensor, rounds: i32, blocks: u32) -> Result<()> {
        let of = (x.numel() / self.lanes) as i64;
        let args = [x.arg(e)?, y.arg_out(e)?, Arg::I32(rounds), Arg::I64(of)];
        let launch = Launch::new([blocks, 1, 1], [256, 1, 1]);
        e.launch(self.kernel, launch, &args)
    }
}

/// Eight chains of multiply-adds, and their sum.
fn chains(x: f32, rounds: i32) -> f32 {
    let mut acc = [0, 1, 2, 3, 4, 5, 6, 7].map(|k| x + k as f32);
    for _ in 0..rounds {
        acc = acc.map(|a| a.mul_add(x, 1.0));
    }
    acc.iter().sum()
}

/// Eight chains of products of a 16 x 16 and a 16 x 8 matrix whose values the lanes of a warp hold, and what each lane holds of their sums.
fn products(x: &[f32], rounds: i32) -> Vec<f32> {
    let second = |k: usize| k % 2 == 1;
    let a = |row: usize, k: usize| {
        let v = x[row % 8 * 4 + k % 8 / 2];
        v + if second(k) { row / 8 + k / 8 * 2 } else { 0 } as f32
    };
    let b = |chain: usize, k: usize, column: usize| {
        let v = x[column * 4 + k % 8 / 2];
        v + if second(k) {
            -((k / 8) as f32)
        } else {
            chain as f32
        }
    };
    let lane = |l: usize| {
        let mut sum = 0.0;
        for (row, column) in (0..4).map(|j| (l / 4 + j / 2 * 8, l % 4 * 2 + j % 2)) {
            for (chain, k) in (0..8).flat_map(|c| (0..16).map(move |k| (c, k))) {
                sum += rounds as f32 * a(row, k) * b(chain, k, column);
            }
        }
        sum
    };
    (0..32).map(lane).collect()
}

/// Runs both kernels on whole numbers, fewer threads than values, and holds the sums against the host's, bit by bit.
///
/// # Errors
/// Those of the device; `CheckFailed`.
pub fn check_ceilings(e: Engine) -> Result<()> {
    for (unit, rounds) in [(Unit::FMA, 3), (Unit::MATRIX, 2)] {
        let n = 9 * 32 + unit.lanes * 2;
        let v: Vec<f32> = (0..n).map(|i| (i * 37 % 11) as f32 - 5.0).collect();
        let want = v.chunks(unit.lanes).flat_map(|x| (unit.host)(x, rounds));
        let want: Vec<f32> = want.collect();
        let x = Tensor::from_f32([n], v)?;
        for blocks in [1, 2] {
            let mut y = Tensor::scratch_on(e, [n], DType::F32)?;
            unit.run(e, &x, &mut y, rounds, blocks)?;
            if y.f32s() != want {
                let text = format!("chains of {} do not add up", unit.kernel.name);
                return Err(Error::new(Code::CheckFailed, text));
            }
        }
    }
    Ok(())
}

/// Operations a second in chains.
fn rate(e: Engine, o: &Options, unit: Unit) -> Result<f64> {
    let (n, rounds) = match o.size {
        Size::Full => (1 << 20, unit.rounds),
        Size::Small => (256, 8),
    };
    let x = spread(n)?;
    let mut y = Tensor::zeros_on(e, [n], DType::F32)?;
    let mut run = || unit.run(e, &x, &mut y, rounds, (n / 256) as u32);
    run()?;
    let ms = time(e, o.repeats, run)?;
    Ok(unit.flops * n as f64 * f64::from(rounds) / quantile(&ms, 0.5) * 1e3)
}
