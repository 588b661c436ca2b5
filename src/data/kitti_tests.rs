//! Types, classes and defects of KITTI files.

use super::*;
use crate::annotation::{BBox, Image, KittiRole};
use crate::data::image_file::encode_png;
use crate::data::kitti_label::TYPES;

fn set(lines: &str) -> (tempfile::TempDir, Result<Sample>) {
    let dir = tempfile::tempdir().unwrap();
    for d in ["training/image_2", "training/label_2", "ImageSets"] {
        std::fs::create_dir_all(dir.path().join(d)).unwrap();
    }
    let image = Image {
        height: 20,
        width: 30,
        data: vec![9; 1800],
    };
    std::fs::write(
        dir.path().join("training/image_2/000007.png"),
        encode_png(&image).unwrap(),
    )
    .unwrap();
    std::fs::write(dir.path().join("training/label_2/000007.txt"), lines).unwrap();
    std::fs::write(dir.path().join("ImageSets/train.txt"), "000007\n").unwrap();
    let sample = Kitti::open(dir.path(), "train", &KittiConfig::default()).and_then(|k| k.load(0));
    (dir, sample)
}

#[test]
fn types_become_objects_ignored_objects_or_nothing() {
    let rest = "0 0 0 1 2 8.5 40 1 1 1 1 1 1 0";
    let text: String = TYPES.iter().map(|t| format!("{t} {rest}\n")).collect();
    let (_dir, sample) = set(&text);
    let Annotation::Objects(objects) = sample.unwrap().annotation else {
        panic!("boxes expected")
    };
    let got: Vec<(usize, bool)> = objects.iter().map(|o| (o.class, o.ignore)).collect();
    let dont_care = [(0, true), (1, true), (2, true)];
    assert_eq!(
        got,
        [
            &[(0, false), (0, true), (1, false), (1, true), (2, false)][..],
            &dont_care
        ]
        .concat()
    );
    assert_eq!(
        objects[0].bbox,
        BBox {
            x1: 1.0,
            y1: 2.0,
            x2: 8.5,
            y2: 20.0
        },
        "clipped to the picture"
    );
}

#[test]
fn the_official_evaluation_gets_the_labels_as_they_are() {
    let (dir, _) = set("Car 0.40 2 0 -3 2 8.5 40 1 1 1 1 1 1 0\n\
         Van 0.1 1 0 1 2 8 40 1 1 1 1 1 1 0\n\
         Tram 0 0 0 1 2 8 40 1 1 1 1 1 1 0\n\
         DontCare -1 -1 -10 1 2 8 9 -1 -1 -1 -1000 -1000 -1000 -10\n");
    let set = Kitti::open(dir.path(), "train", &KittiConfig::default()).unwrap();
    let truth = set.kitti_truth(0).unwrap().unwrap();
    let roles: Vec<KittiRole> = truth.iter().map(|t| t.role).collect();
    assert_eq!(
        roles,
        [
            KittiRole::Object(0),
            KittiRole::Neighbour(0),
            KittiRole::DontCare
        ]
    );
    assert_eq!((truth[0].truncated, truth[0].occluded), (0.4, 2));
    let own = BBox {
        x1: -3.0,
        y1: 2.0,
        x2: 8.5,
        y2: 40.0,
    };
    assert_eq!(truth[0].bbox, own, "not clipped");
}

#[test]
fn bad_lines_are_named() {
    for (line, code, word) in [
        ("Car 0 0 0 1 2 3 4 1 1 1 1 1 1", Code::BadLine, "found 14"),
        (
            "car 0 0 0 1 2 3 4 1 1 1 1 1 1 0",
            Code::BadLine,
            "did you mean \"Car\"",
        ),
        (
            "Car 0 0 0 1 2 x 4 1 1 1 1 1 1 0",
            Code::BadLine,
            "`right` is not a number",
        ),
        (
            "Car 0 0 0 NaN 2 3 4 1 1 1 1 1 1 0",
            Code::BadBox,
            "not finite",
        ),
        ("Car 0 0 0 3 2 1 4 1 1 1 1 1 1 0", Code::BadBox, "inverted"),
        ("Car 0 0 0 3 2 3 4 1 1 1 1 1 1 0", Code::BadBox, "empty"),
        (
            "Car 0 0 0 31 2 33 4 1 1 1 1 1 1 0",
            Code::BadBox,
            "outside the picture",
        ),
        (
            "Car 0 0 inf 1 2 3 4 1 1 1 1 1 1 0",
            Code::BadLine,
            "not finite",
        ),
    ] {
        let (_dir, sample) = set(&format!("Car 0 0 0 1 2 8 9 1 1 1 1 1 1 0\n{line}\n"));
        let e = sample.unwrap_err();
        assert_eq!(e.code(), code, "{e}");
        assert!(
            e.to_string().contains(word) && e.place().unwrap().ends_with("000007.txt:2"),
            "{e}"
        );
    }
}

#[test]
fn classes_are_configurable_and_checked() {
    let (dir, _) = set("Truck 0 0 0 1 2 8 9 1 1 1 1 1 1 0\n");
    let mut config = KittiConfig {
        merge: [("Truck".into(), "car".into())].into(),
        ..Default::default()
    };
    let sample = Kitti::open(dir.path(), "train", &config)
        .unwrap()
        .load(0)
        .unwrap();
    assert!(
        matches!(&sample.annotation, Annotation::Objects(o) if o.len() == 1 && o[0].class == 0)
    );
    config.classes.push("cyclits".into());
    let e = Kitti::open(dir.path(), "train", &config).unwrap_err();
    assert!(
        e.code() == Code::ConfigValue && e.to_string().contains("\"cyclist\""),
        "{e}"
    );
}

#[test]
fn missing_things_are_named() {
    let (dir, _) = set("");
    let k = |split: &str| Kitti::open(dir.path(), split, &KittiConfig::default());
    assert_eq!(k("all").unwrap().len(), 1);
    assert_eq!(k("test").unwrap_err().code(), Code::NotFound);
    std::fs::remove_file(dir.path().join("training/label_2/000007.txt")).unwrap();
    let e = k("train").unwrap().load(0).unwrap_err();
    assert!(
        e.code() == Code::NotFound && e.to_string().contains("000007.txt"),
        "{e}"
    );
    assert_eq!(
        Kitti::open(&dir.path().join("x"), "all", &KittiConfig::default())
            .unwrap_err()
            .code(),
        Code::NotFound
    );
}
