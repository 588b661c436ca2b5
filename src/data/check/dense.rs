//! Data sets with a target for every pixel: every file of every sample that the lists name, and the classes.

use super::content::digest;
use super::{Defect, Item, Kind, Report, each};
use crate::annotation::{Annotation, IGNORE};
use crate::data::dataset::{Dataset, DatasetConfig};
use crate::data::dense::DenseSet;
use crate::data::dense::target::Target;
use crate::error::{Code, Result};

/// Largest number of classes of any format.
const CLASSES: usize = IGNORE as usize;

/// Reads everything; returns the pictures.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<Vec<Item>> {
    let mut items = vec![];
    for (split, is_train) in [(&config.train, true), (&config.val, false)] {
        let set = match config.open_dense(split) {
            Ok(set) => set,
            Err(e) if e.code() == Code::ConfigValue => return Err(e),
            Err(e) => {
                report.defects.push(Defect::of(&e, config.root.display()));
                continue;
            }
        };
        let all: Vec<usize> = (0..set.len()).collect();
        let (found, defects) = each(&all, |&i, defects| sample(&set, i, is_train, defects));
        report.defects.extend(defects);
        let mut pixels = [0u64; CLASSES];
        for (item, count) in found {
            pixels.iter_mut().zip(count).for_each(|(p, c)| *p += c);
            items.push(item);
        }
        if is_train && set.targets().contains(&Target::Segmentation) {
            // The lists of classes are fixed and longer than what a small set shows.
            let names = set.classes().iter().zip(pixels);
            let empty: Vec<&str> = names
                .filter(|(_, p)| *p == 0)
                .map(|(n, _)| n.as_str())
                .collect();
            if !empty.is_empty() {
                report.notes.push(format!(
                    "classes without a pixel in the training split: {}",
                    empty.join(", ")
                ));
            }
        }
    }
    Ok(items)
}

/// One sample: the picture, then each target; a defect of one does not hide those of another.
fn sample(
    set: &DenseSet,
    index: usize,
    train: bool,
    defects: &mut Vec<Defect>,
) -> (Item, Vec<u64>) {
    let mut count = vec![0; CLASSES];
    let place = set.place(index);
    let image = set.picture(index);
    let item = Item {
        place: place.clone(),
        digest: image.as_ref().ok().map(digest),
        train,
        val: !train,
    };
    let size = match image {
        Ok(image) => Some((image.height, image.width)),
        Err(e) => {
            let kind = match e.code() {
                Code::NotFound => Kind::MissingImage,
                _ => Kind::of(&e),
            };
            defects.push(Defect {
                kind,
                code: kind.code().id(),
                ..Defect::of(&e, &place)
            });
            None
        }
    };
    for &target in set.targets() {
        // Without a picture there is no size to hold a target against; other defects show.
        match set.target(index, target, size.unwrap_or_default()) {
            Ok(Annotation::Labels(map)) => {
                let known = map.data.iter().filter(|&&c| c != IGNORE);
                known.for_each(|&c| count[c as usize] += 1);
            }
            Ok(_) => {}
            Err(e) if size.is_none() && e.code() == Code::SizeMismatch => {}
            Err(e) => {
                let kind = match e.code() {
                    Code::NotFound => Kind::MissingLabel,
                    _ => Kind::of(&e),
                };
                let file = set.file(index, target).display().to_string();
                defects.push(Defect {
                    kind,
                    code: kind.code().id(),
                    ..Defect::of(&e, file)
                });
            }
        }
    }
    (item, count)
}
