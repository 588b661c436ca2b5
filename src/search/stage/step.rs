//! What a step of a stage does: batches of the tasks whose turn it is, an architecture step, a weight step.

use super::fed::{Fed, images_of, inputs, numbers, total};
use super::readers::Reader;
use super::{ArchPlan, Done, Running, sample};
use crate::error::{Code, Error, Result};
use crate::model::Mixing;
use crate::nn::{Mode, Pass, Store};
use crate::optim::rate;
use crate::rng::{Rng, word};
use crate::search::bilevel::Order;
use crate::search::config::Alternate;
use crate::search::graphs::Step;
use crate::search::phase::{Begun, Phase, Update};
use crate::search::session::Session;
use crate::search::stage::Plan;
use crate::search::stop::Rule;
use crate::space::ArchGroup;
use crate::space::derive::learnable_ranking;
use crate::tape::Path;
use crate::tensor::Tensor;

impl Running<'_> {
    /// The tasks whose losses this step takes.
    fn tasks(&self, seed: u64) -> Vec<usize> {
        let (n, step) = (self.plan.tasks.len(), self.counters.step);
        let mut rng = Rng::new(seed, &[word("alternate"), self.plan.number, step]);
        match self.plan.alternate {
            Alternate::RoundRobin => vec![(step % n as u64) as usize],
            Alternate::Random => vec![rng.below(n)],
            Alternate::Proportional => {
                let sizes: Vec<usize> = self
                    .plan
                    .tasks
                    .iter()
                    .map(|t| t.source.train.indices.len())
                    .collect();
                let mut pick = rng.below(sizes.iter().sum());
                let mut task = 0;
                while pick >= sizes[task] {
                    pick -= sizes[task];
                    task += 1;
                }
                vec![task]
            }
            Alternate::Accumulate => (0..n).collect(),
        }
    }

    fn prepare(
        loaders: &mut [Reader],
        plan: &Plan,
        session: &Session,
        tasks: &[usize],
        used: &mut [u64],
    ) -> Result<Vec<Fed>> {
        tasks
            .iter()
            .map(|&t| {
                let (path, dtype) = (session.cx.path, session.activation_dtype());
                let fed = loaders[t].next(&plan.tasks[t], path, dtype)?;
                used[t] += 1;
                Ok(fed)
            })
            .collect()
    }

    pub(super) fn step(&mut self, session: &Session) -> Result<Done> {
        let plan = self.plan;
        let (c, dtype, cx) = (&session.config, session.activation_dtype(), session.cx);
        let step = self.counters.step;
        let tasks = self.tasks(c.run.seed);
        let slow = 0.5f64.powi(self.counters.rollbacks as i32);
        let lr = slow * rate(&plan.weights.schedule, plan.weights.lr, step, plan.steps);
        let key = [c.run.seed, plan.number, step];
        let net = self.net;
        let sampled = plan.sample.map(|none| {
            sample(
                net,
                none,
                &mut Rng::new(c.run.seed, &[word("sample"), plan.number, step]),
            )
        });
        let mixing = sampled.as_ref().map_or(Mixing::Parameters, Mixing::Fixed);
        let varies = sampled
            .is_some()
            .then_some("every step samples another architecture");
        let share = step as f64 / plan.steps.max(1) as f64;
        self.learner.skip_dropout = plan
            .arch
            .as_ref()
            .map_or(0.0, |a| a.skip_dropout * (1.0 - share));
        let total =
            |p: &Pass, fed: &[Fed], inputs: &[Tensor]| total(net, p, fed, inputs, dtype, mixing);
        let constraint = self.constraint.clone();
        let charged = |p: &Pass, fed: &[Fed], inputs: &[Tensor]| {
            let loss = total(p, fed, inputs)?;
            match &constraint {
                Some(c) => c.add(net, p, loss),
                None => Ok(loss),
            }
        };
        let weight = Self::prepare(
            &mut self.weight_loaders,
            plan,
            session,
            &tasks,
            &mut self.counters.weight_batches,
        )?;
        let weight_inputs = inputs(&weight);
        let mut images = images_of(&weight);
        let warm = plan
            .arch
            .as_ref()
            .map_or(u64::MAX, |a| (a.warmup * plan.steps as f64).floor() as u64);
        let mut arch = None;
        if let Some(a) = plan.arch.as_ref().filter(|_| step >= warm) {
            let batches = Self::prepare(
                &mut self.arch_loaders,
                plan,
                session,
                &tasks,
                &mut self.counters.arch_batches,
            )?;
            images += images_of(&batches);
            let alpha_lr = slow
                * rate(
                    &a.alpha.schedule,
                    a.alpha.lr,
                    step - warm,
                    plan.steps - warm,
                );
            let arch_inputs = inputs(&batches);
            let phase = Phase {
                cx,
                mode: Mode::ARCH_STEP,
                key,
                update: Update::Arch(&a.alpha),
                lr: alpha_lr,
            };
            let begun = match c.search.order {
                2 => {
                    let order = Order::Second {
                        weight_loss: &|p| total(p, &weight, &weight_inputs),
                        xi: lr,
                        weights: &plan.weights,
                        epsilon: c.search.unroll_epsilon,
                    };
                    let loss = |p: &Pass| charged(p, &batches, &arch_inputs);
                    let l = &mut self.learner;
                    Begun::Known(l.arch_step(cx, key, &loss, order, &a.alpha, alpha_lr)?)
                }
                _ => {
                    let step = Step {
                        of: &numbers(&tasks, &batches),
                        inputs: &arch_inputs,
                        loss: &|p, x| charged(p, &batches, x),
                        varies,
                    };
                    self.graphs.begin(&mut self.learner, &phase, &step)?
                }
            };
            let fetched = match cx.path {
                Path::Device(e) => self.learner.fetch_arch(e)?,
                _ => vec![],
            };
            arch = Some((a, phase, batches, arch_inputs, begun, fetched));
        }
        let phase = Phase {
            cx,
            mode: Mode {
                drop_path: plan.drop_path * share,
                ..Mode::WEIGHT_STEP
            },
            key,
            update: Update::Weights(&plan.weights),
            lr,
        };
        let skip_dropout = self.learner.skip_dropout;
        let one = Step {
            of: &numbers(&tasks, &weight),
            inputs: &weight_inputs,
            loss: &|p, x| total(p, &weight, x),
            varies,
        };
        let begun = self.graphs.begin(&mut self.learner, &phase, &one)?;
        // The device has work: time to look at what came before.
        self.settle(session)?;
        let arch = match arch {
            None => None,
            Some((a, phase, batches, inputs, begun, fetched)) => {
                let loss = |p: &Pass| charged(p, &batches, &inputs);
                let report = self.learner.end(&phase, begun, &loss)?;
                self.learner.know_arch(fetched)?;
                self.look(session, a, plan.steps - warm)?;
                Some(report)
            }
        };
        let mut outstanding = Outstanding {
            step,
            mode: phase.mode,
            key,
            lr,
            skip_dropout,
            fed: weight,
            inputs: weight_inputs,
            begun: Some(begun),
        };
        let due = varies.is_some()
            || self.is_logged(&tasks, step + 1, session)
            || (step + 1).is_multiple_of(c.checkpoint.every.max(1) as u64)
            || self.counters.stopper.stopped.is_some();
        let weight = match due {
            true => {
                let begun = outstanding.begun.take().expect("just begun");
                let loss = |p: &Pass| total(p, &outstanding.fed, &outstanding.inputs);
                Some(self.learner.end(&phase, begun, &loss)?)
            }
            false => {
                self.outstanding = Some(outstanding);
                None
            }
        };
        Ok(Done {
            tasks,
            weight,
            arch,
            lr,
            images,
        })
    }

    /// Whether a step of these tasks, after which `step` steps are done, is recorded in the logs.
    pub(super) fn is_logged(&self, tasks: &[usize], step: u64, session: &Session) -> bool {
        let every = session.config.log.every.max(1) as u64;
        // Count by task, so that alternating tasks are all seen.
        let batches = tasks.iter().map(|&t| self.counters.weight_batches[t]);
        let seen = batches.max().unwrap_or(0);
        seen % every == 1 % every || step == self.plan.steps
    }

    /// Waits for the weight phase of the step before, if nobody has.
    ///
    /// # Errors
    /// `Diverged` when it was not finite: nothing has changed since, and the counters are at that step.
    pub(super) fn settle(&mut self, session: &Session) -> Result<()> {
        let Some(mut o) = self.outstanding.take() else {
            return Ok(());
        };
        let (net, dtype) = (self.net, session.activation_dtype());
        let phase = Phase {
            cx: session.cx,
            mode: o.mode,
            key: o.key,
            update: Update::Weights(&self.plan.weights),
            lr: o.lr,
        };
        let begun = o.begun.take().expect("it is outstanding");
        let loss = |p: &Pass| total(net, p, &o.fed, &o.inputs, dtype, Mixing::Parameters);
        let now = std::mem::replace(&mut self.learner.skip_dropout, o.skip_dropout);
        let ended = self.learner.end(&phase, begun, &loss);
        self.learner.skip_dropout = now;
        if ended.is_err() {
            self.counters.step = o.step;
        }
        ended.map(drop)
    }

    /// Looks at the architecture after its step: whether the stage ends.
    fn look(&mut self, session: &Session, a: &ArchPlan, planned: u64) -> Result<()> {
        let group = (self.net.group(&a.groups[0]))
            .ok_or_else(|| Error::new(Code::Internal, format!("no group {}", a.groups[0])))?;
        let genotype = group.genotype(&self.learner.store, None)?;
        let watched = match a.rule {
            Rule::StableRanking(_) => ranking(group, &self.learner.store)?,
            _ => genotype.to_string(),
        };
        let stop = &session.config.search.stop;
        let stopper = &mut self.counters.stopper;
        if stopper.check_watched(a.rule, stop, &genotype, watched, planned) {
            // Copies: parameters that are shared could not change where they are.
            let arch = self.learner.store.arch.iter();
            self.allowed = Some(arch.map(|(_, _, t)| t.detached()).collect());
        }
        Ok(())
    }
}

/// A weight phase that nobody has waited for.
pub(super) struct Outstanding {
    /// Steps done before it.
    step: u64,
    mode: Mode,
    key: [u64; 3],
    lr: f64,
    skip_dropout: f64,
    /// Its batches, to be taken again where it was not finite.
    fed: Vec<Fed>,
    inputs: Vec<Tensor>,
    begun: Option<Begun>,
}

/// The order of the learnable operations on every edge of both cells, as text.
fn ranking(group: &ArchGroup, store: &Store) -> Result<String> {
    let mut text = String::new();
    for (name, values) in group
        .values(store)
        .iter()
        .filter(|(n, _)| n.contains("alpha_"))
    {
        text += &format!("{name} {:?}\n", learnable_ranking(values)?);
    }
    Ok(text)
}
