//! The launch that gives the gradients of the states of edges that halve the map.

use super::super::EDGES;
use super::tiles::{Tiles, halved};
use super::{Back, Part};
use crate::backend::driver as k;
use crate::error::Result;
use crate::ops::on_device::{int, list, untouched};
use crate::tape::Grad;
use crate::tensor::Tensor;

impl Back<'_> {
    /// Gradients of the states of edges that halve the map: of the channels that go through candidates.
    pub(super) fn halved_x(
        &self,
        part: &Part,
        inner: &Part,
        g: &[Option<Tensor>],
        all: &mut [Option<Grad>],
    ) -> Result<()> {
        let (e, p) = (self.node.e, self.node.p);
        let (mut dx, mut wanted) = (vec![], vec![]);
        for (edge, d) in p.edges.iter().enumerate() {
            let reached = d.stride > 1 && self.b.need[d.x];
            let shape = [p.n, p.reached(d), p.h * d.stride, p.w * d.stride];
            let make = || Tensor::scratch_on(e, shape, self.node.dtype);
            dx.push(reached.then(make).transpose()?);
            if reached {
                wanted.push(edge);
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let none = untouched(self.dy.arg(e)?).null();
        let out = |t: &mut Option<Tensor>| t.as_mut().map_or(Ok(none), |t| t.arg_out(e));
        let out: Result<Vec<_>> = dx.iter_mut().map(out).collect();
        let tiles = Tiles::new(p, false);
        let mut args = self.maps()?;
        args.extend(self.weight_list()?);
        args.extend(self.aside(g)?);
        args.extend(self.states()?);
        args.push(self.dy.arg(e)?);
        args.extend(list(&out?, EDGES, none));
        args.push(self.stats()?);
        args.extend(self.node.mixture()?);
        args.extend([self.part(part)?, self.part(inner)?]);
        let table: Vec<i32> = wanted.iter().map(|&i| i as i32).collect();
        let table = e.constant(&table)?;
        args.extend([self.node.units(), self.node.edges(), table.arg()]);
        args.extend([part.chunks, self.slots(), inner.chunks].map(int));
        args.extend(tiles.args(p));
        args.push(self.eps);
        let edges = || wanted.iter().map(|&i| &p.edges[i].units);
        let units = edges().map(|of| of.len()).max().unwrap_or(0);
        let rings = edges().flat_map(|of| &p.units[of.clone()]);
        let ring = rings.map(|u| halved(u).1).max().unwrap_or(0);
        let mut launch = self.launch(tiles, usize::MAX, wanted.len());
        launch.shared = self.shared(units, 4 * tiles.pixels() + tiles.around(ring), 0);
        let kernel = self.pick(k::NODE_HALVED_X_F32, k::NODE_HALVED_X_BF16);
        e.launch(kernel, launch, &args)?;
        for (d, dx) in p.edges.iter().zip(dx) {
            let Some(dx) = dx else { continue };
            all[d.x] = Some(match p.reached(d) == d.channels {
                true => Grad::Whole(dx),
                false => Grad::Channels { start: 0, dx },
            });
        }
        Ok(())
    }
}
