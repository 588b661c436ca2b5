//! Folders, formats, labels.

use std::collections::BTreeMap;
use std::path::Path;

use crate::annotation::Annotation;
use crate::data::cifar::Cifar10;
use crate::data::cityscapes::{Cityscapes, CityscapesConfig};
use crate::data::dataset::Dataset;
use crate::data::image_folder::ImageFolder;
use crate::data::kitti::{Kitti, KittiConfig};
use crate::data::synth::write::{Half, cityscapes_scene, folder_picture, kitti_scene};
use crate::data::synth::{SynthConfig, generate};
use crate::error::Code;

fn small() -> SynthConfig {
    SynthConfig {
        size: [48, 64],
        train: 8,
        val: 3,
        folder_train: 4,
        folder_val: 2,
        cifar: true,
        ..Default::default()
    }
}

fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => drop(all.insert(
                    path.strip_prefix(root).unwrap().display().to_string(),
                    std::fs::read(&path).unwrap(),
                )),
            }
        }
    }
    all
}

#[test]
fn the_folders_read_back_in_their_formats() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("made");
    let config = small();
    generate(&root, &config).unwrap();
    let open = |split: &str| -> Vec<Box<dyn Dataset>> {
        vec![
            Box::new(Kitti::open(&root.join("kitti"), split, &KittiConfig::default()).unwrap()),
            Box::new(
                Cityscapes::open(
                    &root.join("cityscapes"),
                    split,
                    &CityscapesConfig::default(),
                )
                .unwrap(),
            ),
            Box::new(ImageFolder::open(&root.join("folder"), split).unwrap()),
            Box::new(Cifar10::open(&root.join("cifar"), split).unwrap()),
        ]
    };
    let lengths = |sets: &[Box<dyn Dataset>]| sets.iter().map(|s| s.len()).collect::<Vec<_>>();
    let (train, val) = (open("train"), open("val"));
    assert_eq!(
        (lengths(&train), lengths(&val)),
        (vec![8, 8, 40, 40], vec![3, 3, 20, 20])
    );
    for set in train.iter().chain(&val) {
        for i in 0..set.len() {
            set.load(i).unwrap();
        }
    }
    // A KITTI picture on disk is the scene of its number, boxes to two decimals.
    let scene = kitti_scene(&config, Half::Val, 1);
    let sample = val[0].load(1).unwrap();
    assert_eq!(sample.image, scene.image);
    let Annotation::Objects(objects) = sample.annotation else {
        panic!("boxes expected")
    };
    let cars = scene.objects.iter().filter(|o| o.kind == "Car");
    for (o, car) in objects
        .iter()
        .filter(|o| o.class == 0 && !o.ignore)
        .zip(cars)
    {
        assert!((o.bbox.x1 - car.bbox.x1).abs() < 0.01 && (o.bbox.y2 - car.bbox.y2).abs() < 0.01);
    }
    assert_eq!(folder_picture(&config, Half::Train, 4, 0), {
        let s = train[2]
            .load(
                (0..40)
                    .find(|&i| train[2].id(i) == "pavement/00000.png")
                    .unwrap(),
            )
            .unwrap();
        s.image
    });
}

#[test]
fn the_same_seed_gives_the_same_files_whatever_the_threads() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, threads: usize, seed: u64| {
        let root = dir.path().join(name);
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| generate(&root, &SynthConfig { seed, ..small() }))
            .unwrap();
        contents(&root)
    };
    let (a, b, other) = (make("a", 1, 5), make("b", 3, 5), make("c", 2, 6));
    assert_eq!(a, b);
    let differs = |name: &String| a[name] != other[name];
    assert!(
        a.keys()
            .filter(|n| n.ends_with("0.png") && other.contains_key(*n))
            .all(differs)
    );
}

#[test]
fn nothing_is_overwritten_and_no_half_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("made");
    let config = SynthConfig {
        folder_train: 0,
        cifar: false,
        ..small()
    };
    generate(&root, &config).unwrap();
    let before = contents(&root);
    generate(&root, &config).unwrap();
    assert_eq!(
        contents(&root),
        before,
        "the same configuration leaves the folder as it is"
    );
    let e = generate(
        &root,
        &SynthConfig {
            seed: 9,
            ..config.clone()
        },
    )
    .unwrap_err();
    assert_eq!(e.code(), Code::CannotCreate);
    assert_eq!(contents(&root), before);
    std::fs::write(dir.path().join("file"), "x").unwrap();
    assert!(generate(&dir.path().join("file/made"), &config).is_err());
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for bad in [
        SynthConfig {
            size: [10, 64],
            ..config.clone()
        },
        SynthConfig {
            val: 0,
            ..config.clone()
        },
        SynthConfig {
            cifar: true,
            ..config
        },
    ] {
        assert_eq!(
            generate(&dir.path().join("x"), &bad).unwrap_err().code(),
            Code::ConfigValue
        );
    }
}

#[test]
fn towns_of_held_out_scenes_are_others() {
    let config = SynthConfig {
        size: [48, 64],
        ..Default::default()
    };
    let config = &config;
    let towns = |half| (0..20).map(move |i| cityscapes_scene(config, half, i).1);
    let train: std::collections::BTreeSet<_> = towns(Half::Train).collect();
    assert!(train.len() > 2 && towns(Half::Val).all(|t| !train.contains(t)));
}

#[test]
fn boxes_hold_what_they_say() {
    let config = SynthConfig::default();
    let (mut count, mut heights, mut ignored, mut truncated) =
        (BTreeMap::new(), BTreeMap::new(), 0, 0);
    for i in 0..60 {
        let scene = kitti_scene(&config, Half::Train, i);
        for o in &scene.objects {
            let b = o.bbox;
            assert!(
                b.x1 >= 0.0 && b.y1 >= 0.0 && b.x2 <= 160.0 && b.y2 <= 96.0 && b.area() > 3.0,
                "{o}"
            );
            ignored += (o.kind == "DontCare") as usize;
            truncated += (o.truncated > 0.05) as usize;
            *count.entry(o.kind).or_insert(0) += 1;
            heights.entry(o.kind).or_insert(vec![]).push(b.y2 - b.y1);
            if o.kind == "DontCare" {
                continue;
            }
            // The picture of the middle of the object's foot lies at the bottom of its box, between its sides.
            let ids: &[u8] = match o.kind {
                "Pedestrian" => &[24],
                "Cyclist" => &[25, 33],
                _ => &[26],
            };
            let inside = |x: usize, y: usize| ids.contains(&scene.labels.data[y * 160 + x]);
            let (xs, ys) = (
                b.x1 as usize..b.x2.ceil() as usize,
                b.y1 as usize..b.y2.ceil() as usize,
            );
            let hits = ys
                .clone()
                .flat_map(|y| xs.clone().map(move |x| (x, y)))
                .filter(|&(x, y)| inside(x, y))
                .count();
            assert!(
                hits as f32 > 0.08 * b.area(),
                "{} has {hits} of {} pixels",
                o,
                b.area()
            );
        }
    }
    assert!(
        count["Car"] >= 70 && count["Pedestrian"] >= 60 && count["Cyclist"] >= 30,
        "{count:?}"
    );
    assert!(
        (5..80).contains(&ignored) && truncated > 5,
        "{ignored} {truncated}"
    );
    let least = |kind: &str| heights[kind].iter().copied().fold(f32::MAX, f32::min);
    assert!(
        least("Pedestrian") >= 8.0 && least("Car") >= 8.0,
        "{} {}",
        least("Pedestrian"),
        least("Car")
    );
}
