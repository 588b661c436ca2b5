//! The launches that give gradients of maps.

use super::super::{EDGES, MAPS};
use super::tiles::{Tiles, reach};
use super::{Back, CHUNKS, GROUP, Part};
use crate::backend::driver::{self as k, Arg};
use crate::error::Result;
use crate::ops::mixed_node::Candidate;
use crate::ops::on_device::{int, list, untouched};
use crate::tape::Grad;
use crate::tensor::{DType, Shape, Tensor};

impl Back<'_> {
    /// The gradients at inner ReLUs, by map, and the sums of inner normalisations, `(maps, chunks, C/k, 2)`.
    pub(super) fn last(&self, part: &Part) -> Result<(Vec<Option<Tensor>>, Part)> {
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
        launch.shared = self.shared(1, tiles.around(widest.unwrap_or(0)), 4 * GROUP);
        let kernel = self.pick(k::NODE_LAST_F32, k::NODE_LAST_BF16);
        e.launch(kernel, launch, &args)?;
        let sums = Some(sums);
        Ok((g, Part { sums, chunks }))
    }

    /// Gradients of states that are of the node's size, of what bypasses and of pooled maps.
    pub(super) fn x(
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
            let halves = d.stride > 1;
            let of_state = || make(d.x, self.b.shapes[d.x]);
            dx.push(if halves { None } else { of_state()? });
            let apart = (d.units.is_empty() || halves) && p.k > 1;
            dby.push(if apart { make(d.bypass.0, rest)? } else { None });
        }
        for u in &p.units {
            for _ in u.maps.clone() {
                let pooled = u.candidate == Candidate::Pooled;
                let shape = self.b.shapes[u.own];
                dz.push(if pooled { make(u.own, shape)? } else { None });
            }
        }
        if [&dx, &dby, &dz]
            .iter()
            .all(|t| t.iter().all(Option::is_none))
        {
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
        let whole = p.units.iter().filter(|u| p.edges[u.edge].stride == 1);
        let widest = whole.map(reach).max().unwrap_or(0);
        let of_channel = tiles.pixels() + tiles.around(widest);
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
}
