//! `mtnas bench net`: latencies of a small network, and the table of its operations.

use std::collections::BTreeSet;

use super::arch::json;
use super::{err, mtnas, out};

const SMALL: &[&str] = &[
    "bench",
    "net",
    "MTNAS",
    "--channels",
    "4",
    "--input",
    "64x96",
    "--levels",
    "4",
    "--rounds",
    "3",
    "--threads",
    "1",
];

#[test]
fn latency_and_memory_of_each_batch() {
    let v = json(&mtnas(&[SMALL, &["--batch", "1,2", "--json"]].concat()));
    assert_eq!(v["input"], serde_json::json!([64, 96]));
    assert_eq!((&v["threads"], &v["dtype"]), (&1.into(), &"f32".into()));
    let batches = v["batches"].as_array().unwrap();
    assert_eq!(batches.len(), 2);
    for (b, images) in batches.iter().zip(1u64..) {
        let ms = &b["ms"];
        let [low, median, high] = ["p10", "median", "p90"].map(|k| ms[k].as_f64().unwrap());
        assert!(0.0 < low && low <= median && median <= high, "{ms}");
        assert_eq!(ms["samples"].as_array().unwrap().len(), 3);
        let rate = b["images_per_s"].as_f64().unwrap();
        assert!((rate * median - 1e3 * images as f64).abs() < 1e-6 * rate * median);
        let arena = b["arena_bytes"].as_u64().unwrap();
        let [first, cut] = [&batches[0], b].map(|b| b["cut_bytes"].as_u64().unwrap());
        assert_eq!(cut, images * first);
        assert!(
            cut <= arena && arena as f64 <= 1.2 * cut as f64,
            "{arena} {cut}"
        );
    }
    let text = out(&mtnas(&[SMALL, &["--batch", "1", "--profile"]].concat()));
    assert!(
        text.contains("frame mtnas-release, input 64x96") && text.contains("p10..p90"),
        "{text}"
    );
}

#[test]
fn a_table_has_every_candidate_at_every_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("latency.json");
    let path = file.to_str().unwrap();
    mtnas(
        &[
            SMALL,
            &["--batch", "2", "--seconds", "0.01", "--ops-table", path],
        ]
        .concat(),
    );
    let v: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(v["device"].as_str().unwrap().starts_with("cpu"));
    assert_eq!((&v["threads"], &v["dtype"]), (&1.into(), &"f32".into()));
    let rows = v["rows"].as_array().unwrap();
    let mut seen = BTreeSet::new();
    for row in rows {
        let number = |k: &str| row[k].as_u64().unwrap();
        let place = ["channels", "height", "width", "stride"].map(number);
        let name = row["primitive"].as_str().unwrap();
        assert_eq!(number("batch"), 2);
        let us = row["us"].as_f64().unwrap();
        let free = name == "none" || (name == "skip_connect" && place[3] == 1);
        assert_eq!(us == 0.0, free, "{row}");
        assert!(
            seen.insert((name.to_string(), place)),
            "{row} is there twice"
        );
    }
    // Cells at stride 4, the first reduction, the last cell, the finest segmentation cell.
    for place in [
        [4, 16, 24, 1],
        [8, 16, 24, 2],
        [8, 8, 12, 1],
        [32, 2, 3, 1],
        [1, 16, 24, 1],
    ] {
        assert_eq!(seen.iter().filter(|s| s.1 == place).count(), 8, "{place:?}");
    }
    assert_eq!(rows[0].as_object().unwrap().len(), 7);
}

#[test]
fn what_cannot_be_timed_is_refused() {
    for (line, words) in [
        (&["supernet"][..], "no network with known cells"),
        (&["MTNAS", "--batch", "0"], "0"),
        (&["resnet18", "--channels", "8"], "made by hand"),
    ] {
        let e = err(&mtnas(&[&["bench", "net"], line].concat()));
        assert!(e.contains(words), "{line:?}: {e}");
    }
}
