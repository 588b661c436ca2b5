//! KITTI: lists, pictures, label lines.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::content::digest;
use super::{Defect, Item, Kind, Report, each, list};
use crate::annotation::{BBox, Image};
use crate::data::dataset::DatasetConfig;
use crate::data::image_file::read_image;
use crate::data::kitti::{folders, list_file};
use crate::data::kitti_label::KittiObject;
use crate::data::text_file::{at_line, read_text, sorted_names};
use crate::error::Result;

/// Boxes may reach this far beyond the border: KITTI's own are rounded.
const SLACK: f32 = 1.0;

/// Reads everything; returns the pictures.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<Vec<Item>> {
    let (images, labels) = folders(&config.root)?;
    let mut splits: [BTreeSet<String>; 2] = Default::default();
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for (split, name) in splits.iter_mut().zip([&config.train, &config.val]) {
        if name == "all" {
            continue;
        }
        match list_file(&config.root, name) {
            Ok(path) => {
                for (line, id) in list(&path, report) {
                    named
                        .entry(id.clone())
                        .or_insert_with(|| at_line(&path, line));
                    split.insert(id);
                }
            }
            Err(_) => report.notes.push(format!(
                "no list of the split {name:?}: every picture was checked"
            )),
        }
    }
    let ids = |dir: &Path, extension: &str, report: &mut Report| -> Result<BTreeSet<String>> {
        let mut ids = BTreeSet::new();
        if dir.is_dir() {
            for name in sorted_names(dir)? {
                match name.strip_suffix(extension) {
                    Some(id) => drop(ids.insert(id.to_string())),
                    None => {
                        let text = format!("not a {extension} file");
                        report.add(Kind::StrayFile, dir.join(&name).display(), text);
                    }
                }
            }
        }
        Ok(ids)
    };
    let pictures = ids(&images, ".png", report)?;
    let texts = ids(&labels, ".txt", report)?;
    for (id, place) in &named {
        if !pictures.contains(id) && !texts.contains(id) {
            report.add(
                Kind::AbsentId,
                place,
                format!("the list names {id:?}, which has neither picture nor label"),
            );
        }
    }
    for id in texts.difference(&pictures) {
        let place = labels.join(format!("{id}.txt"));
        report.add(
            Kind::MissingImage,
            place.display(),
            format!("the picture {id}.png is missing"),
        );
    }
    let all: Vec<&String> = pictures.iter().collect();
    let (found, defects) = each(&all, |id, defects| {
        let path = images.join(format!("{id}.png"));
        let place = path.display().to_string();
        let image = read_image(&path)
            .map_err(|e| defects.push(Defect::of(&e, &place)))
            .ok();
        let label = labels.join(format!("{id}.txt"));
        let mut kinds = vec![];
        if texts.contains(*id) {
            kinds = lines(&label, image.as_ref(), defects);
        } else {
            defects.push(Defect::new(
                Kind::MissingLabel,
                &place,
                format!("its label {id}.txt is missing"),
            ));
        }
        let (train, val) = (splits[0].contains(*id), splits[1].contains(*id));
        (
            Item {
                place,
                digest: image.as_ref().map(digest),
                train,
                val,
            },
            kinds,
        )
    });
    report.defects.extend(defects);
    let used = |item: &Item| item.train || splits[0].is_empty();
    let kinds: BTreeSet<&str> = found
        .iter()
        .filter(|(i, _)| used(i))
        .flat_map(|(_, k)| k.iter().copied())
        .collect();
    for class in &config.kitti.classes {
        let is_class = |kind: &&str| {
            config
                .kitti
                .merge
                .get(*kind)
                .map_or_else(|| kind.to_lowercase() == *class, |name| name == class)
        };
        if !kinds.iter().any(is_class) {
            let text = format!("the class {class:?} has no object in the training split");
            report.add(Kind::EmptyClass, labels.display(), text);
        }
    }
    Ok(found.into_iter().map(|(item, _)| item).collect())
}

/// Every defect of a label file; returns the types of its good lines.
fn lines(path: &Path, image: Option<&Image>, defects: &mut Vec<Defect>) -> Vec<&'static str> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(e) => {
            defects.push(Defect::of(&e, path.display()));
            return vec![];
        }
    };
    let mut kinds = vec![];
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let place = at_line(path, i + 1);
        let object = match KittiObject::parse(line) {
            Ok(object) => object,
            Err(e) => {
                defects.push(Defect::of(&e, place));
                continue;
            }
        };
        kinds.push(object.kind);
        if !(-1.0..=1.0).contains(&object.truncated) || !(-1..=3).contains(&object.occluded) {
            let text = format!(
                "truncated must be 0 to 1 and occluded 0 to 3 (-1: unknown), got {} and {}",
                object.truncated, object.occluded
            );
            defects.push(Defect::new(Kind::BadNumber, &place, text));
        }
        let Some(image) = image else { continue };
        let BBox { x1, y1, x2, y2 } = object.bbox;
        let (w, h) = (image.width as f32, image.height as f32);
        if x1 < -SLACK || y1 < -SLACK || x2 > w + SLACK || y2 > h + SLACK {
            let text = format!(
                "the box ({x1}, {y1}, {x2}, {y2}) reaches outside the picture of {w} x {h} pixels"
            );
            defects.push(Defect::new(Kind::BoxOutside, &place, text));
        }
    }
    kinds
}
