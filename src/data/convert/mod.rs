//! `data convert`: writes a data set in another format, always into a new folder. The source is only read.
//!
//! Boxes: KITTI object, VOC annotations and COCO detection JSON (`boxes` reads, `write` writes). Label maps of Cityscapes: label
//! ids, train ids, colours (`masks`). Boxes, label maps and classes of any format: plain lists (`list`).
//!
//! The result is built beside its place and renamed at the end: an interrupted conversion leaves no half of one.

mod boxes;
mod list;
mod masks;
mod place;
mod source;
mod write;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::dataset::{DatasetConfig, Format, Kind};
use super::dense::target::kind_of;
use super::image_file::encode_png;
use crate::annotation::Image;
use crate::error::{Code, Error, Result};
use crate::files::{create_dir, create_fresh};
pub use masks::read_colours;
pub use place::outside;
use place::refused;
use source::{PNG, Pixels, begins};

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// KITTI object: `training/image_2`, `training/label_2`, `ImageSets`.
    Kitti,
    /// VOC: `JPEGImages`, `Annotations/*.xml`, `ImageSets/Main`.
    Voc,
    /// COCO: `images`, `annotations/instances_SPLIT.json`.
    Coco,
    /// Cityscapes with `_gtFine_labelIds.png`.
    LabelIds,
    /// Cityscapes with `_gtFine_labelTrainIds.png`.
    TrainIds,
    /// Cityscapes with `_gtFine_color.png`: palette PNG, the raw values are train ids.
    Palette,
    /// Plain lists with files of boxes, the format `list-boxes`.
    ListBoxes,
    /// Plain lists with label maps, the format `list-masks`.
    ListMasks,
    /// Plain lists with the names of classes, the format `list-classes`.
    ListClasses,
}

impl To {
    fn kind(self) -> Kind {
        match self {
            To::Kitti | To::Voc | To::Coco | To::ListBoxes => Kind::Detection,
            To::LabelIds | To::TrainIds | To::Palette | To::ListMasks => Kind::Segmentation,
            To::ListClasses => Kind::Classification,
        }
    }

    /// Whether a set of this format can become one: boxes and label maps may lie in one folder, as two sets. A mixed set is what its
    /// sources are.
    pub fn fits(self, config: &DatasetConfig) -> bool {
        let format = match (config.format, config.mixed.sources.first()) {
            (Format::Mixed, Some((_, source))) => source.format,
            (own, _) => own,
        };
        match self.kind() {
            Kind::Detection => matches!(
                format,
                Format::Kitti
                    | Format::WaymoV1
                    | Format::WaymoV2
                    | Format::Mixed
                    | Format::Bdd100k
                    | Format::Coco
                    | Format::Voc
                    | Format::MtnasBoxes
                    | Format::ListBoxes
            ),
            Kind::Classification => matches!(
                format,
                Format::Cifar10 | Format::ImageFolder | Format::ListClasses
            ),
            _ if self == To::ListMasks && !config.dense.targets.is_empty() => {
                kind_of(&config.dense.targets) == Kind::Segmentation
            }
            _ => matches!(
                format,
                Format::Cityscapes
                    | Format::Bdd100kMasks
                    | Format::VocMasks
                    | Format::MtnasMasks
                    | Format::ListMasks
            ),
        }
    }
}

/// What becomes of the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    /// Copied. KITTI wants PNG: other files are decoded and written anew.
    Copy,
    /// Hard links: no space, but whoever writes into one of the two files changes both.
    Link,
    /// Left out; only labels are written.
    None,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Where.
    pub output: String,
    /// Pictures that have labels there.
    pub pictures: usize,
    /// Boxes, or label maps.
    pub labels: usize,
    /// What the target cannot say as the source does.
    pub notes: Vec<String>,
}

/// Converts the data set of `config` into the folder `output`, which must not exist or be empty.
///
/// # Errors
/// `CannotCreate` for an output that holds something or lies in the source (see [`outside`]); `Usage` for a target of another kind of label; those of
/// reading the source: the first defect ends the conversion, and nothing is left behind.
pub fn convert(config: &DatasetConfig, output: &Path, to: To, images: Images) -> Result<Summary> {
    refuse(config, output)?;
    let parent = match output.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    create_dir(parent)?;
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let building = create_fresh(parent, &name)?;
    let job = Job {
        out: building.clone(),
        images,
    };
    let written = match to.kind() {
        Kind::Detection => job.boxes(config, to),
        _ if matches!(to, To::ListMasks | To::ListClasses) => list::convert(&job, config, to),
        _ => masks::convert(&job, config, to),
    };
    let moved = written.and_then(|summary| {
        // An empty folder of that name gives way.
        let _ = std::fs::remove_dir(output);
        std::fs::rename(&building, output).map_err(|e| Error::io(output, e))?;
        Ok(Summary {
            output: output.display().to_string(),
            ..summary
        })
    });
    if moved.is_err() {
        let _ = std::fs::remove_dir_all(&building);
    }
    moved
}

/// Nothing is overwritten, and nothing is written into a data set.
fn refuse(config: &DatasetConfig, output: &Path) -> Result<()> {
    if output.file_name().is_none() {
        return Err(refused(output, "not the name of a new folder"));
    }
    let holds = std::fs::read_dir(output).is_ok_and(|mut d| d.next().is_some());
    if holds || (output.exists() && !output.is_dir()) {
        return Err(refused(output, "it exists already"));
    }
    outside(config, output)
}

/// One conversion on its way.
struct Job {
    /// The folder that is filled.
    out: PathBuf,
    images: Images,
}

impl Job {
    /// Reads all boxes and writes them as `to` has them.
    fn boxes(&self, config: &DatasetConfig, to: To) -> Result<Summary> {
        let mut summary = Summary::default();
        let splits = boxes::read(config, &mut summary.notes)?;
        for split in &splits {
            summary.pictures += split.pictures.len();
            summary.labels += split.pictures.iter().map(|p| p.boxes.len()).sum::<usize>();
        }
        summary.notes.append(&mut match to {
            To::Kitti => write::kitti(self, &splits)?,
            To::Voc => write::voc(self, &splits)?,
            To::ListBoxes => {
                let (labels, notes) = list::of_boxes(self, &splits)?;
                summary.labels = labels;
                notes
            }
            _ => write::coco(self, &splits)?,
        });
        let inside = |p: &boxes::Picture| matches!(p.pixels, Pixels::Sample(..));
        let inside = splits.iter().flat_map(|s| &s.pictures).any(inside);
        self.tell_of_records(inside, &mut summary);
        Ok(summary)
    }

    /// Notes what became of pictures that are no files of their own, if there are any.
    fn tell_of_records(&self, any: bool, summary: &mut Summary) {
        if any && self.images == Images::Copy {
            let text = "pictures out of larger files are written as PNG, without loss";
            summary.notes.push(text.into());
        }
    }

    /// Writes a text or label file of the result.
    fn file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.out.join(name);
        create_dir(path.parent().unwrap_or(&self.out))?;
        std::fs::write(&path, bytes).map_err(|e| Error::io(&path, e))
    }

    /// Brings pictures to their new names, in threads.
    fn pictures(&self, all: &[(Pixels, String)], png: bool) -> Result<()> {
        all.par_iter()
            .try_for_each(|(from, name)| self.picture(from, name, png))
    }

    /// Brings the picture `from` to `name`; `png`: it must be one there.
    fn picture(&self, from: &Pixels, name: &str, png: bool) -> Result<()> {
        if self.images == Images::None {
            return Ok(());
        }
        let path = self.out.join(name);
        create_dir(path.parent().unwrap_or(&self.out))?;
        let encoded = |image: &Image| {
            std::fs::write(&path, encode_png(image)?).map_err(|e| Error::io(&path, e))
        };
        let unlinked = |text: &str| {
            Err(Error::new(Code::BadFormat, text)
                .at(from.place())
                .help("use `--images copy`, which writes it as PNG"))
        };
        let from = match from {
            Pixels::Sample(..) if self.images == Images::Link => {
                return unlinked("the picture is no file of its own");
            }
            Pixels::Sample(set, index) => return encoded(&set.load(*index)?.image),
            Pixels::File(file) => file,
        };
        if png && !begins(from, &[PNG])? {
            if self.images == Images::Link {
                return unlinked("the target has PNG pictures, and this is none");
            }
            return encoded(&super::image_file::read_image(from)?);
        }
        if self.images == Images::Link {
            return std::fs::hard_link(from, &path).map_err(|e| {
                let text = format!("cannot link to {}: {e}", from.display());
                Error::new(Code::CannotCreate, text)
                    .at(path.display())
                    .help("links stay on one disk: use `--images copy`")
            });
        }
        match std::fs::copy(from, &path) {
            Ok(_) => Ok(()),
            Err(e) => Err(Error::io(from, e)),
        }
    }
}

#[cfg(test)]
mod list_tests;
#[cfg(test)]
mod published_tests;
#[cfg(test)]
mod tests;
