//! Held-out evaluation: predictions of a network beside the truth, as records of the report.

use std::collections::BTreeMap;

use super::config::Config;
use super::workbench::{Workbench, activation_dtype};
use crate::error::Result;
use crate::model::{Cost, Mixing, Network};
use crate::nn::{Mode, Pass, Store};
use crate::report::records::{
    ClassificationEval, Cost as CostRecord, DetectionEval, EvalRecord, PartCost, SegmentationEval,
    Which,
};
use crate::tape::Cx;
use crate::task::Report;
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
        let dims = batch.images.dims();
        let sizes = vec![(dims[2], dims[3]); dims[0]];
        for (prediction, truth) in bench
            .task
            .predict(&values, &sizes)?
            .into_iter()
            .zip(&batch.annotations)
        {
            meter.add(prediction, truth)?;
        }
    }
    meter.report()
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
        cost: Some(cost_record(
            net.cost(),
            [net.spec().height, net.spec().width],
        )),
    };
    for bench in benches {
        let report = evaluate(e, bench, net, store, mixing)?;
        match report {
            Report::Detection(reports) => {
                out.detection = match reports.first() {
                    Some(first) => Some(DetectionEval::new(first.protocol, &reports)?),
                    None => None,
                };
            }
            Report::Segmentation {
                rule,
                images,
                counts,
            } => {
                let size = Some([net.spec().height, net.spec().width]);
                let classes = bench.task.classes();
                out.segmentation =
                    Some(SegmentationEval::new(rule, &counts, classes, images, size)?);
            }
            Report::Classification(counts) => {
                out.classification = ClassificationEval::new(&counts);
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
