//! Files written by `tests/data/make_coco.py`; defects and their places.

use super::*;
use crate::data::coco_json::categories;
use crate::data::published_tests::{copy, jpeg, objects, write};

const TRAIN: [&str; 3] = ["000000391895", "000000522418", "000000000009"];

/// A set with its pictures.
pub(crate) fn set() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy("coco", dir.path());
    for (i, id) in TRAIN.iter().enumerate() {
        jpeg(&dir.path().join(format!("train2017/{id}.jpg")), 36, 64, i);
    }
    jpeg(&dir.path().join("val2017/000000000002.jpg"), 36, 64, 4);
    dir
}

#[test]
fn categories_have_gaps_and_annotations_any_order() {
    let dir = set();
    let set = open(dir.path(), "train", &ClassRules::default()).unwrap();
    assert_eq!(set.classes(), ["person", "car", "dog", "toothbrush"]);
    assert_eq!((set.len(), set.id(1).as_str()), (3, TRAIN[1]));
    let all: Vec<_> = (0..3)
        .map(|i| objects(&set.load(i).unwrap().annotation))
        .collect();
    let expect = [
        vec![
            (0, false, [30.0, 4.0, 33.5, 15.25]),
            (0, true, [0.0, 0.0, 64.0, 9.0]),
        ],
        vec![
            (1, false, [1.5, 2.25, 22.0, 12.25]),
            (2, false, [10.0, 10.0, 64.0, 36.0]),
        ],
        vec![],
    ];
    assert_eq!(all, expect);
    let val = open(dir.path(), "val2017", &ClassRules::default()).unwrap();
    assert_eq!(val.classes(), set.classes());
    let found = objects(&val.load(0).unwrap().annotation);
    assert_eq!(found, [(3, false, [5.0, 6.0, 12.0, 14.0])]);
    assert_eq!(
        categories(&label_file(dir.path(), "val").unwrap()).unwrap(),
        set.classes()
    );
}

#[test]
fn classes_may_be_chosen_and_merged() {
    let dir = set();
    let rules = ClassRules {
        classes: vec!["animal".into(), "car".into()],
        merge: [("dog".into(), "animal".into())].into(),
        ignore: Some([("person".into(), "*".into())].into()),
    };
    let set = open(dir.path(), "train2017", &rules).unwrap();
    let of = |i: usize| -> Vec<(usize, bool)> {
        let all = objects(&set.load(i).unwrap().annotation);
        all.iter().map(|o| (o.0, o.1)).collect()
    };
    assert_eq!(of(1), [(1, false), (0, false)]);
    assert_eq!(of(0), [(0, true), (1, true), (0, true), (1, true)]);
}

#[test]
fn defects_are_named() {
    let file = |images: &str, boxes: &str, categories: &str| {
        format!(
            "{{\"images\": [\n{images}],\n\"annotations\": [\n{boxes}],\n\"categories\": [{categories}]}}"
        )
    };
    let (image, cat) = (
        r#"{"id": 5, "file_name": "a.jpg", "width": 64, "height": 36}"#,
        r#"{"id": 2, "name": "cat"}"#,
    );
    let boxed = |image: u32, cat: u32, b: &str| {
        format!("{{\"id\": 77, \"image_id\": {image}, \"category_id\": {cat}, \"bbox\": {b}}}")
    };
    let good = "[1, 1, 4, 4]";
    for (text, code, place, words) in [
        (
            file(image, &boxed(6, 2, good), cat),
            Code::BadLine,
            ":4",
            ["annotation 77", "no image with the id 6"],
        ),
        (
            file(image, &boxed(5, 3, good), cat),
            Code::BadLine,
            ":4",
            ["annotation 77", "no category with the id 3"],
        ),
        (
            file(image, &boxed(5, 2, "[1, 1, -4, 4]"), cat),
            Code::BadBox,
            ":4",
            ["annotation 77", "inverted"],
        ),
        (
            file(image, &boxed(5, 2, "[3e38, 1, 3e38, 4]"), cat),
            Code::BadBox,
            ":4",
            ["annotation 77", "not finite"],
        ),
        (
            file(image, &boxed(5, 2, "[90, 1, 4, 4]"), cat),
            Code::BadBox,
            ":4",
            ["annotation 77", "outside the picture"],
        ),
        (
            file(image, &boxed(5, 2, "[1, 2, 3]"), cat),
            Code::BadFormat,
            ":4:",
            ["invalid length", "fetch"],
        ),
        (
            file(image, &boxed(5, 2, "null"), cat),
            Code::BadLine,
            ":4",
            ["annotation 77", "no `bbox`"],
        ),
        (
            file(&image.replace("a.jpg", "../a.jpg"), "", cat),
            Code::BadLine,
            ":2",
            ["leave the data set", "file_name"],
        ),
        (
            file(&image.replace("36", "35"), "", cat),
            Code::SizeMismatch,
            "",
            ["64 x 36", "for 64 x 35"],
        ),
        (
            file(&format!("{image},\n{image}"), "", cat),
            Code::BadLine,
            ":3",
            ["already in line 2", "keep one"],
        ),
        (
            file(image, "", &format!("{cat}, {cat}")),
            Code::BadLine,
            "",
            ["listed twice", "own id"],
        ),
        (
            file(image, "", ""),
            Code::BadFormat,
            "",
            ["no `categories`", "instances_"],
        ),
        (
            file("", "", cat),
            Code::EmptyData,
            "",
            ["no pictures", "fetch"],
        ),
        (
            "{\"images\": []}".into(),
            Code::BadFormat,
            ":1:",
            ["missing field", "annotations"],
        ),
        (
            "[]".into(),
            Code::BadFormat,
            ":1:",
            ["invalid type", "`images`"],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        jpeg(&dir.path().join("train/a.jpg"), 36, 64, 1);
        let name = "annotations/instances_train.json";
        write(&dir.path().join(name), text.as_bytes());
        let read = open(dir.path(), "train", &ClassRules::default()).and_then(|s| s.load(0));
        let shown = read.as_ref().expect_err(&text).render();
        let e = read.unwrap_err();
        assert_eq!(e.code(), code, "{shown}");
        assert!(shown.contains(&format!("{name}{place}")), "{shown}");
        assert!(words.iter().all(|w| shown.contains(w)), "{words:?} {shown}");
        assert!(e.remedy().is_some(), "{shown}");
    }
}
