//! Numbers that carry a bound of their rounding errors: how far another order of the same operations may land.
//!
//! With unit roundoff u, a value computed from exact operands in any order of its sums differs from the exact one by at
//! most about `depth * magnitude * u` (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1): `magnitude`
//! is the same expression over absolute values, `depth` the longest chain of operations. The reference loops run over
//! [`Bounded`] as they run over f64, so every element of every op gets a bound of its own instead of a loose tolerance.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

use crate::dual::Scalar;

/// A value, the magnitude of what it was summed from, and the length of the chain behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounded {
    /// Value in f64.
    pub v: f64,
    /// The expression over absolute values; at least `|v|` up to rounding.
    pub magnitude: f64,
    /// Roundings one after the other.
    pub depth: f64,
}

impl Bounded {
    /// An operand that is exact in the precision in question.
    pub fn exact(v: f64) -> Bounded {
        Bounded {
            v,
            magnitude: v.abs(),
            depth: 0.0,
        }
    }

    /// Bound of the error of a computation with unit roundoff `u`.
    pub fn error(self, u: f64) -> f64 {
        self.depth * self.magnitude * u
    }

    fn sum(self, o: Bounded, v: f64) -> Bounded {
        Bounded {
            v,
            magnitude: self.magnitude + o.magnitude,
            depth: self.depth.max(o.depth) + 1.0,
        }
    }
}

impl Add for Bounded {
    type Output = Bounded;
    fn add(self, o: Bounded) -> Bounded {
        self.sum(o, self.v + o.v)
    }
}
impl AddAssign for Bounded {
    fn add_assign(&mut self, o: Bounded) {
        *self = *self + o;
    }
}
impl Sub for Bounded {
    type Output = Bounded;
    fn sub(self, o: Bounded) -> Bounded {
        self.sum(o, self.v - o.v)
    }
}
impl Mul for Bounded {
    type Output = Bounded;
    fn mul(self, o: Bounded) -> Bounded {
        Bounded {
            v: self.v * o.v,
            magnitude: self.magnitude * o.magnitude,
            depth: self.depth + o.depth + 1.0,
        }
    }
}
impl Div for Bounded {
    type Output = Bounded;
    fn div(self, o: Bounded) -> Bounded {
        // d(a / b) = da / b + (a / b) db / b.
        let b = o.v.abs();
        Bounded {
            v: self.v / o.v,
            magnitude: self.magnitude * o.magnitude / (b * b),
            depth: self.depth + o.depth + 1.0,
        }
    }
}
impl Neg for Bounded {
    type Output = Bounded;
    fn neg(self) -> Bounded {
        Bounded { v: -self.v, ..self }
    }
}

impl Scalar for Bounded {
    fn c(v: f64) -> Self {
        // A constant such as 1 / 3 is rounded once.
        Bounded {
            depth: if v == v.trunc() { 0.0 } else { 1.0 },
            ..Bounded::exact(v)
        }
    }
    fn v(self) -> f64 {
        self.v
    }
    fn sqrt(self) -> Self {
        let r = self.v.sqrt();
        Bounded {
            v: r,
            magnitude: r.max(if r > 0.0 { self.magnitude / r } else { 0.0 }),
            depth: self.depth + 1.0,
        }
    }
    fn exp(self) -> Self {
        // d e^x = e^x dx; vectorised exponentials are good to two units in the last place.
        let e = self.v.exp();
        Bounded {
            v: e,
            magnitude: e * self.magnitude.max(1.0),
            depth: self.depth + 4.0,
        }
    }
    fn ln(self) -> Self {
        let l = self.v.ln();
        Bounded {
            v: l,
            magnitude: l.abs().max(self.magnitude / self.v.abs()),
            depth: self.depth + 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn sums_in_f32_stay_within_the_bound_in_any_order() {
        let mut g = Rng::new(3, &[]);
        for n in [1usize, 2, 17, 300] {
            let v: Vec<f32> = (0..n).map(|_| g.normal() as f32).collect();
            let mut exact = Bounded::exact(0.0);
            v.iter()
                .for_each(|&v| exact += Bounded::exact(v as f64) * Bounded::exact(v as f64));
            for _ in 0..20 {
                let order = g.permutation(n);
                let sum: f32 = order.iter().map(|&i| v[i] * v[i]).sum();
                let error = (sum as f64 - exact.v).abs();
                assert!(error <= exact.error(f32::EPSILON as f64 / 2.0), "{n}");
            }
        }
    }

    #[test]
    fn cancellation_keeps_its_magnitude() {
        let d = Bounded::exact(1000.0) + Bounded::exact(1.0) - Bounded::exact(1000.0);
        assert_eq!((d.v, d.magnitude, d.depth), (1.0, 2001.0, 2.0));
    }
}
