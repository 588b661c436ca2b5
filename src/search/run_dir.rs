//! The run directory: made once, locked while a process works on it, resumed only as the run it was.
//!
//! `run.toml` is the resolved configuration, `run.json` the manifest ([`RunRecord`]). Nothing in them depends on the clock,
//! the host or the number of interruptions: a killed and resumed run ends with the same bytes as an undisturbed one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::checkpoint::Store;
use super::config::{Config, Override};
use super::records_io::Logs;
use crate::error::{Code, Error, Result};
use crate::files::{Disk, RealDisk, create_dir, write_atomic};
use crate::report::records::{RunRecord, Status, read_file, to_file};

/// Names of the lock and of the two files that make a directory a run.
const LOCK: &str = ".lock";
const CONFIG: &str = "run.toml";
const RECORD: &str = "run.json";
/// Field of `run.json` with the configuration that the run was started with, to notice edits of `run.toml`.
const STARTED_WITH: &str = "config";

/// A run directory that this process works on.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    lock: File,
    record: RunRecord,
}

/// A run taken up again.
#[derive(Debug)]
pub struct Resumed {
    /// Its directory.
    pub dir: RunDir,
    /// Its configuration, with the changes that a resume may make.
    pub config: Config,
    /// What the user should know: another instruction set.
    pub warnings: Vec<String>,
}

impl RunDir {
    /// Makes a run at `path`, which must be absent or empty. `record` brings instruction set, command and description; the
    /// rest of it is filled in here.
    ///
    /// # Errors
    /// `CannotCreate` for a path in use, a full disk, missing permission; `Busy` if another process just did the same.
    pub fn create(path: impl Into<PathBuf>, config: &Config, record: RunRecord) -> Result<RunDir> {
        let path = path.into();
        create_dir(&path)?;
        let lock = take_lock(&path)?;
        let entries = std::fs::read_dir(&path).map_err(|e| Error::io(&path, e))?;
        // A process that was killed while it made the directory leaves the lock, unfinished files and perhaps the manifest,
        // which is written before the configuration: still empty.
        let foreign = entries.flatten().map(|e| e.file_name()).find(|n| {
            let n = n.to_string_lossy();
            n != LOCK
                && (n != RECORD || path.join(CONFIG).exists())
                && !(n.starts_with('.') && n.ends_with(".tmp"))
        });
        if let Some(name) = foreign {
            let is_run = path.join(CONFIG).exists();
            let help = match is_run {
                true => format!(
                    "go on with `mtnas resume {}`, or choose another directory",
                    path.display()
                ),
                false => "choose a directory that is empty or does not exist".to_string(),
            };
            return Err(Error::new(
                Code::CannotCreate,
                format!("the directory is not empty: it holds {name:?}"),
            )
            .at(path.display())
            .help(help));
        }
        let mut record = RunRecord {
            version: env!("CARGO_PKG_VERSION").into(),
            status: Status::Running,
            seed: config.run.seed,
            ..record
        };
        record
            .more
            .insert("config_sha256".into(), json!(config.sha256()));
        record
            .more
            .insert(STARTED_WITH.into(), json!(config.to_toml()));
        let dir = RunDir { path, lock, record };
        dir.save_record()?;
        // Last, because it is what makes the directory a run that can be resumed.
        write_atomic(dir.path.join(CONFIG), config.to_toml().as_bytes())?;
        Ok(dir)
    }

    /// Takes up the run at `path`. `overrides` may touch only keys that no result depends on.
    ///
    /// # Errors
    /// `NotFound` if there is no run, `Busy` with the process that works on it, `ConfigChanged` with each changed key; what
    /// reading the two files can say.
    pub fn resume(path: impl Into<PathBuf>, overrides: &[Override]) -> Result<Resumed> {
        let path = path.into();
        is_run(&path)?;
        let lock = take_lock(&path)?;
        let config = Config::load(path.join(CONFIG), overrides)?;
        let mut record: RunRecord = read_file(&path.join(RECORD))?;
        let started = record.more.get(STARTED_WITH).and_then(|v| v.as_str());
        let started = started.ok_or_else(|| {
            Error::new(
                Code::BadFormat,
                "the manifest does not say what the run was started with",
            )
            .at(path.join(RECORD).display())
            .help("restore the file, or start the run again")
        })?;
        Config::from_toml(started, path.join(RECORD))?
            .check_resume(&config)
            .map_err(|e| {
                let started = format!(
                    "{} holds what it was started with",
                    path.join(RECORD).display()
                );
                e.at(path.join(CONFIG).display()).note(started)
            })?;
        let mut warnings = Vec::new();
        let arithmetic = config.run.arithmetic()?;
        if record.instruction_set != arithmetic {
            warnings.push(format!(
                "the run was computed by {} so far, from now on by {arithmetic}: it goes on, but not with the same bits as an \
                 undisturbed run",
                record.instruction_set
            ));
        }
        record.status = Status::Running;
        let dir = RunDir { path, lock, record };
        dir.save_record()?;
        Ok(Resumed {
            dir,
            config,
            warnings,
        })
    }

    /// The configuration of the run at `path`, for those who only read it; takes no lock.
    ///
    /// # Errors
    /// `NotFound` if there is no run; what reading `run.toml` can say.
    pub fn config_of(path: impl AsRef<Path>) -> Result<Config> {
        let path = path.as_ref();
        is_run(path)?;
        Config::load(path.join(CONFIG), &[])
    }

    /// Its path, as the user gave it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Notes where the run stands.
    ///
    /// # Errors
    /// As [`write_atomic`].
    pub fn set_status(&mut self, status: Status) -> Result<()> {
        self.record.status = status;
        self.save_record()
    }

    fn save_record(&self) -> Result<()> {
        write_atomic(self.path.join(RECORD), to_file(&self.record).as_bytes())
    }

    /// Opens the logs.
    ///
    /// # Errors
    /// As [`Logs::open`].
    pub fn logs(&self, tensorboard: bool) -> Result<Logs> {
        Logs::open(&self.path, tensorboard)
    }

    /// The directory `stages/<name>`, made if it is not there.
    ///
    /// # Errors
    /// As [`create_dir`].
    pub fn stage(&self, name: &str) -> Result<PathBuf> {
        let dir = self.path.join("stages").join(name);
        create_dir(&dir)?;
        Ok(dir)
    }

    /// Makes the directory `name` (`final`) with all that `fill` writes into it, or not at all: it is filled under a hidden name and
    /// renamed, in place of an older one.
    ///
    /// # Errors
    /// Those of `fill`; `CannotCreate`, `Io`.
    pub fn publish(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let (hidden, target) = (self.path.join(format!(".{name}.tmp")), self.path.join(name));
        let gone = |dir: &Path| match std::fs::remove_dir_all(dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(dir, e)),
            _ => Ok(()),
        };
        gone(&hidden)?;
        create_dir(&hidden)?;
        fill(&hidden)?;
        gone(&target)?;
        std::fs::rename(&hidden, &target).map_err(|e| Error::io(&target, e))?;
        RealDisk
            .sync_dir(&self.path)
            .map_err(|e| Error::io(&self.path, e))
    }

    /// The checkpoints of a stage.
    pub fn checkpoints(&self, stage: &str, keep: usize) -> Store {
        Store::new(
            self.path.join("stages").join(stage).join("checkpoints"),
            keep,
        )
    }
}

fn is_run(path: &Path) -> Result<()> {
    if path.join(CONFIG).is_file() {
        return Ok(());
    }
    Err(
        Error::new(Code::NotFound, format!("no run in {}", path.display()))
            .at(path.display())
            .help("give the directory of a run: it holds run.toml and run.json"),
    )
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // The lock itself goes with the file handle; the note about this process must not outlive it.
        let _ = self.lock.set_len(0);
    }
}

fn take_lock(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let io = |e| Error::io(&file, e);
    let mut lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&file)
        .map_err(io)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let note = std::fs::read_to_string(&file).unwrap_or_default();
            let who = match note.trim() {
                "" => "another process".to_string(),
                pid => format!("process {pid}"),
            };
            return Err(Error::new(Code::Busy, format!("{who} works on this run"))
                .at(path.display())
                .help("wait for it, or end it (Ctrl-C saves a checkpoint)"));
        }
        Err(TryLockError::Error(e)) => return Err(io(e)),
    }
    lock.set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(io)?;
    Ok(lock)
}

#[cfg(test)]
#[path = "run_dir_tests.rs"]
mod tests;
