//! A run in this process: its directory, configuration, logs, progress, and the wish to stop.

use std::path::PathBuf;
use std::time::Instant;

use super::checkpoint::{Checkpoint, Store as Checkpoints};
use super::config::Config;
use super::progress::Progress;
use super::records_io::{Lengths, Logs};
use super::run_dir::{Resumed, RunDir};
use super::signals::Stop;
use super::stage::{Plan, alpha_records};
use super::stage_record::read_stage;
use super::workbench::{activation_dtype, parameter_dtype};
use crate::backend::{peak_bytes, reset_peak};
use crate::error::Result;
use crate::files::write_atomic;
use crate::nn::Store;
use crate::report::records::{RunRecord, StageRecord, to_file};
use crate::rng::{Rng, word};
use crate::space::derive::alpha_entropy;
use crate::space::{ArchGroup, Genotype, PRIMITIVES};
use crate::tape::{Cx, Path};
use crate::tensor::DType;

/// A run that is going on.
pub struct Session {
    /// Its directory.
    pub dir: RunDir,
    /// Its configuration, resolved.
    pub config: Config,
    /// Its logs.
    pub logs: Logs,
    /// What the user sees.
    pub progress: Progress,
    /// Whether to stop.
    pub stop: Stop,
    /// How operations run.
    pub cx: Cx,
    /// Lengths of the logs at the end of the last finished stage.
    pub lengths: Lengths,
    lap: Instant,
    images: u64,
}

impl Session {
    /// Starts a run at `path`.
    ///
    /// # Errors
    /// As [`RunDir::create`].
    pub fn create(
        path: impl Into<PathBuf>,
        config: Config,
        command: String,
        progress: Progress,
        stop: Stop,
    ) -> Result<Session> {
        let record = RunRecord {
            instruction_set: config.run.arithmetic()?,
            command,
            ..RunRecord::default()
        };
        let dir = RunDir::create(path, &config, record)?;
        Session::open(dir, config, progress, stop)
    }

    /// Takes up a run.
    ///
    /// # Errors
    /// As [`RunDir::resume`].
    pub fn resume(resumed: Resumed, progress: Progress, stop: Stop) -> Result<Session> {
        for w in &resumed.warnings {
            progress.warn(w);
        }
        Session::open(resumed.dir, resumed.config, progress, stop)
    }

    fn open(dir: RunDir, config: Config, progress: Progress, stop: Stop) -> Result<Session> {
        let cx = config.run.cx()?;
        let logs = dir.logs(config.log.tensorboard)?;
        let lengths = Lengths::default();
        Ok(Session {
            dir,
            config,
            logs,
            progress,
            stop,
            cx,
            lengths,
            lap: Instant::now(),
            images: 0,
        })
    }

    /// dtype of activations.
    pub fn activation_dtype(&self) -> DType {
        activation_dtype(self.config.run.precision)
    }

    /// dtype of parameters.
    pub fn parameter_dtype(&self) -> DType {
        parameter_dtype(self.config.run.precision)
    }

    /// Seed of the initial values of a stage's network.
    pub fn seed_of(&self, stage: u64) -> u64 {
        Rng::new(self.config.run.seed, &[word("stage"), stage]).u64()
    }

    /// Saves a checkpoint that knows how long the logs are.
    ///
    /// # Errors
    /// As [`Checkpoints::save`].
    pub fn save(
        &mut self,
        to: &Checkpoints,
        step: u64,
        make: impl FnOnce(Lengths) -> Result<Checkpoint>,
    ) -> Result<()> {
        let lengths = self.logs.sync()?;
        self.lengths = lengths;
        to.save(step, &make(lengths)?)
    }

    /// The record of a finished stage.
    ///
    /// # Errors
    /// A record that does not read.
    pub fn stage_record(&self, stage: &str) -> Result<Option<StageRecord>> {
        let path = self
            .dir
            .path()
            .join("stages")
            .join(stage)
            .join("stage.json");
        path.is_file().then(|| read_stage(&path)).transpose()
    }

    /// Writes the genotypes, then the record that marks the stage as finished.
    ///
    /// # Errors
    /// As [`write_atomic`].
    pub fn finish_stage(&mut self, stage: &str, record: &StageRecord) -> Result<()> {
        let dir = self.dir.stage(stage)?;
        if !record.genotypes.is_empty() {
            let text: String = record
                .genotypes
                .iter()
                .map(|(n, g)| format!("{n} = {g}\n"))
                .collect();
            write_atomic(dir.join("genotype.txt"), text.as_bytes())?;
        }
        write_atomic(dir.join("stage.json"), to_file(record).as_bytes())
    }

    /// Records the parameters of a group (if an architecture step was done); returns their mean entropy in nats.
    ///
    /// # Errors
    /// A full disk; parameters that are not finite.
    pub fn log_alpha(
        &mut self,
        plan: &Plan,
        step: u64,
        group: &ArchGroup,
        store: &Store,
        genotype: &Genotype,
        record: bool,
    ) -> Result<f64> {
        let values = group.values(store);
        let (mut sum, mut rows) = (0.0, 0.0);
        for (name, v) in values.iter().filter(|(n, _)| n.contains("alpha_")) {
            let candidates = group.candidates(name.ends_with("reduce"));
            let n = (v.len() / PRIMITIVES) as f64;
            sum += alpha_entropy(v, Some(candidates))? * n;
            rows += n;
        }
        if record {
            for r in alpha_records(plan, step, &values, group.name(), &genotype.to_string()) {
                self.logs.alpha(&r)?;
            }
        }
        Ok(if rows > 0.0 { sum / rows } else { 0.0 })
    }

    /// Counts images for the throughput.
    pub fn count(&mut self, images: u64) {
        self.images += images;
    }

    /// Images since the last call.
    pub fn take_images(&mut self) -> u64 {
        std::mem::take(&mut self.images)
    }

    /// The most bytes of tensors in use at one time where operations run, since [`Session::reset_peak`].
    pub fn peak(&self) -> u64 {
        match self.cx.path {
            Path::Device(e) => e.counts().peak,
            _ => peak_bytes() as u64,
        }
    }

    /// Counts [`Session::peak`] from what is in use now.
    pub fn reset_peak(&self) {
        match self.cx.path {
            Path::Device(e) => e.reset_peak(),
            _ => reset_peak(),
        }
    }

    /// Seconds since the last call, and images per second.
    pub fn lap(&mut self, images: u64) -> (f64, Option<f64>) {
        let seconds = self.lap.elapsed().as_secs_f64();
        self.lap = Instant::now();
        (seconds, (seconds > 0.0).then(|| images as f64 / seconds))
    }
}
