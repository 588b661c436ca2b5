//! Segmentation: a class for each pixel; label 255 is ignored.

use super::config::{ComparedLabels, SegDenominator, SegmentationConfig, TaskKind};
use super::{
    ClassScores, Loss, Meter, Prediction, Report, Targets, Task, annotation_kind, prediction_kind,
    wrong_kind, wrong_outputs,
};
use crate::annotation::{Annotation, IGNORE, LabelMap};
use crate::error::{Code, Error, Result};
use crate::metrics::{Confusion, PixelCrossEntropy};
use crate::ops::{CrossEntropy, Denominator, cross_entropy};
use crate::tape::{Path, Var};
use crate::tensor::Tensor;

/// The task; the head gives `logits` `(N, classes, H, W)` at the size of the label maps.
#[derive(Debug, Clone)]
pub struct SegmentationTask {
    classes: Vec<String>,
    config: SegmentationConfig,
}

impl SegmentationTask {
    /// A task over `classes`.
    ///
    /// # Errors
    /// [`Code::Argument`] unless there are 1 to 255 classes; [`Code::ConfigValue`] for weights that do not fit them.
    pub fn new(classes: Vec<String>, config: &SegmentationConfig) -> Result<SegmentationTask> {
        Confusion::new(classes.len())?;
        if let Some(w) = &config.class_weights {
            let wanted = classes.len();
            let bad = w.iter().position(|w| !(w.is_finite() && *w >= 0.0));
            let text = match bad {
                _ if w.len() != wanted => Some(format!("{} weights for {wanted} classes", w.len())),
                Some(i) => Some(format!("the weight of {:?} is {}", classes[i], w[i])),
                None if w.iter().all(|w| *w == 0.0) => Some("all weights are 0".into()),
                None => None,
            };
            if let Some(text) = text {
                return Err(Error::new(Code::ConfigValue, text)
                    .at("segmentation.class_weights")
                    .help(format!("give {wanted} finite weights from 0 on")));
            }
        }
        Ok(SegmentationTask {
            classes,
            config: config.clone(),
        })
    }

    /// The label map of image `i` as ids, checked against the classes and the size of the first one.
    fn ids<'a>(&self, a: &'a Annotation, size: Option<(usize, usize)>) -> Result<&'a LabelMap> {
        let Annotation::Labels(m) = a else {
            return Err(wrong_kind("a label map", annotation_kind(a)));
        };
        let (h, w) = size.unwrap_or((m.height, m.width));
        if (m.height, m.width) != (h, w) || m.data.len() != h * w {
            let message = format!(
                "label map of {}x{} in a batch of {h}x{w} (height x width)",
                m.height, m.width
            );
            return Err(Error::new(Code::SizeMismatch, message));
        }
        let n = self.classes.len();
        match m.data.iter().position(|&v| v != IGNORE && v as usize >= n) {
            None => Ok(m),
            Some(i) => {
                let message = format!("label id {} is outside the {n} classes", m.data[i]);
                Err(Error::new(Code::BadLabelId, message)
                    .note(format!("pixel ({}, {})", i % w, i / w))
                    .help("map raw ids to training ids first; 255 means ignore"))
            }
        }
    }
}

impl Task for SegmentationTask {
    fn kind(&self) -> TaskKind {
        TaskKind::Segmentation
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn targets(&self, annotations: &[Annotation]) -> Result<Targets> {
        let mut size = None;
        let mut ids: Vec<i32> = vec![];
        for (i, a) in annotations.iter().enumerate() {
            let m = self
                .ids(a, size)
                .map_err(|e| e.at(format!("image {i} of the batch")))?;
            size = Some((m.height, m.width));
            ids.extend(m.data.iter().map(|&v| v as i32));
        }
        let (h, w) = size.unwrap_or_default();
        let counted = match self.config.denominator {
            SegDenominator::AllPixels => ids.len() as f64,
            SegDenominator::ValidPixels => {
                let valid = ids.iter().filter(|&&v| v != IGNORE as i32);
                match &self.config.class_weights {
                    Some(w) => valid.map(|&v| w[v as usize]).sum(),
                    None => valid.count() as f64,
                }
            }
        };
        Ok(Targets {
            tensors: vec![("labels", Tensor::from_i32([annotations.len(), h, w], ids)?)],
            denominator: if counted > 0.0 { counted } else { 1.0 },
        })
    }

    fn inputs(&self, path: Path, annotations: &[Annotation]) -> Result<Targets> {
        let mut targets = self.targets(annotations)?;
        if let (Path::Device(_), SegDenominator::ValidPixels) = (path, self.config.denominator) {
            targets.denominator = 1.0;
        }
        Ok(targets)
    }

    fn check(&self, annotation: &Annotation) -> Result<()> {
        self.ids(annotation, None).map(drop)
    }

    fn inputs_beside_maps(&self, pixels: usize) -> Option<Targets> {
        let denominator = match self.config.denominator {
            SegDenominator::AllPixels => pixels.max(1) as f64,
            // Counted by the loss.
            SegDenominator::ValidPixels => 1.0,
        };
        Some(Targets {
            tensors: vec![],
            denominator,
        })
    }

    fn loss(&self, outputs: &[Var], targets: &Targets) -> Result<Loss> {
        let ids = targets.get("labels");
        let [n, h, w] = *ids.dims() else {
            unreachable!("made by `targets`")
        };
        match outputs {
            [logits] if *logits.dims() == [n, self.classes.len(), h, w] => {
                // A device counts the valid pixels itself, so that the step is the same for every batch.
                let counts = matches!(logits.tape().cx().path, Path::Device(_));
                let denominator = match self.config.denominator {
                    SegDenominator::ValidPixels if counts => Denominator::Valid,
                    _ => Denominator::Fixed(targets.denominator),
                };
                let op = CrossEntropy {
                    ignore: Some(IGNORE as i32),
                    denominator,
                    weights: self.config.class_weights.clone(),
                    ..Default::default()
                };
                let total = cross_entropy(logits, &logits.tape().leaf(ids.clone()), op)?;
                Ok(Loss {
                    total,
                    parts: vec![],
                    audit: vec![],
                })
            }
            _ => {
                let wanted = format!("({n}, {}, {h}, {w})", self.classes.len());
                Err(wrong_outputs(
                    "segmentation",
                    &wanted,
                    outputs.iter().map(Var::dims),
                ))
            }
        }
    }

    fn predict(&self, outputs: &[Tensor], sizes: &[(usize, usize)]) -> Result<Vec<Prediction>> {
        let classes = self.classes.len();
        let bad = || {
            let wanted = format!("({}, {classes}, H, W)", sizes.len());
            wrong_outputs("segmentation", &wanted, outputs.iter().map(Tensor::dims))
        };
        let [logits] = outputs else { return Err(bad()) };
        let [n, c, h, w] = *logits.dims() else {
            return Err(bad());
        };
        if n != sizes.len() || c != classes || h * w == 0 {
            return Err(bad());
        }
        let values = logits.to_f32();
        let one = |(i, &(oh, ow)): (usize, &(usize, usize))| {
            let map = argmax(&values[i * c * h * w..][..c * h * w], c, (h, w))
                .map_err(|e| e.note(format!("image {i} of the batch")))?;
            let labels = resize_nearest(&map, oh, ow);
            Ok(match self.config.compare {
                ComparedLabels::Labels => Prediction::Labels(labels),
                ComparedLabels::CrossEntropy => {
                    let scores = ClassScores {
                        size: (h, w),
                        data: values[i * c * h * w..][..c * h * w].to_vec(),
                    };
                    Prediction::ScoredLabels(labels, scores)
                }
            })
        };
        sizes.iter().enumerate().map(one).collect()
    }

    fn meter(&self) -> Box<dyn Meter> {
        let counts = Confusion::new(self.classes.len()).expect("checked when the task was made");
        Box::new(SegmentationMeter {
            task: self.clone(),
            counts,
            entropy: (self.config.compare == ComparedLabels::CrossEntropy).then(|| {
                let weights = self.config.class_weights.clone();
                PixelCrossEntropy::new(weights.unwrap_or(vec![1.0; self.classes.len()]))
            }),
            images: 0,
        })
    }
}

/// The best class of each pixel, the lowest of equals; `logits` is (classes, height, width).
///
/// # Errors
/// [`Code::Argument`] for a value that is not finite, with its pixel.
pub fn argmax(logits: &[f32], classes: usize, (height, width): (usize, usize)) -> Result<LabelMap> {
    let n = height * width;
    assert!(logits.len() == classes * n && classes <= IGNORE as usize);
    if let Some(i) = logits.iter().position(|v| !v.is_finite()) {
        let (class, p) = (i / n, i % n);
        return Err(Error::new(
            Code::Argument,
            format!("the score of class {class} is {}", logits[i]),
        )
        .at(format!("pixel ({}, {})", p % width, p / width))
        .help("the network's weights or input are not finite"));
    }
    let mut best = logits[..n].to_vec();
    let mut data = vec![0u8; n];
    for c in 1..classes {
        for ((b, d), &v) in best
            .iter_mut()
            .zip(&mut data)
            .zip(&logits[c * n..(c + 1) * n])
        {
            if v > *b {
                (*b, *d) = (v, c as u8);
            }
        }
    }
    Ok(LabelMap {
        height,
        width,
        data,
    })
}

/// Nearest-neighbour resize as the MTNAS evaluator does it: output pixel i reads input pixel floor(i * in / out).
pub fn resize_nearest(map: &LabelMap, height: usize, width: usize) -> LabelMap {
    if (map.height, map.width) == (height, width) {
        return map.clone();
    }
    let mut data = Vec::with_capacity(height * width);
    for y in 0..height {
        let row = &map.data[y * map.height / height * map.width..][..map.width];
        data.extend((0..width).map(|x| row[x * map.width / width]));
    }
    LabelMap {
        height,
        width,
        data,
    }
}

struct SegmentationMeter {
    task: SegmentationTask,
    counts: Confusion,
    /// Where the configuration compares it.
    entropy: Option<PixelCrossEntropy>,
    images: usize,
}

impl Meter for SegmentationMeter {
    fn add(&mut self, prediction: Prediction, truth: &Annotation) -> Result<()> {
        let Annotation::Labels(t) = truth else {
            return Err(wrong_kind("a label map", annotation_kind(truth)));
        };
        match (prediction, &mut self.entropy) {
            (Prediction::Labels(p) | Prediction::ScoredLabels(p, _), None) => {
                self.counts.add(&p, t)?
            }
            (Prediction::ScoredLabels(p, scores), Some(entropy)) => {
                self.counts.add(&p, t)?;
                entropy.add(&scores.data, scores.size, t)?;
            }
            (Prediction::Labels(_), Some(_)) => {
                return Err(wrong_kind("a label map with scores", "one without"));
            }
            (other, _) => return Err(wrong_kind("a label map", prediction_kind(&other))),
        }
        self.images += 1;
        Ok(())
    }

    fn end_batch(&mut self) -> Result<()> {
        self.entropy
            .iter_mut()
            .for_each(PixelCrossEntropy::end_batch);
        Ok(())
    }

    fn report(&self) -> Result<Report> {
        Ok(Report::Segmentation {
            rule: self.task.config.miou,
            images: self.images,
            counts: self.counts.clone(),
            weights: match &self.entropy {
                Some(_) => self.task.config.class_weights.clone().unwrap_or_default(),
                None => vec![],
            },
            more: match &self.entropy {
                Some(e) => e.figures(self.task.config.average),
                None => vec![],
            },
        })
    }
}

#[cfg(test)]
#[path = "segmentation_tests.rs"]
mod tests;
