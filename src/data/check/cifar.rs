//! CIFAR-10: record sizes, labels, repeated pictures.

use super::content::digest;
use super::{Item, Kind, Report};
use crate::annotation::Image;
use crate::data::cifar::{CLASSES, RECORD, SIDE, files_of};
use crate::data::dataset::DatasetConfig;
use crate::data::image_file::MAX_BYTES;
use crate::data::text_file::read_limited;
use crate::error::Result;

/// Reads everything; returns the pictures.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<Vec<Item>> {
    let mut items = vec![];
    let mut count = [0usize; CLASSES.len()];
    for (split, is_train) in [(&config.train, true), (&config.val, false)] {
        let files = files_of(&config.root, split)?;
        if files.is_empty() {
            report
                .notes
                .push(format!("no files of the split {split:?}"));
        }
        for path in files {
            let bytes = read_limited(&path, MAX_BYTES)?;
            if !bytes.len().is_multiple_of(RECORD) {
                let text = format!(
                    "{} bytes are not a multiple of the record size {RECORD}",
                    bytes.len()
                );
                report.add(Kind::RecordSize, path.display(), text);
            }
            for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
                let place = format!("{}, record {i}", path.display());
                let label = record[0] as usize;
                if label >= CLASSES.len() {
                    report.add(
                        Kind::LabelId,
                        &place,
                        format!("label {label} is not one of 0 to 9"),
                    );
                } else if is_train {
                    count[label] += 1;
                }
                let image = Image {
                    height: SIDE,
                    width: SIDE,
                    data: record[1..].to_vec(),
                };
                items.push(Item {
                    place,
                    digest: Some(digest(&image)),
                    train: is_train,
                    val: !is_train,
                });
            }
        }
    }
    for (class, n) in CLASSES.iter().zip(count) {
        if n == 0 {
            let text = format!("the class {class:?} has no record in the training split");
            report.add(Kind::EmptyClass, config.root.display(), text);
        }
    }
    Ok(items)
}
