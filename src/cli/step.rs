//! `mtnas step`: one architecture step and one weight step, written out for whoever wants to recompute them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Context, running};
use crate::error::Result;
use crate::export::safetensors;
use crate::search::config::{Config, Precision};
use crate::search::step_dump::{Request, dump};
use crate::task::config::TaskKind;

/// Whose loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Head {
    Det,
    Seg,
    Cls,
}

/// Arithmetic of the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Float {
    F32,
    F64,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas step configs/demo.toml --dump step.safetensors --task det --noise\n  \
    mtnas step configs/demo.toml --dump s.safetensors --dtype f64 --noise\n\n\
    docs/step-dump.md describes the file; tests/reference/step recomputes it."
)]
pub(super) struct Arguments {
    /// The configuration
    config: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    dump: PathBuf,
    /// Whose loss; the configuration's first without it
    #[arg(long)]
    task: Option<Head>,
    /// Arithmetic
    #[arg(long, default_value = "f32")]
    dtype: Float,
    /// Images of each of the two batches; the configuration's without it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Images of noise with random labels in place of the data set
    #[arg(long)]
    noise: bool,
    /// Steps taken before the recorded one, on the same batches
    #[arg(long, value_name = "N", default_value_t = 0)]
    before: usize,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let config = Config::load(&arguments.config, &context.overrides()?)?;
    let first = config
        .tasks
        .values()
        .next()
        .map_or(TaskKind::Detection, |t| t.kind);
    let task = arguments.task.map_or(first, |head| match head {
        Head::Det => TaskKind::Detection,
        Head::Seg => TaskKind::Segmentation,
        Head::Cls => TaskKind::Classification,
    });
    let dtype = match arguments.dtype {
        Float::F32 => Precision::F32,
        Float::F64 => Precision::F64,
    };
    let batch = arguments.batch.map(usize::from);
    running::threads(config.run.threads)?;
    let request = Request {
        task,
        dtype,
        batch,
        noise: arguments.noise,
        before: arguments.before,
    };
    let d = dump(&config, &request)?;
    safetensors::write(&arguments.dump, &d.file)?;
    if context.json() {
        context.print_json(&serde_json::json!({
            "file": arguments.dump, "tensors": d.file.tensors.len(),
            "arch_loss": d.arch_loss, "weight_loss": d.weight_loss, "grad_norm": d.norm,
        }))?;
    } else {
        context.print(&format!(
            "{}: {} tensors; {task} {dtype}, architecture loss {:.6}, weight loss {:.6}, gradient norm {:.4}\n",
            arguments.dump.display(),
            d.file.tensors.len(),
            d.arch_loss,
            d.weight_loss,
            d.norm
        ))?;
    }
    Ok(0)
}
