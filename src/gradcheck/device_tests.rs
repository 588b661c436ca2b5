//! Every op on the emulated device.

use std::sync::{Arc, Mutex};

use super::*;
use crate::backend::driver::Limits;
use crate::backend::emulated::{Emulated, Traffic};
use crate::backend::record::Record;
use crate::ops::table::OPS;

/// Cases of each op here; `mtnas gradcheck --device emulated --cases 2000` runs more.
const CASES: usize = 16;

/// Ops of which the host computes some cases on a device, with the reason.
const BY_HOST: &[(&str, &str)] = &[
    (
        "mixed_node",
        "a cell is one operation on devices, `mixed_cell`",
    ),
    ("relu6", "in no searched network"),
];

/// Ops that share the storage of their operand, or have no kernels at all.
const WITHOUT_LAUNCH: &[&str] = &["relu6", "reshape"];

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
        let none = WITHOUT_LAUNCH.contains(&o.op.as_str());
        assert!(o.launches > 0 || none, "{}", o.op);
    }
    assert!(
        BY_HOST
            .iter()
            .all(|(op, _)| OPS.iter().any(|e| e.name == *op))
    );
}

/// The recording device counts what the launches touch: never less, and not much more.
#[test]
fn declared_bytes_are_those_that_kernels_touch() {
    let touched = Arc::new(Mutex::new(Traffic::default()));
    let device = Emulated::new(Limits::SM_80, 1).with_touched(touched.clone());
    let executes = Engine::new(Box::new(device), false);
    let (record, counted) = Record::new(1 << 30);
    let records = Engine::new(Box::new(record), false);
    let (mut all_declared, mut all_touched) = (0, 0);
    for e in OPS.iter().filter(|e| BY_HOST.iter().all(|b| b.0 != e.name)) {
        for i in 0..4 {
            *touched.lock().unwrap() = Traffic::default();
            counted.reset();
            for engine in [executes, records] {
                // Drawn anew: operands, and tensors inside the op, move to the device that asks for them.
                let mut g = Gen::new(Rng::new(5, &[word(e.name), i]));
                let case = (e.case)(&mut g);
                let x = cast(&case.x, DType::F32);
                let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
                let dy = normal(&case.op.infer(&shapes).unwrap(), &mut Rng::new(6, &[i]));
                pull(&case.op, &x, Path::Device(engine), &dy.cast(DType::F32)).unwrap();
            }
            let (t, d) = (*touched.lock().unwrap(), counted.total());
            let fills = counted.work().get("fill").map_or(0, |w| w.written);
            let copies = counted.work().get("copy").map_or(0, |w| w.written);
            // What is written through a pointer may also be read there.
            assert!(
                t.read <= d.read + d.written,
                "{} case {i}: {t:?} {d:?}",
                e.name
            );
            assert!(
                t.written <= d.written - fills - copies,
                "{} case {i}: {t:?} {d:?}",
                e.name
            );
            all_declared += d.read + d.written;
            all_touched += t.read + t.written + fills + 2 * copies;
        }
    }
    let ratio = all_declared as f64 / all_touched as f64;
    assert!(
        (0.9..1.5).contains(&ratio),
        "declared {ratio} times what is touched"
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
