//! A clean set raises no alarm; every planted defect is named, and nothing else.

use std::fs;
use std::path::Path;

use super::*;
use crate::annotation::Image;
use crate::data::cifar::RECORD;
use crate::data::image_file::{encode_jpeg, encode_labels, encode_png, read_image, read_labels};
use crate::data::synth::{SynthConfig, generate};
use crate::error::Code;
use crate::mutation::mend_png;

fn made(dir: &Path) -> std::path::PathBuf {
    let config = SynthConfig {
        size: [48, 64],
        train: 150,
        val: 20,
        folder_train: 6,
        folder_val: 2,
        folder_size: 24,
        cifar: true,
        ..SynthConfig::default()
    };
    let root = dir.join("set");
    generate(&root, &config).unwrap();
    root
}

/// Expected defects: kind and the end of the place.
struct Plan {
    root: std::path::PathBuf,
    expected: Vec<(Kind, String)>,
}

impl Plan {
    fn expect(&mut self, kind: Kind, place: impl Into<String>) {
        self.expected.push((kind, place.into()));
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.join(name)
    }

    fn change(&mut self, kind: Kind, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).unwrap();
        change(&mut bytes);
        fs::write(self.path(name), bytes).unwrap();
        self.expect(kind, name);
    }

    /// Appends a line to a text file and expects a defect in it.
    fn append(&mut self, kind: Kind, name: &str, line: &[u8]) {
        let mut text = fs::read(self.path(name)).unwrap();
        let number = text.iter().filter(|&&b| b == b'\n').count() + 1;
        text.extend_from_slice(line);
        text.push(b'\n');
        fs::write(self.path(name), text).unwrap();
        self.expect(kind, format!("{name}:{number}"));
    }

    fn remove(&mut self, kind: Kind, name: &str, place: &str) {
        fs::remove_file(self.path(name)).unwrap();
        self.expect(kind, place);
    }
}

fn picture(id: usize) -> String {
    format!("kitti/training/image_2/{id:06}.png")
}

fn label(id: usize) -> String {
    format!("kitti/training/label_2/{id:06}.txt")
}

fn kitti(p: &mut Plan) {
    for id in [0, 1] {
        p.change(Kind::Truncated, &picture(id), |b| {
            b.truncate(b.len() * (id + 1) / 3)
        });
    }
    p.change(Kind::Undecodable, &picture(2), |b| {
        *b = b"no picture at all".to_vec()
    });
    p.change(Kind::Undecodable, &picture(3), |b| {
        let middle = b.len() / 2;
        b[middle] ^= 0x10;
    });
    // The header claims 65536 x 65536 pixels, with a right checksum.
    p.change(Kind::TooLarge, &picture(4), |b| {
        b[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        mend_png(b);
    });
    for id in [5, 6] {
        p.remove(Kind::MissingLabel, &label(id), &picture(id));
    }
    for id in [7, 8] {
        p.remove(Kind::MissingImage, &picture(id), &label(id));
    }
    let lines: [(Kind, &[u8]); 14] = [
        (Kind::FieldCount, b"Car 0 0 0 1 2 8 9 1 1 1 1 1 1"),
        (Kind::FieldCount, b"Car 0 0 0 1 2 8 9 1 1 1 1 1 1 0 0 0"),
        (Kind::BadNumber, b"Car 0 0 zero 1 2 8 9 1 1 1 1 1 1 0"),
        (Kind::BadNumber, b"Car 7 0 0 1 2 8 9 1 1 1 1 1 1 0"),
        (Kind::UnknownType, b"car 0 0 0 1 2 8 9 1 1 1 1 1 1 0"),
        (Kind::UnknownType, b"Bus 0 0 0 1 2 8 9 1 1 1 1 1 1 0"),
        (Kind::BoxInverted, b"Car 0 0 0 8 2 1 9 1 1 1 1 1 1 0"),
        (Kind::BoxInverted, b"Car 0 0 0 1 9 8 2 1 1 1 1 1 1 0"),
        (Kind::BoxEmpty, b"Car 0 0 0 1 2 1 9 1 1 1 1 1 1 0"),
        (Kind::BoxEmpty, b"Van 0 0 0 1 9 8 9 1 1 1 1 1 1 0"),
        (Kind::BoxNotFinite, b"Car 0 0 0 nan 2 8 9 1 1 1 1 1 1 0"),
        (Kind::BoxNotFinite, b"Car 0 0 0 1 2 inf 9 1 1 1 1 1 1 0"),
        (Kind::BoxOutside, b"Car 0 0 0 1 2 70 9 1 1 1 1 1 1 0"),
        (
            Kind::BoxOutside,
            b"DontCare -1 -1 -10 -9 2 8 9 -1 -1 -1 -1000 -1000 -1000 -10",
        ),
    ];
    for (id, (kind, line)) in (9..).zip(lines) {
        p.append(kind, &label(id), line);
    }
    p.append(Kind::NotText, &label(23), b"Car \xff");
    let (train, val) = ("kitti/ImageSets/train.txt", "kitti/ImageSets/val.txt");
    p.append(Kind::AbsentId, train, b"999998");
    p.append(Kind::AbsentId, val, b"999999");
    p.append(Kind::DuplicateId, train, b"000030");
    p.append(Kind::DuplicateId, val, b"000155");
    p.append(Kind::BadId, train, b"../../etc/passwd");
    p.append(Kind::BadId, val, b"000156 000157");
    // By name, by content, and by content under another compression.
    p.append(Kind::Leakage, val, b"000024");
    *p.expected.last_mut().unwrap() = (Kind::Leakage, picture(24));
    fs::copy(p.path(&picture(25)), p.path(&picture(160))).unwrap();
    p.expect(Kind::Leakage, picture(160));
    let mut again = vec![];
    let image = read_image(&p.path(&picture(26))).unwrap();
    let mut e = png::Encoder::new(&mut again, image.width as u32, image.height as u32);
    e.set_color(png::ColorType::Rgb);
    e.set_compression(png::Compression::Fast);
    e.write_header()
        .unwrap()
        .write_image_data(&image.data)
        .unwrap();
    fs::write(p.path(&picture(161)), again).unwrap();
    p.expect(Kind::Leakage, picture(161));
    fs::copy(p.path(&picture(27)), p.path(&picture(28))).unwrap();
    p.expect(Kind::DuplicateImage, picture(28));
    fs::write(p.path("kitti/training/image_2/notes.md"), "x").unwrap();
    p.expect(Kind::StrayFile, "kitti/training/image_2/notes.md");
}

/// Label files of the training half, with their pictures.
fn frames(root: &Path) -> Vec<(String, String)> {
    let mut all = vec![];
    let base = root.join("cityscapes/gtFine/train");
    for city in super::super::text_file::sorted_names(&base).unwrap() {
        for name in super::super::text_file::sorted_names(&base.join(&city)).unwrap() {
            let picture = name.replace("_gtFine_labelIds", "_leftImg8bit");
            all.push((
                format!("cityscapes/gtFine/train/{city}/{name}"),
                format!("cityscapes/leftImg8bit/train/{city}/{picture}"),
            ));
        }
    }
    all
}

fn cityscapes(p: &mut Plan) {
    let f = frames(&p.root);
    for (k, id) in [(0, 34u8), (1, 200)] {
        let mut l = read_labels(&p.path(&f[k].0)).unwrap();
        l.data[2 * l.width + 3] = id;
        fs::write(p.path(&f[k].0), encode_labels(&l).unwrap()).unwrap();
        p.expect(Kind::LabelId, format!("{}, pixel (3, 2)", f[k].0));
    }
    for k in [2, 3] {
        let mut l = read_labels(&p.path(&f[k].0)).unwrap();
        l.height -= 1;
        l.data.truncate(l.height * l.width);
        fs::write(p.path(&f[k].0), encode_labels(&l).unwrap()).unwrap();
        p.expect(Kind::SizeMismatch, &f[k].0);
    }
    let colours = read_image(&p.path(&f[4].1)).unwrap();
    p.change(Kind::WrongFormat, &f[4].0, |b| {
        *b = encode_png(&colours).unwrap()
    });
    p.change(Kind::WrongFormat, &f[5].0, |b| {
        *b = encode_jpeg(&colours, 90).unwrap()
    });
    // Ids of 16 bits, as instance maps are.
    let wide = read_labels(&p.path(&f[9].0)).unwrap();
    p.change(Kind::WrongFormat, &f[9].0, |b| {
        b.clear();
        let mut e = png::Encoder::new(b, wide.width as u32, wide.height as u32);
        e.set_color(png::ColorType::Grayscale);
        e.set_depth(png::BitDepth::Sixteen);
        let values: Vec<u8> = wide.data.iter().flat_map(|&v| [0, v]).collect();
        e.write_header().unwrap().write_image_data(&values).unwrap();
    });
    p.change(Kind::Truncated, &f[6].0, |b| b.truncate(60));
    p.remove(Kind::MissingLabel, &f[7].0, &f[7].1);
    p.remove(Kind::MissingImage, &f[8].1, &f[8].0);
    fs::write(p.path("cityscapes/leftImg8bit/train/readme"), "x").unwrap();
    p.expect(Kind::StrayFile, "cityscapes/leftImg8bit/train/readme");
}

fn folders(p: &mut Plan) {
    p.change(Kind::Truncated, "folder/train/car/00001.jpg", |b| {
        b.truncate(b.len() - 2)
    });
    p.change(Kind::Undecodable, "folder/train/car/00002.jpg", |b| {
        b.clear()
    });
    fs::create_dir(p.path("folder/train/zebra")).unwrap();
    p.expect(Kind::EmptyClass, "folder/train/zebra");
    fs::create_dir(p.path("folder/val/lorry")).unwrap();
    let own = Image {
        height: 9,
        width: 9,
        data: vec![1; 243],
    };
    fs::write(p.path("folder/val/lorry/1.png"), encode_png(&own).unwrap()).unwrap();
    p.expect(Kind::UnknownClass, "folder/val/lorry");
    fs::write(p.path("folder/val/car/Thumbs.db"), "x").unwrap();
    p.expect(Kind::StrayFile, "folder/val/car/Thumbs.db");
    fs::copy(
        p.path("folder/train/road/00000.png"),
        p.path("folder/val/road/00000.png"),
    )
    .unwrap();
    p.expect(Kind::Leakage, "folder/val/road/00000.png");
    p.change(Kind::LabelId, "cifar/data_batch_1.bin", |b| {
        b[7 * RECORD] = 12
    });
    p.expected.last_mut().unwrap().1.push_str(", record 7");
    p.change(Kind::RecordSize, "cifar/test_batch.bin", |b| {
        b.truncate(b.len() - 5)
    });
}

#[test]
fn a_clean_set_raises_no_alarm_and_every_planted_defect_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = made(dir.path());
    let clean = check_folder(&root).unwrap();
    assert_eq!(clean.sets.len(), 4);
    assert_eq!(clean.images, 2 * 170 + 2 * 80, "500 pictures");
    assert!(clean.defects.is_empty(), "{:#?}", clean.defects);

    let mut plan = Plan {
        root: root.clone(),
        expected: vec![],
    };
    kitti(&mut plan);
    cityscapes(&mut plan);
    folders(&mut plan);
    let report = check_folder(&root).unwrap();
    for d in &report.defects {
        assert!(Path::new(&d.place).starts_with(&root), "{d}");
        assert!(!d.help.is_empty() && !d.message.is_empty(), "{d}");
    }
    let mut left = report.defects;
    for (kind, place) in &plan.expected {
        let found = left
            .iter()
            .position(|d| d.kind == *kind && d.place.ends_with(place.as_str()));
        let k = found
            .unwrap_or_else(|| panic!("{kind:?} at {place} was not reported; left: {left:#?}"));
        left.remove(k);
    }
    assert!(left.is_empty(), "false alarms: {left:#?}");
    let kinds: std::collections::BTreeSet<_> = plan.expected.iter().map(|e| e.0).collect();
    assert!(
        plan.expected.len() >= 40 && kinds.len() >= 20,
        "{} of {}",
        plan.expected.len(),
        kinds.len()
    );
}

#[test]
fn lists_and_classes() {
    let dir = tempfile::tempdir().unwrap();
    let root = made(dir.path()).join("kitti");
    let mut config = detect(&root).unwrap().remove(0);
    config.kitti.classes = vec!["car".into(), "tram".into()];
    let report = check(&config).unwrap();
    assert_eq!(report.defects.len(), 1, "{:?}", report.defects);
    assert!(
        report.defects[0].kind == Kind::EmptyClass && report.defects[0].message.contains("tram")
    );
    fs::write(root.join("ImageSets/val.txt"), "\n").unwrap();
    config.kitti.classes = vec!["car".into()];
    let report = check(&config).unwrap();
    assert_eq!(
        report.defects.iter().map(|d| d.kind).collect::<Vec<_>>(),
        [Kind::EmptyList]
    );
    fs::remove_file(root.join("ImageSets/val.txt")).unwrap();
    let report = check(&config).unwrap();
    assert!(report.defects.is_empty() && report.notes.len() == 1);
    assert_eq!(detect(dir.path()).unwrap_err().code(), Code::NotFound);
}
