//! Steps as graphs. On a device a phase of a step is the same launches again and again: it is taken once as it is, once more to learn
//! what memory it takes, then recorded, and from there on replayed. What differs from step to step goes up before: the batch into
//! buffers that stay where they are, rates and keys of random numbers into words beside them.
//!
//! A replay gives the bits of a step that is launched one kernel after the other. Where a step cannot be recorded it is launched, and
//! the reason is kept for whoever asks.

use std::collections::HashMap;

use super::bilevel::{Learner, Loss, LossFn, StepReport};
use super::phase::{Begun, Moved, Phase, Told, Update};
use crate::backend::driver::DevicePtr;
use crate::backend::engine::{Recorded, Rehearsal};
use crate::error::{Code, Result};
use crate::nn::Pass;
use crate::ops::draw_words;
use crate::tensor::{DType, DeviceBuffer, Engine, Shape, Tensor};

/// The loss of a step from its inputs, wherever they lie.
pub type StagedLoss<'a> = &'a dyn Fn(&Pass, &[Tensor]) -> Result<Loss>;

/// What a phase is about.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// What tells it from phases of the same shapes: tasks, numbers that are part of its launches.
    pub of: &'a [u64],
    /// The batch: images, targets.
    pub inputs: &'a [Tensor],
    /// The loss of those.
    pub loss: StagedLoss<'a>,
    /// Why its launches differ from step to step, if they do.
    pub varies: Option<&'a str>,
}

/// Phases with the same key are the same launches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    arch: bool,
    of: Vec<u64>,
    shapes: Vec<(Shape, DType)>,
    /// Whether there is dropout after skip-connects, and drop path.
    drops: [bool; 2],
}

/// How far a phase is.
#[derive(Default)]
enum State {
    #[default]
    New,
    /// What it changes is known.
    Seen(Moved),
    /// What it needs is known.
    Rehearsed(Moved, Rehearsal),
    /// It is replayed.
    Ready(Ready),
    /// It cannot be recorded.
    Launched,
}

struct Ready {
    recorded: Recorded<Told>,
    rehearsal: Rehearsal,
    /// Where what it changes lay when it was recorded.
    places: Vec<DevicePtr>,
}

/// Rehearsals after which a phase was not as before, until it is given up.
const RESTLESS: u32 = 3;

struct Entry {
    inputs: Vec<Tensor>,
    /// What the inputs were filled from.
    filled: Vec<Tensor>,
    draw: Tensor,
    drawn: Tensor,
    state: State,
    failures: u32,
}

impl Entry {
    fn new(e: Engine, inputs: &[Tensor], draw: Tensor) -> Result<Entry> {
        let stable = |like: &Tensor| -> Result<Tensor> {
            let on = DeviceBuffer::lasting(e, like.dtype(), like.numel())?;
            Ok(Tensor::from_device(*like.shape(), on))
        };
        let entry = Entry {
            inputs: inputs.iter().map(stable).collect::<Result<_>>()?,
            filled: vec![],
            draw: stable(&draw)?,
            drawn: draw,
            state: State::New,
            failures: 0,
        };
        entry.draw.on(e)?.write(entry.drawn.bytes())?;
        Ok(entry)
    }

    /// Uploads what is not there already.
    fn fill(&mut self, e: Engine, inputs: &[Tensor], draw: Tensor) -> Result<()> {
        for (i, (to, from)) in self.inputs.iter().zip(inputs).enumerate() {
            if !self.filled.get(i).is_some_and(|f| f.shares(from)) {
                to.on(e)?.write(from.bytes())?;
            }
        }
        self.filled = inputs.to_vec();
        if draw != self.drawn {
            self.draw.on(e)?.write(draw.bytes())?;
            self.drawn = draw;
        }
        Ok(())
    }
}

/// The recorded phases of a network.
#[derive(Default)]
pub struct Graphs {
    off: bool,
    entries: HashMap<Key, Entry>,
    reason: Option<String>,
    asked: bool,
    replays: u64,
    /// Where they are.
    engine: Option<Engine>,
}

impl Graphs {
    /// None yet; with `off` there will be none.
    pub fn new(off: bool) -> Graphs {
        Graphs {
            off,
            entries: HashMap::new(),
            reason: None,
            asked: false,
            replays: 0,
            engine: None,
        }
    }

    /// Why a phase is launched and not replayed; tells the first reason, once.
    pub fn reason(&mut self) -> Option<String> {
        let first = self.reason.clone().filter(|_| !self.asked);
        self.asked |= first.is_some();
        first
    }

    /// Phases that were replayed.
    pub fn replays(&self) -> u64 {
        self.replays
    }

    fn refuse(&mut self, why: impl Into<String>) {
        self.reason.get_or_insert(why.into());
    }

    /// Takes a phase.
    ///
    /// # Errors
    /// `Diverged`, naming the op, when a value is not finite; nothing has changed then. Those of the device.
    pub fn step(&mut self, l: &mut Learner, phase: &Phase, s: &Step) -> Result<StepReport> {
        let begun = self.begin(l, phase, s)?;
        l.end(phase, begun, &|p| (s.loss)(p, s.inputs))
    }

    /// Puts a phase on the device and does not wait; on the processor it is taken.
    ///
    /// # Errors
    /// As [`Graphs::step`]; on a device [`Learner::end`] tells what is not finite.
    pub fn begin(&mut self, l: &mut Learner, phase: &Phase, s: &Step) -> Result<Begun> {
        let Some(e) = l.device_of(phase) else {
            let loss = |p: &Pass| (s.loss)(p, s.inputs);
            return l.take(phase, &loss).map(Begun::Known);
        };
        self.engine = Some(e);
        l.prepare(e, phase)?;
        let mode = l.mode_of(phase.mode);
        let draw = draw_words(phase.key, mode.skip_dropout, mode.drop_path)?;
        let drops = [mode.skip_dropout > 0.0, mode.drop_path > 0.0];
        // Without random numbers the key says nothing.
        let draw = match drops {
            [false, false] => draw_words([0; 3], 0.0, 0.0)?,
            _ => draw,
        };
        let key = Key {
            arch: matches!(phase.update, Update::Arch(_)),
            of: s.of.to_vec(),
            shapes: s.inputs.iter().map(|t| (*t.shape(), t.dtype())).collect(),
            drops,
        };
        let mut entry = match self.entries.remove(&key) {
            Some(entry) => entry,
            None => Entry::new(e, s.inputs, draw.clone())?,
        };
        entry.fill(e, s.inputs, draw)?;
        let done = self.run(e, l, phase, s, &mut entry);
        self.entries.insert(key, entry);
        done
    }

    fn run(
        &mut self,
        e: Engine,
        l: &mut Learner,
        phase: &Phase,
        s: &Step,
        entry: &mut Entry,
    ) -> Result<Begun> {
        let (inputs, draw) = (&entry.inputs, Some(&entry.draw));
        let loss = |p: &Pass| (s.loss)(p, inputs);
        if let Some(why) = s.varies {
            self.refuse(why);
        }
        if self.off || s.varies.is_some() || phase.cx.profile {
            let told = self.launch(e, l, phase, draw, &loss)?;
            return l.begun(phase, &told);
        }
        let (moved, rehearsal, kept) = match std::mem::replace(&mut entry.state, State::Launched) {
            State::New => {
                let told = self.launch(e, l, phase, draw, &loss)?;
                entry.state = State::Seen(told.moved.clone());
                return l.begun(phase, &told);
            }
            State::Seen(moved) => {
                let before = l.places(e, phase, &moved)?;
                let (told, ready) = e.rehearse(|| self.launch(e, l, phase, draw, &loss))?;
                let stays = told.moved == moved && before == l.places(e, phase, &moved)?;
                entry.state = match ready {
                    Ok(rehearsal) if stays => State::Rehearsed(moved, rehearsal),
                    Ok(_) => {
                        let why = "parameters lie elsewhere after every step";
                        self.again(&mut entry.failures, &told.moved, why)
                    }
                    Err(why) => {
                        self.refuse(why);
                        State::Launched
                    }
                };
                return l.begun(phase, &told);
            }
            State::Launched => {
                let told = self.launch(e, l, phase, draw, &loss)?;
                return l.begun(phase, &told);
            }
            State::Rehearsed(moved, rehearsal) => (moved, rehearsal, None),
            State::Ready(r) => {
                let moved = r.recorded.result.moved.clone();
                (moved, r.rehearsal, Some((r.recorded, r.places)))
            }
        };
        let places = l.places(e, phase, &moved)?;
        let kept = kept.filter(|(r, at)| r.is_current() && *at == places);
        let recorded = match kept {
            Some((recorded, _)) => Ok(recorded),
            None => {
                if !e.has_arena(rehearsal.bytes()) {
                    self.give_up();
                }
                e.record(&rehearsal, || l.launch(e, phase, draw, &loss))
            }
        };
        let recorded = match recorded {
            Ok(recorded) => recorded,
            Err(why) => {
                // Nothing was done; what is wrong with the step itself the launches tell.
                e.healthy()?;
                let told = self.launch(e, l, phase, draw, &loss)?;
                if why.code() == Code::OutOfMemory {
                    self.refuse(why.message());
                } else {
                    entry.state = self.again(&mut entry.failures, &told.moved, why.message());
                }
                return l.begun(phase, &told);
            }
        };
        e.replay(&recorded)?;
        self.replays += 1;
        let done = l.begun(phase, &recorded.result);
        entry.state = State::Ready(Ready {
            recorded,
            rehearsal,
            places,
        });
        done
    }

    /// Launches a phase. Where there is no memory beside the arena, there is none for graphs.
    fn launch(
        &mut self,
        e: Engine,
        l: &mut Learner,
        phase: &Phase,
        draw: Option<&Tensor>,
        loss: LossFn,
    ) -> Result<Told> {
        match l.launch(e, phase, draw, loss) {
            Err(why) if why.code() == Code::OutOfMemory && e.has_arena(1) => {
                self.off = true;
                self.refuse("there is too little memory for graphs beside a step");
                self.give_up();
                e.release_arena();
                l.launch(e, phase, draw, loss)
            }
            told => told,
        }
    }

    /// What becomes of a phase that was not as it was before: it is rehearsed again, or given up.
    fn again(&mut self, failures: &mut u32, moved: &Moved, why: &str) -> State {
        *failures += 1;
        if *failures < RESTLESS {
            return State::Seen(moved.clone());
        }
        self.refuse(why);
        State::Launched
    }

    /// Gives all recordings up: a larger arena takes the place of theirs.
    fn give_up(&mut self) {
        for entry in self.entries.values_mut() {
            entry.state = match std::mem::take(&mut entry.state) {
                State::Ready(r) => State::Rehearsed(r.recorded.result.moved.clone(), r.rehearsal),
                other => other,
            };
        }
    }
}

impl Drop for Graphs {
    fn drop(&mut self) {
        self.entries.clear();
        if let Some(e) = self.engine {
            e.release_arena();
        }
    }
}

#[cfg(test)]
#[path = "graphs_tests.rs"]
mod tests;
