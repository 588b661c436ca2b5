//! Damaged listings, arrays and pictures of values of every form.

use std::path::Path;

use super::fixtures::{config, copy};
use super::target::Target as Wanted;
use crate::data::dataset::Format;
use crate::error::Result;
use crate::mutation::{CASES, MANY, Target, mend_png, run_all};

fn load_all(format: Format, root: &Path, folder: &str) -> Result<()> {
    let mut config = config(format, root.join(folder));
    if format == Format::Cityscapes {
        config.dense.targets = vec![Wanted::Segmentation, Wanted::Depth];
    }
    let set = config.open_train()?;
    (0..set.len()).try_for_each(|i| set.load(i).map(drop))
}

fn lists(root: &Path) -> Result<()> {
    load_all(Format::Nyuv2Lists, root, "nyuv2-lists")
}
fn json(root: &Path) -> Result<()> {
    load_all(Format::Nyuv2Json, root, "nyuv2-json")
}
fn npy(root: &Path) -> Result<()> {
    load_all(Format::Nyuv2Npy, root, "nyuv2-npy")
}
fn arrays(root: &Path) -> Result<()> {
    load_all(Format::CityscapesNpy, root, "cityscapes-npy")
}
/// A split that is no folder: the listing says what is in it.
fn listed_arrays(root: &Path) -> Result<()> {
    let config = config(Format::CityscapesNpy, root.join("cityscapes-npy"));
    let set = config.open("train1")?;
    (0..set.len()).try_for_each(|i| set.load(i).map(drop))
}
fn taskonomy(root: &Path) -> Result<()> {
    load_all(Format::Taskonomy, root, "taskonomy")
}
fn disparity(root: &Path) -> Result<()> {
    load_all(Format::Cityscapes, root, "cityscapes")
}

const fn plain(name: &'static str, file: &'static str, read: fn(&Path) -> Result<()>) -> Target {
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

const LISTINGS: [Target; 5] = [
    plain(
        "list of classes",
        "nyuv2-lists/list/training_seg.txt",
        lists,
    ),
    plain(
        "list of normals",
        "nyuv2-lists/list/training_normal_mask.txt",
        lists,
    ),
    plain("NYUv2 listing", "nyuv2-json/nyu_v2_3task.json", json),
    plain("Taskonomy listing", "taskonomy/taskonomy.json", taskonomy),
    plain(
        "Cityscapes listing",
        "cityscapes-npy/cityscape.json",
        listed_arrays,
    ),
];

const ARRAYS: [Target; 5] = [
    plain("picture as array", "nyuv2-npy/train/image/0.npy", npy),
    plain("labels as array", "nyuv2-npy/train/label/0.npy", npy),
    plain("normals as array", "nyuv2-npy/train/normal/0.npy", npy),
    plain(
        "disparity as array",
        "cityscapes-npy/train/depth/0.npy",
        arrays,
    ),
    plain("depth in metres", "nyuv2-json/depth/0.npy", json),
];

const PICTURES: [Target; 9] = [
    png("classes of NYUv2", "nyuv2-json/seg/0.png", json),
    png(
        "normals of NYUv2",
        "nyuv2-lists/nyu_train_val/training/norm/0.png",
        lists,
    ),
    png(
        "disparity",
        "cityscapes/disparity/train/ulm/ulm_000000_000019_disparity.png",
        disparity,
    ),
    png(
        "depth of Taskonomy",
        "taskonomy/train/adairsville/depth_zbuffer/point_0",
        taskonomy,
    ),
    png(
        "picture of Taskonomy",
        "taskonomy/train/adairsville/rgb/point_0",
        taskonomy,
    ),
    png(
        "classes of Taskonomy",
        "taskonomy/train/adairsville/segment_semantic/point_0",
        taskonomy,
    ),
    png(
        "normals of Taskonomy",
        "taskonomy/train/adairsville/normal/point_0",
        taskonomy,
    ),
    png(
        "edges",
        "taskonomy/train/adairsville/edge_texture/point_0",
        taskonomy,
    ),
    png(
        "keypoints",
        "taskonomy/train/adairsville/keypoints2d/point_0",
        taskonomy,
    ),
];

fn valid(root: &Path) {
    for name in [
        "nyuv2-lists",
        "nyuv2-json",
        "nyuv2-npy",
        "cityscapes-npy",
        "taskonomy",
        "cityscapes",
    ] {
        copy(name, &root.join(name));
    }
}

#[test]
fn damaged_listings_are_refused_by_name() {
    run_all(&LISTINGS, CASES, valid);
}

#[test]
fn damaged_arrays_are_refused_by_name() {
    run_all(&ARRAYS, CASES, valid);
}

#[test]
fn damaged_pictures_of_values_are_refused_by_name() {
    run_all(&PICTURES, CASES, valid);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_files_of_dense_targets() {
    for targets in [&LISTINGS[..], &ARRAYS, &PICTURES] {
        run_all(targets, MANY, valid);
    }
}
