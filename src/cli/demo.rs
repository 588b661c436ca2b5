//! `mtnas demo`: the main job with nothing at hand. Makes a driving data set, searches, trains, evaluates, reports.

use std::path::PathBuf;

use clap::Args;

use super::{Context, running};
use crate::data::synth::{self, SynthConfig};
use crate::error::Result;
use crate::search::config::{Config, Override};
use crate::search::method;

const CONFIG: &str = include_str!("../../configs/demo.toml");

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mtnas demo\n  mtnas demo --dir /tmp/demo --seed 1")]
pub(super) struct Arguments {
    /// Where data and runs go
    #[arg(long, value_name = "DIR", default_value = "demo")]
    dir: PathBuf,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let data = arguments.dir.join("data");
    let root = |set: &str, folder: &str| {
        Override::flag(
            &format!("data.{set}.root"),
            data.join(folder).display().to_string(),
            "--dir",
        )
    };
    let mut overrides = vec![
        root("kitti", "kitti"),
        root("cityscapes", "cityscapes"),
        root("objects", "folder"),
    ];
    overrides.extend(context.overrides()?);
    let config = Config::from_toml_with(CONFIG, "configs/demo.toml", &overrides)?;
    running::threads(config.run.threads)?;
    std::fs::create_dir_all(&arguments.dir).map_err(|e| crate::Error::io(&arguments.dir, e))?;
    synth::generate(
        &data,
        &SynthConfig {
            size: config.input.size,
            ..SynthConfig::default()
        },
    )?;
    let path = running::free_directory(&arguments.dir.join("run"));
    let mut session = running::start(path, config, context)?;
    session.progress.say(&format!(
        "data in {}, run in {}",
        data.display(),
        session.dir.path().display()
    ));
    let result = method::run(&mut session)?;
    running::conclude(&session, &result, context)?;
    Ok(0)
}
