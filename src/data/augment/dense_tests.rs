//! Crops of pictures with a target for every pixel: all of them move together, depth follows the enlargement.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::annotation::{BBox, IGNORE, Image, LabelMap, NormalSpace, ValueMap};
use crate::data::transform::View;
use crate::rng::{Rng, word};

const H: usize = 40;
const W: usize = 60;

/// A picture whose targets repeat what it shows: red tells the column, green the row, and every target is a function of them.
fn painted() -> (Image, Annotation) {
    let pixels = || (0..H).flat_map(|y| (0..W).map(move |x| (x, y)));
    let image = Image {
        height: H,
        width: W,
        data: pixels()
            .flat_map(|(x, y)| [4 * x as u8, 6 * y as u8, 0])
            .collect(),
    };
    let labels = LabelMap {
        height: H,
        width: W,
        data: pixels().map(|(x, _)| x as u8).collect(),
    };
    let values = |quantity: Quantity, planes: Vec<f32>| {
        Annotation::Values(ValueMap {
            quantity,
            height: H,
            width: W,
            data: planes,
            valid: pixels().map(|(x, y)| !(x + y).is_multiple_of(11)).collect(),
        })
    };
    let plane = |f: fn(usize, usize) -> f32| pixels().map(|(x, y)| f(x, y)).collect::<Vec<_>>();
    let (x, y) = (
        plane(|x, _| (1 + x) as f32 / 60.0),
        plane(|_, y| (1 + y) as f32 / 60.0),
    );
    let z = plane(|x, y| (x + y) as f32);
    let parts = vec![
        Annotation::Labels(labels),
        values(Quantity::Depth, plane(|x, y| (1 + x + 100 * y) as f32)),
        values(
            Quantity::Normals(NormalSpace::True),
            [x.clone(), y, z].concat(),
        ),
        values(Quantity::Edges, x),
        values(
            Quantity::Keypoints,
            plane(|x, y| (3 * x + 7 * y) as f32 / 8.0),
        ),
        Annotation::Objects(painted_objects()),
    ];
    (image, Annotation::Joint(parts))
}

/// Boxes around whole pixels, told apart by their class: in the middle, of one pixel, at the border, ignored, of the whole picture.
fn painted_objects() -> Vec<Object> {
    let boxes = [
        (5, 4, 25, 20),
        (30, 10, 31, 11),
        (40, 22, W, H),
        (0, 0, 12, H),
        (0, 0, W, H),
    ];
    let object = |(class, &(x1, y1, x2, y2)): (usize, &(usize, usize, usize, usize))| Object {
        class,
        bbox: BBox {
            x1: x1 as f32,
            y1: y1 as f32,
            x2: x2 as f32,
            y2: y2 as f32,
        },
        ignore: class == 3,
    };
    boxes.iter().enumerate().map(object).collect()
}

fn rng(seed: u64) -> Rng {
    Rng::new(seed, &[word("dense")])
}

fn config(crop: Crop, divide_depth: bool) -> Augmentation {
    Augmentation {
        flip: true,
        crop,
        divide_depth,
        ..Default::default()
    }
}

fn values(a: &Annotation) -> &ValueMap {
    let Annotation::Values(m) = a else {
        panic!("{a:?}")
    };
    m
}

fn objects(a: &Annotation) -> &[Object] {
    let Annotation::Objects(o) = a else {
        panic!("{a:?}")
    };
    o
}

/// That boxes hold the network pixels that show what they are around, and no others: `from` has the column and row of the picture that
/// each of them shows, `width` a row. An SSD crop drops those whose middle it does not show.
fn boxes_hold_their_pixels(
    seen: &[Object],
    from: &[Option<(usize, usize)>],
    width: usize,
    (crop, window): (Crop, &Window),
) -> std::result::Result<(), TestCaseError> {
    for o in painted_objects() {
        let own = |p: &Option<(usize, usize)>| {
            let inside = |(x, y): (usize, usize)| {
                let b = &o.bbox;
                (b.x1..b.x2).contains(&(x as f32)) && (b.y1..b.y2).contains(&(y as f32))
            };
            p.is_some_and(inside)
        };
        let [x, y] = [o.bbox.x1 + o.bbox.x2, o.bbox.y1 + o.bbox.y2].map(|v| f64::from(v) / 2.0);
        let middle = (window.x..window.x + window.width).contains(&x)
            && (window.y..window.y + window.height).contains(&y);
        let kept = crop != Crop::Ssd || o.ignore || middle;
        let Some(now) = seen.iter().find(|s| s.class == o.class) else {
            // Of what is too narrow for a box no two columns, or no two rows, are seen.
            let shown = || (0..from.len()).filter(|&i| own(&from[i]));
            let columns: BTreeSet<usize> = shown().map(|i| i % width).collect();
            let rows: BTreeSet<usize> = shown().map(|i| i / width).collect();
            prop_assert!(!kept || columns.len() < 2 || rows.len() < 2, "lost {o:?}");
            continue;
        };
        prop_assert!(kept && now.ignore == o.ignore, "{o:?} {now:?}");
        let b = now.bbox;
        for (i, p) in from.iter().enumerate() {
            let (x, y) = ((i % width) as f32 + 0.5, (i / width) as f32 + 0.5);
            let depth = (x - b.x1).min(b.x2 - x).min(y - b.y1).min(b.y2 - y);
            // At the edge itself rounding decides.
            if depth.abs() > 1e-3 {
                prop_assert!(own(p) == (depth > 0.0), "{p:?} at {x} {y}, {o:?} {now:?}");
            }
        }
    }
    prop_assert!(seen.len() <= painted_objects().len());
    Ok(())
}

proptest! {
    /// Every pixel of every target is where the picture shows what it belongs to, whatever the crop.
    #[test]
    fn targets_stay_with_their_pixels(seed in 0u64..1_000_000, crop in 0usize..6, divide: bool, h in 16usize..64, w in 16usize..64) {
        let crop = [Crop::None, Crop::Scale, Crop::Zoom, Crop::RandomResized, Crop::Pad4, Crop::Ssd][crop];
        let (image, annotation) = painted();
        let config = config(crop, divide);
        let size = (h, w);
        let window = config.window(&mut rng(seed), (H, W), size, &annotation);
        let seen = config.seen(&annotation, &window, (H, W), size);
        let view = View::new(&window, (H, W), size);
        let (planes, shown) = view.planes(&image).unwrap();
        let Annotation::Joint(parts) = view.annotation(&seen) else { panic!() };
        let [Annotation::Labels(labels), rest @ ..] = parts.as_slice() else { panic!() };
        let [depth, normals, edges, keypoints] = [0, 1, 2, 3].map(|k| values(&rest[k]));
        let enlarged = if divide { config.enlarged(&window, (H, W), size) as f32 } else { 1.0 };
        let n = h * w;
        let mut from = vec![None; n];
        for i in 0..n {
            let inside = shown[0].contains(&(i / w)) && shown[1].contains(&(i % w));
            prop_assert_eq!(labels.data[i] == IGNORE, !inside);
            if !inside {
                prop_assert!([depth, normals, edges, keypoints].iter().all(|m| !m.valid[i]));
                prop_assert_eq!(depth.data[i], 0.0);
                continue;
            }
            // The column and row that the nearest pixel came from, told by the label and by the depth.
            let x = labels.data[i] as usize;
            let code = depth.data[i] * enlarged - 1.0;
            let y = ((code + 0.5) / 100.0) as usize;
            prop_assert!((code - (x + 100 * y) as f32).abs() < 0.02 + 1e-5 * code, "{code} at ({x}, {y})");
            from[i] = Some((x, y));
            let valid = !(x + y).is_multiple_of(11);
            prop_assert!([depth, normals, edges, keypoints].iter().all(|m| m.valid[i] == valid));
            let sign = if window.flip { -1.0 } else { 1.0 };
            prop_assert_eq!(normals.data[i], sign * (1 + x) as f32 / 60.0);
            prop_assert_eq!(normals.data[n + i], (1 + y) as f32 / 60.0);
            prop_assert_eq!(normals.data[2 * n + i], (x + y) as f32);
            prop_assert_eq!(edges.data[i], (1 + x) as f32 / 60.0);
            prop_assert_eq!(keypoints.data[i], (3 * x + 7 * y) as f32 / 8.0);
            // Interpolated colours lie within a source pixel or two of the nearest one's, and of the width of a reduction.
            let wide = 1.5 * (window.width / w as f64).max(1.0) as f32;
            let high = 1.5 * (window.height / h as f64).max(1.0) as f32;
            prop_assert!((planes[i] / 4.0 - x as f32).abs() <= wide, "column {x}: {}", planes[i]);
            prop_assert!((planes[n + i] / 6.0 - y as f32).abs() <= high, "row {y}: {}", planes[n + i]);
        }
        boxes_hold_their_pixels(objects(&rest[4]), &from, w, (crop, &window))?;
    }

    /// Twice mirrored is not mirrored, for pictures and every target, boxes among them.
    #[test]
    fn a_mirror_is_its_own_inverse(width in 1usize..40) {
        let (image, annotation) = painted();
        let crop = Window { width: width as f64, ..Window::whole(H, W) };
        let view = |w: &Window, source| View::new(w, source, (H, width));
        let cut = view(&crop, (H, W));
        let first = cut.annotation(&annotation);
        let planes = cut.planes(&image).unwrap().0;
        let back = view(&Window { flip: true, ..Window::whole(H, width) }, (H, width));
        let once = back.annotation(&first);
        // Even a single column has normals, which turn around.
        prop_assert!(once != first);
        prop_assert_eq!(back.annotation(&once), first);
        let mirrored = view(&Window { flip: true, ..crop }, (H, W)).planes(&image).unwrap().0;
        for (row, other) in planes.chunks(width).zip(mirrored.chunks(width)) {
            prop_assert!(row.iter().eq(other.iter().rev()));
        }
    }
}

#[test]
fn a_mirror_leaves_encoded_normals_as_the_papers_do() {
    for (space, x) in [(NormalSpace::True, -0.25), (NormalSpace::Encoded, 0.25)] {
        let mut map = ValueMap::unknown(Quantity::Normals(space), 1, 2);
        map.data = vec![0.75, 0.25, 0.1, 0.2, 0.3, 0.4];
        map.valid = vec![false, true];
        let flip = Window {
            flip: true,
            ..Window::whole(1, 2)
        };
        let out = View::new(&flip, (1, 2), (1, 2)).values(&map);
        assert_eq!(out.data[0], x);
        assert_eq!(out.data[2..], [0.2, 0.1, 0.4, 0.3]);
        assert_eq!(out.valid, [true, false]);
    }
}

#[test]
fn a_random_scale_is_of_half_to_one_and_a_half() {
    let config = config(Crop::Scale, true);
    let a = Annotation::Class(0);
    let (mut small, mut large, mut padded) = (2.0f64, 0.0f64, 0);
    for i in 0..2000 {
        let size = (30, 90);
        let w = config.window(&mut rng(i), (H, W), size, &a);
        let s = config.enlarged(&w, (H, W), size);
        (small, large) = (small.min(s), large.max(s));
        // Whole pixels of the scaled picture are seen, with a border of at most a pixel more on one side.
        let scaled = (90.0 / w.width * W as f64).round();
        if scaled < 90.0 {
            padded += 1;
            let right = w.width + w.x - W as f64;
            assert!(
                w.x <= 0.0 && (right + w.x).abs() <= w.width / 90.0 + 1e-9,
                "{w:?}"
            );
        } else {
            assert!(w.x >= 0.0 && w.x + w.width <= W as f64 + 1e-9, "{w:?}");
        }
    }
    assert!(
        (0.47..0.52).contains(&small) && (1.46..1.51).contains(&large),
        "{small} {large}"
    );
    // The picture is as wide as the input from the scale 1.5 on, which is never reached.
    assert_eq!(padded, 2000);
    // MTAN: three sizes, the aspect kept, depth by the same.
    let config = self::config(Crop::Zoom, true);
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..300 {
        let w = config.window(&mut rng(i), (H, W), (30, 90), &a);
        assert!(w.x >= 0.0 && w.y >= 0.0 && w.x + w.width <= 60.0 && w.y + w.height <= 40.0);
        seen.insert((config.enlarged(&w, (H, W), (30, 90)) * 10.0).round() as i64);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [10, 12, 15]);
}

#[test]
fn depth_follows_the_enlargement_only_when_asked() {
    let (_, annotation) = painted();
    let window = Window {
        width: W as f64 / 2.0,
        height: H as f64 / 2.0,
        ..Window::whole(H, W)
    };
    let depth_of = |divide, a: &Annotation| {
        let seen = config(Crop::Zoom, divide).seen(a, &window, (H, W), (H, W));
        values(&seen.parts()[seen.parts().len().min(2) - 1]).data[5]
    };
    assert_eq!(
        (depth_of(false, &annotation), depth_of(true, &annotation)),
        (6.0, 3.0)
    );
    // Alone it is divided as well; classes, normals and edges are not.
    assert_eq!(depth_of(true, &annotation.parts()[1]), 3.0);
    let seen = config(Crop::Zoom, true).seen(&annotation, &window, (H, W), (H, W));
    assert_eq!(seen.parts()[2..], annotation.parts()[2..]);
}
