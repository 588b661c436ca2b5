//! `mtnas data convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::chosen::{Chosen, Target};
use crate::cli::Context;
use crate::data::convert::{self, Images, To};
use crate::error::{Code, Error, Result};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas data convert /data/kitti kitti-coco --to coco --images link
  mtnas data convert /data/cityscapes labels --to train-ids --images none
  mtnas data convert /data/VOCdevkit/VOC2012 seg --to list-masks
  mtnas data convert configs/mtnas-mixed.toml coco --to coco --only mixed-boxes

The source is only read, and nothing is overwritten.")]
pub(super) struct Convert {
    #[command(flatten)]
    target: Target,
    /// Where to write; absent or empty
    output: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    to: Form,
    /// What becomes of the pictures
    #[arg(long, value_enum, default_value_t = Pictures::Copy)]
    images: Pictures,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// Boxes: KITTI object
    Kitti,
    /// Boxes: VOC annotations, whole pixels
    Voc,
    /// Boxes: COCO detection JSON
    Coco,
    /// Label maps: Cityscapes label ids
    LabelIds,
    /// Label maps: Cityscapes train ids
    TrainIds,
    /// Label maps: palette PNG in Cityscapes colours
    Palette,
    /// Boxes of any format: a list, with text files
    ListBoxes,
    /// Label maps of any format: a list, with PNG of indices
    ListMasks,
    /// Classes of pictures: a list that names them
    ListClasses,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Pictures {
    /// Copied
    Copy,
    /// Hard links: no space, but one file
    Link,
    /// Left out
    None,
}

pub(super) fn run(a: &Convert, context: &Context) -> Result<u8> {
    let to = match a.to {
        Form::Kitti => To::Kitti,
        Form::Voc => To::Voc,
        Form::Coco => To::Coco,
        Form::LabelIds => To::LabelIds,
        Form::TrainIds => To::TrainIds,
        Form::Palette => To::Palette,
        Form::ListBoxes => To::ListBoxes,
        Form::ListMasks => To::ListMasks,
        Form::ListClasses => To::ListClasses,
    };
    let images = match a.images {
        Pictures::Copy => Images::Copy,
        Pictures::Link => Images::Link,
        Pictures::None => Images::None,
    };
    let source = one(a.target.sets(context)?, to, &a.target)?;
    let summary = convert::convert(&source.config, &a.output, to, images)?;
    if context.json() {
        context.print_json(&summary)?;
        return Ok(0);
    }
    let mut text: String = (summary.notes.iter())
        .map(|n| format!("note: {n}\n"))
        .collect();
    text += &format!(
        "{}: {} pictures, {} labels\n",
        summary.output, summary.pictures, summary.labels
    );
    context.print(&text)?;
    Ok(0)
}

/// The only set, or the only one that can become `to`.
fn one(mut found: Vec<Chosen>, to: To, target: &Target) -> Result<Chosen> {
    if found.iter().any(|c| to.fits(&c.config)) {
        found.retain(|c| to.fits(&c.config));
    }
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    let names: Vec<&str> = found.iter().filter_map(|c| c.name.as_deref()).collect();
    let help = match names[..] {
        [] => "name the folder of one of them".into(),
        _ => format!("name one of them with --only: {}", names.join(", ")),
    };
    Err(Error::new(Code::Usage, "several data sets are here")
        .at(target.place())
        .help(help))
}
