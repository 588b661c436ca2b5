//! What a step dump is about: the task, the supernet and the rules that a configuration means, and how the metadata say so.

use serde_json::{Value, json};

use super::classes::mixed_classes;
use super::config::Config;
use super::networks;
use super::workbench::prior_layout;
use crate::data::class_map::ClassMap;
use crate::data::dataset::Format;
use crate::error::{Code, Error, Result};
use crate::model::config::{Branches, Frame};
use crate::model::{Cells, DetHead, NetworkSpec};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::task::config::{TaskConfig, TaskKind};
use crate::task::priors::PriorLevel;

/// Classes of an image folder that is not there.
const FOLDER_CLASSES: usize = 10;

/// What a configuration says of the step's task.
pub(super) struct Setting {
    pub table: TaskConfig,
    pub size: [usize; 2],
    pub batch: usize,
    pub weights: SgdConfig,
    pub alpha: AdamConfig,
    /// A classifier on a dense frame: the head of the pre-search.
    pub presearch: bool,
}

/// The task's table, sizes and optimisers.
///
/// # Errors
/// `ConfigValue` when the configuration has no such task.
pub(super) fn setting(c: &Config, kind: TaskKind) -> Result<Setting> {
    let s = &c.search;
    if let Some((_, table)) = c.task(kind) {
        let (table, weights, alpha) = (table.clone(), s.weights.clone(), s.alpha.clone());
        return Ok(Setting {
            table,
            size: c.input.size,
            batch: s.batch,
            weights,
            alpha,
            presearch: false,
        });
    }
    let p = &s.presearch;
    if kind == TaskKind::Classification && !p.data.is_empty() {
        let table = TaskConfig {
            kind,
            data: p.data.clone(),
            ..TaskConfig::default()
        };
        return Ok(Setting {
            table,
            size: p.size,
            batch: p.batch,
            weights: p.weights.clone(),
            alpha: p.alpha.clone(),
            presearch: true,
        });
    }
    Err(Error::new(
        Code::ConfigValue,
        format!("the configuration has no {kind} task"),
    )
    .help("choose another one with --task"))
}

/// Class names of a task without opening its data.
pub(super) fn class_names(c: &Config, t: &TaskConfig) -> Result<Vec<String>> {
    let numbered = |n: usize| (0..n).map(|i| format!("class-{i}")).collect();
    let Some(data) = c.data.get(&t.data) else {
        return Err(Error::new(
            Code::ConfigValue,
            format!("there is no data set `{}`", t.data),
        )
        .help(format!("add a table [data.{}]", t.data)));
    };
    let set = data.dataset();
    Ok(match data.format {
        Format::Kitti => set.kitti.classes.clone(),
        Format::Cityscapes => ClassMap::new(&set.cityscapes.classes, data.labels)?
            .names()
            .to_vec(),
        Format::Cifar10 => numbered(10),
        Format::ImageFolder if data.classes.is_empty() => numbered(FOLDER_CLASSES),
        Format::ImageFolder => data.classes.clone(),
        Format::Mixed => mixed_classes(data)?.unwrap_or_default(),
        _ => match set.class_names()? {
            Some(names) => names,
            None => numbered(FOLDER_CLASSES),
        },
    })
}

/// The supernet of the step: searched backbone; branches as `search.genotypes` and `model.branches` say, else searched too.
pub(super) fn spec(c: &Config, s: &Setting, kind: TaskKind, classes: usize) -> Result<NetworkSpec> {
    let [h, w] = s.size;
    let mut spec = NetworkSpec::new(&c.model, h, w, Cells::search("backbone", &c.model));
    if kind == TaskKind::Classification {
        spec.classes = Some(classes);
        return Ok(spec);
    }
    let branch = |name: &str, text: &str| -> Result<Cells> {
        Ok(match text {
            _ if c.model.branches == Branches::HandCrafted => Cells::HandCrafted,
            "" => Cells::search(name, &c.model),
            text => Cells::Derived(
                networks::genotype(text).map_err(|e| e.at(format!("search.genotypes.{name}")))?,
            ),
        })
    };
    (spec.det, spec.seg) = (
        branch("det", &c.search.genotypes.det)?,
        branch("seg", &c.search.genotypes.seg)?,
    );
    let count = |other: TaskKind| -> Result<Option<usize>> {
        if other == kind {
            return Ok(Some(classes));
        }
        c.task(other)
            .map(|(_, t)| Ok(class_names(c, t)?.len()))
            .transpose()
    };
    let levels = c.model.detection_levels();
    spec.det_head = count(TaskKind::Detection)?.map(|classes| {
        let anchors = if c.model.frame == Frame::MtnasPeer {
            vec![6; levels]
        } else {
            NetworkSpec::release_anchors(levels)
        };
        DetHead { classes, anchors }
    });
    spec.seg_classes = count(TaskKind::Segmentation)?;
    spec.values = TaskKind::values()
        .filter(|k| *k == kind || c.task(*k).is_some())
        .collect();
    Ok(spec)
}

/// The `network` entry of the metadata: what an outsider must build.
pub(super) fn network_facts(c: &Config, s: &Setting, spec: &NetworkSpec) -> Result<Value> {
    let m = &c.model;
    let cells = |cells: &Cells| match cells {
        Cells::Search { group, .. } => json!({"alpha": group}),
        Cells::Derived(g) => json!({"genotype": g.to_string()}),
        Cells::HandCrafted => json!({"hand_crafted": true}),
    };
    let stem = match (m.frame, m.stem) {
        (Frame::MtnasRelease, _) => "release",
        (Frame::MtnasPeer, _) => "peer",
        (frame @ (Frame::MtlResnet18 | Frame::Trunk), _) => {
            let text = format!("the frame {frame} has no cells, so no search step");
            return Err(Error::new(Code::ConfigValue, text).at("model.frame"));
        }
        (Frame::Classification, stem) => {
            return Ok(classifier_facts(
                c,
                spec,
                &stem.to_string(),
                cells(&spec.backbone),
            ));
        }
    };
    if spec.classes.is_some() {
        return Ok(classifier_facts(c, spec, stem, cells(&spec.backbone)));
    }
    let mut groups = json!({"backbone": cells(&spec.backbone)});
    if m.frame == Frame::MtnasRelease {
        groups["det"] = cells(&spec.det);
        groups["seg"] = cells(&spec.seg);
    }
    let mut net = json!({
        "channels": m.channels, "cells": m.cells, "reductions": m.reduction_cells(), "k": m.partial_k, "groups": groups,
        "fpn": m.fpn_width, "loc_values": if m.frame == Frame::MtnasPeer { 4 } else { m.loc_values },
    });
    if let Some(classes) = spec.seg_classes {
        net["seg_outputs"] = json!(classes);
    }
    if let Some(head) = &spec.det_head {
        let config = c
            .task(TaskKind::Detection)
            .and_then(|(_, t)| t.detection.clone())
            .unwrap_or_default();
        let layout = prior_layout(m, s.size)?.with(&config.priors)?;
        let row = |l: &PriorLevel| json!({"step": l.step, "min": l.min, "max": l.max, "ratios": l.ratios});
        net["det_outputs"] = json!(head.classes + 1);
        net["levels"] = json!(layout.levels.len());
        net["priors"] = layout.levels.iter().map(row).collect();
    }
    Ok(net)
}

fn classifier_facts(c: &Config, spec: &NetworkSpec, stem: &str, backbone: Value) -> Value {
    let m = &c.model;
    json!({
        "channels": m.channels, "cells": m.cells, "reductions": m.reduction_cells(), "k": m.partial_k,
        "groups": {"backbone": backbone}, "classes": spec.classes, "stem": stem,
    })
}

/// The `step` entry of the metadata: what was done.
pub(super) fn step_facts(c: &Config, s: &Setting) -> Value {
    let seg = s.table.segmentation.clone().unwrap_or_default();
    let (w, a) = (&s.weights, &s.alpha);
    json!({
        "order": c.search.order, "clip": w.clip, "seg_loss": seg.denominator.to_string(),
        "weight": {"lr": w.lr, "momentum": w.momentum, "weight_decay": w.weight_decay},
        "arch": {"lr": a.lr, "beta1": a.betas[0], "beta2": a.betas[1], "eps": a.eps, "weight_decay": a.weight_decay, "clip": a.clip},
        "bn": {"eps": c.model.bn_eps, "momentum": c.model.bn_momentum},
    })
}
