//! The candidate operations of an edge, as one table (DARTS, section 2.3; order of the reference code).
//!
//! The order is the meaning of the columns of every architecture parameter: column `i` of an alpha belongs to
//! `Primitive::ALL[i]`. Adding a primitive is one line of the table.

use std::fmt;

use super::operation::{self, Declared, Site};
use crate::error::Result;
use crate::nn::Builder;

macro_rules! primitives {
    ($($variant:ident = $name:literal, $short:literal, $weights:literal, $build:expr, $doc:literal;)*) => {
        /// A candidate operation; it maps C channels to C channels at stride 1 or 2.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Primitive { $(#[doc = $doc] $variant,)* }

        impl Primitive {
            /// All primitives in the order of the columns of alpha.
            pub const ALL: &'static [Primitive] = &[$(Primitive::$variant,)*];

            /// The name in genotype text, for example `sep_conv_3x3`.
            pub fn name(self) -> &'static str {
                match self { $(Primitive::$variant => $name,)* }
            }

            /// A short name for tables and drawings, for example `sep3`.
            pub fn short(self) -> &'static str {
                match self { $(Primitive::$variant => $short,)* }
            }

            /// Declares the operation at a site; returns it with the map that it yields.
            ///
            /// # Errors
            /// `MT0105` when it does not fit the map.
            pub fn declare(self, b: &mut Builder, site: Site) -> Result<Declared> {
                match self { $(Primitive::$variant => $build(b, site),)* }
            }

            /// True if the operation has weights at stride 1 (the learnable operations of DARTS+).
            pub fn has_weights(self) -> bool {
                match self { $(Primitive::$variant => $weights,)* }
            }
        }
    };
}

primitives! {
    Zero     = "none",         "none", false, operation::zero, "No connection: zeros.";
    MaxPool3 = "max_pool_3x3", "max3", false, operation::max_pool, "3x3 maximum pooling, padding 1.";
    AvgPool3 = "avg_pool_3x3", "avg3", false, operation::avg_pool, "3x3 average pooling, padding 1, padding not counted.";
    Skip     = "skip_connect", "skip", false, operation::skip, "The identity; at stride 2 a factorised reduction.";
    SepConv3 = "sep_conv_3x3", "sep3", true, operation::sep_conv::<3>, "Two stacked depthwise separable 3x3 convolutions.";
    SepConv5 = "sep_conv_5x5", "sep5", true, operation::sep_conv::<5>, "Two stacked depthwise separable 5x5 convolutions.";
    DilConv3 = "dil_conv_3x3", "dil3", true, operation::dil_conv::<3>, "A depthwise separable 3x3 convolution of dilation 2.";
    DilConv5 = "dil_conv_5x5", "dil5", true, operation::dil_conv::<5>, "A depthwise separable 5x5 convolution of dilation 2.";
}

/// Number of primitives: columns of an alpha.
pub const PRIMITIVES: usize = Primitive::ALL.len();

impl Primitive {
    /// The column of alpha that belongs to this primitive.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The primitive of this name, long (`sep_conv_3x3`) or short (`sep3`); `zero` is an old name of `none`.
    pub fn from_name(name: &str) -> Option<Primitive> {
        let name = match name {
            "zero" => "none",
            "max" => "max3",
            "avg" => "avg3",
            other => other,
        };
        Primitive::ALL
            .iter()
            .copied()
            .find(|p| p.name() == name || p.short() == name)
    }

    /// True for the two poolings.
    pub fn is_pool(self) -> bool {
        matches!(self, Primitive::MaxPool3 | Primitive::AvgPool3)
    }
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_the_columns() {
        let names: Vec<_> = Primitive::ALL.iter().map(|p| p.name()).collect();
        let expected = [
            "none",
            "max_pool_3x3",
            "avg_pool_3x3",
            "skip_connect",
            "sep_conv_3x3",
            "sep_conv_5x5",
            "dil_conv_3x3",
            "dil_conv_5x5",
        ];
        assert_eq!(names, expected);
        assert!(
            Primitive::ALL
                .iter()
                .enumerate()
                .all(|(i, p)| p.index() == i)
        );
    }

    #[test]
    fn every_name_is_found_and_unique() {
        for p in Primitive::ALL {
            assert_eq!(Primitive::from_name(p.name()), Some(*p));
            assert_eq!(Primitive::from_name(p.short()), Some(*p));
        }
        assert_eq!(Primitive::from_name("zero"), Some(Primitive::Zero));
        assert_eq!(Primitive::from_name("sep_conv_7x7"), None);
        assert_eq!(Primitive::ALL.iter().filter(|p| p.has_weights()).count(), 4);
    }
}
