//! Slice kernels of the CPU: plain sizes in, vectorised by the compiler for the widest instruction set found at run time.
//!
//! A kernel is written once as a portable loop over fixed-width lanes inside `simd!`, which compiles it for AVX-512,
//! AVX2 + FMA and the baseline and picks one at run time. Every path uses fused multiply-add (`mul_add`).

pub mod avg3;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_products;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_products;
pub mod by_hand;
pub mod combine;
pub mod conv;
pub mod conv_planes;
pub mod depthwise;
pub mod elementwise;
pub mod exp;
pub mod gemm;
pub mod lanes;
pub mod max3;
pub mod norm;
pub mod planes;
pub mod pool;
pub mod products;
pub mod rearrange;
pub mod resample;
pub mod softmax;
pub mod sync_norm;
pub mod tiles;
pub mod widest;

use std::sync::OnceLock;

use crate::backend::Element;
use crate::dual::Scalar;

/// Lanes of the portable vector: one AVX-512 register of f32.
pub const LANES: usize = 16;

/// f32 or f64, as the fast kernels need it.
pub trait Float:
    Element + Scalar + std::ops::MulAssign + std::ops::SubAssign + PartialOrd + std::iter::Sum
{
    /// `self * a + b` with one rounding.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Negative infinity.
    const NEG_INF: Self;
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
}

macro_rules! float {
    ($t:ty) => {
        impl Float for $t {
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                <$t>::mul_add(self, a, b)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                <$t>::abs(self)
            }
            const NEG_INF: Self = <$t>::NEG_INFINITY;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
        }
    };
}
float!(f32);
float!(f64);

/// Instruction sets a kernel is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Whatever the target guarantees.
    Baseline,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, VL, BW, DQ.
    Avx512,
}

/// The widest instruction set of this machine; part of a run's manifest, because the order of sums depends on it.
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("fma")
            {
                return Isa::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Isa::Avx2;
            }
        }
        Isa::Baseline
    })
}

impl Isa {
    /// Name for the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Baseline => std::env::consts::ARCH,
            Isa::Avx2 => "x86_64+avx2+fma",
            Isa::Avx512 => "x86_64+avx512",
        }
    }
}

/// Compiles one generic kernel for every instruction set and dispatches at run time.
macro_rules! simd {
    ($(#[$m:meta])* $vis:vis fn $name:ident $(<const $cg:ident : $ct:ty>)? [$T:ident] ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$m])*
        $vis fn $name<$T: $crate::backend::host::Float $(, const $cg: $ct)?>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body<$T: $crate::backend::host::Float $(, const $cg: $ct)?>($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            #[allow(unsafe_code)]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,bmi2")]
                fn avx512<$T: $crate::backend::host::Float $(, const $cg: $ct)?>($($arg: $ty),*) $(-> $ret)? {
                    body::<$T $(, $cg)?>($($arg),*)
                }
                #[target_feature(enable = "avx2,fma,bmi2")]
                fn avx2<$T: $crate::backend::host::Float $(, const $cg: $ct)?>($($arg: $ty),*) $(-> $ret)? {
                    body::<$T $(, $cg)?>($($arg),*)
                }
                match $crate::backend::host::isa() {
                    // SAFETY: isa() found these features on this machine.
                    $crate::backend::host::Isa::Avx512 => return unsafe { avx512::<$T $(, $cg)?>($($arg),*) },
                    // SAFETY: as above.
                    $crate::backend::host::Isa::Avx2 => return unsafe { avx2::<$T $(, $cg)?>($($arg),*) },
                    $crate::backend::host::Isa::Baseline => {}
                }
            }
            body::<$T $(, $cg)?>($($arg),*)
        }
    };
}
pub(crate) use simd;

/// Calls a generic expression with `$T` = f32 or f64 by a run-time dtype; asserts that it is one of them.
macro_rules! by_float {
    ($dtype:expr, $T:ident => $e:expr) => {
        match $dtype {
            $crate::tensor::DType::F32 => {
                type $T = f32;
                $e
            }
            $crate::tensor::DType::F64 => {
                type $T = f64;
                $e
            }
            other => unreachable!("a kernel was called on {}", other.name()),
        }
    };
}
pub(crate) use by_float;
