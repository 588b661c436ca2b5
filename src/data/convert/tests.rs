//! There and back: boxes stay within the rounding of the target, label maps are equal. The files are read back by other code.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::annotation::LabelMap;
use crate::data::check::{check, detect};
use crate::data::dataset::{Dataset, Format};
use crate::data::image_file::{encode_jpeg, encode_labels, read_image, read_labels};
use crate::data::kitti_label::{KittiObject, read_label};
use crate::data::text_file::sorted_names;
use crate::rng::Rng;

const TYPES: [&str; 9] = crate::data::kitti_label::TYPES;

/// A KITTI set of random boxes of all types, `images` pictures of 97 x 61 pixels, the last quarter held out.
fn kitti(root: &Path, images: usize) -> DatasetConfig {
    let r = &mut Rng::new(5, &[]);
    let picture = Image {
        height: 61,
        width: 97,
        data: (0..61 * 97 * 3).map(|i| (i % 251) as u8).collect(),
    };
    let write = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let (mut train, mut val) = (String::new(), String::new());
    for i in 0..images {
        let id = format!("{:06}", 7 * i);
        write(
            &format!("training/image_2/{id}.png"),
            &encode_png(&picture).unwrap(),
        );
        let mut text = String::new();
        for _ in 0..r.below(5) {
            let kind = TYPES[r.below(9)];
            let (x, y) = (r.range(0.0, 90.0), r.range(0.0, 55.0));
            let (x2, y2) = (x + r.range(1.0, 97.0 - x), y + r.range(1.0, 61.0 - y));
            let facts = if kind == "DontCare" {
                "-1 -1"
            } else {
                "0.31 2"
            };
            text += &format!(
                "{kind} {facts} 1.85 {x:.2} {y:.2} {x2:.2} {y2:.2} 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n"
            );
        }
        write(&format!("training/label_2/{id}.txt"), text.as_bytes());
        if i * 4 < images * 3 {
            &mut train
        } else {
            &mut val
        }
        .push_str(&format!("{id}\n"));
    }
    write("ImageSets/train.txt", train.as_bytes());
    write("ImageSets/val.txt", val.as_bytes());
    detect(root).unwrap().remove(0)
}

/// Type and box of every label line, by id.
fn lines(root: &Path) -> BTreeMap<String, Vec<KittiObject>> {
    let dir = root.join("training/label_2");
    let read = |name: String| {
        let objects = read_label(&dir.join(&name)).unwrap();
        let id = name.trim_end_matches(".txt").to_string();
        (id, objects.into_iter().map(|(_, o)| o).collect())
    };
    sorted_names(&dir).unwrap().into_iter().map(read).collect()
}

/// Same types in the same order, edges within `rounding` pixels.
fn same(
    a: &BTreeMap<String, Vec<KittiObject>>,
    b: &BTreeMap<String, Vec<KittiObject>>,
    rounding: f32,
) {
    assert!(a.keys().eq(b.keys()));
    let mut boxes = 0;
    for (id, objects) in a {
        assert_eq!(objects.len(), b[id].len(), "{id}");
        for (x, y) in objects.iter().zip(&b[id]) {
            assert_eq!(x.kind, y.kind, "{id}");
            let edges = |o: &KittiObject| [o.bbox.x1, o.bbox.y1, o.bbox.x2, o.bbox.y2];
            for (p, q) in edges(x).into_iter().zip(edges(y)) {
                assert!((p - q).abs() <= rounding, "{id}: {p} against {q}");
            }
            boxes += 1;
        }
    }
    assert!(boxes > 50);
}

fn line(kind: &str, [x1, y1, x2, y2]: [f64; 4]) -> String {
    format!("{kind} -1 -1 -10 {x1:.2} {y1:.2} {x2:.2} {y2:.2} -1 -1 -1 -1000 -1000 -1000 -10\n")
}

/// COCO to KITTI labels, by the words of the COCO page alone.
fn coco_to_labels(root: &Path, out: &Path) {
    fs::create_dir_all(out.join("training/label_2")).unwrap();
    for split in ["train", "val"] {
        let text = fs::read(root.join(format!("annotations/instances_{split}.json"))).unwrap();
        let v: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let list = |key: &str| v[key].as_array().unwrap().clone();
        let names: BTreeMap<u64, String> = (list("categories").iter())
            .map(|c| {
                (
                    c["id"].as_u64().unwrap(),
                    c["name"].as_str().unwrap().to_string(),
                )
            })
            .collect();
        let mut texts: BTreeMap<u64, (String, String)> = BTreeMap::new();
        for i in list("images") {
            assert_eq!(
                (i["height"].as_u64(), i["width"].as_u64()),
                (Some(61), Some(97))
            );
            let file = i["file_name"].as_str().unwrap().to_string();
            assert!(root.join("images").join(&file).is_file());
            let stem = file.trim_end_matches(".png").to_string();
            texts.insert(i["id"].as_u64().unwrap(), (stem, String::new()));
        }
        let mut ids = vec![];
        for a in list("annotations") {
            ids.push(a["id"].as_u64().unwrap());
            let b: Vec<f64> = serde_json::from_value(a["bbox"].clone()).unwrap();
            assert!((a["area"].as_f64().unwrap() - b[2] * b[3]).abs() < 0.01);
            let name = &names[&a["category_id"].as_u64().unwrap()];
            assert_eq!(a["iscrowd"] == 1, name == "DontCare");
            if name != "DontCare" {
                assert_eq!(a["attributes"]["truncated"], 0.31);
            }
            let text = &mut texts.get_mut(&a["image_id"].as_u64().unwrap()).unwrap().1;
            *text += &line(name, [b[0], b[1], b[0] + b[2], b[1] + b[3]]);
        }
        ids.dedup();
        assert_eq!(ids.len(), list("annotations").len(), "ids are different");
        for (stem, text) in texts.values() {
            fs::write(out.join(format!("training/label_2/{stem}.txt")), text).unwrap();
        }
    }
}

/// VOC to KITTI labels, by string search: first and last pixel from 1.
fn voc_to_labels(root: &Path, out: &Path) {
    fs::create_dir_all(out.join("training/label_2")).unwrap();
    let inside = |text: &str, tag: &str| {
        let from = text.find(&format!("<{tag}>")).unwrap() + tag.len() + 2;
        text[from..from + text[from..].find(&format!("</{tag}>")).unwrap()].to_string()
    };
    for name in sorted_names(&root.join("Annotations")).unwrap() {
        let text = fs::read_to_string(root.join("Annotations").join(&name)).unwrap();
        assert_eq!(
            (inside(&text, "width"), inside(&text, "height")),
            ("97".into(), "61".into())
        );
        assert!(
            root.join("JPEGImages")
                .join(inside(&text, "filename"))
                .is_file()
        );
        let mut label = String::new();
        for object in text.split("<object>").skip(1) {
            let number = |tag: &str| inside(object, tag).parse::<i64>().unwrap();
            let [x1, y1, x2, y2] = ["xmin", "ymin", "xmax", "ymax"].map(number);
            assert!(1 <= x1 && x1 <= x2 && x2 <= 97 && 1 <= y1 && y1 <= y2 && y2 <= 61);
            let kind = inside(object, "name");
            assert_eq!(number("difficult") == 1, kind == "DontCare");
            assert_eq!(number("truncated") == 1, kind != "DontCare");
            label += &line(&kind, [x1 - 1, y1 - 1, x2, y2].map(|v| v as f64));
        }
        let name = name.replace(".xml", ".txt");
        fs::write(out.join("training/label_2").join(name), label).unwrap();
    }
}

#[test]
fn boxes_go_to_coco_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to, back) = (
        dir.path().join("k"),
        dir.path().join("c"),
        dir.path().join("b"),
    );
    let config = kitti(&from, 40);
    let summary = convert(&config, &to, To::Coco, Images::Link).unwrap();
    assert_eq!(summary.pictures, 40);
    assert!(summary.notes[0].contains("DontCare"));
    coco_to_labels(&to, &back);
    same(&lines(&from), &lines(&back), 0.0051);
}

#[test]
fn boxes_go_to_voc_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to, back) = (
        dir.path().join("k"),
        dir.path().join("v"),
        dir.path().join("b"),
    );
    convert(&kitti(&from, 40), &to, To::Voc, Images::Copy).unwrap();
    voc_to_labels(&to, &back);
    // A box of less than a pixel is widened to one.
    same(&lines(&from), &lines(&back), 0.51);
    for split in ["train", "val"] {
        assert_eq!(
            fs::read(to.join(format!("ImageSets/Main/{split}.txt"))).unwrap(),
            fs::read(from.join(format!("ImageSets/{split}.txt"))).unwrap()
        );
    }
}

#[test]
fn kitti_to_kitti_is_the_same_and_passes_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("k"), dir.path().join("deep/new/k"));
    let config = kitti(&from, 20);
    convert(&config, &to, To::Kitti, Images::Copy).unwrap();
    assert_eq!(lines(&from), lines(&to));
    let again = detect(&to).unwrap().remove(0);
    let (a, b) = (config.open_val().unwrap(), again.open_val().unwrap());
    assert_eq!(a.load(0).unwrap(), b.load(0).unwrap());
    // Equal pictures apart, which are made so here, nothing is wrong.
    let bad = |root: &DatasetConfig| {
        let all = check(root).unwrap().defects;
        all.into_iter()
            .filter(|d| d.code != Code::CheckFailed.id())
            .count()
    };
    assert_eq!(bad(&again), bad(&config));
    // Nothing is left of the building site.
    assert_eq!(sorted_names(to.parent().unwrap()).unwrap(), ["k"]);
}

/// Boxes with classes of their own names.
struct Plain {
    files: Vec<PathBuf>,
    names: Vec<String>,
}

impl Dataset for Plain {
    fn name(&self) -> &str {
        "plain"
    }
    fn kind(&self) -> Kind {
        Kind::Detection
    }
    fn classes(&self) -> &[String] {
        &self.names
    }
    fn len(&self) -> usize {
        self.files.len()
    }
    fn id(&self, index: usize) -> String {
        format!("p{index}")
    }
    fn place(&self, index: usize) -> String {
        self.files[index].display().to_string()
    }
    fn load(&self, index: usize) -> Result<crate::data::dataset::Sample> {
        let object = |class, ignore| crate::annotation::Object {
            class,
            bbox: crate::annotation::BBox {
                x1: 1.25,
                y1: 2.0,
                x2: 3.5,
                y2: 4.0,
            },
            ignore,
        };
        Ok(crate::data::dataset::Sample {
            id: self.id(index),
            image: read_image(&self.files[index])?,
            annotation: crate::annotation::Annotation::Objects(vec![
                object(0, false),
                object(1, false),
                object(0, true),
            ]),
        })
    }
}

#[test]
fn any_boxes_become_kitti() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image {
        height: 8,
        width: 12,
        data: vec![90; 288],
    };
    let file = dir.path().join("p.jpg");
    fs::write(&file, encode_jpeg(&image, 90).unwrap()).unwrap();
    let set = Plain {
        files: vec![file.clone(), file],
        names: ["person", "zebra & co"].map(String::from).to_vec(),
    };
    let opened = source::Opened {
        name: "lists/train.txt".into(),
        held_out: false,
        set: std::sync::Arc::new(set),
    };
    let splits = [boxes::general(opened).unwrap()];
    let job = |images, name: &str| Job {
        out: dir.path().join(name),
        images,
    };
    let k = job(Images::Copy, "k");
    let notes = write::kitti(&k, &splits).unwrap();
    assert!(
        notes.len() == 1 && notes[0].contains("zebra & co"),
        "{notes:?}"
    );
    let objects = &lines(&k.out)["p1"];
    let kinds: Vec<&str> = objects.iter().map(|o| o.kind).collect();
    assert_eq!(kinds, ["Pedestrian", "Misc", "DontCare"]);
    assert_eq!(
        fs::read_to_string(k.out.join("ImageSets/train.txt")).unwrap(),
        "p0\np1\n"
    );
    // The JPEG became a PNG of the same pixels.
    let png = fs::read(k.out.join("training/image_2/p0.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    let e = write::kitti(&job(Images::Link, "l"), &splits).unwrap_err();
    assert!(
        e.code() == Code::BadFormat && e.render().contains("--images copy"),
        "{e}"
    );
    let v = job(Images::None, "v");
    write::voc(&v, &splits).unwrap();
    let text = fs::read_to_string(v.out.join("Annotations/p0.xml")).unwrap();
    assert!(text.contains("<name>zebra &amp; co</name>") && text.contains("<filename>p0.jpg<"));
    assert!(!v.out.join("JPEGImages").exists());
}

/// Label maps of Cityscapes, all ids.
fn cityscapes(root: &Path) -> DatasetConfig {
    let ids = LabelMap {
        height: 5,
        width: 8,
        data: (0..40).map(|i| if i < 34 { i } else { 255 }).collect(),
    };
    let image = Image {
        height: 5,
        width: 8,
        data: vec![7; 120],
    };
    for (split, id) in [
        ("train", "ulm_000001_000019"),
        ("val", "bonn_000002_000019"),
    ] {
        let city = id.split('_').next().unwrap();
        let (p, l) = (
            format!("leftImg8bit/{split}/{city}"),
            format!("gtFine/{split}/{city}"),
        );
        fs::create_dir_all(root.join(&p)).unwrap();
        fs::create_dir_all(root.join(&l)).unwrap();
        fs::write(
            root.join(format!("{p}/{id}_leftImg8bit.png")),
            encode_png(&image).unwrap(),
        )
        .unwrap();
        fs::write(
            root.join(format!("{l}/{id}_gtFine_labelIds.png")),
            encode_labels(&ids).unwrap(),
        )
        .unwrap();
    }
    DatasetConfig {
        format: Format::Cityscapes,
        root: root.into(),
        ..Default::default()
    }
}

#[test]
fn label_maps_go_round() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let config = cityscapes(&at("a"));
    let step = |from: &str, to: &str, target| {
        let config = DatasetConfig {
            root: at(from),
            ..config.clone()
        };
        let s = convert(&config, &at(to), target, Images::Link).unwrap();
        assert_eq!((s.pictures, s.labels), (2, 2), "{s:?}");
    };
    step("a", "train", To::TrainIds);
    step("train", "colours", To::Palette);
    step("colours", "again", To::TrainIds);
    step("again", "ids", To::LabelIds);
    let of = |set: &str, suffix: &str| {
        read_labels(&at(set).join(format!(
            "gtFine/train/ulm/ulm_000001_000019_gtFine_{suffix}.png"
        )))
        .unwrap()
    };
    let train = of("train", "labelTrainIds");
    // The table of the Cityscapes scripts: road is 7, bicycles are 33.
    assert_eq!(
        (train.data[7], train.data[33], train.data[0], train.data[39]),
        (0, 18, 255, 255)
    );
    assert_eq!(
        of("colours", "color"),
        train,
        "raw values of the palette file"
    );
    assert_eq!(of("again", "labelTrainIds"), train, "by its colours");
    let (before, after) = (of("a", "labelIds"), of("ids", "labelIds"));
    for (i, (a, b)) in before.data.iter().zip(&after.data).enumerate() {
        let kept = if train.data[i] == 255 { 0 } else { *a };
        assert_eq!(*b, kept, "id {a}");
    }
    let road =
        read_image(&at("colours").join("gtFine/val/bonn/bonn_000002_000019_gtFine_color.png"));
    assert_eq!(road.unwrap().data[21..24], [128, 64, 128]);
    // A colour that is none.
    let wrong = Image {
        height: 1,
        width: 2,
        data: vec![128, 64, 128, 1, 2, 3],
    };
    let path = at("colours").join("gtFine/train/ulm/ulm_000001_000019_gtFine_color.png");
    fs::write(&path, encode_png(&wrong).unwrap()).unwrap();
    let config = DatasetConfig {
        root: at("colours"),
        ..config.clone()
    };
    let e = convert(&config, &at("bad"), To::TrainIds, Images::None).unwrap_err();
    assert!(
        e.code() == Code::BadLabelId && e.place().unwrap().ends_with("color.png, pixel (1, 0)"),
        "{e}"
    );
    assert!(!at("bad").exists());
}

#[test]
fn nothing_is_overwritten_and_the_source_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("k");
    let config = kitti(&from, 4);
    let refused = |out: &Path, to, code| {
        let e = convert(&config, out, to, Images::Copy).unwrap_err();
        assert!(e.code() == code && e.remedy().is_some(), "{e}");
    };
    refused(&from.join("coco"), To::Coco, Code::CannotCreate);
    refused(&from.join("not/there/yet"), To::Coco, Code::CannotCreate);
    refused(&from, To::Coco, Code::CannotCreate);
    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("x"), "x").unwrap();
    refused(&full, To::Voc, Code::CannotCreate);
    refused(&full.join("x"), To::Voc, Code::CannotCreate);
    refused(&dir.path().join("new"), To::Palette, Code::Usage);
    // A defect ends it, and no half of a set is left.
    fs::write(from.join("training/label_2/000007.txt"), "Car 1 2\n").unwrap();
    refused(&dir.path().join("new"), To::Coco, Code::BadLine);
    let left = sorted_names(dir.path()).unwrap();
    assert_eq!(left, ["full", "k"]);
    assert!(
        fs::read_dir(dir.path()).unwrap().count() == 2,
        "hidden ones too"
    );
    assert_eq!(sorted_names(&from).unwrap(), ["ImageSets", "training"]);
    let scenes = cityscapes(&dir.path().join("c"));
    let e = convert(&scenes, &dir.path().join("new"), To::Coco, Images::Copy).unwrap_err();
    assert!(
        e.code() == Code::Usage && e.render().contains("train-ids"),
        "{e}"
    );
}
