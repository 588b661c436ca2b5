//! Kernels on the emulated device against the plain CPU path in f64, each element within the bound of its own sum:
//! a sum of n products in any order errs by at most n u sum |a b| (Higham, Accuracy and Stability, section 3.1), u = 2^-24.

use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::backend::driver::{self as k, Scalar};
use crate::backend::host::conv::{ConvSizes, forward, input_gradient, weight_gradient};
use crate::rng::Rng;

const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// A float type as kernels store it.
trait Stored: bytemuck::Pod {
    const SCALAR: Scalar;
    fn store(v: f64) -> Self;
    fn load(self) -> f64;
    /// Largest relative error of a store after the sum.
    const STORE: f64;
}

impl Stored for f32 {
    const SCALAR: Scalar = Scalar::F32;
    fn store(v: f64) -> f32 {
        v as f32
    }
    fn load(self) -> f64 {
        self.into()
    }
    const STORE: f64 = UNIT;
}

impl Stored for bf16 {
    const SCALAR: Scalar = Scalar::Bf16;
    fn store(v: f64) -> bf16 {
        bf16::from_f32(v as f32)
    }
    fn load(self) -> f64 {
        self.to_f32().into()
    }
    const STORE: f64 = 1.0 / 256.0;
}

/// Random numbers that the type holds, none of them zero.
fn random<T: Stored>(r: &mut Rng, n: usize) -> (Vec<T>, Vec<f64>) {
    let some = |r: &mut Rng| loop {
        let v = T::store(r.normal());
        if v.load() != 0.0 {
            return v;
        }
    };
    let v: Vec<T> = (0..n).map(|_| some(r)).collect();
    let wide = v.iter().map(|v| v.load()).collect();
    (v, wide)
}

fn put<T: Stored>(d: &Emulated, v: &[T]) -> DevicePtr {
    let p = d.alloc(std::mem::size_of_val(v)).unwrap();
    d.upload(p, bytemuck::cast_slice(v)).unwrap();
    p
}

fn get<T: Stored>(d: &Emulated, p: DevicePtr, n: usize) -> Vec<f64> {
    let mut v = vec![T::zeroed(); n];
    d.download(p, bytemuck::cast_slice_mut(&mut v)).unwrap();
    v.into_iter().map(T::load).collect()
}

/// Holds `got` against `want` with the sums of absolute values in `size`.
fn agree<T: Stored>(what: &str, got: &[f64], want: &[f64], size: &[f64], terms: usize) {
    for (i, ((g, w), s)) in got.iter().zip(want).zip(size).enumerate() {
        let bound = (terms + 2) as f64 * UNIT * s + T::STORE * w.abs();
        assert!(
            (g - w).abs() <= bound,
            "{what}[{i}]: {g} instead of {w}, bound {bound:.1e}"
        );
    }
}

fn abs(v: &[f64]) -> Vec<f64> {
    v.iter().map(|v| v.abs()).collect()
}

#[derive(Debug, Clone, Copy)]
struct Case {
    s: ConvSizes,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1usize..4, 1usize..4, 1usize..20, 1usize..40);
    let shape = (
        prop_oneof![Just(3usize), Just(5)],
        1usize..3,
        1usize..3,
        any::<u64>(),
    );
    (sizes, shape).prop_map(|((n, c, h, w), (kernel, stride, dilation, seed))| {
        let padding = (kernel / 2) * dilation;
        let out = |v: usize| (v + 2 * padding - (kernel - 1) * dilation - 1) / stride + 1;
        let s = ConvSizes {
            n,
            c_in: c,
            h,
            w,
            c_out: c,
            ho: out(h),
            wo: out(w),
            k: kernel,
            stride,
            padding,
            dilation,
            groups: c,
        };
        Case { s, seed }
    })
}

fn sizes(s: &ConvSizes) -> [Arg; 8] {
    [
        s.c_in, s.h, s.w, s.ho, s.wo, s.stride, s.padding, s.dilation,
    ]
    .map(|v| Arg::I32(v as i32))
}

fn depthwise_forward<T: Stored>(case: Case, kernels: [k::Kernel; 2]) {
    let (s, d) = (case.s, Emulated::new(Limits::SM_80, 2));
    let mut r = Rng::new(case.seed, &[1]);
    let planes = s.n * s.c_in;
    let (x, x64) = random::<T>(&mut r, planes * s.h * s.w);
    let (w, w64) = random::<T>(&mut r, s.c_in * s.k * s.k);
    let len = planes * s.ho * s.wo;
    let (mut want, mut size) = (vec![0.0; len], vec![0.0; len]);
    forward(&s, &x64, &w64, &mut want);
    forward(&s, &abs(&x64), &abs(&w64), &mut size);
    let (x, w, y) = (
        put(&d, &x),
        put(&d, &w),
        d.alloc(len * size_of::<T>()).unwrap(),
    );
    let grid = [
        s.wo.div_ceil(32) as u32,
        s.ho.div_ceil(8) as u32,
        planes.div_ceil(2) as u32,
    ];
    let mut args = vec![
        Arg::In(x, T::SCALAR),
        Arg::In(w, T::SCALAR),
        Arg::Out(y, T::SCALAR),
        Arg::I32(planes as i32),
    ];
    args.extend(sizes(&s));
    let launch = Launch::new(grid, [256, 1, 1]);
    d.launch(&kernels[usize::from(s.k == 5)], launch, &args)
        .unwrap();
    agree::<T>("y", &get::<T>(&d, y, len), &want, &size, s.k * s.k);
}

fn depthwise_gradients(case: Case) {
    let (s, d) = (case.s, Emulated::new(Limits::SM_80, 2));
    let mut r = Rng::new(case.seed, &[2]);
    let planes = s.n * s.c_in;
    let (x, x64) = random::<f32>(&mut r, planes * s.h * s.w);
    let (w, w64) = random::<f32>(&mut r, s.c_in * s.k * s.k);
    let (dy, dy64) = random::<f32>(&mut r, planes * s.ho * s.wo);
    let five = usize::from(s.k == 5);
    let io = |p| Arg::In(p, Scalar::F32);

    let (mut want, mut size) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    input_gradient(&s, &w64, &dy64, &mut want);
    input_gradient(&s, &abs(&w64), &abs(&dy64), &mut size);
    let (xp, wp, dyp) = (put(&d, &x), put(&d, &w), put(&d, &dy));
    let dx = d.alloc(4 * x.len()).unwrap();
    let mut args = vec![
        io(dyp),
        io(wp),
        Arg::Out(dx, Scalar::F32),
        Arg::I64(x.len() as i64),
    ];
    args.extend(sizes(&s));
    let kernel = [k::DEPTHWISE3_BWD_X_F32, k::DEPTHWISE5_BWD_X_F32][five];
    d.launch(&kernel, Launch::over(x.len(), 64), &args).unwrap();
    agree::<f32>("dx", &get::<f32>(&d, dx, x.len()), &want, &size, s.k * s.k);

    let (mut want, mut size) = (vec![0.0; w.len()], vec![0.0; w.len()]);
    weight_gradient(&s, &x64, &dy64, &mut want);
    weight_gradient(&s, &abs(&x64), &abs(&dy64), &mut size);
    let chunks = 2;
    let (part, dw) = (
        d.alloc(4 * chunks * w.len()).unwrap(),
        d.alloc(4 * w.len()).unwrap(),
    );
    let mut args = vec![
        io(xp),
        io(dyp),
        Arg::Out(part, Scalar::F32),
        Arg::I32(s.n as i32),
    ];
    args.extend(sizes(&s));
    let kernel = [k::DEPTHWISE3_BWD_W_F32, k::DEPTHWISE5_BWD_W_F32][five];
    let launch = Launch::new([s.c_in as u32, chunks as u32, 1], [256, 1, 1]);
    d.launch(&kernel, launch, &args).unwrap();
    let args = [
        io(part),
        Arg::Out(dw, Scalar::F32),
        Arg::I32(chunks as i32),
        Arg::I32(w.len() as i32),
    ];
    d.launch(&k::SUM_CHUNKS_F32, Launch::over(w.len(), 32), &args)
        .unwrap();
    agree::<f32>(
        "dw",
        &get::<f32>(&d, dw, w.len()),
        &want,
        &size,
        s.n * s.ho * s.wo,
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn depthwise_forward_agrees_in_f32(case in cases()) {
        depthwise_forward::<f32>(case, [k::DEPTHWISE3_F32, k::DEPTHWISE5_F32]);
    }

    #[test]
    fn depthwise_forward_agrees_in_bf16(case in cases()) {
        depthwise_forward::<bf16>(case, [k::DEPTHWISE3_BF16, k::DEPTHWISE5_BF16]);
    }

    #[test]
    fn depthwise_gradients_agree(case in cases()) {
        depthwise_gradients(case);
    }
}

#[test]
fn the_bound_is_not_loose() {
    // A single tap left out, or a factor of 1.0005, is far outside.
    let (got, want) = (vec![1.0005], vec![1.0]);
    let caught = std::panic::catch_unwind(|| agree::<f32>("y", &got, &want, &[4.0], 9));
    assert!(caught.is_err());
}
