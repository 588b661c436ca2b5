//! `mtnas data`: makes, checks, counts, shows and converts data sets. One file a command; `chosen` says which sets are meant.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Context, running};
use crate::data::synth::{SynthConfig, generate};
use crate::error::Result;

mod check;
mod chosen;
mod convert;
mod preview;
mod stats;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas data synth scenes --train 500 --size 320x512\n  mtnas data check /data/kitti"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Draw driving scenes in the KITTI and Cityscapes formats, and an image folder
    Synth(Synth),
    /// Read everything and report each defect with file and line
    Check(check::Check),
    /// Count classes, sizes, colours
    Stats(stats::Count),
    /// Draw a contact sheet of samples with their labels
    Preview(preview::Preview),
    /// Write a data set in another format, into a new folder
    Convert(convert::Convert),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas data synth scenes\n  mtnas data synth scenes --size 320x512 --train 500 --seed 1"
)]
struct Synth {
    /// Where to write; absent or empty
    dir: PathBuf,
    /// Height x width of a scene
    #[arg(long, default_value = "96x160", value_parser = size)]
    size: [usize; 2],
    /// Training scenes of each part
    #[arg(long, default_value_t = 240)]
    train: usize,
    /// Held-out scenes of each part
    #[arg(long, default_value_t = 60)]
    val: usize,
    /// Also write the crops as CIFAR-10 binary files
    #[arg(long)]
    cifar: bool,
}

fn size(text: &str) -> std::result::Result<[usize; 2], String> {
    let parts = text
        .split_once('x')
        .and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
    parts.ok_or_else(|| "expected HEIGHTxWIDTH, for example 96x160".to_string())
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    running::threads(context.threads().unwrap_or(0))?;
    match arguments.what {
        What::Synth(a) => synth(&a, context),
        What::Check(a) => check::run(&a, context),
        What::Stats(a) => stats::run(&a, context),
        What::Preview(a) => preview::run(&a, context),
        What::Convert(a) => convert::run(&a, context),
    }
}

fn synth(a: &Synth, context: &Context) -> Result<u8> {
    let config = SynthConfig {
        seed: context.seed().unwrap_or(0),
        size: a.size,
        train: a.train,
        val: a.val,
        cifar: a.cifar,
        ..SynthConfig::default()
    };
    generate(&a.dir, &config)?;
    context.print(&format!("{}\n", a.dir.display()))?;
    Ok(0)
}
