//! Floats in JSON that come back with the same bits: finite ones as shortest round-trip decimals, the others as the
//! words `"NaN"`, `"inf"` and `"-inf"` (plain JSON has no such numbers, and a diverged run must still be readable).
//!
//! Used as `#[serde(with = "number")]` on any field made of `f64`: bare, `Option`, `Vec`, `Vec<Vec>` or `BTreeMap`.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;

/// One float as it stands in JSON.
pub struct Number(f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            x if x.is_finite() => s.serialize_f64(x),
            x if x.is_nan() => s.serialize_str("NaN"),
            x => s.serialize_str(if x > 0.0 { "inf" } else { "-inf" }),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = f64;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a number, \"NaN\", \"inf\" or \"-inf\"")
            }
            fn visit_f64<E>(self, x: f64) -> Result<f64, E> {
                Ok(x)
            }
            fn visit_i64<E>(self, x: i64) -> Result<f64, E> {
                Ok(x as f64)
            }
            fn visit_u64<E>(self, x: u64) -> Result<f64, E> {
                Ok(x as f64)
            }
            fn visit_str<E: de::Error>(self, s: &str) -> Result<f64, E> {
                match s {
                    "NaN" => Ok(f64::NAN),
                    "inf" => Ok(f64::INFINITY),
                    "-inf" => Ok(f64::NEG_INFINITY),
                    _ => Err(E::invalid_value(de::Unexpected::Str(s), &self)),
                }
            }
        }
        d.deserialize_any(V).map(Number)
    }
}

/// A shape of data made of `f64`, and its twin made of [`Number`].
pub trait Floats: Sized {
    /// The same shape made of [`Number`].
    type Twin: Serialize + for<'de> Deserialize<'de>;
    /// To the twin.
    fn twin(&self) -> Self::Twin;
    /// And back.
    fn back(twin: Self::Twin) -> Self;
}

impl Floats for f64 {
    type Twin = Number;
    fn twin(&self) -> Number {
        Number(*self)
    }
    fn back(twin: Number) -> f64 {
        twin.0
    }
}

impl<T: Floats> Floats for Option<T> {
    type Twin = Option<T::Twin>;
    fn twin(&self) -> Self::Twin {
        self.as_ref().map(T::twin)
    }
    fn back(twin: Self::Twin) -> Self {
        twin.map(T::back)
    }
}

impl<T: Floats> Floats for Vec<T> {
    type Twin = Vec<T::Twin>;
    fn twin(&self) -> Self::Twin {
        self.iter().map(T::twin).collect()
    }
    fn back(twin: Self::Twin) -> Self {
        twin.into_iter().map(T::back).collect()
    }
}

impl<T: Floats> Floats for BTreeMap<String, T> {
    type Twin = BTreeMap<String, T::Twin>;
    fn twin(&self) -> Self::Twin {
        self.iter().map(|(k, v)| (k.clone(), v.twin())).collect()
    }
    fn back(twin: Self::Twin) -> Self {
        twin.into_iter().map(|(k, v)| (k, T::back(v))).collect()
    }
}

/// Writes `value`.
pub fn serialize<T: Floats, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
    value.twin().serialize(s)
}

/// Reads a value back.
pub fn deserialize<'de, T: Floats, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    T::Twin::deserialize(d).map(T::back)
}
