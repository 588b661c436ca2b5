//! Damaged pictures, labels and lists of every format.

use std::path::Path;

use super::cifar::{Cifar10, RECORD, encode_record};
use super::cityscapes::{Cityscapes, CityscapesConfig, IMAGE_SUFFIX};
use super::convert::read_colours;
use super::dataset::Dataset;
use super::image_file::{encode_jpeg, encode_labels, encode_palette, encode_png};
use super::image_folder::ImageFolder;
use super::jpeg_file::tests::four_components;
use super::kitti::{Kitti, KittiConfig};
use super::preview::PALETTE;
use super::waymo::Waymo;
use super::waymo_config::{Camera, WaymoConfig};
use super::waymo_v2::WaymoV2;
use crate::annotation::{Image, LabelMap};
use crate::error::Result;
use crate::mutation::{CASES, MANY, Target, mend_png, mend_tfrecord, run_all};
use crate::rng::Rng;

fn load_all(set: &dyn Dataset) -> Result<()> {
    (0..set.len()).try_for_each(|i| set.load(i).map(drop))
}

fn kitti(root: &Path) -> Result<()> {
    load_all(&Kitti::open(root, "train", &KittiConfig::default())?)
}

fn cityscapes(root: &Path) -> Result<()> {
    load_all(&Cityscapes::open(
        root,
        "train",
        &CityscapesConfig::default(),
    )?)
}

fn folder(root: &Path) -> Result<()> {
    load_all(&ImageFolder::open(root, "train")?)
}

/// The labels first, as the choice of a fraction of the set reads them.
fn cifar(root: &Path) -> Result<()> {
    let set = Cifar10::open(root, "train")?;
    (0..set.len()).try_for_each(|i| set.class_of(i).map(drop))?;
    load_all(&set)
}

/// All cameras, so that every part of a frame is read; then the frames with boxes, found by walking over the file.
fn all_cameras(only_with_boxes: bool) -> WaymoConfig {
    WaymoConfig {
        cameras: Camera::ALL.to_vec(),
        only_with_boxes,
        ..Default::default()
    }
}

fn waymo_v1(root: &Path) -> Result<()> {
    let types = || Waymo::types(&[], &Default::default());
    let open = |only| Waymo::open(root, "a.tfrecord", &all_cameras(only), types()?);
    load_all(&open(false)?)?;
    load_all(&open(true)?)
}

fn waymo_v2(root: &Path) -> Result<()> {
    let types = || Waymo::types(&[], &Default::default());
    let open = |only| WaymoV2::open(root, "v2", &all_cameras(only), types()?);
    load_all(&open(false)?)?;
    load_all(&open(true)?)
}

const fn target(name: &'static str, file: &'static str, read: fn(&Path) -> Result<()>) -> Target {
    Target {
        name,
        file,
        mend: None,
        read,
    }
}

const fn png(name: &'static str, file: &'static str, read: fn(&Path) -> Result<()>) -> Target {
    Target {
        name,
        file,
        mend: Some(|b| mend_png(b)),
        read,
    }
}

const PICTURES: [Target; 6] = [
    png("KITTI picture", "training/image_2/a.png", kitti),
    png(
        "Cityscapes picture",
        "leftImg8bit/train/ulm/u_leftImg8bit.png",
        cityscapes,
    ),
    png("PNG of an image folder", "train/cat/c.png", folder),
    target("JPEG of an image folder", "train/ant/a.jpg", folder),
    target("grey JPEG", "train/bee/b.jpeg", folder),
    target("JPEG of inks", "train/ink/i.jpg", folder),
];

const RECORDS: [Target; 3] = [
    Target {
        name: "Waymo v1 records",
        file: "a.tfrecord",
        mend: Some(|b| mend_tfrecord(b)),
        read: waymo_v1,
    },
    target(
        "Waymo v2 pictures",
        "v2/camera_image/2222_000_1_000.parquet",
        waymo_v2,
    ),
    target(
        "Waymo v2 boxes",
        "v2/camera_box/2222_000_1_000.parquet",
        waymo_v2,
    ),
];

fn colours(root: &Path) -> Result<()> {
    read_colours(&root.join("colours.png")).map(drop)
}

const LABELS: [Target; 5] = [
    png("Cityscapes colours", "colours.png", colours),
    png(
        "Cityscapes label map",
        "gtFine/train/ulm/u_gtFine_labelIds.png",
        cityscapes,
    ),
    target("KITTI label", "training/label_2/a.txt", kitti),
    target("KITTI list", "ImageSets/train.txt", kitti),
    target("CIFAR-10 records", "data_batch_1.bin", cifar),
];

fn picture(height: usize, width: usize) -> Image {
    let mut r = Rng::new(1, &[]);
    let value = |i: usize| (i / 7 + r.below(20)) as u8;
    Image {
        height,
        width,
        data: (0..height * width * 3).map(value).collect(),
    }
}

/// One small valid set of each format.
fn valid(root: &Path) {
    let write = |name: &str, bytes: &[u8]| {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let png = encode_png(&picture(12, 17)).unwrap();
    write("training/image_2/a.png", &png);
    write("training/image_2/b.png", &png);
    let lines = "Car 0.00 0 1.85 1.63 2.54 8.81 10.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n\
                 DontCare -1 -1 -10 5.0 1.5 9.0 4.0 -1 -1 -1 -1000 -1000 -1000 -10\n\
                 Pedestrian 0.20 1 0.1 9.00 2.00 12.00 11.50 1.7 0.6 0.8 1.1 1.6 12.0 0.1\n";
    write("training/label_2/a.txt", lines.as_bytes());
    write("training/label_2/b.txt", b"");
    write("ImageSets/train.txt", b"a\nb\n");
    write(&format!("leftImg8bit/train/ulm/u{IMAGE_SUFFIX}"), &png);
    let labels = LabelMap {
        height: 12,
        width: 17,
        data: (0..12 * 17).map(|i| (i % 34) as u8).collect(),
    };
    write(
        "gtFine/train/ulm/u_gtFine_labelIds.png",
        &encode_labels(&labels).unwrap(),
    );
    let train_ids = LabelMap {
        data: (0..12 * 17).map(|i| (i % 19) as u8).collect(),
        ..labels
    };
    let mut colours = [[0; 3]; 256];
    colours[..19].copy_from_slice(&PALETTE);
    write(
        "colours.png",
        &encode_palette(&train_ids, &colours).unwrap(),
    );
    write("train/cat/c.png", &png);
    write(
        "train/ant/a.jpg",
        &encode_jpeg(&picture(20, 33), 80).unwrap(),
    );
    let mut grey = vec![];
    let luma: Vec<u8> = (0..20 * 20).map(|i| (i * 3) as u8).collect();
    image::codecs::jpeg::JpegEncoder::new(&mut grey)
        .encode(&luma, 20, 20, image::ExtendedColorType::L8)
        .unwrap();
    write("train/bee/b.jpeg", &grey);
    write("train/ink/i.jpg", &four_components(2, [200, 100, 50, 220]));
    // Pixels that are classes too, so that a record that is shifted by some bytes may have a label.
    let mut image = picture(32, 32);
    image.data.iter_mut().for_each(|v| *v %= 12);
    let record = |class| encode_record(&image, class).unwrap();
    write("data_batch_1.bin", &[record(1), record(2)].concat());
    assert_eq!(record(1).len(), RECORD);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/waymo");
    let copy = |name: &str, from: &str| write(name, &std::fs::read(tests.join(from)).unwrap());
    let segment = "v1/training/segment-2222_000_1_000_with_camera_labels.tfrecord";
    copy("a.tfrecord", segment);
    for part in ["camera_image", "camera_box"] {
        let file = format!("{part}/2222_000_1_000.parquet");
        copy(&format!("v2/{file}"), &format!("v2/training/{file}"));
    }
}

#[test]
fn damaged_pictures_are_refused_by_name() {
    run_all(&PICTURES, CASES, valid);
}

#[test]
fn damaged_labels_are_refused_by_name() {
    run_all(&LABELS, CASES, valid);
}

#[test]
fn damaged_records_are_refused_by_name() {
    run_all(&RECORDS, CASES, valid);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_records() {
    run_all(&RECORDS, MANY, valid);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_pictures() {
    run_all(&PICTURES, MANY, valid);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_labels() {
    run_all(&LABELS, MANY, valid);
}
