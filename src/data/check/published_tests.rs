//! Clean sets of the published forms raise no alarm; planted defects are all found, each where it is.

use std::path::Path;

use super::*;
use crate::annotation::LabelMap;
use crate::data::image_file::encode_labels;
use crate::data::published_tests::{copy, jpeg, write};

fn found(config: &DatasetConfig) -> Vec<(Kind, String)> {
    let report = check(config).unwrap();
    let root = format!("{}/", config.root.display());
    let place = |d: &Defect| d.place.replace(&root, "");
    let mut all: Vec<_> = report.defects.iter().map(|d| (d.kind, place(d))).collect();
    assert!(report.defects.iter().all(|d| !d.help.is_empty()));
    all.sort();
    all
}

#[track_caller]
fn expect(config: &DatasetConfig, planted: &[(Kind, &str)]) {
    let mut want: Vec<_> = planted.iter().map(|(k, p)| (*k, p.to_string())).collect();
    want.sort();
    assert_eq!(found(config), want);
}

fn one(root: &Path, format: Format) -> DatasetConfig {
    let all = detect(root).unwrap();
    let config = all.into_iter().find(|c| c.format == format);
    config.unwrap_or_else(|| panic!("no {format:?} is seen in {}", root.display()))
}

fn change(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}: {text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn bdd100k() {
    let train = ["0000f77c-6257be58", "0000f77c-62c2a288"];
    for (form, json) in [
        ("2018-merged", "labels/bdd100k_labels_images_train.json"),
        ("2018-single", "labels/100k/train/0000f77c-62c2a288.json"),
        ("2020", "labels/det_20/det_train.json"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        copy(&format!("bdd100k/{form}"), dir.path());
        let picture = |split: &str, id: &str, seed| {
            jpeg(
                &dir.path().join(format!("images/100k/{split}/{id}.jpg")),
                36,
                64,
                seed,
            );
        };
        train
            .iter()
            .zip(1..)
            .for_each(|(id, seed)| picture("train", id, seed));
        let val = [
            "b1c66a42-6f7d68ca",
            "b1c81faa-3df17267",
            "b1c9c847-3bda4659",
            "b1d0a191-03dcecc2",
        ];
        val.iter()
            .zip(5..)
            .for_each(|(id, seed)| picture("val", id, seed));
        let config = one(dir.path(), Format::Bdd100k);
        expect(&config, &[]);
        let path = dir.path().join(json);
        // The rider is inverted, the truck leaves the picture, the motorcycle has no area.
        change(&path, "8.5", "2.5");
        change(&path, "64.0", "99.0");
        change(&path, "9.0", "5.0");
        let report = check(&config).unwrap();
        let kinds: Vec<Kind> = report.defects.iter().map(|d| d.kind).collect();
        let mut sorted = kinds.clone();
        sorted.sort();
        assert_eq!(
            sorted,
            [Kind::BoxOutside, Kind::BoxInverted, Kind::BoxEmpty],
            "{form}"
        );
        for d in &report.defects {
            assert!(d.place.contains(json), "{d}");
            assert!(
                d.message.contains("label ") && d.to_string().contains(train[1]),
                "{d}"
            );
        }
    }
}

#[test]
fn bdd100k_label_maps() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    copy("bdd100k/masks", root);
    let (train, val) = ("0004a4c0-d4dff0ad", "7d06fefd-f7be05a6");
    jpeg(
        &root.join(format!("images/10k/train/{train}.jpg")),
        36,
        64,
        1,
    );
    jpeg(&root.join(format!("images/10k/val/{val}.jpg")), 36, 64, 2);
    let config = one(root, Format::Bdd100kMasks);
    expect(&config, &[]);
    let map = LabelMap {
        height: 36,
        width: 64,
        data: (0..36 * 64).map(|i| u8::from(i == 70) * 33).collect(),
    };
    let masks = "labels/sem_seg/masks/train";
    write(
        &root.join(format!("{masks}/wrong.png")),
        &encode_labels(&map).unwrap(),
    );
    jpeg(&root.join("images/10k/train/wrong.jpg"), 36, 64, 3);
    copy("bdd100k/masks/labels/sem_seg/masks/val", &root.join(masks));
    jpeg(&root.join("images/10k/train/alone.jpg"), 36, 64, 4);
    jpeg(
        &root.join(format!("images/10k/train/{train}.jpg")),
        36,
        63,
        1,
    );
    expect(
        &config,
        &[
            (Kind::LabelId, &format!("{masks}/wrong.png, pixel (6, 1)")),
            (Kind::MissingImage, &format!("{masks}/{val}.png")),
            (Kind::MissingLabel, "images/10k/train/alone.jpg"),
            (Kind::SizeMismatch, &format!("{masks}/{train}.png")),
        ],
    );
}

#[test]
fn coco() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    copy("coco", root);
    for (i, id) in ["391895", "522418", "000009"].iter().enumerate() {
        jpeg(&root.join(format!("train2017/000000{id}.jpg")), 36, 64, i);
    }
    jpeg(&root.join("val2017/000000000002.jpg"), 36, 64, 7);
    let config = one(root, Format::Coco);
    let json = "annotations/instances_train2017.json:1";
    // The published set has such boxes itself.
    let own = (Kind::BoxEmpty, json);
    expect(&config, &[own]);
    let path = root.join("annotations/instances_train2017.json");
    change(&path, "\"category_id\": 18", "\"category_id\": 4");
    change(&path, "[1.5, 2.25, 20.5", "[51.5, 2.25, 20.5");
    change(&path, "\"image_id\": 391895", "\"image_id\": 391896");
    change(&path, "\"height\": 36", "\"height\": 35");
    std::fs::remove_file(root.join("train2017/000000000009.jpg")).unwrap();
    expect(
        &config,
        &[
            own,
            (Kind::UnknownType, json),
            (Kind::BoxOutside, json),
            (Kind::BadNumber, json),
            (Kind::SizeMismatch, "train2017/000000391895.jpg"),
            (Kind::MissingImage, json),
        ],
    );
}

#[test]
fn voc() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    copy("voc", root);
    for (i, id) in ["2007_000027", "2007_000032", "2007_000033"]
        .iter()
        .enumerate()
    {
        jpeg(&root.join(format!("VOC2012/JPEGImages/{id}.jpg")), 9, 12, i);
    }
    let (boxes, masks) = (one(root, Format::Voc), one(root, Format::VocMasks));
    expect(&boxes, &[]);
    expect(&masks, &[]);
    let xml = root.join("VOC2012/Annotations/2007_000027.xml");
    change(&xml, "<name>dog", "<name>dgo");
    change(&xml, "<xmax>7<", "<xmax>1<");
    let list = root.join("VOC2012/ImageSets/Main/val.txt");
    write(&list, b"2007_000033\n2009_000001\n");
    std::fs::remove_file(root.join("VOC2012/Annotations/2007_000033.xml")).unwrap();
    expect(
        &boxes,
        &[
            (Kind::BoxInverted, "Annotations/2007_000027.xml:27"),
            (Kind::UnknownType, "Annotations/2007_000027.xml:44"),
            (Kind::MissingLabel, "JPEGImages/2007_000033.jpg"),
            (Kind::AbsentId, "ImageSets/Main/val.txt:2"),
        ],
    );
}

#[test]
fn a_folder_of_several_sets() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    copy("voc", root);
    jpeg(&root.join("VOC2012/JPEGImages/2007_000027.jpg"), 9, 12, 1);
    copy("coco", &root.join("coco"));
    jpeg(&root.join("bdd100k/images/100k/train/a.jpg"), 9, 12, 1);
    let formats: Vec<Format> = detect(root).unwrap().iter().map(|c| c.format).collect();
    let expect = [Format::Voc, Format::VocMasks, Format::Bdd100k, Format::Coco];
    assert_eq!(formats, expect);
}

#[test]
fn lists() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    jpeg(&root.join("a.jpg"), 9, 12, 1);
    jpeg(&root.join("b.jpg"), 9, 12, 2);
    write(&root.join("classes.txt"), b"cat\n");
    write(&root.join("a.txt"), b"cat 1 2 5 6\n");
    write(&root.join("train.txt"), b"a.jpg a.txt\n");
    write(&root.join("val.txt"), b"b.jpg\n");
    let config = one(root, Format::ListBoxes);
    expect(&config, &[]);
    let lines = "cat 1 2 5 6\ncat 5 2 1 6\ncat 1 2 1 6\ncat 1 2 3\ncta 1 2 3 4\ncat 1 2 30 6\ncat 1 2 x 6\n";
    write(&root.join("a.txt"), lines.as_bytes());
    write(&root.join("val.txt"), b"b.jpg\nc.jpg\n");
    std::fs::copy(root.join("a.jpg"), root.join("b.jpg")).unwrap();
    expect(
        &config,
        &[
            (Kind::BoxInverted, "a.txt:2"),
            (Kind::BoxEmpty, "a.txt:3"),
            (Kind::FieldCount, "a.txt:4"),
            (Kind::UnknownType, "a.txt:5"),
            (Kind::BoxOutside, "a.txt:6"),
            (Kind::BadNumber, "a.txt:7"),
            (Kind::MissingImage, "val.txt:2"),
            (Kind::Leakage, "b.jpg"),
        ],
    );
    write(&root.join("train.txt"), b"a.jpg cat\n");
    write(&root.join("val.txt"), b"b.jpg dog\n");
    let config = one(root, Format::ListClasses);
    expect(&config, &[(Kind::BadNumber, "val.txt:1")]);
}
