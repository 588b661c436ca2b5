//! Mixed sets: their sources are read once, their lists and splits are looked at.

use std::path::Path;

use super::*;
use crate::data::published_tests::{jpeg, write};

/// Plain lists with two training pictures and one held-out one; `seed` makes the pictures differ.
fn source(root: &Path, seed: usize) -> DatasetConfig {
    for (i, name) in ["a", "b", "c"].iter().enumerate() {
        jpeg(&root.join(format!("{name}.jpg")), 9, 12, seed + i);
    }
    write(&root.join("classes.txt"), b"cat\ndog\n");
    write(&root.join("boxes.txt"), b"cat 1 2 5.5 6\ndog 0 0 12 9\n");
    write(&root.join("train.txt"), b"a.jpg boxes.txt\nb.jpg\n");
    write(&root.join("val.txt"), b"c.jpg boxes.txt\n");
    DatasetConfig {
        format: Format::ListBoxes,
        root: root.into(),
        ..DatasetConfig::default()
    }
}

fn mixed(root: &Path) -> DatasetConfig {
    let named = |name: &str, seed| (name.to_string(), source(&root.join(name), seed));
    let mut config = DatasetConfig {
        format: Format::Mixed,
        root: root.join("lists"),
        ..DatasetConfig::default()
    };
    config.mixed.sources = vec![named("one", 1), named("two", 11)];
    config.rules.classes = ["cat", "dog"].map(String::from).to_vec();
    config
}

/// Kind and place of each defect.
fn found(config: &DatasetConfig) -> Vec<(Kind, String)> {
    let report = check(config).unwrap();
    let facts = |d: &Defect| (d.kind, d.place.clone());
    report.defects.iter().map(facts).collect()
}

#[test]
fn sources_are_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = mixed(dir.path());
    let report = check(&config).unwrap();
    assert_eq!((report.images, &report.defects[..]), (6, &[][..]));
    let two = check_all([&config, &config, &config.mixed.sources[0].1]).unwrap();
    assert_eq!((two.images, two.sets.len()), (6, 2));
}

#[test]
fn lists_are_read_and_share_no_picture() {
    let dir = tempfile::tempdir().unwrap();
    let config = mixed(dir.path());
    let list = |name: &str, text: &str| {
        let path = dir.path().join(format!("lists/{name}.txt"));
        write(&path, text.as_bytes());
        path.display().to_string()
    };
    list("train", "one/a.jpg\ntwo/c.jpg\n");
    let val = list("val", "one/c.jpg\ntwo/b.jpg\n");
    assert_eq!(found(&config), []);
    assert_eq!(check(&config).unwrap().sets.len(), 3);
    let twice = dir.path().join("two/c.jpg").display().to_string();
    list("val", "one/c.jpg\ntwo/c.jpg\n");
    assert_eq!(found(&config), [(Kind::Leakage, twice)]);
    list("val", "one/c.jpg\n\ntwo/d.jpg\n");
    assert_eq!(found(&config), [(Kind::AbsentId, format!("{val}:3"))]);
    list("val", "one/c.jpg\none/c.jpg\n");
    assert_eq!(found(&config), [(Kind::DuplicateId, format!("{val}:2"))]);
    list("val", "\n");
    assert_eq!(found(&config), [(Kind::EmptyList, val)]);
}

#[test]
fn a_defect_of_a_source_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = mixed(dir.path());
    let path = dir.path().join("two/train.txt");
    write(&path, b"a.jpg boxes.txt\na.jpg\n");
    let place = format!("{}:2", path.display());
    assert_eq!(found(&config), [(Kind::DuplicateId, place)]);
    // Classes that no source has are the configuration's fault.
    write(&path, b"a.jpg boxes.txt\nb.jpg\n");
    let mut other = config.clone();
    other.rules.classes = vec!["bird".into()];
    let e = check(&other).unwrap_err();
    assert_eq!(e.code(), crate::error::Code::ConfigValue, "{e}");
}
