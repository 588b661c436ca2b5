//! The launches that give sums of the nodes' gradients and gradients of maps.

use std::ops::Range;

use super::super::forward::bytes;
use super::super::{Choice, INPUTS, Kind, OUTS, THREADS};
use super::tiles::{Tiles, halved, reach};
use super::{BLOCKS, Back, GROUP, TERMS, launch};
use crate::backend::driver::{self as k, Launch};
use crate::error::Result;
use crate::ops::on_device::{int, list, untouched};
use crate::tape::Grad;
use crate::tensor::Tensor;

impl Back<'_> {
    /// Sums of a node's gradient and of its products.
    pub(super) fn node_sums(&mut self, node: usize, y: &Tensor) -> Result<()> {
        let (c, e, p) = (self.cell, self.cell.e, self.cell.p);
        let (units, edges, last) = (
            p.candidates_of(node),
            p.nodes[node].clone(),
            p.nodes.len() - 1,
        );
        let (channels, terms) = match self.arch {
            true => (p.c, units.len() + edges.len()),
            false => (p.a, units.len()),
        };
        let (dy, of_image) = match node == last {
            true => (&self.dy, p.nodes.len() * p.c),
            false => (&self.nodes, last * p.c),
        };
        let mut args = c.sources(y, &self.maps.rest)?;
        args.extend([self.maps.z.arg(e)?, dy.arg(e)?, self.stats()?]);
        args.push(self.sums.sums.arg_out(e)?);
        args.extend(c.tables.args());
        args.extend([units.start, units.len(), edges.start, edges.len()].map(int));
        args.extend([p.edges[edges.start].total, p.slots, node * p.c, of_image].map(int));
        args.push(int(usize::from(self.arch)));
        args.extend([p.n, p.a, p.k, p.h, p.w].map(int));
        let chunks = self.sums.chunks;
        let grid = [channels, chunks, terms.div_ceil(TERMS)].map(|v| v as u32);
        let mut launch = Launch::new(grid, [THREADS as u32, 1, 1]);
        let skip = |u: &usize| p.units[*u].maps.is_empty();
        let read = units.clone().filter(|u| self.arch || !skip(u)).count() * p.values();
        let bypass = usize::from(self.arch) * edges.len() * p.n * (p.c - p.a) * p.plane;
        let dy = p.n * channels * p.plane;
        let stats = (16 * p.a * units.len()) as u64;
        let written = (4 * chunks * channels * (1 + terms)) as u64;
        launch.touches = c.touches(c.bytes(read + bypass + dy) + stats, written);
        let kernel = self.pick(k::NODE_SUMS_F32, k::NODE_SUMS_BF16);
        e.launch(kernel, launch, &args)
    }

    /// The gradients at inner ReLUs of the candidates of the edges into a node, and the sums of inner normalisations.
    pub(super) fn last(&mut self, node: usize) -> Result<()> {
        let (c, e, p) = (self.cell, self.cell.e, self.cell.p);
        let units = p.candidates_of(node).filter(|&u| p.units[u].double());
        let doubles: Vec<i32> = units.map(|u| u as i32).collect();
        if doubles.is_empty() {
            return Ok(());
        }
        let tiles = Tiles::new(p, true);
        let mut args = c.weights()?;
        args.extend(self.gradients_of_nodes()?);
        args.extend([self.maps.z.arg(e)?, self.aside.arg_out(e)?, self.stats()?]);
        args.extend(c.mixture()?);
        args.extend([self.sums.sums.arg(e)?, self.inner.sums.arg_out(e)?]);
        let table = e.constant(&doubles)?;
        args.extend(c.tables.args());
        args.push(table.arg());
        args.extend([self.sums.chunks, p.slots].map(int));
        args.extend(tiles.args(p));
        args.push(c.eps);
        let own = || doubles.iter().map(|&u| u as usize);
        let widest = own().map(|u| reach(&p.units[u])).max().unwrap_or(0);
        let mut launch = launch(p, tiles, usize::MAX, doubles.len());
        launch.grid[0] = self.inner.chunks as u32;
        launch.shared = self.shared(1, tiles.around(widest), 4 * GROUP);
        let maps = doubles.len();
        let read = c.bytes((2 * maps + 1) * p.values()) + c.weight_bytes(own());
        let written = c.bytes(maps * p.values()) + (8 * maps * self.inner.chunks * p.a) as u64;
        launch.touches = c.touches(read + self.slope_bytes(2 * maps), written);
        let kernel = self.pick(k::NODE_LAST_F32, k::NODE_LAST_BF16);
        e.launch(kernel, launch, &args)
    }

    /// The gradients of some states: of inputs where they are wanted.
    pub(super) fn states(
        &mut self,
        states: Range<usize>,
        y: &Tensor,
        all: &mut [Option<Grad>],
    ) -> Result<()> {
        let (c, e, p) = (self.cell, self.cell.e, self.cell.p);
        let (need, halves) = (&self.b.need, p.stride(states.start) == 2);
        let of_inputs = states.start < INPUTS;
        let mut out: Vec<Option<Tensor>> = vec![];
        for i in 0..p.alpha {
            let make = || Tensor::scratch_on(e, self.b.shapes[i], c.dtype);
            out.push((of_inputs && need[i]).then(make).transpose()?);
        }
        let wanted = |s: &usize| !of_inputs || need[*s];
        let wanted: Vec<i32> = states.filter(wanted).map(|s| s as i32).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let none = untouched(self.dy.arg(e)?).null();
        let mut to = vec![];
        for t in &mut out {
            to.push(t.as_mut().map_or(Ok(none), |t| t.arg_out(e))?);
        }
        if !of_inputs {
            to = vec![none, none, self.nodes.arg_out(e)?];
        }
        let tiles = Tiles::new(p, !halves);
        let mut args = c.weights()?;
        args.extend(c.sources(y, &self.maps.rest)?);
        args.extend(self.gradients_of_nodes()?);
        args.extend(list(&to, OUTS, none));
        args.extend([self.maps.z.arg(e)?, self.aside.arg(e)?]);
        args.extend([bytes(self.maps.taps.arg(e)?), self.stats()?]);
        args.extend(c.mixture()?);
        args.extend([self.sums.sums.arg(e)?, self.inner.sums.arg(e)?]);
        let table = e.constant(&wanted)?;
        args.extend(c.tables.args());
        args.extend(c.tables.states());
        args.push(table.arg());
        args.extend([self.sums.chunks, p.slots, self.inner.chunks].map(int));
        args.extend(tiles.args(p));
        args.push(c.eps);
        let of = |s: &i32| &p.arms[*s as usize];
        let units = |s: &i32| of(s).iter().flat_map(|&a| p.edges[a].units.clone());
        let most = wanted.iter().map(|s| units(s).count()).max().unwrap_or(0);
        let around = |u: usize| match halves {
            true => halved(&p.units[u]).1,
            false => reach(&p.units[u]),
        };
        let widest = wanted.iter().flat_map(units).map(around).max().unwrap_or(0);
        let pixels = tiles.pixels() * if halves { 4 } else { 1 };
        let mut launch = launch(p, tiles, BLOCKS, wanted.len());
        launch.shared = self.shared(most, pixels + tiles.around(widest), 0);
        launch.touches = self.touched(&wanted);
        let kernel = match halves {
            true => self.pick(k::NODE_HALVED_X_F32, k::NODE_HALVED_X_BF16),
            false => self.pick(k::NODE_X_F32, k::NODE_X_BF16),
        };
        e.launch(kernel, launch, &args)?;
        for (i, dx) in out.into_iter().enumerate() {
            if dx.is_some() {
                all[i] = dx.map(Grad::Whole);
            }
        }
        Ok(())
    }

    /// What a launch of [`Back::states`] touches, each once: states that have an arm to the same node read its gradient both.
    fn touched(&self, wanted: &[i32]) -> Option<[u64; 2]> {
        let (c, p) = (self.cell, self.cell.p);
        let (mut read, mut written) = (0, 0);
        let (mut nodes, mut maps) = (vec![false; p.nodes.len()], vec![false; p.maps]);
        for &s in wanted {
            let s = s as usize;
            let [active, whole] = c.state(s);
            // The state itself, and the cell's gradient.
            let seen = if p.stride(s) == 2 { whole } else { active };
            read += c.bytes(seen + if s < INPUTS { 0 } else { whole });
            written += c.bytes(whole);
            let edges = || p.arms[s].iter().map(|&a| &p.edges[a]);
            let new = |seen: &mut [bool], i: usize| !std::mem::replace(&mut seen[i], true);
            let gradients = edges().filter(|e| new(&mut nodes, e.node)).count();
            read += c.bytes(gradients * p.n * p.c * p.plane);
            let units = || edges().flat_map(|e| e.units.clone());
            for u in units().map(|u| &p.units[u]) {
                // Of a separable convolution the first map and the gradient behind it.
                let aside = if u.double() { p.values() } else { 0 };
                let taps = u.choice == Choice::Pool(Kind::Max);
                if !u.maps.is_empty() && new(&mut maps, u.maps.start) {
                    read += c.bytes(p.values() + aside) + if taps { p.values() as u64 } else { 0 };
                }
            }
            read += c.weight_bytes(units()) + self.slope_bytes(units().count());
        }
        c.touches(read, written)
    }
}
