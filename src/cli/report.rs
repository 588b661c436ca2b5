//! `mtnas report`: one offline page about a run.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use crate::error::Result;
use crate::report;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas report runs/driving-small\n  mtnas report runs/driving-small -o page.html"
)]
pub(super) struct Arguments {
    /// Directory of the run, finished or not
    run: PathBuf,
    /// The page; report.html in the run without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Finished run of a task alone, for relative changes
    ///
    /// Once for each task, as for `mtnas eval`
    #[arg(long, value_name = "RUN")]
    baseline: Vec<PathBuf>,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let out = arguments
        .output
        .unwrap_or_else(|| arguments.run.join("report.html"));
    for note in report::write(&arguments.run, &out, &arguments.baseline)? {
        eprintln!("note: {note}");
    }
    context.print(&format!("{}\n", out.display()))?;
    Ok(0)
}
