//! Runs the whole check over the table of ops.

use regex::Regex;

use super::derivative::{Probe, pull};
use super::report::{Failure, OpReport, Report};
use super::{agreement, derivative};
use crate::error::{Code, Error, Result};
use crate::ops::table::{Case, Entry, Gen, OPS};
use crate::rng::{Rng, word};
use crate::tape::Path;
use crate::tensor::{DType, Tensor};

/// What to check.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cases of each op.
    pub cases: usize,
    /// Number of the first case: with `cases` 1, replays a single one.
    pub first: usize,
    /// Seed of the cases.
    pub seed: u64,
    /// Ops whose whole name matches; `None` for all.
    pub op: Option<String>,
}

/// Cases tried, beyond those asked for, to find one that shows a planted error.
const EXTRA: usize = 300;

/// Checks the ops of the table.
///
/// # Errors
/// [`Code::Usage`] when the pattern is not a regular expression or matches no op. Failures of ops are in the report.
pub fn run(o: &Options) -> Result<Report> {
    let ops = select(o.op.as_deref())?;
    let ops: Vec<OpReport> = ops.into_iter().map(|e| check_op(e, o)).collect();
    Ok(Report {
        seed: o.seed,
        passed: ops.iter().all(|o| o.failures.is_empty()),
        ops,
    })
}

pub(super) fn select(pattern: Option<&str>) -> Result<Vec<&'static Entry>> {
    let Some(pattern) = pattern else {
        return Ok(OPS.to_vec());
    };
    let usage = |text: String| Error::new(Code::Usage, text).at("--op");
    let regex = Regex::new(&format!("^(?:{pattern})$"))
        .map_err(|e| usage(format!("not a regular expression: {pattern} ({e})")))?;
    let found: Vec<_> = OPS
        .iter()
        .copied()
        .filter(|e| regex.is_match(e.name))
        .collect();
    if found.is_empty() {
        let e = usage(format!("no op is called `{pattern}`"));
        let near = crate::error::nearest(pattern, OPS.iter().map(|e| e.name));
        return Err(match near {
            Some(n) => e.help(format!("did you mean `{n}`?")),
            None => e.help("`mtnas gradcheck` without --op lists all"),
        });
    }
    Ok(found)
}

fn draw(e: &Entry, seed: u64, i: usize) -> (Case, Rng) {
    let path = |what: &str| [word(e.name), word(what), i as u64];
    let case = (e.case)(&mut Gen::new(Rng::new(seed, &path("operands"))));
    (case, Rng::new(seed, &path("directions")))
}

fn check_op(e: &Entry, o: &Options) -> OpReport {
    let mut r = OpReport {
        op: e.name.into(),
        cases: o.cases,
        worst_dual: None,
        worst_difference: 0.0,
        worst_bound: None,
        planted: 0,
        caught: 0,
        refusals: 0,
        failures: vec![],
    };
    let replay = |i: usize| {
        format!(
            "mtnas gradcheck --op {} --seed {} --case {i}",
            e.name, o.seed
        )
    };
    let mut shown = vec![0usize; e.planted.len()];
    for i in o.first..o.first + o.cases {
        let (case, mut rng) = draw(e, o.seed, i);
        let mut fail = |what: String| {
            r.failures.push(Failure {
                what: format!("case {i}: {what}"),
                replay: replay(i),
            })
        };
        match derivative::errors(&case, &mut rng) {
            Err(e) => fail(e.to_string()),
            Ok(found) => {
                if let Some(text) = found.complaint() {
                    fail(text);
                }
                r.worst_dual = r.worst_dual.into_iter().chain(found.dual).reduce(f64::max);
                r.worst_difference = r.worst_difference.max(found.difference);
            }
        }
        for dtype in [DType::F64, DType::F32] {
            match agreement::fast_against_reference(&case, dtype, &mut rng) {
                Err(e) => fail(e.to_string()),
                Ok(used) => r.worst_bound = r.worst_bound.into_iter().chain(used).reduce(f64::max),
            }
        }
        let checks: [fn(&Case, &mut Rng) -> Result<()>; 3] = [
            agreement::repeatable,
            agreement::bf16_storage,
            agreement::linear_backward,
        ];
        for check in checks {
            if let Err(e) = check(&case, &mut rng) {
                fail(e.to_string());
            }
        }
        if let Err(e) = plant(e, &case, &mut rng, &mut shown, &mut r, &replay(i)) {
            r.failures.push(Failure {
                what: e.to_string(),
                replay: replay(i),
            });
        }
    }
    // A single replayed case need not show every planted error; a run of many has to.
    if o.cases > 1 {
        for i in o.first + o.cases..o.first + o.cases + EXTRA {
            if shown.iter().all(|&n| n > 0) {
                break;
            }
            let (case, mut rng) = draw(e, o.seed, i);
            let planted = plant(e, &case, &mut rng, &mut shown, &mut r, &replay(i));
            if planted.is_err() {
                break;
            }
        }
        for (p, _) in e.planted.iter().zip(&shown).filter(|(_, n)| **n == 0) {
            r.failures.push(Failure {
                what: format!("no case shows the planted error `{}`", p.what),
                replay: replay(o.first),
            });
        }
    }
    refuse(e, &mut r);
    r
}

/// Spoils the gradients of a case in every way the op lists; each must be caught.
fn plant(
    e: &Entry,
    case: &Case,
    rng: &mut Rng,
    shown: &mut [usize],
    r: &mut OpReport,
    replay: &str,
) -> Result<()> {
    let probe = Probe::draw(case, rng)?;
    let (_, right) = pull(&case.op, &case.x, Path::Reference, &probe.u)?;
    for (p, shown) in e.planted.iter().zip(shown) {
        let mut g: Vec<Option<Tensor>> = right.clone();
        if !(p.spoil)(case, &probe.u, &mut g) {
            continue;
        }
        *shown += 1;
        r.planted += 1;
        match probe.errors(&g).complaint() {
            Some(_) => r.caught += 1,
            None => r.failures.push(Failure {
                what: format!("the planted error `{}` was not caught", p.what),
                replay: replay.into(),
            }),
        }
    }
    Ok(())
}

/// Calls that must be refused, with the message.
fn refuse(e: &Entry, r: &mut OpReport) {
    for refusal in (e.refusals)() {
        let what = match refusal.op.infer(&refusal.shapes) {
            Err(got) if got.to_string().contains(refusal.expect) => {
                r.refusals += 1;
                continue;
            }
            Err(got) => format!("refused with `{got}`, expected `{}`", refusal.expect),
            Ok(s) => format!("accepted as {s}, expected `{}`", refusal.expect),
        };
        r.failures.push(Failure {
            what: format!("operands {:?}: {what}", refusal.shapes),
            replay: format!("mtnas gradcheck --op {} --cases 1", e.name),
        });
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
