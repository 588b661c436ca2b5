//! A stage as a checkpoint holds it, and its end.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::json;

use super::{Outcome, Running, event};
use crate::error::{Code, Error, Result};
use crate::model::Network;
use crate::report::records::StageRecord;
use crate::search::checkpoint::Checkpoint;
use crate::search::config::OnTrip;
use crate::search::constraint::check_source;
use crate::search::learner_io;
use crate::search::records_io::Lengths;
use crate::search::session::Session;
use crate::search::stop::Rule;
use crate::tensor::Tensor;

impl Running<'_> {
    pub(super) fn checkpoint(&self, lengths: Lengths) -> Result<Checkpoint> {
        let mut tensors = learner_io::tensors(&self.learner);
        if let Some(allowed) = &self.allowed {
            for ((_, name, _), t) in self.learner.store.arch.iter().zip(allowed) {
                tensors.insert(format!("allowed.{name}"), t.clone());
            }
        }
        let state = json!({
            "counters": self.counters,
            "adam_steps": learner_io::adam_steps(&self.learner),
            "lengths": lengths,
            "costs": self.constraint.as_ref().map_or("", |c| c.source()),
        });
        Ok(Checkpoint { tensors, state })
    }

    pub(super) fn restore(&mut self, c: &Checkpoint) -> Result<Lengths> {
        let bad = |e: serde_json::Error| {
            Error::new(Code::BadCheckpoint, format!("its state does not read: {e}"))
        };
        let field = |name: &str| c.state.get(name).cloned().unwrap_or_default();
        let started = field("costs");
        check_source(
            started.as_str().unwrap_or_default(),
            self.constraint.as_deref(),
        )?;
        self.counters = serde_json::from_value(field("counters")).map_err(bad)?;
        let steps = serde_json::from_value(field("adam_steps")).map_err(bad)?;
        learner_io::load(&mut self.learner, &c.tensors, &steps)?;
        let names: Vec<String> = self
            .learner
            .store
            .arch
            .iter()
            .map(|(_, n, _)| format!("allowed.{n}"))
            .collect();
        let allowed: Vec<Tensor> = names
            .iter()
            .filter_map(|n| c.tensors.get(n).cloned())
            .collect();
        self.allowed = (!names.is_empty() && allowed.len() == names.len()).then_some(allowed);
        serde_json::from_value(field("lengths")).map_err(bad)
    }

    /// Settles the genotype, saves the last checkpoint and marks the stage as finished.
    pub(super) fn finish(mut self, session: &mut Session) -> Result<Outcome> {
        let plan = self.plan;
        let reason = self.counters.stopper.stopped.clone();
        let tripped = plan
            .arch
            .as_ref()
            .is_some_and(|a| a.rule == Rule::SkipLimit)
            && reason.is_some();
        if tripped
            && session.config.search.stop.on_trip == OnTrip::LastAllowed
            && let Some(allowed) = self.allowed.take()
        {
            let ids: Vec<_> = self
                .learner
                .store
                .arch
                .iter()
                .map(|(id, _, _)| id)
                .collect();
            for (id, t) in ids.into_iter().zip(allowed) {
                self.learner.store.arch.set(id, t);
            }
        }
        let mut genotypes = BTreeMap::new();
        for group in self.net.groups() {
            genotypes.insert(
                group.name().to_string(),
                group.genotype(&self.learner.store, None)?.to_string(),
            );
        }
        let stopped = reason.unwrap_or_else(|| "budget".into());
        if !self.counters.ended {
            session.logs.event(&event(
                plan,
                self.counters.step,
                "stage-end",
                None,
                format!("ended after {} steps: {stopped}", self.counters.step),
            ))?;
            self.counters.ended = true;
        }
        let record = StageRecord {
            stage: plan.name.clone(),
            steps: self.counters.step,
            planned: plan.steps,
            stopped,
            genotypes: genotypes.clone(),
        };
        let last = session.dir.checkpoints(&plan.name, 1);
        session.save(&last, self.counters.step, |lengths| {
            self.checkpoint(lengths)
        })?;
        session.finish_stage(&plan.name, &record)?;
        session.progress.finish();
        let (net, _) = Network::build(
            &plan.spec,
            session.seed_of(plan.number),
            session.parameter_dtype(),
        )?;
        Ok(Outcome {
            store: Rc::new(self.learner.store),
            net,
            record,
        })
    }
}
