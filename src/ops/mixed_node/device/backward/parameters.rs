//! The launches that give gradients of parameters.

use super::super::{THREADS, WEIGHTS, weights};
use super::tiles::{Tiles, half_weights, reach};
use super::{Back, CHUNKS, GROUP, Part};
use crate::backend::driver::{self as k, Launch};
use crate::error::Result;
use crate::ops::on_device::{int, list, untouched};
use crate::tape::Grad;
use crate::tensor::{DType, Tensor};

impl Back<'_> {
    /// Rows of the table of halves, and how many weights all have.
    fn halves(&self) -> (Vec<i32>, usize) {
        let (p, mut total, mut table) = (self.node.p, 0, vec![]);
        for (index, u) in p.units.iter().enumerate() {
            if u.candidate.kernel().is_none() {
                continue;
            }
            for half in 0..u.maps.len() {
                table.extend([index, half, total].map(|v| v as i32));
                total += half_weights(u, p.a);
            }
        }
        (table, total)
    }

    /// Partial sums of the weights' gradients, `(chunks, total)`, where weights want one.
    pub(super) fn weights(&self, part: &Part, inner: &Part, g: &[Option<Tensor>]) -> Result<Part> {
        if !self.weights {
            return Ok(Part::none());
        }
        let (e, p) = (self.node.e, self.node.p);
        let (table, total) = self.halves();
        let tiles = Tiles::new(p, false);
        let mut launch = self.launch(tiles, CHUNKS, table.len() / 3);
        let chunks = launch.grid[0] as usize;
        let mut sums = Tensor::scratch_on(e, [chunks, total], DType::F32)?;
        let mut args = self.maps()?;
        args.extend(self.weight_list()?);
        args.extend(self.aside(g)?);
        args.extend(self.states()?);
        args.extend([self.dy.arg(e)?, self.stats()?]);
        args.extend(self.node.mixture()?);
        args.extend([self.part(part)?, self.part(inner)?, sums.arg_out(e)?]);
        let table = e.constant(&table)?;
        args.extend([self.node.units(), self.node.edges(), table.arg()]);
        args.extend([part.chunks, self.slots(), inner.chunks, total].map(int));
        args.extend(tiles.args(p));
        args.push(self.eps);
        let widest = p.units.iter().map(reach).max().unwrap_or(0);
        let maps = 2 * p.a.next_multiple_of(4).min(GROUP) * THREADS;
        let sums_of_block = p.a.div_ceil(GROUP) * THREADS + GROUP * 2 * 32;
        let more = 4 * GROUP + sums_of_block + maps;
        launch.shared = self.shared(1, tiles.around(widest), more);
        let kernel = self.pick(k::NODE_WEIGHTS_F32, k::NODE_WEIGHTS_BF16);
        e.launch(kernel, launch, &args)?;
        let sums = Some(sums);
        Ok(Part { sums, chunks })
    }

    /// Gradients of all parameters from their partial sums.
    pub(super) fn gradients(
        &self,
        part: &Part,
        partial: &Part,
        all: &mut [Option<Grad>],
    ) -> Result<()> {
        if !self.arch && !self.weights {
            return Ok(());
        }
        let (node, e, p) = (self.node, self.node.e, self.node.p);
        let none = untouched(self.stats()?).null();
        let (table, total) = self.halves();
        let halves = if self.weights { table.len() / 3 } else { 0 };
        let (mut out, mut grads) = (vec![], vec![]);
        for u in &p.units {
            for i in u.own..u.own + weights(u) {
                let wanted = self.b.need[i].then(|| self.b.shapes[i]);
                let make = |s| Tensor::scratch_on(e, s, DType::F32);
                let mut g = wanted.map(make).transpose()?;
                out.push(g.as_mut().map_or(Ok(none), |g| g.arg_out(e))?);
                grads.push((i, g));
            }
        }
        let of = |i: usize| {
            let make = || Tensor::scratch_on(e, self.b.shapes[i], DType::F32);
            self.arch.then(make).transpose()
        };
        let mut arch = [of(p.alpha)?, of(p.beta)?];
        let mut args = list(&out, WEIGHTS, none);
        args.push(self.part(partial)?);
        args.extend(node.mixture()?);
        args.extend([self.stats()?, self.part(part)?]);
        for t in &mut arch {
            let other = untouched(self.stats()?);
            args.push(t.as_mut().map_or(Ok(other), |t| t.arg_out(e))?);
        }
        let table = e.constant(if table.is_empty() { &[0] } else { &table[..] })?;
        args.extend([node.units(), node.edges(), table.arg()]);
        let mixture = [p.alpha, p.beta].map(|i| self.b.shapes[i].numel());
        args.extend([halves, p.units.len(), p.edges.len()].map(int));
        args.extend([mixture[0], mixture[1], part.chunks, self.slots()].map(int));
        args.extend([partial.chunks, total, p.a, p.k].map(int));
        args.push(self.eps);
        let largest = p.units.iter().map(|u| half_weights(u, p.a)).max();
        let of_weights = largest.unwrap_or(0).div_ceil(THREADS) * usize::from(self.weights);
        let of_mixture = mixture.iter().sum::<usize>() * usize::from(self.arch);
        let blocks = of_weights.max(of_mixture).max(1);
        let grid = [blocks, halves + usize::from(self.arch), 1].map(|v| v as u32);
        let launch = Launch::new(grid, [THREADS as u32, 1, 1]);
        e.launch(k::NODE_GRADIENTS_F32, launch, &args)?;
        for (i, g) in grads {
            all[i] = g.map(Grad::Whole);
        }
        for (i, g) in [p.alpha, p.beta].into_iter().zip(arch) {
            all[i] = g.filter(|_| self.b.need[i]).map(Grad::Whole);
        }
        Ok(())
    }
}
