//! Random search with weight sharing (Li and Talwalkar, UAI 2019; systems.md 2.10), for one task or several.
//!
//! Every step trains the shared weights through one random architecture, on the weight half. Then random candidates are
//! ranked on a few batches of the architecture half, with batch normalisation in evaluation mode on whatever statistics
//! the last steps left; the best of them again on the whole of that half; the best of those is trained and judged like
//! every searched network. The held-out split takes no part in the ranking.
//!
//! The ranking is a function of the trained weights and the seed; once done it is kept in `ranking.json` of its stage.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::closing::{self, Found};
use super::config::{Config, Fitness};
use super::darts::{BACKBONE, around, open};
use super::given::none_draws;
use super::networks::{Parts, genotype, searched};
use super::pipeline::Benches;
use super::session::Session;
use super::signals;
use super::stage::{self, Outcome, Plan};
use super::workbench::Workbench;
use crate::data::batch::Batch;
use crate::error::{Code, Error, Result};
use crate::files::write_atomic;
use crate::model::{Cells, Mixing};
use crate::nn::{Mode, Pass};
use crate::report::records::{EvalRecord, Status, read_file, to_file};
use crate::rng::{Rng, word};
use crate::space::Genotype;
use crate::space::random::{NoneDraws, OneHot, one_hot, random_genotype};
use crate::tensor::Tensor;

/// Number of the stage: keys random numbers.
const TRAIN: u64 = 1;
const STAGE: &str = "1-search";

/// A candidate: one genotype for each searched part.
type Candidate = BTreeMap<String, Genotype>;

/// A finalist as `ranking.json` keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// Genotype text of each searched part.
    pub genotypes: BTreeMap<String, String>,
    /// Fitness on a few batches.
    #[serde(deserialize_with = "or_worst")]
    pub first: f64,
    /// Fitness on the whole architecture half.
    #[serde(deserialize_with = "or_worst")]
    pub whole: f64,
}

/// A fitness; JSON has null for one that is no number or infinite, which is the worst.
fn or_worst<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or(f64::NEG_INFINITY))
}

/// Runs `method = "random"` to its end.
///
/// # Errors
/// Those of the stages; `Interrupted` when a stop was asked for.
pub fn run(session: &mut Session) -> Result<EvalRecord> {
    let c = session.config.clone();
    let benches = open(&c)?;
    let none = none_draws(&c);
    let parts = supernet(&c)?;
    let plan = Plan {
        name: STAGE.into(),
        number: TRAIN,
        spec: benches.spec(&c, &parts)?,
        tasks: benches.all(),
        steps: c.search.iters.backbone as u64,
        batch: c.search.batch,
        weights: c.search.weights.clone(),
        arch: None,
        sample: Some(none),
        alternate: c.search.alternate,
        weight_split: c.search.weight_split,
        drop_path: 0.0,
        init: None,
    };
    let trained = stage::run(session, &plan)?;
    let best = ranking(session, &benches, &trained, none)?;
    let cells = |part: &str, old: Cells| match best.genotypes.get(part) {
        Some(text) => genotype(text).map(Cells::Derived),
        None => Ok(old),
    };
    let parts = Parts {
        backbone: cells(BACKBONE, parts.backbone)?,
        det: cells("det", parts.det)?,
        seg: cells("seg", parts.seg)?,
    };
    let start = Some(trained.store.clone());
    closing::close(
        session,
        &benches,
        Found {
            parts,
            start,
            supernet: None,
        },
    )
}

/// Search cells in the backbone, and in branches that are searched and not given.
pub(super) fn supernet(c: &Config) -> Result<Parts> {
    let mut parts = around(c, searched(BACKBONE, c)?)?;
    if c.model.searched_branches() && c.search.ablation.branch_search {
        for (key, cells) in [("det", &mut parts.det), ("seg", &mut parts.seg)] {
            if *cells == Cells::HandCrafted {
                *cells = searched(key, c)?;
            }
        }
    }
    Ok(parts)
}

/// Candidate `number` of `round`: one random genotype for each group.
fn candidate(
    c: &Config,
    groups: &[String],
    none: NoneDraws,
    round: usize,
    number: usize,
) -> Candidate {
    let mut rng = Rng::new(
        c.run.seed,
        &[word("candidate"), round as u64, number as u64],
    );
    groups
        .iter()
        .map(|g| (g.clone(), random_genotype(&mut rng, c.model.nodes, none)))
        .collect()
}

/// The best architecture of all rounds; taken from `ranking.json` if it is there.
fn ranking(
    session: &mut Session,
    benches: &Benches,
    trained: &Outcome,
    none: NoneDraws,
) -> Result<Ranked> {
    let path = session.dir.stage(STAGE)?.join("ranking.json");
    let ranked: Vec<Ranked> = if path.is_file() {
        read_file(&path)?
    } else {
        let ranked = match rank(session, benches, trained, none) {
            Err(e) if e.code() == Code::Interrupted => {
                session.dir.set_status(Status::Interrupted)?;
                return Err(e);
            }
            ranked => ranked?,
        };
        write_atomic(&path, to_file(&ranked).as_bytes())?;
        ranked
    };
    let best = ranked.into_iter().next();
    best.ok_or_else(|| {
        Error::new(Code::BadCheckpoint, "the ranking is empty")
            .at(path.display())
            .help("delete the file: it is made again")
    })
}

/// The finalists of all rounds, best first.
fn rank(
    session: &Session,
    benches: &Benches,
    trained: &Outcome,
    none: NoneDraws,
) -> Result<Vec<Ranked>> {
    let c = &session.config;
    let r = &c.search.random;
    let groups: Vec<String> = trained
        .net
        .groups()
        .iter()
        .map(|g| g.name().to_string())
        .collect();
    let few = benches
        .all()
        .iter()
        .map(|b| batches(session, b, r.batches))
        .collect::<Result<Vec<_>>>()?;
    let mut ranked = vec![];
    for round in 0..(c.search.iters.backbone / r.iters_per_round).max(1) {
        let mut first = vec![];
        for number in 0..r.candidates {
            let one = candidate(c, &groups, none, round, number);
            first.push((fitness(session, benches, trained, &one, Some(&few))?, one));
        }
        best_first(&mut first, |f| f.0);
        for (value, one) in first.into_iter().take(r.finalists) {
            let whole = fitness(session, benches, trained, &one, None)?;
            session.progress.say(&format!(
                "finalist: {value:.4} on {} batches, {whole:.4} on the architecture half",
                r.batches
            ));
            let genotypes = one
                .iter()
                .map(|(n, g)| (n.clone(), g.to_string()))
                .collect();
            ranked.push(Ranked {
                genotypes,
                first: value,
                whole,
            });
        }
    }
    best_first(&mut ranked, |r| r.whole);
    Ok(ranked)
}

/// Sorts by a fitness, largest first; equals keep their order, a value that is no number comes last.
fn best_first<T>(all: &mut [T], value: impl Fn(&T) -> f64) {
    let of = |t: &T| {
        if value(t).is_nan() {
            f64::NEG_INFINITY
        } else {
            value(t)
        }
    };
    all.sort_by(|a, b| of(b).total_cmp(&of(a)));
}

/// The first `count` batches of a task's architecture half.
fn batches(session: &Session, bench: &Workbench, count: usize) -> Result<Vec<Batch>> {
    let c = &session.config.search;
    bench
        .ranking(c.weight_split, c.batch)?
        .take(count)
        .collect()
}

/// Fitness of a candidate with the shared weights, larger is better: the mean over the tasks of their headline metric (mAP, mIoU and top-1
/// within 0 to 1, the errors of depth, normals, keypoints and edges negated in their own units), or minus the sum of their losses
/// (`search.random.fitness`). `few`: batches of each task, or all.
fn fitness(
    session: &Session,
    benches: &Benches,
    trained: &Outcome,
    one: &Candidate,
    few: Option<&[Vec<Batch>]>,
) -> Result<f64> {
    let c = &session.config.search;
    let weights: BTreeMap<String, [OneHot; 2]> = one
        .iter()
        .map(|(n, g)| (n.clone(), [one_hot(&g.normal), one_hot(&g.reduce)]))
        .collect();
    let mut values = vec![];
    for (i, bench) in benches.all().iter().enumerate() {
        let value = match few {
            Some(few) => score(
                session,
                bench,
                trained,
                Mixing::Fixed(&weights),
                few[i].iter().cloned().map(Ok),
            )?,
            None => score(
                session,
                bench,
                trained,
                Mixing::Fixed(&weights),
                bench.ranking(c.weight_split, c.batch)?,
            )?,
        };
        values.push(value);
    }
    Ok(match c.random.fitness {
        Fitness::Metric => mean_of_known(&values),
        Fitness::Loss => -values.iter().flatten().sum::<f64>(),
    })
}

/// Mean of the values that there are; of none the worst fitness. Whether a metric has a value depends on the ground truth alone, so that
/// a task without one tells no candidate from another.
fn mean_of_known(values: &[Option<f64>]) -> f64 {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    match known.len() {
        0 => f64::NEG_INFINITY,
        n => known.iter().sum::<f64>() / n as f64,
    }
}

/// Headline metric, larger is better, or mean loss of one task; `None` for a metric of which the ground truth has nothing.
fn score(
    session: &Session,
    bench: &Workbench,
    trained: &Outcome,
    mixing: Mixing,
    batches: impl Iterator<Item = Result<Batch>>,
) -> Result<Option<f64>> {
    let (mut meter, mut loss, mut count) = (bench.task.meter(), 0.0, 0);
    for batch in batches {
        if session.stop.requested() {
            return Err(signals::interrupted(session.dir.path()));
        }
        let batch = batch?;
        let p = Pass::new(&trained.store, session.cx, Mode::EVAL);
        let outputs = bench.outputs(
            &trained.net,
            &p,
            &batch.images,
            session.activation_dtype(),
            mixing,
        )?;
        count += 1;
        if session.config.search.random.fitness == Fitness::Loss {
            loss += bench.weight
                * bench
                    .task
                    .loss(&outputs, &bench.targets(&batch, session.cx.path)?)?
                    .total
                    .value()
                    .item();
            continue;
        }
        let values: Vec<Tensor> = outputs.iter().map(|v| v.value().clone()).collect();
        let set = bench.source.train.dataset.as_ref();
        super::evaluate::add(meter.as_mut(), bench, set, &batch, &values, false)?;
    }
    Ok(match session.config.search.random.fitness {
        Fitness::Loss => Some(loss / f64::from(count.max(1))),
        Fitness::Metric => meter.report()?.fitness(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_seeded_and_differ() {
        let c = Config::default();
        let groups = ["backbone".to_string(), "det".to_string()];
        let draw = |round, number| candidate(&c, &groups, NoneDraws::Exclude, round, number);
        assert_eq!(draw(0, 3), draw(0, 3));
        assert_ne!(draw(0, 3), draw(0, 4));
        assert_ne!(draw(0, 3), draw(1, 3));
        assert_ne!(draw(0, 3)["backbone"], draw(0, 3)["det"]);
    }

    #[test]
    fn the_best_comes_first_and_no_number_last() {
        let mut all = [
            (0.2, 'a'),
            (f64::NAN, 'b'),
            (0.7, 'c'),
            (0.2, 'd'),
            (-1.0, 'e'),
        ];
        best_first(&mut all, |v| v.0);
        assert_eq!(all.map(|v| v.1), ['c', 'a', 'd', 'e', 'b']);
    }

    /// Errors are negated: 0 would be the best of them.
    #[test]
    fn nothing_to_measure_is_no_merit() {
        assert_eq!(mean_of_known(&[Some(-0.5), None]), -0.5);
        assert_eq!(mean_of_known(&[Some(0.25), Some(-0.75)]), -0.25);
        assert_eq!(mean_of_known(&[None]), f64::NEG_INFINITY);
        let mut all = [
            (mean_of_known(&[None]), 'a'),
            (mean_of_known(&[Some(-9.0)]), 'b'),
        ];
        best_first(&mut all, |v| v.0);
        assert_eq!(all.map(|v| v.1), ['b', 'a']);
    }

    #[test]
    fn a_ranking_without_a_number_can_be_read_again() {
        let one = Ranked {
            genotypes: BTreeMap::new(),
            first: f64::NEG_INFINITY,
            whole: 0.5,
        };
        let text = to_file(&vec![one.clone()]);
        let again: Vec<Ranked> = serde_json::from_str(&text).unwrap();
        assert_eq!(again, [one]);
    }
}
