//! A written `model.py` run by a Python with PyTorch, held against the network.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::source::Source;
use crate::error::{Code, Error, Result};
use crate::export::safetensors::{self, TensorFile};
use crate::export::{trace, verify};

/// Runs `python model.py --check FILE` over random images; what it said.
///
/// # Errors
/// `CheckFailed` with what it wrote when it ends with another status than 0; `NotFound` without such a program.
pub(super) fn check(python: &Path, model: &Path, s: &Source) -> Result<String> {
    let x = verify::images(&s.net, 2)?;
    let mut tensors: BTreeMap<String, _> = verify::expected(&s.net, &s.store, &x)?
        .into_iter()
        .map(|(name, t)| (name.to_string(), t))
        .collect();
    tensors.insert(trace::IMAGE.into(), x);
    let file = model.with_extension("check.safetensors");
    let metadata = BTreeMap::new();
    safetensors::write(&file, &TensorFile { tensors, metadata })?;
    let ran = Command::new(python)
        .arg(model)
        .arg("--check")
        .arg(&file)
        .output();
    let _ = std::fs::remove_file(&file);
    let o = ran.map_err(|e| Error::io(python, e))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    if o.status.success() {
        return Ok(said(&o.stdout));
    }
    let last = said(&o.stderr)
        .lines()
        .last()
        .unwrap_or_default()
        .to_string();
    let text = format!(
        "PyTorch does not compute what the network yields: {} {last}",
        said(&o.stdout)
    );
    Err(Error::new(Code::CheckFailed, text.trim().to_string()).at(model.display()))
}
