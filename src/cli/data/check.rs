//! `mtnas data check`.

use clap::Args;

use super::chosen::Target;
use crate::cli::Context;
use crate::data::check::check_all;
use crate::error::Result;

/// Defects printed before the rest is only counted.
const SHOWN: usize = 200;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas data check /data/kitti
  mtnas data check scenes --json
  mtnas data check configs/mtnas-mixed.toml --only mixed-boxes

Of a configuration every data set is read with its own classes and splits; the
sources of a mixed set are read as its parts, and its list files with them.")]
pub(super) struct Check {
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(a: &Check, context: &Context) -> Result<u8> {
    let sets = a.target.sets(context)?;
    // The sources of a mixed set are read as its parts.
    let is_source = |name: &Option<String>| {
        let mut sources = sets.iter().flat_map(|s| &s.config.mixed.sources);
        !a.target.is_part() && sources.any(|(source, _)| Some(source) == name.as_ref())
    };
    let configs = sets.iter().filter(|s| !is_source(&s.name));
    let report = check_all(configs.map(|s| &s.config))?;
    let defects = report.defects.len();
    if context.json() {
        context.print_json(&report)?;
        return Ok(u8::from(defects > 0));
    }
    let mut text = String::new();
    for d in report.defects.iter().take(SHOWN) {
        text += &format!("{} {d}\n", d.code);
    }
    if defects > SHOWN {
        text += &format!("... and {} more\n", defects - SHOWN);
    }
    for note in &report.notes {
        text += &format!("note: {note}\n");
    }
    text += &format!(
        "{} pictures in {}: {defects} defects\n",
        report.images,
        report.sets.join(", ")
    );
    context.print(&text)?;
    Ok(u8::from(defects > 0))
}
