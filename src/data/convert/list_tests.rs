//! Conversions to plain lists, read back by the readers of lists.

use std::collections::BTreeMap;

use super::published_tests::{boxes, coco, set, voc};
use super::*;
use crate::data::dataset::Format;
use crate::data::dense::target::Target;
use crate::data::published_tests::{jpeg, write};

#[test]
fn boxes_become_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let first = voc(&at("voc"));
    let summary = convert(&first, &at("own"), To::ListBoxes, Images::Link).unwrap();
    let mut want = BTreeMap::new();
    let mut left = 0;
    for (id, mut all) in boxes(&first) {
        let before = all.len();
        all.retain(|b| !b.1);
        left += before - all.len();
        want.insert(format!("images/{id}.jpg"), all);
    }
    let text = format!("{left} boxes that metrics leave aside are left out: lists have none");
    assert!(left > 0 && summary.notes == [text], "{:?}", summary.notes);
    assert_eq!((summary.pictures, summary.labels), (3, 3));
    assert_eq!(want.values().flatten().count(), 3);
    assert_eq!(boxes(&set(Format::ListBoxes, &at("own"))), want);
}

/// Label maps and pictures of two formats, one of arrays, and classes out of records, come back as they were.
#[test]
fn label_maps_and_classes_become_lists() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    voc(&at("voc"));
    let maps = set(Format::VocMasks, &at("voc/VOC2012"));
    let mut arrays = set(
        Format::Nyuv2Npy,
        &crate::data::dense::fixtures::root("nyuv2-npy"),
    );
    arrays.dense.targets = vec![Target::Segmentation];
    let records = set(Format::Cifar10, &at("cifar"));
    for (file, seed) in [("data_batch_1.bin", 1), ("test_batch.bin", 5)] {
        let picture = |i: usize| Image {
            height: 32,
            width: 32,
            data: (0..3072)
                .map(|k| ((k + 1) * (seed + i) % 251) as u8)
                .collect(),
        };
        let one = |i: usize| crate::data::cifar::encode_record(&picture(i), (seed + 3 * i) % 10);
        let bytes: Vec<u8> = (0..3).flat_map(|i| one(i).unwrap()).collect();
        write(&at("cifar").join(file), &bytes);
    }
    for (from, to, format) in [
        (maps, To::ListMasks, Format::ListMasks),
        (arrays, To::ListMasks, Format::ListMasks),
        (records, To::ListClasses, Format::ListClasses),
    ] {
        let out = at(&format!("{:?}", from.format));
        let summary = convert(&from, &out, to, Images::Copy).unwrap();
        let list = set(format, &out);
        let (mut seen, mut kinds) = (0, std::collections::BTreeSet::new());
        for split in ["train", "val"] {
            let (a, b) = (from.open(split).unwrap(), list.open(split).unwrap());
            assert_eq!((a.classes(), a.len()), (b.classes(), b.len()));
            for i in 0..a.len() {
                let (x, y) = (a.load(i).unwrap(), b.load(i).unwrap());
                assert_eq!((x.image, &x.annotation), (y.image, &y.annotation));
                kinds.insert(format!("{:?}", x.annotation));
                seen += 1;
            }
        }
        assert!(seen > 1 && kinds.len() > 1, "{seen} {kinds:?}");
        assert_eq!((summary.pictures, summary.labels), (seen, seen));
        let e = convert(&from, &at("no"), To::ListBoxes, Images::Copy).unwrap_err();
        assert!(e.to_string().contains("has no boxes"), "{e}");
        let other = if to == To::ListMasks {
            To::ListClasses
        } else {
            To::ListMasks
        };
        let e = convert(&from, &at("no"), other, Images::Copy).unwrap_err();
        assert_eq!(e.code(), Code::Usage, "{e}");
        assert!(!at("no").exists());
    }
}

#[test]
fn classes_that_a_list_cannot_hold_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    jpeg(&at("set/train/a  b/1.jpg"), 9, 12, 1);
    jpeg(&at("set/val/a  b/1.jpg"), 9, 12, 2);
    let config = set(Format::ImageFolder, &at("set"));
    let e = convert(&config, &at("out"), To::ListClasses, Images::Copy).unwrap_err();
    assert!(e.to_string().contains("cannot be written as a line"), "{e}");
    std::fs::rename(at("set/train/a  b"), at("set/train/a b")).unwrap();
    std::fs::rename(at("set/val/a  b"), at("set/val/a b")).unwrap();
    let summary = convert(&config, &at("out"), To::ListClasses, Images::None).unwrap();
    assert_eq!(summary.pictures, 2);
    assert!(!at("out/images").exists());
}

/// The lists are `train.txt` and `val.txt` whatever the source calls its splits, and classes keep their order, those without a box too.
#[test]
fn lists_have_the_names_that_readers_look_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (i, list) in ["fold1.train", "fold1.val"].iter().enumerate() {
        jpeg(&at(&format!("own/{i}.jpg")), 9, 12, i);
        write(&at(&format!("own/{i}.txt")), b"cat 1 2 5.5 6\n");
        let line = format!("{i}.jpg {i}.txt\n");
        write(&at(&format!("own/{list}.txt")), line.as_bytes());
    }
    write(&at("own/classes.txt"), b"zebra\ncat\nbig dog\n");
    let own = DatasetConfig {
        train: "fold1.train".into(),
        val: "fold1.val".into(),
        ..set(Format::ListBoxes, &at("own"))
    };
    convert(&own, &at("list"), To::ListBoxes, Images::Copy).unwrap();
    let text = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    assert_eq!(text("list/train.txt"), "images/0.jpg\tlabels/0.txt\n");
    assert_eq!(text("list/val.txt"), "images/1.jpg\tlabels/1.txt\n");
    assert_eq!(text("list/classes.txt"), "zebra\ncat\nbig dog\n");
    // Other targets keep the names: `fold1.train`, not `fold1` twice.
    convert(&own, &at("voc"), To::Voc, Images::None).unwrap();
    assert_eq!(text("voc/ImageSets/Main/fold1.train.txt"), "0\n");
    let same = DatasetConfig {
        train: at("own/a/list.txt").display().to_string(),
        val: at("own/b/list.txt").display().to_string(),
        ..own.clone()
    };
    write(&at("own/a/list.txt"), b"0.jpg 0.txt\n");
    write(&at("own/b/list.txt"), b"1.jpg 1.txt\n");
    let e = convert(&same, &at("no"), To::Voc, Images::None).unwrap_err();
    assert!(e.to_string().contains("both splits would be called"), "{e}");
    // A slip in the name of a split is told.
    let slip = DatasetConfig {
        val: "vla".into(),
        ..own
    };
    let summary = convert(&slip, &at("one"), To::ListBoxes, Images::None).unwrap();
    let told = &summary.notes[..];
    assert!(
        told.len() == 1 && told[0].contains("without the split \"vla\""),
        "{told:?}"
    );
    assert!(!at("one/val.txt").exists());
}

/// Without folders `train` and `val` each split of an image folder has classes of its own.
#[test]
fn classes_of_both_splits_are_joined() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for (i, name) in [
        "training/cat",
        "training/zebra",
        "validation/cat",
        "validation/ant",
    ]
    .iter()
    .enumerate()
    {
        jpeg(&at(&format!("set/{name}/1.jpg")), 9, 12, i);
    }
    let config = DatasetConfig {
        train: "training".into(),
        val: "validation".into(),
        ..set(Format::ImageFolder, &at("set"))
    };
    convert(&config, &at("list"), To::ListClasses, Images::Copy).unwrap();
    let list = set(Format::ListClasses, &at("list"));
    assert_eq!(
        list.open_train().unwrap().classes(),
        ["cat", "zebra", "ant"]
    );
    let val = list.open_val().unwrap();
    let classes: Vec<usize> = (0..2).map(|i| val.class_of(i).unwrap().unwrap()).collect();
    assert_eq!(classes, [2, 0]);
}

/// What a killed program left may be hard links to a data set: it is neither written through nor part of the result.
#[test]
fn the_rest_of_a_killed_conversion_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let first = coco(&at("coco"));
    let rest = at(&format!(".own.part-{}-0/images/x.jpg", std::process::id()));
    write(&rest, b"of a set");
    convert(&first, &at("own"), To::ListBoxes, Images::Copy).unwrap();
    assert_eq!(std::fs::read(&rest).unwrap(), b"of a set");
    assert!(!at("own/images/x.jpg").exists());
    assert_eq!(
        boxes(&first).len(),
        boxes(&set(Format::ListBoxes, &at("own"))).len()
    );
}
