//! Takes the steps that are timed, on the processor and on a device.

use std::cell::RefCell;
use std::time::Instant;

use super::bilevel::Learner;
use super::graphs::{Graphs, Step};
use super::op_profile::Profile;
use super::phase::{Begun, Phase, Update};
use super::step_timing::{OnDevice, Times, cpu_ms};
use super::step_workload::{Bench, Workload, benches, loss};
use crate::backend::driver::Stream;
use crate::error::Result;
use crate::model::network::Network;
use crate::model::{Cells, NetworkSpec};
use crate::nn::{Mode, Pass};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::tape::Cx;
use crate::tensor::{DType, Engine, Tensor};

/// Takes the phases of steps.
pub(super) struct Stepper<'a> {
    w: &'a Workload,
    net: Network,
    benches: Vec<Bench>,
    learner: Learner,
    graphs: Graphs,
    sgd: SgdConfig,
    adam: AdamConfig,
}

impl<'a> Stepper<'a> {
    /// The workload's network and inputs, nothing taken yet.
    ///
    /// # Errors
    /// Those of the network.
    pub fn new(w: &'a Workload) -> Result<Stepper<'a>> {
        let f = &w.frame;
        let mut spec = NetworkSpec::new(f, w.size[0], w.size[1], Cells::search("backbone", f));
        (spec.det, spec.seg) = (Cells::search("det", f), Cells::search("seg", f));
        let benches = benches(w, &mut spec)?;
        let (net, store) = Network::build(&spec, w.seed, DType::F32)?;
        Ok(Stepper {
            w,
            net,
            benches,
            learner: Learner::new(store),
            graphs: Graphs::new(!w.graphs),
            sgd: SgdConfig {
                lr: 0.025,
                weight_decay: 3e-4,
                ..SgdConfig::default()
            },
            adam: AdamConfig::default(),
        })
    }

    /// Names of the tasks.
    pub fn tasks(&self) -> impl Iterator<Item = &'static str> {
        self.benches.iter().map(|b| b.name)
    }

    /// Puts a phase of a task on its way: half 0 moves the architecture, half 1 the weights.
    fn begin(
        &mut self,
        at: usize,
        half: usize,
        step: u64,
        profile: Option<&RefCell<Profile>>,
    ) -> Result<Begun> {
        let (w, net, b) = (self.w, &self.net, &self.benches[at]);
        let phase = phase(w, (&self.adam, &self.sgd), half, step, profile.is_some());
        let (inputs, tape) = (b.halves[half].inputs(), RefCell::new(None));
        let of = |p: &Pass, x: &[Tensor]| {
            if profile.is_some() {
                *tape.borrow_mut() = Some(p.tape.clone());
            }
            loss(net, &*b.task, &b.halves[half], x, p)
        };
        let one = Step {
            of: &[at as u64],
            inputs: &inputs,
            loss: &of,
            varies: None,
        };
        let start = Instant::now();
        let begun = self.graphs.begin(&mut self.learner, &phase, &one)?;
        if let (Some(profile), Some(tape)) = (profile, tape.take()) {
            let seconds = start.elapsed().as_secs_f64();
            profile.borrow_mut().add(half, seconds, &tape);
        }
        Ok(begun)
    }

    /// Waits for a phase; its loss.
    fn end(&mut self, at: usize, half: usize, step: u64, begun: Begun) -> Result<f64> {
        let (net, b) = (&self.net, &self.benches[at]);
        let phase = phase(self.w, (&self.adam, &self.sgd), half, step, false);
        let inputs = b.halves[half].inputs();
        let of = |p: &Pass| loss(net, &*b.task, &b.halves[half], &inputs, p);
        Ok(self.learner.end(&phase, begun, &of)?.loss)
    }

    /// A whole phase.
    ///
    /// # Errors
    /// Those of the phase.
    pub fn phase(
        &mut self,
        at: usize,
        half: usize,
        step: u64,
        profile: Option<&RefCell<Profile>>,
    ) -> Result<f64> {
        let begun = self.begin(at, half, step, profile)?;
        self.end(at, half, step, begun)
    }

    /// One phase after the other.
    ///
    /// # Errors
    /// Those of the phases.
    pub fn on_processor(
        &mut self,
        times: &mut [Times],
        profile: Option<&RefCell<Profile>>,
    ) -> Result<()> {
        for i in 0..self.w.iters {
            let at = i % times.len();
            let (start, cpu) = (Instant::now(), cpu_ms());
            let alpha_loss = self.phase(at, 0, i as u64, profile)?;
            let middle = Instant::now();
            let weight_loss = self.phase(at, 1, i as u64, profile)?;
            let t = &mut times[at];
            let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
            let end = Instant::now();
            t.alpha.push(ms(start, middle));
            t.weight.push(ms(middle, end));
            t.step.push(ms(start, end));
            t.step_cpu.push(cpu_ms() - cpu);
            t.losses = [alpha_loss, weight_loss];
        }
        Ok(())
    }

    /// As a search takes them: while the device has a phase the host looks at the one before, and nobody waits for the device to run
    /// dry.
    ///
    /// # Errors
    /// Those of the phases and of the device.
    pub fn on_device(&mut self, e: Engine, times: &mut [Times]) -> Result<OnDevice> {
        let d = e.driver();
        let (launches, replays) = (e.counts().launches, self.graphs.replays());
        let mut marks = vec![];
        let mut before = None;
        for i in 0..self.w.iters {
            let (at, step) = (i % times.len(), i as u64);
            let mut host = 0.0;
            for half in 0..2 {
                let from = d.event(Stream::MAIN)?;
                let start = Instant::now();
                let begun = self.begin(at, half, step, None)?;
                host += start.elapsed().as_secs_f64() * 1e3;
                marks.push((at, half, from, d.event(Stream::MAIN)?));
                if let Some((at, half, step, begun)) = before.replace((at, half, step, begun)) {
                    times[at].losses[half] = self.end(at, half, step, begun)?;
                }
            }
            times[at].host.push(host);
        }
        if let Some((at, half, step, begun)) = before {
            times[at].losses[half] = self.end(at, half, step, begun)?;
        }
        e.synchronize()?;
        for (at, half, from, to) in marks {
            let (t, ms) = (&mut times[at], d.elapsed(from, to)?);
            match half {
                0 => t.alpha.push(ms),
                _ => {
                    t.weight.push(ms);
                    let alpha = t.alpha.last().copied().unwrap_or(0.0);
                    t.step.push(alpha + ms);
                }
            }
        }
        let (now, iters) = (e.counts(), self.w.iters.max(1) as f64);
        Ok(OnDevice {
            launches: (now.launches - launches) as f64 / iters,
            replays: (self.graphs.replays() - replays) as f64 / iters,
            reason: self.graphs.reason(),
            peak: now.peak,
        })
    }
}

/// A phase of a step.
fn phase<'a>(
    w: &Workload,
    (adam, sgd): (&'a AdamConfig, &'a SgdConfig),
    half: usize,
    step: u64,
    profile: bool,
) -> Phase<'a> {
    let (mode, update, lr) = match half {
        0 => (Mode::ARCH_STEP, Update::Arch(adam), adam.lr),
        _ => (Mode::WEIGHT_STEP, Update::Weights(sgd), sgd.lr),
    };
    Phase {
        cx: Cx { profile, ..w.cx },
        mode,
        key: [w.seed, 0, step],
        update,
        lr,
    }
}
