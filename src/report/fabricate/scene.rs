//! A painted street, its labels, and predictions that miss a little.

use super::{DET, SEG};
use crate::annotation::{BBox, Detection, Image, LabelMap, Object};
use crate::report::samples::{self, Sample};
use crate::rng::Rng;

const SIZE: (usize, usize) = (128, 256);

struct Scene {
    image: Image,
    labels: LabelMap,
    objects: Vec<Object>,
}

fn scene(seed: u64) -> Scene {
    let (h, w) = SIZE;
    let mut rng = Rng::new(seed, &[1]);
    let horizon = 48 + rng.below(12);
    let mut labels = LabelMap {
        height: h,
        width: w,
        data: vec![6; h * w],
    };
    let mut objects = Vec::new();
    let mut paint = |x0: i64, y0: i64, x1: i64, y1: i64, id: u8| {
        for y in y0.max(0)..y1.min(h as i64) {
            for x in x0.max(0)..x1.min(w as i64) {
                labels.data[y as usize * w + x as usize] = id;
            }
        }
    };
    for i in 0..7 {
        let top = horizon as i64 - 10 - rng.below(34) as i64;
        let id = if rng.below(3) == 0 { 5 } else { 2 };
        paint(
            i * 38 - 6,
            top,
            i * 38 + 24 + rng.below(16) as i64,
            horizon as i64 + 4,
            id,
        );
    }
    paint(0, horizon as i64, w as i64, h as i64, 1);
    for y in horizon..h {
        let half = ((y - horizon) as f64 * 1.5 + 10.0) as i64;
        paint(
            w as i64 / 2 - half,
            y as i64,
            w as i64 / 2 + half,
            y as i64 + 1,
            0,
        );
    }
    for i in 0..2 + rng.below(3) as i64 {
        let x = 20 + i * 70 + rng.below(30) as i64;
        paint(x, horizon as i64 - 30, x + 2, horizon as i64 + 12, 3);
        paint(x - 5, horizon as i64 - 36, x + 7, horizon as i64 - 26, 4);
    }
    for i in 0..3 + rng.below(3) as i64 {
        let depth = 0.25 + 0.75 * rng.f64();
        let class = rng.below(3);
        let (bw, bh) = if class == 0 {
            (52.0, 34.0)
        } else {
            (13.0, 34.0)
        };
        let (bw, bh) = ((bw * depth) as i64, (bh * depth) as i64);
        let x = 10 + i * 52 + rng.below(20) as i64;
        let foot = horizon as i64 + (62.0 * depth) as i64;
        paint(x, foot - bh, x + bw, foot, if class == 0 { 8 } else { 7 });
        let bbox = BBox {
            x1: x as f32,
            y1: (foot - bh) as f32,
            x2: (x + bw).min(w as i64) as f32,
            y2: foot as f32,
        };
        objects.push(Object {
            class,
            bbox,
            ignore: depth < 0.3,
        });
    }
    let ink: [[i32; 3]; 9] = [
        [92, 92, 98],
        [168, 160, 150],
        [150, 118, 98],
        [70, 70, 74],
        [232, 190, 40],
        [70, 112, 58],
        [164, 196, 228],
        [196, 84, 92],
        [58, 84, 150],
    ];
    let mut data = Vec::with_capacity(h * w * 3);
    for (i, &id) in labels.data.iter().enumerate() {
        let shade = rng.below(22) as i32 - 11 - (i / w) as i32 / 8;
        data.extend(ink[id as usize].map(|v| (v + shade).clamp(0, 255) as u8));
    }
    for y in h - 4..h {
        labels.data[y * w..(y + 1) * w].fill(255);
    }
    Scene {
        image: Image {
            height: h,
            width: w,
            data,
        },
        labels,
        objects,
    }
}

/// Three pictures of either task.
pub fn samples() -> Vec<Sample> {
    let mut list = Vec::new();
    for seed in 0..3 {
        let s = scene(seed);
        let mut rng = Rng::new(seed, &[2]);
        let mut jitter = |v: f32| v + rng.below(5) as f32 - 2.0;
        let mut predicted: Vec<Detection> = Vec::new();
        for (i, o) in s.objects.iter().enumerate().filter(|(_, o)| !o.ignore) {
            let b = o.bbox;
            let bbox = BBox {
                x1: jitter(b.x1),
                y1: jitter(b.y1),
                x2: jitter(b.x2),
                y2: jitter(b.y2),
            };
            predicted.push(Detection {
                class: o.class,
                score: 0.95 - 0.13 * i as f32,
                bbox,
            });
        }
        let ghost = BBox {
            x1: 150.0,
            y1: 60.0,
            x2: 170.0,
            y2: 84.0,
        };
        predicted.push(Detection {
            class: 1,
            score: 0.31,
            bbox: ghost,
        });
        let picture = samples::detection(&s.image, &s.objects, &predicted, &DET);
        let note = format!(
            "{} of {} objects found",
            predicted.len() - 1,
            s.objects.len()
        );
        list.push(Sample {
            task: "det".into(),
            name: format!("{seed:06}.png"),
            note,
            picture,
        });
    }
    for seed in 3..6 {
        let s = scene(seed);
        let (h, w) = SIZE;
        let mut predicted = s.labels.clone();
        for y in 0..h {
            for x in 0..w {
                let wave = ((x as f64 / 7.0).sin() * 2.0 + (y as f64 / 5.0).cos() * 2.0) as i64;
                let from = (y as i64 + wave).clamp(0, h as i64 - 5) as usize * w
                    + (x as i64 + wave).clamp(0, w as i64 - 1) as usize;
                predicted.data[y * w + x] = s.labels.data[from];
            }
        }
        let picture = samples::segmentation(&s.image, &s.labels, &predicted, &SEG).unwrap();
        list.push(Sample {
            task: "seg".into(),
            name: format!("aachen_{seed:06}_000019"),
            note: String::new(),
            picture,
        });
    }
    list
}
