//! `mtnas eval`: figures of a finished run's network on the held-out data.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Context, running};
use crate::data::dataset::Format;
use crate::error::{Code, Error, Result};
use crate::metrics::Protocol;
use crate::model::Mixing;
use crate::report::delta;
use crate::report::records::Which;
use crate::search::config::Config;
use crate::search::evaluate::{Evaluator, record};
use crate::search::model_file;
use crate::search::pipeline::Benches;
use crate::task::config::TaskKind;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas eval runs/driving-small --json\n  mtnas eval runs/driving-small --fail-under mAP=0.4 --fail-under mIoU=0.5\n  mtnas eval runs/driving-small --protocol kitti-r40,coco --size own\n  mtnas eval runs/joint --baseline runs/seg-alone --baseline runs/depth-alone"
)]
pub(super) struct Arguments {
    /// Directory of a finished run
    run: PathBuf,
    /// End with status 1 if a figure is lower: mAP, mIoU, top-1, delta_m
    #[arg(long, value_name = "NAME=VALUE")]
    fail_under: Vec<String>,
    /// Rules of average precision, the first one for the headline
    ///
    /// Default: those of the run, for KITTI data the official ones too
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    protocol: Vec<String>,
    /// Finished run of a task alone, for relative changes
    ///
    /// Once for each task; delta_m is the mean change over tasks and figures
    #[arg(long, value_name = "RUN")]
    baseline: Vec<PathBuf>,
    /// Size at which boxes and classes are compared (KITTI's rules: own)
    #[arg(long, value_enum, default_value_t = Size::Network)]
    size: Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Size {
    /// That of the network's input, as during training
    Network,
    /// That of each picture file
    Own,
}

/// The protocols asked for, or the official ones beside those of the run where the data are KITTI's.
fn set_protocols(config: &mut Config, asked: &[Protocol]) {
    let format_of = |c: &Config, data: &str| c.data.get(data).map(|d| d.format);
    for name in config.tasks.keys().cloned().collect::<Vec<_>>() {
        let task = &config.tasks[&name];
        if task.kind != TaskKind::Detection {
            continue;
        }
        let kitti = format_of(config, &task.data) == Some(Format::Kitti);
        let Some(task) = config.tasks.get_mut(&name) else {
            continue;
        };
        let protocols = &mut task.detection.get_or_insert_default().protocols;
        if !asked.is_empty() {
            *protocols = asked.to_vec();
        } else if kitti {
            for p in [Protocol::KittiR40, Protocol::KittiR11] {
                if !protocols.contains(&p) {
                    protocols.push(p);
                }
            }
        }
    }
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let limits = arguments
        .fail_under
        .iter()
        .map(|t| limit(t))
        .collect::<Result<Vec<_>>>()?;
    let mut asked = vec![];
    for name in &arguments.protocol {
        let p = Protocol::parse(name)
            .map_err(|e| Error::new(Code::Usage, e.message().to_string()).at("--protocol"))
            .map_err(|e| {
                e.help(format!(
                    "known are {}",
                    Protocol::ALL.map(Protocol::name).join(", ")
                ))
            })?;
        if !asked.contains(&p) {
            asked.push(p);
        }
    }
    let mut config = Config::load(arguments.run.join("run.toml"), &context.overrides()?)?;
    set_protocols(&mut config, &asked);
    running::threads(config.run.threads)?;
    let f = model_file::open(&arguments.run, config)?;
    let benches = Benches::held_out(&f.config)?.all();
    f.check_classes(&benches)?;
    let benches: Vec<_> = benches.iter().map(|b| &**b).collect();
    let genotypes = f.genotypes();
    let evaluator = Evaluator {
        own_size: arguments.size == Size::Own,
        ..Evaluator::new(&f.config)?
    };
    let mut r = record(
        &evaluator,
        Which::Searched,
        &benches,
        &f.net,
        &f.store,
        genotypes,
        Mixing::Parameters,
    )?;
    if !arguments.baseline.is_empty() {
        let baselines = delta::read(&arguments.baseline)?;
        r.delta = Some(delta::against(&r, &baselines)?);
    }
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
            "delta_m" => r.delta.as_ref().and_then(|d| d.mean),
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
        .filter(|(n, _)| ["mAP", "mIoU", "top-1", "delta_m"].contains(&n.as_str()))
        .ok_or_else(|| {
            Error::new(
                Code::Usage,
                format!("--fail-under {text}: expected mAP, mIoU, top-1 or delta_m and a number"),
            )
            .help("for example --fail-under mAP=0.4")
        })
}
