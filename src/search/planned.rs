//! The networks that a configuration will train, known before anything runs: for `mtnas arch cost`.

use super::config::{Config, Method};
use super::darts::{BACKBONE, around};
use super::given::{cells, given};
use super::networks::{self, Heads, Parts, backbone_search, branch_host, searched, spec};
use super::random_search;
use crate::error::Result;
use crate::model::{Cells, NetworkSpec};

/// A network of a stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Name of the stage, as in `stages/` of a run.
    pub stage: &'static str,
    /// The network.
    pub spec: NetworkSpec,
    /// What is not yet known of it, and what stands in its place.
    pub note: Option<&'static str>,
}

const MIXED: &str =
    "branches counted with all candidates: their cells are not known before stages 1 and 2";
const NO_HEAD: &str = "without its classifier: the number of classes is not known here";
const FIRST: &str =
    "the first of the growing networks; the later ones depend on what it leaves over";

/// The networks in the order of their stages. A derived network is among them only when nothing of it is searched. `presearch`:
/// classes of the pre-search, if known.
///
/// # Errors
/// Genotypes that do not parse; candidates that are no primitives.
pub fn networks(c: &Config, heads: &Heads, presearch: Option<usize>) -> Result<Vec<Planned>> {
    let one = |stage, spec, note| Planned { stage, spec, note };
    let config = match c.search.method {
        Method::Mtnas => return pipeline(c, heads, presearch),
        Method::Random => {
            let s = spec(c, &random_search::supernet(c)?, heads)?;
            return Ok(vec![one("1-search", s, None)]);
        }
        Method::Given => {
            let s = spec(c, &cells(c)?, heads)?;
            return Ok(vec![one("5-finetune", s, None)]);
        }
        Method::PDarts => {
            let mut first = c.clone();
            first.model.cells = c.search.p_darts.cells.first().copied().unwrap_or(1);
            first.model.reductions = None;
            first
        }
        Method::Darts | Method::PcDarts | Method::DartsPlus => c.clone(),
    };
    let parts = around(c, searched(BACKBONE, c)?)?;
    let note = (c.search.method == Method::PDarts).then_some(FIRST);
    Ok(vec![one("1-search", spec(&config, &parts, heads)?, note)])
}

/// The stages of Algorithm 1 that the ablations leave.
fn pipeline(c: &Config, heads: &Heads, presearch: Option<usize>) -> Result<Vec<Planned>> {
    let a = &c.search.ablation;
    let branches = c.model.searched_branches();
    let (mut list, mut parts, mut open) = (vec![], Parts::by_hand(), false);
    let stages = [
        ("det", "1-branch-det", heads.det),
        ("seg", "2-branch-seg", heads.seg),
    ];
    for (key, stage, head) in stages.into_iter().filter(|_| branches && !a.co_search) {
        let cells = match given(c, key)? {
            Some(g) => Cells::Derived(g),
            None if head.is_some() && a.branch_search => {
                list.push(Planned {
                    stage,
                    spec: branch_host(c, key, heads)?,
                    note: None,
                });
                open = true;
                searched(key, c)?
            }
            None => Cells::HandCrafted,
        };
        if key == "det" {
            parts.det = cells;
        } else {
            parts.seg = cells;
        }
    }
    if let Some(g) = given(c, "backbone")? {
        parts.backbone = Cells::Derived(g);
        if !open {
            list.push(Planned {
                stage: "5-finetune",
                spec: spec(c, &parts, heads)?,
                note: None,
            });
        }
        return Ok(list);
    }
    if a.presearch {
        list.push(Planned {
            stage: "3-presearch",
            spec: networks::presearch(c, presearch)?,
            note: presearch.is_none().then_some(NO_HEAD),
        });
    }
    if a.backbone_search || a.co_search {
        let parts = backbone_search(c, &parts, branches && a.co_search)?;
        list.push(Planned {
            stage: "4-backbone",
            spec: spec(c, &parts, &heads.clone().dense())?,
            note: open.then_some(MIXED),
        });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(change: impl FnOnce(&mut Config)) -> Vec<(&'static str, bool)> {
        let text = include_str!("../../configs/mtnas-paper.toml");
        let mut c = Config::from_toml(text, "mtnas-paper.toml").unwrap();
        change(&mut c);
        let heads = Heads {
            det: Some(3),
            seg: Some(19),
            ..Heads::default()
        };
        let list = networks(&c, &heads, Some(1000)).unwrap();
        list.iter().map(|p| (p.stage, p.note.is_some())).collect()
    }

    #[test]
    fn the_stages_that_the_ablations_leave() {
        let (det, seg) = (("1-branch-det", false), ("2-branch-seg", false));
        let pre = ("3-presearch", false);
        assert_eq!(stages(|_| {}), [det, seg, pre, ("4-backbone", true)]);
        let co = stages(|c| c.search.ablation.co_search = true);
        assert_eq!(co, [pre, ("4-backbone", false)]);
        let by_hand = stages(|c| c.search.ablation.branch_search = false);
        assert_eq!(by_hand, [pre, ("4-backbone", false)]);
        let given = |c: &mut Config| {
            let g = &mut c.search.genotypes;
            (g.backbone, g.det, g.seg) = ("PDARTS".into(), "MTNAS_det".into(), "random".into());
        };
        assert_eq!(stages(given), [("5-finetune", false)]);
        let half = stages(|c| c.search.genotypes.backbone = "PDARTS".into());
        assert_eq!(half, [det, seg]);
    }
}
