//! `kernels/corpus/rules.cu`: partial masks, shared memory, atomics, undefined arithmetic.

use super::*;

const INTS: Scalar = Scalar::I32;

fn ints(d: &Emulated, v: &[i32]) -> DevicePtr {
    let p = d.alloc(4 * v.len()).unwrap();
    d.upload(p, bytemuck::cast_slice(v)).unwrap();
    p
}

fn read_ints(d: &Emulated, p: DevicePtr, n: usize) -> Vec<i32> {
    let mut v = vec![0; n];
    d.download(p, bytemuck::cast_slice_mut(&mut v)).unwrap();
    v
}

fn with_shared(l: Launch, shared: u32) -> Launch {
    Launch { shared, ..l }
}

#[test]
fn partial_masks_of_the_lanes_that_take_part_pass() {
    let d = device();
    let (x, y) = (f32s(&d, &ramp(32)), d.alloc(128).unwrap());
    d.launch(&k::GOOD_PARTIAL_MASKS, WARP, &[inp(x), out(y)])
        .unwrap();
    let got = read(&d, y, 32);
    let (low, high) = (136.0, 16.0 * (136.0 + 16.0 * 16.0));
    assert!((0..32).all(|i| got[i] == if i < 16 { low } else { high }));
    d.launch(&k::GOOD_PARTIAL_BARRIER, WARP, &[inp(x), out(y)])
        .unwrap();
    assert!((0..16).all(|i| read(&d, y, 16)[i] == 16.0 - i as f32));
}

#[test]
fn dynamic_shared_memory_may_exceed_what_is_static() {
    let d = Emulated::new(Limits::SM_90, 2);
    let n = 57_000;
    let (x, y) = (f32s(&d, &ramp(n)), d.alloc(4 * n).unwrap());
    let args = [inp(x), out(y), Arg::I32(n as i32)];
    let launch = with_shared(BLOCK, 4 * n as u32);
    d.launch(&k::GOOD_DYNAMIC_SHARED, launch, &args).unwrap();
    let got = read(&d, y, n);
    assert!((0..n).all(|i| got[i] == (n - i) as f32));
    // An older device has less, and one float less is not enough.
    let older = Emulated::new(Limits::SM_80, 2);
    let (x, y) = (f32s(&older, &ramp(n)), older.alloc(4 * n).unwrap());
    let args = [inp(x), out(y), Arg::I32(n as i32)];
    let e = older.launch(&k::GOOD_DYNAMIC_SHARED, launch, &args);
    let text = e.unwrap_err().render();
    assert!(text.contains("228000 bytes of dynamic shared memory, the limit is 166912"));
    let (x, y) = (f32s(&d, &ramp(64)), d.alloc(256).unwrap());
    let args = [inp(x), out(y), Arg::I32(64)];
    let e = d.launch(&k::GOOD_DYNAMIC_SHARED, with_shared(BLOCK, 252), &args);
    let text = e.unwrap_err().render();
    assert!(
        text.contains("outside") && text.contains("dynamic shared `row` (252 bytes)"),
        "{text}"
    );
}

#[test]
fn a_list_of_pointers_goes_by_value() {
    let d = device();
    let (x, y) = (f32s(&d, &ramp(64)), d.alloc(256).unwrap());
    let z = f32s(&d, &[10.0; 64]);
    let null = inp(x).null();
    let sum = |args: &[Arg]| d.launch(&k::GOOD_LIST, WARP, args);
    // y1 = x1 + x2 needs the third pointer.
    let args = [inp(x), inp(z), inp(z), out(y), out(z), Arg::I32(1)];
    sum(&args).unwrap();
    assert!((0..32).all(|i| read(&d, y, 32)[i] == i as f32 + 11.0));
    assert!(read(&d, z, 32).iter().all(|v| *v == 20.0));
    let args = [inp(x), inp(x), null, out(y), out(z), Arg::I32(0)];
    sum(&args).unwrap();
    assert!((0..32).all(|i| read(&d, z, 32)[i] == 2.0 * (i + 1) as f32));
    let faults: [(&[Arg], &str); 5] = [
        (
            &[inp(x), inp(x), null, out(y), out(z), Arg::I32(1)],
            "outside",
        ),
        (
            &[inp(x), inp(x), out(y), out(z), Arg::I32(0)],
            "5 arguments for 6 parameters",
        ),
        (
            &[inp(x), inp(x), out(y), out(y), out(z), Arg::I32(0)],
            "argument 2 is a pointer to `f`",
        ),
        (
            &[inp(x), inp(x), null, out(y), inp(z), Arg::I32(0)],
            "argument 4 is a pointer to const",
        ),
        (
            &[inp(x), out(x).null(), null, out(y), out(z), Arg::I32(0)],
            "argument 1 is a pointer to `f`",
        ),
    ];
    for (args, words) in faults {
        let text = d.launch(&k::GOOD_LIST, WARP, args).unwrap_err().render();
        assert!(text.contains(words), "{text}");
    }
    let e = d.launch(&k::RELU_F32, WARP, &[inp(x).null(), out(y), Arg::I64(4)]);
    let text = e.unwrap_err().render();
    assert!(text.contains("argument 0 points nowhere"), "{text}");
}

#[test]
fn atomics_are_right_in_every_order() {
    let d = Emulated::new(Limits::SM_80, 6);
    let v: Vec<i32> = (0..64).map(|i| (i * 37 + 5) % 64).collect();
    let (x, y) = (ints(&d, &v), ints(&d, &[0; 5]));
    let args = [Arg::In(x, INTS), Arg::Out(y, INTS)];
    d.launch(&k::GOOD_SHARED_ATOMICS, BLOCK, &args).unwrap();
    assert_eq!(read_ints(&d, y, 5), [63 * 32, 0, 63, 63, 70]);
    d.upload(y, &[0; 20]).unwrap();
    d.launch(&k::GOOD_COMPARE_AND_SWAP, BLOCK, &args).unwrap();
    assert_eq!(read_ints(&d, y, 1), [63]);
}

/// Kernel, launch, arguments (`x`, `y`: 64 floats; `i`: 64 ints; `u`: ints nobody wrote) and words of the report.
type Fault = (
    k::Kernel,
    Launch,
    fn(&Buffers) -> Vec<Arg>,
    &'static [&'static str],
);

struct Buffers {
    x: DevicePtr,
    y: DevicePtr,
    i: DevicePtr,
    u: DevicePtr,
}

const XY: fn(&Buffers) -> Vec<Arg> = |b| vec![inp(b.x), out(b.y)];
const Y: fn(&Buffers) -> Vec<Arg> = |b| vec![out(b.y)];
const I: fn(&Buffers) -> Vec<Arg> = |b| vec![Arg::Out(b.i, INTS)];

const FAULTS: &[Fault] = &[
    (k::BARRIER_OF_THE_OTHER_HALF, WARP, XY, &["`tile`"]),
    (k::DIFFERENT_MASKS, WARP, Y, &["different masks"]),
    (
        k::MASK_BEYOND_THE_BLOCK,
        Launch::new([1; 3], [40, 1, 1]),
        Y,
        &["names lane 8, which the block does not have"],
    ),
    (k::SHUFFLE_FOR_A_BARRIER, WARP, XY, &["race: read"]),
    (
        k::SHARED_BEYOND_THE_END,
        WARP,
        Y,
        &["read of 4 bytes outside", "at byte 128 of shared `first`"],
    ),
    (
        k::SHARED_BEFORE_THE_START,
        WARP,
        Y,
        &["write of 4 bytes outside", "4 bytes before shared `tile`"],
    ),
    (
        k::GOOD_DYNAMIC_SHARED,
        BLOCK,
        |b| vec![inp(b.x), out(b.y), Arg::I32(64)],
        &["`row` in a launch without dynamic shared memory"],
    ),
    (
        k::STALE_DYNAMIC_SHARED,
        Launch {
            grid: [2, 1, 1],
            block: [32, 1, 1],
            shared: 128,
            touches: None,
        },
        Y,
        &["dynamic shared `row`, which nobody wrote"],
    ),
    (
        k::BOTH_KINDS_OF_SHARED,
        Launch {
            grid: [1; 3],
            block: [32, 1, 1],
            shared: 163 << 10,
            touches: None,
        },
        Y,
        &[
            "128 bytes with `tile`",
            "166912 dynamic ones, the limit is 166912",
        ],
    ),
    (k::ATOMIC_AND_PLAIN_WRITE, WARP, I, &["race: ", "its write"]),
    (
        k::ATOMIC_AND_PLAIN_READ,
        WARP,
        |b| vec![Arg::Out(b.i, INTS), Arg::Out(b.y, INTS)],
        &["race: "],
    ),
    (
        k::ATOMIC_ON_UNWRITTEN,
        WARP,
        |b| vec![Arg::Out(b.u, INTS)],
        &["atomic access of byte 0 of buffer 4, which nobody wrote"],
    ),
    (
        k::WRITES_ITS_INPUT,
        WARP,
        |b| vec![inp(b.x)],
        &["write of byte 0 of buffer 1, which the kernel only reads"],
    ),
    (
        k::LOCAL_ARRAY_OVERRUN,
        WARP,
        |b| vec![out(b.y), Arg::I32(4)],
        &["index 4 outside of an array at rules.cu:"],
    ),
    (
        k::INDEX_PRODUCT_OVERFLOW,
        WARP,
        |b| vec![inp(b.x), out(b.y), Arg::I32(1 << 30)],
        &["integer overflow of `*` at rules.cu:"],
    ),
    (
        k::DIVISION_BY_ZERO,
        WARP,
        |b| vec![Arg::Out(b.i, INTS), Arg::I32(0)],
        &["integer division by zero at rules.cu:"],
    ),
    (
        k::NEVER_ENDS,
        WARP,
        |b| vec![Arg::Out(b.i, INTS), Arg::I32(3)],
        &["does not come to an end"],
    ),
    (
        k::STRUCT_RESULT_OUTSIDE,
        Launch::new([1; 3], [64, 1, 1]),
        |b| vec![inp(b.x), Arg::Out(DevicePtr(b.y.0 + 192), Scalar::Bf16)],
        &["write of 2 bytes outside", "at byte 256 of buffer 2"],
    ),
    (
        k::RELU_F32,
        Launch::new([1; 3], [1, 1, 65]),
        |b| vec![inp(b.x), out(b.y), Arg::I64(1)],
        &["block z is 65"],
    ),
    (
        k::RELU_F32,
        Launch::new([0, 1, 1], [1; 3]),
        |b| vec![inp(b.x), out(b.y), Arg::I64(1)],
        &["grid x is 0"],
    ),
];

#[test]
fn every_rule_is_kept() {
    let mut wrong = String::new();
    for (kernel, launch, args, words) in FAULTS {
        let d = device().with_patience(1 << 20);
        let b = Buffers {
            x: f32s(&d, &ramp(64)),
            y: f32s(&d, &[0.0; 64]),
            i: ints(&d, &[1; 64]),
            u: d.alloc(256).unwrap(),
        };
        let text = match d.launch(kernel, *launch, &args(&b)) {
            Ok(()) => "no error".to_string(),
            Err(e) => e.render(),
        };
        for w in words.iter().filter(|w| !text.contains(**w)) {
            wrong += &format!("{}: no {w:?} in\n{text}\n", kernel.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_a_launch_writes_is_as_before_for_each_order() {
    // In place: run once more on its own result it would count to 2.
    let d = Emulated::new(Limits::SM_80, 4);
    let y = ints(&d, &[0; 32]);
    let args = [Arg::Out(y, INTS), Arg::I32(2)];
    d.launch(&k::RETURNED_THREADS, WARP, &args).unwrap();
    assert_eq!(read_ints(&d, y, 32), [1; 32]);
}
