//! From a configuration to networks: the cells of each part, the heads of its tasks, and the supernet of each stage.
//! No data is opened here.

use std::collections::BTreeMap;

use super::config::{BranchHost, Config};
use crate::error::Result;
use crate::model::{Cells, DetHead, NetworkSpec};
use crate::space::genotype::edge_count;
use crate::space::{ArchOptions, Candidates, Genotype, NetworkGenotype, published};
use crate::task::config::TaskKind;

/// Number of classes of each head; `None` for a head that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heads {
    /// Detection, background not counted.
    pub det: Option<usize>,
    /// Segmentation.
    pub seg: Option<usize>,
    /// Classification.
    pub cls: Option<usize>,
    /// Tasks of values for each pixel, in the order of their declaration.
    pub values: Vec<TaskKind>,
}

impl Heads {
    /// Those of all but classification.
    pub fn dense(self) -> Heads {
        Heads { cls: None, ..self }
    }

    /// Those of the tasks of which `classes` says that they are there, with how many classes; values have none.
    ///
    /// # Errors
    /// Those of `classes`.
    pub fn of(mut classes: impl FnMut(TaskKind) -> Result<Option<usize>>) -> Result<Heads> {
        let mut heads = Heads::default();
        for &kind in TaskKind::ALL {
            if let Some(n) = classes(kind)? {
                heads.put(kind, n);
            }
        }
        Ok(heads)
    }

    /// Adds the head of a task.
    pub fn put(&mut self, kind: TaskKind, classes: usize) {
        match kind {
            TaskKind::Detection => self.det = Some(classes),
            TaskKind::Segmentation => self.seg = Some(classes),
            TaskKind::Classification => self.cls = Some(classes),
            values => self.values.push(values),
        }
    }
}

/// Cells of each part of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// Backbone.
    pub backbone: Cells,
    /// Detection branch.
    pub det: Cells,
    /// Segmentation branch.
    pub seg: Cells,
}

impl Parts {
    /// Nothing searched yet.
    pub fn by_hand() -> Parts {
        Parts {
            backbone: Cells::HandCrafted,
            det: Cells::HandCrafted,
            seg: Cells::HandCrafted,
        }
    }

    /// The cells of a genotype; parts that it lacks are made by hand.
    pub fn derived(g: &NetworkGenotype) -> Parts {
        let cells = |g: &Option<Genotype>| g.clone().map_or(Cells::HandCrafted, Cells::Derived);
        Parts {
            backbone: Cells::Derived(g.backbone.clone()),
            det: cells(&g.det),
            seg: cells(&g.seg),
        }
    }
}

/// The network of `config` with these cells and heads.
///
/// # Errors
/// Levels that the frame does not have.
pub fn spec(config: &Config, parts: &Parts, heads: &Heads) -> Result<NetworkSpec> {
    let [h, w] = config.input.size;
    let mut s = NetworkSpec::new(&config.model, h, w, parts.backbone.clone());
    s.det = parts.det.clone();
    s.seg = parts.seg.clone();
    if let Some(classes) = heads.det {
        s.det_head = Some(DetHead {
            classes,
            anchors: NetworkSpec::anchors(&config.model),
        });
    }
    s.seg_classes = heads.seg;
    s.values = heads.values.clone();
    s.classes = heads.cls;
    s.auxiliary =
        heads.cls.is_some() && matches!(parts.backbone, Cells::Derived(_)) && auxiliary(config);
    s.memory = config.search.memory;
    Ok(s)
}

/// Whether derived classifiers are trained with an auxiliary head.
fn auxiliary(config: &Config) -> bool {
    let task = config.task(TaskKind::Classification);
    let table = task.and_then(|(_, t)| t.classification.as_ref());
    table.is_some_and(|t| t.auxiliary_weight > 0.0)
}

/// Search cells of a group as the configuration describes the space.
///
/// # Errors
/// `ConfigValue` for candidates that are no primitives.
pub fn searched(name: &str, config: &Config) -> Result<Cells> {
    let candidates = Candidates::named(edge_count(config.model.nodes), &config.space.primitives)?;
    let options = ArchOptions {
        edge_norm: config.model.edge_norm,
        init: config.space.alpha_init,
        normal: candidates.clone(),
        reduce: candidates,
    };
    Ok(Cells::Search {
        group: name.into(),
        options,
    })
}

/// A genotype by published name or as text.
///
/// # Errors
/// `MT0209` for text that does not parse.
pub fn genotype(text: &str) -> Result<Genotype> {
    match published::by_name(text) {
        Some(g) => Ok(g),
        None => text.parse(),
    }
}

/// The host network of a branch search (stage 1): the branch's search cells in the branch and, unless `branch_host` says otherwise,
/// in the backbone too, under the head of its own task. `key`: `det` or `seg`.
///
/// # Errors
/// As [`spec`] and [`searched`].
pub fn branch_host(config: &Config, key: &str, heads: &Heads) -> Result<NetworkSpec> {
    let cells = searched(key, config)?;
    let backbone = match config.search.branch_host {
        BranchHost::Tied => cells.clone(),
        BranchHost::Derived => {
            Cells::Derived(published::by_name("PC_DARTS_cifar").expect("a published genotype"))
        }
    };
    let mut parts = Parts {
        backbone,
        ..Parts::by_hand()
    };
    let mut own = Heads::default();
    if key == "det" {
        (parts.det, own.det) = (cells, heads.det);
    } else {
        (parts.seg, own.seg) = (cells, heads.seg);
    }
    spec(config, &parts, &own)
}

/// The network of the pre-search (stage 2a): the searched backbone under a classifier of so many classes.
///
/// # Errors
/// As [`searched`].
pub fn presearch(config: &Config, classes: Option<usize>) -> Result<NetworkSpec> {
    let [h, w] = config.search.presearch.size;
    let mut s = NetworkSpec::new(&config.model, h, w, searched("backbone", config)?);
    s.classes = classes;
    s.memory = config.search.memory;
    Ok(s)
}

/// The cells of the backbone search (stage 2b): the backbone is searched, in a co-search the branches are too.
///
/// # Errors
/// As [`searched`].
pub fn backbone_search(config: &Config, parts: &Parts, co_search: bool) -> Result<Parts> {
    let mut parts = Parts {
        backbone: searched("backbone", config)?,
        ..parts.clone()
    };
    if co_search {
        (parts.det, parts.seg) = (searched("det", config)?, searched("seg", config)?);
    }
    Ok(parts)
}

/// Text of every derived part.
pub fn genotypes(parts: &Parts) -> BTreeMap<String, String> {
    let named = [
        ("backbone", &parts.backbone),
        ("det", &parts.det),
        ("seg", &parts.seg),
    ];
    let derived = named.into_iter().filter_map(|(n, c)| match c {
        Cells::Derived(g) => Some((n.to_string(), g.to_string())),
        _ => None,
    });
    derived.collect()
}

/// The searched cells as one document; `None` when the backbone is not derived.
pub fn network_genotype(parts: &Parts) -> Option<NetworkGenotype> {
    let derived = |c: &Cells| match c {
        Cells::Derived(g) => Some(g.clone()),
        _ => None,
    };
    Some(NetworkGenotype {
        backbone: derived(&parts.backbone)?,
        det: derived(&parts.det),
        seg: derived(&parts.seg),
    })
}
