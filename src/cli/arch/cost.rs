//! `mtnas arch cost`: parameters and multiply-adds, counted without building anything.

use std::path::Path;

use clap::Args;

use super::super::Context;
use super::counted::Named;
use super::in_network::{self, Branches, InNetwork};
use super::target::Target;
use crate::error::{Code, Error, Result};
use crate::search::config::{Config, Override};
use crate::search::{classes, model_file, planned};

pub(super) const HELP: &str = "\
Examples:
  mtnas arch cost PC_DARTS_cifar --network imagenet --json
  mtnas arch cost PDARTS --branches hand-crafted --input 384x640
  mtnas arch cost MTNAS -s model.cells=11 -s model.reductions=[3,6,9]
  mtnas arch cost supernet --network mtnas-peer --layers
  mtnas arch cost mtl-resnet18 --json
  mtnas arch cost configs/driving-small.toml
  mtnas arch cost runs/driving-small

Parameters are those of convolutions, linear layers and affine normalisation,
without the auxiliary head; multiply-adds are those of convolutions (conv
MACs) and of linear layers, for one image. GFLOPs are 2 x conv MACs.
Architecture parameters are not counted. Heads are the output layers.

Work on single values is counted apart, of one image in evaluation: a
normalisation is 2 operations a value; a rectifier, a sum of two maps and a
bias 1; a pooling as many as its window has places, for each value of its
result; nearest enlargement 1 for each, bilinear 7; a weighted sum of n maps
2n - 1. Moving values (concatenation, slices, shuffles) is none.

Activations are the bytes of one image that a step on a GPU keeps for the way
back: found by recording the step on a device that executes nothing; the
image is among them, parameters, loss and drop path are not.

Made by hand are resnet18, resnet34, resnet50, vgg16, vgg16-deeplab,
mobilenet-v2, mtl-resnet18, ssd-resnet18 and fcn-resnet18.

`supernet` of cifar and imagenet has 16 channels and 8 cells. With --json a
configuration's last network stands at the top, all under `networks`.";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration, run, genotype, `supernet`, or a network made by hand
    target: String,
    /// Network around a genotype's cells; mtnas-release without it
    #[arg(long, value_name = "NAME")]
    pub(super) network: Option<InNetwork>,
    /// Branches around a genotype's backbone, in place of its own
    #[arg(long, value_name = "WHICH")]
    pub(super) branches: Option<Branches>,
    /// Initial channels
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) channels: Option<u16>,
    /// Backbone cells
    #[arg(long, value_name = "L", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) cells: Option<u16>,
    /// Height and width of the input in pixels
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub(super) input: Option<[usize; 2]>,
    /// Classes of the classifier; of detection and segmentation as N,N
    #[arg(long, value_name = "N", value_delimiter = ',', num_args = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) classes: Vec<u32>,
    /// Partial channels k of search cells
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) partial_k: Option<u16>,
    /// List every layer and every operation on single values
    #[arg(long)]
    layers: bool,
}

/// `320x512`.
pub(in crate::cli) fn size(text: &str) -> std::result::Result<[usize; 2], String> {
    let side = |s: &str| s.parse().ok().filter(|n| (1..=8192).contains(n));
    text.split_once(['x', 'X'])
        .and_then(|(h, w)| Some([side(h)?, side(w)?]))
        .ok_or_else(|| "expected HEIGHTxWIDTH in pixels, for example 320x512".into())
}

pub(super) fn run(a: Arguments, context: &Context) -> Result<()> {
    let list = match Target::new(&a.target)? {
        Target::Config(path) => of_config(&path, &a, context)?,
        Target::Run(path) => vec![of_run(&path, &a, context)?],
        Target::Supernet => vec![in_network::count(None, &a, context)?],
        Target::Hand(name) => vec![super::hand::cost(name, &a, context)?],
        Target::Genotype(g) => vec![in_network::count(Some(*g), &a, context)?],
    };
    if context.json() {
        let last = list.last().expect("at least one network");
        let mut v = last.json(a.layers);
        if list.len() > 1 {
            v["networks"] = list.iter().map(|n| n.json(a.layers)).collect();
        }
        return context.print_json(&v);
    }
    context.print(&list.iter().map(|n| n.text(a.layers)).collect::<String>())
}

pub(super) fn usage(what: &str, help: &str) -> Error {
    Error::new(Code::Usage, what).help(help)
}

/// Every network that a configuration trains and whose cells are known, the last one last.
fn of_config(path: &Path, a: &Arguments, context: &Context) -> Result<Vec<Named>> {
    if a.network.is_some() || a.branches.is_some() {
        return Err(usage(
            "a configuration says itself which network it has",
            "leave --network and --branches out, or set `-s model.frame=NAME`, `-s model.branches=NAME`",
        ));
    }
    let given = match a.classes[..] {
        [] => None,
        [n] => Some(n as usize),
        _ => {
            return Err(usage(
                "the classes of detection and segmentation are those of the configuration",
                "give --classes one number, that of an image folder that is not there",
            ));
        }
    };
    let mut overrides = context.overrides()?;
    let mut set = |key: &str, value: Option<u16>, flag: &str| {
        overrides.extend(value.map(|v| Override::flag(key, i64::from(v), format!("{flag} {v}"))));
    };
    set("model.channels", a.channels, "--channels");
    set("model.cells", a.cells, "--cells");
    set("model.partial_k", a.partial_k, "--partial-k");
    if let Some(size) = a.input {
        overrides.push(Override::flag(
            "input.size",
            size.map(|s| s as i64).to_vec(),
            "--input",
        ));
    }
    let config = Config::load(path, &overrides)?;
    let heads = classes::heads(&config, given)?;
    let presearch = config.data.get(&config.search.presearch.data);
    let presearch = presearch.map(classes::known).transpose()?.flatten();
    let presearch = presearch.map(|names| names.len()).or(given);
    let list: Vec<Named> = planned::networks(&config, &heads, presearch)?
        .iter()
        .map(|p| Named::new(p.stage, p.note, &p.spec))
        .collect::<Result<_>>()?;
    match list.is_empty() {
        true => Err(Error::new(
            Code::ConfigValue,
            "the configuration trains nothing whose cells are known",
        )
        .at(path.display())
        .help("give its backbone cells with `search.genotypes.backbone`, or let it search them")),
        false => Ok(list),
    }
}

/// The network that a run ended with.
fn of_run(path: &Path, a: &Arguments, context: &Context) -> Result<Named> {
    let flags =
        a.network.is_some() || a.channels.is_some() || a.cells.is_some() || a.input.is_some();
    if flags || !a.classes.is_empty() || a.partial_k.is_some() || a.branches.is_some() {
        let help = format!(
            "its cells in another network: mtnas arch cost {}/final/genotype.txt",
            path.display()
        );
        return Err(usage("the network of a run is fixed", &help));
    }
    crate::search::run_dir::RunDir::config_of(path)?;
    let config = Config::load(path.join("run.toml"), &context.overrides()?)?;
    Named::new("final", None, &model_file::plan(path, &config)?.spec)
}
