//! The kernels of convolutions on the emulated device against the plain CPU path in f64, over the same operands, each element within the bound
//! of its own sum: a sum of n products in any order errs by at most n u sum |a b| (Higham, Accuracy and Stability, section 3.1),
//! u = 2^-24. Sizes are chosen so that tiles have tails, sums have chunks, and every tile of every kernel is met.

#[path = "device_products.rs"]
mod products;

pub use self::products::{gather_cases, sum_cases, weight_cases};

use proptest::prelude::*;

use super::*;
use crate::backend::driver::Driver;
use crate::backend::host::conv;
use crate::error::{Code, Error};
use crate::rng::Rng;

const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// Random numbers that the type holds.
fn random(r: &mut Rng, shape: [usize; 4], dtype: DType) -> Tensor {
    let v = (0..shape.iter().product()).map(|_| r.normal()).collect();
    Tensor::from_f64(shape, v).unwrap().cast(dtype)
}

fn abs(v: &[f64]) -> Vec<f64> {
    v.iter().map(|v| v.abs()).collect()
}

/// Holds `got` against `want` with the sums of absolute values in `size`.
fn within(what: &str, got: &Tensor, want: &[f64], size: &[f64], terms: usize) -> Result<()> {
    let store = match got.dtype() {
        DType::Bf16 => 1.0 / 256.0,
        _ => UNIT,
    };
    for (i, ((g, w), s)) in got.to_f64().iter().zip(want).zip(size).enumerate() {
        let bound = (terms + 2) as f64 * UNIT * s + store * w.abs();
        if !((g - w).abs() <= bound) {
            let text = format!("{what}[{i}]: {g} instead of {w}, bound {bound:.1e}");
            return Err(Error::new(Code::CheckFailed, text));
        }
    }
    Ok(())
}

/// A gradient, its chunks added up.
fn added(e: Engine, g: Grad, shape: Shape) -> Result<Tensor> {
    match g {
        Grad::Chunks(part) => {
            let sums = e.sum_chunks(&[(part.on(e)?, part.dims()[0])], 1 << 16)?;
            Ok(Tensor::from_device(
                shape,
                sums.into_iter().next().expect("a sum"),
            ))
        }
        Grad::Whole(dw) => Ok(dw),
        Grad::Channels { .. } | Grad::Within { .. } => unreachable!("of a weight"),
    }
}

fn check(e: Engine, s: &ConvSizes, dtype: DType, seed: u64) -> Result<()> {
    let mut r = Rng::new(seed, &[]);
    let x = random(&mut r, [s.n, s.c_in, s.h, s.w], dtype);
    let dy = random(&mut r, [s.n, s.c_out, s.ho, s.wo], dtype);
    let w = random(&mut r, [s.c_out, s.c_in / s.groups, s.k, s.k], DType::F32);
    let (x64, w64, dy64) = (x.to_f64(), w.to_f64(), dy.to_f64());
    let (taps, pixels) = (s.k * s.k, s.n * s.ho * s.wo);

    let mut both = [vec![0.0; dy64.len()], vec![0.0; dy64.len()]];
    conv::forward(s, &x64, &w64, &mut both[0]);
    conv::forward(s, &abs(&x64), &abs(&w64), &mut both[1]);
    let y = map(e, s, false, [&x, &w], None, *dy.shape())?;
    let y = y.expect("kernels");
    within("y", &y, &both[0], &both[1], s.c_in / s.groups * taps)?;

    let mut both = [vec![0.0; x64.len()], vec![0.0; x64.len()]];
    conv::input_gradient(s, &w64, &dy64, &mut both[0]);
    conv::input_gradient(s, &abs(&w64), &abs(&dy64), &mut both[1]);
    let dx = map(e, s, true, [&dy, &w], None, *x.shape())?;
    let dx = dx.expect("kernels");
    within("dx", &dx, &both[0], &both[1], s.c_out / s.groups * taps)?;

    let mut both = [vec![0.0; w64.len()], vec![0.0; w64.len()]];
    conv::weight_gradient(s, &x64, &dy64, &mut both[0]);
    conv::weight_gradient(s, &abs(&x64), &abs(&dy64), &mut both[1]);
    let dw = weight_gradient(e, s, [&x, &dy], *w.shape())?.expect("kernels");
    let dw = added(e, dw, *w.shape())?;
    within("dw", &dw, &both[0], &both[1], pixels)?;
    e.healthy()
}

fn agree(s: &ConvSizes, dtype: DType, seed: u64) {
    check(Engine::emulated(2), s, dtype, seed).unwrap();
}

/// Few cases that between them reach every line of `depthwise.cu`.
pub fn depthwise_cases(driver: Box<dyn Driver>) -> Result<()> {
    let e = Engine::new(driver, true);
    // Tails in both directions, one of whole vectors; several images at a time, and groups of them; two tiles down, two across; fewer than four
    // columns.
    for (i, (n, c, map, how)) in [
        (1, 3, [12, 34], [3, 2, 1]),
        (3, 2, [13, 24], [3, 1, 2]),
        (2, 2, [7, 13], [5, 1, 1]),
        (9, 2, [5, 8], [5, 2, 2]),
        (1, 2, [35, 128], [3, 1, 1]),
        (1, 2, [3, 136], [3, 1, 1]),
        (2, 2, [2, 3], [5, 1, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        for dtype in [DType::F32, DType::Bf16] {
            check(e, &sizes([n, c, c, c], map, how), dtype, i as u64)?;
        }
    }
    Ok(())
}

#[allow(clippy::many_single_char_names)]
fn sizes(
    [n, c_in, c_out, groups]: [usize; 4],
    [h, w]: [usize; 2],
    [k, stride, dilation]: [usize; 3],
) -> ConvSizes {
    let padding = k / 2 * dilation;
    let out = |v: usize| (v + 2 * padding - (k - 1) * dilation - 1) / stride + 1;
    ConvSizes {
        n,
        c_in,
        h,
        w,
        c_out,
        ho: out(h),
        wo: out(w),
        k,
        stride,
        padding,
        dilation,
        groups,
    }
}

fn dtypes() -> impl Strategy<Value = DType> {
    prop_oneof![Just(DType::F32), Just(DType::Bf16)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn depthwise_agrees(
        (n, c, h, w) in (1usize..5, 2usize..4, 1usize..20, 1usize..40),
        k in prop_oneof![Just(3usize), Just(5)],
        (stride, dilation, dtype, seed) in (1usize..3, 1usize..3, dtypes(), any::<u64>()),
    ) {
        agree(&sizes([n, c, c, c], [h, w], [k, stride, dilation]), dtype, seed);
    }

    #[test]
    fn pointwise_agrees(
        (n, c_in, c_out) in (1usize..3, 1usize..70, 1usize..70),
        (h, w) in prop_oneof![(1usize..6, 1usize..9), (Just(4), Just(8)), (Just(8), Just(16))],
        (dtype, seed) in (dtypes(), any::<u64>()),
    ) {
        agree(&sizes([n, c_in, c_out, 1], [h, w], [1, 1, 1]), dtype, seed);
    }

    #[test]
    fn dense_and_grouped_agree(
        (n, groups, gi, go) in (1usize..3, 1usize..3, 1usize..20, 1usize..20),
        (h, w) in (1usize..7, 1usize..12),
        (k, stride, dilation) in (1usize..5, 1usize..3, 1usize..3),
        (dtype, seed) in (dtypes(), any::<u64>()),
    ) {
        let (h, w) = (h + (k - 1) * dilation, w + (k - 1) * dilation);
        agree(&sizes([n, groups * gi, groups * go, groups], [h, w], [k, stride, dilation]), dtype, seed);
    }
}

#[test]
fn a_wide_map_of_many_tiles_agrees() {
    for (k, dilation, dtype) in [(3, 1, DType::Bf16), (5, 2, DType::F32)] {
        agree(&sizes([2, 2, 2, 2], [33, 136], [k, 1, dilation]), dtype, 7);
    }
}

#[test]
fn the_bound_is_not_loose() {
    // A factor of 1.0005 in f32, one of 1.01 in bf16, is far outside.
    for (dtype, factor) in [
        (DType::F32, 1.0005),
        (DType::Bf16, 1.01),
        (DType::F32, f64::NAN),
    ] {
        let got = Tensor::from_f64([1], vec![factor]).unwrap().cast(dtype);
        assert!(within("y", &got, &[1.0], &[4.0], 9).is_err());
    }
    let right = Tensor::from_f32([1], vec![1.000_000_1]).unwrap();
    assert!(within("y", &right, &[1.0], &[4.0], 9).is_ok());
}
