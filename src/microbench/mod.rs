//! Times the operations on a device, kernel by kernel as the engine launches them, and sets them against what the device can do:
//! its copy bandwidth, its rate of multiply-adds and that of matrix products, measured. Nothing is timed that has not been checked in
//! the same run.

mod cases;
mod ceilings;
mod compare;

use serde::{Deserialize, Serialize};

pub use cases::{BenchCase, Size, cases};
pub use ceilings::{Bound, Ceilings, check_ceilings, copy_bandwidth};
pub use compare::regressions;

use crate::backend::driver::Stream;
use crate::error::{Code, Error, Result};
use crate::gradcheck::{agree, operands};
use crate::ops::table::Case;
use crate::rng::{Rng, word};
use crate::tape::{Backward, Grad, Output};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// What is timed, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Sizes of the cases.
    pub size: Size,
    /// Only operations whose name holds this.
    pub only: Option<String>,
    /// Storage of maps.
    pub dtypes: Vec<DType>,
    /// Measurements of each; their median and quartiles are reported.
    pub repeats: usize,
    /// Bytes that a measurement moves at least; inputs of this many bytes take turns, so that none is found in a cache.
    pub span: usize,
    /// Replay a recorded graph instead of launching, so that the host's time does not count.
    pub graph: bool,
}

/// One operation at one shape, forward or backward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Operation.
    pub name: String,
    /// Shape of the first operand.
    pub shape: Vec<usize>,
    /// `f32` or `bf16`.
    pub dtype: String,
    /// `forward` or `backward`.
    pub pass: String,
    /// Microseconds: median.
    pub us: f64,
    /// Microseconds: first and third quartile.
    pub quartiles: [f64; 2],
    /// Launches of one call.
    pub launches: u64,
    /// Bytes that must be moved at least: operands and results once each.
    pub bytes: f64,
    /// Floating-point operations.
    pub flops: f64,
    /// What bounds it: whichever of the bytes and the operations takes longer at the rate that was measured.
    pub bound: Bound,
    /// Share of that rate.
    pub of_ceiling: f64,
    /// Largest share of its error bound that an element used in the check before, with one image.
    pub of_bound: f64,
}

/// All figures of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Name of the device.
    pub device: String,
    /// Measured in the same run.
    pub ceilings: Ceilings,
    /// One for each operation, shape, type and pass.
    pub rows: Vec<Row>,
}

/// Milliseconds of each of `repeats` runs of `f`.
fn time(e: Engine, repeats: usize, mut f: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    let d = e.driver();
    let mut all = vec![];
    for _ in 0..repeats {
        let from = d.event(Stream::MAIN)?;
        f()?;
        let to = d.event(Stream::MAIN)?;
        e.synchronize()?;
        all.push(d.elapsed(from, to)?);
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// Operands of a case: normal values.
fn draw(case: &BenchCase, images: Option<usize>, seed: u64) -> Case {
    let mut r = Rng::new(seed, &[word(&case.name)]);
    let map = case.shapes[0];
    let tensor = |s: &Shape| {
        let mut dims = s.dims().to_vec();
        if *s == map
            && let Some(n) = images
        {
            dims[0] = n;
        }
        let n = dims.iter().product();
        let v = (0..n).map(|_| r.normal()).collect();
        Tensor::from_f64(dims.as_slice(), v).expect("as many values as the shape holds")
    };
    Case {
        op: case.op.clone(),
        x: case.shapes.iter().map(tensor).collect(),
    }
}

/// One set of operands with what its backward needs.
struct Set {
    x: Vec<Tensor>,
    shapes: Vec<Shape>,
    dy: Tensor,
    out: Output,
}

impl Set {
    fn new(e: Engine, case: &BenchCase, dtype: DType, seed: u64) -> Result<Set> {
        let x = operands(&draw(case, None, seed), dtype);
        let out = forward(e, case, &x)?;
        let shape = *out.y.shape();
        let mut r = Rng::new(seed, &[1]);
        let dy = (0..shape.numel()).map(|_| r.normal() as f32).collect();
        let dy = Tensor::from_f32(shape, dy)?.cast(out.y.dtype());
        dy.on(e)?;
        let shapes = x.iter().map(|x| *x.shape()).collect();
        Ok(Set { x, shapes, dy, out })
    }
}

fn missing(case: &BenchCase) -> Error {
    Error::new(Code::Internal, format!("`{}` has no kernels", case.name))
}

fn forward(e: Engine, case: &BenchCase, x: &[Tensor]) -> Result<Output> {
    let out = case.op.forward_device(e, x)?;
    out.ok_or_else(|| missing(case))
}

fn backward(e: Engine, case: &BenchCase, s: &Set) -> Result<Vec<Option<Grad>>> {
    let saves = case.op.saves();
    let kept = |(i, x): (usize, &Tensor)| (saves.inputs >> i.min(31) & 1 == 1).then(|| x.clone());
    let x: Vec<_> = s.x.iter().enumerate().map(kept).collect();
    let need = vec![true; x.len()];
    let b = Backward {
        x: &x,
        shapes: &s.shapes,
        y: saves.output.then_some(&s.out.y),
        saved: &s.out.saved,
        dy: &s.dy,
        terms: &[vec![s.dy.clone()]],
        so_far: &[],
        need: &need,
    };
    let dx = case.op.backward_device(e, &b)?;
    dx.ok_or_else(|| missing(case))
}

fn size_of(t: &Tensor) -> f64 {
    (t.numel() * t.dtype().size()) as f64
}

/// Fewest bytes of the forward and of the backward.
fn bytes(case: &BenchCase, s: &Set) -> [f64; 2] {
    let saves = case.op.saves();
    let operands: f64 = s.x.iter().map(size_of).sum();
    let read = |(i, x): (usize, &Tensor)| match saves.inputs >> i.min(31) & 1 {
        1 => size_of(x),
        _ => 0.0,
    };
    let kept: f64 = s.x.iter().enumerate().map(read).sum();
    let y = if saves.output { size_of(&s.out.y) } else { 0.0 };
    [
        operands + size_of(&s.out.y),
        kept + y + size_of(&s.dy) + operands,
    ]
}

/// Runs `f` over the sets in turn `n` times: by launches, or as a recorded graph.
fn measure(
    e: Engine,
    o: &Options,
    n: usize,
    mut f: impl FnMut(usize) -> Result<()>,
) -> Result<Vec<f64>> {
    let all = |f: &mut dyn FnMut(usize) -> Result<()>| (0..n).try_for_each(f);
    all(&mut f)?;
    let ms = match o.graph {
        false => time(e, o.repeats, || all(&mut f))?,
        true => {
            let d = e.driver();
            d.begin_capture(Stream::MAIN)?;
            let recorded = all(&mut f);
            let graph = d.end_capture(Stream::MAIN)?;
            recorded?;
            d.replay(Stream::MAIN, graph)?;
            time(e, o.repeats, || d.replay(Stream::MAIN, graph))?
        }
    };
    Ok(ms.into_iter().map(|ms| ms * 1e3 / n as f64).collect())
}

/// Most sets of operands.
const SETS: usize = 16;

fn rows(e: Engine, o: &Options, case: &BenchCase, dtype: DType, f: &Figures) -> Result<Vec<Row>> {
    let mut r = Rng::new(3, &[word(&case.name)]);
    let checked = agree(e, &draw(case, Some(1), 1), dtype, &mut r);
    let of_bound = checked.map_err(|x| x.at(format!("{} {}", case.name, case.shapes[0])))?;
    let first = Set::new(e, case, dtype, 2)?;
    let bytes = bytes(case, &first);
    let n = (o.span as f64 / bytes[0]).ceil() as usize;
    let n = n.clamp(1, SETS);
    let mut sets = vec![first];
    for i in 1..n {
        sets.push(Set::new(e, case, dtype, 2 + i as u64)?);
    }
    let mut all = vec![];
    for (i, pass) in ["forward", "backward"].into_iter().enumerate() {
        let call = |s: usize| match i {
            0 => forward(e, case, &sets[s % n].x).map(drop),
            _ => backward(e, case, &sets[s % n]).map(drop),
        };
        let before = e.counts().launches;
        call(0)?;
        let launches = e.counts().launches - before;
        let us = measure(e, o, n.max(4), call)?;
        let (median, flops) = (quantile(&us, 0.5), case.flops * (1 + i) as f64);
        let math = case.math(dtype);
        let (of_ceiling, bound) = f.ceilings.share(bytes[i], flops, math, median * 1e-6);
        all.push(Row {
            name: case.name.clone(),
            shape: case.shapes[0].dims().to_vec(),
            dtype: dtype.name().into(),
            pass: pass.into(),
            us: median,
            quartiles: [quantile(&us, 0.25), quantile(&us, 0.75)],
            launches,
            bytes: bytes[i],
            flops,
            bound,
            of_ceiling,
            of_bound: of_bound.unwrap_or(0.0),
        });
    }
    Ok(all)
}

/// Checks and times the cases; `each` is told of every row as it comes.
///
/// # Errors
/// Those of the device; `CheckFailed` for a result outside of its bound, before anything of that operation is timed; `Usage`
/// when no operation has the name.
pub fn run(e: Engine, o: &Options, mut each: impl FnMut(&Row)) -> Result<Figures> {
    let mut f = Figures {
        device: e.name().into(),
        ceilings: Ceilings::measure(e, o)?,
        rows: vec![],
    };
    let wanted = |c: &BenchCase| o.only.as_ref().is_none_or(|s| c.name.contains(s.as_str()));
    let chosen: Vec<BenchCase> = cases(o.size).into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        let mut names: Vec<String> = cases(o.size).into_iter().map(|c| c.name).collect();
        names.dedup();
        let text = format!(
            "no operation has `{}` in its name",
            o.only.as_deref().unwrap_or("")
        );
        return Err(Error::new(Code::Usage, text).help(format!("there are: {}", names.join(", "))));
    }
    for case in &chosen {
        for &dtype in &o.dtypes {
            let new = rows(e, o, case, dtype, &f)?;
            new.iter().for_each(&mut each);
            f.rows.extend(new);
        }
    }
    Ok(f)
}

#[cfg(test)]
mod tests;
