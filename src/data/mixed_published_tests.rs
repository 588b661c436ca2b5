//! The mixed set of the paper out of BDD100K, Waymo and Cityscapes in their published forms.

use std::path::Path;

use super::*;
use crate::annotation::IGNORE;
use crate::data::config::DataSetConfig;
use crate::data::dataset::Format;
use crate::data::mixed_config::Cycles;
use crate::data::published_tests::{copy, jpeg, objects};

/// Pictures of the splits of BDD100K.
const BDD: [(&str, &[&str]); 2] = [
    ("train", &["0000f77c-6257be58", "0000f77c-62c2a288"]),
    (
        "val",
        &[
            "b1c66a42-6f7d68ca",
            "b1c81faa-3df17267",
            "b1c9c847-3bda4659",
            "b1d0a191-03dcecc2",
        ],
    ),
];

fn table(format: Format, root: &Path) -> DataSetConfig {
    DataSetConfig {
        format,
        root: root.into(),
        ..Default::default()
    }
}

/// A table of sources, and what `change` makes of it.
fn mixed(
    sources: [(&str, DataSetConfig); 2],
    change: impl Fn(&mut DataSetConfig),
) -> DatasetConfig {
    let mut config = table(Format::Mixed, Path::new("none"));
    config.mixed.sources.names = sources.iter().map(|s| s.0.to_string()).collect();
    change(&mut config);
    let all: BTreeMap<String, DataSetConfig> = sources.map(|(n, t)| (n.to_string(), t)).into();
    config.mixed.sources.look_up(&all);
    config.dataset()
}

/// BDD100K in one form beside the Waymo files of `tests/data`.
fn boxes(form: &str, dir: &Path) -> [(&'static str, DataSetConfig); 2] {
    copy(&format!("bdd100k/{form}"), dir);
    for (split, ids) in BDD {
        for (i, id) in ids.iter().enumerate() {
            let name = format!("images/100k/{split}/{id}.jpg");
            jpeg(&dir.join(name), 36, 64, i + 1);
        }
    }
    let waymo = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/waymo/v1");
    [
        ("bdd", table(Format::Bdd100k, dir)),
        ("waymo", table(Format::WaymoV1, &waymo)),
    ]
}

/// Class of each object that counts.
fn kinds(set: &Mixed, index: usize) -> Vec<usize> {
    let all = objects(&set.load(index).unwrap().annotation);
    all.iter().filter(|o| !o.1).map(|o| o.0).collect()
}

const CAR: usize = 0;
const PERSON: usize = 1;
const SIGN: usize = 2;

#[test]
fn boxes_of_bdd100k_and_waymo() {
    for form in ["2018-merged", "2018-single", "2020"] {
        let dir = tempfile::tempdir().unwrap();
        let open = |split: &str, cycles: Cycles| {
            let sources = boxes(form, dir.path());
            let config = mixed(sources, |c| {
                c.classes = vec!["mixed-3".into()];
                c.mixed.cycles = cycles;
            });
            Mixed::open(&config, split).unwrap()
        };
        let train = open("train", Cycles::Exclude);
        assert_eq!((train.classes().len(), train.len()), (3, 2 + 5), "{form}");
        assert_eq!(train.id(0), "bdd/0000f77c-6257be58");
        // A bicycle counts for nothing, nor does a motorcycle; a truck is a car, a rider a person.
        assert_eq!(kinds(&train, 0), [CAR, PERSON, SIGN], "{form}");
        assert_eq!(kinds(&train, 1), [PERSON, CAR], "{form}");
        let cars = open("train", Cycles::Car);
        assert_eq!(kinds(&cars, 0), [CAR, PERSON, SIGN, CAR], "{form}");
        assert_eq!(kinds(&cars, 1), [CAR, PERSON, CAR], "{form}");
        // A bus, and a train that is left out.
        assert_eq!(kinds(&open("val", Cycles::Exclude), 0), [CAR], "{form}");
    }
}

#[test]
fn what_a_source_does_not_label_is_told_of_its_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let open = |unlabelled, classes: &[&str]| {
        let config = mixed(boxes("2020", dir.path()), |c| {
            c.classes = classes.iter().map(|c| c.to_string()).collect();
            c.mixed.unlabelled = unlabelled;
            c.mixed.take = [("bdd".to_string(), 1)].into();
            c.merge = match classes {
                ["mixed-3"] => BTreeMap::new(),
                _ => [("vehicle".to_string(), "car".to_string())].into(),
            };
        });
        Mixed::open(&config, "train").unwrap()
    };
    let plain = open(Unlabelled::Background, &["mixed-3"]);
    assert!((0..plain.len()).all(|i| plain.labelled(i).is_none()));
    let masked = open(Unlabelled::Mask, &["mixed-3"]);
    assert_eq!(masked.labelled(0), Some(&[true; 3][..]));
    for i in 1..masked.len() {
        assert!(masked.id(i).starts_with("waymo/"));
        assert_eq!(masked.labelled(i), Some(&[true, true, false][..]));
    }
    // Where every source labels every class there is nothing to mask.
    let same = open(Unlabelled::Mask, &["car"]);
    assert!((0..same.len()).all(|i| same.labelled(i).is_none()));
    // The boxes stay as they are.
    let annotation = |set: &Mixed, i| set.load(i).unwrap().annotation;
    for i in 0..plain.len() {
        assert_eq!(annotation(&plain, i), annotation(&masked, i));
    }
}

#[test]
fn label_maps_of_cityscapes_and_bdd100k() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    copy("dense/cityscapes", &at("cityscapes"));
    copy("bdd100k/masks", &at("bdd"));
    jpeg(&at("bdd/images/10k/train/0004a4c0-d4dff0ad.jpg"), 36, 64, 1);
    jpeg(&at("bdd/images/10k/val/7d06fefd-f7be05a6.jpg"), 36, 64, 2);
    let open = |split: &str, held_out: usize| {
        let sources = [
            ("cityscapes", table(Format::Cityscapes, &at("cityscapes"))),
            ("bdd", table(Format::Bdd100kMasks, &at("bdd"))),
        ];
        let config = mixed(sources, |c| {
            c.classes = vec!["mixed-16".into()];
            c.mixed.held_out = held_out;
        });
        Mixed::open(&config, split).unwrap()
    };
    let ids = |set: &Mixed| -> Vec<String> { (0..set.len()).map(|i| set.id(i)).collect() };
    let train = open("train", 0);
    assert_eq!(train.kind(), Kind::Segmentation);
    assert_eq!((train.classes().len(), train.len()), (16, 3));
    assert_eq!(train.id(2), "bdd/0004a4c0-d4dff0ad");
    let val = open("val", 0);
    assert_eq!(
        (val.len(), val.id(1).as_str()),
        (2, "bdd/7d06fefd-f7be05a6")
    );
    let pixels = |index: usize| match train.load(index).unwrap().annotation {
        Annotation::Labels(map) => map.data,
        other => panic!("{other:?}"),
    };
    // Label ids x + 6 y: 7 is road, 6 is nothing.
    let city = pixels(0);
    assert_eq!(city.len(), 6 * 4);
    assert_eq!((city[6 + 1], city[6]), (0, IGNORE));
    let class = |name: &str| (train.classes().iter().position(|n| n == name)).unwrap() as u8;
    // Train ids column / 3: 14 is a truck and so a car, 18 a bicycle.
    let other = pixels(2);
    assert_eq!(
        (other[42], other[54], other[57]),
        (class("car"), class("cycle"), IGNORE)
    );
    let (kept, held) = (open("train", 1), open("held-out", 1));
    let mut all = [ids(&kept), ids(&held)].concat();
    all.sort();
    let mut want = ids(&train);
    want.sort();
    assert_eq!((held.len(), all), (1, want));
}

/// The shipped configuration draws splits of the published sizes (systems.md 3.9, 8.8) out of the sets in their published sizes; of Waymo
/// what every second frame of 798 and 202 segments gives, a tenth of them without boxes.
#[test]
fn the_shipped_configuration_has_the_published_sizes() {
    let text = include_str!("../../configs/mtnas-mixed.toml");
    let file: toml::Table = text.parse().unwrap();
    let set = |name: &str| -> DataSetConfig { file["data"][name].clone().try_into().unwrap() };
    assert_eq!(set("waymo").waymo.every, 2);
    let boxes = ([69_863, 71_000], [10_000, 18_000], [120_000, 2_000, 10_000]);
    let maps = ([2_975, 7_000], [500, 1_000], [9_475, 500, 1_500]);
    for (name, (train, val, want)) in [("mixed-boxes", boxes), ("mixed-maps", maps)] {
        let rules = &set(name).mixed;
        let sized = |sizes: [usize; 2]| -> Vec<(&str, usize)> {
            let names = rules.sources.names.iter().map(String::as_str);
            names.zip(sizes).collect()
        };
        let all = drawn(&sized(train), &rules.take, rules.seed, "train").unwrap();
        let kept = held_out(all.clone(), rules, false).unwrap();
        let held = held_out(all.clone(), rules, true).unwrap();
        let test = drawn(&sized(val), &rules.take_val, rules.seed, "val").unwrap();
        assert_eq!([kept.len(), held.len(), test.len()], want, "{name}");
        // Together they are what was drawn, each once.
        let mut both = [kept, held].concat();
        both.sort_unstable();
        assert_eq!(both, all, "{name}");
        let first = all.iter().filter(|s| s.0 == 0).count();
        assert_eq!(first, train[0], "{name}: all of the first source");
        assert!((0..2).all(|k| test.iter().any(|s| s.0 == k)), "{name}");
    }
}

/// Fewer pictures than the paper had are not taken for all of them.
#[test]
fn a_source_that_is_too_small_is_named() {
    let take = [("bdd".to_string(), 69_863)].into();
    let e = drawn(&[("bdd", 69_862)], &take, 0, "train").unwrap_err();
    assert!(
        e.to_string()
            .contains("69863 images of \"bdd\", which has 69862"),
        "{e}"
    );
}
