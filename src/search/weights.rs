//! Weights from elsewhere at the start of a training: `model.weights`.

use super::config::Config;
use crate::error::Result;
use crate::export::safetensors;
use crate::model::NetworkSpec;
use crate::model::names::{COUNTER, Taken, take};

/// What `model.weights` gives the network of `spec`; `None` where the key is empty.
///
/// # Errors
/// A file that does not read; `BadCheckpoint` with every tensor that is missing, left over or of another shape.
pub fn given(c: &Config, spec: &NetworkSpec) -> Result<Option<Taken>> {
    let path = &c.model.weights;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let file = safetensors::read_but(path, |name| name.ends_with(COUNTER))?;
    let taken = take(spec, file.tensors).map_err(|e| e.at(path.display()))?;
    Ok(Some(taken))
}
