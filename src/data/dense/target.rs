//! Which targets of a data set are read.

use crate::annotation::{NormalSpace, Quantity};
use crate::choices;
use crate::data::dataset::Kind;
use crate::error::{Code, Error, Result};
use crate::settings::{Describe, choice};

choices! {
    /// A target that a sample may have for its whole picture.
    pub enum Target {
        /// A class for each pixel.
        Segmentation = "segmentation",
        /// Distance of each pixel, in metres or the set's own unit (Cityscapes: disparity).
        Depth = "depth",
        /// Surface normals.
        Normals = "normals",
        /// Strength of 2-D keypoints (Taskonomy).
        Keypoints = "keypoints",
        /// Strength of texture edges (Taskonomy).
        Edges = "edges",
    }
}

impl Target {
    /// Kind of a data set with this target alone.
    pub fn kind(self) -> Kind {
        match self {
            Target::Segmentation => Kind::Segmentation,
            Target::Depth => Kind::Depth,
            Target::Normals => Kind::Normals,
            Target::Keypoints => Kind::Keypoints,
            Target::Edges => Kind::Edges,
        }
    }

    /// What its values are; `None` for classes.
    pub fn quantity(self, space: NormalSpace) -> Option<Quantity> {
        match self {
            Target::Segmentation => None,
            Target::Depth => Some(Quantity::Depth),
            Target::Normals => Some(Quantity::Normals(space)),
            Target::Keypoints => Some(Quantity::Keypoints),
            Target::Edges => Some(Quantity::Edges),
        }
    }
}

/// Kind of a data set with these targets.
pub fn kind_of(targets: &[Target]) -> Kind {
    match targets {
        [one] => one.kind(),
        _ => Kind::Joint,
    }
}

/// The targets wanted of those that a format has, in the order wanted; all of `usual` when none is named.
///
/// # Errors
/// `ConfigValue` for one that the format does not have or that is named twice.
pub fn chosen(wanted: &[Target], has: &[Target], usual: &[Target]) -> Result<Vec<Target>> {
    if wanted.is_empty() {
        return Ok(usual.to_vec());
    }
    for (i, t) in wanted.iter().enumerate() {
        if !has.contains(t) {
            let names: Vec<String> = has.iter().map(|t| t.to_string()).collect();
            let text = format!("`targets`: the format has no {t}");
            return Err(
                Error::new(Code::ConfigValue, text).help(format!("it has {}", names.join(", ")))
            );
        }
        if wanted[..i].contains(t) {
            let text = format!("`targets` names {t} twice");
            return Err(Error::new(Code::ConfigValue, text).help("name it once"));
        }
    }
    Ok(wanted.to_vec())
}

impl Describe for NormalSpace {
    fn kind() -> String {
        choice(["true", "encoded"])
    }
    fn choices() -> Vec<(&'static str, &'static str)> {
        vec![
            (
                "true",
                "Components of -1 to 1; a mirror turns x around. Angles are angles.",
            ),
            (
                "encoded",
                "Components as stored, offset to 0 to 1; a mirror leaves them. Angles as in the NYUv2 tables of MTL-NAS and AutoMTL.",
            ),
        ]
    }
}
