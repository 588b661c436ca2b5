//! Plain lists of pictures with classes.

use super::content::digest;
use super::{Defect, Item, Kind, Report, each};
use crate::data::dataset::{Dataset, DatasetConfig};
use crate::data::image_file::read_image;
use crate::data::listed::ListClasses;
use crate::error::{Code, Result};

/// Reads everything; returns the pictures.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<Vec<Item>> {
    let mut items = vec![];
    for (split, is_train) in super::splits(config) {
        let set = match ListClasses::open(&config.root, split, &config.rules) {
            Ok(set) => set,
            Err(e) if e.code() == Code::NotFound && !is_train => {
                report.notes.push(e.message().into());
                continue;
            }
            Err(e) if e.code() == Code::NotFound => return Err(e),
            Err(e) => {
                report.defects.push(Defect::of(&e, config.root.display()));
                continue;
            }
        };
        let mut count = vec![0; set.classes().len()];
        for i in 0..set.len() {
            set.class_of(i)?.into_iter().for_each(|c| count[c] += 1);
        }
        for (class, _) in set
            .classes()
            .iter()
            .zip(count)
            .filter(|(_, n)| is_train && *n == 0)
        {
            let text = format!("the class {class:?} has no picture in the training split");
            report.add(Kind::EmptyClass, config.root.display(), text);
        }
        let all: Vec<usize> = (0..set.len()).collect();
        let (found, defects) = each(&all, |&i, defects| {
            let path = set.image_path(i);
            let image = read_image(&path);
            match &image {
                Err(e) if e.code() == Code::NotFound => {
                    let text = format!("the picture {} is missing", path.display());
                    defects.push(Defect::new(Kind::AbsentId, set.named_at(i), text));
                }
                Err(e) => defects.push(Defect::of(e, path.display())),
                Ok(_) => {}
            }
            Item {
                place: set.place(i),
                digest: image.ok().as_ref().map(digest),
                train: is_train,
                val: !is_train,
            }
        });
        report.defects.extend(defects);
        items.extend(found);
    }
    Ok(items)
}
