//! Scores predicted values beside the ground truth, batch by batch.

use super::{Errors, ValueTask};
use crate::annotation::{Annotation, ValueMap};
use crate::error::Result;
use crate::task::config::ComparedFigures;
use crate::task::{Meter, Prediction, Report, Task, annotation_kind, prediction_kind, wrong_kind};

/// The scorer; it keeps the images of the batch that is being added.
pub(super) struct ValueMeter {
    task: ValueTask,
    images: usize,
    batch: Vec<(Vec<f32>, ValueMap)>,
    errors: Box<dyn Errors>,
}

/// Adds a batch to errors.
fn add(errors: &mut dyn Errors, batch: &[(Vec<f32>, ValueMap)]) -> Result<()> {
    let all: Vec<(&[f32], &ValueMap)> = batch.iter().map(|(p, t)| (&p[..], t)).collect();
    match all.is_empty() {
        true => Ok(()),
        false => errors.add(&all),
    }
}

impl ValueMeter {
    pub fn new(task: ValueTask, errors: Box<dyn Errors>) -> ValueMeter {
        ValueMeter {
            task,
            images: 0,
            batch: vec![],
            errors,
        }
    }
}

impl Meter for ValueMeter {
    fn add(&mut self, prediction: Prediction, truth: &Annotation) -> Result<()> {
        let wanted = self.task.values().name();
        let t = match truth {
            Annotation::Values(t) if t.quantity == self.task.values() => t,
            other => return Err(wrong_kind(wanted, annotation_kind(other))),
        };
        match prediction {
            Prediction::Values(p) if p.quantity == t.quantity => {
                self.batch.push((p.data, t.clone()));
            }
            other => return Err(wrong_kind(wanted, prediction_kind(&other))),
        }
        self.images += 1;
        Ok(())
    }

    fn end_batch(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        add(self.errors.as_mut(), &batch)
    }

    /// Images of a batch that has not ended count as a batch.
    fn report(&self) -> Result<Report> {
        let mut errors = self.errors.again();
        add(errors.as_mut(), &self.batch)?;
        let (row, config) = (self.task.row, &self.task.config);
        let mut figures = errors.figures(config);
        if config.compare == ComparedFigures::One {
            let one = figures
                .iter()
                .position(|f| f.name.starts_with(row.compared));
            for (i, f) in figures.iter_mut().enumerate() {
                f.compared = Some(i) == one;
            }
        }
        Ok(Report::Values {
            task: self.task.kind(),
            images: self.images,
            figures,
        })
    }
}
