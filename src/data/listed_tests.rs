//! Plain lists of boxes, label maps and classes, and the layout of the released MTNAS code.

use super::*;
use crate::annotation::{IGNORE, LabelMap};
use crate::data::image_file::encode_labels;
use crate::data::mtnas_layout::{MtnasBoxes, MtnasMasks};
use crate::data::published_tests::{jpeg, objects, write};
use crate::error::Code;

fn map() -> Vec<u8> {
    let data = (0..12 * 9).map(|i| [0, 1, 255][i % 3]).collect();
    encode_labels(&LabelMap {
        height: 9,
        width: 12,
        data,
    })
    .unwrap()
}

/// One folder with a list of each kind.
pub(crate) fn set() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    jpeg(&root.join("images/a.jpg"), 9, 12, 1);
    jpeg(&root.join("images/two words.jpg"), 9, 12, 2);
    write(&root.join("classes.txt"), b"\xef\xbb\xbfcat\nbig dog\n");
    let boxes = "cat 1 2 5.5 6\n\nbig dog 0 0 12 9\ncat 3 3 3 5\n";
    write(&root.join("labels/a.txt"), boxes.as_bytes());
    write(&root.join("masks/a.png"), &map());
    write(
        &root.join("boxes.txt"),
        b"images/a.jpg labels/a.txt\nimages/two words.jpg\t\n",
    );
    write(&root.join("masks.txt"), b"images/a.jpg\tmasks/a.png\n");
    write(
        &root.join("kinds.txt"),
        b"images/a.jpg big dog\nimages/two words.jpg\tcat\n",
    );
    dir
}

#[test]
fn lists_of_three_kinds() {
    let dir = set();
    let rules = ClassRules::default();
    let boxes = ListBoxes::open(dir.path(), "boxes", &rules).unwrap();
    let expect = [
        (0, false, [1.0, 2.0, 5.5, 6.0]),
        (1, false, [0.0, 0.0, 12.0, 9.0]),
    ];
    assert_eq!(objects(&boxes.load(0).unwrap().annotation), expect);
    assert!(objects(&boxes.load(1).unwrap().annotation).is_empty());
    assert_eq!(boxes.id(1), "images/two words.jpg");
    let masks = ListMasks::open(dir.path(), "masks", &rules).unwrap();
    let Annotation::Labels(labels) = masks.load(0).unwrap().annotation else {
        panic!("a label map expected")
    };
    assert_eq!(&labels.data[..4], [0, 1, IGNORE, 0]);
    let classes = ListClasses::open(dir.path(), "kinds.txt", &rules).unwrap();
    let got: Vec<_> = (0..2).map(|i| classes.class_of(i).unwrap()).collect();
    assert_eq!(got, [Some(1), Some(0)]);
    assert_eq!(classes.load(1).unwrap().annotation, Annotation::Class(0));
    let chosen = ClassRules {
        classes: vec!["animal".into()],
        merge: [("cat", "animal"), ("big dog", "animal")]
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .into(),
        ignore: None,
    };
    let merged = ListBoxes::open(dir.path(), "boxes", &chosen).unwrap();
    assert!(
        objects(&merged.load(0).unwrap().annotation)
            .iter()
            .all(|o| o.0 == 0)
    );
}

#[test]
fn defects_are_named() {
    let rules = ClassRules::default();
    let boxes = |root: &Path| ListBoxes::open(root, "boxes", &rules).and_then(|s| s.load(0));
    let masks = |root: &Path| ListMasks::open(root, "masks", &rules).and_then(|s| s.load(0));
    let classes = |root: &Path| ListClasses::open(root, "kinds", &rules).and_then(|s| s.load(0));
    let read: [&dyn Fn(&Path) -> Result<Sample>; 3] = [&boxes, &masks, &classes];
    for (kind, file, text, code, place, word) in [
        (
            0,
            "boxes.txt",
            "../a.jpg x",
            Code::BadLine,
            "boxes.txt:1",
            "leave the data set",
        ),
        (
            0,
            "boxes.txt",
            "/a.jpg x",
            Code::BadLine,
            "boxes.txt:1",
            "the path of a file",
        ),
        (
            0,
            "boxes.txt",
            "images/a.jpg ../x",
            Code::BadLine,
            "boxes.txt:1",
            "leave the data set",
        ),
        (
            0,
            "boxes.txt",
            "images/b.jpg",
            Code::NotFound,
            "images/b.jpg",
            "boxes.txt:1",
        ),
        (
            0,
            "boxes.txt",
            "images/a.jpg labels/b.txt",
            Code::NotFound,
            "labels/b.txt",
            "an empty file",
        ),
        (
            0,
            "boxes.txt",
            "a.jpg\n\na.jpg\n",
            Code::BadLine,
            "boxes.txt:3",
            "already in line 1",
        ),
        (
            0,
            "boxes.txt",
            "\n",
            Code::EmptyData,
            "boxes.txt",
            "image label",
        ),
        (
            0,
            "labels/a.txt",
            "\ncat 1 2 3",
            Code::BadLine,
            "labels/a.txt:2",
            "expected 5 fields",
        ),
        (
            0,
            "labels/a.txt",
            "cat 1 2 3 x",
            Code::BadLine,
            "labels/a.txt:1",
            "`y2` is not a number",
        ),
        (
            0,
            "labels/a.txt",
            "cat 1 2 3 inf",
            Code::BadBox,
            "labels/a.txt:1",
            "not finite",
        ),
        (
            0,
            "labels/a.txt",
            "cat 20 2 30 5",
            Code::BadBox,
            "labels/a.txt:1",
            "outside",
        ),
        (
            0,
            "labels/a.txt",
            "bigdog 1 2 3 4",
            Code::BadLine,
            "labels/a.txt:1",
            "did you mean \"big dog\"",
        ),
        (
            0,
            "classes.txt",
            "cat\ncat\n",
            Code::BadLine,
            "classes.txt:2",
            "listed twice",
        ),
        (
            0,
            "classes.txt",
            "\n",
            Code::EmptyData,
            "classes.txt",
            "one class name",
        ),
        (
            1,
            "masks.txt",
            "images/a.jpg",
            Code::BadLine,
            "masks.txt:1",
            "no label",
        ),
        (
            1,
            "classes.txt",
            "cat",
            Code::BadLabelId,
            "masks/a.png, pixel (1, 0)",
            "0 to 0 and 255",
        ),
        (
            2,
            "kinds.txt",
            "images/a.jpg",
            Code::BadLine,
            "kinds.txt:1",
            "no class",
        ),
        (
            2,
            "kinds.txt",
            "images/a.jpg catt",
            Code::BadLine,
            "kinds.txt:1",
            "did you mean \"cat\"",
        ),
    ] {
        let dir = set();
        write(&dir.path().join(file), text.as_bytes());
        let e = read[kind](dir.path()).expect_err(text);
        let shown = e.render();
        assert_eq!(e.code(), code, "{shown}");
        assert!(e.place().unwrap().ends_with(place), "{shown}");
        assert!(shown.contains(word) && e.remedy().is_some(), "{shown}");
    }
}

/// The released layout, with and without the level of the split.
fn released(level: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join(level);
    jpeg(&root.join("images/a.jpg"), 9, 12, 1);
    jpeg(&root.join("images/b.jpg"), 9, 12, 2);
    write(&root.join("train.txt"), b"a\nb\n");
    // An inverted box and one without area are dropped.
    let lines = "a.jpg Vehicle 1 2 5 6\na bus 0 0 12 9\na traffic sign 1 1 2 2\na car 5 5 4 6\na car 5 5 5 6\na bike 1 1 3 3\n";
    write(&root.join("detection/a.txt"), lines.as_bytes());
    write(&root.join("detection/b.txt"), b"");
    write(&root.join("seg/a.png"), &map());
    write(&root.join("seg/b.png"), &map());
    dir
}

#[test]
fn the_released_layout() {
    for level in ["train", ""] {
        let dir = released(level);
        let set = MtnasBoxes::open(dir.path(), "train", &ClassRules::default()).unwrap();
        assert_eq!(set.classes(), ["car", "sign", "person"]);
        let expect = [
            (0, false, [1.0, 2.0, 5.0, 6.0]),
            (0, false, [0.0, 0.0, 12.0, 9.0]),
            (1, false, [1.0, 1.0, 2.0, 2.0]),
        ];
        assert_eq!(objects(&set.load(0).unwrap().annotation), expect);
        assert!(objects(&set.load(1).unwrap().annotation).is_empty());
        let masks = MtnasMasks::open(dir.path(), "train", &["mixed-16".into()]).unwrap();
        assert_eq!((masks.len(), masks.classes().len()), (2, 16));
        let Annotation::Labels(labels) = masks.load(1).unwrap().annotation else {
            panic!("a label map expected")
        };
        assert_eq!(&labels.data[..3], [0, 1, IGNORE]);
    }
    let dir = released("train");
    let other = dir.path().join("train/detection/b.txt");
    write(&other, b"a car 1 2 3 4\n");
    let set = MtnasBoxes::open(dir.path(), "train", &ClassRules::default()).unwrap();
    let e = set.load(1).unwrap_err();
    assert!(
        e.to_string()
            .contains("b.txt:1: the line is for the picture \"a\""),
        "{e}"
    );
    std::fs::remove_file(other).unwrap();
    let e = set.load(1).unwrap_err();
    assert!(
        e.code() == Code::NotFound && e.render().contains("train.txt:2"),
        "{e}"
    );
}

#[test]
fn files_that_cannot_be_read_are_named_with_their_line() {
    let dir = set();
    let rules = ClassRules::default();
    write(&dir.path().join("train.txt"), b"images/a.jpg\timages\n");
    let set = ListBoxes::open(dir.path(), "train", &rules).unwrap();
    let e = set.load(0).unwrap_err();
    assert!(e.place().unwrap().ends_with("images"), "{e}");
    assert!(e.notes().iter().any(|n| n.ends_with("train.txt:1")), "{e}");
    write(&dir.path().join("train.txt"), b"images cat\n");
    let set = ListClasses::open(dir.path(), "train", &rules).unwrap();
    assert!(set.load(0).unwrap_err().render().contains("train.txt:1"));
}
