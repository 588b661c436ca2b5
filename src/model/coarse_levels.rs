//! The detection branch of `mtnas-release`: up to three maps coarser than the backbone's last (section 3.5).
//!
//! The first halves; the others lose two rows and columns to 3x3 windows without padding, so a small input runs out of map.

use super::conv_norm::{After, ConvNorm, ONE, Shape, three};
use crate::error::{Code, Error, Result};
use crate::nn::{Bias, Builder, Map, Pass};
use crate::space::operation::State;
use crate::space::{Cell, CellKind, CellSite, DropPath, Mixture, Preprocess};
use crate::tape::Var;

/// Levels beyond the backbone.
#[derive(Debug)]
pub enum CoarseLevels {
    /// Detection cells.
    Cells(Vec<Cell>),
    /// 1x1 convolution, then 3x3, each with bias, normalisation and ReLU.
    HandCrafted(Vec<[ConvNorm; 2]>),
}

/// Most levels beyond the backbone.
pub const COARSE_LEVELS: usize = 3;

impl CoarseLevels {
    /// Declares `count` levels over the last two backbone maps; returns them with their maps. `kind` is `None` for the
    /// hand-crafted ones.
    ///
    /// # Errors
    /// `MT0105`, naming the cell whose map would vanish.
    pub fn new(
        b: &mut Builder,
        before_last: Map,
        last: Map,
        count: usize,
        kind: Option<&CellKind>,
    ) -> Result<(CoarseLevels, Vec<Map>)> {
        assert!(count <= COARSE_LEVELS, "{count} coarse levels");
        check(last, count)?;
        let mut maps: Vec<Map> = vec![];
        let (mut cells, mut blocks) = (vec![], vec![]);
        for i in 0..count {
            let s1 = *maps.last().unwrap_or(&last);
            let y = match kind {
                Some(kind) => {
                    // Cell 2 reads the output of cell 1 twice, as the release does.
                    let s0 = [before_last, last, s1][i];
                    let site = site(i, s0, s1, last, kind)?;
                    let (cell, y) =
                        b.scope(format!("det.cells.{i}"), |b| Cell::new(b, site, kind))?;
                    cells.push(cell);
                    y
                }
                None => {
                    let (block, y) = b.scope(format!("extra.{i}"), |b| block(b, i, s1, last.c))?;
                    blocks.push(block);
                    y
                }
            };
            maps.push(y);
        }
        let levels = match kind {
            Some(_) => CoarseLevels::Cells(cells),
            None => CoarseLevels::HandCrafted(blocks),
        };
        Ok((levels, maps))
    }

    /// The levels, finest first.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(
        &self,
        p: &Pass,
        before_last: &State,
        last: &State,
        mixture: Option<&Mixture>,
    ) -> Result<Vec<Var>> {
        let mut levels: Vec<State> = vec![];
        match self {
            CoarseLevels::Cells(cells) => {
                for (i, cell) in cells.iter().enumerate() {
                    let s1 = levels.last().unwrap_or(last);
                    let s0 = [before_last, last, s1][i];
                    let y = cell.forward(p, s0, s1, mixture)?;
                    levels.push(State::new(y));
                }
            }
            CoarseLevels::HandCrafted(blocks) => {
                for [one, two] in blocks {
                    let x = levels.last().unwrap_or(last).x().clone();
                    let y = two.forward(p, &one.forward(p, &x)?)?;
                    levels.push(State::new(y));
                }
            }
        }
        Ok(levels.into_iter().map(|s| s.x().clone()).collect())
    }
}

/// Refuses a level that would have nothing left, by name and before anything is declared.
fn check(last: Map, count: usize) -> Result<()> {
    let refuse = |i: usize, message: String| {
        let levels = 4 + i;
        Err(Error::new(Code::NetworkDoesNotFit, message)
            .help(format!("use det_levels = {levels} or a larger input")))
    };
    let (mut h, mut w) = (last.h, last.w);
    for i in 0..count {
        if i == 0 {
            if h % 2 == 1 || w % 2 == 1 {
                let message = format!(
                    "detection cell 0 halves the {h}x{w} map of the backbone, whose sides must be even"
                );
                return refuse(i, message);
            }
            (h, w) = (h / 2, w / 2);
        } else {
            let (y, x) = (h.saturating_sub(2), w.saturating_sub(2));
            if y == 0 || x == 0 {
                let from = i - 1;
                let message = format!(
                    "detection cell {i} would get a {y}x{x} map from the {h}x{w} map of cell {from}, because its 3x3 windows have no padding"
                );
                return refuse(i, message);
            }
            (h, w) = (y, x);
        }
    }
    Ok(())
}

/// Widths 8C, 4C, 4C: the first cell yields as many channels as the backbone, the others half of that.
fn site(i: usize, s0: Map, s1: Map, last: Map, kind: &CellKind) -> Result<CellSite> {
    let channels = if i == 0 { last.c } else { last.c / 2 };
    let nodes = kind.multiplier(i == 0);
    if !channels.is_multiple_of(nodes) {
        let message = format!(
            "detection cell {i} concatenates {nodes} nodes to {channels} channels, not a multiple of {nodes}"
        );
        return Err(Error::new(Code::NetworkDoesNotFit, message)
            .help("change `channels` or concatenate another number of nodes"));
    }
    Ok(CellSite {
        s0,
        s1,
        width: channels / nodes,
        reduction: i == 0,
        preprocess: if i == 0 {
            Preprocess::Pointwise
        } else {
            Preprocess::Unpadded3x3
        },
        drop_path: DropPath::Never,
    })
}

fn block(b: &mut Builder, i: usize, x: Map, last: usize) -> Result<([ConvNorm; 2], Map)> {
    let unpadded = Shape {
        k: 3,
        stride: 1,
        padding: 0,
    };
    let (middle, out, shape) = match i {
        0 => (last / 2, last, three(2)),
        _ => (last / 4, last / 2, unpadded),
    };
    let bias = Bias::PerChannel;
    let (one, y) = ConvNorm::new(b, [0, 1], x, middle, ONE, bias, After::Relu)?;
    let (two, y) = ConvNorm::new(b, [3, 4], y, out, shape, bias, After::Relu)?;
    Ok(([one, two], y))
}
