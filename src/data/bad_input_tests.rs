//! Bad input of every format: a code, the file with its line or pixel, what was expected, and how to mend it.
//! All formats in one file, so that their messages are seen side by side.

use std::path::{Path, PathBuf};

use super::cifar::{RECORD, encode_record};
use super::cityscapes::IMAGE_SUFFIX;
use super::dataset::{DatasetConfig, Format};
use super::image_file::{encode_jpeg, encode_labels, encode_png};
use crate::annotation::{Image, LabelMap};
use crate::error::{Code, Error, Result};

const PICTURE: &str = "training/image_2/a.png";
const LABEL: &str = "training/label_2/a.txt";
const SCENE: &str = "leftImg8bit/train/ulm/u_leftImg8bit.png";
const IDS: &str = "gtFine/train/ulm/u_gtFine_labelIds.png";
const PHOTO: &str = "train/cat/c.jpg";
const RECORDS: &str = "data_batch_1.bin";
const LINE: &str = "Car 0 0 0 1 2 8 9 1 1 1 1 1 1 0\n";

struct Set {
    dir: tempfile::TempDir,
}

impl Set {
    /// A valid set of each format in one folder.
    fn new() -> Set {
        let set = Set {
            dir: tempfile::tempdir().unwrap(),
        };
        let image = Set::image(12, 17);
        let png = encode_png(&image).unwrap();
        set.write(PICTURE, &png);
        set.write(LABEL, LINE.as_bytes());
        set.write("ImageSets/train.txt", b"a\n");
        set.write(&format!("leftImg8bit/train/ulm/u{IMAGE_SUFFIX}"), &png);
        set.write(IDS, &Set::labels(12, 17, 7));
        set.write(PHOTO, &encode_jpeg(&image, 80).unwrap());
        set.write(RECORDS, &encode_record(&Set::image(32, 32), 3).unwrap());
        for format in [
            Format::Kitti,
            Format::Cityscapes,
            Format::Cifar10,
            Format::ImageFolder,
        ] {
            set.read(format).unwrap();
        }
        set
    }

    fn image(height: usize, width: usize) -> Image {
        let data = (0..height * width * 3).map(|i| (i * 7) as u8).collect();
        Image {
            height,
            width,
            data,
        }
    }

    fn labels(height: usize, width: usize, last: u8) -> Vec<u8> {
        let mut data = vec![7; height * width];
        data[height * width - 1] = last;
        encode_labels(&LabelMap {
            height,
            width,
            data,
        })
        .unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn cut(&self, name: &str, bytes: usize) {
        let all = std::fs::read(self.path(name)).unwrap();
        self.write(name, &all[..all.len() - bytes]);
    }

    fn read(&self, format: Format) -> Result<()> {
        open(self.dir.path(), format)
    }
}

fn config(root: &Path, format: Format) -> DatasetConfig {
    DatasetConfig {
        format,
        root: root.into(),
        ..Default::default()
    }
}

fn open(root: &Path, format: Format) -> Result<()> {
    let set = config(root, format).open_train()?;
    (0..set.len()).try_for_each(|i| set.load(i).map(drop))
}

#[track_caller]
fn holds(e: &Error, code: Code, place: &str, words: &[&str]) {
    let text = e.render();
    assert_eq!(e.code(), code, "{text}");
    assert!(
        e.place().is_some_and(|p| p.ends_with(place)),
        "{place}: {text}"
    );
    words
        .iter()
        .for_each(|w| assert!(text.contains(w), "{w}: {text}"));
    assert!(e.remedy().is_some(), "no remedy: {text}");
}

/// Damages a valid set, reads it and looks at the error.
#[track_caller]
fn case(format: Format, damage: impl Fn(&Set), code: Code, place: &str, words: &[&str]) {
    let set = Set::new();
    damage(&set);
    holds(&set.read(format).unwrap_err(), code, place, words);
}

#[test]
fn missing_folders_and_files() {
    let set = Set::new();
    for (format, word) in [
        (Format::Kitti, "training/image_2"),
        (Format::Cityscapes, "leftImg8bit"),
        (Format::Cifar10, "data_batch_1.bin"),
        (Format::ImageFolder, "folder for each class"),
    ] {
        let e = open(&set.path("nowhere"), format).unwrap_err();
        let text = e.render();
        assert!(e.place().unwrap().contains("nowhere"), "{text}");
        assert!(e.code() == Code::NotFound && text.contains(word), "{text}");
        assert!(e.remedy().is_some(), "{text}");
    }
    let remove = |name: &'static str| move |s: &Set| std::fs::remove_file(s.path(name)).unwrap();
    let (kitti, city) = (Format::Kitti, Format::Cityscapes);
    let absent = |format, name, words: &[&str]| {
        case(format, remove(name), Code::NotFound, name, words);
    };
    absent(
        kitti,
        PICTURE,
        &["ImageSets/train.txt:1", "add the picture"],
    );
    absent(kitti, LABEL, &["ImageSets/train.txt:1", "empty file"]);
    absent(kitti, "ImageSets/train.txt", &["one id a line", "`all`"]);
    absent(city, IDS, &["u_leftImg8bit.png", "add the label map"]);
    case(
        city,
        remove(SCENE),
        Code::EmptyData,
        "leftImg8bit/train",
        &["*_leftImg8bit.png"],
    );
    case(
        Format::Cifar10,
        remove(RECORDS),
        Code::EmptyData,
        "",
        &["data_batch_1.bin"],
    );
    case(
        kitti,
        |s| s.write("ImageSets/train.txt", b"\n"),
        Code::EmptyData,
        "train.txt",
        &["one id a line"],
    );
}

#[test]
fn unreadable_and_truncated_pictures() {
    for (format, name) in [
        (Format::Kitti, PICTURE),
        (Format::Cityscapes, SCENE),
        (Format::Cityscapes, IDS),
        (Format::ImageFolder, PHOTO),
    ] {
        let bad = |damage: &dyn Fn(&Set), words: &[&str]| {
            case(format, damage, Code::BadImage, name, words)
        };
        bad(
            &|s| s.write(name, b"hello"),
            &["expected a PNG or JPEG picture"],
        );
        bad(&|s| s.write(name, b""), &["an empty file"]);
        bad(&|s| s.cut(name, 20), &["cut off", "fetch the file again"]);
    }
    let cifar = |damage: fn(&Set), code, place, word: &str| {
        case(Format::Cifar10, damage, code, place, &[word])
    };
    cifar(
        |s| s.cut(RECORDS, 1),
        Code::BadFormat,
        RECORDS,
        "multiple of the record size 3073",
    );
    cifar(
        |s| s.write(RECORDS, &vec![11; RECORD]),
        Code::BadLabelId,
        "data_batch_1.bin, record 0",
        "not one of 0 to 9",
    );
}

#[test]
fn sizes_and_ids_of_label_maps() {
    let bad = |bytes: Vec<u8>, code, place, words: &[&str]| {
        case(
            Format::Cityscapes,
            |s| s.write(IDS, &bytes),
            code,
            place,
            words,
        );
    };
    let size = ["16 x 12", "17 x 12", "same size", "u_leftImg8bit.png"];
    bad(Set::labels(12, 16, 7), Code::SizeMismatch, IDS, &size);
    let pixel = format!("{IDS}, pixel (16, 11)");
    let words = ["label id 34", "0 to 33", "train-ids"];
    bad(Set::labels(12, 17, 34), Code::BadLabelId, &pixel, &words);
    let rgb = encode_png(&Set::image(12, 17)).unwrap();
    bad(
        rgb,
        Code::BadFormat,
        IDS,
        &["one channel of 8 bits", "labelIds"],
    );
    let jpeg = encode_jpeg(&Set::image(12, 17), 80).unwrap();
    bad(jpeg, Code::BadFormat, IDS, &["must be a PNG", "8-bit PNG"]);
}

#[test]
fn lines_of_labels_and_lists() {
    let bad = |line: &str, code, words: &[&str]| {
        let text = format!("{LINE}{line}\n");
        let place = format!("{LABEL}:2");
        case(
            Format::Kitti,
            |s| s.write(LABEL, text.as_bytes()),
            code,
            &place,
            words,
        );
    };
    let rest = "1 1 1 1 1 1 0";
    bad(
        &format!("Car 0 0 0 8 2 1 9 {rest}"),
        Code::BadBox,
        &["(8, 2, 1, 9) is inverted", "left, top, right, bottom"],
    );
    bad(
        &format!("Car 0 0 0 1 2 1 9 {rest}"),
        Code::BadBox,
        &["is empty", "left, top, right, bottom"],
    );
    bad(
        &format!("Car 0 0 0 nan 2 8 9 {rest}"),
        Code::BadBox,
        &["not finite", "pixels"],
    );
    bad(
        &format!("Car 0 0 0 20 2 28 9 {rest}"),
        Code::BadBox,
        &["outside the picture", "17 x 12", "a.png"],
    );
    bad(
        &format!("Cart 0 0 0 1 2 8 9 {rest}"),
        Code::BadLine,
        &["unknown object type", "did you mean \"Car\""],
    );
    bad(
        "Car 0 0",
        Code::BadLine,
        &["found 3", "expected 15 fields", "rotation_y"],
    );
    bad(
        &format!("Car 0 0 0 one 2 8 9 {rest}"),
        Code::BadLine,
        &["`left` is not a number", "plain number"],
    );
    for (list, line, word) in [
        ("a\na\n", 2, "already in line 1"),
        ("../a\n", 1, "plain file name"),
        ("a b\n", 1, "one id"),
    ] {
        let place = format!("ImageSets/train.txt:{line}");
        case(
            Format::Kitti,
            |s| s.write("ImageSets/train.txt", list.as_bytes()),
            Code::BadLine,
            &place,
            &[word],
        );
    }
}

#[test]
fn classes_without_examples() {
    let empty = |s: &Set| std::fs::create_dir_all(s.path("train/zebra")).unwrap();
    case(
        Format::ImageFolder,
        empty,
        Code::EmptyClass,
        "train/zebra",
        &["\"zebra\" has no pictures", "JPEG or PNG"],
    );
    // Whether the other formats show every class is only known after all their labels are read: `data check` does.
    let set = Set::new();
    for (format, place, words) in [
        (Format::Kitti, "label_2", "\"pedestrian\" has no object"),
        (Format::Cifar10, "", "\"dog\" has no record"),
    ] {
        let report = super::check::check(&config(set.dir.path(), format)).unwrap();
        let found = report.defects.iter().find(|d| d.message.contains(words));
        let defect = found.unwrap_or_else(|| panic!("{words}: {:?}", report.defects));
        assert!(
            defect.kind == super::check::Kind::EmptyClass && defect.place.ends_with(place),
            "{defect}"
        );
        assert!(defect.help.contains("`classes`"), "{defect}");
    }
}
