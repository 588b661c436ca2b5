//! What is exported: the network of a finished run, or a genotype in a network of the papers with its first values.

use std::path::Path;

use clap::Args;

use super::super::arch::cost::size;
use super::super::arch::in_network::InNetwork;
use super::super::arch::target::Target;
use super::super::{Context, running};
use super::usage;
use crate::data::normalise::Normalise;
use crate::error::Result;
use crate::export::onnx::Decoding;
use crate::model::preset::Preset;
use crate::model::{Cells, Network, NetworkSpec};
use crate::nn::Store;
use crate::search::config::Config;
use crate::search::model_file;
use crate::search::networks::Parts;
use crate::search::workbench::prior_layout;
use crate::space::NetworkGenotype;
use crate::task::config::TaskKind;
use crate::task::decode::DecodeConfig;
use crate::task::priors::Priors;
use crate::tensor::DType;

/// The network around a genotype.
#[derive(Debug, Args)]
pub(in crate::cli) struct Around {
    /// Network around a genotype's cells; mtnas-release without it
    #[arg(long, value_name = "NAME")]
    network: Option<InNetwork>,
    /// Initial channels
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u16).range(1..))]
    channels: Option<u16>,
    /// Backbone cells
    #[arg(long, value_name = "L", value_parser = clap::value_parser!(u16).range(1..=256))]
    cells: Option<u16>,
    /// Height and width of the input in pixels
    #[arg(long, value_name = "HxW", value_parser = size)]
    input: Option<[usize; 2]>,
    /// Detection levels
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7))]
    levels: Option<u8>,
}

impl Around {
    /// Whether anything of it was given.
    pub fn given(&self) -> bool {
        let numbers = self.channels.is_some() || self.cells.is_some() || self.levels.is_some();
        self.network.is_some() || self.input.is_some() || numbers
    }
}

/// A detection head's priors and limits.
struct Detection {
    priors: Priors,
    config: DecodeConfig,
    classes: usize,
}

/// One task: what it predicts, its classes where they are known, what its data are normalised with.
pub(in crate::cli) struct Head {
    pub kind: TaskKind,
    pub classes: Vec<String>,
    pub normalise: Normalise,
    /// Side of the middle square that is seen, as a share of the shorter side; `None`: the whole picture.
    pub centre: Option<f64>,
}

/// A network with its values in f32.
pub(in crate::cli) struct Source {
    pub net: Network,
    pub store: Store,
    /// Its cells; a network made by hand has none.
    pub genotype: Option<NetworkGenotype>,
    /// Tasks of a run; none of a genotype.
    pub heads: Vec<Head>,
    detection: Option<Detection>,
}

impl Source {
    /// # Errors
    /// `Usage` for a configuration or a supernet; those of reading a run and of building the network.
    pub fn open(target: &str, around: &Around, context: &Context) -> Result<Source> {
        match Target::new(target)? {
            Target::Run(path) => {
                if around.given() {
                    let help = "its cells in another network: give RUN/final/genotype.txt";
                    return Err(usage("the network of a run is fixed", help));
                }
                of_run(&path, context)
            }
            Target::Genotype(g) => {
                running::threads(context.threads().unwrap_or(0))?;
                of_genotype(*g, around, context.seed().unwrap_or(0))
            }
            Target::Hand(name) => {
                running::threads(context.threads().unwrap_or(0))?;
                by_hand(name, around, context.seed().unwrap_or(0))
            }
            Target::Config(_) | Target::Supernet => Err(usage(
                format!("{target} is no network with known cells"),
                "give a finished run, a genotype file or a published name",
            )),
        }
    }

    /// What decodes the boxes of its detection head.
    ///
    /// # Errors
    /// `Usage` for a network without one.
    pub fn decoding(&self) -> Result<Decoding<'_>> {
        let spec = self.net.spec();
        match &self.detection {
            Some(d) => Ok(Decoding {
                priors: &d.priors,
                config: d.config,
                classes: d.classes,
                size: [spec.height, spec.width],
            }),
            None => Err(usage(
                "--decode: the network has no detection head",
                "leave --decode out",
            )),
        }
    }
}

fn of_run(path: &Path, context: &Context) -> Result<Source> {
    let config = Config::load(path.join("run.toml"), &context.overrides()?)?;
    running::threads(config.run.threads)?;
    let f = model_file::open(path, config)?;
    let mut store = f.store;
    for set in [&mut store.weights, &mut store.buffers] {
        let ids: Vec<_> = set.iter().map(|(id, ..)| id).collect();
        for id in ids {
            let value = set.get(id).cast(DType::F32);
            set.set(id, value);
        }
    }
    let head = |v: &crate::search::viewer::Viewer| Head {
        kind: v.task.kind(),
        classes: v.task.classes().to_vec(),
        normalise: v.input.normalise,
        centre: v.input.centre,
    };
    let heads: Vec<Head> = f.tasks.iter().map(head).collect();
    let detection = match (f.config.task(TaskKind::Detection), &f.net.spec().det_head) {
        (Some((_, task)), Some(head)) => {
            let own = task.detection.clone().unwrap_or_default();
            let layout = prior_layout(&f.config.model, f.config.input.size)?;
            Some(Detection {
                priors: layout.with(&own.priors)?.priors()?,
                config: (&own).into(),
                classes: head.classes,
            })
        }
        _ => None,
    };
    Ok(Source {
        net: f.net,
        store,
        genotype: f.genotype,
        heads,
        detection,
    })
}

fn of_genotype(genotype: NetworkGenotype, around: &Around, seed: u64) -> Result<Source> {
    let mut preset = around
        .network
        .unwrap_or(InNetwork::MtnasRelease)
        .preset(false);
    let frame = &mut preset.frame;
    frame.channels = around.channels.map_or(frame.channels, usize::from);
    frame.cells = around.cells.map_or(frame.cells, usize::from);
    if let Some(levels) = around.levels {
        frame.det_levels = Some(levels.into());
    }
    preset.size = around.input.unwrap_or(preset.size);
    preset.auxiliary = false;
    preset.frame.check_size(preset.size)?;
    let parts = Parts::derived(&genotype);
    let (det, seg) = match preset.frame.searched_branches() {
        true => (parts.det, parts.seg),
        false => (Cells::HandCrafted, Cells::HandCrafted),
    };
    let spec = preset.spec(parts.backbone, det, seg);
    first_values(&preset, &spec, Some(genotype), seed)
}

/// A network made by hand, at the size of its paper or another.
fn by_hand(name: &str, around: &Around, seed: u64) -> Result<Source> {
    let cells = around.channels.is_some() || around.cells.is_some() || around.levels.is_some();
    let preset = Preset::hand(name);
    let (Some(mut preset), false) = (preset, cells || around.network.is_some()) else {
        return Err(usage(
            format!("{name} is made by hand: it has no cells and one width"),
            "--input changes it",
        ));
    };
    preset.size = around.input.unwrap_or(preset.size);
    preset.frame.check_size(preset.size)?;
    let spec = preset.supernet();
    first_values(&preset, &spec, None, seed)
}

/// The network with its first values.
fn first_values(
    preset: &Preset,
    spec: &NetworkSpec,
    genotype: Option<NetworkGenotype>,
    seed: u64,
) -> Result<Source> {
    let (net, store) = Network::build(spec, seed, DType::F32)?;
    let detection = match &spec.det_head {
        Some(head) => Some(Detection {
            priors: prior_layout(&preset.frame, preset.size)?.priors()?,
            config: DecodeConfig::default(),
            classes: head.classes,
        }),
        None => None,
    };
    Ok(Source {
        net,
        store,
        genotype,
        heads: vec![],
        detection,
    })
}
