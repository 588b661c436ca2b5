//! The launches that give gradients of parameters.

use super::super::{THREADS, WEIGHTS, weights};
use super::tiles::{self, Tiles, half_weights, reach};
use super::{Back, CHUNKS, GROUP, Part};
use crate::backend::driver::{self as k, Launch};
use crate::error::Result;
use crate::ops::mixed_node::Candidate;
use crate::ops::mixed_node::plan::{Plan, Unit};
use crate::ops::on_device::{int, list, untouched};
use crate::tape::Grad;
use crate::tensor::{DType, Tensor};

/// Rows of the tables of halves: those at the node's size, then those that halve the map; a reduction has one for each weight.
struct Halves {
    whole: Vec<i32>,
    halved: Vec<i32>,
    /// Weights of all.
    total: usize,
}

impl Halves {
    fn new(p: &Plan) -> Halves {
        let (mut whole, mut halved, mut total) = (vec![], vec![], 0);
        for (index, u) in p.units.iter().enumerate() {
            let rows = if reduced(u) { 2 } else { weights(u) / 2 };
            for half in 0..rows {
                let at_once = p.edges[u.edge].stride == 1 || (half == 1 && !reduced(u));
                let table = if at_once { &mut whole } else { &mut halved };
                table.extend([index, half, total].map(|v| v as i32));
                total += half_weights(u, p.a);
            }
        }
        Halves {
            whole,
            halved,
            total,
        }
    }

    fn rows(&self) -> Vec<i32> {
        [&self.whole[..], &self.halved].concat()
    }
}

fn reduced(u: &Unit) -> bool {
    u.candidate == Candidate::Reduced
}

impl Back<'_> {
    /// Partial sums of the weights' gradients, `(chunks, total)`, where weights want one.
    pub(super) fn weights(&self, part: &Part, inner: &Part, g: &[Option<Tensor>]) -> Result<Part> {
        if !self.weights {
            return Ok(Part::none());
        }
        let (e, p) = (self.node.e, self.node.p);
        let halves = Halves::new(p);
        let tiles = Tiles::new(p, false);
        let mut read = self.maps()?;
        read.extend(self.weight_list()?);
        read.extend(self.aside(g)?);
        read.extend(self.states()?);
        read.extend([self.dy.arg(e)?, self.stats()?]);
        read.extend(self.node.mixture()?);
        read.extend([self.part(part)?, self.part(inner)?]);
        let whole = self.pick(k::NODE_WEIGHTS_F32, k::NODE_WEIGHTS_BF16);
        let halved = self.pick(k::NODE_HALVED_WEIGHTS_F32, k::NODE_HALVED_WEIGHTS_BF16);
        let ring = |u: &Unit| tiles.around(reach(u));
        let classes = |u: &Unit| {
            let (classes, reach) = tiles::halved(u);
            classes * (tiles.rows + 2 * reach) * (tiles.columns + 2 * reach)
        };
        let of_channel = |table: &[i32], of: &dyn Fn(&Unit) -> usize| {
            let units = table.iter().step_by(3).map(|&u| &p.units[u as usize]);
            units.map(of).max().unwrap_or(0)
        };
        let both = [
            (whole, &halves.whole, of_channel(&halves.whole, &ring)),
            (halved, &halves.halved, of_channel(&halves.halved, &classes)),
        ];
        let launches: Vec<_> = both.iter().filter(|l| !l.1.is_empty()).collect();
        // As many chunks in both: those of the launch with fewer halves.
        let fewest = launches.iter().map(|l| l.1.len() / 3).min().unwrap_or(1);
        let chunks = self.launch(tiles, CHUNKS, fewest).grid[0];
        let mut sums = Tensor::scratch_on(e, [chunks as usize, halves.total], DType::F32)?;
        for (kernel, table, of_channel) in launches {
            let rows = e.constant(table)?;
            let mut args = read.clone();
            args.push(sums.arg_out(e)?);
            args.extend([self.node.units(), self.node.edges(), rows.arg()]);
            args.extend([part.chunks, self.slots(), inner.chunks, halves.total].map(int));
            args.extend(tiles.args(p));
            args.push(self.eps);
            let mut launch = self.launch(tiles, CHUNKS, table.len() / 3);
            launch.grid[0] = chunks;
            launch.shared = self.shared(1, *of_channel, self.weights_of());
            e.launch(*kernel, launch, &args)?;
        }
        let (sums, chunks) = (Some(sums), chunks as usize);
        Ok(Part { sums, chunks })
    }

    /// Floats that a block of these launches has besides slopes, weights and its input.
    fn weights_of(&self) -> usize {
        let a = self.node.p.a;
        let maps = 2 * a.next_multiple_of(4).min(GROUP) * THREADS;
        let sums_of_block = a.div_ceil(GROUP) * THREADS + GROUP * 2 * 32;
        4 * GROUP + sums_of_block + maps
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
        let all_halves = Halves::new(p);
        let (table, total) = (all_halves.rows(), all_halves.total);
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
        let with_weights = p.units.iter().filter(|u| weights(u) > 0);
        let largest = with_weights.map(|u| half_weights(u, p.a)).max();
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
