//! Exponential that the compiler can vectorise; the one of the standard library is a call per element.

use super::Float;
use crate::backend::DType;

/// Below this the result is 0 (it would be subnormal).
const LOWEST: f64 = -708.0;
/// Above this the result would be infinite.
const HIGHEST: f64 = 709.0;
/// 1.5 * 2^52: adding it rounds to an integer, which is then in the low bits.
const MAGIC: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two parts; the first has trailing zeros, so that `k * HI` is exact.
const LN2_HI: f64 = 0.693_147_180_369_123_8;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;

/// 1 / n!, from the highest power down.
const TAYLOR: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    0.5,
    1.0,
    1.0,
];

/// `e^x` for `x <= 709` (softmax arguments are at most 0), within 2 units in the last place; NaN stays NaN.
///
/// `x = k ln 2 + r` with `|r| <= ln 2 / 2`; `e^r` by its series, in f64 for both dtypes, shorter for f32.
#[inline(always)]
pub fn exp<T: Float>(x: T) -> T {
    let x = x.v();
    let t = if x < LOWEST { LOWEST } else { x };
    let t = if t > HIGHEST { HIGHEST } else { t };
    let shifted = t.mul_add(std::f64::consts::LOG2_E, MAGIC);
    let k = shifted - MAGIC;
    let r = k.mul_add(-LN2_HI, t);
    let r = k.mul_add(-LN2_LO, r);
    // (ln 2 / 2)^9 / 9! is 2e-10, far below half a unit of f32.
    let from = if T::DTYPE == DType::F32 { 5 } else { 0 };
    let mut p = TAYLOR[from];
    for &c in &TAYLOR[from + 1..] {
        p = p.mul_add(r, c);
    }
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    T::c(if x < LOWEST { 0.0 } else { p * power })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard_library() {
        for i in -70_000..1_000 {
            let x = i as f64 * 0.01003;
            let (a, b) = (exp(x), x.exp());
            assert!((a - b).abs() <= 4.5e-16 * b, "{x}: {a} {b}");
            let (a, b) = (exp(x as f32), (x as f32 as f64).exp());
            assert!((a as f64 - b).abs() <= 6.5e-8 * b + 1e-45, "{x}: {a} {b}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(exp(0.0f64), 1.0);
        assert_eq!(exp(0.0f32), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp(-1e30f32), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }
}
