//! Boxes of a COCO detection file (`instances_*.json`): `images`, `annotations` and `categories` in any order, brought together once
//! all of them are read (`coco_stream`).

use std::path::Path;

use super::box_set::{BoxTable, Fault, RawBox, refuse_doubles, stop};
use super::class_rules::{ClassRules, ClassTable, Vocabulary};
use super::coco_stream::{Category, State, Top};
use super::json_stream::JsonFile;
use super::text_file::{at_line, path_defect};
use crate::error::{Code, Error, Result};

/// The category names of a file in the order of their ids.
///
/// # Errors
/// As [`read`].
pub fn categories(path: &Path) -> Result<Vec<String>> {
    let file = JsonFile::open(path)?;
    let mut first = stop;
    let mut state = State::new(&file, true, &mut first);
    file.parse(Top(&mut state))?;
    let list = sorted(path, state.categories, &mut stop)?;
    Ok(list.into_iter().map(|c| c.name).collect())
}

/// Reads a file: its pictures in the order of the file, their boxes, and the classes, which without rules are the categories in
/// the order of their ids.
///
/// # Errors
/// `BadFormat` for what is not such JSON; `ConfigValue` for classes that the file does not have; whatever `fault` gives back for
/// defects: `BadLine` (a picture or category that is not there or twice, a name that leaves the folder), `BadBox`.
pub fn read(path: &Path, rules: &ClassRules, fault: &mut Fault) -> Result<(BoxTable, ClassTable)> {
    let file = JsonFile::open(path)?;
    let mut state = State::new(&file, false, fault);
    let read = file.parse(Top(&mut state));
    let State {
        images,
        ids,
        boxes,
        categories,
        failed,
        ..
    } = state;
    if let Some(e) = failed {
        return Err(e);
    }
    read?;
    let categories = sorted(path, categories, fault)?;
    let names: Vec<&str> = categories.iter().map(|c| c.name.as_str()).collect();
    let words = Vocabulary {
        format: "the COCO file",
        types: &names,
        classes: &names,
        ..Vocabulary::default()
    };
    let table = ClassTable::new(rules, &words).map_err(|e| e.note(path.display().to_string()))?;
    for row in &images {
        if let Some(defect) = path_defect(&row.name) {
            let text = format!("{defect}: {:?}", row.name);
            fault(
                Error::new(Code::BadLine, text)
                    .at(at_line(path, row.line as usize))
                    .help("give `file_name` as a path below the folder of the pictures"),
            )?;
        }
    }
    refuse_doubles(path, &images, fault)?;
    let mut by_id: Vec<(u64, usize)> = ids.iter().copied().zip(0..).collect();
    by_id.sort_unstable();
    for pair in by_id.windows(2).filter(|p| p[0].0 == p[1].0) {
        let row = |i: usize| images[i].line as usize;
        let text = format!(
            "the image id {} is already in line {}",
            pair[1].0,
            row(pair[0].1)
        );
        let e = Error::new(Code::BadLine, text).at(at_line(path, row(pair[1].1)));
        fault(e.help("keep one of the two entries"))?;
    }
    let mut kept: Vec<(u32, RawBox)> = vec![];
    for loose in &boxes {
        let bad = |text: String| {
            Error::new(
                Code::BadLine,
                format!("annotation {}: {text}", loose.raw.label),
            )
            .at(at_line(path, loose.raw.line as usize))
            .help("correct the annotation, or add what it names")
        };
        let image = by_id.binary_search_by_key(&loose.image, |p| p.0);
        let category = categories.binary_search_by_key(&loose.category, |c| c.id);
        let kind = category.ok().map(|i| table.kind(&categories[i].name));
        match (image, kind) {
            (Err(_), _) => fault(bad(format!(
                "there is no image with the id {}",
                loose.image
            )))?,
            (_, Some(Ok(kind))) => {
                let row = image.map(|i| by_id[i].1).unwrap_or_default();
                kept.push((row as u32, RawBox { kind, ..loose.raw }));
            }
            (_, _) => fault(bad(format!(
                "unknown object type: there is no category with the id {}",
                loose.category
            )))?,
        }
    }
    drop(boxes);
    kept.sort_by_key(|(row, _)| *row);
    let mut out = BoxTable {
        images,
        boxes: kept.iter().map(|(_, raw)| *raw).collect(),
    };
    let mut start = 0;
    for (i, image) in out.images.iter_mut().enumerate() {
        let n = kept[start..]
            .iter()
            .take_while(|(r, _)| *r as usize == i)
            .count();
        image.boxes = start as u32..(start + n) as u32;
        start += n;
    }
    Ok((out, table))
}

/// Categories by id; those that come twice go to `fault`.
fn sorted(path: &Path, mut list: Vec<Category>, fault: &mut Fault) -> Result<Vec<Category>> {
    list.sort_by_key(|c| c.id);
    let mut seen = std::collections::BTreeSet::new();
    let mut out: Vec<Category> = vec![];
    for category in list {
        let same_id = out.last().is_some_and(|c| c.id == category.id);
        if same_id || !seen.insert(category.name.clone()) {
            let text = format!(
                "the category {} ({:?}) is listed twice",
                category.id, category.name
            );
            fault(
                Error::new(Code::BadLine, text)
                    .at(path.display())
                    .help("give each category its own id and name"),
            )?;
            continue;
        }
        out.push(category);
    }
    if out.is_empty() {
        return Err(Error::new(Code::BadFormat, "the file has no `categories`")
            .at(path.display())
            .help("is it a detection file, such as instances_train2017.json?"));
    }
    Ok(out)
}
