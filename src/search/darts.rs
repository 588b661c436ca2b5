//! DARTS, PC-DARTS and DARTS+ (systems.md 2.5 to 2.7, 2.9): one search stage, then the derived network is trained.
//!
//! The classification frame gives the proxy search of these papers; a dense frame searches the backbone with the tasks'
//! losses, its branches given or by hand. The backbone found, `final/genotype.txt`, is what `search.genotypes.backbone` of an
//! "mtnas" run takes: the proxy rows of Table 1.

use super::closing::{self, Found};
use super::config::{Config, DartsPlusRule, Method};
use super::given::given;
use super::networks::{Parts, searched};
use super::pipeline::Benches;
use super::session::Session;
use super::stage::{self, ArchPlan, Plan};
use super::stop::Rule;
use crate::error::{Code, Error, Result};
use crate::model::Cells;
use crate::report::records::EvalRecord;

/// Number of the search stage: keys random numbers.
const SEARCH: u64 = 1;
/// The searched group.
pub(super) const BACKBONE: &str = "backbone";

/// Runs `method = "darts" | "pc-darts" | "darts+"` to its end.
///
/// # Errors
/// Those of the stages; `Interrupted` when a stop was asked for.
pub fn run(session: &mut Session) -> Result<EvalRecord> {
    let c = session.config.clone();
    let benches = open(&c)?;
    let parts = around(&c, searched(BACKBONE, &c)?)?;
    let arch = ArchPlan {
        groups: vec![BACKBONE.into()],
        alpha: c.search.alpha.clone(),
        warmup: c.search.warmup_fraction,
        rule: rule(&c),
        skip_dropout: 0.0,
    };
    let steps = c.search.iters.backbone as u64;
    let plan = plan(&c, &benches, &parts, ("1-search", SEARCH), steps, arch)?;
    let supernet = stage::run(session, &plan)?;
    let found = Parts {
        backbone: Cells::Derived(supernet.genotype(BACKBONE)?),
        ..parts
    };
    let start = Some(supernet.store.clone());
    closing::close(
        session,
        &benches,
        Found {
            parts: found,
            start,
            supernet: Some(&supernet),
        },
    )
}

/// When the search ends before its budget: DARTS+ by its own rules, the others once the genotype stays (`search.stop`).
fn rule(c: &Config) -> Rule {
    let plus = &c.search.darts_plus;
    match (c.search.method, plus.rule) {
        (Method::DartsPlus, DartsPlusRule::SkipCount) => Rule::SkipCount(plus.max_skip),
        (Method::DartsPlus, DartsPlusRule::StableRanking) => {
            Rule::StableRanking(plus.stable_checks)
        }
        _ => Rule::Stable,
    }
}

/// The tasks of a method that searches one network.
///
/// # Errors
/// `ConfigValue` without a task; those of the data sets.
pub(super) fn open(c: &Config) -> Result<Benches> {
    let benches = Benches::open(c)?;
    if benches.all().is_empty() {
        let text = format!("the method \"{}\" needs a task", c.search.method);
        return Err(
            Error::new(Code::ConfigValue, text).help("add [tasks.NAME] with a kind and a data set")
        );
    }
    Ok(benches)
}

/// The backbone with branches as given, or by hand.
///
/// # Errors
/// Genotypes that do not parse.
pub(super) fn around(c: &Config, backbone: Cells) -> Result<Parts> {
    let cells = |key: &str| -> Result<Cells> {
        let found = if c.model.searched_branches() {
            given(c, key)?
        } else {
            None
        };
        Ok(found.map_or(Cells::HandCrafted, Cells::Derived))
    };
    Ok(Parts {
        backbone,
        det: cells("det")?,
        seg: cells("seg")?,
    })
}

/// A search stage of `parts` over all tasks; `c` may have another frame than the run.
///
/// # Errors
/// A network that does not fit.
pub(super) fn plan(
    c: &Config,
    benches: &Benches,
    parts: &Parts,
    (name, number): (&str, u64),
    steps: u64,
    arch: ArchPlan,
) -> Result<Plan> {
    let s = &c.search;
    Ok(Plan {
        name: name.into(),
        number,
        spec: benches.spec(c, parts)?,
        tasks: benches.all(),
        steps,
        batch: s.batch,
        weights: s.weights.clone(),
        arch: Some(arch),
        sample: None,
        alternate: s.alternate,
        weight_split: s.weight_split,
        drop_path: 0.0,
        init: None,
    })
}
