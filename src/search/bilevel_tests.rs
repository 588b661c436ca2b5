use super::*;
use crate::ops;
use crate::optim::config::{Schedule, ScheduleKind};
use crate::tensor::{DType, Shape};

const KEY: [u64; 3] = [0; 3];

fn learner(w: f64, a: f64) -> Learner {
    let mut store = Store::default();
    store
        .weights
        .add("w".into(), Tensor::from_f64([1], vec![w]).unwrap());
    store
        .arch
        .add("a".into(), Tensor::from_f64([1], vec![a]).unwrap());
    Learner::new(store)
}

fn constant(p: &Pass, v: f64) -> Var {
    p.tape.leaf(Tensor::full(Shape::from([1]), DType::F64, v))
}

/// `(p w + q a + r)^2 / 2` as a loss on the tape.
fn quadratic(pass: &Pass, p: f64, q: f64, r: f64) -> Result<Loss> {
    let (w, a) = (pass.weight(ParamId(0)), pass.arch(ParamId(0)));
    let s = ops::add(
        &ops::mul(&w, &constant(pass, p))?,
        &ops::mul(&a, &constant(pass, q))?,
    )?;
    let s = ops::add(&s, &constant(pass, r))?;
    let total = ops::mul(&ops::mul(&s, &s)?, &constant(pass, 0.5))?;
    Ok(Loss {
        total,
        parts: vec![],
    })
}

fn weight_loss(p: &Pass) -> Result<Loss> {
    quadratic(p, 1.5, -0.7, 0.3)
}

fn arch_loss(p: &Pass) -> Result<Loss> {
    quadratic(p, -0.4, 0.9, 1.1)
}

fn weights() -> SgdConfig {
    let schedule = Schedule {
        kind: ScheduleKind::Constant,
        ..Schedule::default()
    };
    SgdConfig {
        momentum: 0.9,
        weight_decay: 0.01,
        clip: 0.0,
        schedule,
        ..SgdConfig::default()
    }
}

/// The hypergradient of `arch_loss(w'(a), a)` with `w' = w - xi (m b + dw L_train + lambda w)`, analytically.
fn hypergradient(w: f64, a: f64, xi: f64, buffer: f64) -> f64 {
    let s = 1.5 * w - 0.7 * a + 0.3;
    let virtual_w = w - xi * (0.9 * buffer + 1.5 * s + 0.01 * w);
    let e = -0.4 * virtual_w + 0.9 * a + 1.1;
    // dw'/da = -xi d2 L_train / dw da = -xi * 1.5 * -0.7
    e * 0.9 + e * -0.4 * (-xi * 1.5 * -0.7)
}

#[test]
fn second_order_matches_the_analytic_hypergradient() {
    for (w, a, xi, buffer) in [
        (0.8, -0.5, 0.1, 0.0),
        (-2.0, 1.3, 0.05, 0.7),
        (3.0, 0.2, 0.3, -1.0),
    ] {
        let mut l = learner(w, a);
        if buffer != 0.0 {
            l.sgd.momentum[0] = Some(Tensor::full([1], DType::F64, buffer));
        }
        let c = weights();
        let (_, g) = l
            .unrolled(Cx::default(), KEY, &arch_loss, &weight_loss, xi, &c, 0.01)
            .unwrap();
        let expect = hypergradient(w, a, xi, buffer);
        assert!(
            (g[0].1.item() - expect).abs() < 1e-10,
            "{} {expect}",
            g[0].1.item()
        );
        assert_eq!(
            l.store.weights.get(ParamId(0)).item(),
            w,
            "weights are restored exactly"
        );
    }
}

#[test]
fn a_slip_of_the_pen_in_the_difference_quotient_is_seen() {
    // Dividing as `/ 2 * r` instead of `/ (2 r)` is the common bug (nni 3044): it must be far outside the tolerance above.
    let (w, a, xi) = (0.8, -0.5, 0.1);
    let right = hypergradient(w, a, xi, 0.0);
    let first_order = {
        let virtual_w = w - xi * (1.5 * (1.5 * w - 0.7 * a + 0.3) + 0.01 * w);
        0.9 * (-0.4 * virtual_w + 0.9 * a + 1.1)
    };
    assert!((right - first_order).abs() > 1e-3);
}

#[test]
fn steps_move_their_own_set_only() {
    let mut l = learner(0.8, -0.5);
    let adam = AdamConfig::default();
    l.arch_step(Cx::default(), KEY, &arch_loss, Order::First, &adam, 0.1)
        .unwrap();
    assert_eq!(l.store.weights.get(ParamId(0)).item(), 0.8);
    assert_ne!(l.store.arch.get(ParamId(0)).item(), -0.5);
    let a = l.store.arch.get(ParamId(0)).item();
    let r = l
        .weight_step(
            Cx::default(),
            Mode::WEIGHT_STEP,
            KEY,
            &weight_loss,
            &weights(),
            0.1,
        )
        .unwrap();
    assert_eq!(l.store.arch.get(ParamId(0)).item(), a);
    assert_ne!(l.store.weights.get(ParamId(0)).item(), 0.8);
    assert!(r.norm > 0.0 && r.loss > 0.0);
}

#[test]
fn a_value_that_is_not_finite_names_its_op_and_changes_nothing() {
    let mut l = learner(f64::INFINITY, 1.0);
    let e = l
        .weight_step(
            Cx::default(),
            Mode::WEIGHT_STEP,
            KEY,
            &weight_loss,
            &weights(),
            0.1,
        )
        .unwrap_err();
    assert_eq!(e.code(), Code::Diverged);
    assert!(e.message().contains("op `mul`"), "{}", e.message());
    assert!(l.sgd.momentum[0].is_none());
}
