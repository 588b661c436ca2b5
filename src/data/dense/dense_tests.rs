//! Every form as `tests/data/make_dense.py` wrote it: the formulas of that script, read back.

use super::fixtures::{config, copy, root};
use super::*;
use crate::annotation::{IGNORE, LabelMap, Quantity, ValueMap};
use crate::data::cityscapes::{Cityscapes, CityscapesConfig};

const W: usize = 6;
const H: usize = 4;

fn parts(set: &dyn Dataset, index: usize) -> (Image, Vec<Annotation>) {
    let s = set.load(index).unwrap();
    (s.image, s.annotation.parts().to_vec())
}

fn pixels() -> impl Iterator<Item = (usize, usize)> {
    (0..H).flat_map(|y| (0..W).map(move |x| (x, y)))
}

#[track_caller]
fn picture_is(image: &Image, n: usize) {
    let want = pixels().flat_map(|(x, y)| [(20 * x + n) as u8, 30 * y as u8, 7]);
    assert_eq!((image.height, image.width), (H, W));
    assert_eq!(image.data, want.collect::<Vec<u8>>());
}

#[track_caller]
fn classes_are(a: &Annotation, value: impl Fn(usize, usize) -> u8) {
    let data = pixels().map(|(x, y)| value(x, y)).collect();
    let want = LabelMap {
        height: H,
        width: W,
        data,
    };
    assert_eq!(*a, Annotation::Labels(want));
}

/// Holds a map against a formula; `None` is unknown.
#[track_caller]
fn values_are<const N: usize>(
    a: &Annotation,
    quantity: Quantity,
    value: impl Fn(usize, usize) -> Option<[f64; N]>,
) {
    let Annotation::Values(ValueMap { data, valid, .. }) = a else {
        panic!("{a:?}")
    };
    let Annotation::Values(map) = a else {
        unreachable!()
    };
    assert_eq!((map.quantity, map.height, map.width), (quantity, H, W));
    assert_eq!((data.len(), valid.len()), (N * H * W, H * W));
    for (i, (x, y)) in pixels().enumerate() {
        let want = value(x, y);
        assert_eq!(valid[i], want.is_some(), "({x}, {y})");
        for (p, want) in want.unwrap_or([0.0; N]).into_iter().enumerate() {
            let got = data[p * H * W + i] as f64;
            assert!(
                (got - want).abs() < 1e-6,
                "({x}, {y}), plane {p}: {got}, not {want}"
            );
        }
    }
}

fn label(n: usize, count: usize) -> impl Fn(usize, usize) -> u8 {
    move |x, y| match (x, y) {
        (0, 0) => IGNORE,
        _ => ((x + y + n) % count) as u8,
    }
}

fn depth(x: usize, y: usize) -> Option<[f64; 1]> {
    ((x, y) != (5, 3)).then_some([0.5 + 0.25 * x as f64 + y as f64])
}

fn coded(x: usize, y: usize) -> [f64; 3] {
    match (x, y) {
        (0, 0) => [255.0, 128.0, 128.0],
        (1, 2) => [255.0; 3],
        _ => [128.0 + 10.0 * x as f64, 128.0 - 10.0 * y as f64, 200.0],
    }
}

fn decoded(x: usize, y: usize) -> Option<[f64; 3]> {
    ((x, y) != (1, 2)).then(|| coded(x, y).map(|v| (v - 127.5) / 127.5))
}

const TRUE: Quantity = Quantity::Normals(NormalSpace::True);

#[test]
fn nyuv2_of_mtl_nas() {
    let mut c = config(Format::Nyuv2Lists, root("nyuv2-lists"));
    let set = c.open_train().unwrap();
    assert_eq!(
        (set.len(), set.kind(), set.classes().len()),
        (2, Kind::Joint, 40)
    );
    assert_eq!(set.id(1), "training/image/1");
    for n in 0..2 {
        let (image, parts) = parts(&*set, n);
        picture_is(&image, n);
        classes_are(&parts[0], label(n, 40));
        values_are(&parts[1], TRUE, decoded);
        assert_eq!(parts.len(), 2);
    }
    assert_eq!(c.open_val().unwrap().len(), 1);
    // One target is that annotation; its list alone is needed.
    c.dense.targets = vec![Target::Normals];
    c.dense.normal_space = NormalSpace::Encoded;
    let set = c.open("training").unwrap();
    assert_eq!(set.kind(), Kind::Normals);
    let encoded = |x, y| ((x, y) != (1, 2)).then(|| coded(x, y).map(|v| v / 255.0));
    let space = Quantity::Normals(NormalSpace::Encoded);
    values_are(&set.load(0).unwrap().annotation, space, encoded);
    c.dense.targets = vec![Target::Depth];
    let e = c.open_train().err().unwrap();
    assert!(
        e.code() == Code::ConfigValue && e.to_string().contains("segmentation, normals"),
        "{e}"
    );
}

#[test]
fn nyuv2_of_automtl() {
    let mut c = config(Format::Nyuv2Json, root("nyuv2-json"));
    let set = c.open_train().unwrap();
    assert_eq!((set.len(), set.kind()), (2, Kind::Joint));
    assert_eq!(set.classes()[39], "other prop");
    let (image, all) = parts(&*set, 1);
    picture_is(&image, 1);
    classes_are(&all[0], label(1, 40));
    values_are(&all[1], TRUE, decoded);
    values_are(&all[2], Quantity::Depth, depth);
    // The held-out split is called test there; the parts of the training split have names.
    picture_is(&parts(&*c.open_val().unwrap(), 0).0, 2);
    picture_is(&parts(&*c.open("train2").unwrap(), 0).0, 1);
    assert_eq!(c.open("dev").err().unwrap().code(), Code::NotFound);
    // The order of the targets is that wanted.
    c.dense.targets = vec![Target::Depth, Target::Segmentation];
    let (_, all) = parts(&*c.open_train().unwrap(), 0);
    values_are(&all[0], Quantity::Depth, depth);
    classes_are(&all[1], label(0, 40));
    c.dense.targets = vec![Target::Depth, Target::Depth];
    assert_eq!(c.open_train().err().unwrap().code(), Code::ConfigValue);
}

#[test]
fn nyuv2_of_mtan() {
    let mut c = config(Format::Nyuv2Npy, root("nyuv2-npy"));
    let set = c.open_train().unwrap();
    assert_eq!((set.len(), set.classes().len()), (3, 13));
    assert_eq!(set.id(2), "train-2");
    let unit = |x: usize, y: usize| {
        let v = [x as f64 - 2.5, y as f64 - 1.5, 3.0];
        let length = v.iter().map(|c| c * c).sum::<f64>().sqrt();
        ((x, y) != (1, 2)).then(|| v.map(|c| c / length))
    };
    for n in 0..3 {
        let (image, parts) = parts(&*set, n);
        picture_is(&image, n);
        classes_are(&parts[0], label(n, 13));
        values_are(&parts[1], TRUE, unit);
        values_are(&parts[2], Quantity::Depth, depth);
    }
    picture_is(&parts(&*c.open_val().unwrap(), 0).0, 10);
    c.dense.normal_space = NormalSpace::Encoded;
    let (_, all) = parts(&*c.open_train().unwrap(), 0);
    let space = Quantity::Normals(NormalSpace::Encoded);
    values_are(&all[1], space, |x, y| {
        unit(x, y).map(|v| v.map(|c| (c + 1.0) / 2.0))
    });
}

#[test]
fn cityscapes_as_arrays() {
    let mut c = config(Format::CityscapesNpy, root("cityscapes-npy"));
    let tenth = |x, y| depth(x, y).map(|[d]| [d / 10.0]);
    for (list, count) in [
        ("", 19),
        ("cityscapes-19", 19),
        ("cityscapes-7", 7),
        ("cityscapes-2", 2),
    ] {
        c.dense.classes = [list]
            .iter()
            .filter(|l| !l.is_empty())
            .map(|l| l.to_string())
            .collect();
        let set = c.open_train().unwrap();
        assert_eq!((set.len(), set.classes().len()), (2, count));
        let (image, parts) = parts(&*set, 1);
        picture_is(&image, 1);
        classes_are(&parts[0], label(1, count));
        values_are(&parts[1], Quantity::Depth, tenth);
    }
    picture_is(&parts(&*c.open("train2").unwrap(), 0).0, 1);
    picture_is(&parts(&*c.open("test").unwrap(), 0).0, 10);
    picture_is(&parts(&*c.open("val").unwrap(), 0).0, 10);
    c.dense.classes = vec!["cityscapes-8".into()];
    let e = c.open_train().err().unwrap();
    assert!(
        e.code() == Code::ConfigValue && e.to_string().contains("cityscapes-7"),
        "{e}"
    );
}

#[test]
fn cityscapes_with_disparity() {
    let mut c = config(Format::Cityscapes, root("cityscapes"));
    c.cityscapes = CityscapesConfig::default();
    assert_eq!(c.open_train().unwrap().kind(), Kind::Segmentation);
    c.dense.targets = vec![Target::Segmentation, Target::Depth];
    let set = c.open_train().unwrap();
    assert_eq!((set.len(), set.kind()), (2, Kind::Joint));
    let (image, parts) = parts(&*set, 1);
    picture_is(&image, 1);
    let disparity = |x, y| ((x, y) != (0, 0)).then_some([(256 * x + y) as f64 / 256.0]);
    values_are(&parts[1], Quantity::Depth, disparity);
    assert!(matches!(parts[0], Annotation::Labels(_)));
    c.dense.targets = vec![Target::Edges];
    assert_eq!(c.open_train().err().unwrap().code(), Code::ConfigValue);
    let alone = Cityscapes::open(&c.root, "val", &c.cityscapes).unwrap();
    let alone = alone.with_targets(&[Target::Depth]).unwrap();
    assert_eq!(alone.kind(), Kind::Depth);
}

#[test]
fn tiny_taskonomy() {
    let mut c = config(Format::Taskonomy, root("taskonomy"));
    let set = c.open_train().unwrap();
    assert_eq!((set.len(), set.classes().len()), (2, 17));
    let scanned = |x, y| !matches!((x, y), (5, 3) | (4, 3));
    let raw = |x: usize, y: usize| {
        if (x, y) == (3, 3) {
            64499
        } else {
            512 * (x + 1) + y
        }
    };
    let (image, all) = parts(&*set, 1);
    picture_is(&image, 1);
    let id = |x: usize, y: usize| ((x + 6 * y) % 18) as u8;
    classes_are(&all[0], |x, y| id(x, y).saturating_sub(1));
    values_are(&all[1], TRUE, |x, y| {
        scanned(x, y).then(|| coded(x, y).map(|v| v / 255.0 * 2.0 - 1.0))
    });
    values_are(&all[2], Quantity::Depth, |x, y| {
        scanned(x, y).then(|| [(1.0 + raw(x, y) as f64).ln() / 65536f64.ln()])
    });
    values_are(&all[3], Quantity::Keypoints, |x, y| {
        let raw = if (x, y) == (5, 3) {
            60000.0
        } else {
            40.0 * x as f64 + 10.0 * y as f64
        };
        Some([2.0 * (raw / 65536.0 / 0.005).min(1.0) - 1.0])
    });
    values_are(&all[4], Quantity::Edges, |x, y| {
        let raw = 1000.0 * x as f64 + 100.0 * y as f64;
        Some([2.0 * (raw / 65536.0 / 0.08).min(1.0) - 1.0])
    });
    // The held-out split is called test, and so is its folder.
    picture_is(&parts(&*c.open_val().unwrap(), 0).0, 10);
    c.dense.ignore_uncertain = true;
    c.dense.targets = vec![Target::Segmentation];
    let labels = c.open_train().unwrap().load(0).unwrap().annotation;
    classes_are(&labels, |x, y| id(x, y).checked_sub(1).unwrap_or(IGNORE));
}

#[test]
fn defects_are_named_with_their_file() {
    let dir = tempfile::tempdir().unwrap();
    copy("nyuv2-json", dir.path());
    let c = config(Format::Nyuv2Json, dir.path());
    let load = || c.open_train().and_then(|s| s.load(0)).unwrap_err();
    std::fs::copy(
        root("nyuv2-npy/train/normal/0.npy"),
        dir.path().join("depth/0.npy"),
    )
    .unwrap();
    let e = load();
    assert!(
        e.code() == Code::BadFormat && e.to_string().contains("depth/0.npy"),
        "{e}"
    );
    std::fs::copy(root("npy/f4.npy"), dir.path().join("depth/0.npy")).unwrap();
    assert_eq!(load().code(), Code::BadFormat);
    std::fs::remove_file(dir.path().join("depth/0.npy")).unwrap();
    let e = load();
    assert!(
        e.code() == Code::NotFound && e.render().contains("nyu_v2_3task.json, sample 0"),
        "{e}"
    );
    // A label map of another size.
    let small = LabelMap {
        height: 1,
        width: 2,
        data: vec![0, 1],
    };
    let bytes = crate::data::image_file::encode_labels(&small).unwrap();
    std::fs::write(dir.path().join("seg/0.png"), bytes).unwrap();
    let e = load();
    assert!(
        e.code() == Code::SizeMismatch && e.to_string().contains("seg/0.png"),
        "{e}"
    );
    let list = dir.path().join(nyuv2_json::LISTING);
    let twice = "{\"train\": [[\"a.png\", \"b\", \"c\", \"d\"], [\"a.png\", \"b\", \"c\", \"d\"]]}";
    std::fs::write(&list, twice).unwrap();
    let e = c.open_train().err().unwrap();
    assert!(
        e.code() == Code::BadLine && e.place().unwrap().ends_with("sample 1"),
        "{e}"
    );
    std::fs::write(&list, "{\"train\": [[\"../a.png\", \"b\", \"c\", \"d\"]]}").unwrap();
    assert_eq!(c.open_train().err().unwrap().code(), Code::BadLine);
}

#[test]
fn lists_that_disagree() {
    let dir = tempfile::tempdir().unwrap();
    copy("nyuv2-lists", dir.path());
    let mut c = config(Format::Nyuv2Lists, dir.path());
    let seg = dir.path().join("list/training_seg.txt");
    let normals = dir.path().join("list/training_normal_mask.txt");
    let line = |n: usize, f: &str| format!("/training/image/{n}.png /training/{f}/{n}.png\n");
    // Another order is fine: labels are found by their picture.
    std::fs::write(&normals, line(1, "norm") + &line(0, "norm")).unwrap();
    let (image, _) = parts(&*c.open_train().unwrap(), 0);
    picture_is(&image, 0);
    std::fs::write(&normals, line(1, "norm")).unwrap();
    let e = c.open_train().err().unwrap();
    assert!(
        e.code() == Code::BadLine && e.place().unwrap().ends_with("training_seg.txt:1"),
        "{e}"
    );
    std::fs::write(&normals, line(1, "norm") + &line(0, "norm")).unwrap();
    std::fs::write(&seg, line(0, "seg")).unwrap();
    let e = c.open_train().err().unwrap();
    assert!(
        e.place().unwrap().ends_with("training_normal_mask.txt"),
        "{e}"
    );
    std::fs::write(&normals, [line(0, "norm"), line(0, "seg")].concat()).unwrap();
    let e = c.open_train().err().unwrap();
    assert!(
        e.code() == Code::BadLine && e.place().unwrap().ends_with("normal_mask.txt:2"),
        "{e}"
    );
    std::fs::write(&normals, line(1, "norm") + &line(0, "norm")).unwrap();
    std::fs::remove_file(&seg).unwrap();
    assert_eq!(c.open_train().err().unwrap().code(), Code::NotFound);
    c.dense.targets = vec![Target::Normals];
    assert_eq!(c.open_train().unwrap().len(), 2);
}

#[test]
fn all_targets_are_counted_and_shown() {
    use crate::data::preview::{shaded, sheet};
    use crate::data::stats::stats;
    let set = config(Format::Taskonomy, root("taskonomy"))
        .open_train()
        .unwrap();
    let s = stats(&*set, &[0, 1]).unwrap();
    let names: Vec<&str> = s.values.keys().copied().collect();
    assert_eq!(names, ["depth", "edges", "keypoints", "normals"]);
    // Two pixels of each picture were not scanned.
    assert_eq!(
        (s.values["depth"].pixels, s.values["depth"].valid),
        (48, 44)
    );
    assert_eq!(
        (s.values["normals"].valid, s.values["edges"].valid),
        (44, 48)
    );
    assert_eq!(s.values["keypoints"].range, Some([-1.0, 1.0]));
    assert_eq!(s.classes[0].images, 2);
    // Picture, classes and four maps of values, beside one another.
    let shown = sheet(&*set, &[0], 6, 24).unwrap();
    assert_eq!((shown.height, shown.width), (16 + 6, 6 * 27 + 3));
    // One sample a row, though four places were asked for; of eight, still one.
    for columns in [4, 8] {
        let shown = sheet(&*set, &[0, 1], columns, 24).unwrap();
        assert_eq!((shown.height, shown.width), (2 * 19 + 3, 6 * 27 + 3));
    }
    let mut map = ValueMap::unknown(Quantity::Depth, 1, 3);
    map.data = vec![7.0, 2.0, 4.5];
    map.valid = vec![false, true, true];
    assert_eq!(shaded(&map).data, [0, 0, 0, 0, 0, 0, 255, 255, 255]);
    let mut map = ValueMap::unknown(TRUE, 1, 1);
    (map.data, map.valid) = (vec![-1.0, 0.0, 1.0], vec![true]);
    assert_eq!(shaded(&map).data, [0, 127, 255]);
}

#[test]
fn listed_classes_are_as_many_as_published() {
    let distinct = |names: &[&str]| {
        names
            .iter()
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    assert_eq!(distinct(&nyuv2_json::CLASSES_40), 40);
    assert_eq!(distinct(&nyuv2_npy::CLASSES_13), 13);
    assert_eq!(distinct(&taskonomy::CLASSES_17), 17);
}
