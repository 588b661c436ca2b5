//! `mtnas search`: the whole search that a configuration describes, ending in a report.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Context, running};
use crate::error::Result;
use crate::search::config::Config;
use crate::search::method;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas search configs/driving-small.toml\n  mtnas search my.toml --run runs/seed-1 --seed 1 -s search.batch=16"
)]
pub(super) struct Arguments {
    /// The configuration
    config: PathBuf,
    /// Directory of the run; runs/NAME-OF-THE-CONFIGURATION without it
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let config = Config::load(&arguments.config, &context.overrides()?)?;
    let name = arguments.config.file_stem().unwrap_or_default();
    let path = arguments
        .run
        .unwrap_or_else(|| running::free_directory(&Path::new("runs").join(name)));
    running::threads(config.run.threads)?;
    let mut session = running::start(path, config, context)?;
    let result = method::run(&mut session)?;
    running::conclude(&session, &result, context)?;
    Ok(0)
}
