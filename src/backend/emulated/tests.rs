//! The planted faults of `kernels/corpus`, each caught with the words that its author needs; the right kernels beside them pass.

mod faults;
mod rules;

use super::*;
use crate::backend::driver::{self as k, Scalar};

fn device() -> Emulated {
    Emulated::new(Limits::SM_80, 4)
}

fn f32s(d: &Emulated, v: &[f32]) -> DevicePtr {
    let p = d.alloc(4 * v.len()).unwrap();
    d.upload(p, bytemuck::cast_slice(v)).unwrap();
    p
}

fn read(d: &Emulated, p: DevicePtr, n: usize) -> Vec<f32> {
    let mut v = vec![0f32; n];
    d.download(p, bytemuck::cast_slice_mut(&mut v)).unwrap();
    v
}

fn ramp(n: usize) -> Vec<f32> {
    (0..n).map(|i| 1.0 + i as f32).collect()
}

const WARP: Launch = Launch::new([1; 3], [32, 1, 1]);
const BLOCK: Launch = Launch::new([1; 3], [64, 1, 1]);
const TWO: Launch = Launch::new([2, 1, 1], [64, 1, 1]);

fn inp(p: DevicePtr) -> Arg {
    Arg::In(p, Scalar::F32)
}

fn out(p: DevicePtr) -> Arg {
    Arg::Out(p, Scalar::F32)
}

#[test]
fn right_kernels_pass_and_are_right() {
    let d = device();
    let (x, y) = (f32s(&d, &ramp(128)), d.alloc(512).unwrap());
    d.launch(&k::GOOD_REVERSE, BLOCK, &[inp(x), out(y), Arg::I32(128)])
        .unwrap();
    let got = read(&d, y, 128);
    assert!((0..128).all(|i| got[i] == (i / 64 * 64 + 63 - i % 64) as f32 + 1.0));
    d.launch(&k::GOOD_BLOCK_SUM, BLOCK, &[inp(x), out(y)])
        .unwrap();
    assert_eq!(read(&d, y, 64), vec![64.0 * 65.0 / 2.0; 64]);
    d.launch(&k::GOOD_WARP_BARRIER, WARP, &[inp(x), out(y)])
        .unwrap();
    assert_eq!(read(&d, y, 1), [32.0 * 33.0 / 2.0]);
    let count = d.alloc(256).unwrap();
    d.upload(count, &[0; 256]).unwrap();
    let ints = |p| Arg::Out(p, Scalar::I32);
    d.launch(&k::GOOD_ATOMIC_SUM, TWO, &[ints(count)]).unwrap();
    let mut n = [0i32; 32];
    d.download(count, bytemuck::cast_slice_mut(&mut n)).unwrap();
    assert_eq!(n[0], 128);
    d.upload(count, &[0; 256]).unwrap();
    d.launch(&k::RETURNED_THREADS, WARP, &[ints(count), Arg::I32(2)])
        .unwrap();
    d.download(count, bytemuck::cast_slice_mut(&mut n)).unwrap();
    assert_eq!(n, [1; 32]);
    d.launch(&k::GOOD_BALLOT, WARP, &[ints(count)]).unwrap();
    d.download(count, bytemuck::cast_slice_mut(&mut n)).unwrap();
    assert_eq!(n, [0x5555_5557; 32]);
}

#[test]
fn kernels_in_use_agree_with_plain_loops_at_any_length() {
    let d = device();
    for n in [1usize, 31, 64, 65, 1000] {
        let v: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
        let (x, y) = (f32s(&d, &v), d.alloc(4 * n).unwrap());
        for launch in [Launch::over(n, 64), BLOCK] {
            d.launch(&k::RELU_F32, launch, &[inp(x), out(y), Arg::I64(n as i64)])
                .unwrap();
            assert_eq!(
                read(&d, y, n),
                v.iter().map(|v| v.max(0.0)).collect::<Vec<_>>()
            );
            let (moved, bytes) = (d.traffic(), 4 * n as u64);
            assert!(moved.written == bytes && (bytes..=2 * bytes).contains(&moved.read));
            d.launch(
                &k::ADD_F32,
                launch,
                &[inp(x), inp(x), out(y), Arg::I64(n as i64)],
            )
            .unwrap();
            assert_eq!(read(&d, y, n), v.iter().map(|v| v + v).collect::<Vec<_>>());
        }
        for p in [x, y] {
            d.free(p).unwrap();
        }
    }
}

#[test]
fn memory_is_bounded_and_poisoned() {
    let d = device();
    let p = d.alloc(16).unwrap();
    assert!(read(&d, p, 4).iter().all(|v| v.is_nan()));
    assert!(d.upload(p, &[0; 17]).is_err() && d.upload(DevicePtr(p.0 + 8), &[0; 8]).is_ok());
    d.free(p).unwrap();
    assert!(d.free(p).is_err() && d.upload(p, &[0; 1]).is_err());
}
