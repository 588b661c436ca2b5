use super::*;
use crate::model::DetHead;
use crate::model::config::FrameConfig;
use crate::search::beside_floor::BesideFloor;

/// A frame as `mtnas bench step` takes it.
fn spec(frame: Frame, channels: usize, cells: usize, size: [usize; 2]) -> NetworkSpec {
    let f = FrameConfig {
        frame,
        channels,
        cells,
        ..FrameConfig::default()
    };
    let mut s = NetworkSpec::new(&f, size[0], size[1], Cells::search("backbone", &f));
    (s.det, s.seg) = (Cells::search("det", &f), Cells::search("seg", &f));
    let classes = if frame == Frame::MtnasPeer { 4 } else { 3 };
    let anchors = NetworkSpec::anchors(&f);
    s.det_head = Some(DetHead { classes, anchors });
    s.seg_classes = Some(16);
    s
}

/// Elements, multiply-adds and launches.
fn figures(s: &NetworkSpec, kind: TaskKind, batch: usize) -> (f64, f64, u64) {
    let f = Floor::of(s, kind, batch).unwrap();
    (f.elements, f.multiply_adds, f.launches)
}

#[test]
fn the_peers_own_count_is_the_same() {
    // benches/peers/roofline.py: floor(mode, task, *DEFAULTS[mode]).
    let (det, seg) = (TaskKind::Detection, TaskKind::Segmentation);
    let peer = spec(Frame::MtnasPeer, 16, 8, [320, 512]);
    assert_eq!(figures(&peer, det, 32), (4746375680.0, 39022755840.0, 282));
    assert_eq!(figures(&peer, seg, 32), (5225512960.0, 39022755840.0, 274));
    let release = spec(Frame::MtnasRelease, 32, 14, [320, 512]);
    assert_eq!(
        figures(&release, det, 32),
        (21097140992.0, 215513530368.0, 606)
    );
    assert_eq!(
        figures(&release, seg, 32),
        (21532508160.0, 217361940480.0, 526)
    );
    let cifar = spec(Frame::Classification, 16, 8, [32, 32]);
    assert_eq!(
        figures(&cifar, TaskKind::Classification, 256),
        (4033085440.0, 34112274432.0, 234)
    );
}

#[test]
fn a_network_without_its_candidates_has_none() {
    let mut s = spec(Frame::MtnasRelease, 32, 14, [320, 512]);
    s.seg = Cells::HandCrafted;
    assert_eq!(Floor::of(&s, TaskKind::Detection, 2), None);
    let mut s = spec(Frame::MtnasPeer, 16, 8, [320, 512]);
    s.seg = Cells::HandCrafted;
    assert!(Floor::of(&s, TaskKind::Detection, 2).is_some());
    if let Cells::Search { options, .. } = &mut s.backbone {
        options.normal.restrict(0, &[crate::space::Primitive::Skip]);
    }
    assert_eq!(Floor::of(&s, TaskKind::Detection, 2), None);
}

#[test]
fn arithmetic_bounds_where_it_takes_longer() {
    let f = Floor {
        elements: 1e9,
        multiply_adds: 67e9,
        launches: 1,
    };
    assert!((f.seconds(2, 1e12) - 2e-3).abs() < 1e-12);
    assert!((f.seconds(4, 1e12) - 4e-3).abs() < 1e-12);
}

#[test]
fn a_step_stands_beside_its_floor() {
    let s = spec(Frame::MtnasPeer, 16, 8, [320, 512]);
    let f = Floor::of(&s, TaskKind::Detection, 32).unwrap();
    let b = BesideFloor::new(&s, &f, 2, 2, 4.3e12, [20e9, 8.83e-3]);
    let text = b.line(20_000_000_000, 640, 8.83e-3);
    let want = "20.00 GB against 18.99 of the fused design (1.05x, at most 1.25), 640 launches against 564, at most 700; \
                8.83 ms expected, floor 4.42 ms (50 %)";
    assert_eq!(text, want);
}
