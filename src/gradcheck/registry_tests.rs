//! Tests of the registry run: every op passes, and every kind of flaw is found.

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
