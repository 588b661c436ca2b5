//! The detection task where the pass runs on a device: targets, mining and decoding by kernels, nothing comes down but the loss.

use super::DetectionTask;
use crate::annotation::{Annotation, Object};
use crate::error::Result;
use crate::ops::{Multibox, MultiboxTargets, multibox_saving};
use crate::tape::Var;
use crate::task::decode::decode_on;
use crate::task::mining::mine_on;
use crate::task::unlabelled::LABELLED;
use crate::task::{Loss, Prediction, Targets, annotation_kind, wrong_kind};
use crate::tensor::{DType, Engine, Tensor};

/// The objects of image `i`.
fn objects((i, a): (usize, &Annotation)) -> Result<&[Object]> {
    match a {
        Annotation::Objects(o) => Ok(o),
        other => {
            Err(wrong_kind("boxes", annotation_kind(other)).note(format!("image {i} of the batch")))
        }
    }
}

impl DetectionTask {
    /// What goes up of a batch, to be matched there.
    pub(super) fn objects_of(&self, annotations: &[Annotation]) -> Result<Targets> {
        let batch: Result<Vec<&[Object]>> = annotations.iter().enumerate().map(objects).collect();
        let size = self.priors().input();
        let [boxes, kinds] = (self.matcher).objects(&batch?, size, self.classes.len())?;
        Ok(Targets {
            tensors: vec![("boxes", boxes), ("kinds", kinds)],
            denominator: 1.0,
        })
    }

    /// Targets that stay on the device.
    pub(super) fn match_on(&self, e: Engine, objects: &Targets) -> Result<Targets> {
        let (boxes, kinds) = (objects.get("boxes"), objects.get("kinds"));
        let m = self.matcher.match_on(e, boxes, kinds)?;
        let mut tensors = vec![
            ("label", m.labels),
            ("offset", m.offsets),
            ("positives", m.positives),
        ];
        let labelled = objects.find(LABELLED).cloned();
        tensors.extend(labelled.map(|t| (LABELLED, t)));
        Ok(Targets {
            tensors,
            denominator: 1.0,
        })
    }

    /// The loss by kernels; `None` for types that have none.
    pub(super) fn loss_on(
        &self,
        e: Engine,
        loc: &Var,
        conf: &Var,
        targets: &Targets,
    ) -> Result<Option<Loss>> {
        let (labels, offsets) = (targets.get("label"), targets.get("offset"));
        if loc.dtype() != conf.dtype() {
            return Ok(None);
        }
        let Some(used) = mine_on(e, conf.value(), labels, self.ratio)? else {
            return Ok(None);
        };
        let tape = loc.tape();
        let operands = MultiboxTargets {
            labels: tape.leaf(labels.clone()),
            offsets: tape.leaf(offsets.cast(DType::F32)),
            used: tape.leaf(used.clone()),
            positives: targets.find("positives").map(|n| tape.leaf(n.clone())),
        };
        let op = Multibox {
            denominator: targets.denominator,
        };
        let (total, saved) = multibox_saving(loc, conf, &operands, op)?;
        let term = |i: usize| saved.get()[i].clone();
        Ok(Some(Loss {
            total,
            parts: vec![("loc", term(1)), ("conf", term(2))],
            audit: vec![("used", used)],
        }))
    }

    /// Predictions of outputs that lie on a device only; `None` for others and where there are no kernels.
    pub(super) fn predict_on(
        &self,
        outputs: &[Tensor],
        sizes: &[(usize, usize)],
    ) -> Result<Option<Vec<Prediction>>> {
        let (loc, conf) = (&outputs[0], &outputs[1]);
        let Some(e) = loc.engine().filter(|_| loc.only_on_device()) else {
            return Ok(None);
        };
        let found = decode_on(e, self.priors(), loc, conf, sizes, &self.decode)?;
        Ok(found.map(|all| all.into_iter().map(Prediction::Objects).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::BBox;
    use crate::rng::Rng;
    use crate::tape::{Cx, Path, Tape};
    use crate::task::Task;
    use crate::task::config::DetectionConfig;
    use crate::task::priors::PriorLayout;

    #[test]
    fn a_step_on_the_device_is_that_of_the_host_and_fetches_nothing() {
        let e = Engine::emulated(2);
        let layout = PriorLayout::peer(64, 64, 2).unwrap();
        let names = vec!["a".into(), "b".into()];
        let task = DetectionTask::new(names, layout, &DetectionConfig::default()).unwrap();
        let object = |class, x1, side: f32| Object {
            class,
            bbox: BBox {
                x1,
                y1: 8.0,
                x2: x1 + side,
                y2: 8.0 + side,
            },
            ignore: class == 2,
        };
        let images = [
            vec![
                object(0, 4.0, 9.0),
                object(1, 30.0, 14.0),
                object(2, 20.0, 30.0),
            ],
            vec![],
            vec![object(1, 10.0, 12.0)],
        ]
        .map(Annotation::Objects);
        let (p, mut r) = (task.priors().len(), Rng::new(1, &[]));
        let mut random = |width: usize| {
            let v = (0..3 * p * width).map(|_| r.normal() as f32).collect();
            Tensor::from_f32([3, p, width], v).unwrap()
        };
        let (loc, conf) = (random(4), random(3));
        for dtype in [DType::F32, DType::Bf16] {
            let (loc, conf) = (loc.cast(dtype), conf.cast(dtype));
            let run = |path: Path| {
                let tape = Tape::new(Cx {
                    path,
                    ..Cx::default()
                });
                let out = [tape.param(loc.clone()), tape.param(conf.clone())];
                let targets = task.targets_on(path, &images).unwrap();
                let before = e.counts().downloaded;
                let l = task.loss(&out, &targets).unwrap();
                let mut g = tape.backward(&l.total).unwrap();
                if path != Path::Fast {
                    assert_eq!(e.counts().downloaded, before);
                }
                let mut all: Vec<f64> = l.parts.iter().map(|(_, t)| t.item()).collect();
                all.push(l.total.value().item());
                let used = l.audit[0].1.i32s().to_vec();
                (all, used, out.map(|v| g.take(&v).unwrap().to_f64()))
            };
            let (host, device) = (run(Path::Fast), run(Path::Device(e)));
            assert_eq!(host.1, device.1);
            for (a, b) in host.0.iter().zip(&device.0) {
                assert!((a - b).abs() < 1e-5 * a.abs(), "{a} {b}");
            }
            for (a, b) in host.2.iter().flatten().zip(device.2.iter().flatten()) {
                assert!((a - b).abs() <= 1e-2 * a.abs().max(1e-7), "{a} {b}");
            }
        }
        assert!(e.fallbacks().is_empty(), "{:?}", e.fallbacks());
    }
}
