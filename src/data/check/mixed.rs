//! A mixed set: whether its splits can be made of its sources, which are read before, and whether they share a picture.

use std::collections::HashMap;

use super::{Defect, Kind, Report};
use crate::data::dataset::DatasetConfig;
use crate::error::{Code, Error, Result};

/// Opens both splits. No picture is read.
///
/// # Errors
/// `ConfigValue` for classes, draws or names that do not fit the sources.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<()> {
    if config.root.is_dir() {
        report.sets.push(config.root.display().to_string());
    }
    // Place and id of the pictures of the training split. By places: the same file may come from two sources.
    let mut known: HashMap<String, String> = HashMap::new();
    for (split, is_train) in super::splits(config) {
        let set = match config.open(split) {
            Ok(set) => set,
            Err(e) if e.code() == Code::ConfigValue => return Err(e),
            Err(e) => {
                let defect = defect(&e, config);
                // The reading of a source may have met it already.
                if report.defects.iter().all(|d| d.place != defect.place) {
                    report.defects.push(defect);
                }
                continue;
            }
        };
        for i in 0..set.len() {
            let (place, id) = (set.place(i), set.id(i));
            if is_train {
                known.insert(place, id);
            } else if let Some(other) = known.get(&place) {
                let text = format!("the picture is in both splits of the mixed set, as {other:?}");
                let text = match *other == id {
                    true => text,
                    false => format!("{text} and {id:?}"),
                };
                report.add(Kind::Leakage, place, text);
            }
        }
    }
    Ok(())
}

fn defect(e: &Error, config: &DatasetConfig) -> Defect {
    let kind = match e.code() {
        Code::NotFound => Kind::AbsentId,
        Code::EmptyData => Kind::EmptyList,
        _ => Kind::of(e),
    };
    Defect {
        kind,
        code: kind.code().id(),
        ..Defect::of(e, config.root.display())
    }
}
