//! The way back in four or five launches: sums of `dy`; second halves of separable convolutions; gradients of states and of pooled
//! maps; partial sums of the weights' gradients, where weights want one; all parameters' gradients.

use super::{EDGES, MAPS, Node, THREADS, WEIGHTS, weights};
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::error::Result;
use crate::ops::mixed_node::plan::{Plan, Unit};
use crate::ops::mixed_node::{Candidate, MixedNode};
use crate::ops::on_device::{int, list, pick, stored, untouched};
use crate::tape::{Backward, Grad};
use crate::tensor::{DType, Engine, Shape, Tensor};

/// Blocks that fill a large device.
const BLOCKS: usize = 1024;
/// The most blocks that share a sum: one lane or thread adds theirs.
const CHUNKS: usize = 64;
/// Channels of a group, floats of a channel's slope, taps of the largest filter, terms of a block of `node_sums`: as in
/// `kernels/node_back.cuh`.
const GROUP: usize = 16;
const SLOPE: usize = 8;
const TAPS: usize = 25;
const TERMS: usize = 8;
/// Values of a lane's strip on the way back to a map.
const STRIP: usize = 8;

/// Tiles of a map: rows and columns.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    rows: usize,
    columns: usize,
}

impl Tiles {
    /// Of 256 pixels, or twice as many where the map is large enough and `tall`.
    fn new(p: &Plan, tall: bool) -> Tiles {
        let columns = match p.w {
            17.. => 32,
            9..17 => 16,
            _ => 8,
        };
        let rows = THREADS / columns;
        let twice = tall && p.w > 16 && p.h > STRIP;
        Tiles {
            rows: if twice { 2 * rows } else { rows },
            columns,
        }
    }

    fn count(self, p: &Plan) -> usize {
        p.n * p.h.div_ceil(self.rows) * p.w.div_ceil(self.columns)
    }

    /// Values of a tile with the ring that a filter of `reach` pixels to each side reads.
    fn ringed(self, reach: usize) -> usize {
        (self.rows + 2 * reach) * (self.columns + 2 * reach)
    }

    fn args(self, p: &Plan) -> [Arg; 7] {
        [p.n, p.a, p.k, p.h, p.w, self.rows, self.columns].map(int)
    }
}

/// Pixels that the filter of a candidate reaches to each side.
fn reach(u: &Unit) -> usize {
    u.candidate.kernel().map_or(0, |(k, d)| k / 2 * d)
}

/// Values from one filter's weights to the next pair's: those of a half.
fn half_weights(u: &Unit, a: usize) -> usize {
    let (k, _) = u.candidate.kernel().unwrap_or_default();
    a * k * k + a * a
}

/// What the launches have in common.
struct Back<'a> {
    node: &'a Node<'a>,
    b: &'a Backward<'a>,
    dy: Tensor,
    eps: Arg,
    /// Gradients of alpha or beta are wanted; of weights; of states.
    arch: bool,
    weights: bool,
    states: bool,
}

/// Partial sums and how many there are of each.
struct Part {
    sums: Option<Tensor>,
    chunks: usize,
}

impl Part {
    fn none() -> Part {
        Part {
            sums: None,
            chunks: 0,
        }
    }
}

/// The gradients of the operands that need one; `None` where there are no kernels for these operands.
///
/// # Errors
/// Those of the device.
pub fn backward(
    e: Engine,
    op: &MixedNode,
    p: &Plan,
    b: &Backward,
) -> Result<Option<Vec<Option<Grad>>>> {
    let x = (0..b.x.len()).map(|i| b.input(i)).collect();
    let node = match Node::new(e, op, p, x)? {
        Some(node) if b.saved.len() == p.maps + 1 => node,
        _ => return Ok(None),
    };
    if node.empty() {
        let zeros = |(i, &need): (usize, &bool)| {
            let make = || Tensor::zeros_on(e, b.shapes[i], node.x[i].dtype()).map(Grad::Whole);
            need.then(make).transpose()
        };
        let all: Result<Vec<_>> = b.need.iter().enumerate().map(zeros).collect();
        return all.map(Some);
    }
    let convolutions = || p.units.iter().filter(|u| u.candidate.kernel().is_some());
    let back = Back {
        node: &node,
        dy: stored(e, b.dy.clone(), node.dtype)?,
        b,
        eps: Arg::F32(op.eps as f32),
        arch: b.need[p.alpha] || b.need[p.beta],
        weights: convolutions().any(|u| (u.own..u.own + weights(u)).any(|i| b.need[i])),
        states: p.edges.iter().any(|d| b.need[d.x]),
    };
    back.run().map(Some)
}

impl Back<'_> {
    fn run(&self) -> Result<Vec<Option<Grad>>> {
        let part = self.sums()?;
        let (mut g, inner) = self.last(&part)?;
        let mut all: Vec<Option<Grad>> = self.b.need.iter().map(|_| None).collect();
        self.x(&part, &inner, &g, &mut all)?;
        let weights = self.weights(&part, &inner, &g)?;
        g.clear();
        self.gradients(&part, &weights, &mut all)?;
        Ok(all)
    }

    fn pick(&self, f32: Kernel, bf16: Kernel) -> Kernel {
        pick(self.node.dtype, f32, bf16).expect("a node that fits")
    }

    /// One value for each candidate and edge, and one more.
    fn slots(&self) -> usize {
        1 + self.node.p.units.len() + self.node.p.edges.len()
    }

    fn stats(&self) -> Result<Arg> {
        self.b.saved[self.node.p.maps].arg(self.node.e)
    }

    /// The maps before normalisations.
    fn maps(&self) -> Result<Vec<Arg>> {
        let (e, p) = (self.node.e, self.node.p);
        let all: Result<Vec<Arg>> = self.b.saved[..p.maps].iter().map(|t| t.arg(e)).collect();
        Ok(list(&all?, MAPS, self.dy.arg(e)?))
    }

    fn weight_list(&self) -> Result<Vec<Arg>> {
        Ok(list(&self.node.weights()?, WEIGHTS, self.stats()?))
    }

    fn states(&self) -> Result<Vec<Arg>> {
        let all = self.node.sources()?;
        Ok(list(&all, EDGES, all[0]))
    }

    /// What was put aside for some maps, null for the others.
    fn aside(&self, g: &[Option<Tensor>]) -> Result<Vec<Arg>> {
        let none = self.dy.arg(self.node.e)?.null();
        let of = |t: &Option<Tensor>| t.as_ref().map_or(Ok(none), |t| t.arg(self.node.e));
        let all: Result<Vec<Arg>> = g.iter().map(of).collect();
        Ok(list(&all?, MAPS, none))
    }

    fn part(&self, part: &Part) -> Result<Arg> {
        match &part.sums {
            Some(t) => t.arg(self.node.e),
            None => Ok(self.stats()?.null()),
        }
    }

    /// Blocks: (of `tiles`, groups of channels, `of`), no more than `most` of the first.
    fn launch(&self, tiles: Tiles, most: usize, of: usize) -> Launch {
        let p = self.node.p;
        let groups = p.a.div_ceil(GROUP);
        let wanted = BLOCKS.div_ceil(groups * of).min(most);
        let grid = [tiles.count(p).min(wanted), groups, of].map(|v| v as u32);
        Launch::new(grid, [THREADS as u32, 1, 1])
    }

    /// Floats of the slopes of `units` candidates, of a block's weights, and of `of_channel` values of each channel of a group, in bytes.
    fn shared(&self, units: usize, of_channel: usize, more: usize) -> u32 {
        let p = self.node.p;
        let a = p.a;
        let floats = units * a * SLOPE + a * GROUP + TAPS * GROUP + more;
        4 * (floats + a.min(GROUP) * of_channel) as u32
    }

    /// Sums of `dy` and its products, `(chunks, channels, slots)`.
    fn sums(&self) -> Result<Part> {
        let (e, p) = (self.node.e, self.node.p);
        if !self.arch && p.maps == 0 {
            return Ok(Part::none());
        }
        let (channels, terms) = match self.arch {
            true => (p.c, p.units.len() + p.edges.len()),
            false => (p.a, p.units.len()),
        };
        let eights = terms.div_ceil(TERMS);
        let useful = (p.n * p.plane).div_ceil(THREADS * 16 / self.node.dtype.size());
        let wanted = BLOCKS.div_ceil(channels * eights).min(CHUNKS / 2);
        let chunks = useful.min(wanted).max(1);
        let mut sums = Tensor::scratch_on(e, [chunks, p.c, self.slots()], DType::F32)?;
        let bypasses = self.node.bypasses()?;
        let mut args = self.maps()?;
        args.extend(self.states()?);
        args.extend(list(&bypasses, EDGES, bypasses[0]));
        args.extend([self.dy.arg(e)?, self.stats()?, sums.arg_out(e)?]);
        args.extend([self.node.units(), self.node.edges()]);
        args.extend([p.units.len(), p.edges.len(), usize::from(self.arch)].map(int));
        args.extend([p.n, p.a, p.k, p.h, p.w].map(int));
        let grid = [channels, chunks, eights].map(|v| v as u32);
        let launch = Launch::new(grid, [THREADS as u32, 1, 1]);
        let kernel = self.pick(k::NODE_SUMS_F32, k::NODE_SUMS_BF16);
        e.launch(kernel, launch, &args)?;
        Ok(Part {
            sums: Some(sums),
            chunks,
        })
    }

    /// The gradients at inner ReLUs, by map, and the sums of inner normalisations, `(maps, chunks, C/k, 2)`.
    fn last(&self, part: &Part) -> Result<(Vec<Option<Tensor>>, Part)> {
        let (e, p) = (self.node.e, self.node.p);
        let mut g: Vec<Option<Tensor>> = (0..p.maps).map(|_| None).collect();
        let double = |u: &usize| p.units[*u].maps.len() == 2;
        let doubles: Vec<usize> = (0..p.units.len()).filter(double).collect();
        if doubles.is_empty() || !(self.weights || self.states) {
            return Ok((g, Part::none()));
        }
        for &u in &doubles {
            let shape = [p.n, p.a, p.h, p.w];
            g[p.units[u].maps.start] = Some(Tensor::scratch_on(e, shape, self.node.dtype)?);
        }
        let tiles = Tiles::new(p, true);
        let mut launch = self.launch(tiles, CHUNKS, doubles.len());
        let chunks = launch.grid[0] as usize;
        let mut sums = Tensor::scratch_on(e, [p.maps, chunks, p.a, 2], DType::F32)?;
        let none = untouched(self.dy.arg(e)?).null();
        let mut out = vec![];
        for t in &mut g {
            out.push(t.as_mut().map_or(Ok(none), |t| t.arg_out(e))?);
        }
        let mut args = self.maps()?;
        args.extend(self.weight_list()?);
        args.extend(list(&out, MAPS, none));
        args.extend([self.dy.arg(e)?, self.stats()?]);
        args.extend(self.node.mixture()?);
        args.extend([self.part(part)?, sums.arg_out(e)?]);
        let table: Vec<i32> = doubles.iter().map(|&u| u as i32).collect();
        let table = e.constant(&table)?;
        args.extend([self.node.units(), self.node.edges(), table.arg()]);
        args.extend([part.chunks, self.slots()].map(int));
        args.extend(tiles.args(p));
        args.push(self.eps);
        let widest = doubles.iter().map(|&u| reach(&p.units[u])).max();
        launch.shared = self.shared(1, tiles.ringed(widest.unwrap_or(0)), 4 * GROUP);
        let kernel = self.pick(k::NODE_LAST_F32, k::NODE_LAST_BF16);
        e.launch(kernel, launch, &args)?;
        let sums = Some(sums);
        Ok((g, Part { sums, chunks }))
    }

    /// Gradients of states and pooled maps.
    fn x(
        &self,
        part: &Part,
        inner: &Part,
        g: &[Option<Tensor>],
        all: &mut [Option<Grad>],
    ) -> Result<()> {
        let (e, p) = (self.node.e, self.node.p);
        let make = |i: usize, shape: Shape| {
            let make = || Tensor::scratch_on(e, shape, self.node.dtype);
            self.b.need[i].then(make).transpose()
        };
        let rest = Shape::new(&[p.n, p.c - p.a, p.h, p.w]);
        let (mut dx, mut dby, mut dz) = (vec![], vec![], vec![]);
        for d in &p.edges {
            dx.push(make(d.x, self.b.shapes[d.x])?);
            let apart = d.units.is_empty() && p.k > 1;
            dby.push(if apart { make(d.bypass.0, rest)? } else { None });
        }
        for u in &p.units {
            for _ in u.maps.clone() {
                let pooled = u.candidate == Candidate::Pooled;
                let shape = self.b.shapes[u.own];
                dz.push(if pooled { make(u.own, shape)? } else { None });
            }
        }
        if [&dx, &dby, &dz].iter().all(|t| t.iter().all(Option::is_none)) {
            return Ok(());
        }
        let none = untouched(self.dy.arg(e)?).null();
        let out = |t: &mut Vec<Option<Tensor>>, most: usize| -> Result<Vec<Arg>> {
            let of = |t: &mut Option<Tensor>| t.as_mut().map_or(Ok(none), |t| t.arg_out(e));
            let all: Result<Vec<Arg>> = t.iter_mut().map(of).collect();
            Ok(list(&all?, most, none))
        };
        let tiles = Tiles::new(p, true);
        let mut args = self.maps()?;
        args.extend(self.weight_list()?);
        args.extend(self.aside(g)?);
        args.extend(self.states()?);
        args.push(self.dy.arg(e)?);
        args.extend(out(&mut dx, EDGES)?);
        args.extend(out(&mut dby, EDGES)?);
        args.extend(out(&mut dz, MAPS)?);
        args.push(self.stats()?);
        args.extend(self.node.mixture()?);
        args.extend([self.part(part)?, self.part(inner)?]);
        args.extend([self.node.units(), self.node.edges()]);
        args.extend([part.chunks, self.slots(), inner.chunks].map(int));
        args.extend(tiles.args(p));
        args.push(self.eps);
        let units = p.edges.iter().map(|d| d.units.len()).max().unwrap_or(0);
        let widest = p.units.iter().map(reach).max().unwrap_or(0);
        let of_channel = tiles.ringed(0) + tiles.ringed(widest);
        let mut launch = self.launch(tiles, usize::MAX, p.edges.len());
        launch.shared = self.shared(units, of_channel, 0);
        let kernel = self.pick(k::NODE_X_F32, k::NODE_X_BF16);
        e.launch(kernel, launch, &args)?;
        for (d, (dx, dby)) in p.edges.iter().zip(dx.into_iter().zip(dby)) {
            all[d.x] = dx.map(Grad::Whole);
            if let Some(dx) = dby {
                let (t, start) = d.bypass;
                all[t] = Some(match start {
                    0 => Grad::Whole(dx),
                    start => Grad::Channels { start, dx },
                });
            }
        }
        for u in p.units.iter().filter(|u| u.candidate == Candidate::Pooled) {
            all[u.own] = dz[u.maps.start].take().map(Grad::Whole);
        }
        Ok(())
    }

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
    fn weights(&self, part: &Part, inner: &Part, g: &[Option<Tensor>]) -> Result<Part> {
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
        launch.shared = self.shared(1, tiles.ringed(widest), more);
        let kernel = self.pick(k::NODE_WEIGHTS_F32, k::NODE_WEIGHTS_BF16);
        e.launch(kernel, launch, &args)?;
        let sums = Some(sums);
        Ok(Part { sums, chunks })
    }

    /// Gradients of all parameters from their partial sums.
    fn gradients(&self, part: &Part, weights: &Part, all: &mut [Option<Grad>]) -> Result<()> {
        if !self.arch && !self.weights {
            return Ok(());
        }
        let (node, e, p) = (self.node, self.node.e, self.node.p);
        let none = untouched(self.stats()?).null();
        let (table, total) = self.halves();
        let halves = if self.weights { table.len() / 3 } else { 0 };
        let (mut out, mut grads) = (vec![], vec![]);
        for u in &p.units {
            for i in u.own..u.own + super::weights(u) {
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
        args.push(self.part(weights)?);
        args.extend(node.mixture()?);
        args.extend([self.stats()?, self.part(part)?]);
        for t in &mut arch {
            args.push(t.as_mut().map_or(Ok(none), |t| t.arg_out(e))?);
        }
        let table = e.constant(if table.is_empty() { &[0] } else { &table[..] })?;
        args.extend([node.units(), node.edges(), table.arg()]);
        let mixture = [p.alpha, p.beta].map(|i| self.b.shapes[i].numel());
        args.extend([halves, p.units.len(), p.edges.len()].map(int));
        args.extend([mixture[0], mixture[1], part.chunks, self.slots()].map(int));
        args.extend([weights.chunks, total, p.a, p.k].map(int));
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
