use super::*;

fn close(a: [f64; 4], b: [f64; 4]) {
    for k in 0..4 {
        assert!((a[k] - b[k]).abs() < 1e-6, "{a:?} against {b:?}");
    }
}

#[test]
fn the_released_layout_has_81964_priors() {
    let c = PriorLayout::release(320, 512, 7).unwrap();
    let counts: Vec<usize> = c.levels.iter().map(PriorLevel::count).collect();
    assert_eq!(counts, [61440, 15360, 3840, 960, 240, 108, 16]);
    let maps: Vec<_> = c.levels.iter().map(|l| (l.rows, l.cols)).collect();
    assert_eq!(
        maps,
        [
            (80, 128),
            (40, 64),
            (20, 32),
            (10, 16),
            (5, 8),
            (3, 6),
            (1, 4)
        ]
    );
    let p = c.priors().unwrap();
    assert_eq!((p.len(), c.count()), (81_964, 81_964));
}

#[test]
fn first_and_last_boxes() {
    let p = PriorLayout::release(320, 512, 7).unwrap().priors().unwrap();
    let at = [2.0 / 512.0, 2.0 / 320.0];
    let shape = |w: f64, h: f64| [at[0], at[1], w / 512.0, h / 320.0];
    let (r2, r3) = (2f64.sqrt(), 3f64.sqrt());
    close(p.boxes()[0], shape(10.0, 10.0));
    close(p.boxes()[1], shape(300f64.sqrt(), 300f64.sqrt()));
    close(p.boxes()[2], shape(10.0 * r2, 10.0 / r2));
    close(p.boxes()[3], shape(10.0 / r2, 10.0 * r2));
    close(p.boxes()[4], shape(10.0 * r3, 10.0 / r3));
    close(p.boxes()[5], shape(10.0 / r3, 10.0 * r3));
    // Columns run before rows.
    close(
        p.boxes()[6],
        [6.0 / 512.0, at[1], 10.0 / 512.0, 10.0 / 320.0],
    );
    close(
        p.boxes()[6 * 128],
        [at[0], 6.0 / 320.0, 10.0 / 512.0, 10.0 / 320.0],
    );
    // The last levels run past the image.
    close(
        p.boxes()[81_960],
        [3.5 * 256.0 / 512.0, 0.4, 280.0 / 512.0, 280.0 / 320.0],
    );
    let sixth = 61440 + 15360 + 3840 + 960 + 240;
    close(
        p.boxes()[sixth + 5 * 6],
        [1.375, 0.2, 220.0 / 512.0, 220.0 / 320.0],
    );
    let largest = p.boxes().iter().map(|b| b[0]).fold(0.0, f64::max);
    assert_eq!(largest, 1.75);
}

#[test]
fn fewer_levels_are_a_prefix_and_other_sizes_keep_pixels() {
    let all = PriorLayout::release(320, 512, 7).unwrap().priors().unwrap();
    let four = PriorLayout::release(320, 512, 4).unwrap().priors().unwrap();
    assert_eq!(four.boxes(), &all.boxes()[..four.len()]);
    let small = PriorLayout::release(128, 192, 4).unwrap().priors().unwrap();
    close(
        small.boxes()[0],
        [2.0 / 192.0, 2.0 / 128.0, 10.0 / 192.0, 10.0 / 128.0],
    );
}

#[test]
fn maps_that_vanish_are_refused_by_level() {
    let e = PriorLayout::release(128, 192, 6).unwrap_err();
    assert_eq!(e.code(), Code::NetworkDoesNotFit);
    assert!(e.message().contains("level 5"), "{e}");
    assert!(PriorLayout::release(320, 320, 7).is_ok());
    assert!(
        PriorLayout::release(256, 320, 7)
            .unwrap_err()
            .message()
            .contains("level 6")
    );
    assert!(PriorLayout::release(0, 0, 1).is_err());
    assert!(
        PriorLayout::release(96, 96, 5)
            .unwrap_err()
            .message()
            .contains("64")
    );
    assert!(
        PriorLayout::release(320, 512, 8).is_err() && PriorLayout::release(320, 512, 0).is_err()
    );
}

#[test]
fn the_peer_layout_counts_like_its_network() {
    for (h, w, positions) in [
        (128, 192, 16 * 24 + 8 * 12 + 4 * 6 + 2 * 3),
        (96, 160, 12 * 20 + 6 * 10 + 3 * 5 + 2 * 3),
    ] {
        let c = PriorLayout::peer(h, w, 4).unwrap();
        assert_eq!(c.count(), positions * 6);
        assert!(c.levels.iter().all(|l| l.anchors() == 6));
    }
    let p = PriorLayout::peer(128, 192, 4).unwrap().priors().unwrap();
    close(
        p.boxes()[0],
        [4.0 / 192.0, 4.0 / 128.0, 11.25 / 192.0, 11.25 / 128.0],
    );
    assert_eq!(PriorLayout::peer(128, 192, 3).unwrap().levels.len(), 3);
    assert!(PriorLayout::peer(100, 192, 4).is_err() && PriorLayout::peer(0, 32, 4).is_err());
    assert!(PriorLayout::peer(128, 192, 5).is_err() && PriorLayout::peer(128, 192, 0).is_err());
}

#[test]
fn lists_of_the_configuration_replace_the_table() {
    let layout = || PriorLayout::peer(128, 192, 3).unwrap();
    assert_eq!(layout().with(&PriorConfig::default()).unwrap(), layout());
    let own = PriorConfig {
        min_sizes: vec![8.0, 16.0, 32.0],
        ratios: vec![vec![], vec![2.0], vec![2.0, 3.0]],
        ..Default::default()
    };
    let l = layout().with(&own).unwrap();
    let anchors: Vec<usize> = l.levels.iter().map(PriorLevel::anchors).collect();
    assert_eq!(
        (l.levels[1].min, l.levels[1].max, anchors),
        (16.0, 37.5, vec![2, 4, 6])
    );
    let short = PriorConfig {
        steps: vec![8.0],
        ..Default::default()
    };
    let e = layout().with(&short).unwrap_err();
    assert!(
        e.message().contains("`priors.steps` has 1 entries for 3"),
        "{e}"
    );
    let negative = PriorConfig {
        max_sizes: vec![-1.0; 3],
        ..Default::default()
    };
    assert_eq!(
        layout().with(&negative).unwrap_err().code(),
        Code::ConfigValue
    );
}

#[test]
fn hand_made_levels_are_checked() {
    let good = PriorLayout::peer(64, 64, 4).unwrap();
    let spoil = |f: &dyn Fn(&mut PriorLevel)| {
        let mut c = good.clone();
        f(&mut c.levels[1]);
        c.priors().unwrap_err().message().to_string()
    };
    assert!(spoil(&|l| l.step = 0.0).contains("level 1"));
    assert!(spoil(&|l| l.max = l.min).contains("level 1"));
    assert!(spoil(&|l| l.ratios = vec![f32::INFINITY]).contains("level 1"));
    assert!(
        PriorLayout {
            levels: vec![],
            ..good
        }
        .priors()
        .is_err()
    );
}
