//! Conversions of the published formats of `tests/data`, read back by the readers of the targets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::data::check::detect;
use crate::data::class_rules::ClassRules;
use crate::data::dataset::Format;
use crate::data::image_file::read_image;
use crate::data::kitti_label::read_label;
use crate::data::published_tests::{copy, jpeg, objects, write};

/// Class, ignored or not, edges.
pub(super) type Boxes = Vec<(String, bool, [f32; 4])>;

pub(super) fn set(format: Format, root: &Path) -> DatasetConfig {
    DatasetConfig {
        format,
        root: root.into(),
        ..Default::default()
    }
}

/// All boxes of both splits, by picture.
pub(super) fn boxes(config: &DatasetConfig) -> BTreeMap<String, Boxes> {
    let mut all = BTreeMap::new();
    for split in [&config.train, &config.val] {
        let set = config.open(split).unwrap();
        for i in 0..set.len() {
            let found = objects(&set.load(i).unwrap().annotation);
            let named = |(c, ignore, edges): (usize, bool, [f32; 4])| {
                (set.classes()[c].clone(), ignore, edges)
            };
            all.insert(set.id(i), found.into_iter().map(named).collect());
        }
    }
    all
}

/// Same names in the same order, edges within `rounding`.
fn same(a: &BTreeMap<String, Boxes>, b: &BTreeMap<String, Boxes>, rounding: f32) {
    assert!(a.keys().eq(b.keys()), "{a:?}\n{b:?}");
    for (id, boxes) in a {
        assert_eq!(boxes.len(), b[id].len(), "{id}");
        for (x, y) in boxes.iter().zip(&b[id]) {
            assert_eq!((&x.0, x.1), (&y.0, y.1), "{id}");
            let near = x.2.iter().zip(y.2).all(|(p, q)| (p - q).abs() <= rounding);
            assert!(near, "{id}: {x:?} against {y:?}");
        }
    }
    assert!(a.values().flatten().count() > 3);
}

pub(super) fn voc(dir: &Path) -> DatasetConfig {
    copy("voc", dir);
    for (i, id) in ["2007_000027", "2007_000032", "2007_000033"]
        .iter()
        .enumerate()
    {
        jpeg(&dir.join(format!("VOC2012/JPEGImages/{id}.jpg")), 9, 12, i);
    }
    set(Format::Voc, &dir.join("VOC2012"))
}

pub(super) fn coco(dir: &Path) -> DatasetConfig {
    copy("coco", dir);
    for (i, id) in [391895, 522418, 9].iter().enumerate() {
        jpeg(&dir.join(format!("train2017/{id:012}.jpg")), 36, 64, i);
    }
    jpeg(&dir.join("val2017/000000000002.jpg"), 36, 64, 4);
    set(Format::Coco, dir)
}

/// Types of the label lines of a KITTI set, by picture.
fn types(root: &Path) -> BTreeMap<String, Vec<&'static str>> {
    let folder = root.join("training/label_2");
    let of = |entry: fs::DirEntry| {
        let lines = read_label(&entry.path()).unwrap();
        let id = entry
            .path()
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        (id, lines.into_iter().map(|(_, o)| o.kind).collect())
    };
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|e| of(e.unwrap())).collect()
}

#[test]
fn voc_goes_to_coco_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let first = voc(&at("voc"));
    let summary = convert(&first, &at("coco"), To::Coco, Images::Copy).unwrap();
    assert_eq!((summary.pictures, summary.labels), (3, 4));
    let second = set(Format::Coco, &at("coco"));
    // COCO has hundredths of a pixel.
    same(&boxes(&first), &boxes(&second), 0.0051);
    convert(&second, &at("again"), To::Voc, Images::Copy).unwrap();
    let third = set(Format::Voc, &at("again"));
    same(&boxes(&first), &boxes(&third), 0.5);
    // Whole pixels stay as they are.
    let of = |c: &DatasetConfig| -> Boxes { boxes(c).into_values().flatten().collect() };
    let (before, after) = (of(&first), of(&third));
    let whole = |b: &&(String, bool, [f32; 4])| b.2.iter().all(|v| v.fract() == 0.0);
    let kept: Vec<_> = before.iter().filter(whole).collect();
    assert!(kept.len() == 3 && kept.iter().all(|b| after.contains(b)));
    let files = ["voc/VOC2012", "again"].map(|d| at(d).join("JPEGImages/2007_000033.jpg"));
    assert_eq!(fs::read(&files[0]).unwrap(), fs::read(&files[1]).unwrap());
}

#[test]
fn coco_goes_to_kitti() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let from = coco(&at("coco"));
    let summary = convert(&from, &at("kitti"), To::Kitti, Images::Copy).unwrap();
    let notes = summary.notes.join("\n");
    assert!(notes.contains("1 boxes of \"dog\""), "{notes}");
    assert!(notes.contains("1 boxes of \"toothbrush\""), "{notes}");
    let want = [
        ("000000000002", vec!["Misc"]),
        ("000000000009", vec![]),
        ("000000391895", vec!["Pedestrian", "DontCare"]),
        ("000000522418", vec!["Car", "Misc"]),
    ];
    let want: BTreeMap<_, _> = want.map(|(id, t)| (id.to_string(), t)).into();
    assert_eq!(types(&at("kitti")), want);
    // And its reader agrees on the boxes.
    let mut to = detect(&at("kitti")).unwrap().remove(0);
    to.kitti.classes = ["car", "pedestrian", "misc"].map(String::from).to_vec();
    let kept = |all: BTreeMap<String, Boxes>| -> Vec<[f32; 4]> {
        let all = all.into_values().flatten();
        all.filter(|b| !b.1).map(|b| b.2).collect()
    };
    assert_eq!(kept(boxes(&to)), kept(boxes(&from)));
    let picture = |p: &str| read_image(&at(p)).unwrap();
    assert_eq!(
        picture("kitti/training/image_2/000000522418.png"),
        picture("coco/train2017/000000522418.jpg")
    );
}

#[test]
fn coco_goes_to_voc_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let from = coco(&at("coco"));
    convert(&from, &at("voc"), To::Voc, Images::Link).unwrap();
    let mut to = set(Format::Voc, &at("voc"));
    to.rules.classes = from.open_train().unwrap().classes().to_vec();
    (to.train, to.val) = ("train".into(), "val".into());
    same(&boxes(&from), &boxes(&to), 0.51);
    convert(&to, &at("again"), To::Coco, Images::None).unwrap();
    copy_pictures(&at("voc/JPEGImages"), &at("again/images"));
    same(&boxes(&to), &boxes(&set(Format::Coco, &at("again"))), 0.0);
}

fn copy_pictures(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn bdd100k_of_both_generations() {
    for form in ["2018-merged", "2018-single", "2020"] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        copy(&format!("bdd100k/{form}"), &at("bdd"));
        let train = ["0000f77c-6257be58", "0000f77c-62c2a288"];
        let val = [
            "b1c66a42-6f7d68ca",
            "b1c81faa-3df17267",
            "b1c9c847-3bda4659",
            "b1d0a191-03dcecc2",
        ];
        for (split, ids) in [("train", &train[..]), ("val", &val)] {
            for (i, id) in ids.iter().enumerate() {
                jpeg(&at(&format!("bdd/images/100k/{split}/{id}.jpg")), 36, 64, i);
            }
        }
        let from = set(Format::Bdd100k, &at("bdd"));
        convert(&from, &at("coco"), To::Coco, Images::Link).unwrap();
        same(
            &boxes(&from),
            &boxes(&set(Format::Coco, &at("coco"))),
            0.0051,
        );
        let summary = convert(&from, &at("kitti"), To::Kitti, Images::Copy).unwrap();
        // KITTI has no riders, lights and bicycles.
        let want = ["Car", "Pedestrian", "Misc", "Misc"];
        assert_eq!(types(&at("kitti"))[train[0]], want, "{form}");
        assert!(summary.notes.iter().any(|n| n.contains("\"bicycle\"")));
    }
}

#[test]
fn pictures_of_waymo_come_out_of_their_records() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/waymo");
    for (form, format) in [("v1", Format::WaymoV1), ("v2", Format::WaymoV2)] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let from = set(format, &tests.join(form));
        let summary = convert(&from, &at("coco"), To::Coco, Images::Copy).unwrap();
        assert!(summary.notes[0].contains("as PNG"), "{:?}", summary.notes);
        let to = set(Format::Coco, &at("coco"));
        same(&boxes(&from), &boxes(&to), 0.0051);
        let (a, b) = (from.open_train().unwrap(), to.open_train().unwrap());
        assert_eq!(a.load(0).unwrap().image, b.load(0).unwrap().image);
        convert(&from, &at("kitti"), To::Kitti, Images::Copy).unwrap();
        let kinds: Vec<_> = types(&at("kitti")).into_values().flatten().collect();
        assert!(
            kinds.contains(&"Car") && !kinds.contains(&"Misc"),
            "{kinds:?}"
        );
        convert(&from, &at("voc"), To::Voc, Images::Copy).unwrap();
        let mut voc = set(Format::Voc, &at("voc"));
        voc.rules.classes = a.classes().to_vec();
        same(&boxes(&from), &boxes(&voc), 0.51);
        // A link is to a file.
        let e = convert(&from, &at("link"), To::Coco, Images::Link).unwrap_err();
        assert!(e.render().contains("--images copy"), "{e}");
        assert!(!at("link").exists());
    }
}

#[test]
fn lists_with_paths_get_plain_names() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    jpeg(&at("own/images/a.jpg"), 9, 12, 1);
    jpeg(&at("own/images/two words.jpg"), 9, 12, 2);
    write(&at("own/classes.txt"), b"cat\nbig dog\n");
    write(
        &at("own/labels/a.txt"),
        b"cat 1 2 5.5 6\nbig dog 0 0 12 9\n",
    );
    write(
        &at("own/train.txt"),
        b"images/a.jpg labels/a.txt\nimages/two words.jpg\t\n",
    );
    let config = DatasetConfig {
        val: "train".into(),
        ..set(Format::ListBoxes, &at("own"))
    };
    let summary = convert(&config, &at("coco"), To::Coco, Images::Copy).unwrap();
    assert_eq!((summary.pictures, summary.labels), (2, 2));
    let names: Vec<String> = ["images_a.jpg", "images_two_words.jpg"]
        .map(String::from)
        .into();
    let found = crate::data::text_file::sorted_names(&at("coco/images")).unwrap();
    assert_eq!(found, names);
    let to = DatasetConfig {
        val: "train".into(),
        ..set(Format::Coco, &at("coco"))
    };
    let got = boxes(&to);
    let want = [
        ("big dog".to_string(), false, [0.0, 0.0, 12.0, 9.0]),
        ("cat".to_string(), false, [1.0, 2.0, 5.5, 6.0]),
    ];
    let mut sorted = got["images_a"].clone();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(sorted, want);
    // Two paths that would become one name.
    jpeg(&at("own/images_a.jpg"), 9, 12, 3);
    write(
        &at("own/train.txt"),
        b"images/a.jpg labels/a.txt\nimages_a.jpg\n",
    );
    let e = convert(&config, &at("bad"), To::Voc, Images::Copy).unwrap_err();
    assert!(
        e.to_string().contains("two pictures would be called"),
        "{e}"
    );
}

/// Boxes and label maps of VOC lie in one folder.
#[test]
fn the_target_says_which_of_two_sets_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let config = voc(dir.path());
    let found = detect(&config.root).unwrap();
    let formats: Vec<Format> = found.iter().map(|c| c.format).collect();
    assert_eq!(formats, [Format::Voc, Format::VocMasks]);
    let fit = |to: To| -> Vec<Format> {
        let all = found.iter().filter(|c| to.fits(c));
        all.map(|c| c.format).collect()
    };
    assert_eq!(fit(To::Coco), [Format::Voc]);
    assert_eq!(fit(To::TrainIds), [Format::VocMasks]);
    assert_eq!(fit(To::ListBoxes), [Format::Voc]);
    assert_eq!(fit(To::ListMasks), [Format::VocMasks]);
    assert_eq!(fit(To::ListClasses), []);
    assert_eq!(config.rules, ClassRules::default());
}
