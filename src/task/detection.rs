//! Detection with an SSD head (systems.md 3.6, 4.3).

use super::config::{DetectionConfig, TaskKind};
use super::decode::{DecodeConfig, decode};
use super::matching::{MatchConfig, Matcher};
use super::mining::hard_negatives;
use super::priors::{PriorLayout, Priors};
use super::{
    Loss, Meter, Picture, Prediction, Report, Targets, Task, annotation_kind, prediction_kind,
    unlabelled, wrong_kind, wrong_outputs,
};
use crate::annotation::{Annotation, BBox, Detection, KittiTruth, Object};
use crate::backend::host::{Float, by_float};
use crate::backend::threads::map;
use crate::dual::Scalar;
use crate::error::{Code, Error, Result};
use crate::metrics::{Protocol, evaluate, kitti};
use crate::ops::{Multibox, MultiboxTargets, multibox};
use crate::tape::{Path, Var};
use crate::tensor::{DType, Tensor};

/// The task; the head gives `loc` `(N, P, 4 or more)` and `conf` `(N, P, 1 + classes)` for P priors.
#[derive(Debug, Clone)]
pub struct DetectionTask {
    classes: Vec<String>,
    matcher: Matcher,
    ratio: f64,
    decode: DecodeConfig,
    protocols: Vec<Protocol>,
}

impl From<&DetectionConfig> for MatchConfig {
    fn from(c: &DetectionConfig) -> MatchConfig {
        MatchConfig {
            positive: c.match_iou,
            variances: c.priors.variances,
            ..MatchConfig::default()
        }
    }
}

impl From<&DetectionConfig> for DecodeConfig {
    fn from(c: &DetectionConfig) -> DecodeConfig {
        DecodeConfig {
            score: c.score_threshold as f32,
            per_class: c.top_k,
            iou: c.nms_iou as f32,
            per_image: (c.max_boxes > 0).then_some(c.max_boxes),
            variances: c.priors.variances,
            ..DecodeConfig::default()
        }
    }
}

impl DetectionTask {
    /// A task over `classes` whose head has the levels of `layout`.
    ///
    /// # Errors
    /// [`Code::ConfigValue`] without a class, for lists of priors that do not fit the levels, for a ratio or variance
    /// that is not positive.
    pub fn new(
        classes: Vec<String>,
        layout: PriorLayout,
        config: &DetectionConfig,
    ) -> Result<DetectionTask> {
        let bad = |message: String| Err(Error::new(Code::ConfigValue, message));
        if classes.is_empty() {
            return bad("a detection task without classes".into());
        }
        let positive = |v: f64| v.is_finite() && v > 0.0;
        if !config.priors.variances.into_iter().all(positive) || !positive(config.negative_ratio) {
            let (v, r) = (config.priors.variances, config.negative_ratio);
            return bad(format!(
                "`priors.variances` {v:?} and `negative_ratio` {r} must be positive"
            ));
        }
        let priors = layout.with(&config.priors)?.priors()?;
        Ok(DetectionTask {
            classes,
            matcher: Matcher::new(priors, config.into()),
            ratio: config.negative_ratio,
            decode: config.into(),
            protocols: config.protocols.clone(),
        })
    }

    /// The priors, in the order of the head's outputs.
    pub fn priors(&self) -> &Priors {
        self.matcher.priors()
    }

    /// Which priors count for the classifier, `(N, P)` i32: positives, and the hardest negatives of each image by the
    /// cross entropy of `conf`.
    fn mine(&self, conf: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let conf = float(conf);
        let (priors, classes) = (conf.dims()[1], conf.dims()[2]);
        let labels_of = |n: usize| &labels.i32s()[n * priors..][..priors];
        let chosen = by_float!(conf.dtype(), T => {
            let values = conf.data::<T>();
            map(labels.dims()[0], 8 * values.len(), |n| {
                let rows = values[n * priors * classes..][..priors * classes].chunks_exact(classes);
                let loss: Vec<T> = rows.map(background_loss).collect();
                hard_negatives(labels_of(n), &loss, self.ratio)
            })
        });
        let marks = chosen.into_iter().flatten().map(i32::from).collect();
        Tensor::from_i32(*labels.shape(), marks)
    }

    fn check(&self, dims: &[&[usize]], images: usize) -> Result<()> {
        let (p, k) = (self.priors().len(), self.classes.len() + 1);
        match dims {
            [[n, q, v], conf] if *n == images && *q == p && *v >= 4 && **conf == [images, p, k] => {
                Ok(())
            }
            _ => {
                let wanted = format!("({images}, {p}, 4 or more), ({images}, {p}, {k})");
                Err(wrong_outputs("detection", &wanted, dims.iter().copied()))
            }
        }
    }
}

/// Cross entropy of the background class, maximum subtracted.
fn background_loss<T: Float>(row: &[T]) -> T {
    let top = row
        .iter()
        .fold(T::NEG_INF, |m, &v| if v > m { v } else { m });
    let sum: T = row.iter().map(|&v| (v - top).exp()).sum();
    top + sum.ln() - row[0]
}

/// Smooth L1 over the positives, divided, for the record.
fn location_part(loc: &Tensor, targets: &Targets) -> f64 {
    let loc = float(loc);
    let (values, offsets) = (loc.dims()[2], targets.get("offset").to_f64());
    let mut sum = 0.0;
    by_float!(loc.dtype(), T => {
        let loc = loc.data::<T>();
        for (i, _) in targets.get("label").i32s().iter().enumerate().filter(|(_, t)| **t > 0) {
            for k in 0..4 {
                let d = (loc[i * values + k].v() - offsets[4 * i + k]).abs();
                sum += if d < 1.0 { 0.5 * d * d } else { d - 0.5 };
            }
        }
    });
    sum / denominator(targets)
}

/// What the loss is divided by.
fn denominator(targets: &Targets) -> f64 {
    let counted = targets.find("positives").map(|n| n.item().max(1.0));
    counted.unwrap_or(targets.denominator)
}

/// The tensor in a dtype that computes.
fn float(t: &Tensor) -> Tensor {
    if t.dtype() == DType::Bf16 {
        t.cast(DType::F32)
    } else {
        t.clone()
    }
}

impl Task for DetectionTask {
    fn kind(&self) -> TaskKind {
        TaskKind::Detection
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn targets(&self, annotations: &[Annotation]) -> Result<Targets> {
        let (n, p) = (annotations.len(), self.priors().len());
        let (mut labels, mut offsets) = (Vec::with_capacity(n * p), Vec::with_capacity(4 * n * p));
        let mut positives = 0;
        for (i, a) in annotations.iter().enumerate() {
            let matched = match a {
                Annotation::Objects(o) => {
                    self.matcher
                        .targets(o, self.priors().input(), self.classes.len())
                }
                other => Err(wrong_kind("boxes", annotation_kind(other))),
            };
            let m = matched.map_err(|e| e.note(format!("image {i} of the batch")))?;
            positives += m.positives();
            labels.extend(m.labels);
            offsets.extend(m.offsets);
        }
        Ok(Targets {
            tensors: vec![
                ("label", Tensor::from_i32([n, p], labels)?),
                ("offset", Tensor::from_f64([n, p, 4], offsets)?),
            ],
            denominator: positives.max(1) as f64,
        })
    }

    fn inputs(&self, path: Path, annotations: &[Annotation]) -> Result<Targets> {
        match path {
            Path::Device(_) => self.objects_of(annotations),
            _ => self.targets(annotations),
        }
    }

    fn labelled(&self, images: &[&[bool]]) -> Result<Option<(&'static str, Tensor)>> {
        let tensor = unlabelled::tensor(images, self.classes.len())?;
        Ok(Some((unlabelled::LABELLED, tensor)))
    }

    fn targets_of(&self, path: Path, inputs: Targets) -> Result<Targets> {
        match path {
            Path::Device(e) if inputs.find("boxes").is_some() => self.match_on(e, &inputs),
            _ => Ok(inputs),
        }
    }

    fn loss(&self, outputs: &[Var], targets: &Targets) -> Result<Loss> {
        let dims: Vec<&[usize]> = outputs.iter().map(Var::dims).collect();
        let labels = targets.get("label");
        self.check(&dims, labels.dims()[0])?;
        let seen = unlabelled::scores(&outputs[1], targets)?;
        let (loc, conf) = (&outputs[0], seen.as_ref().unwrap_or(&outputs[1]));
        if let Path::Device(e) = loc.tape().cx().path
            && let Some(loss) = self.loss_on(e, loc, conf, targets)?
        {
            return Ok(loss);
        }
        let used = self.mine(conf.value(), labels)?;
        let (tape, dtype) = (loc.tape(), float(loc.value()).dtype());
        let operands = MultiboxTargets {
            labels: tape.leaf(labels.clone()),
            offsets: tape.leaf(targets.get("offset").cast(dtype)),
            used: tape.leaf(used.clone()),
            positives: None,
        };
        let op = Multibox {
            denominator: denominator(targets),
        };
        let total = multibox(loc, conf, &operands, op)?;
        let location = location_part(loc.value(), targets);
        let part = |v| Tensor::scalar(DType::F64, v);
        Ok(Loss {
            parts: vec![
                ("loc", part(location)),
                ("conf", part(total.value().item() - location)),
            ],
            total,
            audit: vec![("used", used)],
        })
    }

    fn predict(&self, outputs: &[Tensor], sizes: &[(usize, usize)]) -> Result<Vec<Prediction>> {
        let dims: Vec<&[usize]> = outputs.iter().map(Tensor::dims).collect();
        self.check(&dims, sizes.len())?;
        if let Some(found) = self.predict_on(outputs, sizes)? {
            return Ok(found);
        }
        let (loc, conf) = (outputs[0].to_f32(), outputs[1].to_f32());
        let (l, c) = (
            loc.len() / sizes.len().max(1),
            conf.len() / sizes.len().max(1),
        );
        let one = |i: usize| {
            let (loc, conf) = (&loc[i * l..][..l], &conf[i * c..][..c]);
            decode(
                self.priors(),
                loc,
                conf,
                self.classes.len(),
                sizes[i],
                &self.decode,
            )
            .map(Prediction::Objects)
            .map_err(|e| e.note(format!("image {i} of the batch")))
        };
        map(sizes.len(), 8 * conf.len(), one).into_iter().collect()
    }

    fn meter(&self) -> Box<dyn Meter> {
        Box::new(DetectionMeter {
            classes: self.classes.clone(),
            protocols: self.protocols.clone(),
            detections: vec![],
            objects: vec![],
            kitti: vec![],
        })
    }
}

struct DetectionMeter {
    classes: Vec<String>,
    protocols: Vec<Protocol>,
    detections: Vec<Vec<Detection>>,
    objects: Vec<Vec<Object>>,
    /// Both in pixels of the pictures themselves; filled where a protocol asks for it.
    kitti: Vec<(Vec<Detection>, Vec<KittiTruth>)>,
}

/// Detections and objects in pixels of the picture.
fn at_own_size(
    detections: &[Detection],
    objects: &[Object],
    picture: &Picture,
) -> (Vec<Detection>, Vec<KittiTruth>) {
    let [down, across] = picture.scale;
    let scaled = |b: &BBox| BBox {
        x1: (f64::from(b.x1) * across) as f32,
        y1: (f64::from(b.y1) * down) as f32,
        x2: (f64::from(b.x2) * across) as f32,
        y2: (f64::from(b.y2) * down) as f32,
    };
    let detection = |d: &Detection| Detection {
        bbox: scaled(&d.bbox),
        ..*d
    };
    let object = |o: &Object| Object {
        bbox: scaled(&o.bbox),
        ..*o
    };
    let truth = picture.kitti.clone().unwrap_or_else(|| {
        let objects: Vec<Object> = objects.iter().map(object).collect();
        kitti::visible(&objects)
    });
    (detections.iter().map(detection).collect(), truth)
}

impl Meter for DetectionMeter {
    fn add(&mut self, prediction: Prediction, truth: &Annotation) -> Result<()> {
        let same = Picture {
            scale: [1.0; 2],
            kitti: None,
        };
        self.add_seen(prediction, truth, &same)
    }

    fn add_seen(
        &mut self,
        prediction: Prediction,
        truth: &Annotation,
        picture: &Picture,
    ) -> Result<()> {
        match (prediction, truth) {
            (Prediction::Objects(d), Annotation::Objects(o)) => {
                if self.protocols.iter().any(|p| p.is_kitti()) {
                    self.kitti.push(at_own_size(&d, o, picture));
                }
                self.detections.push(d);
                self.objects.push(o.clone());
                Ok(())
            }
            (Prediction::Objects(_), other) => Err(wrong_kind("boxes", annotation_kind(other))),
            (other, _) => Err(wrong_kind("boxes", prediction_kind(&other))),
        }
    }

    fn report(&self) -> Result<Report> {
        let one = |&p: &Protocol| {
            if p.is_kitti() {
                let (d, t): (Vec<_>, Vec<_>) =
                    self.kitti.iter().map(|(d, t)| (&d[..], &t[..])).unzip();
                return kitti::evaluate(p, &d, &t, &self.classes);
            }
            evaluate(p, &self.detections, &self.objects, &self.classes)
        };
        Ok(Report::Detection(
            self.protocols.iter().map(one).collect::<Result<_>>()?,
        ))
    }
}

#[path = "detection_device.rs"]
mod device;

#[cfg(test)]
#[path = "detection_tests.rs"]
mod tests;
