//! Files written by `tests/data/make_voc.py`; defects and their places.

use super::*;
use crate::annotation::{Annotation, IGNORE};
use crate::data::mat_file::read_bytes;
use crate::data::published_tests::{copy, jpeg, objects, write};
use crate::data::voc_masks::VocMasks;

const IDS: [&str; 5] = [
    "2007_000027",
    "2007_000032",
    "2007_000033",
    "2008_000002",
    "2008_000003",
];

/// A set with its pictures.
pub(crate) fn set() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy("voc", dir.path());
    for (i, id) in IDS.iter().enumerate() {
        jpeg(
            &dir.path().join(format!("VOC2012/JPEGImages/{id}.jpg")),
            9,
            12,
            i,
        );
    }
    dir
}

#[test]
fn boxes_count_pixels_from_one() {
    let dir = set();
    let set = Voc::open(dir.path(), "train", &ClassRules::default()).unwrap();
    assert_eq!(
        (set.len(), set.classes().len(), set.name()),
        (2, 20, "voc/train")
    );
    let expect = [
        (14, false, [2.0, 1.0, 7.0, 9.0]),
        (11, true, [0.0, 0.0, 12.0, 9.0]),
        (19, false, [3.5, 1.25, 5.700_001, 3.5]),
    ];
    assert_eq!(objects(&set.load(0).unwrap().annotation), expect);
    assert!(objects(&set.load(1).unwrap().annotation).is_empty());
}

fn value(x: usize, y: usize, seed: usize) -> u8 {
    let v = (x * 2 + y * 3 + seed) % 22;
    if v < 21 { v as u8 } else { IGNORE }
}

fn expected(seed: usize) -> Vec<u8> {
    let at = |i: usize| value(i % 12, i / 12, seed);
    (0..9 * 12).map(at).collect()
}

#[test]
fn label_maps_by_index_and_of_sbd() {
    let dir = set();
    let set = VocMasks::open(dir.path(), "trainaug", &[]).unwrap();
    let ids: Vec<String> = (0..set.len()).map(|i| set.id(i)).collect();
    assert_eq!(ids, [IDS[1], IDS[3], IDS[4]], "without what VOC holds out");
    assert_eq!(
        (set.classes()[0].as_str(), set.classes().len()),
        ("background", 21)
    );
    for (i, seed) in [0, 1, 2].into_iter().enumerate() {
        let Annotation::Labels(labels) = set.load(i).unwrap().annotation else {
            panic!("a label map expected")
        };
        assert_eq!(labels.data, expected(seed), "{}", ids[i]);
    }
    let some = VocMasks::open(dir.path(), "val", &["dog".into(), "background".into()]).unwrap();
    let Annotation::Labels(labels) = some.load(0).unwrap().annotation else {
        panic!("a label map expected")
    };
    let to = |v: u8| {
        [(12, 0), (0, 1)]
            .iter()
            .find(|p| p.0 == v)
            .map_or(IGNORE, |p| p.1)
    };
    assert_eq!(
        labels.data,
        expected(5).into_iter().map(to).collect::<Vec<_>>()
    );
}

#[test]
fn a_list_of_trainaug_wins_and_sbd_may_be_absent() {
    let dir = set();
    let list = dir
        .path()
        .join("VOC2012/ImageSets/Segmentation/trainaug.txt");
    write(&list, b"2008_000003\n");
    assert_eq!(
        VocMasks::open(dir.path(), "trainaug", &[]).unwrap().len(),
        1
    );
    std::fs::remove_file(list).unwrap();
    std::fs::remove_dir_all(dir.path().join("benchmark_RELEASE")).unwrap();
    let e = VocMasks::open(dir.path(), "trainaug", &[]).err().unwrap();
    assert!(
        e.code() == Code::NotFound && e.to_string().contains("SBD"),
        "{e}"
    );
}

#[test]
fn defects_of_annotations_are_named() {
    let object = |inner: &str| format!("<annotation>\n<object>\n{inner}\n</object>\n</annotation>");
    let edges = |x1: &str, x2: &str| {
        format!(
            "<name>dog</name>\n<bndbox><xmin>{x1}</xmin><ymin>1</ymin><xmax>{x2}</xmax><ymax>5</ymax></bndbox>"
        )
    };
    for (text, code, place, word) in [
        (object(&edges("5", "2")), Code::BadBox, ":4", "inverted"),
        (object(&edges("nan", "2")), Code::BadBox, ":4", "not finite"),
        (
            object(&edges("one", "2")),
            Code::BadLine,
            ":4",
            "`xmin` is not a number",
        ),
        (
            object(&edges("50", "52")),
            Code::BadBox,
            ":4",
            "outside the picture",
        ),
        (
            object(&edges("1", "2").replace("dog", "Dog")),
            Code::BadLine,
            ":3",
            "did you mean \"dog\"",
        ),
        (
            object("<name>dog</name>"),
            Code::BadLine,
            ":2",
            "without `bndbox`",
        ),
        (
            object(&edges("1", "2").replace("ymax", "y")),
            Code::BadLine,
            ":4",
            "without `ymax`",
        ),
        (
            object(&edges("1", "2").replace("name", "nam")),
            Code::BadLine,
            ":2",
            "without `name`",
        ),
        (
            "<annotation>\n<object>".into(),
            Code::BadFormat,
            ":1:",
            "not the expected XML",
        ),
        ("<a/>".into(), Code::BadFormat, ":1", "found \"a\""),
        (
            "<!DOCTYPE a [<!ENTITY b \"c\">]><annotation/>".into(),
            Code::BadFormat,
            ":1:",
            "DTD",
        ),
    ] {
        let dir = set();
        let name = "VOC2012/Annotations/2007_000033.xml";
        write(&dir.path().join(name), text.as_bytes());
        let read = Voc::open(dir.path(), "val", &ClassRules::default()).and_then(|s| s.load(0));
        let e = read.expect_err(&text);
        let shown = e.render();
        assert_eq!(e.code(), code, "{shown}");
        assert!(
            e.place().unwrap().contains(&format!("{name}{place}")),
            "{shown}"
        );
        assert!(shown.contains(word) && e.remedy().is_some(), "{shown}");
    }
}

#[test]
fn elements_within_elements_need_no_stack() {
    let dir = set();
    let name = "VOC2012/Annotations/2007_000033.xml";
    let text = format!("<annotation>{}", "<a>".repeat(200_000));
    write(&dir.path().join(name), text.as_bytes());
    let set = Voc::open(dir.path(), "val", &ClassRules::default()).unwrap();
    assert_eq!(set.load(0).unwrap_err().code(), Code::BadFormat);
}

#[test]
fn defects_of_mat_files_are_named() {
    let dir = set();
    let cls = dir.path().join("benchmark_RELEASE/dataset/cls");
    for id in ["2008_000002", "2008_000003"] {
        let path = cls.join(format!("{id}.mat"));
        let good = std::fs::read(&path).unwrap();
        for (variable, field, word) in [
            ("GTinst", "Segmentation", "no variable"),
            ("GTcls", "Categories", "no field"),
            ("GTcls", "Boundaries", "not of type uint8"),
        ] {
            let e = read_bytes(&path, variable, field).unwrap_err();
            assert!(
                e.code() == Code::BadFormat && e.to_string().contains(word),
                "{e}"
            );
        }
        for cut in (0..good.len()).step_by(3) {
            write(&path, &good[..cut]);
            match read_bytes(&path, "GTcls", "Segmentation") {
                Err(e) => assert!(e.place().unwrap().contains(id), "{e}"),
                // The last field is not looked at.
                Ok(map) => assert_eq!(map.data, expected(if id.ends_with('2') { 1 } else { 2 })),
            }
        }
        write(&path, &[&good[..126], b"MI", &good[128..]].concat());
        let e = read_bytes(&path, "GTcls", "Segmentation").unwrap_err();
        assert!(e.to_string().contains("big-endian"), "{e}");
    }
}
