//! `mtnas arch cost`: parameters and multiply-adds, counted without building anything.

use std::path::Path;

use clap::{Args, ValueEnum};

use super::super::Context;
use super::counted::Named;
use super::target::Target;
use crate::error::{Code, Error, Result};
use crate::model::Cells;
use crate::model::preset::Preset;
use crate::search::config::{Config, Override};
use crate::search::networks::Parts;
use crate::search::{classes, model_file, planned};
use crate::space::NetworkGenotype;

pub(super) const HELP: &str = "\
Examples:
  mtnas arch cost PC_DARTS_cifar --network imagenet --json
  mtnas arch cost MTNAS --input 384x640
  mtnas arch cost supernet --network mtnas-peer --layers
  mtnas arch cost mtl-resnet18 --json
  mtnas arch cost configs/driving-small.toml
  mtnas arch cost runs/driving-small

Parameters are those of convolutions, linear layers and affine normalisation,
without the auxiliary head; multiply-adds are those of convolutions (conv
MACs) and of linear layers, for one image. GFLOPs are 2 x conv MACs.
Architecture parameters are not counted. `supernet` of cifar and imagenet has
16 channels and 8 cells. With --json a configuration's last network stands
at the top, all of them under `networks`.";

/// Networks that a genotype can be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum InNetwork {
    /// DARTS on CIFAR: 36 channels, 20 cells, 32x32
    Cifar,
    /// DARTS on ImageNet: 48 channels, 14 cells, 224x224
    Imagenet,
    /// Released MTNAS: 32 channels, 14 cells, 320x512
    MtnasRelease,
    /// PyTorch peer: 16 channels, 8 cells, 320x512
    MtnasPeer,
}

impl InNetwork {
    fn preset(self, supernet: bool) -> Preset {
        match self {
            InNetwork::Cifar => Preset::cifar(supernet),
            InNetwork::Imagenet => Preset::imagenet(supernet),
            InNetwork::MtnasRelease => Preset::release(),
            InNetwork::MtnasPeer => Preset::peer(),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Configuration (.toml), run, genotype file or name, or `supernet`;
    /// resnet18, resnet34, resnet50, vgg16, vgg16-deeplab, mobilenet-v2,
    /// mtl-resnet18, ssd-resnet18, fcn-resnet18
    target: String,
    /// Network around a genotype's cells; mtnas-release without it
    #[arg(long, value_name = "NAME")]
    pub(super) network: Option<InNetwork>,
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
    /// List every layer
    #[arg(long)]
    layers: bool,
}

/// `320x512`.
fn size(text: &str) -> std::result::Result<[usize; 2], String> {
    let side = |s: &str| s.parse().ok().filter(|n| (1..=8192).contains(n));
    text.split_once(['x', 'X'])
        .and_then(|(h, w)| Some([side(h)?, side(w)?]))
        .ok_or_else(|| "expected HEIGHTxWIDTH in pixels, for example 320x512".into())
}

pub(super) fn run(a: Arguments, context: &Context) -> Result<()> {
    let list = match Target::new(&a.target)? {
        Target::Config(path) => of_config(&path, &a, context)?,
        Target::Run(path) => vec![of_run(&path, &a, context)?],
        Target::Supernet => vec![of_genotype(None, &a, context)?],
        Target::Hand(name) => vec![super::hand::cost(name, &a, context)?],
        Target::Genotype(g) => vec![of_genotype(Some(*g), &a, context)?],
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

fn usage(what: &str, help: &str) -> Error {
    Error::new(Code::Usage, what).help(help)
}

/// Every network that a configuration trains and whose cells are known, the last one last.
fn of_config(path: &Path, a: &Arguments, context: &Context) -> Result<Vec<Named>> {
    if a.network.is_some() {
        return Err(usage(
            "a configuration says itself which network it has",
            "leave --network out, or set `-s model.frame=NAME`",
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
    if flags || !a.classes.is_empty() || a.partial_k.is_some() {
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

/// A genotype in one of the networks of the papers, or that network's supernet.
fn of_genotype(g: Option<NetworkGenotype>, a: &Arguments, context: &Context) -> Result<Named> {
    if !context
        .overrides()?
        .iter()
        .all(|o| ["run.seed", "run.threads"].contains(&o.key.as_str()))
    {
        return Err(usage(
            "-s sets keys of a configuration, and there is none",
            "use --channels, --cells, --input, --classes, --partial-k",
        ));
    }
    let into = a.network.unwrap_or(InNetwork::MtnasRelease);
    let mut preset = into.preset(g.is_none());
    let published = preset.size;
    let f = &mut preset.frame;
    f.channels = a.channels.map_or(f.channels, usize::from);
    f.cells = a.cells.map_or(f.cells, usize::from);
    f.partial_k = a.partial_k.map_or(f.partial_k, usize::from);
    preset.size = a.input.unwrap_or(preset.size);
    preset.auxiliary &= preset.size == published;
    let number = |n: u32| n as usize;
    match (a.classes.as_slice(), &mut preset.classes, &mut preset.dense) {
        ([], _, _) => {}
        (&[n], Some(classes), _) => *classes = number(n),
        (&[det, seg], None, Some(dense)) => *dense = [number(det), number(seg)],
        (_, Some(_), _) => {
            return Err(usage(
                "--classes: a classifier has one number of classes",
                "for example --classes 10",
            ));
        }
        _ => {
            return Err(usage(
                "--classes: this network has two numbers of classes, of detection and of segmentation",
                "for example --classes 3,16",
            ));
        }
    }
    preset.frame.check_size(preset.size)?;
    let name = into.to_possible_value().expect("no value is hidden");
    let Some(g) = g else {
        return Named::new(
            &format!("{} supernet", name.get_name()),
            None,
            &preset.supernet(),
        );
    };
    let branches = preset.frame.searched_branches();
    let note = match (g.det.is_some() || g.seg.is_some(), branches) {
        (true, false) => Some("the genotype's branches are not part of this network"),
        (_, true) if g.det.is_none() || g.seg.is_none() => {
            Some("a branch without genotype is the hand-crafted one")
        }
        _ => None,
    };
    let parts = Parts::derived(&g);
    let hand = || (Cells::HandCrafted, Cells::HandCrafted);
    let (det, seg) = if branches {
        (parts.det, parts.seg)
    } else {
        hand()
    };
    Named::new(
        name.get_name(),
        note,
        &preset.spec(parts.backbone, det, seg),
    )
}
