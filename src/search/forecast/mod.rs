//! What the stages of a configuration will need: memory and time, before anything runs. On a GPU a step of full size is put on a
//! device that only counts; on the processor steps of two and of four images are taken and extended in a straight line.

mod figures;
mod workload;

use super::config::{Config, Method, Precision};
use super::networks::{Heads, Parts, spec};
use super::planned::{Planned, networks};
use super::workbench::parameter_dtype;
use crate::error::{Code, Error, Result};
use crate::model::{Cells, Memory, Network, NetworkSpec};
use crate::space::published;
use crate::task::config::TaskKind;
pub use figures::{Forecast, Gpu, KernelWork, MemoryOf, Where};
use workload::Workload;

/// Batches that steps are taken with on the processor: with fewer images what does not grow with them has the peak.
const FEW: [usize; 2] = [2, 4];

/// Extends figures of batches of two sizes to one of `n` images.
fn extend([(few, low), (more, high)]: [(usize, f64); 2], n: usize) -> f64 {
    match more.saturating_sub(few) {
        0 => low,
        step => low + (high - low).max(0.0) / step as f64 * (n as f64 - few as f64),
    }
}

/// Everything but the memory of other choices. Returns the memory of the smaller of the batches that steps were taken with on the
/// processor.
fn fill(w: &Workload, at: Where, f: &mut Forecast) -> Result<u64> {
    let sizes = FEW.map(|n| n.min(f.batch));
    match at {
        Where::Gpu(gpu) => w.count(gpu, f.batch, f).map(|()| 0),
        Where::Cpu => {
            let low = w.take(sizes[0])?;
            let high = if sizes[0] < sizes[1] {
                w.take(sizes[1])?
            } else {
                low
            };
            f.seconds = extend([(sizes[0], low.0), (sizes[1], high.0)], f.batch);
            let memory = [(sizes[0], low.1 as f64), (sizes[1], high.1 as f64)];
            f.memory = extend(memory, f.batch) as u64 + w.ready(f.batch) + w.held;
            Ok(low.1)
        }
    }
}

/// The memory of another choice than that of `f`, which takes `few` bytes with few images on the processor; `None` where a step does
/// not fit.
fn other(w: &Workload, at: Where, f: &Forecast, few: u64) -> Result<Option<u64>> {
    let mut g = f.clone();
    let filled = match at {
        Where::Gpu(gpu) => w.count(gpu, f.batch, &mut g),
        Where::Cpu => {
            let images = FEW[0].min(f.batch);
            // What is kept grows with the images, nothing else differs.
            let less = few as f64 - w.take(images)?.1 as f64;
            g.memory = (f.memory as f64 - less * f.batch as f64 / images as f64) as u64;
            Ok(())
        }
    };
    match filled {
        Err(e) if e.code() == Code::OutOfMemory => Ok(None),
        done => done.map(|()| Some(g.memory)),
    }
}

/// Memory under each choice of what search cells keep; `f` is the forecast under the one of the configuration.
fn memories(w: &Workload, at: Where, f: &Forecast, few: u64) -> Result<Vec<MemoryOf>> {
    let mut all = vec![];
    for &memory in Memory::ALL {
        let changed = w.with(memory);
        let net = Network::plan(&changed.spec)?;
        let cells = net.recomputes();
        if cells.is_empty() {
            break;
        }
        let bytes = match memory == w.spec.memory {
            true => Some(f.memory).filter(|m| *m > 0),
            false => other(&changed, at, f, few)?,
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

/// Bytes of a network's values.
fn values(spec: &NetworkSpec, c: &Config) -> Result<u64> {
    let (_, store) = Network::build(spec, 1, parameter_dtype(c.run.precision))?;
    let sets = [&store.weights, &store.buffers, &store.arch];
    let all = sets.into_iter().flat_map(|set| set.iter());
    Ok(all
        .map(|(_, _, t)| (t.numel() * t.dtype().size()) as u64)
        .sum())
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
    spec.tasks()
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
    let (mut all, mut held) = (vec![], 0);
    for p in &stages {
        let (batch, steps) = budget(c, p.stage);
        let kinds = tasks(&p.spec);
        for &kind in &kinds {
            let w = Workload {
                config: c,
                spec: p.spec.clone(),
                kind,
                searches: p.stage != "5-finetune" && c.search.method != Method::Given,
                tasks: kinds.len(),
                held: if p.stage == "4-backbone" { held } else { 0 },
            };
            let mut f = Forecast::new(&w, p.stage, batch, steps.div_ceil(kinds.len()));
            f.note = p.note;
            let filled = fill(&w, at, &mut f);
            let few = *filled.as_ref().unwrap_or(&0);
            f.memories = memories(&w, at, &f, few)?;
            filled.map_err(|e| advised(e, &f))?;
            all.push(f);
        }
        // The pre-search leaves its values for the stage after it.
        if p.stage == "3-presearch" {
            held = values(&p.spec, c)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
