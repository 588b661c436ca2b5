use super::super::fabricate;
use super::super::records::{AlphaRecord, read_lines};
use super::*;
use crate::space::EDGES;

fn record(step: u64, value: f64) -> AlphaRecord {
    let mut alpha = vec![vec![0.0; 8]; EDGES];
    alpha[3][4] = value;
    let genotype = crate::space::published::by_name("DARTS_V2")
        .unwrap()
        .to_string();
    AlphaRecord {
        stage: "4-backbone".into(),
        step,
        set: super::super::records::AlphaSet::Backbone,
        kind: CellKind::Normal,
        alpha,
        beta: vec![],
        genotype,
    }
}

#[test]
fn probabilities_and_entropy() {
    let list = [record(1, 0.0), record(2, 0.0)];
    let h = History::new(CellKind::Normal, list.iter()).unwrap();
    assert!((h.entropy()[0].1 - 8f64.ln()).abs() < 1e-12 && h.still() && h.changes.is_empty());
    let list = [record(1, 0.0), record(2, 3.0)];
    let h = History::new(CellKind::Normal, list.iter()).unwrap();
    let p = 3f64.exp() / (3f64.exp() + 7.0);
    assert!((h.all[1].p[3][4] - p).abs() < 1e-12 && !h.still() && (h.top() - p).abs() < 1e-12);
    assert!(History::new(CellKind::Reduce, list.iter()).is_none());
    // DARTS_V2's normal cell: sep_conv_3x3 on both edges of node 0, one skip of node 3's two edges from input 0.
    assert_eq!(h.all[0].kept[..2], [Some(4), Some(4)]);
    assert!((h.share(&["skip_connect"])[0].1 - 2.0 / 8.0).abs() < 1e-12);
}

#[test]
fn values_that_are_not_finite_do_not_panic() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308] {
        let list = [record(1, bad), record(2, 0.0)];
        let h = History::new(CellKind::Normal, list.iter()).unwrap();
        for text in [h.map("m"), h.strip("s"), h.small(0, "x"), h.csv(), h.json()] {
            assert!(!text.is_empty() && !text.contains("opacity=\"NaN"));
        }
    }
}

#[test]
fn what_is_shown_is_bounded_and_ends_with_the_last() {
    let list: Vec<_> = (0..1000).map(|i| record(i, i as f64 / 500.0)).collect();
    let h = History::new(CellKind::Normal, list.iter()).unwrap();
    let shown = h.shown();
    assert_eq!((shown.len(), shown[0], shown[SHOWN - 1]), (SHOWN, 0, 999));
    assert!(shown.windows(2).all(|w| w[0] < w[1]));
    assert_eq!(h.csv().lines().count(), 1 + SHOWN * EDGES);
}

#[test]
fn changes_are_found_in_a_made_up_search() {
    let dir = tempfile::tempdir().unwrap();
    fabricate::run(dir.path());
    let lines = read_lines::<AlphaRecord>(&dir.path().join("alpha.jsonl"))
        .unwrap()
        .records;
    let of = lines.iter().filter(|r| r.stage == "4-backbone");
    let h = History::new(CellKind::Normal, of).unwrap();
    assert!(
        !h.changes.is_empty() && h.changes.iter().all(|s| (1..=400).contains(s)),
        "{:?}",
        h.changes
    );
    assert_eq!(edge_name(13), "2 \u{2192} 3");
}
