//! The launches that give gradients of parameters.

use super::super::{THREADS, WEIGHTS};
use super::tiles::{self, Tiles, half_weights, reach};
use super::{Back, CHUNKS, GROUP, Part, launch};
use crate::backend::driver::{self as k, Launch};
use crate::error::Result;
use crate::ops::mixed_cell::plan::{Plan, Unit};
use crate::ops::on_device::{int, list, untouched};
use crate::tape::Grad;
use crate::tensor::{DType, Tensor};

/// Rows of the tables of halves: those at the nodes' size, then those that halve the map; a reduction has one for each weight.
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
            let stride = p.stride(p.edges[u.edge].from);
            let rows = if u.reduced() { 2 } else { u.own.len() / 2 };
            for half in 0..rows {
                let at_once = stride == 1 || (half == 1 && !u.reduced());
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

impl Back<'_> {
    /// Partial sums of the weights' gradients, `(chunks, total)`, where weights want one.
    pub(super) fn weight_sums(&self, y: &Tensor) -> Result<Option<Part>> {
        if !self.weights {
            return Ok(None);
        }
        let (c, e, p) = (self.cell, self.cell.e, self.cell.p);
        let halves = Halves::new(p);
        let tiles = Tiles::new(p, false);
        let mut read = c.weights()?;
        read.extend(c.sources(y, &self.maps.rest)?);
        read.extend(self.gradients_of_nodes()?);
        read.extend([self.maps.z.arg(e)?, self.aside.arg(e)?, self.stats()?]);
        read.extend(c.mixture()?);
        read.extend([self.sums.sums.arg(e)?, self.inner.sums.arg(e)?]);
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
        let chunks = launch(p, tiles, CHUNKS, fewest).grid[0] as usize;
        let mut sums = Tensor::scratch_on(e, [chunks, halves.total], DType::F32)?;
        for (kernel, table, of_channel) in launches {
            let rows = e.constant(table)?;
            let mut args = read.clone();
            args.push(sums.arg_out(e)?);
            args.extend(c.tables.args());
            args.push(rows.arg());
            args.extend([self.sums.chunks, p.slots, self.inner.chunks, halves.total].map(int));
            args.extend(tiles.args(p));
            args.push(c.eps);
            let mut launch = launch(p, tiles, CHUNKS, table.len() / 3);
            launch.grid[0] = chunks as u32;
            launch.shared = self.shared(1, *of_channel, self.more());
            launch.touches = self.touched_by_weights(table, chunks);
            e.launch(*kernel, launch, &args)?;
        }
        Ok(Some(Part { sums, chunks }))
    }

    /// What a launch over rows of a table of halves touches: a half's input, map and gradient; states and nodes' gradients once.
    fn touched_by_weights(&self, table: &[i32], chunks: usize) -> Option<[u64; 2]> {
        let (c, p) = (self.cell, self.cell.p);
        let (mut read, mut written) = (0, 0);
        let mut states = vec![false; p.arms.len()];
        let mut nodes = vec![false; p.nodes.len()];
        let mut seen = vec![false; p.maps];
        let mut new = |map: usize| usize::from(!std::mem::replace(&mut seen[map], true));
        for row in table.chunks(3) {
            let (u, half) = (&p.units[row[0] as usize], row[1] as usize);
            let edge = &p.edges[u.edge];
            let last = u.reduced() || half + 1 == u.maps.len();
            if (half == 0 || u.reduced()) && !std::mem::replace(&mut states[edge.from], true) {
                read += c.bytes(c.state(edge.from)[0]);
            }
            if last && !std::mem::replace(&mut nodes[edge.node], true) {
                read += c.bytes(p.values());
            }
            // Its map, that before it, and the gradient at the inner ReLU.
            let own = u.maps.start + if u.reduced() { 0 } else { half };
            let before = if half == 1 && !u.reduced() {
                new(own - 1)
            } else {
                0
            };
            let maps = new(own) + before + usize::from(!last);
            read += c.bytes(maps * p.values()) + self.slope_bytes(2);
            written += (4 * chunks * half_weights(u, p.a)) as u64;
        }
        let units = table.iter().step_by(3).map(|&u| u as usize);
        c.touches(
            read + c.weight_bytes(units) + 4 * table.len() as u64,
            written,
        )
    }

    /// Floats that a block of these launches has besides slopes, weights and its input.
    fn more(&self) -> usize {
        let a = self.cell.p.a;
        let maps = 2 * a.next_multiple_of(4).min(GROUP) * THREADS;
        let sums_of_block = a.div_ceil(GROUP) * THREADS + GROUP * 2 * 32;
        4 * GROUP + sums_of_block + maps
    }

    /// Gradients of all parameters from their partial sums.
    pub(super) fn gradients(&self, partial: Option<&Part>, all: &mut [Option<Grad>]) -> Result<()> {
        if !self.arch && !self.weights {
            return Ok(());
        }
        let (c, e, p) = (self.cell, self.cell.e, self.cell.p);
        let none = untouched(self.stats()?).null();
        let halves = Halves::new(p);
        let (table, total) = (halves.rows(), halves.total);
        let rows = if self.weights { table.len() / 3 } else { 0 };
        let (mut out, mut grads) = (vec![], vec![]);
        for i in p.units.iter().flat_map(|u| u.own.clone()) {
            let wanted = self.b.need[i].then(|| self.b.shapes[i]);
            let make = |s| Tensor::scratch_on(e, s, DType::F32);
            let mut g = wanted.map(make).transpose()?;
            out.push(g.as_mut().map_or(Ok(none), |g| g.arg_out(e))?);
            grads.push((i, g));
        }
        let of = |i: usize| {
            let make = || Tensor::scratch_on(e, self.b.shapes[i], DType::F32);
            self.arch.then(make).transpose()
        };
        let mut arch = [of(p.alpha)?, of(p.beta)?];
        let mut args = list(&out, WEIGHTS, none);
        args.push(partial.map_or_else(|| self.stats(), |t| t.sums.arg(e))?);
        args.extend(c.mixture()?);
        args.extend([self.stats()?, self.sums.sums.arg(e)?]);
        for t in &mut arch {
            let other = untouched(self.stats()?);
            args.push(t.as_mut().map_or(Ok(other), |t| t.arg_out(e))?);
        }
        let rows_of = e.constant(if table.is_empty() { &[0] } else { &table[..] })?;
        args.extend(c.tables.args());
        args.push(rows_of.arg());
        let mixture = [p.alpha, p.beta].map(|i| self.b.shapes[i].numel());
        let chunks = partial.map_or(0, |t| t.chunks);
        args.extend([rows, p.units.len(), p.edges.len()].map(int));
        args.extend([mixture[0], mixture[1], self.sums.chunks, p.slots].map(int));
        args.extend([chunks, total, p.a, p.k].map(int));
        args.push(c.eps);
        let with_weights = p.units.iter().filter(|u| !u.own.is_empty());
        let largest = with_weights.map(|u| half_weights(u, p.a)).max();
        let of_weights = largest.unwrap_or(0).div_ceil(THREADS) * usize::from(self.weights);
        let of_mixture = mixture.iter().sum::<usize>() * usize::from(self.arch);
        let blocks = of_weights.max(of_mixture).max(1);
        let grid = [blocks, rows + usize::from(self.arch), 1].map(|v| v as u32);
        let mut launch = Launch::new(grid, [THREADS as u32, 1, 1]);
        let weights = if self.weights { total } else { 0 };
        let sums = self.sums.chunks * p.c * p.slots * usize::from(self.arch);
        let read = weights * chunks
            + sums
            + 4 * p.maps * p.a
            + 2 * (mixture[0] + mixture[1])
            + table.len();
        let written = weights + of_mixture;
        launch.touches = c.touches(4 * read as u64, 4 * written as u64);
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
