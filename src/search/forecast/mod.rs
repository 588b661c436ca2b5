//! What the stages of a configuration will need: memory and time, before anything runs. On a GPU a step of full size is put on a
//! device that only counts; on the processor steps of one and of two images are taken and extended in a straight line.

mod workload;

use std::collections::BTreeMap;

use serde::Serialize;

use super::config::{Config, Method, Precision};
use super::networks::{Heads, Parts, spec};
use super::planned::{Planned, networks};
use crate::backend::record::Work;
use crate::error::{Code, Error, Result};
use crate::model::{Cells, Memory, Network, NetworkSpec};
use crate::space::published;
use crate::task::config::TaskKind;
use workload::Workload;

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
fn by_kernel(work: BTreeMap<&'static str, Work>) -> Vec<KernelWork> {
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
    /// Bytes that a step uploads: its batches, rates and keys.
    pub uploaded: Option<u64>,
    /// Phases of a step that are replayed as graphs.
    pub graphs: Option<u64>,
    /// Bytes that a step fetches from the GPU; operations that the host computes for lack of kernels.
    pub fetched: Option<u64>,
    /// As above.
    pub by_host: Vec<&'static str>,
    /// The kernels of a step, those that are launched most often first.
    pub kernels: Vec<KernelWork>,
    /// What is not yet known and what stands in its place.
    pub note: Option<&'static str>,
    /// Memory under each choice of what search cells keep (`search.memory`); none where there are no search cells.
    pub memories: Vec<MemoryOf>,
}

impl Forecast {
    /// Nothing known yet.
    fn new(w: &Workload, stage: &'static str, batch: usize, steps: usize) -> Forecast {
        Forecast {
            stage,
            task: w.kind.to_string(),
            batch,
            steps,
            seconds: 0.0,
            memory: 0,
            launches: None,
            traffic: None,
            uploaded: None,
            graphs: None,
            fetched: None,
            by_host: vec![],
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

/// Extends figures of one and of two images to `n`.
fn extend(one: f64, two: f64, n: usize) -> f64 {
    one + (two - one).max(0.0) * (n as f64 - 1.0)
}

/// Everything but the memory of other choices.
fn fill(w: &Workload, at: Where, f: &mut Forecast) -> Result<()> {
    match at {
        Where::Gpu(gpu) => w.count(gpu, f.batch, f)?,
        Where::Cpu => {
            let ((t1, m1), (t2, m2)) = (w.take(1)?, w.take(2)?);
            f.seconds = extend(t1, t2, f.batch);
            f.memory = extend(m1 as f64, m2 as f64, f.batch) as u64;
        }
    }
    Ok(())
}

/// Memory under each choice of what search cells keep; `f` is the forecast under the one of the configuration.
fn memories(w: &Workload, at: Where, f: &Forecast) -> Result<Vec<MemoryOf>> {
    let mut all = vec![];
    for &memory in Memory::ALL {
        let other = w.with(memory);
        let net = Network::plan(&other.spec)?;
        let cells = net.recomputes();
        if cells.is_empty() {
            break;
        }
        let bytes = match memory == w.spec.memory {
            true => Some(f.memory).filter(|m| *m > 0),
            false => {
                let mut g = f.clone();
                match fill(&other, at, &mut g) {
                    Err(e) if e.code() == Code::OutOfMemory => None,
                    done => done.map(|()| Some(g.memory))?,
                }
            }
        };
        all.push(MemoryOf {
            memory,
            bytes,
            recomputed: cells.iter().filter(|r| **r).count(),
            cells: cells.len(),
        });
    }
    Ok(all)
}

/// A step that does not fit, with the choices under which it does.
fn advised(e: Error, f: &Forecast) -> Error {
    if e.code() != Code::OutOfMemory {
        return e;
    }
    let fitting = f.memories.iter().filter_map(|m| {
        let gib = m.bytes? as f64 / (1u64 << 30) as f64;
        Some(format!(
            "{gib:.2} GiB with search.memory = \"{}\"",
            m.memory
        ))
    });
    let fitting: Vec<String> = fitting.collect();
    let e = e.at(format!("{}, {}", f.stage, f.task));
    match fitting.is_empty() {
        true => e,
        false => e.note(format!("it needs {}", fitting.join(", "))),
    }
}

/// The tasks that a network's heads serve.
fn tasks(spec: &NetworkSpec) -> Vec<TaskKind> {
    let all = [
        (spec.det_head.is_some(), TaskKind::Detection),
        (spec.seg_classes.is_some(), TaskKind::Segmentation),
        (spec.classes.is_some(), TaskKind::Classification),
    ];
    all.into_iter()
        .filter_map(|(there, kind)| there.then_some(kind))
        .collect()
}

const STAND_IN: &str = "with a published genotype in place of those that the search will find";

/// The network of the finetune: what the search will find is not known, published cells stand in its place.
fn finetuned(c: &Config, heads: &Heads) -> Result<Planned> {
    let cells = || {
        let g = published::by_name("PC_DARTS_cifar").expect("a published genotype");
        Cells::Derived(g)
    };
    let branch = |there: bool| match there && c.model.searched_branches() {
        true => cells(),
        false => Cells::HandCrafted,
    };
    let parts = Parts {
        backbone: cells(),
        det: branch(heads.det.is_some()),
        seg: branch(heads.seg.is_some()),
    };
    Ok(Planned {
        stage: "5-finetune",
        spec: spec(c, &parts, heads)?,
        note: Some(STAND_IN),
    })
}

/// Images of a phase and steps of a stage.
fn budget(c: &Config, stage: &str) -> (usize, usize) {
    let s = &c.search;
    match stage {
        "1-branch-det" | "2-branch-seg" => (s.batch, s.iters.branch),
        "3-presearch" => (s.presearch.batch, s.iters.presearch),
        "5-finetune" => (c.finetune.batch, c.finetune.iters),
        _ => (s.batch, s.iters.backbone),
    }
}

/// What every stage will need, task by task.
///
/// # Errors
/// Those of the configuration's networks; `OutOfMemory` when a step does not fit the GPU.
pub fn forecast(
    c: &Config,
    heads: &Heads,
    presearch: Option<usize>,
    at: Where,
) -> Result<Vec<Forecast>> {
    if c.run.precision == Precision::F64 && at != Where::Cpu {
        let text = "precision f64 is there on the processor only";
        return Err(Error::new(Code::ConfigValue, text).at("run.precision"));
    }
    let mut stages = networks(c, heads, presearch.or(Some(10)))?;
    if stages.iter().all(|p| p.stage != "5-finetune") {
        stages.push(finetuned(c, heads)?);
    }
    let mut all = vec![];
    for p in &stages {
        let (batch, steps) = budget(c, p.stage);
        let kinds = tasks(&p.spec);
        for &kind in &kinds {
            let w = Workload {
                config: c,
                spec: p.spec.clone(),
                kind,
                searches: p.stage != "5-finetune" && c.search.method != Method::Given,
            };
            let mut f = Forecast::new(&w, p.stage, batch, steps.div_ceil(kinds.len()));
            f.note = p.note;
            let filled = fill(&w, at, &mut f);
            f.memories = memories(&w, at, &f)?;
            filled.map_err(|e| advised(e, &f))?;
            all.push(f);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
