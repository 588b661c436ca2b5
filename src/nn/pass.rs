//! One forward pass: binds parameters to a tape as layers reach for them.
//!
//! A parameter that the loss does not reach is never bound, has no gradient and is left alone by the optimiser: no decay,
//! no momentum, no step count.

use std::cell::RefCell;
use std::collections::HashMap;

use super::params::{ParamId, ParamSet, Store};
use crate::error::Result;
use crate::ops::{BatchStats, draw_words};
use crate::tape::{Cx, Grads, Path, Tape, Var};
use crate::tensor::Tensor;

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mode {
    /// Batch normalisation uses the batch's statistics (else the running ones); dropout and drop path are active.
    pub training: bool,
    /// Running statistics are collected for [`Pass::take_statistics`]. Off in architecture steps and second-order passes.
    pub update_statistics: bool,
    /// Weights want gradients.
    pub grad_weights: bool,
    /// Architecture parameters want gradients.
    pub grad_arch: bool,
    /// Probability that drop path drops a branch of a sample.
    pub drop_path: f64,
    /// Probability that dropout clears a value after a skip-connect of a search cell (P-DARTS section 3.3.1).
    pub skip_dropout: f64,
}

impl Mode {
    /// A weight step.
    pub const WEIGHT_STEP: Mode = Mode {
        training: true,
        update_statistics: true,
        grad_weights: true,
        grad_arch: false,
        drop_path: 0.0,
        skip_dropout: 0.0,
    };
    /// An architecture step.
    pub const ARCH_STEP: Mode = Mode {
        training: true,
        update_statistics: false,
        grad_weights: false,
        grad_arch: true,
        drop_path: 0.0,
        skip_dropout: 0.0,
    };
    /// Evaluation.
    pub const EVAL: Mode = Mode {
        training: false,
        update_statistics: false,
        grad_weights: false,
        grad_arch: false,
        drop_path: 0.0,
        skip_dropout: 0.0,
    };
}

/// One layer as it ran: what cost tables list.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerRecord {
    /// Name of the weight, without `.weight`.
    pub name: String,
    /// `conv`, `depthwise`, `pointwise`, `linear`, `transposed`.
    pub kind: &'static str,
    /// Multiply-adds for one sample.
    pub macs: u64,
    /// Shape of the output.
    pub output: Vec<usize>,
}

/// The running mean and variance that a normalisation moves, and where to: known once it has run.
pub struct Moving {
    /// Running mean, running variance.
    pub ids: [ParamId; 2],
    /// Statistics of the batch.
    pub batch: BatchStats,
    /// Their share of the new values.
    pub momentum: f64,
}

/// One forward pass over a [`Store`].
pub struct Pass<'a> {
    /// The tape it records on.
    pub tape: Tape,
    /// What it is for.
    pub mode: Mode,
    /// Key of the random numbers of dropout and drop path: (seed, stage, step).
    pub key: [u64; 3],
    /// On a device: what `key` and the probabilities of `mode` say to kernels ([`draw_words`]), if it lies there already.
    pub draw: Option<Tensor>,
    store: &'a Store,
    weights: RefCell<Vec<Option<Var>>>,
    arch: RefCell<Vec<Option<Var>>>,
    statistics: RefCell<Vec<Moving>>,
    layers: RefCell<Vec<LayerRecord>>,
    draws: RefCell<u64>,
    drawn: RefCell<Option<Var>>,
}

impl<'a> Pass<'a> {
    /// A pass over `store`.
    pub fn new(store: &'a Store, cx: Cx, mode: Mode) -> Pass<'a> {
        Pass {
            tape: Tape::new(cx),
            mode,
            key: [0; 3],
            draw: None,
            store,
            weights: RefCell::new(vec![None; store.weights.len()]),
            arch: RefCell::new(vec![None; store.arch.len()]),
            statistics: RefCell::default(),
            layers: RefCell::default(),
            draws: RefCell::default(),
            drawn: RefCell::default(),
        }
    }

    /// The sets it runs over.
    pub fn store(&self) -> &Store {
        self.store
    }

    fn bind(
        &self,
        set: &ParamSet,
        slots: &RefCell<Vec<Option<Var>>>,
        id: ParamId,
        grad: bool,
    ) -> Var {
        slots.borrow_mut()[id.0]
            .get_or_insert_with(|| {
                let t = set.get(id).clone();
                if grad {
                    self.tape.param(t)
                } else {
                    self.tape.leaf(t)
                }
            })
            .clone()
    }

    /// The weight on the tape.
    pub fn weight(&self, id: ParamId) -> Var {
        self.bind(
            &self.store.weights,
            &self.weights,
            id,
            self.mode.grad_weights,
        )
    }

    /// The architecture parameter on the tape.
    pub fn arch(&self, id: ParamId) -> Var {
        self.bind(&self.store.arch, &self.arch, id, self.mode.grad_arch)
    }

    /// A buffer's value.
    pub fn buffer(&self, id: ParamId) -> &Tensor {
        self.store.buffers.get(id)
    }

    /// Notes running statistics that a normalisation moves.
    pub fn note_statistics(&self, moving: Moving) {
        self.statistics.borrow_mut().push(moving);
    }

    /// What was noted, in the order of the pass, in rounds: a normalisation that ran for several tasks moves its statistics once for
    /// each, and those of a round are all different.
    pub fn take_moving(&self) -> Vec<Vec<Moving>> {
        let mut rounds: Vec<Vec<Moving>> = vec![];
        let mut seen: HashMap<ParamId, usize> = HashMap::new();
        for m in self.statistics.take() {
            let round = seen.entry(m.ids[0]).or_default();
            if *round == rounds.len() {
                rounds.push(vec![]);
            }
            rounds[*round].push(m);
            *round += 1;
        }
        rounds
    }

    /// The running statistics after this pass.
    ///
    /// # Errors
    /// Those of the device.
    pub fn take_statistics(&self) -> Result<Vec<(ParamId, Tensor)>> {
        let mut new: Vec<(ParamId, Tensor)> = vec![];
        let mut places: HashMap<ParamId, usize> = HashMap::new();
        for m in self.take_moving().into_iter().flatten() {
            let now = |id: ParamId| match places.get(&id) {
                Some(&at) => &new[at].1,
                None => self.store.buffers.get(id),
            };
            let [mean, var] = m.ids.map(now);
            let moved = m.batch.running(mean, var, m.momentum)?;
            for (id, t) in m.ids.into_iter().zip(moved) {
                match places.get(&id) {
                    Some(&at) => new[at].1 = t,
                    None => {
                        places.insert(id, new.len());
                        new.push((id, t));
                    }
                }
            }
        }
        Ok(new)
    }

    /// Runs the layers that `f` goes through, independent ones at the same time ([`Tape::deferred`]).
    ///
    /// # Errors
    /// Those of `f` and of the ops.
    pub fn deferred<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        self.tape.deferred(f)
    }

    /// Notes that a layer ran.
    pub fn note_layer(&self, record: LayerRecord) {
        self.layers.borrow_mut().push(record);
    }

    /// The layers that ran, in order.
    pub fn layers(&self) -> Vec<LayerRecord> {
        self.layers.borrow().clone()
    }

    /// A fresh random stream of this pass (dropout, drop path): keyed by the pass and by how many were drawn before.
    pub fn stream(&self) -> [u64; 4] {
        let mut n = self.draws.borrow_mut();
        *n += 1;
        [self.key[0], self.key[1], self.key[2], *n]
    }

    /// What kernels draw random numbers with, in device memory; `None` on the processor, where operations have their own keys.
    ///
    /// # Errors
    /// Those of the device.
    pub fn draw(&self) -> Result<Option<Var>> {
        let Path::Device(_) = self.tape.cx().path else {
            return Ok(None);
        };
        let mut drawn = self.drawn.borrow_mut();
        let words = || draw_words(self.key, self.mode.skip_dropout, self.mode.drop_path);
        let make = || {
            let words = self.draw.clone().map_or_else(words, Ok)?;
            Ok(self.tape.leaf(words))
        };
        if drawn.is_none() {
            *drawn = Some(make()?);
        }
        Ok(drawn.clone())
    }

    /// Walks back from `loss` and returns the gradients of weights and architecture parameters that were reached.
    ///
    /// # Errors
    /// Those of [`Tape::backward`].
    pub fn backward(&self, loss: &Var) -> Result<PassGrads> {
        let mut g = self.tape.backward(loss)?;
        Ok(PassGrads {
            weights: collect(&self.weights.borrow(), &mut g),
            arch: collect(&self.arch.borrow(), &mut g),
        })
    }
}

fn collect(bound: &[Option<Var>], g: &mut Grads) -> Vec<(ParamId, Tensor)> {
    let reached = |(i, v): (usize, &Option<Var>)| Some((ParamId(i), g.take(v.as_ref()?)?));
    bound.iter().enumerate().filter_map(reached).collect()
}

/// Gradients by parameter, in the order of the sets; parameters that were not reached are absent.
#[derive(Debug, Default)]
pub struct PassGrads {
    /// Of weights.
    pub weights: Vec<(ParamId, Tensor)>,
    /// Of architecture parameters.
    pub arch: Vec<(ParamId, Tensor)>,
}
