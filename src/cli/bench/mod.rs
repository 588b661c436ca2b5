//! `mtnas bench`: timings on made-up inputs, in the form that `scripts/compare` reads.

mod kernel;
mod loader;
mod loader_stages;
mod loader_table;
mod net;
mod net_ops;
mod op_timing;
mod ops;

use std::cell::RefCell;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{Context, running};
use crate::backend::Device;
use crate::backend::buffer::peak_bytes;
use crate::backend::host::isa;
use crate::error::Result;
use crate::search::op_profile::Profile;
use crate::search::step_timing::{Timed, Times, Workload, median, time};
use crate::tape::{Cx, Path};
use crate::tensor::DType;

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
    /// Time single operations, forward and backward
    Ops(ops::Ops),
    /// Time operations on a device against what the device can do
    Kernel(kernel::Kernel),
    /// Time a derived network on pictures
    Net(net::Net),
    /// Time the way from data set files to batches
    Loader(loader::LoaderArguments),
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
    /// Channels of the first cell
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    channels: Option<u16>,
    /// Cells of the backbone
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    cells: Option<u16>,
    /// One k-th of the channels goes through a mixed operation
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    partial_k: Option<u16>,
    /// Detection levels
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    levels: Option<u16>,
    /// Timed steps; tasks take turns
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    iters: u16,
    /// Steps of every task before
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: u16,
    /// Storage of maps
    #[arg(long, default_value = "f32")]
    dtype: Storage,
    /// Launch every phase, on a device; otherwise it replays a graph
    #[arg(long)]
    eager: bool,
    /// Show which operations take the time (costs some)
    #[arg(long)]
    profile: bool,
}

/// Storage of maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Storage {
    F32,
    Bf16,
}

impl Storage {
    fn dtype(self) -> DType {
        match self {
            Storage::F32 => DType::F32,
            Storage::Bf16 => DType::Bf16,
        }
    }
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let idle = peak_mib();
    let a = match arguments.what {
        What::Step(a) => a,
        What::Ops(a) => return ops::run(a, context, idle),
        What::Kernel(a) => return kernel::run(a, context),
        What::Net(a) => return net::run(a, context, idle),
        What::Loader(a) => return loader::run(a, context),
    };
    let mut w = Workload::of_mode(&a.mode)?;
    let set = |to: &mut usize, given: Option<u16>| *to = given.map_or(*to, usize::from);
    set(&mut w.batch, a.batch);
    set(&mut w.size[0], a.height);
    set(&mut w.size[1], a.width);
    set(&mut w.frame.channels, a.channels);
    set(&mut w.frame.cells, a.cells);
    set(&mut w.frame.partial_k, a.partial_k);
    w.frame.det_levels = a.levels.map(usize::from).or(w.frame.det_levels);
    (w.iters, w.warmup, w.seed) = (a.iters.into(), a.warmup.into(), context.seed().unwrap_or(0));
    (w.dtype, w.graphs, w.cx) = (a.dtype.dtype(), !a.eager, context.cx(Device::Cpu)?);
    w.frame.check_size(w.size)?;
    let profile = a.profile.then(|| RefCell::new(Profile::default()));
    running::threads(context.threads().unwrap_or(0))?;
    let timed = time(&w, profile.as_ref())?;
    if let Some(p) = &profile {
        eprint!("{}", p.borrow().table());
    }
    if context.json() {
        context.print_json(&figures(&a, &w, &timed, idle))?;
    } else {
        context.print(&table(&timed, w.batch))?;
    }
    Ok(0)
}

/// All figures, in the form of `benches/peers/step.py`.
fn figures(a: &Step, w: &Workload, timed: &Timed, idle: f64) -> Value {
    let of = |f: fn(&Times) -> Value| -> Map<String, Value> {
        let all = timed.times.iter();
        all.map(|t| (t.task.to_string(), f(t))).collect()
    };
    let config = json!({
        "mode": a.mode, "batch": w.batch, "height": w.size[0], "width": w.size[1], "channels": w.frame.channels,
        "cells": w.frame.cells, "partial_k": w.frame.partial_k, "dtype": w.dtype.name(),
    });
    json!({
        "config": config, "isa": isa().name(), "ms": of(Times::json), "losses": of(|t| json!(t.losses)), "memory": memory(idle, w.cx),
        "device": timed.device,
    })
}

/// The most memory that the process has had in RAM, MiB, where the system tells (Linux); 0 elsewhere.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map_or(0.0, |kib: f64| kib / 1024.0)
}

/// Memory now, and what it was before anything was timed; the most that a device had in use.
fn memory(idle: f64, cx: Cx) -> Value {
    let mib = |bytes: f64| bytes / (1 << 20) as f64;
    let tensors = mib(peak_bytes() as f64);
    let mut all = json!({"host_peak_rss_mib": peak_mib(), "host_idle_rss_mib": idle, "host_tensors_peak_mib": tensors});
    if let Path::Device(e) = cx.path {
        all["device_peak_allocated_mib"] = json!(mib(e.counts().peak as f64));
    }
    all
}

fn table(timed: &Timed, batch: usize) -> String {
    let second = if timed.device.is_some() {
        "host ms"
    } else {
        "cpu ms"
    };
    let mut text = format!(
        "{:5} {:>10} {:>10} {:>10} {second:>10} {:>9}\n",
        "task", "alpha ms", "weight ms", "step ms", "images/s"
    );
    for t in &timed.times {
        let step = median(&t.step);
        let own = if timed.device.is_some() {
            &t.host
        } else {
            &t.step_cpu
        };
        text += &format!(
            "{:5} {:10.2} {:10.2} {step:10.2} {:10.2} {:9.1}\n",
            t.task,
            median(&t.alpha),
            median(&t.weight),
            median(own),
            2.0 * batch as f64 / step * 1e3
        );
    }
    if let Some(d) = &timed.device {
        let why = d
            .reason
            .as_ref()
            .map_or(String::new(), |r| format!(" ({r})"));
        text += &format!(
            "{:.0} launches a step, {:.0} of 2 phases replayed{why}, at most {:.0} MiB\n",
            d.launches,
            d.replays,
            d.peak as f64 / (1 << 20) as f64
        );
    }
    text
}
