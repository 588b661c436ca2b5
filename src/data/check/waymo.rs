//! Waymo Open Dataset: the index of each file, then every wanted frame.

use super::content::digest;
use super::{Defect, Item, Kind, Report, each};
use crate::annotation::Annotation;
use crate::data::dataset::{DatasetConfig, Format};
use crate::data::waymo::{self, Waymo};
use crate::data::waymo_v2;
use crate::error::Result;

/// Reads everything; returns the pictures.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<Vec<Item>> {
    let types = Waymo::types(&config.classes, &config.merge)?;
    let mut items = vec![];
    let mut seen = vec![false; types.names().len()];
    for (split, is_train) in [(&config.train, true), (&config.val, false)] {
        let files = match config.format {
            Format::WaymoV2 => waymo_v2::files_of(&config.root, split),
            _ => waymo::files_of(&config.root, split),
        };
        let Ok(files) = files else {
            let note = format!("no files of the split {split:?}");
            report.notes.push(note);
            continue;
        };
        for file in files {
            // A file alone is a split, so that what is wrong with one does not hide the others.
            let opened = config.open(&file.to_string_lossy());
            let set = match opened {
                Ok(set) => set,
                Err(e) => {
                    report.defects.push(Defect::of(&e, file.display()));
                    continue;
                }
            };
            let all: Vec<usize> = (0..set.len()).collect();
            let (found, defects) = each(&all, |&i, defects| {
                let place = set.place(i);
                let sample = set
                    .load(i)
                    .map_err(|e| defects.push(Defect::of(&e, &place)))
                    .ok();
                let classes = match sample.as_ref().map(|s| &s.annotation) {
                    Some(Annotation::Objects(objects)) => objects.iter().map(|o| o.class).collect(),
                    _ => vec![],
                };
                let item = Item {
                    place,
                    digest: sample.as_ref().map(|s| digest(&s.image)),
                    train: is_train,
                    val: !is_train,
                };
                (item, classes)
            });
            report.defects.extend(defects);
            for (item, classes) in found {
                classes.iter().for_each(|&c| seen[c] |= is_train);
                items.push(item);
            }
        }
    }
    for (name, _) in types.names().iter().zip(&seen).filter(|(_, seen)| !**seen) {
        let text = format!("the class {name:?} has no object in the training split");
        report.add(Kind::EmptyClass, config.root.display(), text);
    }
    Ok(items)
}
