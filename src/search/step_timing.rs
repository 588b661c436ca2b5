//! Times the two phases of a search step on made-up inputs: the workloads of `benches/peers/step.py`, size for size.

use std::cell::RefCell;

use serde::Serialize;
use serde_json::{Value, json};

use super::op_profile::Profile;
use super::step_taker::Stepper;
use crate::error::Result;
use crate::tape::Path;

pub use super::step_workload::Workload;

/// Milliseconds of the timed steps of one task. Those of a device are by its own clock.
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
    /// Both, processor time of all threads; on the processor.
    pub step_cpu: Vec<f64>,
    /// Both, what the host takes to put them on their way; on a device.
    pub host: Vec<f64>,
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
        let kinds = [
            ("alpha", &self.alpha),
            ("weight", &self.weight),
            ("step", &self.step),
            ("step_cpu", &self.step_cpu),
            ("host", &self.host),
        ];
        let there = kinds.into_iter().filter(|(_, ms)| !ms.is_empty());
        there
            .map(|(name, ms)| (name.to_string(), one(ms)))
            .collect()
    }
}

/// What a device did for a step; means over the timed steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OnDevice {
    /// Kernels that were launched.
    pub launches: f64,
    /// Phases that were replayed as graphs, of two.
    pub replays: f64,
    /// Why not all.
    pub reason: Option<String>,
    /// The most bytes of tensors in use at one time, arena included.
    pub peak: u64,
}

/// All figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timed {
    /// Task by task.
    pub times: Vec<Times>,
    /// On a device.
    pub device: Option<OnDevice>,
}

/// Builds the network, takes the warm-up steps and times the others, operation by operation where `profile` is given (on the
/// processor).
///
/// # Errors
/// Those of the network and the step.
pub fn time(w: &Workload, profile: Option<&RefCell<Profile>>) -> Result<Timed> {
    let mut s = Stepper::new(w)?;
    let named = |task: &'static str| Times {
        task,
        ..Times::default()
    };
    let mut times: Vec<Times> = s.tasks().map(named).collect();
    // On a device the third step of a task is the one that is recorded.
    let warmup = match w.cx.path {
        Path::Device(_) => w.warmup.max(3),
        _ => w.warmup,
    };
    for i in 0..warmup {
        for at in 0..times.len() {
            s.phase(at, 0, i as u64, None)?;
            s.phase(at, 1, i as u64, None)?;
        }
    }
    let device = match w.cx.path {
        Path::Device(e) if profile.is_none() => Some(s.on_device(e, &mut times)?),
        _ => {
            s.on_processor(&mut times, profile)?;
            None
        }
    };
    times.retain(|t| !t.step.is_empty());
    Ok(Timed { times, device })
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
    use crate::backend::record::Record;
    use crate::error::Code;
    use crate::tensor::{DType, Engine};

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
        let t = time(&w, None).unwrap().times;
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

    #[test]
    fn a_device_replays_the_timed_steps() {
        let mut w = Workload::of_mode("cifar").unwrap();
        (w.batch, w.size, w.iters, w.warmup) = (1, [8, 8], 2, 0);
        (w.frame.channels, w.frame.cells) = (4, 3);
        let (counts, _) = Record::new(1 << 30);
        w.cx.path = Path::Device(Engine::new(Box::new(counts), false));
        let f = time(&w, None).unwrap();
        let (t, d) = (&f.times[0], f.device.unwrap());
        assert_eq!((t.alpha.len(), t.step.len(), t.host.len()), (2, 2, 2));
        assert_eq!((d.replays, &d.reason), (2.0, &None));
        assert!(d.launches > 20.0 && d.peak > 1 << 10, "{d:?}");
        (w.graphs, w.dtype) = (false, DType::Bf16);
        let d = time(&w, None).unwrap().device.unwrap();
        assert_eq!(d.replays, 0.0);
    }
}
