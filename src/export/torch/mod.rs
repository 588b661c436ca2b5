//! PyTorch: one file of readable code, and the weights beside it as safetensors.
//!
//! Layers are modules under the names of their parameters, a chain of layers of one block is a `Sequential`; the forward is straight code,
//! cell by cell.

mod blocks;
mod code;

use std::collections::BTreeMap;

use super::safetensors::TensorFile;
use crate::portable::Graph;
use blocks::Blocks;

/// Helpers of the written file: containers, rows of priors, the reader of weights, the command line.
const TEMPLATE: &str = include_str!("template.py");

/// The code of `model.py`. `about` is told in its first comment, line by line.
pub fn model_py(graph: &Graph, about: &str) -> String {
    let blocks = Blocks::new(graph);
    let (_, image) = graph.inputs().next().expect("a network reads an image");
    let size: Vec<String> = graph.shape(image).dims()[1..]
        .iter()
        .map(usize::to_string)
        .collect();
    TEMPLATE
        .replace("ABOUT", about.trim_end())
        .replace("SIZE", &size.join(", "))
        .replace("        LAYERS\n", &blocks.layers(graph))
        .replace("        FORWARD\n", &code::forward(graph, &blocks))
}

/// The weights that it loads.
pub fn weights(graph: &Graph, metadata: BTreeMap<String, String>) -> TensorFile {
    let mut tensors = BTreeMap::new();
    for id in graph.values() {
        if let Some((Some(name), t)) = graph.stored(id) {
            tensors.insert(name.to_string(), t.clone());
        }
    }
    TensorFile { tensors, metadata }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
