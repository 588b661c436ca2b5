//! Classification: one class for each image.

use super::config::{ClassificationConfig, TaskKind};
use super::{
    Loss, Meter, Prediction, Report, Targets, Task, annotation_kind, prediction_kind, wrong_kind,
    wrong_outputs,
};
use crate::annotation::Annotation;
use crate::error::{Code, Error, Result};
use crate::metrics::TopK;
use crate::ops::{self, CrossEntropy, Denominator, cross_entropy};
use crate::tape::Var;
use crate::tensor::Tensor;

/// The task; the head gives `logits` `(N, classes)`, in training those of an auxiliary head too, whose loss is added with its weight.
#[derive(Debug, Clone)]
pub struct ClassificationTask {
    classes: Vec<String>,
    smoothing: f64,
    /// Weight of the auxiliary head's loss.
    auxiliary: f64,
}

impl ClassificationTask {
    /// A task over `classes`.
    ///
    /// # Errors
    /// [`Code::ConfigValue`] without a class or for a label smoothing outside 0..1.
    pub fn new(classes: Vec<String>, config: &ClassificationConfig) -> Result<ClassificationTask> {
        let smoothing = config.label_smoothing;
        if classes.is_empty() {
            return Err(Error::new(
                Code::ConfigValue,
                "a classification task without classes",
            ));
        }
        if !(0.0..1.0).contains(&smoothing) {
            let message = format!("`label_smoothing` is {smoothing}");
            return Err(Error::new(Code::ConfigValue, message).help("use 0 to below 1"));
        }
        let auxiliary = config.auxiliary_weight;
        if !(auxiliary.is_finite() && auxiliary >= 0.0) {
            let message = format!("`auxiliary_weight` is {auxiliary}");
            return Err(Error::new(Code::ConfigValue, message).help("use 0 or more"));
        }
        Ok(ClassificationTask {
            classes,
            smoothing,
            auxiliary,
        })
    }

    fn fits(&self, dims: &[usize], images: usize) -> bool {
        *dims == [images, self.classes.len()]
    }
}

impl Task for ClassificationTask {
    fn kind(&self) -> TaskKind {
        TaskKind::Classification
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn targets(&self, annotations: &[Annotation]) -> Result<Targets> {
        let mut ids = vec![];
        for (i, a) in annotations.iter().enumerate() {
            let e = match a {
                Annotation::Class(c) if *c < self.classes.len() => {
                    ids.push(*c as i32);
                    continue;
                }
                Annotation::Class(c) => {
                    let n = self.classes.len();
                    Error::new(
                        Code::BadLabelId,
                        format!("class {c} is outside the {n} classes"),
                    )
                }
                other => wrong_kind("a class", annotation_kind(other)),
            };
            return Err(e.at(format!("image {i} of the batch")));
        }
        let n = ids.len();
        Ok(Targets {
            tensors: vec![("class", Tensor::from_i32([n], ids)?)],
            denominator: n.max(1) as f64,
        })
    }

    fn loss(&self, outputs: &[Var], targets: &Targets) -> Result<Loss> {
        let ids = targets.get("class");
        let (logits, auxiliary) = match outputs {
            [logits] => (logits, None),
            [logits, auxiliary] if self.auxiliary > 0.0 => (logits, Some(auxiliary)),
            _ => {
                return Err(wrong_outputs(
                    "classification",
                    "(N, classes)",
                    outputs.iter().map(Var::dims),
                ));
            }
        };
        if !outputs.iter().all(|o| self.fits(o.dims(), ids.numel())) {
            let wanted = format!("({}, {})", ids.numel(), self.classes.len());
            return Err(wrong_outputs(
                "classification",
                &wanted,
                outputs.iter().map(Var::dims),
            ));
        }
        let op = CrossEntropy {
            denominator: Denominator::Fixed(targets.denominator),
            smoothing: self.smoothing,
            ..Default::default()
        };
        let ids = logits.tape().leaf(ids.clone());
        let mut total = cross_entropy(logits, &ids, op.clone())?;
        if let Some(auxiliary) = auxiliary {
            let beside = ops::scale(&cross_entropy(auxiliary, &ids, op)?, self.auxiliary)?;
            total = ops::add(&total, &beside)?;
        }
        Ok(Loss {
            total,
            parts: vec![],
            audit: vec![],
        })
    }

    fn predict(&self, outputs: &[Tensor], sizes: &[(usize, usize)]) -> Result<Vec<Prediction>> {
        match outputs {
            [logits] if self.fits(logits.dims(), sizes.len()) => {
                let rows = logits.to_f32();
                Ok(rows
                    .chunks_exact(self.classes.len())
                    .map(|r| Prediction::Scores(r.to_vec()))
                    .collect())
            }
            _ => {
                let wanted = format!("({}, {})", sizes.len(), self.classes.len());
                Err(wrong_outputs(
                    "classification",
                    &wanted,
                    outputs.iter().map(Tensor::dims),
                ))
            }
        }
    }

    fn meter(&self) -> Box<dyn Meter> {
        Box::new(ClassificationMeter {
            classes: self.classes.len(),
            counts: TopK::default(),
        })
    }
}

struct ClassificationMeter {
    classes: usize,
    counts: TopK,
}

impl Meter for ClassificationMeter {
    fn add(&mut self, prediction: Prediction, truth: &Annotation) -> Result<()> {
        match (prediction, truth) {
            (Prediction::Scores(s), Annotation::Class(c)) => {
                self.counts.add(&s, self.classes, &[*c])
            }
            (Prediction::Scores(_), other) => Err(wrong_kind("a class", annotation_kind(other))),
            (other, _) => Err(wrong_kind("class scores", prediction_kind(&other))),
        }
    }

    fn report(&self) -> Result<Report> {
        Ok(Report::Classification(self.counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::{Cx, Tape};

    fn task(smoothing: f64) -> ClassificationTask {
        let config = ClassificationConfig {
            label_smoothing: smoothing,
            ..ClassificationConfig::default()
        };
        ClassificationTask::new(vec!["cat".into(), "dog".into()], &config).unwrap()
    }

    #[test]
    fn loss_by_hand() {
        let truth = [Annotation::Class(1), Annotation::Class(0)];
        let t = task(0.0).targets(&truth).unwrap();
        let tape = Tape::new(Cx::default());
        let x = tape.param(Tensor::from_f64([2, 2], vec![0.0, 3f64.ln(), 0.0, 0.0]).unwrap());
        let loss = task(0.0).loss(std::slice::from_ref(&x), &t).unwrap();
        let want = ((4.0f64 / 3.0).ln() + 2f64.ln()) / 2.0;
        assert!((loss.total.value().item() - want).abs() < 1e-12);
        let g = tape.backward(&loss.total).unwrap();
        let want = [0.125, -0.125, -0.25, 0.25];
        assert!(
            g.get(&x)
                .unwrap()
                .f64s()
                .iter()
                .zip(want)
                .all(|(a, b)| (a - b).abs() < 1e-12)
        );
        let smooth = task(0.1).loss(&[x], &t).unwrap().total.value().item();
        assert!(smooth > loss.total.value().item());
    }

    /// DARTS: loss + 0.4 x loss of the auxiliary head; where that head is not asked for, its outputs are refused.
    #[test]
    fn an_auxiliary_head_adds_its_share() {
        let config = ClassificationConfig {
            auxiliary_weight: 0.4,
            ..ClassificationConfig::default()
        };
        let both = ClassificationTask::new(vec!["cat".into(), "dog".into()], &config).unwrap();
        let targets = both.targets(&[Annotation::Class(1)]).unwrap();
        let tape = Tape::new(Cx::default());
        let var = |v: [f64; 2]| tape.param(Tensor::from_f64([1, 2], v.to_vec()).unwrap());
        let (x, y) = (var([0.0, 3f64.ln()]), var([0.0, 0.0]));
        let loss = both.loss(&[x.clone(), y.clone()], &targets).unwrap().total;
        let want = (4.0f64 / 3.0).ln() + 0.4 * 2f64.ln();
        assert!((loss.value().item() - want).abs() < 1e-12);
        let g = tape.backward(&loss).unwrap();
        assert!((g.get(&y).unwrap().f64s()[0] - 0.2).abs() < 1e-12);
        let alone = both.loss(std::slice::from_ref(&x), &targets).unwrap().total;
        assert!((alone.value().item() - (4.0f64 / 3.0).ln()).abs() < 1e-12);
        assert_eq!(
            task(0.0).loss(&[x, y], &targets).unwrap_err().code(),
            Code::Shape
        );
    }

    #[test]
    fn meter_counts() {
        let t = task(0.0);
        let logits = Tensor::from_f32([2, 2], vec![1.0, 2.0, 5.0, 0.0]).unwrap();
        let p = t.predict(&[logits], &[(8, 8), (8, 8)]).unwrap();
        let mut m = t.meter();
        assert_eq!(m.report().unwrap().headline(), ("top-1".into(), None));
        for p in p {
            m.add(p, &Annotation::Class(1)).unwrap();
        }
        assert_eq!(m.report().unwrap().headline().1, Some(0.5));
    }

    #[test]
    fn misfits_are_errors() {
        let t = task(0.0);
        let e = t
            .targets(&[Annotation::Class(0), Annotation::Class(2)])
            .unwrap_err();
        assert_eq!(
            (e.code(), e.place()),
            (Code::BadLabelId, Some("image 1 of the batch"))
        );
        let e = t.targets(&[Annotation::Objects(vec![])]).unwrap_err();
        assert!(e.message().contains("expected a class, got boxes"));
        let targets = t.targets(&[Annotation::Class(0)]).unwrap();
        let tape = Tape::new(Cx::default());
        let x = tape.leaf(Tensor::from_f32([1, 3], vec![0.0; 3]).unwrap());
        assert_eq!(
            t.loss(std::slice::from_ref(&x), &targets)
                .unwrap_err()
                .code(),
            Code::Shape
        );
        assert_eq!(
            t.loss(&[x.clone(), x], &targets).unwrap_err().code(),
            Code::Shape
        );
        assert!(t.predict(&[], &[(1, 1)]).is_err());
        assert!(
            t.meter()
                .add(Prediction::Objects(vec![]), &Annotation::Class(0))
                .is_err()
        );
        assert!(ClassificationTask::new(vec![], &ClassificationConfig::default()).is_err());
        let config = ClassificationConfig {
            label_smoothing: 1.0,
            ..ClassificationConfig::default()
        };
        assert!(ClassificationTask::new(vec!["a".into()], &config).is_err());
    }
}
