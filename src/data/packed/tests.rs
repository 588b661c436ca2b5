//! From a packed cache come the same bits; it is made once, goes on where it was stopped, and is made anew when files change.

use std::path::PathBuf;

use super::build::unfinished;
use super::layout::{HEADER, u64_at};
use super::*;
use crate::data::batch::{Batch, Batches};
use crate::data::config::Augment;
use crate::data::dataset::Format;
use crate::data::input::Input;
use crate::data::loader::Loader;
use crate::data::mixed_config::Unlabelled;
use crate::data::source::Source;
use crate::data::synth::{SynthConfig, generate};
use crate::error::Code;

const SIZE: (usize, usize) = (32, 40);

/// Scenes in every format that is made, and a folder for packed caches beside them.
pub fn scenes() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let config = SynthConfig {
        size: [48, 64],
        train: 5,
        val: 2,
        folder_train: 3,
        folder_val: 1,
        ..SynthConfig::default()
    };
    generate(&dir.path().join("scenes"), &config).unwrap();
    let packs = dir.path().join("packs");
    (dir, packs)
}

pub fn config(dir: &tempfile::TempDir, format: Format, part: &str) -> DataSetConfig {
    DataSetConfig {
        format,
        root: dir.path().join("scenes").join(part),
        ..DataSetConfig::default()
    }
}

fn formats(dir: &tempfile::TempDir) -> [DataSetConfig; 3] {
    [
        config(dir, Format::Kitti, "kitti"),
        config(dir, Format::Cityscapes, "cityscapes"),
        config(dir, Format::ImageFolder, "folder"),
    ]
}

pub fn open(c: &DataSetConfig, packs: &Path) -> (Result<Packed>, Vec<String>) {
    open_until(c, packs, &|| false)
}

/// Until `stop` says yes.
pub fn open_until(c: &DataSetConfig, packs: &Path, stop: Stop) -> (Result<Packed>, Vec<String>) {
    let mut notes = vec![];
    let set = c.dataset().open_train().unwrap().into();
    let mut note = |t: &str| notes.push(t.to_string());
    let packed = Packed::open(set, (c, &c.train), SIZE, packs, &mut note, stop);
    (packed, notes)
}

/// The only packed cache.
pub fn only(packs: &Path) -> PathBuf {
    let all: Vec<_> = std::fs::read_dir(packs)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "pack"))
        .collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

fn bits(b: &Batch) -> (Vec<u32>, String) {
    let values = b.images.f32s();
    let words = format!("{:?} {:?} {:?}", b.annotations, b.ids, b.sizes);
    (values.iter().map(|v| v.to_bits()).collect(), words)
}

/// Augmented batches from `start` on.
pub fn batches(c: &DataSetConfig, start: u64, threads: usize) -> Vec<(Vec<u32>, String)> {
    let source = Source::open(c, SIZE, 3).unwrap();
    let augment = Augmentation::new(&c.augment).unwrap();
    let input = Input {
        centre: (c.centre > 0.0).then_some(c.centre),
        on_corrupt: c.on_corrupt,
        ..Input::new(SIZE.0, SIZE.1)
    };
    let train = source.train;
    let batches = Batches::train(
        train.dataset,
        train.indices,
        input.clone(),
        3,
        augment,
        (7, 1),
    )
    .unwrap();
    let loader = Loader::new(batches, start, threads, 2, 0.0).unwrap();
    let mut all: Vec<_> = loader
        .take(8 - start as usize)
        .map(|b| bits(&b.unwrap()))
        .collect();
    let val = source.val;
    let held_out = Batches::sequential(val.dataset, val.indices, input, 3).unwrap();
    all.extend(
        Loader::new(held_out, 0, threads, 2, 0.0)
            .unwrap()
            .map(|b| bits(&b.unwrap())),
    );
    all
}

#[test]
fn the_bits_are_those_of_the_files_whatever_the_threads_and_the_start() {
    let (dir, packs) = scenes();
    let crops = [
        vec![Augment::Flip, Augment::Photometric],
        vec![Augment::Flip, Augment::SsdCrop],
        vec![Augment::Flip, Augment::ScaleCrop, Augment::Jitter],
        vec![],
    ];
    for mut c in formats(&dir) {
        for augment in &crops {
            c.augment = augment.clone();
            c.centre = if c.format == Format::ImageFolder {
                0.875
            } else {
                0.0
            };
            c.packed = PathBuf::new();
            let files = batches(&c, 0, 1);
            c.packed = packs.clone();
            assert!(batches(&c, 0, 0) == files, "{:?} {augment:?}", c.format);
            // Two epochs are 4 batches: in the middle of the second.
            assert!(
                batches(&c, 3, 2) == files[3..],
                "{:?} {augment:?}",
                c.format
            );
            c.cache = augment.is_empty() && c.centre == 0.0;
            assert!(
                batches(&c, 1, 3) == files[1..],
                "{:?} {augment:?}",
                c.format
            );
            c.cache = false;
        }
    }
}

#[test]
fn pictures_that_are_cut_are_kept_as_they_are() {
    let (dir, packs) = scenes();
    for mut c in formats(&dir) {
        let plain = c.dataset().open_train().unwrap();
        c.augment = vec![Augment::ZoomCrop];
        let packed = open(&c, &packs).0.unwrap();
        for i in 0..plain.len() {
            let sample = plain.load(i).unwrap();
            assert_eq!(packed.load(i).unwrap(), sample);
            assert_eq!(packed.annotation(i).unwrap(), sample.annotation);
            let own = (sample.image.height, sample.image.width);
            assert_eq!(packed.own_size(i, (1, 1)), own);
        }
        c.augment = vec![];
        let packed = open(&c, &packs).0.unwrap();
        let image = packed.load(1).unwrap().image;
        assert_eq!((image.height, image.width), SIZE);
        assert_eq!(packed.annotation(1).unwrap(), plain.annotation(1).unwrap());
        let own = plain.load(1).unwrap().image;
        assert_eq!(packed.own_size(1, SIZE), (own.height, own.width));
    }
}

#[test]
fn made_once_and_anew_when_a_file_changes() {
    let (dir, packs) = scenes();
    let c = config(&dir, Format::Kitti, "kitti");
    assert_eq!(open(&c, &packs).1.len(), 1);
    let path = only(&packs);
    let first = std::fs::read(&path).unwrap();
    assert_eq!(open(&c, &packs).1, Vec::<String>::new());
    assert!(!unfinished(&path).exists());
    let labels = c.root.join("training/label_2");
    let label = std::fs::read_dir(&labels).unwrap().next().unwrap().unwrap();
    std::fs::write(label.path(), "").unwrap();
    let (packed, notes) = open(&c, &packs);
    packed.unwrap();
    assert!(notes[0].contains("changed since"), "{notes:?}");
    assert_ne!(std::fs::read(only(&packs)).unwrap(), first);
    // Other classes are another file; nothing else was left behind.
    let mut other = c.clone();
    other.classes = vec!["car".into()];
    open(&other, &packs).0.unwrap();
    assert_eq!(std::fs::read_dir(&packs).unwrap().count(), 2);
}

#[test]
fn a_list_that_lies_elsewhere_counts_too() {
    let (dir, packs) = scenes();
    let mut c = config(&dir, Format::Kitti, "kitti");
    let list = dir.path().join("my-split.txt");
    let ids = std::fs::read_to_string(c.root.join("ImageSets/train.txt")).unwrap();
    std::fs::write(&list, &ids).unwrap();
    c.train = list.to_str().unwrap().into();
    assert_eq!(open(&c, &packs).1.len(), 1);
    assert!(open(&c, &packs).1.is_empty());
    std::fs::write(&list, ids + "\n").unwrap();
    assert!(open(&c, &packs).1[0].contains("changed since"));
}

#[test]
fn an_unfinished_file_is_gone_on_with() {
    let (dir, packs) = scenes();
    let c = config(&dir, Format::Kitti, "kitti");
    open(&c, &packs).0.unwrap();
    let path = only(&packs);
    let whole = std::fs::read(&path).unwrap();
    let places = u64_at(&whole, 48) as usize;
    // As it was before the last write: no places yet, and none in the header.
    let mut begun = whole[..places].to_vec();
    let mut header = super::layout::Header::of(&whole).unwrap();
    (header.places, header.length, header.crc) = (0, 0, 0);
    begun[..HEADER].copy_from_slice(&header.bytes());
    for (cut, packed) in [
        (0, "packing 5 "),
        (HEADER + 5, "packing 5 "),
        (places / 2, " of 5 samples are packed, going on"),
        (places - 1, "4 of 5 "),
        (places, "5 of 5 "),
    ] {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(unfinished(&path), &begun[..cut]).unwrap();
        let (set, notes) = open(&c, &packs);
        set.unwrap();
        assert!(notes[0].contains(packed), "{cut}: {notes:?}");
        assert!(std::fs::read(&path).unwrap() == whole, "cut at {cut}");
        assert!(!unfinished(&path).exists());
    }
    // A record with a wrong bit is not gone on with.
    let mut bad = begun.clone();
    bad[HEADER + 100] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(unfinished(&path), &bad).unwrap();
    let (set, notes) = open(&c, &packs);
    set.unwrap();
    assert!(notes[0].contains("packing 5 "), "{notes:?}");
    assert!(std::fs::read(&path).unwrap() == whole);
}

#[test]
fn a_damaged_file_says_how_to_mend_it() {
    let (dir, packs) = scenes();
    let c = config(&dir, Format::Kitti, "kitti");
    open(&c, &packs).0.unwrap();
    let path = only(&packs);
    let whole = std::fs::read(&path).unwrap();
    let write = |bytes: &[u8]| {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    };
    for cut in [0, 50, HEADER, whole.len() / 2, whole.len() - 1] {
        write(&whole[..cut]);
        let e = open(&c, &packs).0.err().unwrap();
        assert_eq!(e.code(), Code::BadFormat);
        assert!(e.render().contains("delete this file"), "{}", e.render());
    }
    let mut bad = whole.clone();
    bad[HEADER + 200] ^= 4;
    write(&bad);
    open(&c, &packs).0.unwrap();
    let e = PackFile::open(&path).unwrap().sample(0).unwrap_err();
    let all = e.render();
    assert!(
        all.contains("record 0") && all.contains("delete this file"),
        "{all}"
    );
}

#[test]
fn never_inside_the_data_set() {
    let (dir, _) = scenes();
    let c = config(&dir, Format::Kitti, "kitti");
    for packs in [c.root.clone(), c.root.join("a/b"), c.root.join("../kitti")] {
        let e = open(&c, &packs).0.err().unwrap();
        assert_eq!(e.code(), Code::ConfigValue, "{e}");
    }
    assert!(!c.root.join("a").exists());
    // Nor in a folder that belongs to it by a link.
    #[cfg(unix)]
    {
        let linked = dir.path().join("linked");
        std::fs::create_dir(&linked).unwrap();
        std::os::unix::fs::symlink(&linked, c.root.join("more")).unwrap();
        let e = open(&c, &linked.join("packs")).0.err().unwrap();
        assert_eq!(e.code(), Code::ConfigValue, "{e}");
        assert!(!linked.join("packs").exists());
    }
}

/// Losses ask which classes a picture labels.
#[test]
fn labelled_classes_are_those_of_the_set() {
    let (dir, packs) = scenes();
    let kitti = config(&dir, Format::Kitti, "kitti");
    let mut c = DataSetConfig {
        format: Format::Mixed,
        ..DataSetConfig::default()
    };
    c.mixed.sources.names = vec!["kitti".into()];
    c.mixed
        .sources
        .look_up(&[("kitti".to_string(), kitti)].into());
    c.mixed.unlabelled = Unlabelled::Mask;
    let packed = open(&c, &packs).0.unwrap();
    // KITTI has no signs.
    assert_eq!(packed.labelled(0), Some(&[true, true, false][..]));
}

#[test]
fn what_cannot_be_read_is_left_out_if_that_is_allowed() {
    let (dir, packs) = scenes();
    let mut c = config(&dir, Format::ImageFolder, "folder");
    let set = c.dataset().open_train().unwrap();
    std::fs::write(set.place(2), "no picture").unwrap();
    let e = open(&c, &packs).0.err().unwrap();
    assert_eq!(e.code(), Code::BadImage);
    assert!(e.to_string().contains(&set.place(2)), "{e}");
    c.on_corrupt = OnCorrupt::Skip;
    let packed = open(&c, &packs).0.unwrap();
    assert_eq!(packed.load(2).unwrap_err().code(), Code::BadImage);
    packed.load(1).unwrap();
    packed.load(3).unwrap();
}
