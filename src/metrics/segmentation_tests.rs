use super::*;

fn map(width: usize, data: &[u8]) -> LabelMap {
    LabelMap {
        height: data.len() / width,
        width,
        data: data.to_vec(),
    }
}

/// Class 0 half right, class 1 found once and over-predicted, class 2 never found, class 3 only predicted, class 4 nowhere.
fn example() -> Confusion {
    let mut c = Confusion::new(5).unwrap();
    let truth = map(4, &[0, 0, 1, 255, 2, 2, 255, 0]);
    let pred = map(4, &[0, 1, 1, 4, 1, 3, 9, 0]);
    c.add(&pred, &truth).unwrap();
    c
}

#[test]
fn counts_and_class_figures_by_hand() {
    let c = example();
    assert_eq!(c.pixels(), 6);
    assert_eq!(
        (
            c.count(0, 0),
            c.count(0, 1),
            c.count(1, 1),
            c.count(2, 1),
            c.count(2, 3)
        ),
        (2, 1, 1, 1, 1)
    );
    let iou: Vec<_> = (0..5).map(|k| c.iou(k)).collect();
    assert_eq!(
        iou,
        [Some(2.0 / 3.0), Some(1.0 / 3.0), Some(0.0), Some(0.0), None]
    );
    assert_eq!(c.pixel_accuracy(), Some(0.5));
    let rows: Vec<&[u64]> = c.rows().collect();
    assert_eq!(rows[0], [2, 1, 0, 0, 0]);
}

#[test]
fn the_three_averages_differ() {
    let c = example();
    assert_eq!(
        c.miou(Average::PresentInGroundTruth),
        Some((2.0 / 3.0 + 1.0 / 3.0) / 3.0)
    );
    assert_eq!(c.miou(Average::NonZeroDiagonal), Some(0.5));
    assert_eq!(c.miou(Average::AllClasses), Some(0.2));
    assert_eq!(c.truth(2), 2);
}

#[test]
fn nothing_counted_is_none() {
    let mut c = Confusion::new(2).unwrap();
    c.add(&map(2, &[0, 1]), &map(2, &[255, 255])).unwrap();
    assert!(Average::ALL.iter().all(|&r| c.miou(r).is_none()));
    assert_eq!(c.pixel_accuracy(), None);
}

#[test]
fn bad_ids_and_sizes_name_the_pixel_and_add_nothing() {
    let mut c = Confusion::new(3).unwrap();
    let e = c
        .add(&map(2, &[0, 0, 0, 0]), &map(2, &[0, 1, 3, 0]))
        .unwrap_err();
    assert_eq!(
        (e.code(), e.place()),
        (Code::BadLabelId, Some("pixel (0, 1)"))
    );
    let e = c.add(&map(2, &[0, 7]), &map(2, &[0, 1])).unwrap_err();
    assert_eq!(e.place(), Some("pixel (1, 0)"));
    let e = c.add(&map(1, &[0, 0]), &map(2, &[0, 1])).unwrap_err();
    assert_eq!(e.code(), Code::SizeMismatch);
    assert_eq!(c.pixels(), 0);
    assert!(Confusion::new(0).is_err() && Confusion::new(256).is_err());
}

#[test]
fn merge_is_addition() {
    let mut a = example();
    a.merge(&example()).unwrap();
    assert_eq!(a.pixels(), 12);
    assert_eq!(a.miou(Average::NonZeroDiagonal), Some(0.5));
    assert!(a.merge(&Confusion::new(2).unwrap()).is_err());
}

#[test]
fn prediction_and_truth_cannot_be_exchanged_unseen() {
    let (truth, pred) = (map(2, &[0, 0, 0, 0]), map(2, &[0, 0, 1, 2]));
    let of = |p: &LabelMap, t: &LabelMap| {
        let mut c = Confusion::new(3).unwrap();
        c.add(p, t).unwrap();
        c.miou(Average::PresentInGroundTruth).unwrap()
    };
    assert_eq!(of(&pred, &truth), 0.5);
    assert_eq!(of(&truth, &pred), 0.5 / 3.0);
}
