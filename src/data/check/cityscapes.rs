//! Cityscapes: pictures and label maps of the training and the held-out split.

use std::collections::BTreeSet;
use std::path::Path;

use super::content::digest;
use super::{Defect, Item, Kind, Report, each};
use crate::annotation::IGNORE;
use crate::data::cityscapes::{DISPARITY_SUFFIX, IMAGE_SUFFIX, label_suffix, map_labels};
use crate::data::class_map::ClassMap;
use crate::data::dataset::DatasetConfig;
use crate::data::dense::read::disparity_png;
use crate::data::image_file::{read_image, read_labels};
use crate::data::text_file::sorted_names;
use crate::error::{Code, Result};

/// `city/id` of the files of a folder tree that end with `suffix`; others are stray unless they end with one of `known`.
fn frames(
    base: &Path,
    suffix: &str,
    known: &[&str],
    report: &mut Report,
) -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    if !base.is_dir() {
        return Ok(ids);
    }
    for city in sorted_names(base)? {
        let dir = base.join(&city);
        if !dir.is_dir() {
            report.add(
                Kind::StrayFile,
                dir.display(),
                "expected a folder of a city",
            );
            continue;
        }
        for name in sorted_names(&dir)? {
            match name.strip_suffix(suffix) {
                Some(id) => drop(ids.insert(format!("{city}/{id}"))),
                None if known.iter().any(|k| name.ends_with(k)) => {}
                None => report.add(
                    Kind::StrayFile,
                    dir.join(&name).display(),
                    format!("not a *{suffix} file"),
                ),
            }
        }
    }
    Ok(ids)
}

/// The disparity of a picture of `size`, where the set has disparities.
fn disparity(file: &Path, size: (usize, usize), picture: &str, defects: &mut Vec<Defect>) {
    match disparity_png(file) {
        Ok(map) if (map.height, map.width) == size => {}
        Ok(map) => {
            let text = format!(
                "{} x {}, its picture {} x {}",
                map.width, map.height, size.1, size.0
            );
            let text = format!("the disparity is {text}");
            defects.push(Defect::new(Kind::SizeMismatch, file.display(), text));
        }
        Err(e) if e.code() == Code::NotFound => {
            let text = format!("its disparity {} is missing", file.display());
            defects.push(Defect::new(Kind::MissingLabel, picture, text));
        }
        Err(e) => defects.push(Defect::of(&e, file.display())),
    }
}

/// Reads everything; returns the pictures.
pub fn walk(config: &DatasetConfig, report: &mut Report) -> Result<Vec<Item>> {
    let map = ClassMap::new(&config.cityscapes.classes, config.cityscapes.labels)?;
    let suffix = label_suffix(config.cityscapes.labels);
    // The other files of the real data set.
    let others = [
        "_labelIds.png",
        "_labelTrainIds.png",
        "_instanceIds.png",
        "_color.png",
        "_polygons.json",
    ];
    let mut items = vec![];
    let mut pixels = vec![0u64; map.names().len()];
    for (split, is_train) in [(&config.train, true), (&config.val, false)] {
        let (base, truth) = (
            config.root.join("leftImg8bit").join(split),
            config.root.join("gtFine").join(split),
        );
        let pictures = frames(&base, IMAGE_SUFFIX, &[], report)?;
        let labels = frames(&truth, suffix, &others, report)?;
        if pictures.is_empty() {
            report
                .notes
                .push(format!("no pictures in the split {split:?}"));
        }
        for id in labels.difference(&pictures) {
            let place = truth.join(format!("{id}{suffix}"));
            report.add(
                Kind::MissingImage,
                place.display(),
                format!("the picture {id}{IMAGE_SUFFIX} is missing"),
            );
        }
        let distances = config.root.join("disparity").join(split);
        let all: Vec<&String> = pictures.iter().collect();
        let (found, defects) = each(&all, |id, defects| {
            let path = base.join(format!("{id}{IMAGE_SUFFIX}"));
            let place = path.display().to_string();
            let image = read_image(&path)
                .map_err(|e| defects.push(Defect::of(&e, &place)))
                .ok();
            let item = Item {
                place,
                digest: image.as_ref().map(digest),
                train: is_train,
                val: !is_train,
            };
            if let (true, Some(image)) = (distances.is_dir(), &image) {
                let size = (image.height, image.width);
                let file = distances.join(format!("{id}{DISPARITY_SUFFIX}"));
                disparity(&file, size, &item.place, defects);
            }
            let mut count = vec![0u64; map.names().len()];
            let label = truth.join(format!("{id}{suffix}"));
            if !labels.contains(*id) {
                defects.push(Defect::new(
                    Kind::MissingLabel,
                    &item.place,
                    format!("its label {id}{suffix} is missing"),
                ));
                return (item, count);
            }
            let ids = match read_labels(&label) {
                Ok(ids) => ids,
                Err(e) => {
                    defects.push(Defect::of(&e, label.display()));
                    return (item, count);
                }
            };
            if let Some(image) = &image
                && (image.height, image.width) != (ids.height, ids.width)
            {
                let text = format!(
                    "{} x {}, its picture {} x {}",
                    ids.width, ids.height, image.width, image.height
                );
                defects.push(Defect::new(
                    Kind::SizeMismatch,
                    label.display(),
                    format!("the label map is {text}"),
                ));
            }
            match map_labels(&label, ids, &map) {
                Ok(classes) => classes
                    .data
                    .iter()
                    .filter(|&&c| c != IGNORE)
                    .for_each(|&c| count[c as usize] += 1),
                Err(e) => defects.push(Defect::of(&e, label.display())),
            }
            (item, count)
        });
        report.defects.extend(defects);
        for (item, count) in found {
            if is_train {
                pixels.iter_mut().zip(&count).for_each(|(p, c)| *p += c);
            }
            items.push(item);
        }
    }
    let empty: Vec<&str> = map
        .names()
        .iter()
        .zip(&pixels)
        .filter(|(_, p)| **p == 0)
        .map(|(n, _)| n.as_str())
        .collect();
    // The standard lists are longer than what a small set shows; classes named one by one are meant.
    let preset = matches!(config.cityscapes.classes.as_slice(), [one] if one == "cityscapes-19" || one == "mixed-16");
    if preset && !empty.is_empty() {
        report.notes.push(format!(
            "classes without a pixel in the training split: {}",
            empty.join(", ")
        ));
    } else {
        for class in empty {
            let place = config.root.join("gtFine").join(&config.train);
            report.add(
                Kind::EmptyClass,
                place.display(),
                format!("the class {class:?} has no pixel in the training split"),
            );
        }
    }
    Ok(items)
}
