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

fn select(pattern: Option<&str>) -> Result<Vec<&'static Entry>> {
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
    let case = (e.case)(&mut Gen(Rng::new(seed, &path("operands"))));
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
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::dual::Scalar;
    use crate::ops::reference::{Arr, Reference};
    use crate::ops::table::{Planted, Refusal};
    use crate::tape::{Backward, Grad, Op, Output};
    use crate::tensor::Shape;

    #[test]
    fn every_op_passes_and_every_planted_error_is_caught() {
        let report = run(&Options {
            cases: 12,
            first: 0,
            seed: 1,
            op: None,
        })
        .unwrap();
        assert!(report.passed, "\n{}", report.table());
        assert!(report.ops.iter().all(|o| o.planted >= 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_seed_passes(seed in any::<u64>(), case in 0usize..1000) {
            let report = run(&Options { cases: 1, first: case, seed, op: None }).unwrap();
            prop_assert!(report.passed, "\n{}", report.table());
        }
    }

    #[test]
    fn an_unknown_op_is_refused_with_the_nearest_name() {
        let e = select(Some("weigthed_sum")).err().unwrap();
        assert_eq!(e.code(), Code::Usage);
        assert!(
            e.to_string().contains("did you mean `weighted_sum`?"),
            "{e}"
        );
        assert!(select(Some("(")).is_err());
        assert_eq!(select(Some("soft.*|relu")).unwrap().len(), 2);
    }

    /// `y = 3 x` with one thing wrong.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Flaw {
        None,
        Gradient,
        FastPath,
        Bits,
        NotLinear,
    }

    impl Reference for Flaw {
        fn fwd<S: Scalar>(&self, x: &[Arr<S>]) -> Arr<S> {
            x[0].map(|v| S::c(3.0) * v)
        }
        fn bwd<S: Scalar>(&self, _x: &[Arr<S>], dy: &Arr<S>) -> Vec<Option<Arr<S>>> {
            vec![Some(dy.map(|v| S::c(3.0) * v))]
        }
    }

    impl Op for Flaw {
        fn name(&self) -> &'static str {
            "flaw"
        }
        fn infer(&self, x: &[Shape]) -> Result<Shape> {
            Ok(x[0])
        }
        fn forward(&self, x: &[Tensor]) -> Result<Output> {
            static RUNS: AtomicUsize = AtomicUsize::new(1);
            let factor = match self {
                // Six units in the last place of f32: far below any fixed tolerance.
                Flaw::FastPath => 3.0 * (1.0 + 6.0 * f32::EPSILON as f64),
                Flaw::Bits => 3.0 + RUNS.fetch_add(1, Ordering::Relaxed) as f64 * 1e-6,
                _ => 3.0,
            };
            let v = x[0].to_f64().iter().map(|v| v * factor).collect();
            Ok(Tensor::from_f64(*x[0].shape(), v)?
                .cast(x[0].dtype())
                .into())
        }
        fn backward(&self, b: &Backward) -> Result<Vec<Option<Grad>>> {
            let (factor, more) = match self {
                Flaw::Gradient => (3.0015, 0.0),
                Flaw::NotLinear => (3.0, 0.01),
                _ => (3.0, 0.0),
            };
            let v = b.dy.to_f64().iter().map(|v| v * factor + more).collect();
            let dx = Tensor::from_f64(*b.dy.shape(), v)?.cast(b.dy.dtype());
            Ok(vec![Some(Grad::Whole(dx))])
        }
        crate::reference_path!();
    }

    /// What is found wrong with an entry whose op has this flaw.
    fn found(flaw: fn(&mut Gen) -> Case, planted: &'static [Planted]) -> String {
        let entry = Entry {
            name: "flaw",
            case: flaw,
            refusals: || {
                vec![Refusal {
                    op: Arc::new(Flaw::None),
                    shapes: vec![[2].into()],
                    expect: "never refused",
                }]
            },
            planted,
        };
        let o = Options {
            cases: 3,
            first: 0,
            seed: 1,
            op: None,
        };
        let report = check_op(&entry, &o);
        report
            .failures
            .iter()
            .map(|f| f.what.clone() + "; ")
            .collect()
    }

    fn case(op: Flaw, g: &mut Gen) -> Case {
        Case {
            op: Arc::new(op),
            x: vec![g.normal([3, 4])],
        }
    }

    #[test]
    fn each_kind_of_flaw_is_found() {
        let flaws: [(fn(&mut Gen) -> Case, &str); 4] = [
            (|g| case(Flaw::Gradient, g), "against dual numbers"),
            (|g| case(Flaw::FastPath, g), "in f32: y["),
            (|g| case(Flaw::Bits, g), "a second run gave other bits"),
            (|g| case(Flaw::NotLinear, g), "not linear in dy"),
        ];
        let sound = found(|g| case(Flaw::None, g), &[]);
        for (flaw, want) in flaws {
            let got = found(flaw, &[]);
            assert!(got.contains(want), "{got}");
            assert!(!sound.contains(want), "{sound}");
        }
        assert!(sound.contains("accepted as (2), expected `never refused`"));
    }

    #[test]
    fn planted_errors_that_never_show_or_are_never_caught_are_failures() {
        const IDLE: &[Planted] = &[
            Planted {
                what: "nothing",
                spoil: |_, _, _| false,
            },
            Planted {
                what: "too little",
                spoil: |_, _, _| true,
            },
        ];
        let got = found(|g| case(Flaw::None, g), IDLE);
        assert!(
            got.contains("no case shows the planted error `nothing`"),
            "{got}"
        );
        assert!(
            got.contains("the planted error `too little` was not caught"),
            "{got}"
        );
    }
}
