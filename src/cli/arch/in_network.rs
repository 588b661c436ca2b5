//! A genotype put into one of the networks of the papers, to be counted there.

use clap::ValueEnum;

use super::super::Context;
use super::cost::{Arguments, usage};
use super::counted::Named;
use crate::error::Result;
use crate::model::config::Branches as FrameBranches;
use crate::model::preset::Preset;
use crate::model::{Cells, NetworkSpec};
use crate::search::config::Override;
use crate::search::networks::Parts;
use crate::space::{NetworkGenotype, published};

/// Networks that a genotype can be put into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum InNetwork {
    /// DARTS on CIFAR: 36 channels, 20 cells, 32x32
    Cifar,
    /// DARTS on ImageNet: 48 channels, 14 cells, 224x224
    Imagenet,
    /// Released MTNAS: 32 channels, 14 cells, 320x512
    MtnasRelease,
    /// Its shallower sibling of 11 cells, 9.04 GFLOPs
    #[value(name = "mtnas-9g")]
    Mtnas9g,
    /// PyTorch peer: 16 channels, 8 cells, 320x512
    MtnasPeer,
}

/// Branches around a backbone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Branches {
    /// Cells of the released MTNAS network
    Released,
    /// FPN and extra layers by hand
    HandCrafted,
}

impl InNetwork {
    /// The network at the sizes of its paper.
    pub(in crate::cli) fn preset(self, supernet: bool) -> Preset {
        match self {
            InNetwork::Cifar => Preset::cifar(supernet),
            InNetwork::Imagenet => Preset::imagenet(supernet),
            InNetwork::MtnasRelease => Preset::release(),
            InNetwork::Mtnas9g => Preset::sibling(),
            InNetwork::MtnasPeer => Preset::peer(),
        }
    }

    fn name(self) -> String {
        let value = self.to_possible_value().expect("no value is hidden");
        value.get_name().into()
    }
}

/// The genotype `g`, or search cells without one, in the network that the arguments name.
///
/// # Errors
/// `Usage` for arguments that the network does not have; `NetworkDoesNotFit`.
pub(super) fn count(g: Option<NetworkGenotype>, a: &Arguments, context: &Context) -> Result<Named> {
    let into = a.network.unwrap_or(InNetwork::MtnasRelease);
    let mut preset = into.preset(g.is_none());
    let published = preset.size;
    preset.frame = Override::on_frame(&preset.frame, &of_the_model(context)?)?;
    let f = &mut preset.frame;
    f.channels = a.channels.map_or(f.channels, usize::from);
    f.cells = a.cells.map_or(f.cells, usize::from);
    f.partial_k = a.partial_k.map_or(f.partial_k, usize::from);
    if a.branches.is_some() && !f.searched_branches() {
        return Err(usage(
            "this network has no branches of cells",
            "leave --branches out, or use --network mtnas-release or mtnas-9g",
        ));
    }
    if g.is_none() && a.branches == Some(Branches::HandCrafted) {
        f.branches = FrameBranches::HandCrafted;
    }
    preset.size = a.input.unwrap_or(preset.size);
    preset.auxiliary &= preset.size == published;
    classes(a, &mut preset)?;
    preset.frame.check_size(preset.size)?;
    let name = into.name();
    match g {
        None => {
            let mut spec = preset.supernet();
            if a.branches == Some(Branches::Released) {
                (spec.det, spec.seg) = released();
            }
            Named::new(&format!("{name} supernet"), None, &spec)
        }
        Some(g) => {
            let (spec, note) = around(&g, a.branches, &preset);
            Named::new(&name, note, &spec)
        }
    }
}

/// Keys under `model` that `-s` sets.
fn of_the_model(context: &Context) -> Result<Vec<Override>> {
    let all = context.overrides()?;
    let elsewhere = |o: &&Override| !o.key.starts_with("model.") && !o.key.starts_with("run.");
    if let Some(o) = all.iter().find(elsewhere) {
        return Err(usage(
            &format!("there is no configuration whose `{}` could be set", o.key),
            "of a genotype -s sets keys of the network: `-s model.cells=11 -s model.reductions=[3,6,9]`",
        ));
    }
    let model = all.into_iter().filter(|o| o.key.starts_with("model."));
    Ok(model.collect())
}

fn classes(a: &Arguments, preset: &mut Preset) -> Result<()> {
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
    Ok(())
}

fn released() -> (Cells, Cells) {
    let cells = |name| Cells::Derived(published::by_name(name).expect("a published genotype"));
    (cells("MTNAS_det"), cells("MTNAS_seg"))
}

/// The network of a genotype, and what should be known of its branches.
fn around(
    g: &NetworkGenotype,
    branches: Option<Branches>,
    preset: &Preset,
) -> (NetworkSpec, Option<&'static str>) {
    let there = preset.frame.searched_branches();
    let parts = Parts::derived(g);
    let hand = (Cells::HandCrafted, Cells::HandCrafted);
    let note = match (g.det.is_some() || g.seg.is_some(), branches) {
        (true, None) if !there => Some("the genotype's branches are not part of this network"),
        (true, Some(_)) => Some("the genotype's branches are left out"),
        (_, None) if there && (g.det.is_none() || g.seg.is_none()) => Some(
            "a branch without genotype is the hand-crafted one; --branches released has the searched ones",
        ),
        _ => None,
    };
    let (det, seg) = match branches {
        _ if !there => hand,
        Some(Branches::HandCrafted) => hand,
        Some(Branches::Released) => released(),
        None => (parts.det, parts.seg),
    };
    (preset.spec(parts.backbone, det, seg), note)
}
