//! The logs and results of a made-up search.

use super::results::eval;
use super::samples;
use crate::report::records::*;
use crate::report::samples as panels;
use crate::rng::Rng;
use crate::space::derive::{CellLogits, alpha_entropy, derive};
use crate::space::{EDGES, Genotype, PRIMITIVES, published};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const STAGES: [(&str, u64, &[&str], Option<AlphaSet>); 6] = [
    ("1-branch-det", 240, &["det"], Some(AlphaSet::Det)),
    ("2-branch-seg", 240, &["seg"], Some(AlphaSet::Seg)),
    ("3-presearch", 300, &["cls"], Some(AlphaSet::Backbone)),
    ("4-backbone", 400, &["det", "seg"], Some(AlphaSet::Backbone)),
    ("5-finetune", 900, &["det", "seg"], None),
    ("7-random", 900, &["det", "seg"], None),
];

fn target(set: AlphaSet) -> Genotype {
    let all = published::mtnas();
    match set {
        AlphaSet::Backbone => all.backbone,
        AlphaSet::Det => all.det.unwrap(),
        AlphaSet::Seg => all.seg.unwrap(),
    }
}

/// Logits of both kinds after a part (0 to 1) of a search that walks towards `target`.
fn logits(target: &Genotype, part: f64, seed: u64) -> [(Vec<f64>, Vec<f64>); 2] {
    [false, true].map(|reduction| {
        let mut rng = Rng::new(seed, &[7, u64::from(reduction)]);
        let done = ((part - 0.3) / 0.7).max(0.0);
        let mut alpha: Vec<f64> = (0..EDGES * PRIMITIVES)
            .map(|_| 0.02 * rng.normal() + done * 0.5 * rng.normal())
            .collect();
        let mut beta: Vec<f64> = (0..EDGES)
            .map(|_| 0.02 * rng.normal() + done * 0.2 * rng.normal())
            .collect();
        for (slot, &(op, from)) in target.cell(reduction).iter().enumerate() {
            let edge = crate::space::genotype::edge_index(slot / 2, from);
            alpha[edge * PRIMITIVES + op.index()] += done * (1.9 + 0.5 * rng.normal());
            beta[edge] += done * 1.1;
        }
        (alpha, beta)
    })
}

fn genotype(cells: &[(Vec<f64>, Vec<f64>); 2]) -> Genotype {
    let cell = |i: usize| CellLogits {
        alpha: &cells[i].0,
        beta: Some(&cells[i].1),
        candidates: None,
    };
    derive(cell(0), cell(1)).unwrap()
}

pub fn names(last: bool) -> BTreeMap<String, String> {
    let sets = [AlphaSet::Backbone, AlphaSet::Det, AlphaSet::Seg];
    let text = |set| {
        if last {
            genotype(&logits(&target(set), 1.0, 5)).to_string()
        } else {
            published::by_name("PC_DARTS_cifar").unwrap().to_string()
        }
    };
    sets.map(|s| (s.name().to_string(), text(s))).into()
}

/// Writes a whole finished run into `dir`.
pub fn run(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let about = [
        (
            "method",
            "MTNAS: branch search, pre-search, backbone search, finetune",
        ),
        (
            "network",
            "mtnas-release, 8 cells, width 16, 4 detection levels",
        ),
        (
            "detection data",
            "made-up driving scenes in KITTI format: 240 to search, 60 held out",
        ),
        (
            "segmentation data",
            "made-up driving scenes in Cityscapes format: 240 to search, 60 held out",
        ),
        ("input", "128 x 256 pixels"),
    ];
    let manifest = RunRecord {
        version: "0.1.0".into(),
        status: Status::Done,
        seed: 3,
        instruction_set: "avx2+fma".into(),
        command: "mtnas search configs/driving-small.toml -s seed=3 --run runs/driving".into(),
        about: about.map(|(a, b)| (a.to_string(), b.to_string())).to_vec(),
        more: BTreeMap::new(),
    };
    fs::write(dir.join("run.json"), to_file(&manifest)).unwrap();
    let config = "# Driving scenes, small: the whole pipeline in half an hour on 2 cores.\nversion = 1\nseed = 3\n\n[input]\nsize = [128, 256] # height, width\nmean = [0.485, 0.456, 0.406]\n\n[search]\nmethod = \"mtnas\"\norder = 1\nchannels = 4\n";
    fs::write(dir.join("run.toml"), config).unwrap();
    let (mut metrics, mut alpha, mut events, mut timing) =
        (String::new(), String::new(), String::new(), String::new());
    for (n, (stage, steps, tasks, set)) in STAGES.iter().enumerate() {
        let mut rng = Rng::new(9, &[n as u64]);
        let event = |step, event: &str, code: Option<&str>, message: &str| {
            to_line(&EventRecord {
                stage: stage.to_string(),
                step,
                event: event.into(),
                code: code.map(String::from),
                message: message.into(),
            })
        };
        events += &event(0, "start", None, &format!("{steps} steps planned"));
        let mut last = String::new();
        for step in (5..=*steps).step_by(5) {
            let part = step as f64 / *steps as f64;
            for (i, task) in tasks.iter().enumerate() {
                let floor = [0.9, 0.35][i.min(1)];
                for kind in [Phase::Train, Phase::Arch] {
                    if kind == Phase::Arch && (set.is_none() || part < 0.3) {
                        continue;
                    }
                    let base = floor
                        + 5.0 * (-6.0 * part).exp()
                        + if kind == Phase::Arch { 0.15 } else { 0.0 };
                    let loss = base * (1.0 + 0.1 * rng.normal());
                    let parts = if *task == "det" {
                        [
                            ("loc".to_string(), 0.3 * loss),
                            ("conf".to_string(), 0.7 * loss),
                        ]
                        .into()
                    } else {
                        BTreeMap::new()
                    };
                    metrics += &to_line(&MetricRecord {
                        stage: stage.to_string(),
                        step,
                        steps: *steps,
                        task: task.to_string(),
                        kind,
                        loss: if *stage == "4-backbone"
                            && step == 150
                            && kind == Phase::Train
                            && i == 0
                        {
                            f64::NAN
                        } else {
                            loss
                        },
                        parts,
                        lr: Some(if kind == Phase::Arch {
                            6e-4
                        } else {
                            0.05 * (1.0 + (std::f64::consts::PI * part).cos())
                        }),
                        grad_norm: Some(2.0 + rng.normal().abs() * 3.0 * (1.0 - part)),
                        cost: (*stage == "4-backbone" && kind == Phase::Train)
                            .then_some(1e9 * (1.4 - 0.6 * part)),
                        entropy: BTreeMap::new(),
                        skip_share: BTreeMap::new(),
                        pool_share: BTreeMap::new(),
                        scores: BTreeMap::new(),
                    });
                }
            }
            if let Some(set) = set {
                let cells = logits(&target(*set), part, 5);
                let text = genotype(&cells).to_string();
                for (kind, (a, b)) in [CellKind::Normal, CellKind::Reduce].into_iter().zip(&cells) {
                    assert!(alpha_entropy(a, None).unwrap() > 0.0);
                    let rows = a.chunks(PRIMITIVES).map(<[f64]>::to_vec).collect();
                    alpha += &to_line(&AlphaRecord {
                        stage: stage.to_string(),
                        step,
                        set: *set,
                        kind,
                        alpha: rows,
                        beta: b.clone(),
                        genotype: text.clone(),
                    });
                }
                if !last.is_empty() && last != text && part > 0.3 {
                    events += &event(step, "genotype", None, "the derived cells changed");
                }
                last = text;
            }
            if step % 20 == 0 {
                let images = Some(31.0 + 2.0 * rng.normal());
                timing += &to_line(&TimingRecord {
                    stage: stage.to_string(),
                    step,
                    seconds: 2.6 + 0.2 * rng.f64(),
                    images_per_s: images,
                    memory: Some(5 << 20),
                });
            }
        }
        if *stage == "4-backbone" {
            events += &event(
                150,
                "rollback",
                Some("MT0602"),
                "the detection loss was NaN (first in backbone.cell5.edge3.sep_conv_3x3); back to the checkpoint of step 140, try 1 of 3",
            );
            events += &event(
                280,
                "warning",
                None,
                "pool share of the reduction cell is 0.62: watch for collapse",
            );
        }
        let stopped = ["budget", "stable", "skips", "stable", "done", "done"][n].to_string();
        events += &event(*steps, "stop", None, &format!("stopped: {stopped}"));
        let genotypes = if set.is_some() {
            names(true)
        } else {
            BTreeMap::new()
        };
        let record = StageRecord {
            stage: stage.to_string(),
            steps: *steps,
            planned: [240, 300, 400, 600, 900, 900][n],
            stopped,
            genotypes,
        };
        let folder = dir.join("stages").join(stage);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("stage.json"), to_file(&record)).unwrap();
    }
    timing += &to_line(&TimingRecord {
        stage: "6-evaluate".into(),
        step: 0,
        seconds: 9.4,
        images_per_s: Some(52.0),
        memory: None,
    });
    for (name, text) in [
        ("metrics", metrics),
        ("alpha", alpha),
        ("events", events),
        ("timing", timing),
    ] {
        fs::write(dir.join(format!("{name}.jsonl")), text).unwrap();
    }
    fs::create_dir_all(dir.join("final")).unwrap();
    fs::create_dir_all(dir.join("stages/6-evaluate")).unwrap();
    fs::write(
        dir.join("final/metrics.json"),
        to_file(&eval(Which::Searched, 1.0)),
    )
    .unwrap();
    fs::write(
        dir.join("stages/7-random/metrics.json"),
        to_file(&eval(Which::Random, 0.88)),
    )
    .unwrap();
    fs::write(
        dir.join("stages/4-backbone/metrics.json"),
        to_file(&eval(Which::Supernet, 0.81)),
    )
    .unwrap();
    fs::write(
        dir.join("stages/6-evaluate/metrics.json"),
        to_file(&eval(Which::Derived, 0.34)),
    )
    .unwrap();
    panels::write(&dir.join("final/samples"), &samples()).unwrap();
}

/// Writes the least that is a run: a configuration, nothing done.
pub fn tiny(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("run.toml"), "version = 1\n").unwrap();
}
