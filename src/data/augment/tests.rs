//! Windows follow the stated shares and keep the right objects.

use super::*;
use crate::annotation::BBox;
use crate::rng::word;

fn rng(i: u64) -> Rng {
    Rng::new(5, &[word("test"), i])
}

fn objects(boxes: &[(f32, f32, f32, f32)]) -> Annotation {
    let bbox = |&(x1, y1, x2, y2)| BBox { x1, y1, x2, y2 };
    Annotation::Objects(
        boxes
            .iter()
            .map(|b| Object {
                class: 0,
                bbox: bbox(b),
                ignore: false,
            })
            .collect(),
    )
}

#[test]
fn ssd_crop_keeps_a_centre_and_follows_the_stated_shares() {
    let config = Augmentation {
        crop: Crop::Ssd,
        flip: true,
        ..Default::default()
    };
    let a = objects(&[(20.0, 30.0, 60.0, 50.0)]);
    let (mut whole, mut expanded, mut mirrored) = (0, 0, 0);
    for i in 0..2000 {
        let w = config.window(&mut rng(i), (100, 200), (96, 160), &a);
        assert!(holds_centre(
            &w,
            &BBox {
                x1: 20.0,
                y1: 30.0,
                x2: 60.0,
                y2: 50.0
            }
        ));
        assert!(matches!(config.kept(&a, &w), Annotation::Objects(o) if o.len() == 1));
        assert!(w.width >= 0.3 * 200.0 - 1e-9 && w.width <= 800.0 && w.height >= 30.0 - 1e-9);
        whole += (w.width == 200.0 && w.height == 100.0) as usize;
        expanded += (w.width > 200.0 || w.height > 100.0) as usize;
        mirrored += w.flip as usize;
    }
    // 1/2 not expanded x 1/6 not cropped.
    assert!((130..210).contains(&whole), "{whole}");
    assert!((600..1000).contains(&expanded), "{expanded}");
    assert!((900..1100).contains(&mirrored), "{mirrored}");
}

#[test]
fn objects_out_of_the_window_are_dropped_and_ignored_ones_stay() {
    let config = Augmentation {
        crop: Crop::Ssd,
        ..Default::default()
    };
    let mut a = objects(&[
        (0.0, 0.0, 10.0, 10.0),
        (40.0, 0.0, 60.0, 10.0),
        (90.0, 0.0, 99.0, 9.0),
    ]);
    let Annotation::Objects(o) = &mut a else {
        unreachable!()
    };
    o[2].ignore = true;
    let window = Window {
        x: 30.0,
        y: 0.0,
        width: 30.0,
        height: 20.0,
        flip: false,
    };
    let Annotation::Objects(kept) = config.kept(&a, &window) else {
        panic!()
    };
    assert_eq!(
        kept.iter().map(|o| o.bbox.x1).collect::<Vec<_>>(),
        [40.0, 90.0]
    );
    // A picture without objects may be cropped anywhere.
    let w = config.window(&mut rng(1), (50, 50), (50, 50), &objects(&[]));
    assert!(w.width > 0.0);
}

#[test]
fn other_crops() {
    let pad = Augmentation {
        crop: Crop::Pad4,
        flip: false,
        ..Default::default()
    };
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..500 {
        let w = pad.window(&mut rng(i), (64, 64), (32, 32), &Annotation::Class(0));
        assert!(w.x.abs() <= 8.0 && w.y.abs() <= 8.0 && w.width == 64.0);
        seen.insert(w.x as i64);
    }
    assert_eq!(seen.len(), 9);
    let config = Augmentation {
        crop: Crop::RandomResized,
        flip: false,
        ..Default::default()
    };
    for i in 0..500 {
        let w = config.window(&mut rng(i), (40, 90), (32, 32), &Annotation::Class(0));
        assert!(
            w.x >= 0.0
                && w.y >= 0.0
                && w.x + w.width <= 90.0 + 1e-9
                && w.y + w.height <= 40.0 + 1e-9
        );
        let (area, ratio) = (w.width * w.height / 3600.0, w.width / w.height);
        assert!(
            area > 0.0799 && (0.749..1.334).contains(&ratio),
            "{area} {ratio}"
        );
    }
    assert!(
        Augmentation {
            expand: 0.5,
            ..Default::default()
        }
        .check()
        .is_err()
    );
    assert!(Augmentation::default().check().is_ok());
    let two = Augmentation::new(&[Augment::SsdCrop, Augment::PadCrop]);
    assert_eq!(two.unwrap_err().code(), Code::ConfigValue);
    let a = Augmentation::new(&[Augment::Flip, Augment::ResizedCrop, Augment::Cutout]).unwrap();
    assert!(!a.colour_jitter);
    assert_eq!(
        (a.flip, a.photometric, a.crop, a.cutout),
        (true, false, Crop::RandomResized, 16)
    );
}

#[test]
fn a_colour_jitter_goes_alone() {
    for (other, name) in [
        (Augment::Photometric, "`photometric`"),
        (Augment::Jitter, "`jitter`"),
    ] {
        for pair in [
            [other, Augment::ColourJitter],
            [Augment::ColourJitter, other],
        ] {
            let e = Augmentation::new(&pair).unwrap_err();
            assert_eq!(e.code(), Code::ConfigValue);
            assert!(e.message().contains(name) && e.message().contains("`colour-jitter`"));
            assert!(e.remedy().unwrap().contains("keep one"), "{e}");
        }
    }
    let imagenet = [Augment::ResizedCrop, Augment::Flip, Augment::ColourJitter];
    let a = Augmentation::new(&imagenet).unwrap();
    assert!(a.colour_jitter && !a.photometric && !a.jitter && a.check().is_ok());
}

#[test]
fn cutout_is_clipped_at_the_border() {
    let a = Augmentation {
        cutout: 16,
        ..Default::default()
    };
    for i in 0..200 {
        let [rows, columns] = a.hole(&mut rng(i), (32, 40)).unwrap();
        assert!(rows.end <= 32 && columns.end <= 40);
        assert!((8..=16).contains(&rows.len()) && (8..=16).contains(&columns.len()));
    }
}
