//! `mtnas step`: one architecture step and one weight step, written out for whoever wants to recompute them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Context, running};
use crate::error::{Code, Result};
use crate::export::safetensors;
use crate::search::config::{Config, Precision};
use crate::search::step_compare::Compared;
use crate::search::step_dump::{Request, compare, dump};
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
    Bf16,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas step configs/demo.toml --dump step.safetensors --task det --noise\n  \
    mtnas step configs/demo.toml --dump s.safetensors --dtype f64 --noise\n  \
    mtnas step configs/demo.toml --noise --device cuda --compare 20 --within 1e-5\n\n\
    docs/step-dump.md describes the file; tests/reference/step recomputes it."
)]
pub(super) struct Arguments {
    /// The configuration
    config: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE", required_unless_present = "compare")]
    dump: Option<PathBuf>,
    /// Hold so many steps of the device against the processor
    #[arg(long, value_name = "N", conflicts_with_all = ["dump", "before"], value_parser = clap::value_parser!(u16).range(1..))]
    compare: Option<u16>,
    /// With --compare: fail when a loss differs by more, relatively
    #[arg(long, value_name = "SHARE", requires = "compare")]
    within: Option<f64>,
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
        Float::Bf16 => Precision::Bf16,
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
    if let Some(n) = arguments.compare {
        let all = compare(&config, &request, n.into())?;
        return conclude(&all, arguments.within, context);
    }
    let file = arguments.dump.unwrap_or_default();
    let d = dump(&config, &request)?;
    safetensors::write(&file, &d.file)?;
    if context.json() {
        context.print_json(&serde_json::json!({
            "file": file, "tensors": d.file.tensors.len(),
            "arch_loss": d.arch_loss, "weight_loss": d.weight_loss, "grad_norm": d.norm,
        }))?;
    } else {
        context.print(&format!(
            "{}: {} tensors; {task} {dtype}, architecture loss {:.6}, weight loss {:.6}, gradient norm {:.4}\n",
            file.display(),
            d.file.tensors.len(),
            d.arch_loss,
            d.weight_loss,
            d.norm
        ))?;
    }
    Ok(0)
}

/// The table of a comparison; fails when a loss is further off than it may be.
fn conclude(all: &[Compared], within: Option<f64>, context: &Context) -> Result<u8> {
    let worst = all.iter().map(|c| c.difference).fold(0.0, f64::max);
    if context.json() {
        context.print_json(&serde_json::json!({"steps": all, "worst": worst}))?;
    } else {
        let mut text = String::from(
            "step  architecture loss            weight loss                  difference\n",
        );
        for c in all {
            let [(a, b), (p, q)] = [(c.processor[0], c.device[0]), (c.processor[1], c.device[1])];
            text += &format!(
                "{:4}  {a:.9} {b:.9}  {p:.9} {q:.9}  {:.1e}\n",
                c.step, c.difference
            );
        }
        context.print(
            &(text + &format!("each the processor's, then the device's; worst {worst:.1e}\n")),
        )?;
    }
    let over = within.is_some_and(|w| !(worst <= w));
    Ok(if over { Code::CheckFailed.exit() } else { 0 })
}
