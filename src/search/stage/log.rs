//! What a step leaves in the logs.

use std::collections::BTreeMap;

use super::{Done, Plan, Running};
use crate::error::Result;
use crate::report::records::{AlphaRecord, AlphaSet, CellKind, MetricRecord, Phase, TimingRecord};
use crate::search::bilevel::StepReport;
use crate::search::progress::Figures;
use crate::search::session::Session;
use crate::space::PRIMITIVES;

impl Running<'_> {
    /// Which search cells compute maps again, if any.
    pub(super) fn say_what_recomputes(&self, session: &Session) {
        let cells = self.net.recomputes();
        let again = cells.iter().filter(|r| **r).count();
        if again > 0 {
            let (stage, of, memory) = (&self.plan.name, cells.len(), self.plan.spec.memory);
            let text = format!(
                "{stage}: {again} of {of} search cells recompute (search.memory = {memory})"
            );
            session.progress.say(&text);
        }
    }

    /// What the searched operations cost to begin with, if that counts.
    pub(super) fn say_what_cost_is(&self, session: &Session) {
        if let Some(c) = &self.constraint {
            let text = format!(
                "{}: all equal, the searched operations cost {:.4e} {} (search.constraint)",
                self.plan.name,
                c.uniform(),
                c.unit()
            );
            session.progress.say(&text);
        }
    }

    pub(super) fn log(&mut self, session: &mut Session, done: &Done) -> Result<()> {
        session.count(done.images);
        if !self.is_logged(&done.tasks, self.counters.step, session) {
            return Ok(());
        }
        let weight = done.weight.as_ref().expect("waited for, as it is logged");
        let task = done
            .tasks
            .iter()
            .map(|&t| self.plan.tasks[t].name.as_str())
            .collect::<Vec<_>>()
            .join("+");
        let record = |kind, r: &StepReport| MetricRecord {
            stage: self.plan.name.clone(),
            step: self.counters.step,
            steps: self.plan.steps,
            task: task.clone(),
            kind,
            loss: r.loss,
            parts: r.parts.iter().map(|(n, v)| (n.to_string(), *v)).collect(),
            lr: None,
            grad_norm: Some(r.norm),
            cost: None,
            entropy: BTreeMap::new(),
            skip_share: BTreeMap::new(),
            pool_share: BTreeMap::new(),
            scores: BTreeMap::new(),
        };
        let mut train = MetricRecord {
            lr: Some(done.lr),
            ..record(Phase::Train, weight)
        };
        let mut figures = Figures {
            step: self.counters.step,
            loss: weight.loss,
            parts: weight
                .parts
                .iter()
                .map(|(n, v)| (n.to_string(), *v))
                .collect(),
            arch_loss: done.arch.as_ref().map(|a| a.loss),
            images: session.take_images(),
            ..Figures::default()
        };
        if let Some(a) = &self.plan.arch {
            for name in &a.groups {
                let Some(group) = self.net.group(name) else {
                    continue;
                };
                let genotype = group.genotype(&self.learner.store, None)?;
                let entropy = session.log_alpha(
                    self.plan,
                    self.counters.step,
                    group,
                    &self.learner.store,
                    &genotype,
                    done.arch.is_some(),
                )?;
                train.entropy.insert(name.clone(), entropy);
                train.skip_share.insert(name.clone(), genotype.skip_share());
                train.pool_share.insert(name.clone(), genotype.pool_share());
                let chosen = genotype.normal.len();
                figures.entropy.get_or_insert(entropy);
                figures
                    .skips
                    .get_or_insert((genotype.skips(crate::space::SkipRule::NormalCell), chosen));
            }
        }
        if let Some(c) = &self.constraint {
            let at = c.at(self.net, &self.learner.store)?;
            train.cost = Some(at);
            figures.cost_share = Some(at / c.uniform());
        }
        session.logs.metric(&train)?;
        if let Some(arch) = &done.arch {
            session.logs.metric(&record(Phase::Arch, arch))?;
        }
        let (seconds, images_per_s) = session.lap(figures.images);
        let (stage, step) = (self.plan.name.clone(), self.counters.step);
        session.logs.timing(&TimingRecord {
            stage,
            step,
            seconds,
            images_per_s,
            memory: Some(session.peak()),
        })?;
        session.progress.figures(&figures);
        Ok(())
    }
}

/// The set and the parameters of a group for the log: alpha rows, betas.
pub(in crate::search) fn alpha_records(
    plan: &Plan,
    step: u64,
    values: &[(String, Vec<f64>)],
    group: &str,
    genotype: &str,
) -> Vec<AlphaRecord> {
    let set = match group {
        "det" => AlphaSet::Det,
        "seg" => AlphaSet::Seg,
        _ => AlphaSet::Backbone,
    };
    [CellKind::Normal, CellKind::Reduce]
        .into_iter()
        .map(|kind| {
            let get = |what: &str| {
                values
                    .iter()
                    .find(|(n, _)| n.ends_with(&format!("{what}_{}", kind.name())))
                    .map(|(_, v)| v.clone())
            };
            let alpha = get("alpha")
                .unwrap_or_default()
                .chunks(PRIMITIVES)
                .map(<[f64]>::to_vec)
                .collect();
            AlphaRecord {
                stage: plan.name.clone(),
                step,
                set,
                kind,
                alpha,
                beta: get("beta").unwrap_or_default(),
                genotype: genotype.into(),
            }
        })
        .collect()
}
