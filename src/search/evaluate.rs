//! Held-out evaluation: predictions of a network beside the truth, as records of the report.

use std::collections::BTreeMap;

use super::config::Config;
use super::workbench::{Workbench, activation_dtype};
use crate::data::batch::Batch;
use crate::data::dataset::Dataset;
use crate::error::Result;
use crate::model::{Cost, Mixing, Network};
use crate::nn::{Mode, Pass, Store};
use crate::report::records::{
    ClassificationEval, Cost as CostRecord, DetectionEval, EvalRecord, PartCost, SegmentationEval,
    ValuesEval, Which,
};
use crate::tape::Cx;
use crate::task::{Meter, Picture, Report};
use crate::tensor::{DType, Tensor};

/// How evaluations run.
pub struct Evaluator {
    /// Images at a time.
    pub batch: usize,
    /// Images at most; 0 for all.
    pub limit: usize,
    /// How operations run.
    pub cx: Cx,
    /// dtype of activations.
    pub dtype: DType,
    /// Compare at the size of each picture file, not at that of the network's input.
    pub own_size: bool,
}

impl Evaluator {
    /// As the configuration says.
    ///
    /// # Errors
    /// `Device` when its device is not there.
    pub fn new(c: &Config) -> Result<Evaluator> {
        Ok(Evaluator {
            batch: c.eval.batch,
            limit: c.eval.limit,
            cx: c.run.cx()?,
            dtype: activation_dtype(c.run.precision),
            own_size: false,
        })
    }
}

/// All figures of one task on its held-out split.
///
/// # Errors
/// Those of the data, the ops and the metrics.
pub fn evaluate(
    e: &Evaluator,
    bench: &Workbench,
    net: &Network,
    store: &Store,
    mixing: Mixing,
) -> Result<Report> {
    let mut meter = bench.task.meter();
    for batch in bench.held_out(e.batch, e.limit)? {
        let batch = batch?;
        let p = Pass::new(store, e.cx, Mode::EVAL);
        let outputs = bench.outputs(net, &p, &batch.images, e.dtype, mixing)?;
        let values: Vec<Tensor> = outputs.iter().map(|v| v.value().clone()).collect();
        let set = bench.source.val.dataset.as_ref();
        add(meter.as_mut(), bench, set, &batch, &values, e.own_size)?;
    }
    meter.report()
}

/// Adds the predictions that `values` are for a batch of `set`, which was read in order and not augmented: at the size of the network's
/// input, or (`own_size`) at that of each picture file.
///
/// # Errors
/// Those of the data, the task and the metrics.
pub fn add(
    meter: &mut dyn Meter,
    bench: &Workbench,
    set: &dyn Dataset,
    batch: &Batch,
    values: &[Tensor],
    own_size: bool,
) -> Result<()> {
    let dims = batch.images.dims();
    let shown = (dims[2], dims[3]);
    let sizes: Vec<(usize, usize)> = match own_size {
        true => batch.sizes.clone(),
        false => vec![shown; dims[0]],
    };
    let predictions = bench.task.predict(values, &sizes)?;
    for (slot, prediction) in predictions.into_iter().enumerate() {
        let (own, at) = (batch.sizes[slot], sizes[slot]);
        let index = batch.indices[slot];
        let picture = Picture {
            scale: [own.0 as f64 / at.0 as f64, own.1 as f64 / at.1 as f64],
            kitti: set.kitti_truth(index)?,
        };
        if own_size {
            meter.add_seen(prediction, &set.annotation(index)?, &picture)?;
        } else {
            meter.add_seen(prediction, &batch.annotations[slot], &picture)?;
        }
    }
    meter.end_batch()
}

/// The record of all tasks of one network.
///
/// # Errors
/// As [`evaluate`].
pub fn record(
    e: &Evaluator,
    which: Which,
    benches: &[&Workbench],
    net: &Network,
    store: &Store,
    genotypes: BTreeMap<String, String>,
    mixing: Mixing,
) -> Result<EvalRecord> {
    let mut out = EvalRecord {
        which,
        genotypes,
        detection: None,
        segmentation: None,
        classification: None,
        values: BTreeMap::new(),
        delta: None,
        cost: Some(cost_record(
            net.cost(),
            [net.spec().height, net.spec().width],
        )),
    };
    let size = (!e.own_size).then(|| [net.spec().height, net.spec().width]);
    for bench in benches {
        let report = evaluate(e, bench, net, store, mixing)?;
        match report {
            Report::Detection(reports) => {
                out.detection = match reports.first() {
                    Some(first) => Some(DetectionEval {
                        size,
                        ..DetectionEval::new(first.protocol, &reports)?
                    }),
                    None => None,
                };
            }
            Report::Segmentation {
                rule,
                images,
                counts,
                weights,
                more,
            } => {
                let classes = bench.task.classes();
                out.segmentation = Some(SegmentationEval {
                    weights,
                    more,
                    ..SegmentationEval::new(rule, &counts, classes, images, size)?
                });
            }
            Report::Classification(counts) => {
                out.classification = ClassificationEval::new(&counts);
            }
            Report::Values {
                task,
                images,
                figures,
            } => {
                let eval = ValuesEval {
                    images,
                    size,
                    figures,
                };
                out.values.insert(task.key().into(), eval);
            }
        }
    }
    Ok(out)
}

/// Cost as the report shows it.
pub fn cost_record(cost: &Cost, input: [usize; 2]) -> CostRecord {
    let conv_macs = cost.conv_macs();
    let part = |(name, c): (String, crate::model::Count)| PartCost {
        part: name,
        params: c.params,
        conv_macs: c.macs,
    };
    CostRecord {
        input,
        params: cost.without_auxiliary().params,
        conv_macs,
        gflops: 2.0 * conv_macs as f64 / 1e9,
        parts: cost.parts().into_iter().map(part).collect(),
    }
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
