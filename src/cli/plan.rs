//! `mtnas plan`: memory and time of every stage before it runs.

use std::path::PathBuf;

use clap::Args;

use super::{Context, running};
use crate::backend::Device;
use crate::error::{Code, Error, Result};
use crate::microbench::copy_bandwidth;
use crate::search::classes;
use crate::search::config::Config;
use crate::search::forecast::{Forecast, Gpu, MemoryOf, Where, forecast};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas plan configs/demo.toml --device cpu
  mtnas plan configs/mtnas-paper.toml --gpu-memory 80 --bandwidth 2000
  mtnas plan configs/mtnas-paper.toml --kernels

For a GPU a step of full size runs on a device that only counts: launches, the
bytes that they move at least, the most memory in use at one time, under each
`search.memory`. Its time is these bytes at the copy bandwidth plus the
launches. Beside it stands what a fused design would move and launch where every
cell is mixed, and the floor: its bytes at that bandwidth, or its arithmetic
where that takes longer. Without a GPU on this machine the figures are those of
an H200 unless given. For the processor steps of two and four images are taken
and extended to the batch.")]
pub(super) struct Arguments {
    /// The configuration
    config: PathBuf,
    /// Memory of the GPU in GiB
    #[arg(long, value_name = "GIB")]
    gpu_memory: Option<f64>,
    /// Copy bandwidth of the GPU in GB/s, reads and writes together
    #[arg(long, value_name = "GB/S")]
    bandwidth: Option<f64>,
    /// Classes of an image folder that is not there
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    classes: Option<u16>,
    /// List the kernels of a step: launches and bytes, most launches first
    #[arg(long)]
    kernels: bool,
}

/// An H200: memory, copy bandwidth as measured on one.
const MEMORY: f64 = 139.0;
const BANDWIDTH: f64 = 4300.0;
/// Seconds from one small kernel to the next.
const LAUNCH: f64 = 2e-6;

fn gpu(a: &Arguments, device: Device, context: &Context) -> Result<Gpu> {
    let (mut memory, mut bandwidth) = (MEMORY, BANDWIDTH);
    if let Device::Cuda(_) = device
        && (a.gpu_memory.is_none() || a.bandwidth.is_none())
        && let Some(e) = device.open(false)?
    {
        memory = e.driver().memory()?.total as f64 / (1u64 << 30) as f64;
        bandwidth = copy_bandwidth(e, 512 << 20, 10)? * 1e-9;
    } else if !context.json() && a.gpu_memory.is_none() && a.bandwidth.is_none() {
        eprintln!("for an H200: {MEMORY} GiB, {BANDWIDTH} GB/s");
    }
    Ok(Gpu {
        memory: (a.gpu_memory.unwrap_or(memory) * (1u64 << 30) as f64) as u64,
        bandwidth: a.bandwidth.unwrap_or(bandwidth) * 1e9,
        launch: LAUNCH,
    })
}

pub(super) fn run(a: Arguments, context: &Context) -> Result<u8> {
    let config = Config::load(&a.config, &context.overrides()?)?;
    running::threads(config.run.threads)?;
    let given = a.classes.map(usize::from);
    let heads = classes::heads(&config, given)?;
    let presearch = config.data.get(&config.search.presearch.data);
    let presearch = presearch.map(classes::known).transpose()?.flatten();
    let presearch = presearch.map(|names| names.len()).or(given);
    let asked = a.gpu_memory.is_some() || a.bandwidth.is_some() || a.kernels;
    let at = match (config.run.device, config.run.device.resolve()) {
        (Device::Cpu, _) if a.kernels => {
            let text = "the processor launches no kernels";
            let e = Error::new(Code::Usage, text).at("--kernels");
            return Err(e.help("plan for a GPU, there or not: `--device auto`"));
        }
        (Device::Cpu, _) => Where::Cpu,
        (Device::Auto, Device::Cpu) if !asked => Where::Cpu,
        (_, device) => Where::Gpu(gpu(&a, device, context)?),
    };
    let all = forecast(&config, &heads, presearch, at)?;
    match context.json() {
        true => context.print_json(&all)?,
        false => {
            context.print(&table(&all))?;
            if a.kernels {
                context.print(&kernels(&all))?;
            }
        }
    }
    Ok(0)
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s >= 172_800.0 => format!("{:.1} days", s / 86_400.0),
        s if s >= 7200.0 => format!("{:.1} h", s / 3600.0),
        s if s >= 120.0 => format!("{:.1} min", s / 60.0),
        s => format!("{s:.1} s"),
    }
}

fn table(all: &[Forecast]) -> String {
    let mut text = format!(
        "{:13} {:15} {:>6} {:>8} {:>10} {:>10} {:>10} {:>9} {:>9}\n",
        "stage", "task", "batch", "steps", "ms a step", "time", "memory", "launches", "GB a step"
    );
    for f in all {
        let count = |v: Option<u64>| v.map_or("-".into(), |v| v.to_string());
        let gb = f
            .traffic
            .map_or("-".into(), |b| format!("{:.2}", b as f64 * 1e-9));
        text += &format!(
            "{:13} {:15} {:>6} {:>8} {:>10.1} {:>10} {:>6.2} GiB {:>9} {:>9}\n",
            f.stage,
            f.task,
            f.batch,
            f.steps,
            1e3 * f.seconds,
            span(f.seconds * f.steps as f64),
            f.memory as f64 / (1u64 << 30) as f64,
            count(f.launches),
            gb
        );
    }
    let total: f64 = all.iter().map(|f| f.seconds * f.steps as f64).sum();
    let most = all.iter().map(|f| f.memory).max().unwrap_or(0);
    text += &format!(
        "in all {}, at most {:.2} GiB of tensors\n",
        span(total),
        most as f64 / (1u64 << 30) as f64
    );
    for f in all.iter().filter(|f| !f.memories.is_empty()) {
        let each: Vec<String> = f.memories.iter().map(memory).collect();
        let list = each.join(", ");
        text += &format!("{}, {}: search.memory {list}\n", f.stage, f.task);
    }
    if let Some(b) = all.iter().filter_map(|f| f.resident).max() {
        let gib = b as f64 / (1u64 << 30) as f64;
        text += &format!("beside them at most {gib:.2} GiB of decoded images (loader.resident)\n");
    }
    let mut notes: Vec<_> = all
        .iter()
        .filter_map(|f| Some((f.stage, f.note?)))
        .collect();
    notes.dedup();
    for (stage, note) in notes {
        text += &format!("{stage}: {note}\n");
    }
    for f in all {
        if let (Some(floor), Some(bytes), Some(launches)) = (&f.floor, f.traffic, f.launches) {
            let beside = floor.line(bytes, launches, f.seconds);
            text += &format!("{}, {}: {beside}\n", f.stage, f.task);
        }
        if let (Some(up), Some(down), Some(graphs)) = (f.uploaded, f.fetched, f.graphs) {
            let mb = up as f64 * 1e-6;
            let (stage, task) = (f.stage, &f.task);
            text += &format!(
                "{stage}, {task}: a step uploads {mb:.2} MB, fetches {down} bytes, {graphs} of its phases are graphs\n"
            );
        }
    }
    text
}

/// What a step needs under one choice.
fn memory(m: &MemoryOf) -> String {
    let name = m.memory.to_string();
    let bytes = match m.bytes {
        Some(b) => format!("{:.2} GiB", b as f64 / (1u64 << 30) as f64),
        None => "too much".into(),
    };
    match m.recomputed {
        0 => format!("{name} {bytes}"),
        n => format!("{name} {bytes} ({n} of {} cells recompute)", m.cells),
    }
}

/// The kernels of each stage's and task's step.
fn kernels(all: &[Forecast]) -> String {
    let mut text = String::new();
    for f in all {
        let launches: u64 = f.kernels.iter().map(|k| k.launches).sum();
        text += &format!(
            "\n{}, {}: {launches} launches a step\n{:32} {:>9} {:>10} {:>10}\n",
            f.stage, f.task, "kernel", "launches", "MB read", "MB written"
        );
        let mb = |bytes: u64| bytes as f64 * 1e-6;
        for k in &f.kernels {
            text += &format!(
                "{:32} {:>9} {:>10.2} {:>10.2}\n",
                k.kernel,
                k.launches,
                mb(k.read),
                mb(k.written)
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::forecast::KernelWork;

    #[test]
    fn kernels_are_listed_for_every_step() {
        let kernel = |kernel, launches, read, written| KernelWork {
            kernel,
            launches,
            read,
            written,
        };
        let step = Forecast {
            stage: "4-backbone",
            task: "detection".into(),
            batch: 32,
            steps: 10,
            seconds: 0.001,
            memory: 1 << 30,
            launches: Some(5),
            traffic: Some(6_500_000),
            resident: None,
            uploaded: Some(0),
            graphs: Some(2),
            fetched: Some(0),
            by_host: vec![],
            floor: None,
            kernels: vec![
                kernel("relu_bf16", 3, 3_000_000, 1_500_000),
                kernel("fill", 2, 0, 2_000_000),
            ],
            note: None,
            memories: vec![],
        };
        let text = kernels(&[step]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "4-backbone, detection: 5 launches a step");
        let words = |i: usize| lines[i].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(3), ["relu_bf16", "3", "3.00", "1.50"]);
        assert_eq!(words(4), ["fill", "2", "0.00", "2.00"]);
        assert_eq!(lines.len(), 5);
    }
}
