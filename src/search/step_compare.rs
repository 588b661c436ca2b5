//! Steps on a device against the same steps on the processor, each from the processor's state: how far kernels and rounding take
//! a loss away in one step, not how two runs drift apart.

use serde::Serialize;

use super::bilevel::{Learner, Order};
use super::step_recorder::{Batch, plain_loss};
use crate::error::Result;
use crate::model::Network;
use crate::nn::{Mode, Pass};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::tape::Cx;
use crate::task::Task;
use crate::tensor::DType;

/// One step on both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Number of the step.
    pub step: usize,
    /// Architecture and weight loss on the processor.
    pub processor: [f64; 2],
    /// The same on the device.
    pub device: [f64; 2],
    /// Larger relative difference of the two.
    pub difference: f64,
}

/// What takes the steps.
pub(super) struct Comparison<'a> {
    pub net: &'a Network,
    pub task: &'a dyn Task,
    pub dtype: DType,
    pub halves: &'a [Batch; 2],
    pub weights: &'a SgdConfig,
    pub alpha: &'a AdamConfig,
}

impl Comparison<'_> {
    fn step(&self, l: &mut Learner, cx: Cx, key: [u64; 3]) -> Result<[f64; 2]> {
        let of = |i: usize| {
            let h = &self.halves[i];
            move |p: &Pass| plain_loss(self.net, self.task, self.dtype, h, p)
        };
        let (arch, weight) = (of(0), of(1));
        let a = l.arch_step(cx, key, &arch, Order::First, self.alpha, self.alpha.lr)?;
        let mode = Mode::WEIGHT_STEP;
        let w = l.weight_step(cx, mode, key, &weight, self.weights, self.weights.lr)?;
        Ok([a.loss, w.loss])
    }

    /// Takes `steps` steps on the processor, and each of them on `device` from the state before it.
    ///
    /// # Errors
    /// Those of the steps.
    pub fn run(
        &self,
        mut learner: Learner,
        device: Cx,
        seed: u64,
        steps: usize,
    ) -> Result<Vec<Compared>> {
        let mut all = vec![];
        for step in 0..steps {
            let key = [seed, 0, step as u64];
            let got = self.step(&mut learner.clone(), device, key)?;
            let want = self.step(&mut learner, Cx::default(), key)?;
            let off = |i: usize| (got[i] - want[i]).abs() / want[i].abs().max(1e-30);
            all.push(Compared {
                step,
                processor: want,
                device: got,
                difference: off(0).max(off(1)),
            });
        }
        Ok(all)
    }
}
