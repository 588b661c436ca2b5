//! Formats that are known by the names of their folders and files.

use std::path::{Path, PathBuf};

use crate::data::dataset::Format;
use crate::data::text_file::{read_text, sorted_names};
use crate::data::voc;

/// The formats of a folder; several where boxes and label maps lie side by side.
pub fn formats(dir: &Path) -> Vec<Format> {
    let mut found = vec![];
    let mut add = |is: bool, format| found.extend(is.then_some(format));
    add(dir.join("images/100k").is_dir(), Format::Bdd100k);
    let masks = ["labels/sem_seg/masks", "seg/labels"];
    let masks = masks.iter().any(|m| dir.join(m).is_dir());
    add(masks, Format::Bdd100kMasks);
    let annotations = sorted_names(&dir.join("annotations")).unwrap_or_default();
    let coco = |n: &String| n.starts_with("instances_") && n.ends_with(".json");
    add(annotations.iter().any(coco), Format::Coco);
    // Only what is right here, or a folder of several sets would be taken for the first of them.
    let kit = dir.file_name().is_some_and(|n| n == "VOCdevkit");
    if (kit || dir.join("JPEGImages").is_dir())
        && let Ok(base) = voc::base(dir)
    {
        add(base.join("ImageSets/Main").is_dir(), Format::Voc);
        let masks = base.join("ImageSets/Segmentation").is_dir();
        add(masks, Format::VocMasks);
    }
    let released = |d: &&PathBuf| d.join("train.txt").is_file() && d.join("images").is_dir();
    if let Some(base) = [dir.join("train"), dir.into()].iter().find(released) {
        add(base.join("detection").is_dir(), Format::MtnasBoxes);
        add(base.join("seg").is_dir(), Format::MtnasMasks);
    }
    if dir.join("classes.txt").is_file() {
        found.extend(list(&dir.join("train.txt")));
    }
    found
}

/// What the labels of a list are, by the first one.
fn list(path: &Path) -> Option<Format> {
    let text = read_text(path).ok()?;
    let label = |line: &str| {
        let (_, label) = line.trim().split_once(['\t', ' '])?;
        Some(label.trim().to_lowercase()).filter(|l| !l.is_empty())
    };
    let first = text.lines().find_map(label);
    Some(match first {
        Some(l) if l.ends_with(".png") => Format::ListMasks,
        Some(l) if !l.ends_with(".txt") => Format::ListClasses,
        _ => Format::ListBoxes,
    })
}
