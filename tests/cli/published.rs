//! Data sets in their published forms as a user meets them: found by their folders, checked, counted.

use std::path::Path;

use mtnas::annotation::Image;
use mtnas::data::image_file::encode_jpeg;

use super::arch::json;
use super::{err, mtnas, out};

fn jpeg(path: &Path, seed: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let data = (0..36 * 64 * 3).map(|i| (i * seed) as u8).collect();
    let image = Image {
        height: 36,
        width: 64,
        data,
    };
    std::fs::write(path, encode_jpeg(&image, 85).unwrap()).unwrap();
}

#[test]
fn bdd100k_is_checked_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bdd100k");
    let labels = dir.path().join("labels/det_20");
    std::fs::create_dir_all(&labels).unwrap();
    for split in ["train", "val"] {
        let name = format!("labels/det_20/det_{split}.json");
        std::fs::copy(from.join("2020").join(&name), dir.path().join(&name)).unwrap();
    }
    let pictures = dir.path().join("images/100k");
    jpeg(&pictures.join("train/0000f77c-6257be58.jpg"), 1);
    jpeg(&pictures.join("train/0000f77c-62c2a288.jpg"), 2);
    let val = [
        "b1c66a42-6f7d68ca",
        "b1c81faa-3df17267",
        "b1c9c847-3bda4659",
        "b1d0a191-03dcecc2",
    ];
    for (i, id) in val.iter().enumerate() {
        jpeg(&pictures.join(format!("val/{id}.jpg")), i + 3);
    }
    let clean = mtnas(&["data", "check", root]);
    assert!(clean.status.success(), "{}", out(&clean));
    assert!(out(&clean).contains("6 pictures") && out(&clean).contains(": 0 defects"));
    let stats = json(&mtnas(&["data", "stats", root, "--json"]));
    let classes = stats[0]["classes"].as_array().unwrap();
    assert_eq!((classes.len(), &classes[2]["name"]), (10, &"car".into()));
    assert_eq!(classes[2]["count"], 1);
    let file = labels.join("det_train.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("\"car\"", "\"cars\"")).unwrap();
    let bad = mtnas(&["data", "check", root]);
    assert_eq!(bad.status.code(), Some(1));
    let line = "det_train.json:1: label 0 of \"0000f77c-6257be58\": unknown object type \"cars\"; did you mean \"car\"";
    assert!(out(&bad).contains(line), "{}", out(&bad));
    let stop = mtnas(&["data", "preview", root]);
    assert!(
        stop.status.code() == Some(65) && err(&stop).contains("did you mean"),
        "{}",
        err(&stop)
    );
}

/// VOC holds boxes and label maps in one folder; the target says which are meant.
#[test]
fn voc_is_converted_to_coco_and_kitti() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/voc/VOC2012");
    for folder in ["Annotations", "ImageSets/Main", "ImageSets/Segmentation"] {
        std::fs::create_dir_all(at("voc").join(folder)).unwrap();
        for entry in std::fs::read_dir(from.join(folder)).unwrap() {
            let file = entry.unwrap();
            let to = at("voc").join(folder).join(file.file_name());
            std::fs::copy(file.path(), to).unwrap();
        }
    }
    for (i, id) in ["2007_000027", "2007_000032", "2007_000033"]
        .iter()
        .enumerate()
    {
        let data = vec![40 * i as u8; 9 * 12 * 3];
        let image = Image {
            height: 9,
            width: 12,
            data,
        };
        let path = at("voc/JPEGImages").join(format!("{id}.jpg"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, encode_jpeg(&image, 85).unwrap()).unwrap();
    }
    let name = |path: &str| at(path).display().to_string();
    let convert = |from: &str, to: &str, form: &str| {
        mtnas(&["data", "convert", &name(from), &name(to), "--to", form])
    };
    let o = convert("voc", "coco", "coco");
    assert!(o.status.success(), "{}", err(&o));
    assert!(out(&o).contains("3 pictures, 4 labels"), "{}", out(&o));
    let o = convert("coco", "kitti", "kitti");
    assert!(o.status.success(), "{}", err(&o));
    assert!(out(&o).contains("became Misc"), "{}", out(&o));
    let kitti = at("kitti/training");
    let line = std::fs::read_to_string(kitti.join("label_2/2007_000027.txt")).unwrap();
    assert!(line.starts_with("Pedestrian "), "{line}");
    assert!(kitti.join("image_2/2007_000033.png").is_file());
    let o = convert("voc", "own", "list-boxes");
    assert!(o.status.success(), "{}", err(&o));
    let o = mtnas(&["data", "check", &name("own")]);
    assert!(o.status.success(), "{}{}", out(&o), err(&o));
    // Other sets than Cityscapes have no ids of Cityscapes, and nothing is left of the attempt.
    let o = convert("voc", "maps", "train-ids");
    assert!(
        o.status.code() == Some(2) && err(&o).contains("leftImg8bit"),
        "{}",
        err(&o)
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
}
