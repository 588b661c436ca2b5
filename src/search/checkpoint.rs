//! Checkpoints: a safetensors file and a manifest that vouches for it.
//!
//! A save writes the tensors under a name that holds the first digits of their hash, then the manifest; both beside their
//! place, forced to disk, renamed. The manifest is the commit: a reader trusts only what a manifest verifies, so a process or
//! machine that stops at any instant leaves the checkpoints before intact. Equal content gives equal bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Code, Error, Result};
use crate::export::safetensors::{header, in_order, parse};
use crate::files::{Disk, RealDisk, create_dir, write_atomic_on};
use crate::tensor::Tensor;

/// Key of the state in the metadata of the safetensors file.
const STATE: &str = "state";

/// Everything a stage needs to go on.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// Weights, architecture parameters, statistics, optimiser moments, by dotted name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Counters and all else that is not a tensor. JSON knows no NaN: keep floats that may be one in a tensor.
    pub state: Value,
}

impl Checkpoint {
    /// The tensor `name`.
    ///
    /// # Errors
    /// `BadCheckpoint` if there is none.
    pub fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.tensors.get(name).ok_or_else(|| {
            Error::new(
                Code::BadCheckpoint,
                format!("the checkpoint has no tensor {name:?}"),
            )
            .help("it was made by another network: resume with the configuration of the run")
        })
    }
}

/// The checkpoints of one stage, in a directory of their own.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    keep: usize,
}

/// A checkpoint that was read back.
#[derive(Debug)]
pub struct Loaded {
    /// Steps done when it was saved.
    pub step: u64,
    /// Its content.
    pub checkpoint: Checkpoint,
    /// Newer checkpoints that were damaged and passed over: worth a warning each.
    pub skipped: Vec<Error>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    version: u32,
    step: u64,
    file: String,
    bytes: u64,
    sha256: String,
    /// Name, first byte, end, CRC-32C of each part of the file, to say what a damage hit.
    parts: Vec<(String, u64, u64, u32)>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Store {
    /// The checkpoints in `dir` (made on the first save), of which the `keep` newest are kept.
    pub fn new(dir: impl Into<PathBuf>, keep: usize) -> Store {
        Store {
            dir: dir.into(),
            keep: keep.max(1),
        }
    }

    /// Saves the state after `step` steps, then removes what is older than the `keep` newest.
    ///
    /// # Errors
    /// `Diverged` naming the first tensor that is not finite; `CannotCreate` (a full disk included), `Io`: the earlier
    /// checkpoints are intact.
    pub fn save(&self, step: u64, checkpoint: &Checkpoint) -> Result<()> {
        create_dir(&self.dir)?;
        self.save_on(&RealDisk, step, checkpoint)
    }

    fn save_on(&self, disk: &dyn Disk, step: u64, checkpoint: &Checkpoint) -> Result<()> {
        if let Some((name, _)) = checkpoint
            .tensors
            .iter()
            .find(|(_, t)| t.dtype().is_float() && !t.all_finite())
        {
            return Err(Error::new(
                Code::Diverged,
                format!("tensor {name:?} is not finite and is not saved"),
            )
            .at(self.dir.display()));
        }
        let tensors = in_order(checkpoint.tensors.iter().map(|(n, t)| (n.as_str(), t)));
        let metadata = BTreeMap::from([(STATE.to_string(), checkpoint.state.to_string())]);
        let head = header(&tensors, &metadata)?;
        let named = [("header", head.as_slice())]
            .into_iter()
            .chain(tensors.iter().map(|(n, t)| (*n, t.bytes())));
        let (mut hash, mut end, mut parts, mut content) = (Sha256::new(), 0, vec![], vec![]);
        for (name, bytes) in named {
            hash.update(bytes);
            let start = end;
            end += bytes.len() as u64;
            parts.push((name.to_string(), start, end, crc32c::crc32c(bytes)));
            content.push(bytes);
        }
        let sha256 = hex(&hash.finalize());
        let file = format!("{step:09}-{}.safetensors", &sha256[..8]);
        let manifest = Manifest {
            version: 1,
            step,
            file: file.clone(),
            bytes: end,
            sha256,
            parts,
        };
        let mut text = serde_json::to_string(&manifest).expect("a manifest is plain data");
        text.push('\n');
        text += &hex(&Sha256::digest(&text));
        text.push('\n');
        write_atomic_on(disk, &self.dir.join(&file), &content)?;
        write_atomic_on(disk, &self.manifest_path(step), &[text.as_bytes()])?;
        self.tidy(disk, &file);
        Ok(())
    }

    /// The manifest of the checkpoint of `step`, whether it exists or not.
    pub fn manifest_path(&self, step: u64) -> PathBuf {
        self.dir.join(format!("{step:09}.json"))
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries
            .filter_map(|e| e.file_name().into_string().ok())
            .collect()
    }

    /// Steps with a manifest, rising.
    pub fn steps(&self) -> Vec<u64> {
        let names = self.names();
        let mut steps: Vec<u64> = names
            .iter()
            .filter_map(|n| n.strip_suffix(".json")?.parse().ok())
            .collect();
        steps.sort_unstable();
        steps
    }

    /// Removes old checkpoints, and files that no manifest names. A file that cannot be removed is tried again next time.
    fn tidy(&self, disk: &dyn Disk, newest: &str) {
        let steps = self.steps();
        let (old, kept) = steps.split_at(steps.len().saturating_sub(self.keep));
        for step in old {
            let _ = disk.remove(&self.manifest_path(*step));
        }
        let mut wanted: Vec<String> = vec![newest.to_string()];
        for step in kept {
            // A manifest that cannot be read vouches for nothing, but its file may help a person: leave what it could mean.
            match self.read_manifest(*step) {
                Ok(m) => wanted.push(m.file),
                Err(_) => wanted.extend(
                    self.names()
                        .into_iter()
                        .filter(|n| n.starts_with(&format!("{step:09}-"))),
                ),
            }
        }
        for name in self.names() {
            let data = name.ends_with(".safetensors") && !wanted.contains(&name);
            if data || name.ends_with(".tmp") {
                let _ = disk.remove(&self.dir.join(name));
            }
        }
    }

    fn read_manifest(&self, step: u64) -> Result<Manifest> {
        let path = self.manifest_path(step);
        let bad = |what: &str| {
            Error::new(
                Code::BadCheckpoint,
                format!("the manifest of the checkpoint {what}"),
            )
            .at(path.display())
        };
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let end = bytes
            .iter()
            .position(|&b| b == b'\n')
            .ok_or_else(|| bad("is cut off"))?
            + 1;
        let sum = hex(&Sha256::digest(&bytes[..end]));
        if bytes[end..] != *format!("{sum}\n").as_bytes() {
            return Err(bad("is damaged: its checksum does not fit"));
        }
        let m: Manifest = serde_json::from_slice(&bytes[..end])
            .map_err(|e| bad(&format!("is not understood: {e}")))?;
        let plain = Path::new(&m.file)
            .file_name()
            .is_some_and(|n| n == m.file.as_str());
        match (m.version, m.step == step && plain) {
            (1, true) => Ok(m),
            (1, false) => Err(bad("belongs to another step")),
            (v, _) => Err(bad(&format!("has version {v}, this program reads 1"))),
        }
    }

    /// Reads and verifies the checkpoint of `step`.
    ///
    /// # Errors
    /// `BadCheckpoint` naming file and tensor for any damage; `NotFound`, `Io`.
    pub fn load(&self, step: u64) -> Result<Checkpoint> {
        let m = self.read_manifest(step)?;
        let named = |e: Error| {
            e.note(format!(
                "its manifest is {}",
                self.manifest_path(step).display()
            ))
        };
        self.load_named(&m).map_err(named)
    }

    /// The file that a manifest names.
    fn load_named(&self, m: &Manifest) -> Result<Checkpoint> {
        let path = self.dir.join(&m.file);
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        if bytes.len() as u64 != m.bytes || hex(&Sha256::digest(&bytes)) != m.sha256 {
            let intact = |(_, start, end, crc): &&(String, u64, u64, u32)| {
                let part = bytes.get(*start as usize..*end as usize);
                part.is_some_and(|p| crc32c::crc32c(p) == *crc)
            };
            let what = match m.parts.iter().find(|p| !intact(p)) {
                Some((name, ..)) if name == "header" => "in its header".to_string(),
                Some((name, ..)) => format!("in tensor {name:?}"),
                None => "after its last tensor".to_string(),
            };
            let size = if bytes.len() as u64 == m.bytes {
                String::new()
            } else {
                format!(" ({} bytes instead of {})", bytes.len(), m.bytes)
            };
            return Err(Error::new(
                Code::BadCheckpoint,
                format!("the checkpoint is damaged {what}{size}"),
            )
            .at(path.display()));
        }
        let broken = |what: String| Error::new(Code::BadCheckpoint, what).at(path.display());
        let mut file = parse(&bytes, &path).map_err(|e| broken(e.message().to_string()))?;
        let state = file.metadata.remove(STATE).unwrap_or_default();
        let state = serde_json::from_str(&state)
            .map_err(|e| broken(format!("the state is not JSON: {e}")))?;
        Ok(Checkpoint {
            tensors: file.tensors,
            state,
        })
    }

    /// The newest checkpoint that verifies; none if there is no checkpoint at all.
    ///
    /// # Errors
    /// `BadCheckpoint` if there are checkpoints but none is good.
    pub fn load_latest(&self) -> Result<Option<Loaded>> {
        let mut skipped = Vec::new();
        for step in self.steps().into_iter().rev() {
            match self.load(step) {
                Ok(checkpoint) => {
                    return Ok(Some(Loaded {
                        step,
                        checkpoint,
                        skipped,
                    }));
                }
                Err(e) => skipped.push(e),
            }
        }
        match skipped.len() {
            0 => Ok(None),
            1 => Err(skipped.remove(0)),
            n => {
                let e = Error::new(
                    Code::BadCheckpoint,
                    format!("none of the {n} checkpoints is good"),
                )
                .at(self.dir.display());
                Err(skipped.iter().fold(e, |e, s| e.note(s.to_string())))
            }
        }
    }

    /// Removes every checkpoint: the stage is done and its result is kept elsewhere.
    ///
    /// # Errors
    /// `Io`.
    pub fn clear(&self) -> Result<()> {
        match std::fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&self.dir, e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
