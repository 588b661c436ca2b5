//! The engine on the emulated device.

use super::*;
use crate::backend::buffer::{Buffer, DType};

fn put(e: Engine, v: &[f32]) -> DeviceBuffer {
    DeviceBuffer::upload(e, &Buffer::from_slice(v)).unwrap()
}

fn f32s(b: &DeviceBuffer) -> Vec<f32> {
    b.download().values::<f32>().to_vec()
}

#[test]
fn sums_and_casts() {
    let e = Engine::emulated(2);
    let (mut a, b) = (
        put(e, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        put(e, &[10.0, 20.0]),
    );
    e.accumulate_part(&mut a, &b, 2, 1).unwrap();
    assert_eq!(f32s(&a), [1.0, 12.0, 3.0, 4.0, 25.0, 6.0]);
    let mut half = e.cast(&a, DType::Bf16).unwrap();
    e.accumulate(&mut half, &a).unwrap();
    e.accumulate(&mut a, &half).unwrap();
    assert_eq!(f32s(&a), [3.0, 36.0, 9.0, 12.0, 75.0, 18.0]);
    assert_eq!(f32s(&e.cast(&half, DType::F32).unwrap())[4], 50.0);
    assert_eq!(f32s(&a.duplicate().unwrap()), f32s(&a));
    assert_eq!(e.counts().launches, 5);
}

#[test]
fn memory_is_used_again_and_holds_nothing_old() {
    let e = Engine::emulated(1);
    let a = put(e, &[1.0; 100]);
    let live = e.counts().live;
    drop(a);
    let b = DeviceBuffer::scratch(e, DType::F32, 99).unwrap();
    assert_eq!((e.counts().live, e.counts().peak), (live, live));
    let mut sum = DeviceBuffer::zeros(e, DType::F32, 99).unwrap();
    let fault = e.accumulate(&mut sum, &b).unwrap_err().to_string();
    assert!(fault.contains("which nobody wrote"), "{fault}");
}

#[test]
fn after_a_fault_nothing_is_done() {
    let e = Engine::emulated(1);
    let (x, y) = (
        put(e, &[1.0]),
        DeviceBuffer::zeros(e, DType::F32, 1).unwrap(),
    );
    let first = e.over(crate::backend::driver::RELU_F32, 2, &[x.arg(), y.arg_out()]);
    let first = first.unwrap_err().to_string();
    assert!(
        first.contains("relu_f32") && first.contains("outside"),
        "{first}"
    );
    let again = e.over(crate::backend::driver::RELU_F32, 1, &[x.arg(), y.arg_out()]);
    assert_eq!(again.unwrap_err().to_string(), first);
    assert!(f32s(&y)[0].is_nan());
    assert!(e.healthy().is_err());
}

#[test]
fn memory_that_runs_out_names_its_holders() {
    let device = Emulated::new(Limits::SM_80, 1).with_memory(1 << 20);
    let e = Engine::new(Box::new(device), false);
    let big = || DeviceBuffer::scratch(e, DType::F32, 100_000);
    let _a = labelled("conv2d", big).unwrap();
    let kept = labelled("relu", big).unwrap();
    let text = labelled("add", big).unwrap_err();
    let all = format!("{text} {:?}", text.notes());
    assert!(all.contains("conv2d: ") && all.contains("relu: "), "{all}");
    // What was given back is found again, also when it lies in another size class.
    drop(kept);
    assert!(DeviceBuffer::scratch(e, DType::F32, 110_000).is_ok());
    assert!(e.healthy().is_ok());
}
