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
    let types = Waymo::types(&config.rules.classes, &config.rules.merge)?;
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Kind, check_folder};

    /// A copy of the set of `tests/data/make_waymo.py`.
    fn copy(form: &str) -> tempfile::TempDir {
        fn all(from: &Path, to: &Path) {
            std::fs::create_dir_all(to).unwrap();
            for entry in std::fs::read_dir(from).unwrap() {
                let (from, to) = (
                    entry.as_ref().unwrap().path(),
                    to.join(entry.unwrap().file_name()),
                );
                match from.is_dir() {
                    true => all(&from, &to),
                    false => assert!(std::fs::copy(&from, &to).unwrap() > 0),
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/waymo");
        all(&tests.join(form), dir.path());
        dir
    }

    #[test]
    fn both_forms_are_found_and_whole() {
        for form in ["v1", "v2"] {
            let report = check_folder(copy(form).path()).unwrap();
            assert_eq!((report.images, &report.defects[..]), (7, &[][..]), "{form}");
        }
    }

    #[test]
    fn each_damaged_file_is_named() {
        let dir = copy("v1");
        let path = |name: &str| {
            dir.path().join(format!(
                "training/segment-{name}_with_camera_labels.tfrecord"
            ))
        };
        let change = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = std::fs::read(path(name)).unwrap();
            change(&mut bytes);
            std::fs::write(path(name), bytes).unwrap();
        };
        // A cut file hides its frames; a damaged record only its own.
        change("2222_000_1_000", &|b| b.truncate(b.len() - 7));
        change("1111_000_1_000", &|b| b[700] ^= 1);
        let report = check_folder(dir.path()).unwrap();
        let found: Vec<(Kind, String)> = report
            .defects
            .iter()
            .map(|d| (d.kind, d.place.clone()))
            .collect();
        assert_eq!(found[0].0, Kind::Checksum, "{found:?}");
        assert!(
            found[0]
                .1
                .contains("1111_000_1_000_with_camera_labels.tfrecord, record 0 at byte 0")
        );
        assert_eq!(found[1].0, Kind::RecordSize, "{found:?}");
        assert!(
            found[1]
                .1
                .contains("2222_000_1_000_with_camera_labels.tfrecord, record 1 at byte")
        );
        // The first frame had the set's only cyclist of this camera, its vehicle and its pedestrian.
        assert!(
            found[2..].iter().all(|f| f.0 == Kind::EmptyClass),
            "{found:?}"
        );
        assert_eq!(report.images, 3 + 2);
    }
}
