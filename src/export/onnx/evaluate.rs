//! What an ONNX file computes, operator by operator: on the reference path where the operator is an operation of ours, in plain loops
//! elsewhere. For checking what was exported, not for speed.

use std::collections::BTreeMap;

use super::array::Array;
use super::operators::Call;
use super::proto::{F32, ModelProto};
use super::read::{bad, stored};
use crate::error::Result;
use crate::tape::Cx;
use crate::tensor::Tensor;

/// A value of the file.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// f32.
    Float(Array<f32>),
    /// i64.
    Int(Array<i64>),
    /// Truths.
    Flag(Array<bool>),
}

impl From<&Tensor> for Value {
    fn from(t: &Tensor) -> Value {
        let (dims, data) = (t.dims().to_vec(), t.to_f32());
        Value::Float(Array { dims, data })
    }
}

impl Value {
    /// The f32 values.
    ///
    /// # Errors
    /// [`crate::Code::BadFormat`] for others.
    pub fn floats(&self) -> Result<&Array<f32>> {
        match self {
            Value::Float(a) => Ok(a),
            _ => Err(bad("expected f32 values")),
        }
    }

    /// The whole numbers.
    ///
    /// # Errors
    /// [`crate::Code::BadFormat`] for others.
    pub fn ints(&self) -> Result<&Array<i64>> {
        match self {
            Value::Int(a) => Ok(a),
            _ => Err(bad("expected whole numbers")),
        }
    }
}

/// The outputs of a file that [`super::read::check`] passed, for these inputs by name.
///
/// # Errors
/// [`crate::Code::BadFormat`], naming the node: an operator that is not known here, sizes that do not fit. Those of our operations.
pub fn run(
    model: &ModelProto,
    inputs: &[(&str, Value)],
    cx: Cx,
) -> Result<BTreeMap<String, Value>> {
    let graph = model
        .graph
        .as_ref()
        .ok_or_else(|| bad("there is no graph"))?;
    let mut known: BTreeMap<&str, Value> = BTreeMap::new();
    for t in &graph.initializer {
        let dims = stored(t)?;
        let bytes = t.raw_data();
        let value = match t.data_type() {
            F32 => {
                let words = bytes.as_chunks::<4>().0.iter();
                Value::Float(Array::new(
                    dims,
                    words.map(|b| f32::from_le_bytes(*b)).collect(),
                )?)
            }
            _ => {
                let words = bytes.as_chunks::<8>().0.iter();
                Value::Int(Array::new(
                    dims,
                    words.map(|b| i64::from_le_bytes(*b)).collect(),
                )?)
            }
        };
        known.insert(t.name(), value);
    }
    known.extend(inputs.iter().cloned());
    // Values are let go after the last node that reads them.
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, n) in graph.node.iter().enumerate() {
        last.extend(n.input.iter().map(|x| (x.as_str(), i)));
    }
    last.extend(graph.output.iter().map(|o| (o.name(), usize::MAX)));
    for (i, n) in graph.node.iter().enumerate() {
        let x = n.input.iter().map(|name| known.get(name.as_str()));
        let call = Call {
            node: n,
            x: x.collect(),
            cx,
        };
        let y = call
            .run()
            .map_err(|e| e.at(format!("{} `{}`", n.op_type(), n.name())))?;
        known.extend(n.output.iter().map(String::as_str).zip(y));
        for x in n.input.iter().filter(|x| last.get(x.as_str()) == Some(&i)) {
            known.remove(x.as_str());
        }
    }
    let given = |name: &str| {
        let value = known.get(name).cloned();
        value.ok_or_else(|| bad(format!("the output `{name}` is not computed")))
    };
    let outputs = graph.output.iter();
    outputs
        .map(|o| Ok((o.name().to_string(), given(o.name())?)))
        .collect()
}
