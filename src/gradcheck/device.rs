//! Every op on a device against the reference, each element within the bound of its own sums; two runs give the same bits.

use serde::Serialize;

use super::agreement::{SAFETY, bounded, cast, roundoff};
use super::derivative::{normal, pull};
use super::registry::select;
use super::report::Failure;
use crate::error::{Code, Error, Result};
use crate::ops::table::{Case, Entry, Gen};
use crate::rng::{Rng, word};
use crate::rounding::Bounded;
use crate::tape::Path;
use crate::tensor::{DType, Engine, Shape, Tensor};

/// What to check.
#[derive(Debug, Clone)]
pub struct DeviceOptions {
    /// Cases of each op, each in f32 and in bf16.
    pub cases: usize,
    /// Number of the first case: with `cases` 1, replays a single one.
    pub first: usize,
    /// Seed of the cases.
    pub seed: u64,
    /// Ops whose whole name matches; `None` for all.
    pub op: Option<String>,
}

/// One op on the device.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceOp {
    /// Name in the table.
    pub op: String,
    /// Cases tried.
    pub cases: usize,
    /// Largest share of its bound that an element used in f32.
    pub worst_f32: f64,
    /// The same in bf16.
    pub worst_bf16: f64,
    /// Kernels launched.
    pub launches: u64,
    /// Forwards and backwards that the host computed for lack of kernels.
    pub by_host: u64,
    /// What went wrong, each with the line that replays it.
    pub failures: Vec<Failure>,
}

/// All ops that were asked for.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceReport {
    /// Name of the device.
    pub device: String,
    /// Seed of the cases.
    pub seed: u64,
    /// Nothing went wrong.
    pub passed: bool,
    /// One for each op, in the order of the table.
    pub ops: Vec<DeviceOp>,
}

/// Of the roundings of bf16: one of a result that is stored, and one of each stored value that an op with a saved output reads.
const STORE: f64 = 1.0 / 256.0;

/// Whether operand `i` is stored as the maps are; weights and parameters stay f32.
fn is_map(op: &str, i: usize, t: &Tensor) -> bool {
    let weights = ["conv2d", "conv_transpose2d", "linear"];
    let map = match (op, t.dims()) {
        // Its weights have one channel or one pixel, its maps more.
        ("mixed_cell" | "mixed_node", &[_, c, h, w]) => c > 1 && h * w > 1,
        ("mixed_cell" | "mixed_node", _) => false,
        ("head_rows", _) => i.is_multiple_of(3),
        _ => t.shape().rank() > 1 && (i == 0 || !weights.contains(&op)),
    };
    t.dtype().is_float() && map
}

/// Ops that store maps between input and output, rounded as those are, and read them in both directions.
fn stores_between(op: &str) -> bool {
    op == "mixed_cell"
}

/// The operands of a case as a device stores them: maps in `dtype`, parameters in f32.
pub fn operands(case: &Case, dtype: DType) -> Vec<Tensor> {
    let wide = cast(&case.x, DType::F32);
    if dtype == DType::F32 {
        return wide;
    }
    let map = |(i, t): (usize, Tensor)| match is_map(case.op.name(), i, &t) {
        true => t.cast(dtype),
        false => t,
    };
    wide.into_iter().enumerate().map(map).collect()
}

fn compare(
    what: &str,
    got: &Tensor,
    exact: &[Bounded],
    extra: f64,
) -> std::result::Result<f64, String> {
    let (mut worst, u) = (0.0f64, roundoff(DType::F32));
    let store = if got.dtype() == DType::Bf16 {
        STORE
    } else {
        0.0
    };
    for (i, (g, e)) in got.to_f64().into_iter().zip(exact).enumerate() {
        let error = (g - e.v).abs();
        let bound = SAFETY * e.error(u) + store * e.v.abs() + extra * e.magnitude;
        let share = if error == 0.0 { 0.0 } else { error / bound };
        if share.is_nan() || share > 1.0 {
            return Err(format!(
                "{what}[{i}] is {g:e} on the device, {:e} by the reference: {error:.1e} apart, the bound is {bound:.1e}",
                e.v
            ));
        }
        worst = worst.max(share);
    }
    Ok(worst)
}

/// Holds one case on the device against the reference, in f32 or with maps in bf16: the largest share of a bound; `None` when the
/// op brings no bounds (then only the repetition is checked).
///
/// # Errors
/// Those of the op and the device, or `CheckFailed`.
pub fn agree(e: Engine, case: &Case, dtype: DType, r: &mut Rng) -> Result<Option<f64>> {
    let failed = |text| Error::new(Code::CheckFailed, format!("in {}: {text}", dtype.name()));
    let x = operands(case, dtype);
    let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
    let shape = case.op.infer(&shapes)?;
    let mut dy = normal(&shape, r).cast(DType::F32);
    if x[0].dtype() == DType::Bf16 && shape.rank() > 1 {
        dy = dy.cast(DType::Bf16);
    }
    let run = || pull(&case.op, &x, Path::Device(e), &dy);
    let (y, dx) = run()?;
    e.healthy()?;
    if run()? != (y.clone(), dx.clone()) {
        return Err(failed("a second run gave other bits".into()));
    }
    let exact: Vec<_> = x.iter().map(bounded).collect();
    let (Some(want), Some(want_dx)) = (
        case.op.forward_bounded(&exact),
        case.op.backward_bounded(&exact, &bounded(&dy)),
    ) else {
        return Ok(None);
    };
    // What reads its stored output, or a stored intermediate, reads a rounded one.
    let between = stores_between(case.op.name());
    let extra = |through: bool| {
        let rounded = through && dtype == DType::Bf16;
        if rounded { 4.0 * STORE } else { 0.0 }
    };
    let mut worst = compare("y", &y, &want, extra(between)).map_err(failed)?;
    let extra = extra(between || case.op.saves().output);
    for (k, (g, want)) in dx.iter().zip(&want_dx).enumerate() {
        if let (Some(g), Some(want)) = (g, want) {
            worst = worst.max(compare(&format!("dx{k}"), g, want, extra).map_err(failed)?);
        }
    }
    Ok(Some(worst))
}

/// One in this many cases is of large maps, whose tiles have tails.
const LARGE: usize = 8;

fn check_op(e: &Entry, engine: Engine, o: &DeviceOptions) -> DeviceOp {
    let before = engine.counts().launches;
    let hosted = |engine: Engine| engine.fallbacks().get(e.name).copied().unwrap_or(0);
    let by_host = hosted(engine);
    let mut done = DeviceOp {
        op: e.name.into(),
        cases: o.cases,
        worst_f32: 0.0,
        worst_bf16: 0.0,
        launches: 0,
        by_host: 0,
        failures: vec![],
    };
    for i in o.first..o.first + o.cases {
        let path = |what: &str| [word(e.name), word(what), i as u64];
        let mut g = Gen::new(Rng::new(o.seed, &path("operands")));
        if i % LARGE == LARGE - 1 {
            g.side = 40;
        }
        let case = (e.case)(&mut g);
        let mut r = Rng::new(o.seed, &path("device"));
        for dtype in [DType::F32, DType::Bf16] {
            let worst = match dtype {
                DType::F32 => &mut done.worst_f32,
                _ => &mut done.worst_bf16,
            };
            match agree(engine, &case, dtype, &mut r) {
                Ok(used) => *worst = worst.max(used.unwrap_or(0.0)),
                Err(x) => done.failures.push(Failure {
                    what: format!("case {i}: {x}"),
                    replay: format!(
                        "mtnas gradcheck --device {} --op {} --seed {} --case {i}",
                        engine.name(),
                        e.name,
                        o.seed
                    ),
                }),
            }
        }
        // After a fault of the device nothing can be checked any more.
        if engine.healthy().is_err() {
            break;
        }
    }
    done.launches = engine.counts().launches - before;
    done.by_host = hosted(engine) - by_host;
    done
}

/// Checks the ops of the table on a device.
///
/// # Errors
/// `Usage` when the pattern is not a regular expression or matches no op. Failures of ops are in the report.
pub fn run_on(engine: Engine, o: &DeviceOptions) -> Result<DeviceReport> {
    let ops = select(o.op.as_deref())?;
    let ops: Vec<DeviceOp> = ops.into_iter().map(|e| check_op(e, engine, o)).collect();
    Ok(DeviceReport {
        device: engine.name().into(),
        seed: o.seed,
        passed: ops.iter().all(|o| o.failures.is_empty()),
        ops,
    })
}

impl DeviceReport {
    /// The table, one line an op, and below it the failures with their replay lines.
    pub fn table(&self) -> String {
        let wide = self.ops.iter().map(|o| o.op.len()).max().unwrap_or(0);
        let mut s = format!(
            "{:wide$}  cases  of bound: f32      bf16  launches  by host\n",
            self.device
        );
        for o in &self.ops {
            let state = if o.failures.is_empty() {
                "ok"
            } else {
                "FAILED"
            };
            s.push_str(&format!(
                "{:wide$}  {:>5}  {:>13.1e}  {:>8.1e}  {:>8}  {:>7}  {state}\n",
                o.op, o.cases, o.worst_f32, o.worst_bf16, o.launches, o.by_host
            ));
        }
        for o in &self.ops {
            for f in &o.failures {
                s.push_str(&format!("{}: {}\n  replay: {}\n", o.op, f.what, f.replay));
            }
        }
        s
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
