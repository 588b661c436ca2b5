//! The scalars of the reference path: f32, f64 and dual numbers, which carry an exact directional derivative.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// What the plain reference loops need of a number.
pub trait Scalar:
    Copy
    + Send
    + Sync
    + std::fmt::Debug
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// A constant.
    fn c(v: f64) -> Self;
    /// The value, without derivative; comparisons use it.
    fn v(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Exponential.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// The greater by value, the first of equals.
    fn max(self, other: Self) -> Self {
        if other.v() > self.v() { other } else { self }
    }
    /// Zero.
    fn zero() -> Self {
        Self::c(0.0)
    }
}

macro_rules! plain_scalar {
    ($t:ty) => {
        impl Scalar for $t {
            fn c(v: f64) -> Self {
                v as $t
            }
            fn v(self) -> f64 {
                self as f64
            }
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            fn exp(self) -> Self {
                <$t>::exp(self)
            }
            fn ln(self) -> Self {
                <$t>::ln(self)
            }
        }
    };
}
plain_scalar!(f32);
plain_scalar!(f64);

/// A value and its derivative in one direction: `v + d ε`, `ε² = 0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dual {
    /// Value.
    pub v: f64,
    /// Derivative.
    pub d: f64,
}

impl Add for Dual {
    type Output = Dual;
    fn add(self, o: Dual) -> Dual {
        Dual {
            v: self.v + o.v,
            d: self.d + o.d,
        }
    }
}
impl AddAssign for Dual {
    fn add_assign(&mut self, o: Dual) {
        *self = *self + o;
    }
}
impl Sub for Dual {
    type Output = Dual;
    fn sub(self, o: Dual) -> Dual {
        Dual {
            v: self.v - o.v,
            d: self.d - o.d,
        }
    }
}
impl Mul for Dual {
    type Output = Dual;
    fn mul(self, o: Dual) -> Dual {
        Dual {
            v: self.v * o.v,
            d: self.d * o.v + self.v * o.d,
        }
    }
}
impl Div for Dual {
    type Output = Dual;
    fn div(self, o: Dual) -> Dual {
        let q = self.v / o.v;
        Dual {
            v: q,
            d: (self.d - q * o.d) / o.v,
        }
    }
}
impl Neg for Dual {
    type Output = Dual;
    fn neg(self) -> Dual {
        Dual {
            v: -self.v,
            d: -self.d,
        }
    }
}
impl Scalar for Dual {
    fn c(v: f64) -> Self {
        Dual { v, d: 0.0 }
    }
    fn v(self) -> f64 {
        self.v
    }
    fn sqrt(self) -> Self {
        let r = self.v.sqrt();
        Dual {
            v: r,
            d: self.d / (2.0 * r),
        }
    }
    fn exp(self) -> Self {
        let e = self.v.exp();
        Dual {
            v: e,
            d: self.d * e,
        }
    }
    fn ln(self) -> Self {
        Dual {
            v: self.v.ln(),
            d: self.d / self.v,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivative_of_a_composition() {
        // d/dx ln(1 + exp(x)) / sqrt(x) at x = 2
        let x = Dual { v: 2.0, d: 1.0 };
        let y = (Dual::c(1.0) + x.exp()).ln() / x.sqrt();
        let f = |x: f64| (1.0 + x.exp()).ln() / x.sqrt();
        let h = 1e-5;
        assert!((y.d - (f(2.0 + h) - f(2.0 - h)) / (2.0 * h)).abs() < 1e-9);
    }
}
