//! `mtnas doctor`: what is there, what will work, and how to mend what will not.

use clap::Args;
use serde::Serialize;

use super::Context;
use crate::backend::cuda::{self, GpuInfo};
use crate::backend::driver::GPU_BINARIES;
use crate::backend::host::isa;
use crate::backend::{Device, Engine};
use crate::error::Result;
use crate::gradcheck::{DeviceOptions, run_on};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas doctor
  mtnas doctor --device cuda:1 --json

Ends with status 1 when the device asked for does not work.")]
pub(super) struct Arguments {}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    version: &'static str,
    threads: usize,
    instruction_set: &'static str,
    /// Files of kernels, and bytes of their binaries; empty without nvcc at build time.
    gpu_kernels: Vec<(&'static str, usize)>,
    gpus: Vec<Gpu>,
    /// Why no GPU can be used.
    cuda: Option<Trouble>,
    /// What `--device auto` stands for.
    auto: String,
    /// Why the device asked for does not work.
    device: Option<Trouble>,
}

#[derive(Debug, Serialize)]
struct Gpu {
    name: String,
    capability: String,
    memory_gib: f64,
    multiprocessors: u32,
}

#[derive(Debug, Serialize)]
struct Trouble {
    what: String,
}

impl From<GpuInfo> for Gpu {
    fn from(g: GpuInfo) -> Gpu {
        Gpu {
            name: g.name,
            capability: format!("{}.{}", g.capability.0, g.capability.1),
            memory_gib: g.memory as f64 / (1u64 << 30) as f64,
            multiprocessors: g.multiprocessors,
        }
    }
}

/// Opens the device and runs one operation on it.
fn try_out(device: Device) -> Result<Option<Engine>> {
    let Some(e) = device.open(true)? else {
        return Ok(None);
    };
    let o = DeviceOptions {
        cases: 2,
        first: 0,
        seed: 0,
        op: Some("relu".into()),
    };
    let r = run_on(e, &o)?;
    e.healthy()?;
    match r.passed {
        true => Ok(Some(e)),
        false => Err(crate::error::Error::new(
            crate::error::Code::Device,
            format!("a kernel gives wrong results: {}", r.table()),
        )),
    }
}

pub(super) fn run(_: Arguments, context: &Context) -> Result<u8> {
    let trouble = |e: crate::error::Error| Trouble { what: e.render() };
    let (gpus, cuda) = match cuda::count() {
        Ok(n) => {
            let all: Result<Vec<Gpu>> = (0..n).map(|i| cuda::describe(i).map(Gpu::from)).collect();
            match all {
                Ok(all) => (all, None),
                Err(e) => (vec![], Some(trouble(e))),
            }
        }
        Err(e) => (vec![], Some(trouble(e))),
    };
    let device = context.device(Device::Auto);
    let f = Findings {
        version: env!("CARGO_PKG_VERSION"),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        instruction_set: isa().name(),
        gpu_kernels: GPU_BINARIES.iter().map(|(n, b)| (*n, b.len())).collect(),
        gpus,
        cuda,
        auto: Device::Auto.resolve().to_string(),
        device: try_out(device).err().map(trouble),
    };
    let works = f.device.is_none();
    match context.json() {
        true => context.print_json(&f)?,
        false => context.print(&text(&f, device))?,
    }
    Ok(if works { 0 } else { 1 })
}

fn text(f: &Findings, device: Device) -> String {
    let mut s = format!(
        "mtnas {}\nprocessor    {} threads, {}\n",
        f.version, f.threads, f.instruction_set
    );
    match f.gpu_kernels.as_slice() {
        [] => {
            s += "GPU kernels  not built in: there was no nvcc when this program was built\n             \
                  build it where CUDA_HOME, MTNAS_NVCC or PATH leads to nvcc (docs/gpu.md)\n"
        }
        files => {
            let bytes: usize = files.iter().map(|f| f.1).sum();
            s += &format!(
                "GPU kernels  {} files, {} KiB, for compute capability {}\n",
                files.len(),
                bytes >> 10,
                crate::backend::driver::GPU_ARCHITECTURES
            );
        }
    }
    for (i, g) in f.gpus.iter().enumerate() {
        s += &format!(
            "cuda:{i}       {}, capability {}, {:.1} GiB, {} multiprocessors\n",
            g.name, g.capability, g.memory_gib, g.multiprocessors
        );
    }
    if let Some(t) = &f.cuda {
        s += &format!("cuda         does not work\n{}", indent(&t.what));
    }
    s += &format!("auto         {}\n", f.auto);
    match &f.device {
        None => s += &format!("{:12} works\n", device.resolve().to_string()),
        Some(t) => s += &format!("{device:12} does not work\n{}", indent(&t.what)),
    }
    s
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|l| format!("             {l}\n"))
        .collect()
}
