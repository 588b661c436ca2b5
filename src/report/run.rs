//! A run directory as the report reads it: everything that is there, and a note for everything that is not.

use super::delta;
use super::records::*;
use super::samples::{self, SampleRecord};
use crate::space::PRIMITIVES;
use crate::space::genotype::nodes_of_edges;
use crate::{Code, Error, Result};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Damaged lines of one log that are named one by one.
const NAMED: usize = 3;

/// What a run directory holds.
#[derive(Debug, Default)]
pub struct Run {
    /// The directory as it was given.
    pub dir: PathBuf,
    /// `run.json`.
    pub manifest: Option<RunRecord>,
    /// `run.toml`, as text.
    pub config: Option<String>,
    /// `metrics.jsonl`.
    pub metrics: Vec<MetricRecord>,
    /// `alpha.jsonl`.
    pub alpha: Vec<AlphaRecord>,
    /// `events.jsonl`.
    pub events: Vec<EventRecord>,
    /// `timing.jsonl`.
    pub timing: Vec<TimingRecord>,
    /// `stages/*/stage.json`, in order of the stages.
    pub stages: Vec<StageRecord>,
    /// All `metrics.json`, ordered by network.
    pub evals: Vec<EvalRecord>,
    /// Sample predictions.
    pub samples: Vec<(SampleRecord, PathBuf)>,
    /// What could not be read, in words for the reader of the report.
    pub notes: Vec<String>,
}

impl Run {
    /// Reads `dir`. What is missing or damaged becomes a note. Errors: [`Code::NotFound`] if there is no such directory or
    /// it holds nothing of a run.
    pub fn open(dir: &Path) -> Result<Run> {
        if !dir.is_dir() {
            let e = Error::new(
                Code::NotFound,
                format!("no run directory {}", dir.display()),
            );
            return Err(e
                .at(dir.display())
                .help("give the directory that a search made, for example `runs/first`"));
        }
        let mut run = Run {
            dir: dir.to_path_buf(),
            ..Run::default()
        };
        run.manifest = run.file(&dir.join("run.json"));
        match std::fs::read(dir.join("run.toml")) {
            Ok(bytes) => run.config = Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(e) => run.notes.push(format!("run.toml: {}", reason(&e))),
        }
        run.metrics = run.log("metrics.jsonl");
        run.alpha = run.log("alpha.jsonl");
        run.events = run.log("events.jsonl");
        run.timing = run.log("timing.jsonl");
        let (mut stages, mut evals) = (Vec::new(), Vec::new());
        for stage in subdirectories(&dir.join("stages")) {
            stages.extend(run.present(&stage.join("stage.json")));
            evals.extend(run.present(&stage.join("metrics.json")));
        }
        evals.extend(run.present(&dir.join("final/metrics.json")));
        (run.stages, run.evals) = (stages, evals);
        run.evals.sort_by_key(|e: &EvalRecord| e.which);
        match samples::read(&dir.join("final/samples")) {
            Ok(list) => run.samples = list,
            Err(e) => run.notes.push(e.to_string()),
        }
        run.drop_misshapen();
        let empty = run.manifest.is_none()
            && run.config.is_none()
            && run.metrics.is_empty()
            && run.evals.is_empty();
        if empty {
            let e = Error::new(
                Code::NotFound,
                format!("{} holds nothing of a run", dir.display()),
            );
            return Err(e
                .at(dir.display())
                .help("a run directory has run.toml, run.json and metrics.jsonl"));
        }
        Ok(run)
    }

    /// The path of `path` inside the run, for notes.
    fn inside(&self, path: &Path) -> String {
        path.strip_prefix(&self.dir)
            .unwrap_or(path)
            .display()
            .to_string()
    }

    /// A JSON file that every run has.
    fn file<T: DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        if !path.exists() {
            self.notes
                .push(format!("{}: not recorded", self.inside(path)));
        }
        self.present(path)
    }

    /// A JSON file that may be missing.
    fn present<T: DeserializeOwned>(&mut self, path: &Path) -> Option<T> {
        if !path.exists() {
            return None;
        }
        read_file(path)
            .map_err(|e| self.notes.push(self.shorten(&e)))
            .ok()
    }

    fn shorten(&self, e: &Error) -> String {
        let place = e.place().unwrap_or_default();
        format!("{}: {}", self.inside(Path::new(place)), e.message())
    }

    fn log<T: DeserializeOwned>(&mut self, name: &str) -> Vec<T> {
        let path = self.dir.join(name);
        if !path.exists() {
            self.notes.push(format!("{name}: not recorded"));
            return Vec::new();
        }
        match read_lines_that_parse(&path) {
            Ok(lines) => {
                for (line, why) in lines.damaged.iter().take(NAMED) {
                    self.notes
                        .push(format!("{name}:{line}: damaged and left out ({why})"));
                }
                if lines.damaged.len() > NAMED {
                    self.notes.push(format!(
                        "{name}: {} further damaged lines left out",
                        lines.damaged.len() - NAMED
                    ));
                }
                if let Some(line) = lines.cut {
                    self.notes.push(format!(
                        "{name}:{line}: cut off in the middle of a write and left out"
                    ));
                }
                lines.records
            }
            Err(e) => {
                self.notes.push(self.shorten(&e));
                Vec::new()
            }
        }
    }

    /// Leaves out records whose lists do not fit each other, so that no figure has to ask again.
    fn drop_misshapen(&mut self) {
        let mut notes = Vec::new();
        self.alpha.retain(|a| {
            let fits = nodes_of_edges(a.alpha.len()).is_some()
                && a.alpha.iter().all(|row| row.len() == PRIMITIVES)
                && (a.beta.is_empty() || a.beta.len() == a.alpha.len());
            if !fits {
                let (stage, step) = (&a.stage, a.step);
                notes.push(format!("alpha.jsonl: record of {stage}, step {step}: not the edges and primitives of a cell; left out"));
            }
            fits
        });
        for e in &mut self.evals {
            let which = e.which.name();
            if e.detection.as_ref().is_some_and(|d| !detection_fits(d)) {
                notes.push(format!(
                    "detection results of the {which} network: lists of different lengths; left out"
                ));
                e.detection = None;
            }
            if e.segmentation
                .as_ref()
                .is_some_and(|s| !segmentation_fits(s))
            {
                notes.push(format!("segmentation results of the {which} network: lists of different lengths; left out"));
                e.segmentation = None;
            }
        }
        notes.dedup();
        let more = notes.len().saturating_sub(2 * NAMED);
        self.notes.extend(notes.into_iter().take(2 * NAMED));
        if more > 0 {
            self.notes.push(format!("{more} further records left out"));
        }
    }

    /// The first evaluation of `which`.
    pub fn eval(&self, which: Which) -> Option<&EvalRecord> {
        self.evals.iter().find(|e| e.which == which)
    }

    /// The network that the run was for: the searched one, else a given one.
    pub fn result(&self) -> Option<&EvalRecord> {
        self.eval(Which::Searched)
            .or_else(|| self.eval(Which::Given))
    }

    /// Puts the changes of the result against the networks of single tasks into it.
    ///
    /// # Errors
    /// [`Code::NotFound`] for a run without a result; those of [`delta::against`].
    pub fn compare(&mut self, baselines: &[EvalRecord]) -> Result<()> {
        let found = self
            .result()
            .map(|e| (e.which, delta::against(e, baselines)));
        let Some((which, delta)) = found else {
            let e = Error::new(Code::NotFound, "the run has no final results to compare");
            return Err(e.at(self.dir.join("final/metrics.json").display()));
        };
        let delta = delta?;
        if let Some(e) = self.evals.iter_mut().find(|e| e.which == which) {
            e.delta = Some(delta);
        }
        Ok(())
    }

    /// Folder names of all stages that left a trace, in order.
    pub fn stage_names(&self) -> Vec<String> {
        let mut names: Vec<String> = (self.stages.iter().map(|r| &r.stage))
            .chain(self.metrics.iter().map(|r| &r.stage))
            .chain(self.timing.iter().map(|r| &r.stage))
            .chain(self.alpha.iter().map(|r| &r.stage))
            .cloned()
            .collect();
        names.sort_by(|a, b| order(a).cmp(&order(b)).then(a.cmp(b)));
        names.dedup();
        names
    }

    /// Wall-clock seconds of a stage; none if its time was not recorded.
    pub fn seconds(&self, stage: &str) -> Option<f64> {
        let mut lines = self
            .timing
            .iter()
            .filter(|t| t.stage == stage && t.seconds.is_finite())
            .peekable();
        lines.peek()?;
        Some(lines.map(|t| t.seconds).sum())
    }
}

/// The number in front of a stage's folder name.
fn order(stage: &str) -> u32 {
    stage
        .split('-')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(u32::MAX)
}

fn reason(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "not recorded".into(),
        _ => e.to_string(),
    }
}

fn subdirectories(dir: &Path) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    list.sort_by_key(|p| {
        p.file_name()
            .map(|n| (order(&n.to_string_lossy()), n.to_os_string()))
    });
    list
}

fn detection_fits(d: &DetectionEval) -> bool {
    let n = d.classes.len();
    d.objects.len() == n
        && d.protocols.values().all(|p| p.ap.len() == n)
        && d.curves.iter().all(|c| {
            c.class < n && c.precision.len() == c.recall.len() && c.score.len() == c.recall.len()
        })
}

fn segmentation_fits(s: &SegmentationEval) -> bool {
    let n = s.classes.len();
    s.iou.len() == n
        && (s.confusion.is_empty()
            || s.confusion.len() == n && s.confusion.iter().all(|row| row.len() == n))
}
