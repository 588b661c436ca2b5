//! What a step of a stage does: batches of the tasks whose turn it is, an architecture step, a weight step.

use std::rc::Rc;

use super::{Done, Running, sample};
use crate::data::batch::Batch;
use crate::data::loader::Loader;
use crate::error::{Code, Error, Result};
use crate::model::Mixing;
use crate::nn::{Mode, Pass, Store};
use crate::optim::rate;
use crate::rng::{Rng, word};
use crate::search::bilevel::{Loss, Order};
use crate::search::config::Alternate;
use crate::search::session::Session;
use crate::search::stage::Plan;
use crate::search::stop::Rule;
use crate::search::workbench::{Half, Workbench};
use crate::space::ArchGroup;
use crate::space::derive::learnable_ranking;
use crate::tape::Path;
use crate::task::Targets;

impl Running<'_> {
    pub(super) fn open_loaders(&mut self) -> Result<()> {
        let (plan, c) = (self.plan, &self.counters);
        let half = if plan.arch.is_some() || plan.sample.is_some() {
            Half::Weight
        } else {
            Half::All
        };
        let open = |half: Half, starts: &[u64]| -> Result<Vec<Loader>> {
            let tasks = plan.tasks.iter().zip(starts);
            tasks
                .map(|(t, &start)| t.train(half, plan.weight_split, plan.batch, plan.number, start))
                .collect()
        };
        self.weight_loaders = open(half, &c.weight_batches)?;
        self.arch_loaders = if plan.arch.is_some() {
            open(Half::Arch, &c.arch_batches)?
        } else {
            vec![]
        };
        Ok(())
    }

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
        loaders: &mut [Loader],
        plan: &Plan,
        path: Path,
        tasks: &[usize],
        used: &mut [u64],
    ) -> Result<Vec<(Rc<Workbench>, Batch, Targets)>> {
        tasks
            .iter()
            .map(|&t| {
                let batch = loaders[t].next_batch()?;
                used[t] += 1;
                let bench = plan.tasks[t].clone();
                let targets = bench.targets(&batch, path)?;
                Ok((bench, batch, targets))
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
        let share = step as f64 / plan.steps.max(1) as f64;
        self.learner.skip_dropout = plan
            .arch
            .as_ref()
            .map_or(0.0, |a| a.skip_dropout * (1.0 - share));
        let total = |p: &Pass, batches: &[(Rc<Workbench>, Batch, Targets)]| -> Result<Loss> {
            let mut sum: Option<Loss> = None;
            for (bench, batch, targets) in batches {
                let l = bench.loss(net, p, batch, targets, dtype, mixing)?;
                sum = Some(match sum {
                    None => l,
                    Some(mut s) => {
                        s.total = crate::ops::add(&s.total, &l.total)?;
                        s.parts.extend(l.parts);
                        s
                    }
                });
            }
            Ok(sum.expect("a step has a task"))
        };
        let weight = Self::prepare(
            &mut self.weight_loaders,
            plan,
            cx.path,
            &tasks,
            &mut self.counters.weight_batches,
        )?;
        let mut images: u64 = weight
            .iter()
            .map(|(_, b, _)| b.annotations.len() as u64)
            .sum();
        let warm = plan
            .arch
            .as_ref()
            .map_or(u64::MAX, |a| (a.warmup * plan.steps as f64).floor() as u64);
        let mut arch = None;
        if let Some(a) = plan.arch.as_ref().filter(|_| step >= warm) {
            let batches = Self::prepare(
                &mut self.arch_loaders,
                plan,
                cx.path,
                &tasks,
                &mut self.counters.arch_batches,
            )?;
            images += batches
                .iter()
                .map(|(_, b, _)| b.annotations.len() as u64)
                .sum::<u64>();
            let alpha_lr = slow
                * rate(
                    &a.alpha.schedule,
                    a.alpha.lr,
                    step - warm,
                    plan.steps - warm,
                );
            let weight_loss = |p: &Pass| total(p, &weight);
            let order = match c.search.order {
                2 => Order::Second {
                    weight_loss: &weight_loss,
                    xi: lr,
                    weights: &plan.weights,
                    epsilon: c.search.unroll_epsilon,
                },
                _ => Order::First,
            };
            let report = self.learner.arch_step(
                cx,
                key,
                &|p| total(p, &batches),
                order,
                &a.alpha,
                alpha_lr,
            )?;
            arch = Some(report);
            let group = net
                .group(&a.groups[0])
                .ok_or_else(|| Error::new(Code::Internal, format!("no group {}", a.groups[0])))?;
            let genotype = group.genotype(&self.learner.store, None)?;
            let watched = match a.rule {
                Rule::StableRanking(_) => ranking(group, &self.learner.store)?,
                _ => genotype.to_string(),
            };
            if self.counters.stopper.check_watched(
                a.rule,
                &c.search.stop,
                &genotype,
                watched,
                plan.steps - warm,
            ) {
                self.allowed = Some(
                    self.learner
                        .store
                        .arch
                        .iter()
                        .map(|(_, _, t)| t.clone())
                        .collect(),
                );
            }
        }
        let mode = Mode {
            drop_path: plan.drop_path * share,
            ..Mode::WEIGHT_STEP
        };
        let weight =
            self.learner
                .weight_step(cx, mode, key, &|p| total(p, &weight), &plan.weights, lr)?;
        Ok(Done {
            tasks,
            weight,
            arch,
            lr,
            images,
        })
    }
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
