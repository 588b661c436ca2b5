//! `mtnas train`: a given architecture trained, evaluated and reported like a searched one.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arch::target::Target;
use super::{Context, running};
use crate::error::{Code, Error, Result, nearest};
use crate::model::config::{Frame, TrunkKind};
use crate::model::preset::HAND;
use crate::search::config::{Config, Override};
use crate::search::{given, method};
use crate::task::config::TaskKind;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas train configs/demo.toml --genotype mtnas\n  mtnas train my.toml --genotype runs/a --run runs/a-again --seed 1\n  mtnas train configs/mtl-resnet18-release.toml\n  mtnas train my.toml --arch mtl-resnet18 --weights resnet18.safetensors\n\n\
    Trains as [finetune] says. A branch without a genotype is hand-crafted.\n\
    Made by hand are mtl-resnet18, ssd-resnet18 and fcn-resnet18; classifiers\nresnet18, resnet34, resnet50, vgg16, vgg16-deeplab and mobilenet-v2."
)]
pub(super) struct Arguments {
    /// The configuration
    config: PathBuf,
    /// Run, genotype file, published name, or `random`; else the config's
    #[arg(long, value_name = "GENOTYPE")]
    genotype: Option<String>,
    /// A network made by hand instead of cells
    #[arg(long, value_name = "NAME", conflicts_with = "genotype")]
    arch: Option<String>,
    /// Weights to start from, safetensors (docs/networks.md)
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
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
    let hand = arguments.arch.as_deref().map(by_hand).transpose()?;
    if let Some((name, frame, trunk, _)) = hand {
        let mut set = |key: &str, text: String| {
            overrides.push(Override::flag(key, text, format!("--arch {name}")));
        };
        set("model.frame", frame.to_string());
        if frame == Frame::Trunk {
            set("model.trunk", trunk.to_string());
        }
        for part in ["backbone", "det", "seg"] {
            set(&format!("search.genotypes.{part}"), String::new());
        }
    }
    if let Some(file) = &arguments.weights {
        let text = file.display().to_string();
        overrides.push(Override::flag("model.weights", text, "--weights"));
    }
    let mut config = Config::load(&arguments.config, &overrides)?;
    if let Some((name, Frame::MtlResnet18, _, [det, seg])) = hand {
        config.tasks.retain(|_, t| match t.kind {
            TaskKind::Detection => det,
            _ => seg,
        });
        if config.tasks.is_empty() {
            let text = format!("the configuration has no task for {name}");
            return Err(Error::new(Code::ConfigValue, text).at("tasks"));
        }
    }
    let config = given::written_out(config)?;
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

/// The row of a network made by hand.
///
/// # Errors
/// `Usage` with the nearest name.
fn by_hand(name: &str) -> Result<(&'static str, Frame, TrunkKind, [bool; 2])> {
    let found = HAND
        .into_iter()
        .find(|row| row.0.eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let names: Vec<&str> = HAND.iter().map(|row| row.0).collect();
        let e = Error::new(Code::Usage, format!("no network is called {name:?}")).at("--arch");
        match nearest(name, names.iter().copied()) {
            Some(n) => e.help(format!("a network with a similar name exists: {n}")),
            None => e.help(format!("there are {}", names.join(", "))),
        }
    })
}
