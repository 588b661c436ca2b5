//! Input, data sets and tasks.

mod dense;
mod mixed;

use super::Checks;
use crate::annotation::NormalSpace;
use crate::data::augment::Augmentation;
use crate::data::config::InputConfig;
use crate::data::dataset::Kind;
use crate::model::config::Stem;
use crate::search::config::Config;
use crate::task::config::{DetectionConfig, TaskConfig, TaskKind};

/// Largest side of a network input, in pixels.
const MAX_SIDE: usize = 8192;

pub(super) fn check(config: &Config, c: &mut Checks) {
    let InputConfig { size, mean, std } = &config.input;
    c.that(
        size.iter().all(|s| (1..=MAX_SIDE).contains(s)),
        "input.size",
        format!("{size:?} is not a size"),
        format!("give height and width in pixels, 1 to {MAX_SIDE}"),
    );
    channels(c, "input", Some(mean), Some(std));
    c.count("loader.threads", config.loader.threads, 0, 1024);
    c.count("loader.prefetch", config.loader.prefetch, 1, 1024);
    let share = (0.0..=0.9).contains(&config.loader.resident);
    c.within(share, "loader.resident", config.loader.resident, "[0, 0.9]");
    c.count("eval.batch", config.eval.batch, 1, 65536);
    for (name, set) in &config.data {
        let key = |k: &str| format!("data.{name}.{k}");
        is_name(c, "data", name);
        c.that(
            !set.root.as_os_str().is_empty(),
            key("root"),
            "no folder",
            "give the folder of the data set",
        );
        c.that(
            !set.train.is_empty(),
            key("train"),
            "no training split",
            "name a split or a list file",
        );
        c.that(
            !set.val.is_empty(),
            key("val"),
            "no held-out split",
            "name a split or a list file",
        );
        channels(
            c,
            &format!("data.{name}"),
            set.mean.as_ref(),
            set.std.as_ref(),
        );
        let part = set.fraction > 0.0 && set.fraction <= 1.0;
        c.within(part, key("fraction"), set.fraction, "(0, 1]");
        let share = (0.0..=1.0).contains(&set.centre);
        c.within(share, key("centre"), set.centre, "[0, 1]");
        c.that(
            set.centre == 0.0 || set.kind() == Kind::Classification,
            key("centre"),
            "labels of a part of an image are not those of the image",
            "remove it: it is for data sets of classes",
        );
        let share = (0.0..=1.0).contains(&set.max_corrupt);
        c.within(share, key("max_corrupt"), set.max_corrupt, "[0, 1]");
        c.that(
            set.merge.is_empty() || set.kind() == Kind::Detection,
            key("merge"),
            format!(
                "a data set of format {:?} has no types to merge",
                set.format
            ),
            "remove it",
        );
        mixed::check(config, name, set, c);
        let dense = set.kind().is_dense();
        c.that(
            set.targets.is_empty() || dense,
            key("targets"),
            format!(
                "a data set of format {:?} has no targets to choose",
                set.format
            ),
            "remove it",
        );
        dense::check(name, set, c);
        unique(c, &key("targets"), &set.targets);
        unique(c, &key("classes"), &set.classes);
        unique(c, &key("augment"), &set.augment);
        if let Err(e) = Augmentation::new(&set.augment) {
            let help = e.remedy().unwrap_or_default();
            c.that(false, key("augment"), e.message(), help);
        }
    }
    c.that(
        !config.tasks.is_empty(),
        "tasks",
        "no task",
        "add a table such as [tasks.det] with `kind` and `data`",
    );
    for (name, task) in &config.tasks {
        task_check(config, name, task, c);
    }
}

fn channels(c: &mut Checks, table: &str, mean: Option<&[f64; 3]>, std: Option<&[f64; 3]>) {
    if let Some(mean) = mean {
        let good = mean.iter().all(|m| (0.0..=1.0).contains(m));
        c.within(
            good,
            format!("{table}.mean"),
            format!("{mean:?}"),
            "[0, 1]; means refer to values of 0 to 1",
        );
    }
    if let Some(std) = std {
        let good = std.iter().all(|s| *s > 0.0 && s.is_finite());
        c.within(good, format!("{table}.std"), format!("{std:?}"), "(0, inf)");
    }
}

fn is_name(c: &mut Checks, table: &str, name: &str) {
    c.that(
        !name.is_empty()
            && name
                .chars()
                .all(|ch| ch.is_ascii_alphanumeric() || "-_".contains(ch)),
        format!("{table}.{name}"),
        format!("{name:?} is not a name"),
        "use letters, digits, - and _",
    );
}

fn unique<T: PartialEq + std::fmt::Debug>(c: &mut Checks, key: &str, list: &[T]) {
    if let Some(i) = (1..list.len()).find(|&i| list[..i].contains(&list[i])) {
        c.that(
            false,
            key,
            format!("{:?} is listed twice", list[i]),
            "list it once",
        );
    }
}

fn task_check(config: &Config, name: &str, task: &TaskConfig, c: &mut Checks) {
    let key = |k: &str| format!("tasks.{name}.{k}");
    let want = task.kind.key();
    c.that(
        name == want,
        format!("tasks.{name}"),
        format!("a {} task is called `{want}`", task.kind),
        format!("rename the table to [tasks.{want}]"),
    );
    c.not_negative(key("loss_weight"), task.loss_weight);
    let names: Vec<&str> = config.data.keys().map(String::as_str).collect();
    match config.data.get(&task.data) {
        None => c.that(
            false,
            key("data"),
            format!("there is no data set {:?}", task.data),
            match crate::error::nearest(&task.data, names.iter().copied()) {
                Some(n) => format!("a data set with a similar name exists: \"{n}\""),
                None => format!(
                    "add a table [data.{}], or name one of: {}",
                    task.data,
                    names.join(", ")
                ),
            },
        ),
        Some(set) => {
            let fits = matches!(
                (task.kind, set.kind()),
                (TaskKind::Detection, Kind::Detection)
                    | (TaskKind::Segmentation, Kind::Segmentation)
                    | (TaskKind::Classification, Kind::Classification)
                    | (TaskKind::Depth, Kind::Depth)
                    | (TaskKind::Normals, Kind::Normals)
                    | (TaskKind::Keypoints, Kind::Keypoints)
                    | (TaskKind::Edges, Kind::Edges)
            );
            let what = format!("{:?} has no labels for {}", task.data, task.kind);
            let maps = task.kind == TaskKind::Segmentation || task.kind.planes().is_some();
            let help = match maps && set.kind().is_dense() {
                true => format!(
                    "set its `targets` to [\"{}\"]: a task needs a set with its one target",
                    task.kind
                ),
                false => "choose a data set of a format that carries them".into(),
            };
            c.that(fits, key("data"), what, help);
        }
    }
    let tables = [
        ("detection", task.detection.is_some(), TaskKind::Detection),
        (
            "segmentation",
            task.segmentation.is_some(),
            TaskKind::Segmentation,
        ),
        (
            "classification",
            task.classification.is_some(),
            TaskKind::Classification,
        ),
    ];
    c.that(
        task.values.is_none() || task.kind.planes().is_some(),
        key("values"),
        format!("the task is of kind {}", task.kind),
        "remove the table",
    );
    c.that(
        task.kind == TaskKind::Normals || task.values.as_ref().is_none_or(|v| v.angles.is_none()),
        key("values.angles"),
        format!("{} have no angles", task.kind),
        "remove it",
    );
    let encoded =
        (config.data.get(&task.data)).is_some_and(|d| d.normal_space == NormalSpace::Encoded);
    c.that(
        !encoded || task.values.as_ref().and_then(|v| v.angles) != Some(NormalSpace::True),
        key("values.angles"),
        "what learns encoded normals leaves their length open, so there are no angles between surfaces",
        "remove it, or set `normal_space = \"true\"` of the data set",
    );
    for (table, there, kind) in tables {
        c.that(
            !there || kind == task.kind,
            key(table),
            format!("the task is of kind {}", task.kind),
            "remove the table",
        );
    }
    if let Some(d) = &task.detection {
        detection(config.model.detection_levels(), &key("detection"), d, c);
    }
    if let Some(d) = &task.classification {
        c.share(key("classification.label_smoothing"), d.label_smoothing);
        let weight = key("classification.auxiliary_weight");
        c.not_negative(weight.clone(), d.auxiliary_weight);
        let m = &config.model;
        let side = match m.stem {
            Stem::Cifar => 32,
            Stem::Imagenet => 224,
        };
        let at = 2 * m.cells / 3;
        let reductions = m.reduction_cells().iter().filter(|r| **r <= at).count();
        c.that(
            d.auxiliary_weight == 0.0 || config.input.size == [side; 2] && reductions == 2,
            weight,
            "the auxiliary head does not fit these images or reductions",
            format!("use {side}x{side} images and two reductions up to cell {at}, or 0"),
        );
    }
}

fn detection(levels: usize, table: &str, d: &DetectionConfig, c: &mut Checks) {
    let key = |k: &str| format!("{table}.{k}");
    c.within(
        d.match_iou > 0.0 && d.match_iou < 1.0,
        key("match_iou"),
        d.match_iou,
        "(0, 1)",
    );
    c.not_negative(key("negative_ratio"), d.negative_ratio);
    c.share(key("score_threshold"), d.score_threshold);
    c.within(
        (0.0..=1.0).contains(&d.nms_iou),
        key("nms_iou"),
        d.nms_iou,
        "[0, 1]",
    );
    c.count(key("top_k"), d.top_k, 1, 100_000);
    c.that(
        !d.protocols.is_empty(),
        key("protocols"),
        "no protocol",
        "name at least one, for example \"voc10\"",
    );
    unique(c, &key("protocols"), &d.protocols);
    let p = &d.priors;
    let sizes = [
        ("min_sizes", &p.min_sizes),
        ("max_sizes", &p.max_sizes),
        ("steps", &p.steps),
    ];
    let ratios: Vec<f64> = p.ratios.iter().flatten().copied().collect();
    let lengths = sizes
        .map(|(k, v)| (k, v.len()))
        .into_iter()
        .chain([("ratios", p.ratios.len())]);
    for (k, n) in lengths {
        c.that(
            n == 0 || n == levels,
            key(&format!("priors.{k}")),
            format!("{n} entries for {levels} detection levels"),
            "give one entry for each level, or none for the released table",
        );
    }
    for (k, list) in sizes.into_iter().chain([("ratios", &ratios)]) {
        for v in list {
            c.positive(key(&format!("priors.{k}")), *v);
        }
    }
    for (min, max) in p.min_sizes.iter().zip(&p.max_sizes) {
        let what = format!("{max} is not above the smallest size {min} of its level");
        c.that(max > min, key("priors.max_sizes"), what, "sizes must rise");
    }
    for v in p.variances {
        c.positive(key("priors.variances"), v);
    }
}
