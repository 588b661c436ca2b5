//! `mtnas bench ops`: operations of a search, forward and forward + backward: rows of `benches/peers/ops.py`, name for name and size
//! for size.
//!
//! Longer than 300 lines: the table of rows, what each of them applies and the weights that it takes are one thing.

use clap::Args;
use serde_json::{Value, json};

use crate::backend::Device;
use crate::backend::host::isa;
use crate::cli::{Context, running};
use crate::error::{Code, Error, Result};
use crate::ops::conv2d::Conv2d;
use crate::ops::mixed_node::{Candidate, Edge, Source};
use crate::ops::{self, BatchNormParams, Conv2dParams, MixedNode};
use crate::rng::Rng;
use crate::tape::{Backward, Cx, Op, Path, Tape, Var};
use crate::tensor::{DType, Shape, Tensor};

use super::Storage;
use super::op_timing::time;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas bench ops --threads 1
  mtnas bench ops --threads 1 --only \"mixed s1,dw5 d2\" --shapes 8x4x80x128
  mtnas bench ops --device cuda --only \"dw3 dweight\" --shapes 32x4x80x128

The rows are those of benches/peers/ops.py; scripts/compare runs both in turn.
Inputs are rotated, so that they do not lie in a cache from the pass before.
On a device a pass is a graph and its time that of the device. Rows with
dweight: in place of forward + backward the gradient of the weight alone. Mixed
operations are cells there: `mtnas bench step`.")]
pub(super) struct Ops {
    /// Only these rows
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    only: Vec<String>,
    /// Shapes of the channels that are mixed
    #[arg(long, value_name = "NxCxHxW", value_delimiter = ',', value_parser = shape, default_value = "8x4x80x128,8x16x20x32,8x32x40x64")]
    shapes: Vec<[usize; 4]>,
    /// One k-th of the channels goes through a mixed operation
    #[arg(long, value_name = "K", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    partial_k: u16,
    /// Passes over all inputs; more where they are short
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) iters: u16,
    /// Storage of maps
    #[arg(long, default_value = "f32")]
    dtype: Storage,
    /// No new pass, after three, when a row has taken this long
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    pub(super) row_seconds: f64,
}

fn shape(text: &str) -> std::result::Result<[usize; 4], String> {
    let parts: Option<Vec<usize>> = text
        .split('x')
        .map(|p| p.parse().ok().filter(|&v| v > 0))
        .collect();
    let sides: Option<[usize; 4]> = parts.and_then(|p| p.try_into().ok());
    sides.ok_or_else(|| "four numbers such as 8x4x80x128 are wanted".to_string())
}

/// What is timed.
#[derive(Clone, Copy)]
enum What {
    Conv(Conv2dParams, usize),
    /// The gradient of its weight alone.
    WeightGradient(Conv2dParams, usize),
    /// Normalisation with scale and shift, then ReLU.
    NormRelu,
    /// Pooling 3x3, then normalisation.
    MaxNorm,
    AvgNorm,
    /// A mixed operation with all candidates on one k-th of the channels.
    Mixed(usize),
}

/// Name, channels of x, and what.
fn rows(c: usize, k: usize) -> Vec<(&'static str, usize, What)> {
    let depthwise = |side: usize, stride: usize, dilation: usize| {
        let padding = dilation * (side / 2);
        let groups = c;
        let p = Conv2dParams {
            stride,
            padding,
            dilation,
            groups,
        };
        (p, side)
    };
    let conv = |(p, side)| What::Conv(p, side);
    let gradient = |(p, side)| What::WeightGradient(p, side);
    vec![
        ("dw3 s1", c, conv(depthwise(3, 1, 1))),
        ("dw3 s2", c, conv(depthwise(3, 2, 1))),
        ("dw5 s1", c, conv(depthwise(5, 1, 1))),
        ("dw5 s2", c, conv(depthwise(5, 2, 1))),
        ("dw3 d2", c, conv(depthwise(3, 1, 2))),
        ("dw5 d2", c, conv(depthwise(5, 1, 2))),
        ("dw3 dweight", c, gradient(depthwise(3, 1, 1))),
        ("dw5 dweight", c, gradient(depthwise(5, 1, 1))),
        ("pw", c, What::Conv(Conv2dParams::default(), 1)),
        ("bn+relu", c, What::NormRelu),
        ("max3+bn", c, What::MaxNorm),
        ("avg3+bn", c, What::AvgNorm),
        ("mixed s1", c * k, What::Mixed(k)),
    ]
}

const EPS: f64 = 1e-5;

/// Candidates in the order of the peer, whose first is `none`: it adds nothing.
const CANDIDATES: [Candidate; 7] = [
    Candidate::Skip,
    Candidate::Pooled,
    Candidate::Pooled,
    Candidate::Separable(3),
    Candidate::Separable(5),
    Candidate::Dilated(3),
    Candidate::Dilated(5),
];

fn random(shape: Shape, seed: u64) -> Result<Tensor> {
    let mut r = Rng::new(seed, &[]);
    Tensor::from_f32(
        shape,
        (0..shape.numel()).map(|_| r.normal() as f32).collect(),
    )
}

impl What {
    /// A device computes mixed operations as cells, not one by one.
    fn goes_on(self, cx: Cx) -> bool {
        !matches!((self, cx.path), (What::Mixed(_), Path::Device(_)))
    }

    /// Shapes of the weights for `c` channels of x.
    fn weights(self, c: usize) -> Vec<Shape> {
        match self {
            What::Conv(p, side) | What::WeightGradient(p, side) => {
                vec![Shape::from([c, c / p.groups, side, side])]
            }
            What::NormRelu => vec![Shape::from([c]), Shape::from([c])],
            What::MaxNorm | What::AvgNorm => vec![],
            What::Mixed(k) => {
                let a = c / k;
                let mut all = vec![Shape::from([1 + CANDIDATES.len()]), Shape::from([1])];
                for candidate in CANDIDATES {
                    let side = match candidate {
                        Candidate::Separable(side) | Candidate::Dilated(side) => side,
                        _ => continue,
                    };
                    for _ in 0..candidate.operands() / 2 {
                        all.push(Shape::from([a, 1, side, side]));
                        all.push(Shape::from([a, a, 1, 1]));
                    }
                }
                all
            }
        }
    }

    fn apply(self, x: &Var, w: &[Var]) -> Result<Var> {
        let norm = |x: &Var, affine, relu| {
            Ok(ops::batch_norm(x, affine, BatchNormParams { eps: EPS, relu })?.0)
        };
        match self {
            What::Conv(p, _) | What::WeightGradient(p, _) => ops::conv2d(x, &w[0], None, p),
            What::NormRelu => norm(x, Some((&w[0], &w[1])), true),
            What::MaxNorm => norm(&ops::max_pool(x, 3, 1, 1)?, None, false),
            What::AvgNorm => norm(&ops::avg_pool(x, 3, 1, 1)?, None, false),
            What::Mixed(k) => mixed(x, w, k),
        }
    }
}

/// One edge of a cell: the softmax of its row of alpha, candidates, what bypasses them, the shuffle.
fn mixed(x: &Var, w: &[Var], k: usize) -> Result<Var> {
    let active = match k {
        1 => x.clone(),
        _ => ops::slice(x, 0, x.dims()[1] / k)?,
    };
    let (alpha, beta, mut weights) = (ops::softmax(&w[0], 0)?, &w[1], w[2..].iter().cloned());
    let (mut own, mut candidates) = (vec![], vec![]);
    let mut pools = [
        ops::max_pool(&active, 3, 1, 1)?,
        ops::avg_pool(&active, 3, 1, 1)?,
    ]
    .into_iter();
    for (at, candidate) in CANDIDATES.into_iter().enumerate() {
        candidates.push((candidate, 1 + at));
        match candidate {
            Candidate::Pooled => own.extend(pools.next()),
            other => own.extend(weights.by_ref().take(other.operands())),
        }
    }
    let source = Source::State(candidates);
    let op = MixedNode {
        edges: vec![Edge { beta: 0, source }],
        k,
        eps: EPS,
        recompute: false,
    };
    let own: Vec<&Var> = own.iter().collect();
    Ok(ops::mixed_node(op, &[x], [&alpha, beta], &own)?.0)
}

/// The gradient of a convolution's weight and of nothing else.
fn weight_gradient(cx: Cx, op: &Conv2d, operands: [&Tensor; 3]) -> Result<()> {
    let [x, w, dy] = operands.map(|t| match cx.path {
        Path::Device(_) => t.clone(),
        _ => t.cast(DType::F32),
    });
    let b = Backward {
        x: &[Some(x.clone()), Some(w.clone())],
        shapes: &[*x.shape(), *w.shape()],
        y: None,
        saved: &[],
        dy: &dy,
        terms: &[vec![dy.clone()]],
        so_far: &[],
        need: &[false, true],
    };
    let dx = match cx.path {
        Path::Device(e) => op.backward_device(e, &b)?,
        Path::Fast => Some(op.backward(&b)?),
        Path::Reference => Some(op.backward_reference(&b)?),
    };
    let none = || Error::new(Code::Internal, "a convolution has no kernels");
    dx.map(drop).ok_or_else(none)
}

fn row(a: &Ops, cx: Cx, what: What, x: [usize; 4]) -> Result<(usize, [[f64; 2]; 2])> {
    let (shape, dtype) = (Shape::from(x), a.dtype.dtype());
    // As many inputs as the peer takes.
    let (span, most) = match cx.path {
        Path::Device(_) => (256usize << 20, 16),
        _ => (24 << 20, 4),
    };
    let sets = span.div_ceil(dtype.size() * shape.numel()).clamp(1, most);
    let map = |shape, seed| Ok(random(shape, seed)?.cast(dtype));
    let inputs: Vec<Tensor> = (0..sets)
        .map(|i| map(shape, i as u64))
        .collect::<Result<_>>()?;
    let weights = what.weights(x[1]).into_iter();
    let weights: Vec<Tensor> = weights.map(|s| random(s, 99)).collect::<Result<_>>()?;
    let run = |i: usize| -> Result<(Tape, Var)> {
        let tape = Tape::new(cx);
        let x = tape.param(inputs[i].clone());
        let w: Vec<Var> = weights.iter().map(|t| tape.param(t.clone())).collect();
        let y = what.apply(&x, &w)?;
        Ok((tape, y))
    };
    let dy = map(*run(0)?.1.shape(), 7)?;
    if let Path::Device(e) = cx.path {
        let mut all = inputs.iter().chain(&weights).chain([&dy]);
        all.try_for_each(|t| t.on(e).map(drop))?;
    }
    let forward = time(a, cx, sets, |i| run(i).map(drop))?;
    let both = time(a, cx, sets, |i| {
        if let What::WeightGradient(p, _) = what {
            return weight_gradient(cx, &Conv2d(p), [&inputs[i], &weights[0], &dy]);
        }
        let (tape, y) = run(i)?;
        tape.backward_from(&y, dy.clone()).map(drop)
    })?;
    Ok((sets, [forward, both]))
}

pub(super) fn run(a: Ops, context: &Context, idle: f64) -> Result<u8> {
    let cx = context.cx(Device::Cpu)?;
    running::threads(context.threads().unwrap_or(0))?;
    let known = rows(1, 1);
    if let Some(name) = a.only.iter().find(|n| known.iter().all(|r| r.0 != **n)) {
        let names: Vec<_> = known.iter().map(|r| r.0).collect();
        return Err(Error::new(Code::Usage, format!("there is no row {name:?}"))
            .help(format!("rows: {}", names.join(", "))));
    }
    if !context.json() {
        let head = format!(
            "{:10} {:>15} {:>9} {:>9}\n",
            "op", "shape", "fwd ms", "f+b ms"
        );
        context.print(&head)?;
    }
    let mut found: Vec<Value> = vec![];
    for &[n, c, h, w] in &a.shapes {
        for (name, channels, what) in rows(c, a.partial_k.into()) {
            if !a.only.is_empty() && a.only.iter().all(|o| o != name) {
                continue;
            }
            if !what.goes_on(cx) {
                continue;
            }
            let (sets, [forward, both]) = row(&a, cx, what, [n, channels, h, w])?;
            if !context.json() {
                let shape = format!("{n}x{channels}x{h}x{w}");
                let times = format!("{:9.3} {:9.3}\n", forward[0], both[0]);
                context.print(&format!("{name:10} {shape:>15} {times}"))?;
            }
            found.push(json!({
                "op": name, "shape": [n, channels, h, w], "sets": sets,
                "fwd_ms": forward[0], "fwd_bwd_ms": both[0], "cpu_ms": [forward[1], both[1]],
            }));
        }
    }
    if context.json() {
        let memory = super::memory(idle, cx);
        context.print_json(&json!({"isa": isa().name(), "rows": found, "memory": memory}))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::record::Record;
    use crate::tensor::Engine;

    #[test]
    fn every_row_has_a_gradient() {
        for (name, c, what) in rows(2, 2) {
            let tape = Tape::new(Cx::default());
            let x = tape.param(random(Shape::from([2, c, 6, 6]), 1).unwrap());
            let weights = what.weights(c).into_iter();
            let w: Vec<Var> = weights.map(|s| tape.param(random(s, 2).unwrap())).collect();
            let y = what.apply(&x, &w).unwrap();
            let stride = if name.ends_with("s2") { 2 } else { 1 };
            assert_eq!(y.dims(), [2, c, 6 / stride, 6 / stride], "{name}");
            let dy = random(*y.shape(), 3).unwrap();
            let g = tape.backward_from(&y, dy).unwrap();
            for v in w.iter().chain([&x]) {
                let norm: f64 = g.get(v).unwrap().to_f64().iter().map(|v| v * v).sum();
                assert!(norm > 0.0, "{name}");
            }
        }
    }

    #[test]
    fn a_device_times_what_the_processor_times() {
        let command = |device: Path| {
            let a = Ops {
                only: vec![],
                shapes: vec![],
                partial_k: 2,
                iters: 1,
                dtype: Storage::Bf16,
                row_seconds: 0.0,
            };
            let cx = Cx {
                path: device,
                ..Cx::default()
            };
            for (name, c, what) in rows(2, 2).into_iter().filter(|r| r.2.goes_on(cx)) {
                let (sets, ms) = row(&a, cx, what, [2, c, 6, 6]).unwrap();
                assert!(sets > 3 && ms.iter().all(|m| m[0] >= 0.0), "{name} {ms:?}");
            }
        };
        let (counts, _) = Record::new(1 << 30);
        command(Path::Device(Engine::new(Box::new(counts), false)));
        command(Path::Fast);
    }

    #[test]
    fn shapes_have_four_sides() {
        assert_eq!(shape("8x4x80x128"), Ok([8, 4, 80, 128]));
        assert!(
            ["8x4x80", "8x0x3x3", "8x4x80x128x1", ""]
                .iter()
                .all(|t| shape(t).is_err())
        );
    }
}
