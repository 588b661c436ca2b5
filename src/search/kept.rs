//! Activation memory: what a training step keeps of each image from the way there for the way back.

use crate::backend::record::Record;
use crate::error::Result;
use crate::model::{Mixing, Network};
use crate::nn::{Mode, Pass, Store};
use crate::tape::{Cx, Path};
use crate::task::config::TaskKind;
use crate::tensor::{DType, Engine, Tensor};

/// Bytes that a device of this make has: more than any step takes, and addresses that still fit.
const MEMORY: u64 = 1 << 52;

/// Bytes of each image that a step of a task keeps for the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Whose loss.
    pub task: TaskKind,
    /// With maps in f32.
    pub f32: u64,
    /// With maps in bf16.
    pub bf16: u64,
}

/// What a weight step of each task of `net` keeps of an image on a GPU, found by recording the forward pass of two and of one images on
/// a device that executes nothing: operands, results and intermediate maps that operations read on the way back, the image among
/// them; without parameters, the loss and drop path. `store` holds the values of the network, which are not read.
///
/// # Errors
/// Those of the ops.
pub fn kept(net: &Network, store: &Store) -> Result<Vec<Kept>> {
    let engine = Engine::new(Box::new(Record::new(MEMORY).0), false);
    let of = |task, dtype| -> Result<u64> {
        let [one, two] = [1, 2].map(|images| bytes(net, store, engine, task, dtype, images));
        // What does not grow with the images, parameters and statistics, is in both.
        Ok(two?.saturating_sub(one?))
    };
    let all = net.tasks().into_iter().map(|task| {
        Ok(Kept {
            task,
            f32: of(task, DType::F32)?,
            bf16: of(task, DType::Bf16)?,
        })
    });
    all.collect()
}

fn bytes(
    net: &Network,
    store: &Store,
    engine: Engine,
    task: TaskKind,
    dtype: DType,
    images: usize,
) -> Result<u64> {
    let cx = Cx {
        path: Path::Device(engine),
        ..Cx::default()
    };
    let p = Pass::new(store, cx, Mode::WEIGHT_STEP);
    let spec = net.spec();
    let shape = [images, 3, spec.height, spec.width];
    let x = p.tape.leaf(Tensor::zeros_on(engine, shape, dtype)?);
    net.forward_with(&p, &x, task, Mixing::Parameters)?;
    Ok(p.tape.kept_bytes())
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
