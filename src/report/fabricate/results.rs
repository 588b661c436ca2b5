//! The results of a made-up search.

use super::records::names;
use super::{DET, SEG};
use crate::report::records::*;
use std::collections::BTreeMap;

/// Results of one network; `quality` scales all of them.
pub fn eval(which: Which, quality: f64) -> EvalRecord {
    let ap = |f: f64| [0.81, 0.57, 0.48].map(|v| Some(v * quality * f)).to_vec();
    let mean = |list: &[Option<f64>]| Some(list.iter().flatten().sum::<f64>() / list.len() as f64);
    let result = |f: f64| {
        let ap = ap(f);
        ProtocolResult {
            mean: mean(&ap),
            ap,
            more: BTreeMap::new(),
        }
    };
    let mut coco = result(0.55);
    coco.more = [
        ("AP50", 0.58),
        ("AP75", 0.31),
        ("AP-small", 0.12),
        ("AP-medium", 0.37),
    ]
    .map(|(k, v)| (k.to_string(), v * quality))
    .into();
    let curves = (0..3)
        .map(|class| {
            let top = ap(1.0)[class].unwrap().min(0.97);
            let recall: Vec<f64> = (1..=140).map(|i| i as f64 / 140.0 * (top + 0.03)).collect();
            let precision = recall
                .iter()
                .enumerate()
                .map(|(i, r)| {
                    (1.0 - 0.35 * (r / (top + 0.05)).powi(5) - 0.04 * ((i * 7 % 11) as f64 / 11.0))
                        .clamp(0.0, 1.0)
                })
                .collect();
            PrCurve {
                class,
                score: recall.iter().map(|r| 1.0 - r * 0.95).collect(),
                precision,
                recall,
            }
        })
        .collect();
    let detection = DetectionEval {
        classes: DET.map(String::from).to_vec(),
        size: None,
        images: 60,
        objects: vec![183, 92, 41],
        main: "voc10".into(),
        protocols: [
            ("voc10".to_string(), result(1.0)),
            ("mtnas-2020".to_string(), result(0.99)),
            ("coco".to_string(), coco),
        ]
        .into(),
        curves,
    };
    let confusion: Vec<Vec<u64>> = (0..SEG.len())
        .map(|t| {
            let total = [
                52_000u64, 30_000, 41_000, 1_300, 900, 18_000, 47_000, 3_100, 12_000,
            ][t];
            let right = [0.97, 0.9, 0.92, 0.38, 0.61, 0.88, 0.98, 0.55, 0.86][t] * quality;
            (0..SEG.len())
                .map(|p| {
                    if p == t {
                        (total as f64 * right) as u64
                    } else {
                        (total as f64 * (1.0 - right) / 8.0) as u64
                    }
                })
                .collect()
        })
        .collect();
    let iou: Vec<Option<f64>> = (0..SEG.len())
        .map(|c| {
            let row: u64 = confusion[c].iter().sum();
            let column: u64 = confusion.iter().map(|r| r[c]).sum();
            Some(confusion[c][c] as f64 / (row + column - confusion[c][c]) as f64)
        })
        .collect();
    let miou = mean(&iou).unwrap();
    let right: u64 = (0..SEG.len()).map(|c| confusion[c][c]).sum();
    let all: u64 = confusion.iter().flatten().sum();
    let segmentation = SegmentationEval {
        classes: SEG.map(String::from).to_vec(),
        images: 60,
        size: Some([128, 256]),
        iou,
        main: "all-classes".into(),
        miou: [
            ("all-classes".to_string(), miou),
            ("mtnas-2020".to_string(), miou + 0.002),
        ]
        .into(),
        pixel_accuracy: right as f64 / all as f64,
        weights: vec![],
        more: vec![],
        confusion,
    };
    let parts = [
        ("stem", 3_700, 30_400_000),
        ("backbone", 412_000, 251_000_000),
        ("det cells", 221_000, 4_100_000),
        ("seg cells", 62_000, 21_000_000),
        ("det heads", 187_000, 88_000_000),
        ("seg head", 210, 1_900_000),
    ];
    let scale = if which == Which::Random { 1.12 } else { 1.0 };
    let parts: Vec<PartCost> = parts
        .iter()
        .map(|p| PartCost {
            part: p.0.into(),
            params: (p.1 as f64 * scale) as u64,
            conv_macs: (p.2 as f64 * scale) as u64,
        })
        .collect();
    let conv_macs: u64 = parts.iter().map(|p| p.conv_macs).sum();
    let cost = Cost {
        input: [128, 256],
        params: parts.iter().map(|p| p.params).sum(),
        conv_macs,
        gflops: 2e-9 * conv_macs as f64,
        parts,
    };
    let supernet = which == Which::Supernet;
    EvalRecord {
        which,
        genotypes: if supernet {
            BTreeMap::new()
        } else {
            names(which != Which::Random)
        },
        detection: Some(detection),
        segmentation: Some(segmentation),
        values: Default::default(),
        delta: None,
        classification: None,
        cost: (!supernet).then_some(cost),
    }
}
