//! Files of `tests/data/make_waymo.py` (a writer of its own), as they are and damaged.

use super::*;
use crate::annotation::BBox;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/waymo/v1")
}

fn config(cameras: &[Camera]) -> WaymoConfig {
    WaymoConfig {
        cameras: cameras.to_vec(),
        ..WaymoConfig::default()
    }
}

fn types(classes: &[&str], merge: &[(&str, &str)]) -> TypeMap {
    let classes: Vec<String> = classes.iter().map(|c| c.to_string()).collect();
    let merge = merge.iter().map(|(a, b)| (a.to_string(), b.to_string()));
    Waymo::types(&classes, &merge.collect()).unwrap()
}

fn open(config: &WaymoConfig) -> Waymo {
    Waymo::open(&root(), "train", config, types(&[], &[])).unwrap()
}

fn ids(set: &Waymo) -> Vec<String> {
    (0..set.len()).map(|i| set.id(i)).collect()
}

fn boxes(set: &Waymo, index: usize) -> Vec<(usize, BBox)> {
    match set.load(index).unwrap().annotation {
        Annotation::Objects(o) => o.iter().map(|o| (o.class, o.bbox)).collect(),
        other => panic!("{other:?}"),
    }
}

fn edges(x1: f32, y1: f32, x2: f32, y2: f32) -> BBox {
    BBox { x1, y1, x2, y2 }
}

#[test]
fn frames_of_the_front_camera() {
    let set = open(&WaymoConfig::default());
    let want = [
        "1111_000_1_000-000-front",
        "1111_000_1_000-001-front",
        "1111_000_1_000-002-front",
    ];
    assert_eq!(ids(&set)[..3], want);
    assert_eq!(
        (set.len(), set.classes()),
        (
            5,
            &["vehicle", "pedestrian", "cyclist"].map(String::from)[..]
        )
    );
    // Length along x, width along y; the unknown object is dropped; the last box is clipped at the left and below.
    let want = vec![
        (0, edges(15.5, 9.25, 25.5, 15.25)),
        (1, edges(38.0, 10.0, 42.0, 22.0)),
        (2, edges(0.0, 26.0, 6.0, 32.0)),
    ];
    assert_eq!(boxes(&set, 0), want);
    assert_eq!(boxes(&set, 1), []);
    assert_eq!(boxes(&set, 2), [], "no signs");
    let image = set.load(0).unwrap().image;
    assert_eq!((image.height, image.width), (32, 48));
    // The writer's `luma` of the first three blocks.
    let grey = [0, 8, 16].map(|x| image.data[3 * x]);
    assert_eq!(grey, [41, 43, 45]);
    // Another segment: its own first digit.
    assert_eq!(set.load(3).unwrap().image.data[0], 42);
}

#[test]
fn cameras_steps_and_frames_with_boxes() {
    let set = open(&config(&[Camera::SideLeft, Camera::FrontLeft]));
    assert_eq!(
        ids(&set)[..3],
        [
            "1111_000_1_000-000-side-left",
            "1111_000_1_000-000-front-left",
            "1111_000_1_000-001-side-left"
        ]
    );
    let side = set.load(0).unwrap();
    assert_eq!((side.image.height, side.image.data[0]), (24, 161));
    assert_eq!(boxes(&set, 0), [(0, edges(4.0, 2.0, 44.0, 22.0))]);
    let all = Camera::ALL;
    let every = WaymoConfig {
        every: 2,
        ..config(all)
    };
    assert_eq!(open(&every).len(), 5 * (2 + 1));
    let shown = WaymoConfig {
        only_with_boxes: true,
        ..config(all)
    };
    let set = open(&shown);
    let want = [
        "1111_000_1_000-000-front",
        "1111_000_1_000-000-side-left",
        "1111_000_1_000-001-front-left",
        "1111_000_1_000-002-front-left",
        "2222_000_1_000-000-front",
    ];
    assert_eq!(ids(&set), want);
    assert!((0..set.len()).all(|i| !boxes(&set, i).is_empty()));
    // Of one class alone.
    let set = Waymo::open(&root(), "train", &shown, types(&["cyclist"], &[])).unwrap();
    assert_eq!(
        ids(&set),
        ["1111_000_1_000-000-front", "1111_000_1_000-002-front-left"]
    );
    assert_eq!(boxes(&set, 1), [(0, edges(20.0, 9.0, 29.0, 24.0))]);
}

#[test]
fn types_merge_and_splits_have_two_names() {
    let merge = [
        ("vehicle", "car"),
        ("pedestrian", "person"),
        ("cyclist", "person"),
    ];
    let of = |split: &str| {
        Waymo::open(
            &root(),
            split,
            &WaymoConfig::default(),
            types(&["person", "car"], &merge),
        )
        .unwrap()
    };
    let classes: Vec<usize> = boxes(&of("training"), 0).iter().map(|b| b.0).collect();
    assert_eq!(classes, [1, 0, 0]);
    assert_eq!((of("val").len(), of("validation").len()), (2, 2));
    let one = of("training/segment-2222_000_1_000_with_camera_labels.tfrecord");
    assert_eq!(
        ids(&one),
        ["2222_000_1_000-000-front", "2222_000_1_000-001-front"]
    );
    let e = Waymo::open(&root(), "test", &WaymoConfig::default(), types(&[], &[])).unwrap_err();
    assert!(
        e.code() == Code::NotFound && e.to_string().contains("testing"),
        "{e}"
    );
}

/// A copy of the first file, changed.
fn damaged_copy(change: impl Fn(&mut Vec<u8>)) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let name = "segment-1111_000_1_000_with_camera_labels.tfrecord";
    let mut bytes = std::fs::read(root().join("training").join(name)).unwrap();
    change(&mut bytes);
    std::fs::write(dir.path().join("a.tfrecord"), bytes).unwrap();
    let set = Waymo::open(
        dir.path(),
        "a.tfrecord",
        &WaymoConfig::default(),
        types(&[], &[]),
    );
    let read = set.and_then(|s| (0..s.len()).try_for_each(|i| s.load(i).map(drop)));
    read.unwrap_err()
}

/// Repairs the checksums of the first record.
fn mend(bytes: &mut [u8]) {
    crate::mutation::mend_tfrecord(bytes);
}

#[test]
fn damage_is_named_with_file_record_and_byte() {
    let second = {
        let name = "segment-1111_000_1_000_with_camera_labels.tfrecord";
        tfrecord::index(&root().join("training").join(name)).unwrap()[1].offset as usize
    };
    let place = format!("a.tfrecord, record 1 at byte {second}");
    let e = damaged_copy(|b| b[second + 500] ^= 4);
    assert!(
        e.message().contains("checksum of the record is wrong"),
        "{e}"
    );
    assert!(e.place().unwrap().ends_with(&place), "{e}");
    let e = damaged_copy(|b| b.truncate(second + 500));
    assert!(e.message().contains("cut off"), "{e}");
    assert!(e.place().unwrap().ends_with(&place), "{e}");
    // A right checksum over a wrong message: the first field becomes longer than the frame.
    let e = damaged_copy(|b| {
        b[13] = 0xff;
        b[14] |= 0x80;
        b[15] |= 0x80;
        b[16] = 0x7f;
        mend(b);
    });
    assert!(e.message().contains("damaged frame"), "{e}");
    assert!(
        e.place()
            .unwrap()
            .contains("record 0 at byte 0, camera front"),
        "{e}"
    );
}

#[test]
fn boxes_that_cannot_be_are_refused() {
    let image = crate::annotation::Image {
        height: 10,
        width: 20,
        data: vec![0; 600],
    };
    for (b, word) in [
        ([5.0, 5.0, 0.0, 2.0], "empty"),
        ([5.0, 5.0, -1.0, 2.0], "inverted"),
        ([f64::NAN, 5.0, 1.0, 2.0], "not finite"),
        ([30.0, 5.0, 4.0, 2.0], "outside"),
    ] {
        let e = object(0, b, &image, "x.tfrecord", 7).unwrap_err();
        assert_eq!(
            (e.code(), e.place()),
            (Code::BadBox, Some("x.tfrecord, box 7"))
        );
        assert!(e.message().contains(word), "{e}");
    }
}
