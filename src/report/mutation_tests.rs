//! Damaged records and logs: each reader names the file, and the page of the run says what is left out.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::records::{
    AlphaRecord, EvalRecord, EventRecord, MetricRecord, RunRecord, StageRecord, TimingRecord,
    read_file, read_lines, to_file,
};
use super::{Run, fabricate, samples};
use crate::error::Result;
use crate::mutation::{CASES, MANY, Target, run_all};

/// Reads the run as the page does. It has a note for a file that cannot be read alone.
fn with_notes(root: &Path, file: &str, alone: Result<()>) -> Result<()> {
    let run = Run::open(root)?;
    if let Err(e) = &alone {
        let name = file.rsplit('/').next().unwrap_or(file);
        assert!(
            run.notes.iter().any(|n| n.contains(name)),
            "no note on {file}: {e}\n{:?}",
            run.notes
        );
    }
    alone
}

fn file<T: DeserializeOwned>(root: &Path, name: &str) -> Result<()> {
    with_notes(root, name, read_file::<T>(&root.join(name)).map(drop))
}

fn log<T: DeserializeOwned>(root: &Path, name: &str) -> Result<()> {
    with_notes(root, name, read_lines::<T>(&root.join(name)).map(drop))
}

const fn target(name: &'static str, file: &'static str, read: fn(&Path) -> Result<()>) -> Target {
    Target {
        name,
        file,
        mend: None,
        read,
    }
}

const TARGETS: [Target; 8] = [
    target("run.json", "run.json", |r| file::<RunRecord>(r, "run.json")),
    target("stage.json", "stages/4-backbone/stage.json", |r| {
        file::<StageRecord>(r, "stages/4-backbone/stage.json")
    }),
    target("metrics.json", "final/metrics.json", |r| {
        file::<EvalRecord>(r, "final/metrics.json")
    }),
    target("samples.json", "final/samples/samples.json", |r| {
        let alone = samples::read(&r.join("final/samples")).map(drop);
        with_notes(r, "samples.json", alone)
    }),
    target("metrics.jsonl", "metrics.jsonl", |r| {
        log::<MetricRecord>(r, "metrics.jsonl")
    }),
    target("alpha.jsonl", "alpha.jsonl", |r| {
        log::<AlphaRecord>(r, "alpha.jsonl")
    }),
    target("events.jsonl", "events.jsonl", |r| {
        log::<EventRecord>(r, "events.jsonl")
    }),
    target("timing.jsonl", "timing.jsonl", |r| {
        log::<TimingRecord>(r, "timing.jsonl")
    }),
];

/// A run with a few lines in each log and one evaluation with short curves: that is enough, and quicker.
fn valid(root: &Path) {
    fabricate::run(root);
    for stage in ["4-backbone", "6-evaluate", "7-random"] {
        std::fs::remove_file(root.join(format!("stages/{stage}/metrics.json"))).unwrap();
    }
    let path = root.join("final/metrics.json");
    let mut eval: EvalRecord = read_file(&path).unwrap();
    if let Some(d) = &mut eval.detection {
        d.curves.truncate(1);
        for c in &mut d.curves {
            for list in [&mut c.precision, &mut c.recall, &mut c.score] {
                list.truncate(5);
            }
        }
    }
    std::fs::write(&path, to_file(&eval)).unwrap();
    for log in ["metrics", "alpha", "events", "timing"] {
        let path = root.join(format!("{log}.jsonl"));
        let text = std::fs::read_to_string(&path).unwrap();
        let step = text.lines().count().div_ceil(6);
        let few: String = text
            .lines()
            .step_by(step)
            .map(|l| format!("{l}\n"))
            .collect();
        std::fs::write(&path, few).unwrap();
    }
}

#[test]
fn damaged_records_are_refused_by_name() {
    run_all(&TARGETS, CASES, valid);
}

#[test]
#[ignore = "10,000 damaged files of each kind"]
fn ten_thousand_damaged_records() {
    run_all(&TARGETS, MANY, valid);
}
