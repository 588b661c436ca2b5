//! `kernels/corpus/faults.cu`: one fault each, and the words that the report must hold. The table is one idea, so it is one file.

use super::*;

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
        &["index 32 outside of an array at faults.cu:108"],
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
