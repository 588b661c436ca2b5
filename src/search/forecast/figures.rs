//! What a forecast says, and for which machine.

use std::collections::BTreeMap;

use serde::Serialize;

use super::workload::Workload;
use crate::backend::record::Work;
use crate::model::Memory;
use crate::search::beside_floor::BesideFloor;

/// What a GPU is taken for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gpu {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes a second of a copy, reads and writes together.
    pub bandwidth: f64,
    /// Seconds from one small kernel to the next.
    pub launch: f64,
}

/// Where the run would be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Where {
    /// The processor.
    Cpu,
    /// A GPU.
    Gpu(Gpu),
}

/// What a step launches of one kernel; copies and fills are listed like kernels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KernelWork {
    /// Its name.
    pub kernel: &'static str,
    /// Launches in a step.
    pub launches: u64,
    /// Bytes of the buffers that they read, all launches together.
    pub read: u64,
    /// Bytes of the buffers that they write.
    pub written: u64,
}

/// The work of a step by kernel, most launches first, of as many the most bytes.
pub(super) fn by_kernel(work: BTreeMap<&'static str, Work>) -> Vec<KernelWork> {
    let row = |(kernel, w): (&'static str, Work)| KernelWork {
        kernel,
        launches: w.launches,
        read: w.read,
        written: w.written,
    };
    let mut all: Vec<KernelWork> = work.into_iter().map(row).collect();
    all.sort_by_key(|k| std::cmp::Reverse((k.launches, k.read + k.written)));
    all
}

/// One task's steps in one stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// Name of the stage.
    pub stage: &'static str,
    /// Whose loss.
    pub task: String,
    /// Images of each phase.
    pub batch: usize,
    /// Steps of this task.
    pub steps: usize,
    /// Seconds of a step.
    pub seconds: f64,
    /// The most bytes of tensors in use at one time.
    pub memory: u64,
    /// On a GPU: kernels launched in a step, and bytes they must move at least.
    pub launches: Option<u64>,
    /// As above.
    pub traffic: Option<u64>,
    /// On a GPU: bytes of decoded images that stay there besides, at most.
    pub resident: Option<u64>,
    /// Bytes that a step uploads: its batches, rates and keys.
    pub uploaded: Option<u64>,
    /// Phases of a step that are replayed as graphs.
    pub graphs: Option<u64>,
    /// Bytes that a step fetches from the GPU; operations that the host computes for lack of kernels.
    pub fetched: Option<u64>,
    /// As above.
    pub by_host: Vec<&'static str>,
    /// What the fused design would move, launch and take, where every cell is mixed.
    pub floor: Option<BesideFloor>,
    /// The kernels of a step, those that are launched most often first.
    pub kernels: Vec<KernelWork>,
    /// What is not yet known and what stands in its place.
    pub note: Option<&'static str>,
    /// Memory under each choice of what search cells keep (`search.memory`); none where there are no search cells.
    pub memories: Vec<MemoryOf>,
}

impl Forecast {
    /// Nothing known yet.
    pub(super) fn new(w: &Workload, stage: &'static str, batch: usize, steps: usize) -> Forecast {
        Forecast {
            stage,
            task: w.kind.to_string(),
            batch,
            steps,
            seconds: 0.0,
            memory: 0,
            launches: None,
            traffic: None,
            resident: None,
            uploaded: None,
            graphs: None,
            fetched: None,
            by_host: vec![],
            floor: None,
            kernels: vec![],
            note: None,
            memories: vec![],
        }
    }
}

/// What a step needs under one choice of what search cells keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryOf {
    /// The choice.
    pub memory: Memory,
    /// The most bytes of tensors in use at one time; `None` where a step does not fit.
    pub bytes: Option<u64>,
    /// Search cells that compute on the way back what they would otherwise keep for it.
    pub recomputed: usize,
    /// All of them.
    pub cells: usize,
}
