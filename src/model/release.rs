//! What the release of MTNAS puts on a backbone: of cells in the frame `mtnas-release` (systems.md 3.5), by hand on the ResNet of
//! `mtl-resnet18` (section 4).

use super::coarse_levels::{COARSE_LEVELS, CoarseLevels};
use super::conv_norm::{After, ConvNorm, ONE, rows_of, three};
use super::network::Outputs;
use super::spec::{DetHead, NetworkSpec};
use super::top_down::TopDown;
use crate::error::{Code, Error, Result};
use crate::nn::{Bias, Builder, Map, Pass};
use crate::ops;
use crate::space::operation::State;
use crate::space::{CellKind, Mixture};
use crate::tape::Var;
use crate::task::config::TaskKind;

/// What branches read of a backbone: its maps ([`Map`]), or what they hold (`&State`).
#[derive(Debug, Clone, Copy)]
pub struct Taps<T> {
    /// Half-resolution feature, read by segmentation only.
    pub half: T,
    /// Strides 4, 8, 16, 32.
    pub features: [T; BACKBONE_LEVELS],
    /// What comes before the last of them: the second input of the first detection cell.
    pub before_last: T,
}

impl<T: Copy> Taps<T> {
    /// Of a backbone of cells after a stem of two outputs: the cell before each reduction, and the last one.
    ///
    /// # Errors
    /// `MT0105` unless there are three reductions, the first after cell 0.
    pub fn of_cells(reductions: &[usize], stem: [T; 2], cells: &[T]) -> Result<Taps<T>> {
        let [a, b, c] = *reductions else {
            return Err(three_reductions(reductions));
        };
        if a == 0 {
            return Err(three_reductions(reductions));
        }
        let last = cells.len() - 1;
        Ok(Taps {
            half: stem[0],
            features: [a - 1, b - 1, c - 1, last].map(|i| cells[i]),
            before_last: match last {
                0 => stem[1],
                t => cells[t - 1],
            },
        })
    }
}

fn three_reductions(reductions: &[usize]) -> Error {
    let message = format!(
        "mtnas-release taps the cell before each of three reductions, got reductions {reductions:?}"
    );
    Error::new(Code::NetworkDoesNotFit, message)
        .help("set `reductions` to three rising indices, the first at least 1")
}

/// Backbone maps that are levels of detection: strides 4, 8, 16 (after the top-down path) and 32.
const BACKBONE_LEVELS: usize = 4;

/// Branches and heads over the backbone.
#[derive(Debug)]
pub struct Release {
    top_down: TopDown,
    coarse: CoarseLevels,
    levels: Vec<Level>,
    loc_values: usize,
    classes: usize,
    /// Heads of maps for each pixel, by task.
    map_heads: Vec<(TaskKind, ConvNorm)>,
    maps: Vec<Map>,
}

/// The two convolutions of a detection level.
#[derive(Debug)]
struct Level {
    loc: ConvNorm,
    conf: ConvNorm,
}

/// Mixing weights of the branches; `None` for branches without search cells.
#[derive(Debug, Clone, Copy, Default)]
pub struct BranchMixtures<'a> {
    /// Detection branch.
    pub det: Option<&'a Mixture>,
    /// Segmentation branch.
    pub seg: Option<&'a Mixture>,
}

impl Release {
    /// Declares the branches and heads that `spec` asks for. `det` and `seg` are `None` for hand-crafted branches.
    ///
    /// # Errors
    /// `MT0105` when the input is not a multiple of 32, or a cell's map would vanish.
    pub fn new(
        b: &mut Builder,
        spec: &NetworkSpec,
        taps: &Taps<Map>,
        det: Option<&CellKind>,
        seg: Option<&CellKind>,
    ) -> Result<Release> {
        let features = taps.features;
        let last = features[3];
        // Coarse to fine; the finest tap is the rectified half-resolution output of the stem, read by heads of pixels only.
        let mut fine = vec![features[2], features[1], features[0]];
        if spec.has_maps() {
            fine.push(taps.half);
        }
        let anchors = spec.det_head.as_ref().map_or(&[][..], |d| &d.anchors);
        if anchors.len() > BACKBONE_LEVELS + COARSE_LEVELS {
            let message = format!(
                "{} detection levels, the frame has at most 7",
                anchors.len()
            );
            return Err(
                Error::new(Code::NetworkDoesNotFit, message).help("use det_levels = 7 or fewer")
            );
        }
        let count = anchors.len().saturating_sub(BACKBONE_LEVELS);
        let (coarse, coarse_maps) = CoarseLevels::new(b, taps.before_last, last, count, det)?;
        let top_down = TopDown::new(b, last, &fine, seg)?;
        let maps: Vec<Map> = features
            .into_iter()
            .chain(coarse_maps)
            .take(anchors.len())
            .collect();
        let levels = spec.det_head.as_ref().map_or(Ok(vec![]), |head| {
            heads(b, &maps, head, spec.frame.loc_values)
        })?;
        let (x, mut map_heads) = (taps.half, vec![]);
        for (task, planes) in spec.map_heads() {
            let head = b.scope(format!("{}_out", task.key()), |b| {
                ConvNorm::new(b, [0, 1], x, planes, ONE, Bias::PerChannel, After::Nothing)
            })?;
            map_heads.push((task, head.0));
        }
        Ok(Release {
            top_down,
            coarse,
            levels,
            loc_values: spec.frame.loc_values,
            classes: spec.det_head.as_ref().map_or(0, |d| d.classes + 1),
            map_heads,
            maps,
        })
    }

    /// The maps of the detection levels, finest first.
    pub fn levels(&self) -> &[Map] {
        &self.maps
    }

    /// Outputs of those of `tasks` that it has heads for; the top-down path that they share is computed once, as far as it is wanted.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn heads(
        &self,
        p: &Pass,
        taps: &Taps<&State>,
        tasks: &[TaskKind],
        mixtures: BranchMixtures,
    ) -> Result<Vec<(TaskKind, Outputs)>> {
        let last = taps.features[3];
        let det = tasks.contains(&TaskKind::Detection);
        let wanted: Vec<_> = (self.map_heads.iter())
            .filter(|(task, _)| tasks.contains(task))
            .collect();
        let coarse = match det {
            true => (self.coarse).forward(p, taps.before_last, last, mixtures.det)?,
            false => vec![],
        };
        // Detection reads all sums but the finest.
        let steps = BACKBONE_LEVELS - usize::from(wanted.is_empty());
        let sums = self.sums(p, taps, steps, mixtures.seg)?;
        let mut all = vec![];
        if det {
            let mut features: Vec<Var> = sums[..BACKBONE_LEVELS - 1].to_vec();
            features.reverse();
            features.push(last.x().clone());
            features.extend(coarse);
            let (loc, conf): (Vec<_>, Vec<_>) =
                (self.levels.iter()).map(|l| (&l.loc, &l.conf)).unzip();
            let outputs = Outputs::Detection {
                loc: rows_of(&loc, p, &features, self.loc_values)?,
                conf: rows_of(&conf, p, &features, self.classes)?,
            };
            all.push((TaskKind::Detection, outputs));
        }
        for (task, head) in wanted {
            let y = head.forward(p, &sums[BACKBONE_LEVELS - 1])?;
            let y = ops::upsample_nearest(&y, 2)?;
            all.push((*task, Outputs::of_map(*task, y)));
        }
        Ok(all)
    }

    /// The first `steps` sums of the top-down path, coarse to fine.
    fn sums(
        &self,
        p: &Pass,
        taps: &Taps<&State>,
        steps: usize,
        mixture: Option<&Mixture>,
    ) -> Result<Vec<Var>> {
        let [f0, f1, f2, last] = taps.features;
        let finer = [f2.x(), f1.x(), f0.x(), taps.half.x()];
        let sums = self.top_down.forward(p, last, &finer, steps, mixture)?;
        Ok(sums.into_iter().map(|s| s.x().clone()).collect())
    }
}

/// `loc.L` and `conf.L`: one 3x3 convolution with bias and a normalisation each.
fn heads(b: &mut Builder, maps: &[Map], head: &DetHead, loc_values: usize) -> Result<Vec<Level>> {
    let mut levels = vec![];
    for (l, (&x, anchors)) in maps.iter().zip(&head.anchors).enumerate() {
        let mut branch = |name: &str, c: usize| {
            b.scope(format!("{name}.{l}"), |b| {
                ConvNorm::new(b, [0, 1], x, c, three(1), Bias::PerChannel, After::Nothing)
            })
        };
        let (loc, _) = branch("loc", anchors * loc_values)?;
        let (conf, _) = branch("conf", anchors * (head.classes + 1))?;
        levels.push(Level { loc, conf });
    }
    Ok(levels)
}
