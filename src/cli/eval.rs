//! `mtnas eval`: figures of a finished run's network on the held-out data.

use std::path::PathBuf;

use clap::Args;

use super::{Context, running};
use crate::error::{Code, Error, Result};
use crate::model::Mixing;
use crate::report::records::Which;
use crate::search::config::Config;
use crate::search::evaluate::{Evaluator, record};
use crate::search::model_file;
use crate::search::pipeline::Benches;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas eval runs/driving-small --json\n  mtnas eval runs/driving-small --fail-under mAP=0.4 --fail-under mIoU=0.5"
)]
pub(super) struct Arguments {
    /// Directory of a finished run
    run: PathBuf,
    /// End with status 1 if a headline figure is lower: mAP, mIoU or top-1
    #[arg(long, value_name = "NAME=VALUE")]
    fail_under: Vec<String>,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let limits = arguments
        .fail_under
        .iter()
        .map(|t| limit(t))
        .collect::<Result<Vec<_>>>()?;
    let config = Config::load(arguments.run.join("run.toml"), &context.overrides()?)?;
    running::threads(config.run.threads)?;
    let f = model_file::open(&arguments.run, config)?;
    let benches = Benches::held_out(&f.config)?.all();
    f.check_classes(&benches)?;
    let benches: Vec<_> = benches.iter().map(|b| &**b).collect();
    let genotypes = f.genotypes();
    let r = record(
        &Evaluator::new(&f.config)?,
        Which::Searched,
        &benches,
        &f.net,
        &f.store,
        genotypes,
        Mixing::Parameters,
    )?;
    match context.json() {
        true => context.print_json(&r)?,
        false => context.print(&running::summary(&r))?,
    }
    for (name, least) in limits {
        let value = match name.as_str() {
            "mAP" => r
                .detection
                .as_ref()
                .and_then(|d| d.protocols.get(&d.main)?.mean),
            "mIoU" => r
                .segmentation
                .as_ref()
                .and_then(|s| s.miou.get(&s.main).copied()),
            _ => r.classification.as_ref().map(|c| c.top1),
        };
        if value.is_none_or(|v| v < least) {
            let got = value.map_or("not measured".to_string(), |v| format!("{v:.4}"));
            return Err(Error::new(
                Code::CheckFailed,
                format!("{name} is {got}, less than {least}"),
            )
            .at(arguments.run.display()));
        }
    }
    Ok(0)
}

fn limit(text: &str) -> Result<(String, f64)> {
    let parsed = text
        .split_once('=')
        .and_then(|(n, v)| Some((n.trim().to_string(), v.trim().parse().ok()?)));
    parsed
        .filter(|(n, _)| ["mAP", "mIoU", "top-1"].contains(&n.as_str()))
        .ok_or_else(|| {
            Error::new(
                Code::Usage,
                format!("--fail-under {text}: expected mAP, mIoU or top-1 and a number"),
            )
            .help("for example --fail-under mAP=0.4")
        })
}
