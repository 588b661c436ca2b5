//! `mtnas train`: a given architecture trained, evaluated and reported like a searched one.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arch::target::Target;
use super::{Context, running};
use crate::error::Result;
use crate::search::config::{Config, Override};
use crate::search::{given, method};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas train configs/demo.toml --genotype mtnas\n  mtnas train my.toml --genotype runs/a --run runs/a-again --seed 1\n\n\
    Trains as [finetune] says. A branch without a genotype is hand-crafted."
)]
pub(super) struct Arguments {
    /// The configuration
    config: PathBuf,
    /// Run, genotype file, published name, or `random`; else the config's
    #[arg(long, value_name = "GENOTYPE")]
    genotype: Option<String>,
    /// Directory of the run; runs/train-NAME-OF-THE-CONFIGURATION without it
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let mut overrides = context.overrides()?;
    overrides.push(Override::flag("search.method", "given", "mtnas train"));
    if let Some(what) = &arguments.genotype {
        let mut set = |part: &str, text: String| {
            let key = format!("search.genotypes.{part}");
            overrides.push(Override::flag(&key, text, format!("--genotype {what}")));
        };
        if what == "random" {
            for part in ["backbone", "det", "seg"] {
                set(part, what.clone());
            }
        } else {
            for (part, g) in Target::genotype(what)?.parts() {
                set(part, g.to_string());
            }
        }
    }
    let config = given::written_out(Config::load(&arguments.config, &overrides)?)?;
    let name = arguments.config.file_stem().unwrap_or_default();
    let base = Path::new("runs").join(format!("train-{}", name.to_string_lossy()));
    let path = arguments
        .run
        .unwrap_or_else(|| running::free_directory(&base));
    running::threads(config.run.threads)?;
    let mut session = running::start(path, config, context)?;
    let result = method::run(&mut session)?;
    running::conclude(&session, &result, context)?;
    Ok(0)
}
