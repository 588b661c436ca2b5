//! Sets with a target for every pixel: clean ones raise no alarm, planted defects are named.

use super::*;
use crate::data::dense::fixtures::{copy, root};

const SETS: [(&str, Format, usize); 6] = [
    ("nyuv2-lists", Format::Nyuv2Lists, 3),
    ("nyuv2-json", Format::Nyuv2Json, 3),
    ("nyuv2-npy", Format::Nyuv2Npy, 4),
    ("cityscapes-npy", Format::CityscapesNpy, 3),
    ("cityscapes", Format::Cityscapes, 3),
    ("taskonomy", Format::Taskonomy, 3),
];

#[test]
fn clean_sets_are_recognised_and_raise_no_alarm() {
    for (name, format, images) in SETS {
        let config = detect(&root(name)).unwrap();
        assert_eq!(config.len(), 1, "{name}");
        assert_eq!(config[0].format, format, "{name}");
        let report = check(&config[0]).unwrap();
        assert_eq!(report.images, images, "{name}");
        assert!(report.defects.is_empty(), "{name}: {:#?}", report.defects);
    }
}

#[test]
fn planted_defects_are_named() {
    let cut = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 7]).unwrap();
    };
    let move_in = |from: &str, to: &std::path::Path| _ = std::fs::copy(root(from), to).unwrap();
    let gone = |path: &std::path::Path| std::fs::remove_file(path).unwrap();
    let edit = |path: &std::path::Path, from: &str, to: &str| {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.contains(from));
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    };
    let point = "adairsville/normal/point_1_view_0_domain_normal.png";
    type Damage<'a> = &'a dyn Fn(&std::path::Path);
    let cases: &[(&str, &str, Kind, Damage)] = &[
        ("nyuv2-json", "depth/1.npy", Kind::RecordSize, &|p| cut(p)),
        ("nyuv2-json", "seg/0.png", Kind::Truncated, &|p| cut(p)),
        ("nyuv2-json", "normal/0.png", Kind::MissingLabel, &|p| {
            gone(p)
        }),
        ("nyuv2-json", "image/2.png", Kind::MissingImage, &|p| {
            gone(p)
        }),
        ("nyuv2-json", "image/1.png", Kind::DuplicateImage, &|p| {
            move_in("nyuv2-json/image/0.png", p)
        }),
        ("nyuv2-json", "image/2.png", Kind::Leakage, &|p| {
            move_in("nyuv2-json/image/0.png", p)
        }),
        // Depth is a PNG elsewhere.
        ("nyuv2-json", "depth/0.npy", Kind::WrongFormat, &|p| {
            move_in("nyuv2-json/normal/0.png", p)
        }),
        ("nyuv2-json", "normal/0.png", Kind::WrongFormat, &|p| {
            move_in("nyuv2-json/seg/0.png", p)
        }),
        (
            "nyuv2-npy",
            "train/label/2.npy, pixel (1, 3)",
            Kind::LabelId,
            &|p| {
                let path = p.parent().unwrap().join("2.npy");
                let mut bytes = std::fs::read(&path).unwrap();
                let at = bytes.len() - 8 * 5;
                bytes[at..at + 8].copy_from_slice(&13f64.to_le_bytes());
                std::fs::write(path, bytes).unwrap();
            },
        ),
        ("nyuv2-npy", "val/normal/0.npy", Kind::MissingLabel, &|p| {
            gone(p)
        }),
        (
            "cityscapes-npy",
            "train/depth/1.npy",
            Kind::WrongFormat,
            &|p| move_in("npy/f4.npy", p),
        ),
        (
            "taskonomy",
            &format!("train/{point}"),
            Kind::Truncated,
            &|p| cut(p),
        ),
        (
            "cityscapes",
            "disparity/train/ulm/ulm_000001_000019_disparity.png",
            Kind::WrongFormat,
            &|p| move_in("nyuv2-json/seg/0.png", p),
        ),
        (
            "nyuv2-lists",
            "list/testing_seg.txt:1",
            Kind::FieldCount,
            &|p| edit(&p.with_file_name("testing_seg.txt"), " ", " x "),
        ),
        ("taskonomy", "taskonomy.json:1", Kind::BadNumber, &|p| {
            edit(&p.with_file_name("taskonomy.json"), "[[", "[[7, ")
        }),
    ];
    for (name, place, kind, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        copy(name, dir.path());
        damage(&dir.path().join(place));
        let report = check_folder(dir.path()).unwrap();
        let found = report
            .defects
            .iter()
            .filter(|d| d.place.ends_with(place) && d.kind == *kind);
        assert_eq!(
            found.count(),
            1,
            "{name} {place} {kind:?}: {:#?}",
            report.defects
        );
        assert_eq!(
            report.defects.len(),
            1,
            "{name} {place}: {:#?}",
            report.defects
        );
    }
}

#[test]
fn a_picture_whose_disparity_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    copy("cityscapes", dir.path());
    let name = "ulm/ulm_000001_000019";
    std::fs::remove_file(
        dir.path()
            .join(format!("disparity/train/{name}_disparity.png")),
    )
    .unwrap();
    let report = check_folder(dir.path()).unwrap();
    assert_eq!(report.defects.len(), 1);
    let d = &report.defects[0];
    assert!(
        d.kind == Kind::MissingLabel && d.place.ends_with(&format!("{name}_leftImg8bit.png")),
        "{d}"
    );
    // Without any, the set is one of classes alone.
    std::fs::remove_dir_all(dir.path().join("disparity")).unwrap();
    assert!(check_folder(dir.path()).unwrap().defects.is_empty());
}
