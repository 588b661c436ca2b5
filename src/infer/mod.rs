//! Inference on the processor: a network as a list of steps over one arena.
//!
//! The operations of a forward pass ([`crate::export::trace()`]) are folded ([`fold_norms`]: no normalisation is left behind a
//! convolution) and lowered: rectifiers, sums and concatenations go into the convolutions around them, a depthwise convolution and the
//! pointwise one behind it are one step, and a node of a cell lies where the cell's output wants it. Memory is laid out once from the lives of
//! the values. Numbers differ from those of the network by rounding: 1e-5 of a value or of 1, tested.

mod conv;
mod lower;
mod memory;
mod other;
mod run;
mod step;

pub use memory::largest_cut;
pub use run::Session;

use crate::error::Result;
use crate::export::{fold_norms, trace};
use crate::model::Network;
use crate::nn::Store;
use crate::portable::Graph;
use crate::tensor::Tensor;
use memory::Memory;
use step::{Step, V, Value};

/// A network ready to run; it holds the values of its weights.
#[derive(Debug)]
pub struct Program {
    values: Vec<Value>,
    steps: Vec<Step>,
    outputs: Vec<(String, V)>,
    memory: Memory,
}

impl Program {
    /// The program of a derived network over the f32 values of `store`; outputs as [`crate::export::trace::outputs`] names them.
    ///
    /// # Errors
    /// As [`trace()`]: a search network is no graph that other programs know.
    pub fn new(net: &Network, store: &Store) -> Result<Program> {
        Program::of_graph(&fold_norms(&trace(net, store)?)?.pruned())
    }

    /// The program of a graph with one input.
    ///
    /// # Errors
    /// `Argument` for a graph with another number of inputs.
    pub fn of_graph(graph: &Graph) -> Result<Program> {
        let lowered = lower::lower(graph)?;
        let outputs: Vec<V> = lowered.outputs.iter().map(|o| o.1).collect();
        let memory = Memory::plan(&lowered.values, &lowered.steps, &outputs);
        Ok(Program {
            values: lowered.values,
            steps: lowered.steps,
            outputs: lowered.outputs,
            memory,
        })
    }

    /// Names of the outputs, in their order.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|o| o.0.as_str())
    }

    /// What each step is and the sizes of what it makes, in order.
    pub fn steps(&self) -> impl Iterator<Item = String> {
        self.steps.iter().map(|s| {
            let dims: Vec<String> = (self.values[s.makes()].dims.iter())
                .map(usize::to_string)
                .collect();
            format!("{} {}", s.name(), dims.join("x"))
        })
    }

    /// Bytes of the arena for one image; of n images n times that.
    pub fn arena_bytes(&self) -> usize {
        self.memory.arena * size_of::<f32>()
    }

    /// The most bytes of values that are alive at once, for one image: each from the step that makes it to the last one that reads it.
    pub fn cut_bytes(&self) -> usize {
        self.memory.cut * size_of::<f32>()
    }

    /// All outputs of images `(N, 3, H, W)`, by name.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run(&self, images: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let mut session = Session::new(self, images.dims()[0]);
        session.run(images)?;
        let all = self.outputs.iter().enumerate();
        all.map(|(i, (name, _))| Ok((name.clone(), session.output(i)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
