//! Boxes as KITTI, VOC and COCO have them.
//!
//! | target | box | rounding | what is lost |
//! |---|---|---|---|
//! | KITTI | left top right bottom | 0.01 pixel | classes that KITTI lacks become `Misc` |
//! | VOC | first and last pixel from 1 | to whole pixels: an edge moves by at most 0.5 | 3-D fields; how much is truncated or occluded |
//! | COCO | x y width height | 0.01 pixel | 3-D fields |

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

use super::Job;
use super::boxes::{Named, Picture, Split};
use super::source::Pixels;
use crate::annotation::BBox;
use crate::data::kitti_label::{KittiObject, TYPES};
use crate::data::results::kitti_type;
use crate::error::Result;

/// Every picture once, in the order of its splits.
fn pictures(splits: &[Split]) -> Vec<&Picture> {
    let mut seen = BTreeSet::new();
    let all = splits.iter().flat_map(|s| &s.pictures);
    all.filter(|p| seen.insert(p.id.as_str())).collect()
}

/// Ids of a split, one a line.
fn list(split: &Split) -> String {
    split
        .pictures
        .iter()
        .map(|p| format!("{}\n", p.id))
        .collect()
}

/// Where the pictures are, and the names that they get.
fn renamed(all: &[&Picture], name: impl Fn(&Picture) -> String) -> Vec<(Pixels, String)> {
    let of = |p: &&Picture| (p.pixels.clone(), name(p));
    all.iter().map(of).collect()
}

/// The line of a box; what its source does not say is -1, -10 and -1000, as the format has it.
fn kitti_line(b: &Named) -> KittiObject {
    if let Some(o) = &b.kitti {
        return o.clone();
    }
    KittiObject {
        kind: if b.ignore || b.class == "DontCare" {
            "DontCare"
        } else {
            kitti_type(&b.class)
        },
        truncated: -1.0,
        occluded: -1,
        alpha: -10.0,
        bbox: b.bbox,
        size: [-1.0; 3],
        location: [-1000.0; 3],
        rotation: -10.0,
        score: None,
    }
}

/// `training/label_2`, `training/image_2`, `ImageSets`; returns notes.
pub fn kitti(job: &Job, splits: &[Split]) -> Result<Vec<String>> {
    let mut other = BTreeMap::new();
    let all = pictures(splits);
    for p in &all {
        let mut text = String::new();
        for b in &p.boxes {
            let line = kitti_line(b);
            if line.kind == "Misc" && b.class != "Misc" {
                *other.entry(b.class.clone()).or_insert(0usize) += 1;
            }
            text += &format!("{line}\n");
        }
        job.file(&format!("training/label_2/{}.txt", p.id), text.as_bytes())?;
    }
    for split in splits.iter().filter(|s| s.name != "all") {
        job.file(
            &format!("ImageSets/{}.txt", split.name),
            list(split).as_bytes(),
        )?;
    }
    let named = renamed(&all, |p| format!("training/image_2/{}.png", p.id));
    job.pictures(&named, true)?;
    let note = |(class, n)| {
        format!(
            "{n} boxes of {class:?} became Misc: KITTI has {}",
            TYPES.join(", ")
        )
    };
    Ok(other.into_iter().map(note).collect())
}

/// Text inside an XML element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// First and last pixel, counted from 1, of a box that covers at least one.
fn whole_pixels(low: f32, high: f32, size: usize) -> [i64; 2] {
    let size = size as i64;
    let first = (low.round() as i64).clamp(0, size - 1);
    let past = (high.round() as i64).clamp(first + 1, size);
    [first + 1, past]
}

/// `Annotations`, `JPEGImages` (the pictures keep their format), `ImageSets/Main`; returns notes.
pub fn voc(job: &Job, splits: &[Split]) -> Result<Vec<String>> {
    let all = pictures(splits);
    let flag = |b: bool| u8::from(b);
    for p in &all {
        let mut text = format!(
            "<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{}.{}</filename>\n\t<size>\n\t\t<width>{}</width>\n\
             \t\t<height>{}</height>\n\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n",
            escaped(&p.id),
            escaped(&p.pixels.ending()),
            p.width,
            p.height
        );
        for b in &p.boxes {
            let [xmin, xmax] = whole_pixels(b.bbox.x1, b.bbox.x2, p.width);
            let [ymin, ymax] = whole_pixels(b.bbox.y1, b.bbox.y2, p.height);
            let (truncated, occluded) = b
                .kitti
                .as_ref()
                .map_or((false, false), |o| (o.truncated > 0.15, o.occluded > 0));
            text += &format!(
                "\t<object>\n\t\t<name>{}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>{}</truncated>\n\
                 \t\t<occluded>{}</occluded>\n\t\t<difficult>{}</difficult>\n\t\t<bndbox>\n\t\t\t<xmin>{xmin}</xmin>\n\
                 \t\t\t<ymin>{ymin}</ymin>\n\t\t\t<xmax>{xmax}</xmax>\n\t\t\t<ymax>{ymax}</ymax>\n\t\t</bndbox>\n\t</object>\n",
                escaped(&b.class),
                flag(truncated),
                flag(occluded),
                flag(b.ignore),
            );
        }
        text += "</annotation>\n";
        job.file(&format!("Annotations/{}.xml", p.id), text.as_bytes())?;
    }
    for split in splits {
        let name = format!("ImageSets/Main/{}.txt", split.name);
        job.file(&name, list(split).as_bytes())?;
    }
    let named = renamed(&all, |p| {
        format!("JPEGImages/{}.{}", p.id, p.pixels.ending())
    });
    job.pictures(&named, false)?;
    Ok(vec![])
}

/// To two decimals, as the number that is written so.
fn rounded(v: f32) -> f64 {
    (f64::from(v) * 100.0).round() / 100.0
}

/// One file of annotations; ids of pictures and boxes count from 1.
fn coco_split(split: &Split, categories: &BTreeMap<String, usize>) -> Value {
    let (mut images, mut annotations) = (vec![], vec![]);
    for (i, p) in split.pictures.iter().enumerate() {
        images.push(json!({
            "id": i + 1,
            "file_name": format!("{}.{}", p.id, p.pixels.ending()),
            "height": p.height,
            "width": p.width,
        }));
        for b in &p.boxes {
            let BBox { x1, y1, x2, y2 } = b.bbox;
            let (x, y) = (rounded(x1), rounded(y1));
            // Rounded edges, not a rounded width: reading adds them up again.
            let side = |from: f64, to: f32| ((rounded(to) - from) * 100.0).round() / 100.0;
            let (w, h) = (side(x, x2), side(y, y2));
            let mut one = json!({
                "id": annotations.len() + 1,
                "image_id": i + 1,
                "category_id": categories[&b.class],
                "bbox": [x, y, w, h],
                "area": ((w * h) * 100.0).round() / 100.0,
                "iscrowd": u8::from(b.ignore),
                "segmentation": [],
            });
            if let Some(o) = &b.kitti {
                one["attributes"] =
                    json!({"truncated": rounded(o.truncated), "occluded": o.occluded});
            }
            annotations.push(one);
        }
    }
    let category = |(name, id): (&String, &usize)| json!({"id": id, "name": name});
    json!({
        "images": images,
        "annotations": annotations,
        "categories": categories.iter().map(category).collect::<Value>(),
    })
}

/// `annotations/instances_SPLIT.json` and `images`; returns notes.
pub fn coco(job: &Job, splits: &[Split]) -> Result<Vec<String>> {
    let boxes = || {
        splits
            .iter()
            .flat_map(|s| &s.pictures)
            .flat_map(|p| &p.boxes)
    };
    let names: BTreeSet<&String> = boxes().map(|b| &b.class).collect();
    let categories: BTreeMap<String, usize> = (names.into_iter().cloned()).zip(1..).collect();
    for split in splits {
        let name = format!("annotations/instances_{}.json", split.name);
        let text = coco_split(split, &categories).to_string();
        job.file(&name, text.as_bytes())?;
    }
    let named = renamed(&pictures(splits), |p| {
        format!("images/{}.{}", p.id, p.pixels.ending())
    });
    job.pictures(&named, false)?;
    let regions = boxes().filter(|b| b.class == "DontCare").count();
    Ok((regions > 0)
        .then(|| format!("{regions} DontCare regions are crowds of a category of that name"))
        .into_iter()
        .collect())
}
