//! `mtnas bench`: timings on made-up inputs, in the form that `scripts/compare` reads.

mod kernel;
mod ops;

use std::cell::RefCell;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Context, running};
use crate::backend::Device;
use crate::backend::buffer::peak_bytes;
use crate::backend::host::isa;
use crate::error::Result;
use crate::search::op_profile::Profile;
use crate::search::step_timing::{Times, Workload, median, time};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Time the architecture and the weight phase of a search step
    #[command(
        after_help = "Examples:\n  mtnas bench step --mode cifar --batch 16 --threads 1\n  mtnas bench step --mode mtnas-peer --batch 2 --height 128 --width 192\n\n\
        The workloads are those of benches/peers/step.py;\nscripts/compare runs both in turn."
    )]
    Step(Step),
    /// Time single operations on the processor, forward and backward
    Ops(ops::Ops),
    /// Time operations on a device against what the device can do
    Kernel(kernel::Kernel),
}

#[derive(Debug, Args)]
struct Step {
    /// cifar, mtnas-peer or mtnas-release
    #[arg(long, default_value = "cifar")]
    mode: String,
    /// Images of each phase
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Rows of the input
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    height: Option<u16>,
    /// Columns of the input
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    width: Option<u16>,
    /// Timed steps; tasks take turns
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    iters: u16,
    /// Steps of every task before
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: u16,
    /// Show which operations take the time (costs some)
    #[arg(long)]
    profile: bool,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let idle = peak_mib();
    let a = match arguments.what {
        What::Step(a) => a,
        What::Ops(a) => return ops::run(a, context, idle),
        What::Kernel(a) => return kernel::run(a, context),
    };
    let mut w = Workload::of_mode(&a.mode)?;
    w.batch = a.batch.map_or(w.batch, usize::from);
    w.size = [
        a.height.map_or(w.size[0], usize::from),
        a.width.map_or(w.size[1], usize::from),
    ];
    (w.iters, w.warmup, w.seed) = (a.iters.into(), a.warmup.into(), context.seed().unwrap_or(0));
    w.cx = context.cx(Device::Cpu)?;
    w.frame.check_size(w.size)?;
    let profile = a.profile.then(|| RefCell::new(Profile::default()));
    running::threads(context.threads().unwrap_or(0))?;
    let times = time(&w, profile.as_ref())?;
    if let Some(p) = &profile {
        eprint!("{}", p.borrow().table());
    }
    if context.json() {
        let ms: Map<String, Value> = times
            .iter()
            .map(|t| (t.task.to_string(), t.json()))
            .collect();
        let losses: Map<String, Value> = times
            .iter()
            .map(|t| (t.task.to_string(), json!(t.losses)))
            .collect();
        let config =
            json!({"mode": a.mode, "batch": w.batch, "height": w.size[0], "width": w.size[1]});
        context.print_json(
            &json!({"config": config, "isa": isa().name(), "ms": ms, "losses": losses, "memory": memory(idle)}),
        )?;
    } else {
        context.print(&table(&times, w.batch))?;
    }
    Ok(0)
}

/// The most memory that the process has had in RAM, MiB, where the system tells (Linux); 0 elsewhere.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map_or(0.0, |kib: f64| kib / 1024.0)
}

/// Memory now, and what it was before anything was timed.
fn memory(idle: f64) -> Value {
    let tensors = peak_bytes() as f64 / (1 << 20) as f64;
    json!({"host_peak_rss_mib": peak_mib(), "host_idle_rss_mib": idle, "host_tensors_peak_mib": tensors})
}

fn table(times: &[Times], batch: usize) -> String {
    let mut text = format!(
        "{:5} {:>10} {:>10} {:>10} {:>10} {:>9}\n",
        "task", "alpha ms", "weight ms", "step ms", "cpu ms", "images/s"
    );
    for t in times {
        let step = median(&t.step);
        text += &format!(
            "{:5} {:10.2} {:10.2} {step:10.2} {:10.2} {:9.1}\n",
            t.task,
            median(&t.alpha),
            median(&t.weight),
            median(&t.step_cpu),
            2.0 * batch as f64 / step * 1e3
        );
    }
    text
}
