//! Formats with boxes other than KITTI: pictures, labels, boxes of both splits.

use std::collections::BTreeSet;

use super::content::digest;
use super::{Defect, Item, Kind, Report, each, unnamed};
use crate::annotation::Image;
use crate::data::bdd100k::Bdd100k;
use crate::data::box_set::{BoxSet, Fault, RawBox, box_error, check_size, outside};
use crate::data::coco::Coco;
use crate::data::dataset::{DatasetConfig, Format};
use crate::data::image_file::read_image;
use crate::data::kitti_label::box_defect;
use crate::data::listed::ListBoxes;
use crate::data::mtnas_layout::MtnasBoxes;
use crate::data::voc::Voc;
use crate::error::{Code, Error, Result};

/// Boxes may reach this far beyond the border: published ones are rounded.
const SLACK: f32 = 1.0;
/// Defects of one file that are kept.
const KEPT: usize = 10_000;

/// Opens a split; defects go to `fault`.
fn open(config: &DatasetConfig, split: &str, fault: &mut Fault) -> Result<Box<dyn BoxSet>> {
    let (root, rules) = (&config.root, &config.rules);
    match config.format {
        Format::Bdd100k => Ok(Box::new(Bdd100k::open(root, split, rules, fault)?)),
        Format::Coco => Ok(Box::new(Coco::open(root, split, rules, fault)?)),
        Format::Voc => Ok(Box::new(Voc::open(root, split, rules)?)),
        Format::MtnasBoxes => Ok(Box::new(MtnasBoxes::open(root, split, rules)?)),
        Format::ListBoxes => Ok(Box::new(ListBoxes::open(root, split, rules)?)),
        _ => Err(Error::new(Code::Internal, "not a format of boxes")),
    }
}

/// Reads everything; returns the pictures.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<Vec<Item>> {
    let mut items = vec![];
    let mut opened = 0;
    let mut missing = None;
    for (split, is_train) in super::splits(config) {
        let mut found = vec![];
        let set = open(config, split, &mut |e| {
            if found.len() < KEPT {
                found.push(Defect::of(&e, config.root.display()));
            }
            Ok(())
        });
        report.defects.append(&mut found);
        let set = match set {
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
        let mut count = vec![0u64; set.classes().len()];
        for (item, classes) in pictures {
            classes.into_iter().for_each(|c| count[c] += 1);
            items.push(item);
        }
        if is_train {
            empty_classes(config, &*set, &count, report);
        }
        if let Some(dir) = set.folder() {
            let named: BTreeSet<_> = all.iter().map(|&i| set.image_path(i)).collect();
            let rest = unnamed(&dir, &named)?;
            if let Some(first) = rest.first() {
                report.notes.push(format!(
                    "{} pictures have no labels and are not used, {} is the first",
                    rest.len(),
                    first.display()
                ));
            }
        }
    }
    match missing {
        Some(e) if opened == 0 => Err(e),
        _ => Ok(items),
    }
}

/// One picture and the classes of its boxes.
fn picture(
    set: &dyn BoxSet,
    index: usize,
    is_train: bool,
    defects: &mut Vec<Defect>,
) -> (Item, Vec<usize>) {
    let path = set.image_path(index);
    let place = path.display().to_string();
    let label = set.label_path(index);
    let (picture_there, label_there) = (path.exists(), label.exists());
    let named = set.named_at(index);
    let mut image = None;
    if picture_there {
        match read_image(&path).and_then(|i| check_size(set, index, &i).map(|()| i)) {
            Ok(i) => image = Some(i),
            Err(e) => defects.push(Defect::of(&e, &place)),
        }
    } else {
        let (kind, text) = match label_there {
            true => (
                Kind::MissingImage,
                format!("the picture {place} is missing"),
            ),
            false => (
                Kind::AbsentId,
                format!("neither the picture {place} nor its label is there"),
            ),
        };
        defects.push(Defect::new(kind, &named, text));
    }
    let mut classes = vec![];
    if label_there {
        let mut found = vec![];
        let read = set.boxes(index, &mut |e| {
            found.push(Defect::of(&e, label.display()));
            Ok(())
        });
        defects.append(&mut found);
        match read {
            Ok(boxes) => {
                for raw in &boxes {
                    classes.extend(set.table().class(raw.kind));
                    look_at(set, index, raw, image.as_ref(), defects);
                }
            }
            Err(e) => defects.push(Defect::of(&e, label.display())),
        }
    } else if picture_there {
        let text = format!("its label {} is missing", label.display());
        defects.push(Defect::new(Kind::MissingLabel, &place, text));
    }
    let item = Item {
        place,
        digest: image.as_ref().map(digest),
        train: is_train,
        val: !is_train,
    };
    (item, classes)
}

fn look_at(
    set: &dyn BoxSet,
    index: usize,
    raw: &RawBox,
    image: Option<&Image>,
    defects: &mut Vec<Defect>,
) {
    if let Some(what) = box_defect(&raw.bbox) {
        let e = box_error(set, index, raw, &what).help("remove the box, or give it an area");
        defects.push(Defect::of(&e, ""));
        return;
    }
    let Some(image) = image else { return };
    let b = raw.bbox;
    let (w, h) = (image.width as f32 + SLACK, image.height as f32 + SLACK);
    if b.x1 < -SLACK || b.y1 < -SLACK || b.x2 > w || b.y2 > h {
        defects.push(Defect::of(&outside(set, index, raw, image), ""));
    }
}

/// Classes without a box in the training split: a note where the format chose them, since small sets do not show all of them.
fn empty_classes(config: &DatasetConfig, set: &dyn BoxSet, count: &[u64], report: &mut Report) {
    let names = set.classes().iter().zip(count);
    let empty: Vec<&str> = names
        .filter(|(_, n)| **n == 0)
        .map(|(name, _)| name.as_str())
        .collect();
    if config.rules.classes.is_empty() && !empty.is_empty() {
        let names = empty.join(", ");
        report.notes.push(format!(
            "classes without a box in the training split: {names}"
        ));
        return;
    }
    for class in empty {
        let text = format!("the class {class:?} has no object in the training split");
        report.add(Kind::EmptyClass, config.root.display(), text);
    }
}
