//! Surface normals: one minus the cosine over the pixels with a known normal; three planes without constraint (systems.md 5.5, 9.3).

use super::{Distance, Errors, Row};
use crate::annotation::{Quantity, ValueMap};
use crate::error::Result;
use crate::metrics::{Figure, NormalErrors, Unit};
use crate::task::config::{TaskKind, ValuesConfig};

pub(super) static ROW: Row = Row {
    kind: TaskKind::Normals,
    quantity: Quantity::Normals,
    distance: Distance::Cosine,
    compared: "cosine",
    errors: |space| Box::new(NormalErrors::new(space)),
};

impl Errors for NormalErrors {
    fn add(&mut self, batch: &[(&[f32], &ValueMap)]) -> Result<()> {
        batch
            .iter()
            .try_for_each(|(p, t)| NormalErrors::add(self, p, t))
    }

    fn figures(&self, _config: &ValuesConfig) -> Vec<Figure> {
        // Every figure hangs on the space, so every name says it: figures of two spaces must never be compared.
        let space = format!("{:?}", self.space()).to_lowercase();
        let angle = |what: &str, v| {
            Figure::error(format!("{what} angle ({space} space)"), v, Unit::Degrees)
        };
        let shares = crate::metrics::normals::WITHIN.iter().enumerate();
        let shares = shares.map(|(k, limit)| {
            Figure::share(
                format!("within {limit} ({space} space)"),
                self.within().map(|w| w[k]),
            )
        });
        let cosine = Figure {
            unit: Unit::Plain,
            ..Figure::share(format!("cosine ({space} space)"), self.cosine())
        };
        [angle("mean", self.mean()), angle("median", self.median())]
            .into_iter()
            .chain(shares)
            .chain([cosine.beside()])
            .collect()
    }

    fn again(&self) -> Box<dyn Errors> {
        Box::new(self.clone())
    }
}
