//! Depth, or disparity: L1 over the pixels with a known distance (systems.md 6.4, 9.4).

use super::{Distance, Errors, Row};
use crate::annotation::{Quantity, ValueMap};
use crate::error::Result;
use crate::metrics::{DepthErrors, Figure, PixelAverage, Unit};
use crate::task::config::{TaskKind, ValuesConfig};

pub(super) static ROW: Row = Row {
    kind: TaskKind::Depth,
    quantity: |_| Quantity::Depth,
    distance: Distance::L1,
    compared: "abs",
    errors: |_| Box::new(DepthErrors::default()),
};

/// Names of the shares within 1.25, 1.25^2, 1.25^3.
const WITHIN: [&str; 3] = ["within 1.25", "within 1.25^2", "within 1.25^3"];

impl Errors for DepthErrors {
    fn add(&mut self, batch: &[(&[f32], &ValueMap)]) -> Result<()> {
        DepthErrors::add(self, batch)
    }

    fn figures(&self, config: &ValuesConfig) -> Vec<Figure> {
        let of = |rule: PixelAverage| {
            let named = |what: &str| format!("{what} ({})", rule.name());
            [
                Figure::error(named("abs"), self.abs(rule), Unit::Plain),
                Figure::error(named("rel"), self.rel(rule), Unit::Plain),
            ]
        };
        let other = PixelAverage::ALL.into_iter().find(|r| *r != config.average);
        let shares = WITHIN.iter().enumerate();
        let shares = shares.map(|(k, name)| Figure::share(*name, self.within().map(|w| w[k])));
        let beside = other.into_iter().flat_map(of).map(Figure::beside);
        of(config.average)
            .into_iter()
            .chain(shares)
            .chain(beside)
            .collect()
    }

    fn again(&self) -> Box<dyn Errors> {
        Box::new(*self)
    }
}
