//! The logs of a run: lines are only ever added, and a resumed run cuts each log back to where it stood at the checkpoint, so
//! that no step is recorded twice and a killed run's logs end with the same bytes as an undisturbed one's.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tensorboard::Events;
use crate::error::{Code, Error, Result};
use crate::report::records::{
    AlphaRecord, EventRecord, MetricRecord, Phase, TimingRecord, to_line,
};

/// Where the events of TensorBoard lie inside a run. The name holds no time and no host: it is the same for equal runs.
pub const TENSORBOARD: &str = "tb/events.out.tfevents.0.mtnas";

/// A file that grows.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Log {
    fn open(path: PathBuf) -> Result<Log> {
        let io = |e| Error::io(&path, e);
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        Ok(Log { path, file, length })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|e| Error::io(&self.path, e))?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn rewind(&mut self, length: u64) -> Result<()> {
        let now = self
            .file
            .metadata()
            .map_err(|e| Error::io(&self.path, e))?
            .len();
        if now < length {
            return Err(Error::new(
                Code::BadCheckpoint,
                format!("the log has {now} bytes, the checkpoint was made at {length}"),
            )
            .at(self.path.display())
            .help("lines of the log are lost: restore the file, or start the run again"));
        }
        self.file
            .set_len(length)
            .map_err(|e| Error::io(&self.path, e))?;
        self.length = length;
        Ok(())
    }

    /// Cuts off a line that a kill left without its end.
    fn drop_torn_line(&mut self) -> Result<()> {
        let bytes = std::fs::read(&self.path).map_err(|e| Error::io(&self.path, e))?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        self.rewind(whole as u64)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, e))
    }
}

/// Length of each log in bytes, as a checkpoint keeps it. Not that of the wall-clock figures, which would make the checkpoints of
/// two equal runs differ: lines of steps that are taken again stay in `timing.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lengths {
    metrics: u64,
    alpha: u64,
    events: u64,
    tensorboard: u64,
}

/// The logs of one run directory.
#[derive(Debug)]
pub struct Logs {
    metrics: Log,
    alpha: Log,
    events: Log,
    timing: Log,
    tensorboard: Option<Log>,
    /// Steps of the stages before the current one: TensorBoard's axis runs through all stages.
    offset: u64,
}

impl Logs {
    /// Opens (or makes) the logs in `dir`; `tensorboard` asks for event files too.
    ///
    /// # Errors
    /// `CannotCreate`, `Io`.
    pub fn open(dir: &Path, tensorboard: bool) -> Result<Logs> {
        let log = |name: &str| Log::open(dir.join(name));
        let mut events = None;
        if tensorboard {
            crate::files::create_dir(dir.join("tb"))?;
            events = Some(log(TENSORBOARD)?);
        }
        Ok(Logs {
            metrics: log("metrics.jsonl")?,
            alpha: log("alpha.jsonl")?,
            events: log("events.jsonl")?,
            timing: log("timing.jsonl")?,
            tensorboard: events,
            offset: 0,
        })
    }

    /// Says that a stage of so many steps has ended: TensorBoard's axis goes on from there.
    pub fn stage_ended(&mut self, steps: u64) {
        self.offset += steps;
    }

    /// Records losses.
    ///
    /// # Errors
    /// `CannotCreate` for a full disk, `Io`.
    pub fn metric(&mut self, r: &MetricRecord) -> Result<()> {
        self.metrics.append(to_line(r).as_bytes())?;
        let phase = match r.kind {
            Phase::Train => "train",
            Phase::Arch => "arch",
            Phase::Eval => "eval",
        };
        let mut values = vec![(format!("loss/{}-{phase}", r.task), r.loss)];
        let mut add =
            |group: &str, name: &str, v: f64| values.push((format!("{group}/{name}-{phase}"), v));
        r.parts
            .iter()
            .for_each(|(n, v)| add("loss-parts", &format!("{}-{n}", r.task), *v));
        r.lr.iter().for_each(|v| add("learning-rate", &r.task, *v));
        r.grad_norm
            .iter()
            .for_each(|v| add("gradient-norm", &r.task, *v));
        r.cost.iter().for_each(|v| add("cost", "expected", *v));
        r.entropy.iter().for_each(|(n, v)| add("entropy", n, *v));
        r.skip_share
            .iter()
            .for_each(|(n, v)| add("skip-share", n, *v));
        r.pool_share
            .iter()
            .for_each(|(n, v)| add("pool-share", n, *v));
        r.scores.iter().for_each(|(n, v)| add("score", n, *v));
        let mut e = Events::default();
        e.scalars(
            self.offset + r.step,
            values.iter().map(|(t, v)| (t.as_str(), *v)),
        );
        self.board(e)
    }

    /// Records architecture parameters.
    ///
    /// # Errors
    /// As [`Logs::metric`].
    pub fn alpha(&mut self, r: &AlphaRecord) -> Result<()> {
        self.alpha.append(to_line(r).as_bytes())?;
        let mut e = Events::default();
        let tag = |what: &str| format!("{what}/{}-{}", r.set.name(), r.kind.name());
        e.histogram(self.offset + r.step, &tag("alpha"), &r.alpha.concat());
        e.histogram(self.offset + r.step, &tag("beta"), &r.beta);
        self.board(e)
    }

    /// Records that something happened.
    ///
    /// # Errors
    /// As [`Logs::metric`].
    pub fn event(&mut self, r: &EventRecord) -> Result<()> {
        self.events.append(to_line(r).as_bytes())
    }

    /// Records wall-clock figures.
    ///
    /// # Errors
    /// As [`Logs::metric`].
    pub fn timing(&mut self, r: &TimingRecord) -> Result<()> {
        self.timing.append(to_line(r).as_bytes())
    }

    fn board(&mut self, events: Events) -> Result<()> {
        let Some(log) = &mut self.tensorboard else {
            return Ok(());
        };
        if log.length == 0 {
            log.append(&Events::head().into_bytes())?;
        }
        log.append(&events.into_bytes())
    }

    /// Forces all lines to the device and says how long the logs are: what a checkpoint must keep.
    ///
    /// # Errors
    /// `CannotCreate` for a full disk, `Io`.
    pub fn sync(&self) -> Result<Lengths> {
        for log in [&self.metrics, &self.alpha, &self.events, &self.timing]
            .into_iter()
            .chain(&self.tensorboard)
        {
            log.sync()?;
        }
        Ok(Lengths {
            metrics: self.metrics.length,
            alpha: self.alpha.length,
            events: self.events.length,
            tensorboard: self.tensorboard.as_ref().map_or(0, |l| l.length),
        })
    }

    /// Cuts all logs back to where they were at a checkpoint (to nothing with the default).
    ///
    /// # Errors
    /// `BadCheckpoint` if a log is shorter than that; `Io`.
    pub fn rewind(&mut self, to: Lengths) -> Result<()> {
        self.metrics.rewind(to.metrics)?;
        self.alpha.rewind(to.alpha)?;
        self.events.rewind(to.events)?;
        self.timing.drop_torn_line()?;
        self.tensorboard
            .as_mut()
            .map_or(Ok(()), |l| l.rewind(to.tensorboard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::records::{AlphaSet, CellKind};
    use crate::search::tensorboard::read_scalars;

    fn metric(step: u64) -> MetricRecord {
        MetricRecord {
            stage: "1-branch-det".into(),
            step,
            steps: 100,
            task: "det".into(),
            kind: Phase::Train,
            loss: 1.0 / step as f64,
            parts: [("loc".to_string(), f64::NAN)].into(),
            lr: Some(0.1),
            grad_norm: None,
            cost: None,
            entropy: [("det.normal".to_string(), 2.0)].into(),
            skip_share: Default::default(),
            pool_share: Default::default(),
            scores: Default::default(),
        }
    }

    fn alpha(step: u64) -> AlphaRecord {
        AlphaRecord {
            stage: "1-branch-det".into(),
            step,
            set: AlphaSet::Det,
            kind: CellKind::Normal,
            alpha: vec![vec![step as f64; 8]; 14],
            beta: vec![0.5; 14],
            genotype: String::new(),
        }
    }

    fn write(logs: &mut Logs, steps: std::ops::Range<u64>) {
        for s in steps {
            logs.metric(&metric(s)).unwrap();
            logs.alpha(&alpha(s)).unwrap();
            let message = format!("at {s}");
            logs.event(&EventRecord {
                stage: "x".into(),
                step: s,
                event: "warning".into(),
                code: None,
                message,
            })
            .unwrap();
            logs.timing(&TimingRecord {
                stage: "x".into(),
                step: s,
                seconds: 1.0,
                images_per_s: None,
                memory: None,
            })
            .unwrap();
        }
    }

    #[test]
    fn the_axis_of_tensorboard_runs_through_all_stages() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = Logs::open(dir.path(), true).unwrap();
        write(&mut logs, 1..3);
        logs.stage_ended(2);
        write(&mut logs, 1..3);
        let scalars = read_scalars(&std::fs::read(dir.path().join(TENSORBOARD)).unwrap()).unwrap();
        let losses = scalars
            .iter()
            .filter(|(_, tag, _)| tag.contains("loss/det-train"));
        let steps: Vec<u64> = losses.map(|(step, _, _)| *step).collect();
        assert_eq!(steps, [1, 2, 3, 4]);
    }

    fn bytes(dir: &Path) -> Vec<Vec<u8>> {
        ["metrics.jsonl", "alpha.jsonl", "events.jsonl", TENSORBOARD]
            .map(|f| std::fs::read(dir.join(f)).unwrap())
            .to_vec()
    }

    #[test]
    fn a_killed_and_resumed_log_has_the_bytes_of_an_undisturbed_one() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut logs = Logs::open(a.path(), true).unwrap();
        write(&mut logs, 1..9);
        let mut logs = Logs::open(b.path(), true).unwrap();
        write(&mut logs, 1..5);
        let checkpoint = logs.sync().unwrap();
        write(&mut logs, 5..7);
        drop(logs);
        // The kill came in the middle of a line.
        let mut f = OpenOptions::new()
            .append(true)
            .open(b.path().join("metrics.jsonl"))
            .unwrap();
        f.write_all(b"{\"stage\":\"1-br").unwrap();
        let text = serde_json::to_string(&checkpoint).unwrap();
        let mut logs = Logs::open(b.path(), true).unwrap();
        logs.rewind(serde_json::from_str(&text).unwrap()).unwrap();
        write(&mut logs, 5..9);
        assert_eq!(bytes(a.path()), bytes(b.path()));
        let scalars = read_scalars(&bytes(a.path())[3]).unwrap();
        assert!(scalars.contains(&(8, "loss/det-train".into(), 0.125)));
        assert!(scalars.contains(&(3, "alpha/det-normal".into(), 3.0)));
        // Resumed before the first checkpoint: all over again.
        logs.rewind(Lengths::default()).unwrap();
        write(&mut logs, 1..9);
        assert_eq!(bytes(a.path()), bytes(b.path()));
    }

    #[test]
    fn a_log_that_lost_lines_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut logs = Logs::open(dir.path(), false).unwrap();
        write(&mut logs, 1..3);
        let lengths = logs.sync().unwrap();
        std::fs::write(dir.path().join("alpha.jsonl"), "").unwrap();
        let e = Logs::open(dir.path(), false)
            .unwrap()
            .rewind(lengths)
            .unwrap_err();
        assert!(
            e.code() == Code::BadCheckpoint && e.place().unwrap().ends_with("alpha.jsonl"),
            "{e}"
        );
    }
}
