//! Files that pyarrow wrote (`tests/data/make_waymo.py`): the same set as in form v1.

use super::*;
use crate::data::waymo::Waymo;

fn root(form: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/waymo");
    tests.join(form)
}

fn config(cameras: &[Camera], every: usize, only_with_boxes: bool) -> WaymoConfig {
    WaymoConfig {
        cameras: cameras.to_vec(),
        every,
        only_with_boxes,
    }
}

fn types() -> TypeMap {
    Waymo::types(&[], &Default::default()).unwrap()
}

/// Picture and boxes, the boxes in an order of their own: the files have them in different ones.
fn shown(set: &dyn Dataset) -> Vec<(crate::annotation::Image, Vec<String>)> {
    let of = |i: usize| {
        let sample = set.load(i).unwrap();
        let Annotation::Objects(objects) = sample.annotation else {
            panic!("boxes expected")
        };
        let mut objects: Vec<String> = objects.iter().map(|o| format!("{o:?}")).collect();
        objects.sort();
        (sample.image, objects)
    };
    (0..set.len()).map(of).collect()
}

#[test]
fn both_forms_say_the_same() {
    use Camera::*;
    let mut boxes = 0;
    for config in [
        config(&[Front], 1, false),
        config(&[SideLeft, Front, FrontRight], 2, false),
        config(Camera::ALL, 1, true),
        config(Camera::ALL, 1, false),
    ] {
        for split in ["train", "val"] {
            let v2 = WaymoV2::open(&root("v2"), split, &config, types()).unwrap();
            let v1 = Waymo::open(&root("v1"), split, &config, types()).unwrap();
            let (a, b) = (shown(&v2), shown(&v1));
            assert_eq!(a, b, "{config:?} {split}");
            boxes += a.iter().map(|s| s.1.len()).sum::<usize>();
        }
    }
    assert!(boxes > 20, "{boxes}");
}

#[test]
fn ids_and_classes() {
    let set = WaymoV2::open(
        &root("v2"),
        "train",
        &config(&[Camera::FrontLeft], 2, false),
        types(),
    );
    let set = set.unwrap();
    let ids: Vec<String> = (0..set.len()).map(|i| set.id(i)).collect();
    let want = [
        "1111_000_1_000-1500000000000000-front-left",
        "1111_000_1_000-1500000000200000-front-left",
        "2222_000_1_000-1500000000000000-front-left",
    ];
    assert_eq!(ids, want);
    assert_eq!(set.classes(), ["vehicle", "pedestrian", "cyclist"]);
    // Fifteen rows in groups of four, the third camera row of the third frame.
    assert!(
        set.place(1).ends_with("row group 2, row 3"),
        "{}",
        set.place(1)
    );
}

/// A copy of a segment whose files `change` may alter, opened and read.
fn changed(change: impl Fn(&Path, &Path)) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let name = "2222_000_1_000.parquet";
    for part in [IMAGES, BOXES] {
        std::fs::create_dir(dir.path().join(part)).unwrap();
        let from = root("v2").join("training").join(part).join(name);
        std::fs::copy(from, dir.path().join(part).join(name)).unwrap();
    }
    change(
        &dir.path().join(IMAGES).join(name),
        &dir.path().join(BOXES).join(name),
    );
    let set = WaymoV2::open(dir.path(), ".", &config(Camera::ALL, 1, false), types());
    let read = set.and_then(|s| (0..s.len()).try_for_each(|i| s.load(i).map(drop)));
    read.unwrap_err()
}

#[test]
fn defects_are_named() {
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 5]).unwrap();
    };
    let e = changed(|images, _| cut(images));
    assert_eq!(e.code(), Code::BadFormat);
    assert!(
        e.to_string()
            .contains("camera_image/2222_000_1_000.parquet"),
        "{e}"
    );
    let e = changed(|_, boxes| std::fs::remove_file(boxes).unwrap());
    assert_eq!(e.code(), Code::NotFound);
    assert!(e.remedy().unwrap().contains("camera_box"), "{e}");
    let e = changed(|images, boxes| assert!(std::fs::copy(boxes, images).unwrap() > 0));
    assert!(e.message().contains("no such column"), "{e}");
    assert!(
        e.place()
            .unwrap()
            .contains("\"[CameraImageComponent].image\""),
        "{e}"
    );
    let e = changed(|images, _| {
        std::fs::rename(images, images.with_file_name("3333.parquet")).unwrap();
    });
    assert!(
        e.message()
            .contains("row 0 is of the segment \"2222_000_1_000\""),
        "{e}"
    );
}
