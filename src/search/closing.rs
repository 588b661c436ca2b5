//! What follows every search: the derived network is trained, judged and delivered, the random one beside it.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::config::Init;
use super::evaluate::{self, Evaluator};
use super::given::drawn;
use super::networks::{Parts, genotypes};
use super::pipeline::Benches;
use super::session::Session;
use super::stage::{self, Outcome, Plan};
use super::workbench::Workbench;
use crate::error::Result;
use crate::files::write_atomic;
use crate::model::{Cells, Mixing};
use crate::nn::Store;
use crate::report::records::{EvalRecord, Status, Which, to_file};

/// Numbers of the stages after the search: they key random numbers.
const FINETUNE: u64 = 5;
const RANDOM: u64 = 7;

/// A network that was searched.
pub(super) struct Found<'a> {
    /// Its cells.
    pub parts: Parts,
    /// Values for `finetune.init = "search"`.
    pub start: Option<Rc<Store>>,
    /// The supernet that its gap is measured against.
    pub supernet: Option<&'a Outcome>,
}

/// Finetunes, evaluates and delivers what a search found; the run is done then. Returns the evaluation of the searched network.
///
/// # Errors
/// Those of the stages; `Interrupted` when a stop was asked for.
pub(super) fn close(session: &mut Session, benches: &Benches, found: Found) -> Result<EvalRecord> {
    let c = session.config.clone();
    let spec = benches.spec(&c, &found.parts)?;
    let given = super::weights::given(&c, &spec)?;
    for note in given.iter().flat_map(|t| &t.notes) {
        session.progress.say(&format!("weights: {note}"));
    }
    let init = match c.finetune.init {
        _ if given.is_some() => given.map(|t| Rc::new(t.store)),
        Init::Search => found.start,
        Init::File => Some(Rc::new(super::model_file::read_store(
            &c.finetune.init_file,
        )?)),
        Init::Scratch => None,
    };
    let last = finetune(
        session,
        benches,
        ("5-finetune", FINETUNE),
        &found.parts,
        init,
    )?;
    let searched = judge(session, benches, Which::Searched, &last, &found.parts)?;
    if let Some(s) = found.supernet.filter(|_| c.eval.gap) {
        let record = judge(session, benches, Which::Supernet, s, &found.parts)?;
        write(session, &s.record.stage, &record)?;
    }
    if c.search.ablation.random_baseline {
        random(session, benches, &found.parts)?;
    }
    super::samples::write(session, &benches.all(), &last)?;
    super::model_file::deliver(session, benches, &last, &found.parts, &searched)?;
    session.dir.set_status(Status::Done)?;
    Ok(searched)
}

fn finetune(
    session: &mut Session,
    benches: &Benches,
    (name, number): (&str, u64),
    parts: &Parts,
    init: Option<Rc<Store>>,
) -> Result<Outcome> {
    let c = session.config.clone();
    let plan = Plan {
        name: name.into(),
        number,
        spec: benches.spec(&c, parts)?,
        tasks: benches.all(),
        steps: c.finetune.iters as u64,
        batch: c.finetune.batch,
        weights: c.finetune.weights.clone(),
        arch: None,
        sample: None,
        alternate: c.finetune.alternate,
        weight_split: 1.0,
        drop_path: c.model.drop_path,
        init,
    };
    stage::run(session, &plan)
}

/// A random genotype in place of every searched one, trained with the same finetune.
fn random(session: &mut Session, benches: &Benches, searched: &Parts) -> Result<()> {
    let c = session.config.clone();
    let draw = |part: &str, old: &Cells| match old {
        Cells::Derived(_) => Cells::Derived(drawn(&c, part)),
        other => other.clone(),
    };
    let parts = Parts {
        backbone: draw("backbone", &searched.backbone),
        det: draw("det", &searched.det),
        seg: draw("seg", &searched.seg),
    };
    let outcome = finetune(session, benches, ("7-random", RANDOM), &parts, None)?;
    let record = judge(session, benches, Which::Random, &outcome, &parts)?;
    write(session, "7-random", &record)
}

fn judge(
    session: &Session,
    benches: &Benches,
    which: Which,
    o: &Outcome,
    parts: &Parts,
) -> Result<EvalRecord> {
    let benches = benches.all();
    let benches: Vec<&Workbench> = benches.iter().map(|b| &**b).collect();
    let genotypes = match which {
        Which::Supernet => BTreeMap::new(),
        _ => genotypes(parts),
    };
    evaluate::record(
        &Evaluator::new(&session.config)?,
        which,
        &benches,
        &o.net,
        &o.store,
        genotypes,
        Mixing::Parameters,
    )
}

fn write(session: &Session, stage: &str, record: &EvalRecord) -> Result<()> {
    write_atomic(
        session.dir.stage(stage)?.join("metrics.json"),
        to_file(record).as_bytes(),
    )
}
