//! The backbone: cells one after the other, widths doubled and maps halved at the reductions (DARTS section 2.3).

use super::stem::StemMaps;
use crate::error::{Code, Error, Result};
use crate::nn::{Builder, Map, Pass};
use crate::space::operation::State;
use crate::space::{Cell, CellKind, CellSite, DropPath, Mixture, Preprocess};

/// A stack of cells.
#[derive(Debug)]
pub struct Backbone {
    cells: Vec<Cell>,
    outputs: Vec<Map>,
}

impl Backbone {
    /// Declares `cells` cells named `cells.I`, the first `width` channels wide.
    ///
    /// # Errors
    /// `MT0105` for reductions that do not rise or lie outside, or a cell that does not fit its map.
    pub fn new(
        b: &mut Builder,
        stem: StemMaps,
        width: usize,
        cells: usize,
        reductions: &[usize],
        kind: &CellKind,
    ) -> Result<Backbone> {
        let rising = reductions.windows(2).all(|r| r[0] < r[1]);
        if cells == 0 || !rising || reductions.last().is_some_and(|&r| r >= cells) {
            let message = format!(
                "reductions {reductions:?} of {cells} cells: they must rise and be below {cells}"
            );
            return Err(Error::new(Code::NetworkDoesNotFit, message)
                .help("set `reductions` to rising indices of cells"));
        }
        let (mut built, mut outputs) = (vec![], vec![]);
        let StemMaps { mut s0, mut s1 } = stem;
        let mut width = width;
        for i in 0..cells {
            let reduction = reductions.contains(&i);
            if reduction {
                width *= 2;
            }
            let site = CellSite {
                s0,
                s1,
                width,
                reduction,
                preprocess: Preprocess::Pointwise,
                drop_path: DropPath::Active,
            };
            let (cell, y) = b.scope(format!("cells.{i}"), |b| Cell::new(b, site, kind))?;
            built.push(cell);
            outputs.push(y);
            (s0, s1) = (s1, y);
        }
        Ok(Backbone {
            cells: built,
            outputs,
        })
    }

    /// The map that each cell yields.
    pub fn outputs(&self) -> &[Map] {
        &self.outputs
    }

    /// The output of every cell.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(
        &self,
        p: &Pass,
        stem: &[State; 2],
        mixture: Option<&Mixture>,
    ) -> Result<Vec<State>> {
        let mut outputs: Vec<State> = vec![];
        for (i, cell) in self.cells.iter().enumerate() {
            // Cell i reads outputs i - 2 and i - 1, where -2 and -1 are the stem's.
            let s0 = if i < 2 { &stem[i] } else { &outputs[i - 2] };
            let s1 = if i == 0 { &stem[1] } else { &outputs[i - 1] };
            outputs.push(State::new(cell.forward(p, s0, s1, mixture)?));
        }
        Ok(outputs)
    }
}
