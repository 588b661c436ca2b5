//! Algorithm 1 of MTNAS (ACCV 2020) from data to metrics: branch search per task, pre-search, backbone search, derivation,
//! finetune, evaluation, each a [`stage`] that can be taken up again.
//!
//! Ablations (Tables 1 and 2) leave stages out: a branch that is not searched is hand-crafted or given, a backbone that is
//! not searched is given or that of the pre-search.

use std::rc::Rc;

use super::closing::{self, Found};
use super::config::Config;
use super::given::given;
use super::networks::{self, Heads, Parts, genotype, spec};
use super::session::Session;
use super::stage::{self, ArchPlan, Outcome, Plan};
use super::stop::Rule;
use super::workbench::Workbench;
use crate::error::{Code, Error, Result};
use crate::model::{Cells, NetworkSpec};
use crate::nn::Store;
use crate::report::records::EvalRecord;
use crate::space::Genotype;
use crate::task::config::{TaskConfig, TaskKind};

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
    /// Those of values for each pixel, in the order of [`TaskKind::values`].
    pub values: Vec<Rc<Workbench>>,
}

impl Benches {
    /// Opens every task of the configuration.
    ///
    /// # Errors
    /// Those of the data sets.
    pub fn open(config: &Config) -> Result<Benches> {
        Benches::with(config, Workbench::open)
    }

    /// As [`Benches::open`] with the held-out splits alone: they can be judged on, not trained.
    ///
    /// # Errors
    /// Those of the data sets.
    pub fn held_out(config: &Config) -> Result<Benches> {
        Benches::with(config, Workbench::held_out_only)
    }

    fn with(
        config: &Config,
        make: impl Fn(&Config, &str, &TaskConfig) -> Result<Workbench>,
    ) -> Result<Benches> {
        let open = |kind: TaskKind| -> Result<Option<Rc<Workbench>>> {
            config
                .task(kind)
                .map(|(name, t)| make(config, name, t).map(Rc::new))
                .transpose()
        };
        let values = TaskKind::values().map(open).filter_map(Result::transpose);
        Ok(Benches {
            det: open(TaskKind::Detection)?,
            seg: open(TaskKind::Segmentation)?,
            cls: open(TaskKind::Classification)?,
            values: values.collect::<Result<_>>()?,
        })
    }

    /// Those that are there, detection first, in the order of [`TaskKind::ALL`].
    pub fn all(&self) -> Vec<Rc<Workbench>> {
        let classes = [&self.det, &self.seg, &self.cls].into_iter().flatten();
        classes.chain(&self.values).cloned().collect()
    }

    /// Their numbers of classes.
    pub fn heads(&self) -> Heads {
        let count = |bench: &Option<Rc<Workbench>>| bench.as_ref().map(|b| b.task.classes().len());
        Heads {
            det: count(&self.det),
            seg: count(&self.seg),
            cls: count(&self.cls),
            values: self.values.iter().map(|b| b.kind()).collect(),
        }
    }

    /// The network with these cells and the heads of all tasks.
    ///
    /// # Errors
    /// As [`spec`].
    pub fn spec(&self, config: &Config, parts: &Parts) -> Result<NetworkSpec> {
        spec(config, parts, &self.heads())
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
        let mut parts = Parts::by_hand();
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
        let (name, number) = if key == "det" {
            ("1-branch-det", number::BRANCH_DET)
        } else {
            ("2-branch-seg", number::BRANCH_SEG)
        };
        let plan = self.plan(
            name,
            number,
            networks::branch_host(&c, key, &self.benches.heads())?,
            vec![bench],
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
        let s = networks::presearch(&c, Some(bench.task.classes().len()))?;
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
        let parts = networks::backbone_search(&c, parts, co_search)?;
        let mut groups = vec!["backbone"];
        if co_search {
            groups.extend(self.benches.det.as_ref().map(|_| "det"));
            groups.push("seg");
        }
        let spec = spec(&c, &parts, &self.benches.heads().dense())?;
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
        let classes = [&self.benches.det, &self.benches.seg].into_iter().flatten();
        classes.chain(&self.benches.values).cloned().collect()
    }
}
