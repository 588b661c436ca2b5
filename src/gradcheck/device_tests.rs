//! Every op on the emulated device.

use super::*;
use crate::ops::table::OPS;

/// Cases of each op here; `mtnas gradcheck --device emulated --cases 2000` runs more.
const CASES: usize = 16;

/// Ops that the host computes on a device, with the reason.
const BY_HOST: &[(&str, &str)] = &[
    ("conv2d", "no kernels yet"),
    ("conv_transpose2d", "no kernels yet"),
    ("linear", "no kernels yet"),
];

/// Ops that share the storage of their operand.
const WITHOUT_LAUNCH: &[&str] = &["reshape"];

#[test]
fn every_op_agrees() {
    let engine = Engine::emulated(2);
    let o = DeviceOptions {
        cases: CASES,
        first: 0,
        seed: 1,
        op: None,
    };
    let r = run_on(engine, &o).unwrap();
    assert!(r.passed, "{}", r.table());
    for o in &r.ops {
        let reason = BY_HOST.iter().find(|(op, _)| *op == o.op);
        assert_eq!(o.by_host > 0, reason.is_some(), "{}", o.op);
        let none = reason.is_some() || WITHOUT_LAUNCH.contains(&o.op.as_str());
        assert!(o.launches > 0 || none, "{}", o.op);
    }
    assert!(
        BY_HOST
            .iter()
            .all(|(op, _)| OPS.iter().any(|e| e.name == *op))
    );
}

#[test]
fn the_bound_is_not_loose() {
    let exact = |v: f64, n: f64| Bounded {
        v,
        magnitude: 2.0 * v.abs(),
        depth: n,
    };
    let one = |v: f64, dtype| Tensor::from_f64([1], vec![v]).unwrap().cast(dtype);
    assert!(compare("y", &one(1.0, DType::F32), &[exact(1.0, 9.0)], 0.0).is_ok());
    assert!(compare("y", &one(1.0005, DType::F32), &[exact(1.0, 9.0)], 0.0).is_err());
    assert!(compare("y", &one(1.02, DType::Bf16), &[exact(1.0, 9.0)], 0.0).is_err());
    assert!(compare("y", &one(f64::NAN, DType::F32), &[exact(1.0, 9.0)], 0.0).is_err());
}
