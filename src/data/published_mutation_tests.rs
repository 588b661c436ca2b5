//! Damaged labels of the published formats with boxes and label maps, and of plain lists.

use std::path::Path;

use super::bdd100k_masks::Bdd100kMasks;
use super::class_rules::ClassRules;
use super::dataset::{Dataset, DatasetConfig, Format};
use super::image_file::encode_labels;
use super::listed::{ListBoxes, ListClasses, ListMasks};
use super::mtnas_layout::{MtnasBoxes, MtnasMasks};
use super::published_tests::{copy, jpeg, write};
use super::voc::Voc;
use super::voc_masks::VocMasks;
use super::{bdd100k, coco};
use crate::annotation::LabelMap;
use crate::error::Result;
use crate::mutation::{CASES, MANY, Target, mend_png, run_all};

fn all(set: &dyn Dataset) -> Result<()> {
    (0..set.len()).try_for_each(|i| set.load(i).map(drop))
}

fn rules() -> ClassRules {
    ClassRules::default()
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
        mend: Some(|b| mend_png(b)),
        ..target(name, file, read)
    }
}

/// A mixed set with a list, of boxes in plain lists.
fn mixed(root: &Path) -> DatasetConfig {
    let source = |name: &str| DatasetConfig {
        format: Format::ListBoxes,
        root: root.join(name),
        train: "boxes".into(),
        val: "boxes".into(),
        ..DatasetConfig::default()
    };
    let mut config = DatasetConfig {
        format: Format::Mixed,
        root: root.join("mixed"),
        ..DatasetConfig::default()
    };
    let sources = [("own", "list"), ("more", "list-2")];
    config.mixed.sources = sources.map(|(n, f)| (n.into(), source(f))).to_vec();
    config.rules.classes = ["cat", "dog"].map(String::from).to_vec();
    config
}

const TARGETS: [Target; 21] = [
    target(
        "BDD100K labels of 2020",
        "2020/labels/det_20/det_train.json",
        |r| all(&bdd100k::open(&r.join("2020"), "train", &rules())?),
    ),
    target(
        "BDD100K merged labels of 2018",
        "merged/labels/bdd100k_labels_images_train.json",
        |r| all(&bdd100k::open(&r.join("merged"), "train", &rules())?),
    ),
    target(
        "BDD100K label of a picture",
        "single/labels/100k/train/0000f77c-6257be58.json",
        |r| all(&bdd100k::open(&r.join("single"), "train", &rules())?),
    ),
    png(
        "BDD100K label map",
        "masks/labels/sem_seg/masks/train/0004a4c0-d4dff0ad.png",
        |r| all(&Bdd100kMasks::open(&r.join("masks"), "train", &[])?),
    ),
    target("COCO", "coco/annotations/instances_train2017.json", |r| {
        all(&coco::open(&r.join("coco"), "train", &rules())?)
    }),
    target(
        "VOC annotation",
        "voc/VOC2012/Annotations/2007_000027.xml",
        |r| all(&Voc::open(&r.join("voc"), "train", &rules())?),
    ),
    target(
        "SBD label map",
        "voc/benchmark_RELEASE/dataset/cls/2008_000003.mat",
        |r| all(&VocMasks::open(&r.join("voc"), "trainaug", &[])?),
    ),
    target(
        "compressed SBD label map",
        "voc/benchmark_RELEASE/dataset/cls/2008_000002.mat",
        |r| all(&VocMasks::open(&r.join("voc"), "trainaug", &[])?),
    ),
    png(
        "VOC label map",
        "voc/VOC2012/SegmentationClass/2007_000032.png",
        |r| all(&VocMasks::open(&r.join("voc"), "train", &[])?),
    ),
    target("VOC list", "voc/VOC2012/ImageSets/Main/train.txt", |r| {
        all(&Voc::open(&r.join("voc"), "train", &rules())?)
    }),
    target(
        "VOC list of label maps",
        "voc/VOC2012/ImageSets/Segmentation/train.txt",
        |r| all(&VocMasks::open(&r.join("voc"), "trainaug", &[])?),
    ),
    target("SBD list", "voc/benchmark_RELEASE/dataset/train.txt", |r| {
        all(&VocMasks::open(&r.join("voc"), "trainaug", &[])?)
    }),
    target("list of boxes", "list/boxes.txt", |r| {
        all(&ListBoxes::open(&r.join("list"), "boxes", &rules())?)
    }),
    target("boxes of a list", "list/labels/a.txt", |r| {
        all(&ListBoxes::open(&r.join("list"), "boxes", &rules())?)
    }),
    target("list of label maps", "list/masks.txt", |r| {
        all(&ListMasks::open(&r.join("list"), "masks", &rules())?)
    }),
    png("label map of a list", "list/masks/a.png", |r| {
        all(&ListMasks::open(&r.join("list"), "masks", &rules())?)
    }),
    target("list of a mixed set", "mixed/train.txt", |r| {
        all(&*mixed(r).open_train()?)
    }),
    target("list of classes", "list/kinds.txt", |r| {
        all(&ListClasses::open(&r.join("list"), "kinds", &rules())?)
    }),
    target(
        "boxes of the MTNAS layout",
        "mtnas/train/detection/a.txt",
        |r| all(&MtnasBoxes::open(&r.join("mtnas"), "train", &rules())?),
    ),
    target("list of the MTNAS layout", "mtnas/train/train.txt", |r| {
        all(&MtnasBoxes::open(&r.join("mtnas"), "train", &rules())?)
    }),
    png(
        "label map of the MTNAS layout",
        "mtnas/train/seg/a.png",
        |r| all(&MtnasMasks::open(&r.join("mtnas"), "train", &[])?),
    ),
];

/// One small valid set of each format, each in its folder.
fn valid(root: &Path) {
    for (form, name) in [
        ("2020", "2020"),
        ("2018-merged", "merged"),
        ("2018-single", "single"),
    ] {
        copy(&format!("bdd100k/{form}"), &root.join(name));
        for id in ["0000f77c-6257be58", "0000f77c-62c2a288"] {
            jpeg(
                &root.join(format!("{name}/images/100k/train/{id}.jpg")),
                36,
                64,
                1,
            );
        }
    }
    copy("bdd100k/masks", &root.join("masks"));
    jpeg(
        &root.join("masks/images/10k/train/0004a4c0-d4dff0ad.jpg"),
        36,
        64,
        1,
    );
    copy("coco", &root.join("coco"));
    for id in ["000000391895", "000000522418", "000000000009"] {
        jpeg(&root.join(format!("coco/train2017/{id}.jpg")), 36, 64, 1);
    }
    copy("voc", &root.join("voc"));
    for id in ["2007_000027", "2007_000032", "2008_000002", "2008_000003"] {
        jpeg(
            &root.join(format!("voc/VOC2012/JPEGImages/{id}.jpg")),
            9,
            12,
            1,
        );
    }
    let map = encode_labels(&LabelMap {
        height: 9,
        width: 12,
        data: vec![1; 108],
    });
    jpeg(&root.join("list/a.jpg"), 9, 12, 1);
    jpeg(&root.join("list/b.jpg"), 9, 12, 1);
    write(&root.join("list/classes.txt"), b"cat\ndog\n");
    write(
        &root.join("list/labels/a.txt"),
        b"cat 1 2 5.5 6\ndog 0 0 12 9\ncat 3 3 4 5\n",
    );
    let map = map.unwrap();
    write(&root.join("list/masks/a.png"), &map);
    write(&root.join("list/boxes.txt"), b"a.jpg labels/a.txt\nb.jpg\n");
    write(
        &root.join("list/masks.txt"),
        b"a.jpg masks/a.png\nb.jpg masks/a.png\n",
    );
    write(&root.join("list/kinds.txt"), b"a.jpg cat\nb.jpg dog\n");
    jpeg(&root.join("list-2/a.jpg"), 9, 12, 1);
    write(&root.join("list-2/classes.txt"), b"dog\n");
    write(&root.join("list-2/boxes.txt"), b"a.jpg\n");
    write(
        &root.join("mixed/train.txt"),
        b"own/b.jpg\nmore/a.jpg\n\nown/a.jpg\n",
    );
    write(&root.join("mtnas/train/seg/a.png"), &map);
    jpeg(&root.join("mtnas/train/images/a.jpg"), 9, 12, 1);
    write(&root.join("mtnas/train/train.txt"), b"a\n");
    let lines = b"a car 1 2 5.5 6\na person 0 0 12 9\na sign 3 3 4 5\n";
    write(&root.join("mtnas/train/detection/a.txt"), lines);
}

#[test]
fn damaged_labels_are_refused_by_name() {
    run_all(&TARGETS, CASES, valid);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_labels() {
    run_all(&TARGETS, MANY, valid);
}
