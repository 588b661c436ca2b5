//! P-DARTS (systems.md 2.8): stages in which the network grows towards its final depth while the candidates of each edge
//! get fewer, dropout after skip-connects, and at most M of them in the final normal cell.
//!
//! Weights and architecture parameters of a stage start anew, as in the reference; what a stage hands on is which
//! operations are left. All of it follows from the finished stages, so a run that is taken up again needs nothing else.

use super::closing::{self, Found};
use super::config::Config;
use super::darts::{BACKBONE, around, open, plan};
use super::networks::searched;
use super::session::Session;
use super::stage::{self, ArchPlan, Outcome};
use super::stop::Rule;
use crate::error::{Code, Error, Result};
use crate::model::Cells;
use crate::report::records::EvalRecord;
use crate::space::{ArchOptions, Candidates, Genotype};

/// The stages' random numbers are keyed by this and their index: apart from those of every other stage.
const FIRST: u64 = 10;

/// Runs `method = "p-darts"` to its end.
///
/// # Errors
/// Those of the stages; `Interrupted` when a stop was asked for.
pub fn run(session: &mut Session) -> Result<EvalRecord> {
    let c = session.config.clone();
    let p = &c.search.p_darts;
    let benches = open(&c)?;
    let Cells::Search { mut options, .. } = searched(BACKBONE, &c)? else {
        unreachable!("search cells");
    };
    let mut last = None;
    for (i, &cells) in p.cells.iter().enumerate() {
        if let Some(before) = &last {
            options = fewer(&options, before, p.operations[i])?;
        }
        let mut config = c.clone();
        config.model.cells = cells;
        // Reductions written for the final depth mean nothing at another one.
        config.model.reductions = None;
        let parts = around(
            &c,
            Cells::Search {
                group: BACKBONE.into(),
                options: options.clone(),
            },
        )?;
        let arch = ArchPlan {
            groups: vec![BACKBONE.into()],
            alpha: c.search.alpha.clone(),
            warmup: p.warmup_fraction,
            rule: Rule::Budget,
            skip_dropout: p.skip_dropout[i],
        };
        let steps = share(c.search.iters.backbone, p.cells.len(), i);
        let name = format!("{}-search", i + 1);
        let plan = plan(
            &config,
            &benches,
            &parts,
            (&name, FIRST + i as u64),
            steps,
            arch,
        )?;
        last = Some(stage::run(session, &plan)?);
    }
    let supernet =
        last.ok_or_else(|| Error::new(Code::ConfigValue, "`search.p_darts.cells` names no stage"))?;
    let parts = around(&c, Cells::Derived(final_genotype(&c, &supernet)?))?;
    let start = Some(supernet.store.clone());
    closing::close(
        session,
        &benches,
        Found {
            parts,
            start,
            supernet: Some(&supernet),
        },
    )
}

/// Steps of stage `i` of `n`: the budget, as evenly as it goes.
fn share(budget: usize, n: usize, i: usize) -> u64 {
    ((budget * (i + 1)) / n - (budget * i) / n) as u64
}

/// The strongest `left` candidates of every edge at the end of `before`.
fn fewer(options: &ArchOptions, before: &Outcome, left: usize) -> Result<ArchOptions> {
    let group = before.net.group(BACKBONE).expect("the searched group");
    let [normal, reduce] = group.strengths(&before.store)?;
    let drop = |c: &Candidates| {
        (0..c.edges())
            .map(|e| c.of(e).len())
            .max()
            .unwrap_or(0)
            .saturating_sub(left)
    };
    Ok(ArchOptions {
        normal: options.normal.drop_weakest(&normal, drop(&options.normal)),
        reduce: options.reduce.drop_weakest(&reduce, drop(&options.reduce)),
        ..options.clone()
    })
}

/// What the last stage derives, with at most `max_skip` skip-connects in the normal cell.
fn final_genotype(c: &Config, last: &Outcome) -> Result<Genotype> {
    let group = last.net.group(BACKBONE).expect("the searched group");
    group.genotype(&last.store, Some(c.search.p_darts.max_skip))
}
