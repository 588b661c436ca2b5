//! An ONNX file read back, and whether it holds together.

use std::collections::BTreeSet;
use std::path::Path;

use prost::Message;

use super::proto::{F32, GraphProto, I64, ModelProto, NodeProto, TensorProto};
use super::write::{IR_VERSION, OPSET};
use crate::error::{Code, Error, Result};

/// Reads a file that [`super::to_onnx`] wrote and checks it as [`check`] does.
///
/// # Errors
/// `NotFound`, `Io`; [`Code::BadFormat`] with the path.
pub fn read(path: &Path) -> Result<ModelProto> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    parse(&bytes).map_err(|e| e.at(path.display()))
}

/// [`read`] of the bytes of a file.
///
/// # Errors
/// [`Code::BadFormat`].
pub fn parse(bytes: &[u8]) -> Result<ModelProto> {
    let model = ModelProto::decode(bytes).map_err(|e| bad(format!("not an ONNX file: {e}")))?;
    check(&model)?;
    Ok(model)
}

pub(super) fn bad(what: impl Into<String>) -> Error {
    Error::new(Code::BadFormat, what).help("export the network again")
}

/// Versions; every value is defined once and before it is read; every stored value has as many bytes as its sizes say; inputs and outputs
/// have types.
///
/// # Errors
/// [`Code::BadFormat`], naming the node or value.
pub fn check(model: &ModelProto) -> Result<()> {
    let ir = model.ir_version();
    if ir != IR_VERSION {
        return Err(bad(format!("IR version {ir}, expected {IR_VERSION}")));
    }
    let standard = |o: &&super::proto::OperatorSetIdProto| o.domain().is_empty();
    match model.opset_import.iter().find(standard) {
        Some(o) if o.version() == OPSET => {}
        other => {
            let found = other.map_or("none".into(), |o| o.version().to_string());
            return Err(bad(format!(
                "operators of version {found}, expected {OPSET}"
            )));
        }
    }
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| bad("there is no graph"))?;
    let mut known = BTreeSet::new();
    for t in &graph.initializer {
        stored(t)?;
        define(&mut known, t.name())?;
    }
    for v in &graph.input {
        define(&mut known, v.name())?;
    }
    for n in &graph.node {
        node(&mut known, n)?;
    }
    ends(graph, &known)
}

fn define<'a>(known: &mut BTreeSet<&'a str>, name: &'a str) -> Result<()> {
    match !name.is_empty() && known.insert(name) {
        true => Ok(()),
        false => Err(bad(format!(
            "the value `{name}` is defined twice or has no name"
        ))),
    }
}

/// A stored value's sizes; checks its bytes.
pub(super) fn stored(t: &TensorProto) -> Result<Vec<usize>> {
    let name = t.name();
    let size = match t.data_type() {
        F32 => 4,
        I64 => 8,
        other => return Err(bad(format!("`{name}` has the element type {other}"))),
    };
    let dims: Option<Vec<usize>> = t.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let dims = dims.ok_or_else(|| bad(format!("`{name}` has the sizes {:?}", t.dims)))?;
    let wanted = (dims.iter()).try_fold(size, |n: usize, &d| n.checked_mul(d));
    if wanted != Some(t.raw_data().len()) {
        let bytes = t.raw_data().len();
        return Err(bad(format!("`{name}` {dims:?} has {bytes} bytes")));
    }
    Ok(dims)
}

fn node<'a>(known: &mut BTreeSet<&'a str>, n: &'a NodeProto) -> Result<()> {
    let of = format!("{} `{}`", n.op_type(), n.name());
    if let Some(x) = n
        .input
        .iter()
        .find(|x| !x.is_empty() && !known.contains(x.as_str()))
    {
        return Err(bad(format!(
            "{of} reads `{x}`, which is not defined before"
        )));
    }
    if n.op_type().is_empty() || n.output.is_empty() {
        return Err(bad(format!("{of} has no operator or no result")));
    }
    n.output.iter().try_for_each(|y| define(known, y))
}

fn ends(graph: &GraphProto, known: &BTreeSet<&str>) -> Result<()> {
    if let Some(v) = graph.output.iter().find(|v| !known.contains(v.name())) {
        return Err(bad(format!("the output `{}` is not computed", v.name())));
    }
    for v in graph.input.iter().chain(&graph.output) {
        let tensor = v.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        if tensor.and_then(|t| t.shape.as_ref()).is_none() {
            return Err(bad(format!("`{}` has no type", v.name())));
        }
    }
    match graph.input.is_empty() || graph.output.is_empty() {
        true => Err(bad("there is no input or no output")),
        false => Ok(()),
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
