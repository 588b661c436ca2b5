//! Label files of Cityscapes through their class map into a confusion matrix, against NumPy (tests/reference/confusion.py).

use crate::annotation::LabelMap;
use crate::data::class_map::{ClassMap, Coding};
use crate::metrics::{Average, Confusion};

fn bytes(hex: &serde_json::Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    let byte = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap();
    (0..hex.len() / 2).map(byte).collect()
}

#[test]
fn equals_numpy() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/reference/confusion.json"
    );
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let map = ClassMap::new(&["cityscapes-19".to_string()], Coding::LabelIds).unwrap();
    let sets = file["sets"].as_array().unwrap();
    let mut differ = 0;
    for (n, set) in sets.iter().enumerate() {
        let mut c = Confusion::new(19).unwrap();
        for m in set["maps"].as_array().unwrap() {
            let width = m["width"].as_u64().unwrap() as usize;
            let of = |data: Vec<u8>| LabelMap {
                height: data.len() / width,
                width,
                data,
            };
            let mut truth = of(bytes(&m["ids"]));
            truth
                .data
                .iter_mut()
                .for_each(|v| *v = map.get(*v).unwrap());
            c.add(&of(bytes(&m["predicted"])), &truth).unwrap();
        }
        // Integers, all of them.
        let theirs: Vec<Vec<u64>> = serde_json::from_value(set["matrix"].clone()).unwrap();
        assert!(c.rows().eq(theirs.iter().map(Vec::as_slice)), "set {n}");
        let close = |ours: Option<f64>, theirs: &serde_json::Value| match (ours, theirs.as_f64()) {
            (Some(a), Some(b)) => assert!((a - b).abs() < 1e-12, "set {n}: {a} against {b}"),
            (a, b) => assert_eq!(a, b, "set {n}"),
        };
        close(c.miou(Average::PresentInGroundTruth), &set["present"]);
        close(c.miou(Average::NonZeroDiagonal), &set["diagonal"]);
        close(c.pixel_accuracy(), &set["accuracy"]);
        differ += usize::from(set["present"] != set["diagonal"]);
    }
    assert!(
        sets.len() >= 7 && differ >= 2,
        "the rules differ in {differ}"
    );
}
