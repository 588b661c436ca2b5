//! `mtnas resume`: takes up a run where it was; it ends with the same bits as an undisturbed one.

use std::path::PathBuf;

use clap::Args;

use super::{Context, running};
use crate::error::Result;
use crate::search::method;
use crate::search::progress::Progress;
use crate::search::run_dir::RunDir;
use crate::search::session::Session;
use crate::search::signals::Stop;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas resume runs/driving-small\n  mtnas resume runs/driving-small --threads 1"
)]
pub(super) struct Arguments {
    /// Directory of the run
    run: PathBuf,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let resumed = RunDir::resume(arguments.run, &context.overrides()?)?;
    running::threads(resumed.config.run.threads)?;
    let mut session = Session::resume(resumed, Progress::new(context.show()), Stop::on_signals()?)?;
    let result = method::run(&mut session)?;
    running::conclude(&session, &result, context)?;
    Ok(0)
}
