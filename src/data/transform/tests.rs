//! Pictures, label maps and boxes move together.

use super::*;
use crate::data::normalise::Normalise;
use proptest::prelude::*;

/// A picture whose red channel is 1 inside the box.
fn marked(height: usize, width: usize, b: &BBox) -> (Image, LabelMap) {
    let mut image = Image {
        height,
        width,
        data: vec![0; height * width * 3],
    };
    let mut labels = LabelMap {
        height,
        width,
        data: vec![0; height * width],
    };
    for y in b.y1 as usize..b.y2 as usize {
        for x in b.x1 as usize..b.x2 as usize {
            image.data[(y * width + x) * 3] = 255;
            labels.data[y * width + x] = 1;
        }
    }
    (image, labels)
}

proptest! {
    #[test]
    fn picture_labels_and_boxes_move_together(
        x in -40.0f64..40.0, y in -30.0f64..30.0, w in 20.0f64..120.0, h in 20.0f64..90.0, flip: bool,
    ) {
        let bbox = BBox { x1: 12.0, y1: 9.0, x2: 40.0, y2: 33.0 };
        let (image, labels) = marked(48, 64, &bbox);
        let window = Window { x, y, width: w, height: h, flip };
        let view = View::new(&window, (48, 64), (60, 80));
        let (planes, shown) = view.planes(&image).unwrap();
        let map = view.labels(&labels);
        let mapped = view.bbox(&bbox);
        for r in 0..60 {
            for c in 0..80 {
                let seen = shown[0].contains(&r) && shown[1].contains(&c);
                prop_assert_eq!(map.data[r * 80 + c] == IGNORE, !seen);
                // Deep inside the mapped box everything is marked, well outside nothing is.
                let (cx, cy) = (c as f32 + 0.5, r as f32 + 0.5);
                let m = mapped.unwrap_or_default();
                let depth = (cx - m.x1).min(m.x2 - cx).min(cy - m.y1).min(m.y2 - cy);
                let red = planes[r * 80 + c];
                if depth > 5.0 {
                    prop_assert!(red > 250.0 && map.data[r * 80 + c] == 1, "inside {red} at {r},{c} {m:?}");
                }
                if mapped.is_some() && depth < -6.0 && seen {
                    prop_assert!(red < 5.0 && map.data[r * 80 + c] == 0, "outside {red} at {r},{c} {m:?}");
                }
            }
        }
    }

    /// A mirror turns a box around the middle of the network input; twice is not at all. So for any window, and box by box.
    #[test]
    fn mirroring_twice_restores_boxes(
        x in -40.0f64..40.0, w in 20.0f64..120.0, boxes in prop::collection::vec((0.0f32..60.0, 0.0f32..44.0, 1.5f32..30.0, 1.5f32..30.0), 1..6),
    ) {
        let objects = boxes.iter().enumerate().map(|(class, &(x1, y1, w, h))| Object {
            class,
            bbox: BBox { x1, y1, x2: (x1 + w).min(64.0), y2: (y1 + h).min(48.0) },
            ignore: class == 1,
        });
        let annotation = Annotation::Objects(objects.collect());
        let window = Window { x, width: w, ..Window::whole(48, 64) };
        let size = (60, 80);
        let seen = |window: Window, source, a: &Annotation| -> Vec<Object> {
            let Annotation::Objects(o) = View::new(&window, source, size).annotation(a) else { panic!() };
            o
        };
        let plain = seen(window, (48, 64), &annotation);
        let mirrored = seen(Window { flip: true, ..window }, (48, 64), &annotation);
        // Once more, of what the network sees already.
        let again = Window { flip: true, ..Window::whole(60, 80) };
        let restored = seen(again, size, &Annotation::Objects(mirrored.clone()));
        // The same ones are too narrow either way; but for rounding, on the border of it.
        let least = |o: &Object| (o.bbox.x2 - o.bbox.x1).min(o.bbox.y2 - o.bbox.y1);
        let clear = |all: &[Object]| -> Vec<Object> {
            all.iter().filter(|o| least(o) > LEAST_SIDE + 1e-3).copied().collect()
        };
        let (plain, mirrored, restored) = (clear(&plain), clear(&mirrored), clear(&restored));
        prop_assert_eq!((plain.len(), plain.len()), (mirrored.len(), restored.len()));
        for ((p, m), r) in plain.iter().zip(&mirrored).zip(&restored) {
            prop_assert_eq!((p.class, p.ignore, m.class, m.ignore), (r.class, r.ignore, r.class, r.ignore));
            let turned = BBox { x1: 80.0 - p.bbox.x2, x2: 80.0 - p.bbox.x1, ..p.bbox };
            for (a, b) in [(&m.bbox, &turned), (&r.bbox, &p.bbox)] {
                let apart = [a.x1 - b.x1, a.y1 - b.y1, a.x2 - b.x2, a.y2 - b.y2];
                prop_assert!(apart.iter().all(|d| d.abs() < 1e-4), "{a:?} {b:?}");
            }
            prop_assert!(m.bbox.x1 < m.bbox.x2);
        }
    }
}

#[test]
fn the_whole_picture_at_its_own_size_is_untouched() {
    let image = Image {
        height: 3,
        width: 2,
        data: (0..18).collect(),
    };
    let view = View::new(&Window::whole(3, 2), (3, 2), (3, 2));
    let (planes, shown) = view.planes(&image).unwrap();
    assert_eq!(shown, [0..3, 0..2]);
    assert_eq!(planes[..6], [0.0, 3.0, 6.0, 9.0, 12.0, 15.0]);
    let n = Normalise::default();
    let chw: Vec<f32> = (0..18)
        .map(|i| (planes[i] / 255.0 - n.mean[i / 6]) / n.std[i / 6])
        .collect();
    assert_eq!(n.to_image(&chw, 3, 2), image);
    let mirrored = View::new(
        &Window {
            flip: true,
            ..Window::whole(3, 2)
        },
        (3, 2),
        (3, 2),
    );
    assert_eq!(mirrored.planes(&image).unwrap().0[..2], [3.0, 0.0]);
}

#[test]
fn nearest_labels_and_antialiased_pictures() {
    let labels = LabelMap {
        height: 1,
        width: 4,
        data: vec![1, 2, 3, 4],
    };
    let view = View::new(&Window::whole(1, 4), (1, 4), (1, 2));
    assert_eq!(view.labels(&labels).data, [2, 4]);
    // Fine stripes vanish into their mean instead of aliasing.
    let data: Vec<u8> = (0..8 * 64 * 3)
        .map(|i| if (i / 3) % 2 == 0 { 0 } else { 200 })
        .collect();
    let small = resize(
        &Image {
            height: 8,
            width: 64,
            data,
        },
        2,
        8,
    )
    .unwrap();
    assert!(
        small.data.iter().all(|&v| v.abs_diff(100) < 12),
        "{:?}",
        small.data
    );
}

#[test]
fn a_window_that_misses_the_picture_is_empty() {
    let window = Window {
        x: 100.0,
        y: 0.0,
        width: 10.0,
        height: 10.0,
        flip: false,
    };
    let view = View::new(&window, (20, 30), (4, 4));
    let image = Image {
        height: 20,
        width: 30,
        data: vec![9; 1800],
    };
    assert!(view.planes(&image).unwrap().0.iter().all(|&v| v == 0.0));
    assert_eq!(
        view.bbox(&BBox {
            x1: 0.0,
            y1: 0.0,
            x2: 9.0,
            y2: 9.0
        }),
        None
    );
}
