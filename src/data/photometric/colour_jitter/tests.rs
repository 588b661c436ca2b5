//! The jitter against torchvision's formulas in f64, written apart from it; its inverses, fixed points and draws.

use super::*;
use crate::annotation::{Annotation, Image};
use crate::data::input::Seen;
use crate::data::normalise::Normalise;
use crate::data::pixels::fill;
use crate::data::transform::{View, Window};

/// Colours of 0 to 1.
type Pixel = [f64; 3];

fn luma(p: Pixel) -> f64 {
    (299.0 * p[0] + 587.0 * p[1] + 114.0 * p[2]) / 1000.0
}

/// Hue, saturation, value, all 0 to 1.
fn hsv([r, g, b]: Pixel) -> Pixel {
    let (top, low) = (r.max(g).max(b), r.min(g).min(b));
    if top == low {
        return [0.0, 0.0, top];
    }
    let [rc, gc, bc] = [r, g, b].map(|v| (top - v) / (top - low));
    let h = if r == top {
        bc - gc
    } else if g == top {
        2.0 + rc - bc
    } else {
        4.0 + gc - rc
    };
    [(h / 6.0).rem_euclid(1.0), (top - low) / top, top]
}

fn rgb([h, s, v]: Pixel) -> Pixel {
    let sector = (6.0 * h).floor();
    let f = 6.0 * h - sector;
    let (p, q, t) = (v * (1.0 - s), v * (1.0 - s * f), v * (1.0 - s * (1.0 - f)));
    match sector as i64 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// The whole picture, one change after another.
fn reference(j: &ColourJitter, picture: &[u8]) -> Vec<Pixel> {
    let pixels = picture.as_chunks::<3>().0.iter();
    let mut all: Vec<Pixel> = pixels.map(|p| p.map(|v| f64::from(v) / 255.0)).collect();
    let blend = |v: f64, with: f64, by: f64| (by * v + (1.0 - by) * with).clamp(0.0, 1.0);
    for change in j.order {
        let mean = all.iter().map(|p| luma(*p)).sum::<f64>() / all.len() as f64;
        for p in &mut all {
            let own = luma(*p);
            *p = match change {
                Change::Brightness => p.map(|v| blend(v, 0.0, f64::from(j.brightness))),
                Change::Contrast => p.map(|v| blend(v, mean, f64::from(j.contrast))),
                Change::Saturation => p.map(|v| blend(v, own, f64::from(j.saturation))),
                Change::Hue => {
                    let [h, s, v] = hsv(*p);
                    rgb([(h + f64::from(j.hue) / 360.0).rem_euclid(1.0), s, v])
                }
            };
        }
    }
    all
}

/// A picture as it goes into a network, before normalisation: pixels of 0 to 255.
fn jittered(j: &ColourJitter, picture: &[u8], (height, width): (usize, usize)) -> Vec<[f32; 3]> {
    let image = Image {
        height,
        width,
        data: picture.to_vec(),
    };
    let view = View::new(
        &Window::whole(height, width),
        (height, width),
        (height, width),
    );
    let seen = Seen {
        view,
        photometric: None,
        colour_jitter: Some(j.clone()),
        border: None,
        hole: None,
        annotation: Annotation::Class(0),
    };
    let n = Normalise::new([0.0; 3], [1.0; 3]).unwrap();
    let (plane, size) = (height * width, (height, width));
    let mut out = vec![f32::NAN; 3 * plane];
    fill(&n, &seen, &view.shown(&image).unwrap(), size, &mut out);
    (0..plane)
        .map(|i| [0, 1, 2].map(|c| 255.0 * out[c * plane + i]))
        .collect()
}

/// Noise, dark and bright, with greys and full colours among it.
fn picture(r: &mut Rng, (height, width): (usize, usize)) -> Vec<u8> {
    let top = [40, 160, 256][r.below(3)];
    let mut data = Vec::new();
    for _ in 0..height * width {
        let v = [(); 3].map(|()| r.below(top) as u8);
        data.extend(match r.below(8) {
            0 => [v[0]; 3],
            1 => [255, 0, v[1]],
            2 => [v[0], v[1], v[0]],
            _ => v,
        });
    }
    data
}

/// Every order of the four.
fn orders() -> Vec<[Change; 4]> {
    let all = ColourJitter::default().order;
    let at = (0..256usize).map(|i| [i & 3, i >> 2 & 3, i >> 4 & 3, i >> 6 & 3]);
    at.filter(|p| (0..4).all(|k| p.contains(&k)))
        .map(|p| p.map(|k| all[k]))
        .collect()
}

fn assert_is_the_reference(j: &ColourJitter, data: &[u8], size: (usize, usize)) {
    let (got, want) = (jittered(j, data, size), reference(j, data));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        for c in 0..3 {
            let d = (f64::from(g[c]) - 255.0 * w[c]).abs();
            assert!(d < 0.01, "pixel {i} of {size:?}: {g:?} {w:?} {j:?}");
        }
    }
}

#[test]
fn every_change_alone_and_every_order_are_torchvisions() {
    let orders = orders();
    assert_eq!(orders.len(), 24);
    for case in 0..96u64 {
        let r = &mut Rng::new(case, &[]);
        // Shorter than the lanes of a sum, and longer.
        let size = (1 + r.below(12), 1 + r.below(40));
        let data = picture(r, size);
        let mut j = ColourJitter::draw(r);
        j.order = orders[case as usize % 24];
        assert_is_the_reference(&j, &data, size);
        let none = ColourJitter::default();
        for alone in [
            ColourJitter {
                brightness: j.brightness,
                ..none.clone()
            },
            ColourJitter {
                contrast: j.contrast,
                ..none.clone()
            },
            ColourJitter {
                saturation: j.saturation,
                ..none.clone()
            },
            ColourJitter { hue: j.hue, ..none },
        ] {
            assert_is_the_reference(&alone, &data, size);
        }
    }
}

#[test]
fn factors_of_one_and_no_turn_change_nothing() {
    let r = &mut Rng::new(1, &[]);
    for order in orders() {
        let j = ColourJitter {
            order,
            ..Default::default()
        };
        for _ in 0..200 {
            let p = [(); 3].map(|()| r.below(256) as f32);
            let q = j.pixel(p, 100.0);
            assert!((0..3).all(|c| (p[c] - q[c]).abs() < 0.01), "{p:?} {q:?}");
            // But for the way to HSV and back they are the same bits.
            let still = [Change::Brightness, Change::Contrast, Change::Saturation];
            assert!(still.iter().all(|&c| j.changed(c, p, 100.0) == p), "{p:?}");
        }
    }
}

#[test]
fn a_turn_and_its_opposite_restore_the_picture() {
    let r = &mut Rng::new(2, &[]);
    for _ in 0..2000 {
        let p = [(); 3].map(|()| 255.0 * r.f32());
        let turn = |hue| ColourJitter {
            hue,
            ..Default::default()
        };
        let hue = ColourJitter::draw(r).hue;
        let there = turn(hue).changed(Change::Hue, p, 0.0);
        let back = turn(-hue).changed(Change::Hue, there, 0.0);
        assert!(
            (0..3).all(|c| (p[c] - back[c]).abs() < 0.02),
            "{p:?} {there:?} {back:?}"
        );
        // It went somewhere: of a vivid colour, far.
        let vivid = turn(hue).changed(Change::Hue, [200.0, 20.0, 20.0], 0.0);
        let moved = (vivid[1] - 20.0) + (vivid[2] - 20.0);
        assert!(moved > 2.0 * hue.abs().min(60.0), "{vivid:?} {hue}");
    }
}

#[test]
fn grey_pictures_have_no_saturation_and_no_hue() {
    let r = &mut Rng::new(3, &[]);
    for _ in 0..200 {
        let drawn = ColourJitter::draw(r);
        let j = ColourJitter {
            brightness: 1.0,
            contrast: 1.0,
            ..drawn
        };
        let data: Vec<u8> = (0..35).flat_map(|_| [r.below(256) as u8; 3]).collect();
        for (p, q) in data
            .as_chunks::<3>()
            .0
            .iter()
            .zip(jittered(&j, &data, (5, 7)))
        {
            let d = (0..3).map(|c| (f32::from(p[c]) - q[c]).abs());
            assert!(d.fold(0.0, f32::max) < 1e-3, "{p:?} {q:?} {j:?}");
        }
    }
}

#[test]
fn draws_fill_their_ranges() {
    let seeds = 0..2000u64;
    let draws: Vec<ColourJitter> = seeds
        .map(|i| ColourJitter::draw(&mut Rng::new(9, &[i])))
        .collect();
    let spread = |of: fn(&ColourJitter) -> f32, (low, high): (f32, f32)| {
        let v: Vec<f32> = draws.iter().map(of).collect();
        assert!(v.iter().all(|v| (low..=high).contains(v)));
        let (width, n) = (high - low, v.len() as f32);
        for quarter in 0..4 {
            let from = low + width * quarter as f32 / 4.0;
            let here = v.iter().filter(|v| (from..from + width / 4.0).contains(*v));
            // 500 each, and 19 of deviation.
            let here = here.count() as f32;
            assert!((0.21 * n..0.29 * n).contains(&here), "{here} from {from}");
        }
        let (least, most) = v
            .iter()
            .fold((high, low), |a, v| (a.0.min(*v), a.1.max(*v)));
        assert!(least < low + 0.01 * width && most > high - 0.01 * width);
    };
    spread(|d| d.brightness, (0.6, 1.4));
    spread(|d| d.contrast, (0.6, 1.4));
    spread(|d| d.saturation, (0.6, 1.4));
    spread(|d| d.hue, (-72.0, 72.0));
    for order in orders() {
        // 83 each, and 9 of deviation.
        let here = draws.iter().filter(|d| d.order == order).count();
        assert!((45..125).contains(&here), "{here} of {order:?}");
    }
    // Of one draw no factor tells another.
    let tied = |d: &&ColourJitter| d.brightness == d.contrast || d.contrast == d.saturation;
    assert_eq!(draws.iter().find(tied), None);
}

#[test]
fn the_stream_goes_on_at_the_same_place_after_every_draw() {
    // What is drawn next (a hole, say) is what stands there in the stream, whatever came of the draws.
    for seed in 0..200 {
        let (mut a, mut b) = (Rng::new(seed, &[]), Rng::new(seed, &[]));
        ColourJitter::draw(&mut a);
        // Three factors, a turn, and three of a permutation.
        for _ in 0..7 {
            b.u64();
        }
        assert_eq!(a.u64(), b.u64());
    }
}
