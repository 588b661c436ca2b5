//! Formats with label maps other than Cityscapes: pictures and label maps of both splits.

use std::collections::BTreeSet;

use super::content::digest;
use super::{Defect, Item, Kind, Report, each, unnamed};
use crate::annotation::IGNORE;
use crate::data::bdd100k_masks::Bdd100kMasks;
use crate::data::dataset::{DatasetConfig, Format};
use crate::data::image_file::read_image;
use crate::data::listed::ListMasks;
use crate::data::mask_set::{MaskSet, check_size, to_classes};
use crate::data::mtnas_layout::MtnasMasks;
use crate::data::voc_masks::VocMasks;
use crate::error::{Code, Error, Result};

fn open(config: &DatasetConfig, split: &str) -> Result<Box<dyn MaskSet>> {
    let (root, classes) = (&config.root, &config.rules.classes);
    match config.format {
        Format::Bdd100kMasks => Ok(Box::new(Bdd100kMasks::open(root, split, classes)?)),
        Format::MtnasMasks => Ok(Box::new(MtnasMasks::open(root, split, classes)?)),
        Format::ListMasks => Ok(Box::new(ListMasks::open(root, split, &config.rules)?)),
        Format::VocMasks => Ok(Box::new(VocMasks::open(root, split, classes)?)),
        _ => Err(Error::new(Code::Internal, "not a format of label maps")),
    }
}

/// Reads everything; returns the pictures.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<Vec<Item>> {
    let mut items = vec![];
    let mut opened = 0;
    let mut missing = None;
    for (split, is_train) in super::splits(config) {
        let set = match open(config, split) {
            Ok(set) => set,
            Err(e) if e.code() == Code::ConfigValue => return Err(e),
            Err(e) if e.code() == Code::NotFound => {
                let at = e.place().unwrap_or_default().to_string();
                report.notes.push(format!("{}: {at}", e.message()));
                missing = Some(e);
                continue;
            }
            Err(e) => {
                report.defects.push(Defect::of(&e, config.root.display()));
                opened += 1;
                continue;
            }
        };
        opened += 1;
        let all: Vec<usize> = (0..set.len()).collect();
        let (pictures, defects) = each(&all, |&i, defects| picture(&*set, i, is_train, defects));
        report.defects.extend(defects);
        let mut pixels = vec![0u64; set.classes().len()];
        for (item, count) in pictures {
            pixels.iter_mut().zip(&count).for_each(|(p, c)| *p += c);
            items.push(item);
        }
        if let Some(dir) = set.folder() {
            let named: BTreeSet<_> = all.iter().map(|&i| set.image_path(i)).collect();
            for path in unnamed(&dir, &named)? {
                report.add(Kind::MissingLabel, path.display(), "its label is missing");
            }
        }
        let names = set.classes().iter().zip(&pixels);
        let empty: Vec<&str> = names
            .filter(|(_, p)| **p == 0)
            .map(|(n, _)| n.as_str())
            .collect();
        // A standard list is longer than what a small set shows; classes named one by one are meant.
        let chosen = config.rules.classes.len() > 1;
        if is_train && chosen {
            for class in empty {
                let text = format!("the class {class:?} has no pixel in the training split");
                report.add(Kind::EmptyClass, config.root.display(), text);
            }
        } else if is_train && !empty.is_empty() {
            let names = empty.join(", ");
            report.notes.push(format!(
                "classes without a pixel in the training split: {names}"
            ));
        }
    }
    match missing {
        Some(e) if opened == 0 => Err(e),
        _ => Ok(items),
    }
}

/// One picture and the pixels of each class.
fn picture(
    set: &dyn MaskSet,
    index: usize,
    is_train: bool,
    defects: &mut Vec<Defect>,
) -> (Item, Vec<u64>) {
    let path = set.image_path(index);
    let place = path.display().to_string();
    let label = set.label_path(index);
    let mut count = vec![0u64; set.classes().len()];
    let mut image = None;
    if path.exists() {
        match read_image(&path) {
            Ok(i) => image = Some(i),
            Err(e) => defects.push(Defect::of(&e, &place)),
        }
    } else {
        let kind = match label.exists() {
            true => Kind::MissingImage,
            false => Kind::AbsentId,
        };
        let text = format!("the picture {place} is missing");
        defects.push(Defect::new(kind, set.named_at(index), text));
    }
    if label.exists() {
        let found = set.raw(&label).and_then(|labels| {
            if let Some(image) = &image {
                check_size(&label, &labels, &path, image)?;
            }
            to_classes(&label, labels, set.map(), set.values())
        });
        match found {
            Ok(labels) => labels
                .data
                .iter()
                .filter(|&&c| c != IGNORE)
                .for_each(|&c| count[c as usize] += 1),
            Err(e) => defects.push(Defect::of(&e, label.display())),
        }
    } else if path.exists() {
        let text = format!("its label {} is missing", label.display());
        defects.push(Defect::new(Kind::MissingLabel, &place, text));
    }
    let item = Item {
        place,
        digest: image.as_ref().map(digest),
        train: is_train,
        val: !is_train,
    };
    (item, count)
}
