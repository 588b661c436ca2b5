//! Mixed sets of KITTI and Waymo, and of label maps.

use std::path::Path;

use super::*;
use crate::annotation::{Image, LabelMap};
use crate::data::config::DataSetConfig;
use crate::data::dataset::Format;
use crate::data::image_file::{encode_labels, encode_png};
use crate::data::mixed_config::Sources;

struct Set {
    dir: tempfile::TempDir,
    data: BTreeMap<String, DataSetConfig>,
}

impl Set {
    /// KITTI with six training and two held-out pictures, and the Waymo files of `tests/data`.
    fn new() -> Set {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let image = |v: u8| Image {
            height: 20,
            width: 30,
            data: vec![v; 1800],
        };
        let line = |kind: &str| format!("{kind} 0 0 0 1 2 8.5 10 1 1 1 1 1 1 0\n");
        for i in 0..8 {
            write(
                &format!("kitti/training/image_2/{i}.png"),
                &encode_png(&image(i)).unwrap(),
            );
            let kinds = ["Car", "Tram", "Cyclist", "Van"].map(line).concat();
            write(&format!("kitti/training/label_2/{i}.txt"), kinds.as_bytes());
        }
        write("kitti/ImageSets/train.txt", b"0\n1\n2\n3\n4\n5\n");
        write("kitti/ImageSets/val.txt", b"6\n7\n");
        let kitti = DataSetConfig {
            format: Format::Kitti,
            root: dir.path().join("kitti"),
            classes: ["car", "tram", "cyclist"].map(String::from).to_vec(),
            ..Default::default()
        };
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/waymo/v1");
        let waymo = DataSetConfig {
            format: Format::WaymoV1,
            root: tests,
            ..Default::default()
        };
        let data = [("kitti", kitti), ("waymo", waymo)];
        let data = data.map(|(n, t)| (n.to_string(), t)).into();
        Set { dir, data }
    }

    fn config(&self, change: impl Fn(&mut DataSetConfig)) -> DatasetConfig {
        let mut config = DataSetConfig {
            format: Format::Mixed,
            root: self.dir.path().join("lists"),
            ..Default::default()
        };
        config.mixed.sources.names = self.data.keys().cloned().collect();
        change(&mut config);
        config.mixed.sources.look_up(&self.data);
        config.dataset()
    }

    fn open(&self, split: &str, change: impl Fn(&mut DataSetConfig)) -> Result<Mixed> {
        Mixed::open(&self.config(change), split)
    }

    fn ids(&self, split: &str, change: impl Fn(&mut DataSetConfig)) -> Vec<String> {
        let set = self.open(split, change).unwrap();
        (0..set.len()).map(|i| set.id(i)).collect()
    }
}

fn classes(set: &Mixed, index: usize) -> Vec<(usize, bool)> {
    match set.load(index).unwrap().annotation {
        Annotation::Objects(o) => o.iter().map(|o| (o.class, o.ignore)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn classes_of_the_paper() {
    let set = Set::new();
    let train = set.open("train", |_| ()).unwrap();
    assert_eq!(train.classes(), MIXED_3.map(String::from));
    assert_eq!(train.len(), 6 + 5);
    // A car, no tram, a cyclist, and the van that KITTI ignores for cars.
    assert_eq!(
        (train.id(0), classes(&train, 0)),
        ("kitti/0".into(), vec![(0, false), (1, false), (0, true)])
    );
    assert_eq!(train.id(6), "waymo/1111_000_1_000-000-front");
    // Vehicle, pedestrian, cyclist.
    assert_eq!(classes(&train, 6), [(0, false), (1, false), (1, false)]);
    assert!(train.place(6).contains("record 0"), "{}", train.place(6));
    assert_eq!(set.open("val", |_| ()).unwrap().len(), 2 + 2);
}

#[test]
fn own_classes_and_merge() {
    let set = Set::new();
    let own = |c: &mut DataSetConfig| {
        c.classes = ["tram", "two wheels"].map(String::from).to_vec();
        c.merge = [("cyclist".to_string(), "two wheels".to_string())].into();
    };
    let train = set.open("train", own).unwrap();
    assert_eq!(classes(&train, 0), [(0, false), (1, false)]);
    assert_eq!(classes(&train, 6), [(1, false)]);
    let fails = |change: fn(&mut DataSetConfig), word: &str| {
        let e = set.open("train", change).err().unwrap();
        assert!(
            e.code() == Code::ConfigValue && e.to_string().contains(word),
            "{e}"
        );
    };
    fails(
        |c| c.classes = vec!["lorry".into()],
        "no source has objects of the class \"lorry\"",
    );
    fails(
        |c| c.merge = [("cyclst".into(), "car".into())].into(),
        "\"cyclist\"",
    );
    fails(
        |c| c.merge = [("cyclist".into(), "bike".into())].into(),
        "\"bike\", which is not in",
    );
    fails(|c| c.mixed.sources = Sources::default(), "without sources");
    fails(
        |c| c.mixed.take = [("waymo".into(), 6)].into(),
        "6 images of \"waymo\", which has 5",
    );
    fails(|c| c.mixed.held_out = 11, "11 images held out of 11");
}

#[test]
fn draws_hang_on_their_seed_alone_and_share_nothing() {
    let set = Set::new();
    let draw = |seed| {
        move |c: &mut DataSetConfig| {
            c.mixed.take = [("waymo".to_string(), 3)].into();
            c.mixed.take_val = [("kitti".to_string(), 1)].into();
            c.mixed.held_out = 4;
            c.mixed.seed = seed;
        }
    };
    let (train, held) = (set.ids("train", draw(0)), set.ids("held-out", draw(0)));
    assert_eq!((train.len(), held.len()), (6 + 3 - 4, 4));
    assert!(held.iter().all(|id| !train.contains(id)));
    assert_eq!(train, set.ids("train", draw(0)));
    let all = |seed| {
        [
            set.ids("train", draw(seed)),
            set.ids("held-out", draw(seed)),
        ]
    };
    assert!((1..6).any(|seed| all(seed) != [train.clone(), held.clone()]));
    assert_eq!(set.ids("val", draw(0)).len(), 1 + 2);
    // A source's own draw does not hang on what stands beside it.
    let alone = |c: &mut DataSetConfig| {
        c.mixed.sources.names = vec!["waymo".into()];
        c.mixed.take = [("waymo".to_string(), 3)].into();
    };
    let waymo: Vec<String> = [train, held]
        .concat()
        .into_iter()
        .filter(|i| i.starts_with("waymo"))
        .collect();
    let mut sorted = waymo;
    sorted.sort();
    assert_eq!(sorted, set.ids("train", alone));
    let e = set.open("held-out", |_| ()).err().unwrap();
    assert!(e.to_string().contains("`mixed.held_out`"), "{e}");
    let e = set.open("test", |_| ()).err().unwrap();
    assert!(e.to_string().contains("no split \"test\""), "{e}");
}

#[test]
fn label_maps_of_the_same_classes() {
    let dir = tempfile::tempdir().unwrap();
    let mut data = BTreeMap::new();
    for (city, id) in [("ulm", 28u8), ("jena", 32)] {
        let write = |name: String, bytes: Vec<u8>| {
            let path = dir.path().join(city).join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let image = Image {
            height: 2,
            width: 2,
            data: vec![0; 12],
        };
        let labels = LabelMap {
            height: 2,
            width: 2,
            data: vec![id; 4],
        };
        write(
            format!("leftImg8bit/train/{city}/a_leftImg8bit.png"),
            encode_png(&image).unwrap(),
        );
        write(
            format!("gtFine/train/{city}/a_gtFine_labelIds.png"),
            encode_labels(&labels).unwrap(),
        );
        let table = DataSetConfig {
            format: Format::Cityscapes,
            root: dir.path().join(city),
            ..Default::default()
        };
        data.insert(city.to_string(), table);
    }
    let set = Set { dir, data };
    let sixteen = |c: &mut DataSetConfig| c.classes = vec!["mixed-16".into()];
    let train = set.open("train", sixteen).unwrap();
    assert_eq!(
        (train.kind(), train.classes().len()),
        (Kind::Segmentation, 16)
    );
    // Motorcycles are cycles (15), buses cars (13).
    for (i, (id, class)) in [("jena/a", 15), ("ulm/a", 13)].into_iter().enumerate() {
        let sample = train.load(i).unwrap();
        let Annotation::Labels(labels) = sample.annotation else {
            panic!()
        };
        assert_eq!((sample.id.as_str(), labels.data), (id, vec![class; 4]));
    }
    let mut set = set;
    set.data.get_mut("ulm").unwrap().classes = vec!["road".into()];
    let e = set.open("train", sixteen).err().unwrap();
    assert!(e.to_string().contains("different classes"), "{e}");
    let waymo = Set::new().data["waymo"].clone();
    set.data.insert("waymo".into(), waymo);
    let e = set.open("train", sixteen).err().unwrap();
    assert!(e.to_string().contains("different kinds"), "{e}");
}

#[path = "mixed_list_tests.rs"]
mod lists;
