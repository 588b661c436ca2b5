//! Kernels on the emulated device against the plain CPU path in f64, each element within the bound of its own sum:
//! a sum of n products in any order errs by at most n u sum |a b| (Higham, Accuracy and Stability, section 3.1), u = 2^-24.

pub(super) mod ceiling;
pub(super) mod elementwise;
pub(super) mod slabs;

use half::bf16;

use super::*;
use crate::backend::driver::{self as k, Scalar};
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

/// The values in the device's memory.
fn put<T: Stored>(d: &dyn Driver, v: &[T]) -> Result<DevicePtr> {
    let p = d.alloc(std::mem::size_of_val(v))?;
    d.upload(p, bytemuck::cast_slice(v))?;
    Ok(p)
}

fn get<T: Stored>(d: &dyn Driver, p: DevicePtr, n: usize) -> Result<Vec<T>> {
    let mut v = vec![T::zeroed(); n];
    d.download(p, bytemuck::cast_slice_mut(&mut v))?;
    Ok(v)
}

fn disagree(text: String) -> Error {
    Error::new(Code::CheckFailed, text)
}

/// Holds `got` against `want` with the sums of absolute values in `size`.
fn agree<T: Stored>(what: &str, got: &[T], want: &[f64], size: &[f64], terms: usize) -> Result<()> {
    for (i, ((g, w), s)) in got.iter().zip(want).zip(size).enumerate() {
        let g = g.load();
        let bound = (terms + 2) as f64 * UNIT * s + T::STORE * w.abs();
        if !((g - w).abs() <= bound) {
            let text = format!("{what}[{i}]: {g} instead of {w}, bound {bound:.1e}");
            return Err(disagree(text));
        }
    }
    Ok(())
}

#[test]
fn the_bound_is_not_loose() {
    // A single tap left out, or a factor of 1.0005, is far outside.
    assert!(agree::<f32>("y", &[1.0005], &[1.0], &[4.0], 9).is_err());
    assert!(agree::<f32>("y", &[f32::NAN], &[1.0], &[4.0], 9).is_err());
    assert!(agree::<f32>("y", &[1.000_000_1], &[1.0], &[4.0], 9).is_ok());
}
