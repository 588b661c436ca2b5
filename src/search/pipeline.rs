//! Algorithm 1 of MTNAS (ACCV 2020) from data to metrics: branch search per task, pre-search, backbone search, derivation,
//! finetune, evaluation, each a [`stage`] that can be taken up again.
//!
//! Ablations (Tables 1 and 2) leave stages out: a branch that is not searched is hand-crafted or given, a backbone that is
//! not searched is given or that of the pre-search.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::closing::{self, Found};
use super::config::{BranchHost, Config};
use super::given::given;
use super::session::Session;
use super::stage::{self, ArchPlan, Outcome, Plan};
use super::stop::Rule;
use super::workbench::Workbench;
use crate::error::{Code, Error, Result};
use crate::model::config::Frame;
use crate::model::{Cells, DetHead, NetworkSpec};
use crate::nn::Store;
use crate::report::records::EvalRecord;
use crate::space::genotype::edge_count;
use crate::space::{ArchOptions, Candidates, Genotype, NetworkGenotype, published};
use crate::task::config::TaskKind;

/// Numbers of the stages: they key random numbers, so a stage keeps its number whichever others run.
mod number {
    pub const BRANCH_DET: u64 = 1;
    pub const BRANCH_SEG: u64 = 2;
    pub const PRESEARCH: u64 = 3;
    pub const BACKBONE: u64 = 4;
}

/// The tasks of a run.
pub struct Benches {
    /// Detection, if configured.
    pub det: Option<Rc<Workbench>>,
    /// Segmentation, if configured.
    pub seg: Option<Rc<Workbench>>,
    /// Classification, if configured.
    pub cls: Option<Rc<Workbench>>,
}

impl Benches {
    /// Opens every task of the configuration.
    ///
    /// # Errors
    /// Those of the data sets.
    pub fn open(config: &Config) -> Result<Benches> {
        let open = |kind: TaskKind| -> Result<Option<Rc<Workbench>>> {
            config
                .task(kind)
                .map(|(name, t)| Workbench::open(config, name, t).map(Rc::new))
                .transpose()
        };
        Ok(Benches {
            det: open(TaskKind::Detection)?,
            seg: open(TaskKind::Segmentation)?,
            cls: open(TaskKind::Classification)?,
        })
    }

    /// Those that are there, detection first.
    pub fn all(&self) -> Vec<Rc<Workbench>> {
        [&self.det, &self.seg, &self.cls]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// The network with these cells and the heads of all tasks.
    ///
    /// # Errors
    /// As [`spec`].
    pub fn spec(&self, config: &Config, parts: &Parts) -> Result<NetworkSpec> {
        let mut s = spec(config, parts, self.det.as_deref(), self.seg.as_deref())?;
        s.classes = self.cls.as_ref().map(|t| t.task.classes().len());
        Ok(s)
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

/// The network of `config` with these cells and the heads of the tasks that are there.
///
/// # Errors
/// Levels that the frame does not have.
pub fn spec(
    config: &Config,
    parts: &Parts,
    det: Option<&Workbench>,
    seg: Option<&Workbench>,
) -> Result<NetworkSpec> {
    let [h, w] = config.input.size;
    let mut s = NetworkSpec::new(&config.model, h, w, parts.backbone.clone());
    s.det = parts.det.clone();
    s.seg = parts.seg.clone();
    if let Some(d) = det {
        let levels = config.model.detection_levels();
        let anchors = match config.model.frame {
            Frame::MtnasPeer => vec![6; levels],
            _ => NetworkSpec::release_anchors(levels),
        };
        s.det_head = Some(DetHead {
            classes: d.task.classes().len(),
            anchors,
        });
    }
    s.seg_classes = seg.map(|t| t.task.classes().len());
    Ok(s)
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

struct Pipeline<'a> {
    session: &'a mut Session,
    benches: Benches,
}

/// Runs the whole pipeline of `method = "mtnas"` and returns the evaluation of the searched network.
///
/// # Errors
/// Those of the stages; `Interrupted` when a stop was asked for.
pub fn run(session: &mut Session) -> Result<EvalRecord> {
    let benches = Benches::open(&session.config)?;
    if benches.det.is_none() && benches.seg.is_none() {
        return Err(Error::new(
            Code::ConfigValue,
            "the method \"mtnas\" needs a detection or a segmentation task",
        )
        .help("add [tasks.NAME] with kind = \"detection\" or \"segmentation\""));
    }
    Pipeline { session, benches }.run()
}

impl Pipeline<'_> {
    fn run(mut self) -> Result<EvalRecord> {
        let c = self.session.config.clone();
        let a = &c.search.ablation;
        let branches = c.model.searched_branches();
        let mut parts = Parts {
            backbone: Cells::HandCrafted,
            det: Cells::HandCrafted,
            seg: Cells::HandCrafted,
        };
        if branches && !a.co_search {
            for (kind, key) in [
                (TaskKind::Detection, "det"),
                (TaskKind::Segmentation, "seg"),
            ] {
                let bench = if kind == TaskKind::Detection {
                    &self.benches.det
                } else {
                    &self.benches.seg
                };
                let found = match (given(&c, key)?, bench.clone()) {
                    (Some(g), _) => Some(g),
                    (None, Some(bench)) if a.branch_search => Some(self.branch(key, bench)?),
                    _ => None,
                };
                let cells = found.map_or(Cells::HandCrafted, Cells::Derived);
                if key == "det" {
                    parts.det = cells
                } else {
                    parts.seg = cells
                }
            }
        }
        let fixed = given(&c, "backbone")?;
        let mut supernet = None;
        let mut start = None;
        parts.backbone = match fixed {
            Some(g) => Cells::Derived(g),
            None => {
                if a.presearch {
                    start = Some(self.presearch()?);
                }
                match (a.backbone_search || a.co_search, &start) {
                    (true, _) => {
                        let init = start.as_ref().map(|o| o.store.clone());
                        let found = self.backbone(&parts, branches && a.co_search, init)?;
                        let cells =
                            |group: &str, old: &Cells| match found.record.genotypes.get(group) {
                                Some(text) => genotype(text).map(Cells::Derived),
                                None => Ok(old.clone()),
                            };
                        (parts.det, parts.seg) =
                            (cells("det", &parts.det)?, cells("seg", &parts.seg)?);
                        let backbone = cells("backbone", &parts.backbone)?;
                        supernet = Some(found);
                        backbone
                    }
                    (false, Some(o)) => Cells::Derived(o.genotype("backbone")?),
                    (false, None) => {
                        return Err(Error::new(Code::ConfigValue, "nothing gives the backbone its cells: pre-search and backbone search are both off")
                            .help("set `search.genotypes.backbone`, for example to \"PC_DARTS_cifar\""));
                    }
                }
            }
        };
        let start = supernet
            .as_ref()
            .map(|o| o.store.clone())
            .or(start.map(|o| o.store));
        closing::close(
            self.session,
            &self.benches,
            Found {
                parts,
                start,
                supernet: supernet.as_ref(),
            },
        )
    }

    fn arch(&self, groups: &[&str], rule: Rule) -> ArchPlan {
        let s = &self.session.config.search;
        ArchPlan {
            groups: groups.iter().map(|g| g.to_string()).collect(),
            alpha: s.alpha.clone(),
            warmup: s.warmup_fraction,
            rule,
            skip_dropout: 0.0,
        }
    }

    fn plan(
        &self,
        name: &str,
        number: u64,
        spec: NetworkSpec,
        tasks: Vec<Rc<Workbench>>,
        steps: usize,
        arch: ArchPlan,
    ) -> Plan {
        let s = &self.session.config.search;
        Plan {
            name: name.into(),
            number,
            spec,
            tasks,
            steps: steps as u64,
            batch: s.batch,
            weights: s.weights.clone(),
            arch: Some(arch),
            sample: None,
            alternate: s.alternate,
            weight_split: s.weight_split,
            drop_path: 0.0,
            init: None,
        }
    }

    /// Stage 1: the cells of one task's branch, in a host network whose backbone carries the same cells; the other task
    /// takes no part (detection reads the hand-crafted top-down path).
    fn branch(&mut self, key: &str, bench: Rc<Workbench>) -> Result<Genotype> {
        let c = self.session.config.clone();
        let cells = searched(key, &c)?;
        let backbone = match c.search.branch_host {
            BranchHost::Tied => cells.clone(),
            BranchHost::Derived => {
                Cells::Derived(published::by_name("PC_DARTS_cifar").expect("a published genotype"))
            }
        };
        let mut parts = Parts {
            backbone,
            det: Cells::HandCrafted,
            seg: Cells::HandCrafted,
        };
        let (det, seg) = if key == "det" {
            parts.det = cells;
            (Some(&*bench), None)
        } else {
            parts.seg = cells;
            (None, Some(&*bench))
        };
        let (name, number) = if key == "det" {
            ("1-branch-det", number::BRANCH_DET)
        } else {
            ("2-branch-seg", number::BRANCH_SEG)
        };
        let plan = self.plan(
            name,
            number,
            spec(&c, &parts, det, seg)?,
            vec![bench.clone()],
            c.search.iters.branch,
            self.arch(&[key], Rule::Stable),
        );
        stage::run(self.session, &plan)?.genotype(key)
    }

    /// Stage 2a: the backbone alone under a classifier, while skip-connects are few.
    fn presearch(&mut self) -> Result<Outcome> {
        let c = self.session.config.clone();
        let p = &c.search.presearch;
        let bench = Rc::new(Workbench::presearch(&c)?);
        let mut s = NetworkSpec::new(&c.model, p.size[0], p.size[1], searched("backbone", &c)?);
        s.classes = Some(bench.task.classes().len());
        let arch = ArchPlan {
            alpha: p.alpha.clone(),
            warmup: p.warmup_fraction,
            ..self.arch(&["backbone"], Rule::SkipLimit)
        };
        let mut plan = self.plan(
            "3-presearch",
            number::PRESEARCH,
            s,
            vec![bench],
            c.search.iters.presearch,
            arch,
        );
        (plan.batch, plan.weights, plan.weight_split) =
            (p.batch, p.weights.clone(), p.weight_split);
        stage::run(self.session, &plan)
    }

    /// Stage 2b: the backbone under all tasks, branch architectures fixed (or searched too, for the co-search ablation).
    fn backbone(
        &mut self,
        parts: &Parts,
        co_search: bool,
        init: Option<Rc<Store>>,
    ) -> Result<Outcome> {
        let c = self.session.config.clone();
        let mut parts = Parts {
            backbone: searched("backbone", &c)?,
            ..parts.clone()
        };
        let mut groups = vec!["backbone"];
        if co_search {
            (parts.det, parts.seg) = (searched("det", &c)?, searched("seg", &c)?);
            groups.extend(self.benches.det.as_ref().map(|_| "det"));
            groups.push("seg");
        }
        let spec = spec(
            &c,
            &parts,
            self.benches.det.as_deref(),
            self.benches.seg.as_deref(),
        )?;
        let mut plan = self.plan(
            "4-backbone",
            number::BACKBONE,
            spec,
            self.dense(),
            c.search.iters.backbone,
            self.arch(&groups, Rule::Stable),
        );
        plan.init = init;
        stage::run(self.session, &plan)
    }

    fn dense(&self) -> Vec<Rc<Workbench>> {
        [&self.benches.det, &self.benches.seg]
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }
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
