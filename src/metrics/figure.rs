//! One figure of a table: depth, normals, keypoints and edges have many, and no two papers show the same ones.

use serde::{Deserialize, Serialize};

use super::relative::Compared;

/// What a figure counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// A share of 1, shown in percent.
    Share,
    /// Degrees.
    Degrees,
    /// A plain number, or the unit of the ground truth.
    Plain,
}

/// A figure with its rule in the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// `abs (pixels)`, `within 11.25 (true space)`.
    pub name: String,
    /// The figure; none when no pixel counts.
    pub value: Option<f64>,
    /// What it counts in.
    pub unit: Unit,
    /// Whether more is better.
    pub higher: bool,
    /// Whether the relative change of the task looks at it (systems.md 6.5, 9.5).
    pub compared: bool,
}

impl Figure {
    /// An error, of which less is better.
    pub fn error(name: impl Into<String>, value: Option<f64>, unit: Unit) -> Figure {
        Figure {
            name: name.into(),
            value,
            unit,
            higher: false,
            compared: true,
        }
    }

    /// A share of right pixels.
    pub fn share(name: impl Into<String>, value: Option<f64>) -> Figure {
        Figure {
            higher: true,
            ..Figure::error(name, value, Unit::Share)
        }
    }

    /// The same, not looked at by relative changes.
    pub fn beside(self) -> Figure {
        Figure {
            compared: false,
            ..self
        }
    }

    /// The figure in words.
    pub fn text(&self) -> String {
        match (self.value, self.unit) {
            (None, _) => "-".into(),
            (Some(v), Unit::Share) => format!("{:.1} %", 100.0 * v),
            (Some(v), Unit::Degrees) => format!("{v:.2} deg"),
            (Some(v), Unit::Plain) => format!("{v:.4}"),
        }
    }

    /// Beside that of a reference; `None` where one of them has no value or it is not looked at.
    pub fn beside_reference(&self, reference: &Figure) -> Option<Compared> {
        let (value, reference) = (self.value?, reference.value?);
        self.compared.then_some(Compared {
            value,
            reference,
            higher_is_better: self.higher,
        })
    }
}
