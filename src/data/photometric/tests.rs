//! The steps do what they say, and come back where they have an inverse.

use super::*;

#[test]
fn jitter_is_mild_and_leaves_grey_alone() {
    for i in 0..200 {
        let mut r = Rng::new(i, &[]);
        let j = Photometric::jitter(&mut r);
        assert!(j.brightness.is_none() && j.contrast.is_none() && j.order.is_none());
        assert!((0.95..1.05).contains(&j.saturation.unwrap()) && j.hue.unwrap().abs() <= 18.0);
        assert_eq!(j.pixel([90.0; 3]), [90.0; 3]);
        let p = j.pixel([200.0, 100.0, 100.0]);
        assert!((p[0] - 200.0).abs() < 1e-3 && p[1].min(p[2]) > 94.0 && p != [200.0, 100.0, 100.0]);
    }
}

#[test]
fn hsv_and_back() {
    let mut r = Rng::new(1, &[]);
    for _ in 0..1000 {
        let p = [r.f32() * 255.0, r.f32() * 255.0, r.f32() * 255.0];
        let q = to_rgb(to_hsv(p));
        assert!(
            p.iter().zip(&q).all(|(a, b)| (a - b).abs() < 0.01),
            "{p:?} {q:?}"
        );
    }
    assert_eq!(to_hsv([0.0, 255.0, 0.0]), [120.0, 1.0, 255.0]);
}

/// Remainders as they are defined, for all that draws can ask for.
#[test]
fn wrapping_is_the_remainder() {
    let mut r = Rng::new(5, &[]);
    for by in [6.0f32, 360.0] {
        let draws = (0..2000).map(|_| r.range(-1.0, 2.0) as f32 * by);
        for v in draws.chain([0.0, by, -1e-9, by - 1e-4]) {
            if v < 2.0 * by {
                assert_eq!(wrapped(v, by), v.rem_euclid(by), "{v}");
            }
        }
    }
}

#[test]
fn each_step_does_what_it_says() {
    let none = Photometric::default();
    let p = [10.0, 200.0, 60.0];
    assert_eq!(none.pixel(p), p);
    assert_eq!(
        Photometric {
            brightness: Some(60.0),
            ..none.clone()
        }
        .pixel(p),
        [70.0, 255.0, 120.0]
    );
    assert_eq!(
        Photometric {
            contrast: Some(0.5),
            ..none.clone()
        }
        .pixel(p),
        [5.0, 100.0, 30.0]
    );
    assert_eq!(
        Photometric {
            order: Some([2, 0, 1]),
            ..none.clone()
        }
        .pixel(p),
        [60.0, 10.0, 200.0]
    );
    let grey = Photometric {
        saturation: Some(0.0),
        ..none.clone()
    }
    .pixel(p);
    assert!(grey.iter().all(|v| (v - 200.0).abs() < 1e-3));
    let turned = Photometric {
        hue: Some(120.0),
        ..none
    }
    .pixel([255.0, 0.0, 0.0]);
    assert!(turned[1] > 254.0 && turned[0] < 1.0);
}

#[test]
fn half_of_the_draws_take_each_step() {
    let draws: Vec<_> = (0..2000)
        .map(|i| Photometric::draw(&mut Rng::new(3, &[i])))
        .collect();
    let count = |f: fn(&Photometric) -> bool| draws.iter().filter(|d| f(d)).count();
    for n in [
        count(|d| d.brightness.is_some()),
        count(|d| d.contrast.is_some()),
        count(|d| d.contrast_first),
        count(|d| d.saturation.is_some()),
        count(|d| d.hue.is_some()),
        count(|d| d.order.is_some()),
    ] {
        assert!((900..1100).contains(&n), "{n}");
    }
}

/// The change made, then that of `back`, of the same colours: pixel by pixel and by rows.
fn there_and_back(there: &Photometric, back: &Photometric, p: [f32; 3]) -> [f32; 3] {
    let between = there.pixel(p);
    // Rows leave the order of the channels to whoever writes them.
    let by_rows = |d: &Photometric, p: [f32; 3]| {
        let mut rows = p.map(|v| [v; 9]);
        d.rows(rows.each_mut().map(|r| r.as_mut_slice()));
        d.order.unwrap_or([0, 1, 2]).map(|c| rows[c][8])
    };
    assert_eq!(by_rows(there, p), between);
    assert_eq!(by_rows(back, between), back.pixel(between));
    back.pixel(between)
}

#[test]
fn a_turn_of_the_hue_has_its_inverse() {
    let turn = |by: f32| Photometric {
        hue: Some(by),
        ..Default::default()
    };
    let mut r = Rng::new(6, &[]);
    for _ in 0..2000 {
        let p = [(); 3].map(|()| 255.0 * r.f32());
        // As drawn, and as far as it goes.
        for by in [r.range(-18.0, 18.0) as f32, r.range(-360.0, 360.0) as f32] {
            let q = there_and_back(&turn(by), &turn(-by), p);
            assert!((0..3).all(|c| (p[c] - q[c]).abs() < 0.02), "{p:?} {q:?}");
        }
    }
    // It is a turn, in degrees: a third of the circle makes green of red, and blue of green.
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let mut p = [30.0; 3];
        p[from] = 230.0;
        let q = turn(120.0).pixel(p);
        let green = (0..3).all(|c| (q[c] - if c == to { 230.0 } else { 30.0 }).abs() < 0.02);
        assert!(green, "{p:?} {q:?}");
    }
}

#[test]
fn an_order_of_the_channels_has_its_inverse() {
    let p = [10.0, 200.0, 60.0];
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in orders {
        let mut inverse = [0; 3];
        for (to, from) in order.into_iter().enumerate() {
            inverse[from] = to;
        }
        let reorder = |order| Photometric {
            order: Some(order),
            ..Default::default()
        };
        assert_eq!(there_and_back(&reorder(order), &reorder(inverse), p), p);
        // Only the inverse does it.
        let others = orders.iter().filter(|&&o| o != inverse);
        for other in others {
            assert_ne!(there_and_back(&reorder(order), &reorder(*other), p), p);
        }
    }
    // All of them are drawn.
    let mut drawn: Vec<_> = (0..500)
        .filter_map(|i| Photometric::draw(&mut Rng::new(8, &[i])).order)
        .collect();
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn, orders);
}
