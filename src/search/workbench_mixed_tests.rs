//! `configs/mtnas-mixed.toml` over the published forms of its sources: batches, and what its pictures do not label.

use std::path::{Path as FilePath, PathBuf};

use super::super::config::Override;
use super::*;
use crate::data::mixed_config::Unlabelled;
use crate::data::published_tests::{copy, jpeg};
use crate::task::unlabelled::LABELLED;

const TRAIN: [&str; 2] = ["0000f77c-6257be58", "0000f77c-62c2a288"];
const VAL: [&str; 4] = [
    "b1c66a42-6f7d68ca",
    "b1c81faa-3df17267",
    "b1c9c847-3bda4659",
    "b1d0a191-03dcecc2",
];

/// The shipped configuration with its folders below `dir` and small numbers: one frame of Waymo.
fn config(dir: &FilePath) -> Config {
    copy("bdd100k/2020", &dir.join("bdd"));
    copy("bdd100k/masks", &dir.join("bdd"));
    copy("dense/cityscapes", &dir.join("cityscapes"));
    let masks = [("train", "0004a4c0-d4dff0ad"), ("val", "7d06fefd-f7be05a6")];
    let boxes = [("train", &TRAIN[..]), ("val", &VAL)];
    for (split, ids) in boxes {
        for (i, id) in ids.iter().enumerate() {
            let name = format!("bdd/images/100k/{split}/{id}.jpg");
            jpeg(&dir.join(name), 36, 64, i + 1);
        }
    }
    for (split, id) in masks {
        let name = format!("bdd/images/10k/{split}/{id}.jpg");
        jpeg(&dir.join(name), 36, 64, 7);
    }
    let text = include_str!("../../configs/mtnas-mixed.toml");
    let mut c = Config::from_toml(text, "mtnas-mixed.toml").unwrap();
    let waymo = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/waymo/v1");
    let roots: [(&str, PathBuf); 4] = [
        ("bdd", dir.join("bdd")),
        ("bdd-maps", dir.join("bdd")),
        ("cityscapes", dir.join("cityscapes")),
        ("waymo", waymo),
    ];
    for (name, root) in roots {
        c.data.get_mut(name).unwrap().root = root;
    }
    // The held-out frames of the small set have none.
    c.data.get_mut("waymo").unwrap().waymo.only_with_boxes = false;
    let boxes = &mut c.data.get_mut("mixed-boxes").unwrap().mixed;
    boxes.take = [("waymo".to_string(), 1)].into();
    boxes.take_val.clear();
    boxes.held_out = 0;
    let maps = &mut c.data.get_mut("mixed-maps").unwrap().mixed;
    maps.take.clear();
    maps.take_val.clear();
    maps.held_out = 1;
    // Lists lie below `dir` as they would below the working directory.
    for name in ["mixed-boxes", "mixed-maps"] {
        let root = &mut c.data.get_mut(name).unwrap().root;
        *root = dir.join(root.strip_prefix("data").unwrap());
    }
    c.loader.threads = 1;
    c.resolved()
}

fn bench(c: &Config, name: &str) -> Workbench {
    Workbench::open(c, name, &c.tasks[name]).unwrap()
}

#[test]
fn batches_of_both_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path());
    let det = bench(&c, "det");
    assert_eq!(det.task.classes(), ["car", "person", "sign"]);
    let batch = det.train(Half::All, 0.5, 3, 0, 0).unwrap().next_batch();
    let batch = batch.unwrap();
    let of = |source: &str| batch.ids.iter().filter(|i| i.starts_with(source)).count();
    assert_eq!((of("bdd/"), of("waymo/")), (2, 1), "{:?}", batch.ids);
    let targets = det.targets(&batch, Path::Fast).unwrap();
    assert!(targets.find(LABELLED).is_none());
    let seg = bench(&c, "seg");
    assert_eq!(seg.task.classes().len(), 16);
    // Two of Cityscapes and one of BDD100K, one of them held out.
    assert_eq!(seg.source.train.indices.len(), 2);
    assert_eq!(seg.source.val.indices.len(), 2);
    let batch = seg.train(Half::All, 0.5, 2, 0, 0).unwrap().next_batch();
    seg.targets(&batch.unwrap(), Path::Fast).unwrap();
}

/// An explicit list for each of the two sets, where the shipped configuration looks for them.
#[test]
fn both_sets_take_lists() {
    let dir = tempfile::tempdir().unwrap();
    let c = config(dir.path());
    let lists = [
        (
            "det",
            "mixed-boxes",
            ["waymo/3333_000_1_000-000-front", "bdd/0000f77c-62c2a288"],
        ),
        ("seg", "mixed-maps", ["bdd-maps/0004a4c0-d4dff0ad", ""]),
    ];
    for (_, set, lines) in &lists {
        let root = &c.data[*set].root;
        std::fs::create_dir_all(root).unwrap();
        std::fs::write(root.join("train.txt"), lines.join("\n")).unwrap();
    }
    for (task, _, lines) in &lists {
        let bench = bench(&c, task);
        let source = &bench.source.train;
        let ids = source.indices.iter().map(|&i| source.dataset.id(i));
        let want: Vec<&str> = lines.iter().copied().filter(|l| !l.is_empty()).collect();
        assert_eq!(ids.collect::<Vec<_>>(), want, "{task}");
    }
}

#[test]
fn marks_follow_the_picture_that_the_labels_are_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = config(dir.path());
    c.data.get_mut("mixed-boxes").unwrap().mixed.unlabelled = Unlabelled::Mask;
    for (cache, shuffled) in [(false, false), (true, false), (false, true)] {
        c.data.get_mut("mixed-boxes").unwrap().cache = cache;
        c.search.ablation.shuffle_labels = shuffled;
        let det = bench(&c.clone().resolved(), "det");
        let mut loader = det.train(Half::All, 0.5, 3, 0, 0).unwrap();
        let mut moved = 0;
        for _ in 0..4 {
            let batch = loader.next_batch().unwrap();
            let targets = det.targets(&batch, Path::Fast).unwrap();
            let own: Vec<usize> = (0..3).collect();
            let order = det.label_order(batch.step, 3).unwrap_or(own);
            let marks = |i: &usize| match batch.ids[*i].starts_with("waymo/") {
                true => [1, 1, 1, 0],
                false => [1; 4],
            };
            let want: Vec<i32> = order.iter().flat_map(marks).collect();
            let got = targets.get(LABELLED);
            assert_eq!((got.dims(), got.i32s()), (&[3, 4][..], &want[..]));
            moved += usize::from(order != [0, 1, 2]);
        }
        assert_eq!(moved > 0, shuffled);
    }
}

/// The key stands where it means something.
#[test]
fn the_mask_is_for_mixed_boxes() {
    let text = include_str!("../../configs/mtnas-mixed.toml");
    for (table, fits) in [("mixed-boxes", true), ("mixed-maps", false), ("bdd", false)] {
        let key = format!("data.{table}.mixed.unlabelled");
        let change = Override::parse(&format!("{key}=mask")).unwrap();
        let read = Config::from_toml_with(text, "a.toml", &[change]);
        match fits {
            true => drop(read.unwrap()),
            false => {
                let e = read.unwrap_err();
                assert!(
                    e.code() == Code::ConfigValue && e.render().contains(&key),
                    "{e}"
                );
            }
        }
    }
}
