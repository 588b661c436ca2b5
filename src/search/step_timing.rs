//! Times the two phases of a search step on made-up inputs: the workloads of `benches/peers/step.py`, size for size.

use std::cell::RefCell;
use std::time::Instant;

use serde_json::{Value, json};

use super::bilevel::Learner;
use super::graphs::{Graphs, Step};
use super::op_profile::Profile;
use super::phase::{Phase, Update};
use super::step_workload::{benches, loss};
use crate::error::Result;
use crate::model::network::Network;
use crate::model::{Cells, NetworkSpec};
use crate::nn::{Mode, Pass};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::tape::{Cx, Path};
use crate::tensor::{DType, Tensor};

pub use super::step_workload::Workload;

/// Milliseconds of the timed steps of one task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// `cls`, `det` or `seg`.
    pub task: &'static str,
    /// Architecture phase, wall clock.
    pub alpha: Vec<f64>,
    /// Weight phase, wall clock.
    pub weight: Vec<f64>,
    /// Both, wall clock.
    pub step: Vec<f64>,
    /// Both, processor time of all threads.
    pub step_cpu: Vec<f64>,
    /// Losses of the last step: architecture phase, weight phase.
    pub losses: [f64; 2],
}

/// Median of a list; the mean of the middle two of an even one.
pub fn median(ms: &[f64]) -> f64 {
    let mut v = ms.to_vec();
    v.sort_by(f64::total_cmp);
    match v.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => v[n / 2],
        n => (v[n / 2 - 1] + v[n / 2]) / 2.0,
    }
}

impl Times {
    /// `{"step": {"median": .., "samples": [..]}, ..}`.
    pub fn json(&self) -> Value {
        let one = |ms: &[f64]| {
            let (low, high) = ms
                .iter()
                .fold((f64::INFINITY, 0f64), |(l, h), &v| (l.min(v), h.max(v)));
            json!({"median": median(ms), "min": low, "max": high, "n": ms.len(), "samples": ms})
        };
        json!({"alpha": one(&self.alpha), "weight": one(&self.weight), "step": one(&self.step), "step_cpu": one(&self.step_cpu)})
    }
}

/// Builds the network, takes the warm-up steps and times the others, operation by operation where `profile` is given.
///
/// # Errors
/// Those of the network and the step.
pub fn time(w: &Workload, profile: Option<&RefCell<Profile>>) -> Result<Vec<Times>> {
    let f = &w.frame;
    let mut spec = NetworkSpec::new(f, w.size[0], w.size[1], Cells::search("backbone", f));
    (spec.det, spec.seg) = (Cells::search("det", f), Cells::search("seg", f));
    let benches = benches(w, &mut spec)?;
    let (net, store) = Network::build(&spec, w.seed, DType::F32)?;
    let mut learner = Learner::new(store);
    let mut graphs = Graphs::default();
    let sgd = SgdConfig {
        lr: 0.025,
        weight_decay: 3e-4,
        ..SgdConfig::default()
    };
    let adam = AdamConfig::default();
    let mut phase =
        |at: usize, half: usize, step: u64, profile: Option<&RefCell<Profile>>| -> Result<f64> {
            let (cx, key) = (
                Cx {
                    profile: profile.is_some(),
                    ..w.cx
                },
                [w.seed, 0, step],
            );
            let (b, tape) = (&benches[at], RefCell::new(None));
            let inputs = b.halves[half].inputs();
            let of = |p: &Pass, x: &[Tensor]| {
                if profile.is_some() {
                    *tape.borrow_mut() = Some(p.tape.clone());
                }
                loss(&net, &*b.task, &b.halves[half], x, p)
            };
            let (mode, update, lr) = match half {
                0 => (Mode::ARCH_STEP, Update::Arch(&adam), adam.lr),
                _ => (Mode::WEIGHT_STEP, Update::Weights(&sgd), sgd.lr),
            };
            let phase = Phase {
                cx,
                mode,
                key,
                update,
                lr,
            };
            let one = Step {
                of: &[at as u64],
                inputs: &inputs,
                loss: &of,
                varies: None,
            };
            let start = Instant::now();
            let report = graphs.step(&mut learner, &phase, &one)?;
            if let (Some(profile), Some(tape)) = (profile, tape.take()) {
                profile
                    .borrow_mut()
                    .add(half, start.elapsed().as_secs_f64(), &tape);
            }
            Ok(report.loss)
        };
    let mut times: Vec<Times> = benches
        .iter()
        .map(|b| Times {
            task: b.name,
            ..Times::default()
        })
        .collect();
    // On a device the third step of a task is the one that is recorded.
    let warmup = match w.cx.path {
        Path::Device(_) => w.warmup.max(3),
        _ => w.warmup,
    };
    for i in 0..warmup {
        for b in 0..benches.len() {
            phase(b, 0, i as u64, None)?;
            phase(b, 1, i as u64, None)?;
        }
    }
    for i in 0..w.iters {
        let at = i % benches.len();
        let (start, cpu) = (Instant::now(), cpu_ms());
        let alpha_loss = phase(at, 0, i as u64, profile)?;
        let middle = Instant::now();
        let weight_loss = phase(at, 1, i as u64, profile)?;
        let t = &mut times[at];
        let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
        let end = Instant::now();
        t.alpha.push(ms(start, middle));
        t.weight.push(ms(middle, end));
        t.step.push(ms(start, end));
        t.step_cpu.push(cpu_ms() - cpu);
        t.losses = [alpha_loss, weight_loss];
    }
    times.retain(|t| !t.step.is_empty());
    Ok(times)
}

/// Processor time of the process in milliseconds, where the system tells (Linux, to a hundredth of a second or better);
/// 0 elsewhere.
pub fn cpu_ms() -> f64 {
    // Nanoseconds that each thread ran: finer than the clock ticks of `/proc/self/stat`.
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return 0.0;
    };
    let of = |path: std::path::PathBuf| -> Option<f64> {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    threads.flatten().filter_map(|t| of(t.path())).sum::<f64>() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn median_of_odd_and_even() {
        assert_eq!(
            (median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 3.0, 2.0])),
            (2.0, 2.5)
        );
    }

    #[test]
    fn tasks_take_turns() {
        let mut w = Workload::of_mode("mtnas-peer").unwrap();
        (w.batch, w.size, w.iters, w.warmup) = (2, [64, 64], 3, 0);
        (w.frame.channels, w.frame.cells) = (8, 4);
        let t = time(&w, None).unwrap();
        assert_eq!(
            t.iter().map(|t| (t.task, t.step.len())).collect::<Vec<_>>(),
            [("det", 2), ("seg", 1)]
        );
        assert!(
            t.iter()
                .all(|t| t.losses.iter().all(|l| l.is_finite() && *l > 0.0))
        );
        assert_eq!(Workload::of_mode("vgg").unwrap_err().code(), Code::Usage);
    }
}
