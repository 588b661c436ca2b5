//! The planted faults of `kernels/corpus`, each caught with the words that its author needs; the right kernels beside them pass.

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

/// Kernel, launch, arguments and what the error must say. `x` holds 64 floats, `y` 64, `z` 64 that nobody wrote.
type Fault = (
    k::Kernel,
    Launch,
    fn(&Buffers) -> Vec<Arg>,
    &'static [&'static str],
);

struct Buffers {
    x: DevicePtr,
    y: DevicePtr,
    z: DevicePtr,
}

const FAULTS: &[Fault] = &[
    (
        k::NO_BARRIER_BEFORE_READ,
        BLOCK,
        |b| vec![inp(b.x), out(b.y)],
        &["read of byte 252 of shared `tile`, which nobody wrote"],
    ),
    (
        k::NO_BARRIER_AFTER_READ,
        BLOCK,
        |b| vec![inp(b.x), out(b.y), Arg::I32(128)],
        &["race: read", "its write by thread 31"],
    ),
    (
        k::BARRIER_IN_DIVERGENT_BRANCH,
        BLOCK,
        |b| vec![out(b.y)],
        &["divergent barriers", "faults.cu:34", "faults.cu:31"],
    ),
    (
        k::BARRIER_SKIPPED_BY_RETURN,
        BLOCK,
        |b| vec![out(b.y), Arg::I32(60)],
        &["has returned", "faults.cu:40"],
    ),
    (
        k::SHUFFLE_WITH_DEAD_LANE,
        WARP,
        |b| vec![out(b.y)],
        &["names lane 5, which has returned"],
    ),
    (
        k::SHUFFLE_WITHOUT_OWN_LANE,
        WARP,
        |b| vec![out(b.y)],
        &["without its own lane"],
    ),
    (
        k::SHUFFLE_FROM_OUTSIDE_THE_MASK,
        WARP,
        |b| vec![out(b.y)],
        &["shuffles from lane 16"],
    ),
    (
        k::DIVERGENT_SHUFFLES,
        WARP,
        |b| vec![out(b.y)],
        &["divergent warp operations", "faults.cu:63", "faults.cu:65"],
    ),
    (
        k::SHUFFLE_AGAINST_BARRIER,
        WARP,
        |b| vec![out(b.y)],
        &["waits for its warp at", "at the barrier"],
    ),
    (
        k::WARP_SYNCHRONOUS,
        WARP,
        |b| vec![inp(b.x), out(b.y)],
        &["shared `part`, which nobody wrote"],
    ),
    (
        k::PLAIN_SUM_ACROSS_THREADS,
        WARP,
        |b| vec![out(b.x)],
        &["race: "],
    ),
    (
        k::PLAIN_SUM_ACROSS_BLOCKS,
        TWO,
        |b| vec![out(b.x)],
        &["race: ", "of block 0", "block [1, 0, 0]"],
    ),
    (
        k::TWO_BLOCKS_WRITE_ONE,
        TWO,
        |b| vec![out(b.x)],
        &["race: write", "its write"],
    ),
    (
        k::ORDER_OF_FLOAT_ATOMICS,
        BLOCK,
        |b| vec![inp(b.x), out(b.y)],
        &["depends on the order"],
    ),
    (
        k::TAIL_NOT_GUARDED,
        TWO,
        |b| vec![inp(b.x), out(b.y), Arg::I32(64)],
        &["read of 4 bytes outside", "buffer 1"],
    ),
    (
        k::SHARED_TAIL_NOT_GUARDED,
        BLOCK,
        |b| vec![inp(b.x), out(b.y)],
        &["write of 4 bytes outside", "shared `tile`"],
    ),
    (
        k::HALO_OFF_BY_ONE,
        BLOCK,
        |b| vec![inp(b.x), out(b.y), Arg::I32(64)],
        &["outside", "at byte 256 of buffer 1"],
    ),
    (
        k::SWAPPED_SIZES,
        BLOCK,
        |b| vec![inp(b.x), out(b.y), Arg::I32(16), Arg::I32(4)],
        &["outside", "buffer 1"],
    ),
    (
        k::WRONG_STRIDE,
        BLOCK,
        |b| vec![inp(b.x), out(b.y), Arg::I32(64)],
        &["outside", "buffer 1"],
    ),
    (
        k::DILATION_IGNORED_IN_BOUND,
        BLOCK,
        |b| vec![inp(b.x), out(b.y), Arg::I32(64), Arg::I32(2)],
        &["outside"],
    ),
    (
        k::UNWRITTEN_SHARED_READ,
        BLOCK,
        |b| vec![out(b.y)],
        &["shared `tile`, which nobody wrote"],
    ),
    (
        k::UNWRITTEN_GLOBAL_READ,
        BLOCK,
        |b| vec![inp(b.z), out(b.y)],
        &["buffer 3, which nobody wrote"],
    ),
    (
        k::STALE_SHARED,
        TWO,
        |b| vec![out(b.y)],
        &["shared `tile`, which nobody wrote"],
    ),
    (
        k::ODD_FLOAT4,
        Launch::new([1; 3], [4, 1, 1]),
        |b| vec![inp(b.x), out(b.y)],
        &["not a multiple of"],
    ),
    (
        k::INDEX_OVERFLOW,
        WARP,
        |b| vec![inp(b.x), out(b.y), Arg::I32(1 << 30)],
        &["outside"],
    ),
    (
        k::TOO_MUCH_SHARED,
        BLOCK,
        |b| vec![out(b.y)],
        &["shared memory of 52000 bytes", "49152"],
    ),
    (
        k::RELU_F32,
        BLOCK,
        |b| vec![out(b.y), inp(b.x), Arg::I64(64)],
        &["argument 0", "pointer to const"],
    ),
    (
        k::RELU_F32,
        BLOCK,
        |b| vec![inp(b.x), out(b.y)],
        &["2 arguments for 3 parameters"],
    ),
    (
        k::RELU_F32,
        BLOCK,
        |b| vec![inp(b.x), out(b.y), Arg::I32(64)],
        &["argument 2", "value of type `l`"],
    ),
    (
        k::RELU_BF16,
        BLOCK,
        |b| vec![inp(b.x), out(b.y), Arg::I64(64)],
        &["argument 0", "`h`"],
    ),
    (
        k::RELU_F32,
        Launch::new([1, 65536, 1], [1; 3]),
        |b| vec![inp(b.x), out(b.y), Arg::I64(1)],
        &["grid y is 65536"],
    ),
    (
        k::RELU_F32,
        Launch::new([1; 3], [64, 32, 1]),
        |b| vec![inp(b.x), out(b.y), Arg::I64(1)],
        &["2048 threads"],
    ),
];

#[test]
fn every_planted_fault_is_caught_and_named() {
    let mut wrong = String::new();
    for (kernel, launch, args, words) in FAULTS {
        let d = device();
        let x = if kernel.name == "no_barrier_after_read" {
            128
        } else {
            64
        };
        let b = Buffers {
            x: f32s(&d, &ramp(x).iter().map(|v| v * 0.1).collect::<Vec<_>>()),
            y: f32s(&d, &[0.0; 128]),
            z: d.alloc(256).unwrap(),
        };
        match d.launch(kernel, *launch, &args(&b)) {
            Ok(()) => wrong += &format!("{}: not caught\n", kernel.name),
            Err(e) => {
                assert_eq!(e.code(), Code::Device);
                let text = e.render();
                for w in words.iter().filter(|w| !text.contains(**w)) {
                    wrong += &format!("{}: no {w:?} in\n{text}\n", kernel.name);
                }
                assert!(text.contains(kernel.name), "{text}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
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
