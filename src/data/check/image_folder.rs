//! Image folders: classes and their pictures.

use super::content::digest;
use super::{Defect, Item, Kind, Report, each};
use crate::data::dataset::DatasetConfig;
use crate::data::image_file::read_image;
use crate::data::image_folder::is_picture;
use crate::data::text_file::sorted_names;
use crate::error::Result;

/// Reads everything; returns the pictures.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<Vec<Item>> {
    let mut items = vec![];
    let mut known: Option<Vec<String>> = None;
    for (split, is_train) in [(&config.train, true), (&config.val, false)] {
        let base = config.root.join(split);
        if !base.is_dir() {
            report
                .notes
                .push(format!("no folder of the split {split:?}"));
            continue;
        }
        let mut classes = vec![];
        let mut files = vec![];
        for name in sorted_names(&base)? {
            let dir = base.join(&name);
            if !dir.is_dir() {
                report.add(
                    Kind::StrayFile,
                    dir.display(),
                    "expected a folder of a class",
                );
                continue;
            }
            if known.as_ref().is_some_and(|k| !k.contains(&name)) {
                report.add(
                    Kind::UnknownClass,
                    dir.display(),
                    format!("the training split has no class {name:?}"),
                );
            }
            let before = files.len();
            for file in sorted_names(&dir)? {
                match is_picture(&file) {
                    true => files.push(dir.join(file)),
                    false => report.add(
                        Kind::StrayFile,
                        dir.join(&file).display(),
                        "not a JPEG or PNG by its name",
                    ),
                }
            }
            if files.len() == before {
                report.add(
                    Kind::EmptyClass,
                    dir.display(),
                    format!("the class {name:?} has no pictures"),
                );
            }
            classes.push(name);
        }
        let (found, defects) = each(&files, |path, defects| {
            let place = path.display().to_string();
            let image = read_image(path)
                .map_err(|e| defects.push(Defect::of(&e, &place)))
                .ok();
            Item {
                place,
                digest: image.as_ref().map(digest),
                train: is_train,
                val: !is_train,
            }
        });
        report.defects.extend(defects);
        items.extend(found);
        known.get_or_insert(classes);
    }
    Ok(items)
}
