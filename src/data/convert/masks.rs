//! Label maps of Cityscapes: label ids, train ids, colours of the train ids.

use std::path::Path;

use super::source::Pixels;
use super::{Job, Summary, To};
use crate::annotation::{IGNORE, Image, LabelMap};
use crate::data::cityscapes::{IMAGE_SUFFIX, label_suffix, map_labels};
use crate::data::class_map::{ClassMap, Coding, LABEL_IDS};
use crate::data::dataset::{DatasetConfig, Format};
use crate::data::image_file::{encode_labels, encode_palette, read_image, read_labels};
use crate::data::preview::PALETTE;
use crate::data::text_file::sorted_names;
use crate::error::{Code, Error, Result};

/// End of the name of a colour picture.
const COLOUR_SUFFIX: &str = "_gtFine_color.png";

/// Colours that the published colour pictures have besides those of the train ids: classes that are not trained.
const OTHER: [[u8; 3]; 9] = [
    [0, 0, 0],
    [111, 74, 0],
    [81, 0, 81],
    [250, 170, 160],
    [230, 150, 140],
    [180, 165, 180],
    [150, 100, 100],
    [150, 120, 90],
    [0, 0, 90],
];
/// And that of trailers.
const TRAILER: [u8; 3] = [0, 0, 110];

/// Train ids of a colour picture of Cityscapes, 255 for classes that are not trained.
///
/// # Errors
/// Those of [`read_image`]; `BadLabelId` at the first pixel of a colour that Cityscapes does not have.
pub fn read_colours(path: &Path) -> Result<LabelMap> {
    from_colours(path, &read_image(path)?)
}

fn from_colours(path: &Path, image: &Image) -> Result<LabelMap> {
    let mut data = Vec::with_capacity(image.data.len() / 3);
    for (i, p) in image.data.chunks_exact(3).enumerate() {
        let colour = [p[0], p[1], p[2]];
        data.push(match PALETTE.iter().position(|c| *c == colour) {
            Some(id) => id as u8,
            None if OTHER.contains(&colour) || colour == TRAILER => IGNORE,
            None => {
                let (x, y) = (i % image.width, i / image.width);
                let text = format!("the colour {colour:?} is none of Cityscapes");
                return Err(Error::new(Code::BadLabelId, text)
                    .at(format!("{}, pixel ({x}, {y})", path.display()))
                    .help(
                        "is this a colour picture (`_gtFine_color.png`), never scaled, never JPEG?",
                    ));
            }
        });
    }
    Ok(LabelMap {
        height: image.height,
        width: image.width,
        data,
    })
}

/// What the source has: the ids that the configuration names, else those that are there.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Ids(Coding),
    Colours,
}

fn suffix(from: Stored) -> &'static str {
    match from {
        Stored::Ids(coding) => label_suffix(coding),
        Stored::Colours => COLOUR_SUFFIX,
    }
}

/// Reads train ids.
fn train_ids(path: &Path, from: Stored) -> Result<LabelMap> {
    match from {
        Stored::Colours => read_colours(path),
        Stored::Ids(coding) => {
            let map = ClassMap::new(&["cityscapes-19".into()], coding)?;
            map_labels(path, read_labels(path)?, &map)
        }
    }
}

/// The bytes of a label file.
fn encoded(mut map: LabelMap, to: To) -> Result<Vec<u8>> {
    match to {
        To::Palette => {
            let mut colours = [[0; 3]; 256];
            colours[..PALETTE.len()].copy_from_slice(&PALETTE);
            encode_palette(&map, &colours)
        }
        To::LabelIds => {
            // 0 is "unlabeled"; what else was not trained is gone.
            let id = |v: u8| LABEL_IDS.get(v as usize).copied().unwrap_or(0);
            map.data.iter_mut().for_each(|v| *v = id(*v));
            encode_labels(&map)
        }
        _ => encode_labels(&map),
    }
}

/// All label maps of all splits, and their pictures.
///
/// # Errors
/// As [`super::convert`].
pub fn convert(job: &Job, config: &DatasetConfig, to: To) -> Result<Summary> {
    let usage = |text: &str, help: &str| {
        Err(Error::new(Code::Usage, text.to_string())
            .at(config.root.display())
            .help(help.to_string()))
    };
    if config.format != Format::Cityscapes {
        return usage(
            "these ids are those of Cityscapes",
            "name a folder with `leftImg8bit` and `gtFine`, or `--to list-masks`, which takes label maps of every format",
        );
    }
    let truth = config.root.join("gtFine");
    let mut files = vec![];
    for split in sorted_names(&truth)? {
        for city in sorted_names(&truth.join(&split))? {
            for name in sorted_names(&truth.join(&split).join(&city))? {
                files.push((format!("{split}/{city}"), name));
            }
        }
    }
    let has = |from: Stored| files.iter().any(|f| f.1.ends_with(suffix(from)));
    let wanted = match to {
        To::LabelIds => Stored::Ids(Coding::LabelIds),
        To::TrainIds => Stored::Ids(Coding::TrainIds),
        _ => Stored::Colours,
    };
    let order = [
        Stored::Ids(Coding::LabelIds),
        Stored::Ids(Coding::TrainIds),
        Stored::Colours,
    ];
    let Some(from) = order.into_iter().find(|f| *f != wanted && has(*f)) else {
        return usage(
            "no label maps of another coding are here",
            "the files end with _gtFine_labelIds.png, _gtFine_labelTrainIds.png or _gtFine_color.png",
        );
    };
    let (mut summary, mut pictures) = (Summary::default(), vec![]);
    for (folder, name) in &files {
        let Some(id) = name.strip_suffix(suffix(from)) else {
            continue;
        };
        let map = train_ids(&truth.join(folder).join(name), from)?;
        let bytes = encoded(map, to)?;
        job.file(&format!("gtFine/{folder}/{id}{}", suffix(wanted)), &bytes)?;
        summary.labels += 1;
        let picture = format!("leftImg8bit/{folder}/{id}{IMAGE_SUFFIX}");
        let source = config.root.join(&picture);
        if source.is_file() {
            pictures.push((Pixels::File(source), picture));
        }
    }
    summary.pictures = pictures.len();
    job.pictures(&pictures, false)?;
    summary.notes.push(format!(
        "read from *{}; classes that are not trained are {}",
        suffix(from),
        if to == To::LabelIds {
            "0, unlabeled"
        } else {
            "255"
        }
    ));
    if from == Stored::Colours {
        let text =
            "in colour pictures licence plates look like cars and groups of poles like poles";
        summary.notes.push(text.into());
    }
    Ok(summary)
}
