//! Optimisers, stages, stop rules, finetune.

use super::{Checks, LONG};
use crate::data::dataset::Kind;
use crate::model::config::Branches;
use crate::optim::config::{AdamConfig, Schedule, SgdConfig};
use crate::search::config::{Config, Init, Method, PDartsConfig};
use crate::space::primitive::Primitive;
use crate::task::config::TaskKind;

/// Largest batch, in images.
pub(super) const MAX_BATCH: usize = 65536;

pub(super) fn check(config: &Config, c: &mut Checks) {
    let s = &config.search;
    c.within(
        s.order == 1 || s.order == 2,
        "search.order",
        s.order,
        "1 to 2",
    );
    c.positive("search.unroll_epsilon", s.unroll_epsilon);
    c.count("search.batch", s.batch, 1, MAX_BATCH);
    sgd("search.weights", &s.weights, c);
    adam("search.alpha", &s.alpha, c);
    c.share("search.warmup_fraction", s.warmup_fraction);
    let part = |v: f64| v > 0.0 && v < 1.0;
    c.within(
        part(s.weight_split),
        "search.weight_split",
        s.weight_split,
        "(0, 1)",
    );
    c.count("search.stop.check_every", s.stop.check_every, 1, LONG);
    let least = s.stop.minimum_fraction;
    c.within(
        (0.0..=1.0).contains(&least),
        "search.stop.minimum_fraction",
        least,
        "[0, 1]",
    );
    c.count("search.iters.branch", s.iters.branch, 1, LONG);
    c.count("search.iters.presearch", s.iters.presearch, 1, LONG);
    c.count("search.iters.backbone", s.iters.backbone, 1, LONG);
    c.count("search.max_rollbacks", s.max_rollbacks, 0, 100);
    stages(config, c);
    let p = &s.presearch;
    c.count("search.presearch.batch", p.batch, 1, MAX_BATCH);
    sgd("search.presearch.weights", &p.weights, c);
    adam("search.presearch.alpha", &p.alpha, c);
    c.share("search.presearch.warmup_fraction", p.warmup_fraction);
    c.within(
        part(p.weight_split),
        "search.presearch.weight_split",
        p.weight_split,
        "(0, 1)",
    );
    let r = &s.random;
    c.count("search.random.candidates", r.candidates, 1, 1_000_000);
    c.count("search.random.batches", r.batches, 1, LONG);
    c.count(
        "search.random.finalists",
        r.finalists,
        1,
        r.candidates.max(1),
    );
    c.count("search.random.iters_per_round", r.iters_per_round, 1, LONG);
    c.count("search.darts_plus.max_skip", s.darts_plus.max_skip, 1, 64);
    c.count(
        "search.darts_plus.stable_checks",
        s.darts_plus.stable_checks,
        1,
        LONG,
    );
    p_darts(&s.p_darts, config, c);
    let f = &config.finetune;
    c.count("finetune.iters", f.iters, 0, LONG);
    c.count("finetune.batch", f.batch, 1, MAX_BATCH);
    sgd("finetune.weights", &f.weights, c);
    c.that(
        (f.init == Init::File) != f.init_file.as_os_str().is_empty(),
        "finetune.init_file",
        format!("`init` is \"{}\"", f.init),
        "give the file if and only if `init = \"file\"`",
    );
    if !config.model.weights.as_os_str().is_empty() {
        c.that(
            s.method == Method::Given,
            "model.weights",
            format!(
                "the method \"{}\" searches what the weights would belong to",
                s.method
            ),
            "use `mtnas train`, or `finetune.init = \"file\"`, which takes what fits",
        );
        c.that(
            f.init == Init::Scratch,
            "finetune.init",
            format!("`init` is \"{}\", and there is a file of weights", f.init),
            "leave one of `finetune.init` and `model.weights` out",
        );
    }
}

/// Which stages run, and what they need.
fn stages(config: &Config, c: &mut Checks) {
    let (s, a) = (&config.search, &config.search.ablation);
    if s.method != Method::Mtnas {
        let one = config.tasks.len() == 1 || !config.model.classifies();
        c.that(
            one,
            "tasks",
            format!("method \"{}\" searches for one task", s.method),
            "leave one task",
        );
        c.that(
            s.method != Method::Given
                || config.model.is_hand_crafted()
                || !s.genotypes.backbone.is_empty(),
            "search.genotypes.backbone",
            "no genotype is given to train",
            "give one, for example \"PDARTS\", or `mtnas train CONFIG --genotype PDARTS` or `--arch mtl-resnet18`",
        );
        return;
    }
    let dense = |kind| config.task(kind).is_some();
    for kind in [TaskKind::Detection, TaskKind::Segmentation] {
        c.that(
            dense(kind),
            "tasks",
            format!("method \"mtnas\" needs a {kind} task"),
            "add it, or choose another method",
        );
    }
    if a.presearch {
        match config.data.get(&s.presearch.data) {
            None => c.that(
                false,
                "search.presearch.data",
                format!(
                    "pre-search is on, but there is no data set {:?}",
                    s.presearch.data
                ),
                "name a classification data set, or set `search.ablation.presearch = false`",
            ),
            Some(set) => c.that(
                set.kind() == Kind::Classification,
                "search.presearch.data",
                format!("{:?} has no image classes", s.presearch.data),
                "name a data set of format \"image-folder\" or \"cifar10\"",
            ),
        }
    }
    let branches = config.model.searched_branches();
    let g = &s.genotypes;
    if branches && !a.branch_search && !a.co_search {
        for (key, text) in [("det", &g.det), ("seg", &g.seg)] {
            c.that(
                !text.is_empty(),
                format!("search.genotypes.{key}"),
                "the branch is neither searched nor given",
                format!(
                    "give a genotype, or set `model.branches = \"{}\"`",
                    Branches::HandCrafted
                ),
            );
        }
    }
    c.that(
        !a.co_search || a.backbone_search,
        "search.ablation.co_search",
        "backbone and branches cannot be searched at once without the backbone search",
        "set `search.ablation.backbone_search = true`",
    );
    if !a.backbone_search && !a.presearch {
        c.that(
            !g.backbone.is_empty(),
            "search.genotypes.backbone",
            "the backbone is neither searched nor given",
            "give a genotype, for example \"PDARTS\" or \"random\"",
        );
    }
}

fn sgd(table: &str, o: &SgdConfig, c: &mut Checks) {
    c.positive(format!("{table}.lr"), o.lr);
    c.share(format!("{table}.momentum"), o.momentum);
    c.not_negative(format!("{table}.weight_decay"), o.weight_decay);
    c.not_negative(format!("{table}.clip"), o.clip);
    schedule(table, &o.schedule, c);
}

fn adam(table: &str, o: &AdamConfig, c: &mut Checks) {
    c.positive(format!("{table}.lr"), o.lr);
    for b in o.betas {
        c.share(format!("{table}.betas"), b);
    }
    c.positive(format!("{table}.eps"), o.eps);
    c.not_negative(format!("{table}.weight_decay"), o.weight_decay);
    c.not_negative(format!("{table}.clip"), o.clip);
    schedule(table, &o.schedule, c);
}

fn schedule(table: &str, s: &Schedule, c: &mut Checks) {
    let key = |k: &str| format!("{table}.schedule.{k}");
    c.not_negative(key("min"), s.min);
    c.share(key("warmup"), s.warmup);
    c.not_negative(key("periods"), s.periods);
    c.not_negative(key("alpha"), s.alpha);
    c.not_negative(key("beta"), s.beta);
    c.positive(key("factor"), s.factor);
    c.count(key("times"), s.times, 1, 1_000_000);
    c.positive(key("power"), s.power);
    let rising = s.milestones.windows(2).all(|w| w[0] < w[1]);
    let inside = s.milestones.iter().all(|m| *m > 0.0 && *m < 1.0);
    c.that(
        rising && inside,
        key("milestones"),
        format!("{:?} are not rising shares", s.milestones),
        "give rising numbers between 0 and 1",
    );
}

fn p_darts(p: &PDartsConfig, config: &Config, c: &mut Checks) {
    let n = p.cells.len();
    c.that(
        n >= 1 && p.operations.len() == n && p.skip_dropout.len() == n,
        "search.p_darts.cells",
        format!(
            "{n} cell counts, {} operation counts, {} dropout rates",
            p.operations.len(),
            p.skip_dropout.len()
        ),
        "give the three lists one entry for each stage",
    );
    for &cells in &p.cells {
        c.count("search.p_darts.cells", cells, 3, 256);
    }
    let most = match config.search.method {
        Method::PDarts => config.space.primitives.len(),
        _ => Primitive::ALL.len(),
    };
    let falling = p.operations.windows(2).all(|w| w[0] >= w[1]);
    let inside = p.operations.iter().all(|o| (1..=most).contains(o));
    c.that(
        falling && inside,
        "search.p_darts.operations",
        format!("{:?} are not falling counts of 1 to {most}", p.operations),
        "start at the number of primitives and end at the number the last stage chooses from",
    );
    c.that(
        config.search.method != Method::PDarts || p.operations.first() == Some(&most),
        "search.p_darts.operations",
        format!(
            "{:?} does not start at the {most} of `space.primitives`",
            p.operations
        ),
        "the first stage chooses from all primitives",
    );
    for &rate in &p.skip_dropout {
        c.share("search.p_darts.skip_dropout", rate);
    }
    c.share("search.p_darts.warmup_fraction", p.warmup_fraction);
}
