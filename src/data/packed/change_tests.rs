//! What is stopped, damaged or changed: nothing is lost, nothing left out, and nothing packed anew without need.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::build::{finished, no_lock, unfinished};
use super::layout::{HEAD, u64_at};
use super::tests::{batches, config, only, open, open_until, scenes};
use super::*;
use crate::annotation::Image;
use crate::data::cifar::{RECORD, SIDE, encode_record};
use crate::data::config::Augment;
use crate::data::dataset::Format;
use crate::data::mixed_config::Unlabelled;
use crate::error::Code;

/// 80 small pictures: three times as many as are packed between two looks whether to stop, or nearly.
fn eighty() -> (tempfile::TempDir, DataSetConfig, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("cifar");
    std::fs::create_dir(&root).unwrap();
    let one = |i: usize| Image {
        height: SIDE,
        width: SIDE,
        data: (0..RECORD - 1).map(|k| (k * 7 + i) as u8).collect(),
    };
    let all = (0..80).map(|i| encode_record(&one(i), i % 10).unwrap());
    let all: Vec<u8> = all.flatten().collect();
    std::fs::write(root.join("data_batch_1.bin"), &all).unwrap();
    std::fs::write(root.join("test_batch.bin"), &all).unwrap();
    let c = DataSetConfig {
        format: Format::Cifar10,
        root,
        ..DataSetConfig::default()
    };
    let packs = dir.path().join("packs");
    (dir, c, packs)
}

#[test]
fn stopping_between_samples_loses_nothing() {
    let (dir, c, packs) = eighty();
    let undisturbed = dir.path().join("undisturbed");
    open(&c, &undisturbed).0.unwrap();
    let asked = AtomicUsize::new(0);
    let second = || asked.fetch_add(1, Ordering::SeqCst) == 1;
    let e = open_until(&c, &packs, &second).0.err().unwrap();
    assert_eq!(e.code(), Code::Interrupted, "{e}");
    assert!(e.message().contains("32 of 80"), "{e}");
    let (set, notes) = open(&c, &packs);
    set.unwrap();
    assert!(
        notes[0].contains("32 of 80 samples are packed, going on"),
        "{notes:?}"
    );
    let made = std::fs::read(only(&packs)).unwrap();
    assert!(made == std::fs::read(only(&undisturbed)).unwrap());
    // What is whole needs no packing that could be stopped.
    open_until(&c, &packs, &|| true).0.unwrap();
}

#[test]
fn who_waits_for_another_program_can_be_stopped() {
    let (_dir, c, packs) = eighty();
    open(&c, &packs).0.unwrap();
    let path = only(&packs);
    std::fs::remove_file(&path).unwrap();
    let other = std::fs::File::create(unfinished(&path)).unwrap();
    other.lock().unwrap();
    let asked = AtomicUsize::new(0);
    let third = || asked.fetch_add(1, Ordering::SeqCst) == 2;
    let (set, notes) = open_until(&c, &packs, &third);
    assert_eq!(set.err().unwrap().code(), Code::Interrupted);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("waiting for"), "{notes:?}");
}

#[test]
fn what_was_made_has_to_fit_and_files_without_locks_are_explained() {
    let (_dir, c, packs) = eighty();
    open(&c, &packs).0.unwrap();
    let set = c.dataset().open_train().unwrap();
    let plan = Plan {
        set: set.as_ref(),
        stamp: [7; 32],
        size: None,
        skip: false,
        stop: &|| false,
    };
    let e = finished(&only(&packs), &plan).err().unwrap();
    assert_eq!(e.code(), Code::Busy, "{e}");
    let e = no_lock(&packs, std::io::ErrorKind::Unsupported.into());
    assert!(e.remedy().is_some_and(|h| h.contains("`packed`")), "{e}");
}

/// Changes a bit of every record of every packed cache.
fn damage(packs: &Path) {
    for entry in std::fs::read_dir(packs).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let (count, places) = (u64_at(&bytes, 40) as usize, u64_at(&bytes, 48) as usize);
        for i in 0..count {
            let at = u64_at(&bytes, places + 8 * i) as usize;
            bytes[at + HEAD + 5] ^= 1;
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn damaged_records_are_neither_left_out_nor_other_pictures() {
    let (dir, packs) = scenes();
    for on_corrupt in [OnCorrupt::Error, OnCorrupt::Skip] {
        let mut c = config(&dir, Format::Kitti, "kitti");
        c.on_corrupt = on_corrupt;
        let files = batches(&c, 0, 1);
        c.packed = packs.clone();
        assert!(batches(&c, 0, 1) == files);
        damage(&packs);
        // Sizes of the picture files and all: such samples come from the files.
        assert!(batches(&c, 0, 2) == files, "{on_corrupt:?}");
        std::fs::remove_dir_all(&packs).unwrap();
    }
    // What cannot be read there either names both.
    let c = config(&dir, Format::Kitti, "kitti");
    let packed = open(&c, &packs).0.unwrap();
    damage(&packs);
    drop(packed);
    let packed = open(&c, &packs).0.unwrap();
    std::fs::write(packed.place(0), "no picture").unwrap();
    let e = packed.load(0).unwrap_err();
    assert_eq!(e.code(), Code::BadImage, "{e}");
    assert!(
        e.notes().iter().any(|n| n.contains("record 0")),
        "{}",
        e.render()
    );
}

#[test]
fn what_readers_do_not_use_packs_nothing_anew() {
    let (dir, packs) = scenes();
    let mut kitti = config(&dir, Format::Kitti, "kitti");
    let first = |c: &DataSetConfig| {
        let (set, notes) = open(c, &packs);
        set.unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
    };
    let kept = |c: &DataSetConfig, what: &str| {
        let (set, notes) = open(c, &packs);
        set.unwrap();
        assert!(notes.is_empty(), "{what}: {notes:?}");
    };
    first(&kitti);
    kitti.val = "all".into();
    kept(&kitti, "val");

    let mixed = |source: &DataSetConfig| {
        let mut c = DataSetConfig {
            format: Format::Mixed,
            ..DataSetConfig::default()
        };
        c.mixed.sources.names = vec!["kitti".into()];
        let all = [("kitti".to_string(), source.clone())].into();
        c.mixed.sources.look_up(&all);
        c
    };
    first(&mixed(&kitti));
    let changes: [(&str, fn(&mut DataSetConfig)); 5] = [
        ("val", |s| s.val = "train".into()),
        ("augment", |s| s.augment = vec![Augment::Photometric]),
        ("cache", |s| s.cache = true),
        ("packed", |s| s.packed = "elsewhere".into()),
        ("limit", |s| s.limit = 2),
    ];
    for (what, change) in changes {
        let mut source = kitti.clone();
        change(&mut source);
        kept(&mixed(&source), what);
    }
    let mut c = mixed(&kitti);
    c.mixed.unlabelled = Unlabelled::Mask;
    kept(&c, "unlabelled");
    c.mixed.take_val = [("kitti".to_string(), 1)].into();
    kept(&c, "take_val");
    // What they do use.
    c.mixed.take = [("kitti".to_string(), 3)].into();
    first(&c);
    let mut source = kitti.clone();
    source.train = "all".into();
    first(&mixed(&source));
    let mut c = mixed(&kitti);
    c.val = "train".into();
    kept(&c, "val of the mixed set");
    c.train = "val".into();
    first(&c);
}

#[test]
fn folders_without_end_are_an_error() {
    let (dir, packs) = scenes();
    let c = config(&dir, Format::Kitti, "kitti");
    let mut deep = c.root.clone();
    deep.extend(["d"; 32]);
    std::fs::create_dir_all(&deep).unwrap();
    open(&c, &packs).0.unwrap();
    std::fs::create_dir(deep.join("d")).unwrap();
    let e = open(&c, &packs).0.err().unwrap();
    assert_eq!(e.code(), Code::BadFormat, "{e}");
    assert!(e.message().contains("deep"), "{e}");
}
