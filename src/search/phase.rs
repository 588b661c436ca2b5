//! A phase of a step on a device. It is launches only: what changes from step to step (rates, keys of random numbers, whether a step
//! halted) lies in device memory and is set before, parameters and the state of the optimisers change in place. So a phase can be
//! recorded once and replayed.

use super::bilevel::{Learner, LossFn, StepReport};
use crate::backend::driver::DevicePtr;
use crate::backend::engine::Fetching;
use crate::error::{Code, Error, Result};
use crate::nn::{Mode, Moving as Noted, ParamId, ParamSet, Pass};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::optim::device::{Mirror, Moving, move_statistics};
use crate::tape::{Cx, Path};
use crate::tensor::{DType, DeviceBuffer, Engine, Tensor};

/// Whose parameters move, and how.
#[derive(Debug, Clone, Copy)]
pub enum Update<'a> {
    /// Architecture parameters.
    Arch(&'a AdamConfig),
    /// Weights, and running statistics.
    Weights(&'a SgdConfig),
}

/// A phase of a step.
#[derive(Debug, Clone, Copy)]
pub struct Phase<'a> {
    /// How operations run.
    pub cx: Cx,
    /// What the pass is for.
    pub mode: Mode,
    /// Key of its random numbers: seed, stage, step.
    pub key: [u64; 3],
    /// What follows from the gradients.
    pub update: Update<'a>,
    /// Rate of that.
    pub lr: f64,
}

/// What a phase changes in place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    parameters: Vec<ParamId>,
    statistics: Vec<ParamId>,
}

/// What a phase leaves on the device.
#[derive(Debug)]
pub struct Told {
    /// f64: the loss, its parts, the norm of the gradients.
    pub figures: DeviceBuffer,
    /// Names of the parts.
    parts: Vec<&'static str>,
    /// What it changed, unless it halted.
    pub moved: Moved,
}

/// A phase that was put on the device, or is over.
pub enum Begun {
    /// It is over.
    Known(StepReport),
    /// Its figures are on their way.
    UnderWay {
        /// As [`Told::figures`].
        figures: Fetching,
        /// Names of the parts.
        parts: Vec<&'static str>,
        /// What it changes.
        moved: Moved,
    },
}

/// The figures in words; `None` where the phase halted: a figure is not finite, nothing has changed.
fn report(parts: &[&'static str], figures: &[f64]) -> Option<StepReport> {
    let (loss, norm) = (figures[0], figures[figures.len() - 1]);
    let parts = parts.iter().copied().zip(figures[1..].iter().copied());
    let parts = parts.collect();
    let report = StepReport { loss, parts, norm };
    (loss.is_finite() && norm.is_finite()).then_some(report)
}

/// A scalar as kernels read it.
pub(super) fn scalar(t: &Tensor) -> Tensor {
    t.cast(DType::F32)
}

impl Learner {
    /// The device that a phase runs on as a whole, if there is one.
    pub fn device_of(&self, phase: &Phase) -> Option<Engine> {
        let single = |set: &ParamSet| set.iter().all(|(_, _, t)| t.dtype() == DType::F32);
        match phase.cx.path {
            Path::Device(e) if !phase.cx.check_finite => {
                let s = &self.store;
                let all = single(&s.weights) && single(&s.arch) && single(&s.buffers);
                all.then_some(e)
            }
            _ => None,
        }
    }

    /// The mode of a phase as it runs.
    pub fn mode_of(&self, mode: Mode) -> Mode {
        Mode {
            skip_dropout: self.skip_dropout,
            ..mode
        }
    }

    /// Sets what a phase finds in device memory.
    ///
    /// # Errors
    /// Those of the device.
    pub fn prepare(&mut self, e: Engine, phase: &Phase) -> Result<()> {
        self.teller.prepare(e)?;
        match phase.update {
            Update::Arch(c) => self.adam.prepare(e, c, phase.lr),
            Update::Weights(_) => self.sgd.prepare(e, phase.lr),
        }
    }

    /// Puts a phase on the device, after [`Learner::prepare`]; nothing is waited for. `draw`: what it draws with, if it lies there.
    ///
    /// # Errors
    /// Those of the loss and of the device.
    pub fn launch(
        &mut self,
        e: Engine,
        phase: &Phase,
        draw: Option<&Tensor>,
        loss: LossFn,
    ) -> Result<Told> {
        // The tape holds parameters: it is gone before they change in place.
        let (scalars, parts, gradients, noted) = {
            let mut p = Pass::new(&self.store, phase.cx, self.mode_of(phase.mode));
            (p.key, p.draw) = (phase.key, draw.cloned());
            let l = loss(&p)?;
            let g = p.backward(&l.total)?;
            let mut scalars = vec![scalar(l.total.value())];
            scalars.extend(l.parts.iter().map(|(_, t)| scalar(t)));
            let parts: Vec<_> = l.parts.iter().map(|(name, _)| *name).collect();
            let gradients = match phase.update {
                Update::Arch(_) => g.arch,
                Update::Weights(_) => g.weights,
            };
            (scalars, parts, gradients, p.take_moving())
        };
        let figures = match phase.update {
            Update::Arch(c) => {
                let rows = self.adam.rows(e, &mut self.store.arch, &gradients)?;
                let table = self.adam.table(e, &rows)?;
                let f = self.teller.tell(e, &scalars, &rows, table, c.clip)?;
                self.adam.launch(e, &rows, table, &f.factor, c)?;
                f
            }
            Update::Weights(c) => {
                let rows = self.sgd.rows(e, &mut self.store.weights, &gradients)?;
                let table = self.sgd.table(e, &rows)?;
                let f = self.teller.tell(e, &scalars, &rows, table, c.clip)?;
                self.sgd.launch(e, &rows, table, &f.factor, c)?;
                f
            }
        };
        self.move_statistics(e, &noted, &figures.factor)?;
        Ok(Told {
            figures: figures.values,
            parts,
            moved: Moved {
                parameters: gradients.iter().map(|(id, _)| *id).collect(),
                // Those of later rounds are among those of the first.
                statistics: (noted.iter().take(1).flatten())
                    .flat_map(|m| m.ids)
                    .collect(),
            },
        })
    }

    /// One launch for each round: a normalisation that ran for several tasks is moved by one after the other.
    fn move_statistics(
        &mut self,
        e: Engine,
        noted: &[Vec<Noted>],
        factor: &DeviceBuffer,
    ) -> Result<()> {
        let buffers = &mut self.store.buffers;
        for id in noted.iter().flatten().flat_map(|m| m.ids) {
            buffers.get_mut(id).on_mut(e)?;
        }
        if self.statistics.len() < noted.len() {
            self.statistics.resize_with(noted.len(), Mirror::default);
        }
        for (round, mirror) in noted.iter().zip(&self.statistics) {
            let mut all = vec![];
            for m in round {
                let by_host = || {
                    let text = "running statistics of a normalisation that no kernel computed";
                    Error::new(Code::Internal, text)
                };
                all.push(Moving {
                    running: [buffers.get(m.ids[0]).on(e)?, buffers.get(m.ids[1]).on(e)?],
                    batch: m.batch.on_device()?.ok_or_else(by_host)?,
                    momentum: m.momentum,
                });
            }
            move_statistics(e, mirror, &all, factor)?;
        }
        Ok(())
    }

    /// Where everything lies that a phase reads and changes. What the host knew of what it changes is forgotten: the device may have
    /// changed it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn places(&mut self, e: Engine, phase: &Phase, moved: &Moved) -> Result<Vec<DevicePtr>> {
        let s = &mut self.store;
        for &id in &moved.parameters {
            match phase.update {
                Update::Arch(_) => {
                    s.arch.get_mut(id).on_mut(e)?;
                    if let Some(m) = &mut self.adam.moments[id.0] {
                        m.m.on_mut(e)?;
                        m.v.on_mut(e)?;
                    }
                }
                Update::Weights(_) => {
                    s.weights.get_mut(id).on_mut(e)?;
                    if let Some(m) = &mut self.sgd.momentum[id.0] {
                        m.on_mut(e)?;
                    }
                }
            }
        }
        for &id in &moved.statistics {
            s.buffers.get_mut(id).on_mut(e)?;
        }
        let state = self.sgd.momentum.iter().flatten();
        let moments = self.adam.moments.iter().flatten();
        let state = state.chain(moments.flat_map(|m| [&m.m, &m.v]));
        let sets = [&s.weights, &s.arch, &s.buffers];
        let sets = sets
            .into_iter()
            .flat_map(|set| set.iter().map(|(_, _, t)| t));
        // What is not there is not read; state that is yet to come counts once it does.
        let there = sets.chain(state).map(|t| match t.engine() {
            Some(_) => Ok(t.on(e)?.address()),
            None => Ok(DevicePtr(0)),
        });
        there.collect()
    }

    /// A phase is on the device: what it tells is on its way.
    ///
    /// # Errors
    /// Those of the device.
    pub fn begun(&mut self, phase: &Phase, told: &Told) -> Result<Begun> {
        if let Update::Arch(_) = phase.update {
            self.adam.count(told.moved.parameters.iter().copied());
        }
        Ok(Begun::UnderWay {
            figures: told.figures.fetch()?,
            parts: told.parts.clone(),
            moved: told.moved.clone(),
        })
    }

    /// Waits for what a phase tells.
    ///
    /// # Errors
    /// `Diverged`, naming the op where it arose, when a value is not finite; this phase and those after it have changed nothing then
    /// but the count of Adam's steps, which is that of before for this phase.
    pub fn end(&mut self, phase: &Phase, begun: Begun, loss: LossFn) -> Result<StepReport> {
        let (figures, parts, moved) = match begun {
            Begun::Known(report) => return Ok(report),
            Begun::UnderWay {
                figures,
                parts,
                moved,
            } => (figures, parts, moved),
        };
        let e = figures.engine();
        let fetched = figures.wait()?;
        let figures = fetched.values::<f64>();
        if let Some(report) = report(&parts, figures) {
            return Ok(report);
        }
        if let Update::Arch(_) = phase.update {
            self.adam.uncount(moved.parameters.iter().copied());
        }
        self.teller.go_on(e)?;
        Err(self.culprit(phase, loss, figures[0]))
    }

    /// The architecture parameters, on their way to the host; none of those that it knows.
    ///
    /// # Errors
    /// Those of the device.
    pub fn fetch_arch(&self, e: Engine) -> Result<Vec<(ParamId, Fetching)>> {
        let mut all = vec![];
        for (id, _, t) in self
            .store
            .arch
            .iter()
            .filter(|(_, _, t)| t.only_on_device())
        {
            all.push((id, t.on(e)?.fetch()?));
        }
        Ok(all)
    }

    /// Waits for them: reading them then waits for nothing.
    ///
    /// # Errors
    /// Those of the device.
    pub fn know_arch(&mut self, fetched: Vec<(ParamId, Fetching)>) -> Result<()> {
        for (id, fetching) in fetched {
            self.store.arch.get(id).know(fetching.wait()?);
        }
        Ok(())
    }

    /// Takes a phase that halted again, looking at every value.
    fn culprit(&self, phase: &Phase, loss: LossFn, value: f64) -> Error {
        let cx = Cx {
            check_finite: true,
            ..phase.cx
        };
        // The step is a pure function of its inputs.
        match self.gradients(cx, phase.mode, phase.key, loss) {
            Err(e) => e,
            Ok(_) => Error::new(Code::Diverged, format!("the loss is {value}")),
        }
    }
}
