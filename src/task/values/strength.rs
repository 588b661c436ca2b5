//! Strengths of 2-D keypoints and of texture edges (Taskonomy): L1 over the known pixels (systems.md 6.4, 6.5).

use super::{Distance, Errors, Row};
use crate::annotation::{Quantity, ValueMap};
use crate::error::Result;
use crate::metrics::{AbsoluteError, Figure, PixelAverage, Unit};
use crate::task::config::{TaskKind, ValuesConfig};

pub(super) static KEYPOINTS: Row = Row {
    kind: TaskKind::Keypoints,
    quantity: |_| Quantity::Keypoints,
    distance: Distance::L1,
    compared: "abs",
    errors: |_| Box::new(AbsoluteError::default()),
};

pub(super) static EDGES: Row = Row {
    kind: TaskKind::Edges,
    quantity: |_| Quantity::Edges,
    distance: Distance::L1,
    compared: "abs",
    errors: |_| Box::new(AbsoluteError::default()),
};

impl Errors for AbsoluteError {
    fn add(&mut self, batch: &[(&[f32], &ValueMap)]) -> Result<()> {
        AbsoluteError::add(self, batch)
    }

    fn figures(&self, config: &ValuesConfig) -> Vec<Figure> {
        let of = |rule: PixelAverage| {
            Figure::error(
                format!("abs ({})", rule.name()),
                self.get(rule),
                Unit::Plain,
            )
        };
        let other = PixelAverage::ALL
            .into_iter()
            .filter(|r| *r != config.average);
        let beside = other.map(|r| of(r).beside());
        [of(config.average)].into_iter().chain(beside).collect()
    }

    fn again(&self) -> Box<dyn Errors> {
        Box::new(*self)
    }
}
