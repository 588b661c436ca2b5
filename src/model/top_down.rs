//! The top-down path of `mtnas-release`: from the coarsest backbone map to the finest, each step enlarged twice and added to
//! the next finer tap. It is the segmentation branch and, at once, the feature pyramid of detection (section 3.5).

use super::conv_norm::{After, ConvNorm, ONE};
use crate::error::{Code, Error, Result};
use crate::nn::{Bias, Builder, Map, Pass};
use crate::ops;
use crate::space::operation::State;
use crate::space::{Cell, CellKind, CellSite, DropPath, Mixture, Preprocess};
use crate::tape::Var;

/// Steps from coarse to fine.
#[derive(Debug)]
pub enum TopDown {
    /// Segmentation cells; both inputs of a cell are the same map.
    Cells(Vec<Cell>),
    /// 1x1 convolutions with bias and normalisation.
    HandCrafted(Vec<ConvNorm>),
}

impl TopDown {
    /// Declares one step for each of `taps`, which are given from coarse to fine; `kind` is `None` for the hand-crafted path.
    ///
    /// # Errors
    /// `MT0105` when a tap is not twice as large as the step below it, or its channels are no multiple of the cell's nodes.
    pub fn new(
        b: &mut Builder,
        coarsest: Map,
        taps: &[Map],
        kind: Option<&CellKind>,
    ) -> Result<TopDown> {
        let mut x = coarsest;
        let (mut cells, mut layers) = (vec![], vec![]);
        for (i, &tap) in taps.iter().enumerate() {
            if (tap.h, tap.w) != (2 * x.h, 2 * x.w) {
                let message = format!(
                    "segmentation cell {i} enlarges a {}x{} map, but its tap is {}x{}",
                    x.h, x.w, tap.h, tap.w
                );
                return Err(Error::new(Code::NetworkDoesNotFit, message)
                    .help("use an input whose sides are multiples of 32"));
            }
            match kind {
                Some(kind) => {
                    let site = site(i, x, tap, kind)?;
                    let (cell, _) =
                        b.scope(format!("seg.cells.{i}"), |b| Cell::new(b, site, kind))?;
                    cells.push(cell);
                }
                None => {
                    let name = format!("top.{i}");
                    let (layer, _) = b.scope(name, |b| {
                        ConvNorm::new(b, [0, 1], x, tap.c, ONE, Bias::PerChannel, After::Nothing)
                    })?;
                    layers.push(layer);
                }
            }
            x = tap;
        }
        Ok(match kind {
            Some(_) => TopDown::Cells(cells),
            None => TopDown::HandCrafted(layers),
        })
    }

    /// The first `steps` sums, coarse to fine. `taps` as declared.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(
        &self,
        p: &Pass,
        coarsest: &State,
        taps: &[&Var],
        steps: usize,
        mixture: Option<&Mixture>,
    ) -> Result<Vec<State>> {
        let mut sums: Vec<State> = vec![];
        for i in 0..steps {
            let x = sums.last().unwrap_or(coarsest);
            let y = match self {
                TopDown::Cells(cells) => cells[i].forward(p, x, x, mixture)?,
                TopDown::HandCrafted(layers) => layers[i].forward(p, x.x())?,
            };
            sums.push(State::new(ops::upsample_add(&y, taps[i], 2)?));
        }
        Ok(sums)
    }
}

/// Width so that the cell's output can be added to the tap (4C, 2C, C, C/4 in the released network).
fn site(i: usize, x: Map, tap: Map, kind: &CellKind) -> Result<CellSite> {
    let nodes = kind.multiplier(false);
    if !tap.c.is_multiple_of(nodes) {
        let message = format!(
            "segmentation cell {i} concatenates {nodes} nodes, but is added to a map of {} channels, not a multiple of {nodes}",
            tap.c
        );
        return Err(Error::new(Code::NetworkDoesNotFit, message)
            .help("change `channels` or concatenate another number of nodes"));
    }
    let width = tap.c / nodes;
    if let CellKind::Search { partial_k, .. } = kind
        && !width.is_multiple_of(*partial_k)
    {
        let message = format!(
            "segmentation cell {i} is {width} channels wide, not a multiple of partial_k = {partial_k}"
        );
        let multiple = nodes * partial_k;
        return Err(Error::new(Code::NetworkDoesNotFit, message).help(format!(
            "use `channels` a multiple of {multiple}, or a smaller partial_k"
        )));
    }
    Ok(CellSite {
        s0: x,
        s1: x,
        width,
        reduction: false,
        preprocess: Preprocess::Pointwise,
        drop_path: DropPath::Never,
    })
}
