//! Keys of a run: seed, precision, finetune, evaluation, checkpoints, logs.

use std::path::PathBuf;

use super::search::Alternate;
use crate::backend::Device;
use crate::error::{Code, Error, Result};
use crate::optim::config::SgdConfig;
use crate::settings::Describe;
use crate::tape::{Cx, Path};
use crate::{choices, settings};

choices! {
    /// Storage and arithmetic of tensors.
    pub enum Precision {
        /// 32-bit floats.
        F32 = "f32",
        /// 64-bit floats.
        F64 = "f64",
        /// bfloat16 storage, 32-bit arithmetic, master weights and statistics.
        Bf16 = "bf16",
    }
}

impl Describe for Device {
    fn kind() -> String {
        "`\"auto\"` | `\"cpu\"` | `\"cuda\"` | `\"cuda:N\"` | `\"emulated\"`".into()
    }
}

choices! {
    /// Weights that the derived network starts from (row 20).
    pub enum Init {
        /// Random.
        Scratch = "scratch",
        /// The supernet's where name and shape agree (with partial channels: stem, preprocessing and heads), random elsewhere.
        Search = "search",
        /// A safetensors file, `init_file`, where name and shape agree; random elsewhere.
        File = "file",
    }
}

choices! {
    /// Whether a step on a GPU is one graph.
    pub enum GraphMode {
        /// A step that repeats is recorded once and replayed; one that cannot be is launched kernel by kernel, and why is said once.
        Auto = "auto",
        /// Every step is launched kernel by kernel.
        Off = "off",
    }
}

settings! {
    /// What makes a run repeatable.
    pub struct RunConfig {
        /// Seed of everything random, 0 to 2^63 - 1.
        pub seed: u64 = 0,
        /// Threads of the processor backend; 0: one for each core. The bits of the results do not depend on it.
        pub threads: usize = 0,
        /// Storage and arithmetic of tensors.
        pub precision: Precision = Precision::F32,
        /// Where tensors live and operations run: `auto` is the first GPU where there is one (f64 excepted), the processor otherwise;
        /// `emulated` runs the GPU's kernels on the processor and checks every access: for tests, slow.
        pub device: Device = Device::Auto,
        /// Wait for every launch on a GPU, so that a fault is told of the kernel that did it; slower.
        pub sync_launches: bool = false,
        /// Record the launches of a step on a GPU once and replay them; the results are the same bits.
        pub graphs: GraphMode = GraphMode::Auto,
    }
}

impl RunConfig {
    /// How operations run, the device open.
    ///
    /// # Errors
    /// `Device` when it is not there; `ConfigValue` for f64 on a device other than the processor.
    pub fn cx(&self) -> Result<Cx> {
        let device = match (self.device, self.precision) {
            (Device::Auto, Precision::F64) => Device::Cpu,
            (device, _) => device.resolve(),
        };
        if self.precision == Precision::F64 && device != Device::Cpu {
            let text = format!("precision f64 is not there on the device {device}");
            return Err(Error::new(Code::ConfigValue, text)
                .at("run.precision")
                .help("use f32 or bf16, or run.device = \"cpu\""));
        }
        Ok(match device.open(self.sync_launches)? {
            Some(e) => Cx {
                path: Path::Device(e),
                ..Cx::default()
            },
            None => Cx::default(),
        })
    }

    /// What computes, for the manifest: the device, or the instruction set of the processor.
    ///
    /// # Errors
    /// As [`RunConfig::cx`].
    pub fn arithmetic(&self) -> Result<String> {
        Ok(match self.cx()?.path {
            Path::Device(e) => e.name().into(),
            _ => crate::backend::host::isa().name().into(),
        })
    }
}

settings! {
    /// Training of the derived network.
    pub struct FinetuneConfig {
        /// Iterations (row 21; paper: 150000).
        pub iters: usize = 150000,
        /// Images of a step (paper: 32).
        pub batch: usize = 32,
        /// Optimiser (paper: SGD 0.01, momentum 0.9, decay 3e-5; "linear cosine" read as cosine to zero, row 13).
        pub weights: SgdConfig = SgdConfig { lr: 0.01, ..SgdConfig::default() },
        /// Which task's loss a step uses; "accumulate" adds all of them, as the hand-crafted baseline.
        pub alternate: Alternate = Alternate::RoundRobin,
        /// Weights at the start.
        pub init: Init = Init::Scratch,
        /// File of `init = "file"`.
        pub init_file: PathBuf = PathBuf::new(),
    }
}

settings! {
    /// Evaluation on the held-out set, at the size of the network's input.
    pub struct EvalConfig {
        /// Images of a batch.
        pub batch: usize = 8,
        /// Largest number of images; 0: all.
        pub limit: usize = 0,
        /// Measure the gap between supernet and derived network at the end of each search stage.
        pub gap: bool = true,
    }
}

settings! {
    /// Checkpoints. They are counted in iterations, never in seconds, so that what a run writes depends on its configuration alone.
    pub struct CheckpointConfig {
        /// Iterations between two checkpoints of a stage.
        pub every: usize = 100,
        /// Newest checkpoints kept for each stage, at least 2: the last one may turn out to be damaged.
        pub keep: usize = 3,
    }
}

settings! {
    /// Records and progress.
    pub struct LogConfig {
        /// Iterations between two records in `metrics.jsonl`, `alpha.jsonl` and on the terminal.
        pub every: usize = 10,
        /// Write TensorBoard events into `tb/`.
        pub tensorboard: bool = true,
        /// Sample predictions in the report.
        pub images: usize = 8,
    }
}
