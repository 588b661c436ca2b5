//! Both generations in every published form, written by `tests/data/make_bdd.py`; defects and their places.

use super::*;
use crate::annotation::{Annotation, IGNORE};
use crate::data::bdd100k_masks::Bdd100kMasks;
use crate::data::published_tests::{copy, jpeg, objects, write};

const TRAIN: [&str; 2] = ["0000f77c-6257be58", "0000f77c-62c2a288"];
const VAL: [&str; 4] = [
    "b1c66a42-6f7d68ca",
    "b1c81faa-3df17267",
    "b1c9c847-3bda4659",
    "b1d0a191-03dcecc2",
];

/// A set of one form with its pictures.
pub(crate) fn set(form: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&format!("bdd100k/{form}"), dir.path());
    for (split, ids) in [("train", &TRAIN[..]), ("val", &VAL)] {
        for (i, id) in ids.iter().enumerate() {
            let name = format!("images/100k/{split}/{id}.jpg");
            jpeg(&dir.path().join(name), 36, 64, i + split.len());
        }
    }
    dir
}

fn train(form: &str, rules: &ClassRules) -> Vec<Vec<(usize, bool, [f32; 4])>> {
    let dir = set(form);
    let set = open(dir.path(), "train", rules).unwrap();
    assert_eq!((set.len(), set.id(0).as_str()), (2, TRAIN[0]));
    (0..2)
        .map(|i| objects(&set.load(i).unwrap().annotation))
        .collect()
}

#[test]
fn both_generations_have_the_same_classes() {
    let expect = [
        vec![
            (2, false, [1.5, 2.25, 20.0, 14.5]),
            (0, false, [30.0, 4.0, 33.5, 15.25]),
            (8, false, [50.125, 0.0, 52.0, 3.875]),
            (7, false, [40.0, 20.0, 47.0, 30.0]),
        ],
        vec![
            (6, false, [5.0, 5.0, 9.0, 9.0]),
            (1, false, [5.0, 1.0, 8.5, 7.0]),
            (3, false, [10.0, 10.0, 64.0, 36.0]),
        ],
    ];
    for form in ["2018-merged", "2018-single", "2020"] {
        assert_eq!(train(form, &ClassRules::default()), expect, "{form}");
    }
}

#[test]
fn merged_classes_in_either_spelling() {
    let rules = |rider: &str, person: &str| ClassRules {
        classes: ["car", "sign", "person"].map(String::from).to_vec(),
        merge: [
            ("bus", "car"),
            ("truck", "car"),
            (person, "person"),
            (rider, "person"),
            ("traffic sign", "sign"),
            ("traffic light", "sign"),
        ]
        .map(|(a, b)| (a.to_string(), b.to_string()))
        .into(),
        ignore: None,
    };
    for person in ["person", "pedestrian"] {
        for form in ["2018-merged", "2018-single", "2020"] {
            let got = train(form, &rules("rider", person));
            let classes: Vec<Vec<usize>> = got
                .iter()
                .map(|o| o.iter().map(|o| o.0).collect())
                .collect();
            assert_eq!(classes, [vec![0, 2, 1], vec![2, 0]], "{form}");
        }
    }
    let e = open(Path::new("none"), "train", &rules("ridder", "person"))
        .err()
        .unwrap();
    assert!(e.to_string().contains("did you mean \"rider\""), "{e}");
}

#[test]
fn pictures_without_boxes_and_ignored_types() {
    let dir = set("2020");
    let set = open(dir.path(), "val", &ClassRules::default()).unwrap();
    let all: Vec<_> = (0..4)
        .map(|i| objects(&set.load(i).unwrap().annotation))
        .collect();
    assert_eq!(set.id(1), VAL[1]);
    assert_eq!([all[0].len(), all[1].len(), all[3].len()], [2, 0, 0]);
    let expect = [
        (2, true, [1.0, 1.0, 5.0, 5.0]),
        (3, true, [6.0, 1.0, 9.0, 5.0]),
        (0, true, [10.0, 1.0, 19.0, 5.0]),
    ];
    assert_eq!(all[2], expect);
}

#[test]
fn a_file_may_be_named_as_the_split() {
    let dir = set("2018-merged");
    copy("bdd100k/2020", dir.path());
    let names = [
        ("train", "det_20/det_train.json"),
        (
            "labels/bdd100k_labels_images_train.json",
            "bdd100k_labels_images_train.json",
        ),
    ];
    for (split, file) in names {
        let set = open(dir.path(), split, &ClassRules::default()).unwrap();
        assert!(set.label_path(0).ends_with(file), "{split}");
        assert_eq!(set.name(), "bdd100k/train");
        assert_eq!(set.load(1).unwrap().annotation, {
            let merged = open(dir.path(), "train", &ClassRules::default()).unwrap();
            merged.load(1).unwrap().annotation
        });
    }
}

/// A merged file of one frame with `label` in line 3.
fn one(label: &str) -> String {
    format!("[\n{{\"name\": \"a.jpg\", \"labels\": [{{\"category\": \"car\"}},\n{label}\n]}}]")
}

#[test]
fn defects_are_named() {
    let b = |x1: &str, x2: &str| {
        format!(
            "{{\"category\": \"car\", \"box2d\": {{\"x1\": {x1}, \"y1\": 1, \"x2\": {x2}, \"y2\": 9}}}}"
        )
    };
    for (text, code, place, words) in [
        (
            one(&b("9", "1")),
            Code::BadBox,
            ":3",
            ["label 1 of \"a\"", "inverted"],
        ),
        (
            one(&b("1e39", "1e39")),
            Code::BadFormat,
            ":3:",
            ["number out of range", "fetch the file again"],
        ),
        (
            one(&b("80", "90")),
            Code::BadBox,
            ":3",
            ["label 1 of a", "outside the picture"],
        ),
        (
            one(&b("1", "9").replace("car", "cart")),
            Code::BadLine,
            ":3",
            ["label 1 of \"a\"", "did you mean \"car\""],
        ),
        (
            one(&b("1", "\"x\"")),
            Code::BadFormat,
            ":3:",
            ["invalid type", "fetch the file again"],
        ),
        (
            one("{}").replace("a.jpg", "../a.jpg"),
            Code::BadLine,
            ":4",
            ["frame 0", "plain file name"],
        ),
        (
            "[{\"labels\": []}]".into(),
            Code::BadLine,
            ":1",
            ["frame 0", "no `name`"],
        ),
        (
            "[{\"name\": \"a\"},\n{\"name\": \"a.jpg\"}]".into(),
            Code::BadLine,
            ":2",
            ["\"a\" is already in line 1", "keep one"],
        ),
        (
            "[{\"name\": \"a\"}".into(),
            Code::BadFormat,
            ":1:",
            ["EOF", "fetch"],
        ),
        (
            "{}".into(),
            Code::BadFormat,
            ":1:",
            ["missing field", "frames"],
        ),
        ("[]".into(), Code::EmptyData, "", ["no labelled", "fetch"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        jpeg(&dir.path().join("images/100k/train/a.jpg"), 36, 64, 1);
        let name = "labels/det_20/det_train.json";
        write(&dir.path().join(name), text.as_bytes());
        let read = open(dir.path(), "train", &ClassRules::default()).and_then(|s| s.load(0));
        let e = read.expect_err(&text);
        let shown = e.render();
        assert_eq!(e.code(), code, "{shown}");
        let at = e.place().unwrap();
        assert!(at.contains(&format!("{name}{place}")), "{shown}");
        assert!(words.iter().all(|w| shown.contains(w)), "{shown}");
        assert!(e.remedy().is_some(), "{shown}");
    }
}

#[test]
fn missing_things_are_named() {
    let dir = set("2020");
    let read = |split: &str| open(dir.path(), split, &ClassRules::default());
    let e = read("test").err().unwrap();
    assert!(
        e.code() == Code::NotFound && e.render().contains("det_test.json"),
        "{e}"
    );
    std::fs::remove_file(dir.path().join(format!("images/100k/val/{}.jpg", VAL[2]))).unwrap();
    let e = read("val").unwrap().load(2).unwrap_err();
    assert!(
        e.code() == Code::NotFound && e.render().contains("det_val.json:1"),
        "{e}"
    );
}

#[test]
fn label_maps_of_both_releases() {
    for (form, images) in [("masks", "images/10k"), ("masks-old", "seg/images")] {
        let dir = tempfile::tempdir().unwrap();
        copy(&format!("bdd100k/{form}"), dir.path());
        let name = format!("{images}/train/0004a4c0-d4dff0ad.jpg");
        jpeg(&dir.path().join(name), 36, 64, 5);
        let set = Bdd100kMasks::open(dir.path(), "train", &[]).unwrap();
        assert_eq!((set.len(), set.classes().len()), (1, 19));
        let Annotation::Labels(labels) = set.load(0).unwrap().annotation else {
            panic!("a label map expected")
        };
        for (y, x) in [(0, 0), (3, 7), (35, 63), (0, 57), (18, 2)] {
            let v = (x / 3 + y) % 20;
            let expect = if v < 19 { v as u8 } else { IGNORE };
            assert_eq!(labels.data[y * 64 + x], expect, "{form} ({x}, {y})");
        }
        let mixed = Bdd100kMasks::open(dir.path(), "train", &["mixed-16".into()]).unwrap();
        let Annotation::Labels(labels) = mixed.load(0).unwrap().annotation else {
            panic!("a label map expected")
        };
        // Column 42 of the first row is train id 14, truck: a car of the sixteen.
        assert_eq!(labels.data[42], 13);
    }
}
