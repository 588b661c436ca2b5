//! The mixed operation of an edge: `sum_p softmax(alpha)_p op_p(x)` over its candidates (DARTS section 2.2).

use super::arch::CellMixture;
use super::candidates::Candidates;
use super::operation::{Operation, Site, State};
use super::primitive::{PRIMITIVES, Primitive};
use crate::error::{Code, Error, Result};
use crate::nn::{BatchNorm, Builder, Map, Pass};
use crate::ops;
use crate::tape::{Path, Var};

/// All candidate operations of one edge.
#[derive(Debug)]
pub struct MixedOp {
    edge: usize,
    pub(super) operations: Vec<(Primitive, Box<dyn Operation>)>,
}

impl MixedOp {
    /// Declares the candidates of `edge` as `ops.0` to `ops.7`.
    ///
    /// # Errors
    /// `MT0105` when one does not fit the map, or when they yield different sizes.
    pub fn new(
        b: &mut Builder,
        edge: usize,
        site: Site,
        candidates: &Candidates,
    ) -> Result<(MixedOp, Map)> {
        let mut operations = vec![];
        let mut out: Option<Map> = None;
        for primitive in candidates.of(edge) {
            let name = format!("ops.{}", primitive.index());
            let (op, y) = b.scope(name, |b| primitive.declare(b, site))?;
            if let Some(other) = out.filter(|o| *o != y) {
                let message = format!("`{}`: operations yield {other} and {y} maps", b.here());
                return Err(Error::new(Code::NetworkDoesNotFit, message)
                    .help("use an input whose sides are multiples of the network's stride"));
            }
            out = Some(y);
            operations.push((primitive, op));
        }
        let out = out.expect("an edge has a candidate");
        Ok((MixedOp { edge, operations }, out))
    }

    /// The operations that take part in a dense mixture, each with the index of its weight; `none` adds zeros.
    pub(super) fn dense(&self) -> impl Iterator<Item = (usize, &dyn Operation)> {
        let some = self.operations.iter().filter(|o| o.0 != Primitive::Zero);
        some.map(|(p, op)| (self.edge * PRIMITIVES + p.index(), &**op))
    }

    /// Maps before normalisations that its candidates make of a state: those of convolutions.
    pub(super) fn maps(&self, stride: usize) -> usize {
        let of = |p: Primitive| match p {
            Primitive::SepConv3 | Primitive::SepConv5 => 2,
            Primitive::DilConv3 | Primitive::DilConv5 => 1,
            Primitive::Skip => usize::from(stride > 1),
            Primitive::Zero | Primitive::MaxPool3 | Primitive::AvgPool3 => 0,
        };
        self.operations.iter().map(|o| of(o.0)).sum()
    }

    /// The weighted sum, on the active channels. `none` adds zeros and is left out; its weight acts through the softmax. The
    /// mixture keeps an operation of this edge.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, x: &State, mixture: &CellMixture) -> Result<Var> {
        let (mut ops, mut weights) = (vec![], vec![]);
        for (primitive, op) in &self.operations {
            let zero = *primitive == Primitive::Zero;
            if zero && self.operations.len() > 1 && !mixture.is_sparse() {
                continue;
            }
            if mixture.keeps(self.edge, *primitive) {
                ops.push((*primitive, &**op));
                weights.push(self.edge * PRIMITIVES + primitive.index());
            }
        }
        let inner = normalised(p, &ops, true, |op, _| op.before_inner_norm(p, x))?;
        let last = normalised(p, &ops, false, |op, i| {
            op.before_norm(p, x, inner[i].as_ref())
        })?;
        let mut terms = vec![];
        for ((primitive, op), y) in ops.into_iter().zip(last) {
            let y = y.map_or_else(|| op.forward(p, x), Ok)?;
            terms.push(match primitive {
                Primitive::Skip => drop_skip(p, y)?,
                _ => y,
            });
        }
        let terms: Vec<&Var> = terms.iter().collect();
        ops::weighted_sum(&terms, &mixture.alpha, &weights)
    }
}

/// What `map` gives for each operation, normalised, and rectified where `relu`: on a device, where all together save launches.
fn normalised<'a>(
    p: &Pass,
    ops: &[(Primitive, &'a dyn Operation)],
    relu: bool,
    map: impl Fn(&'a dyn Operation, usize) -> Result<Option<(Var, &'a BatchNorm)>>,
) -> Result<Vec<Option<Var>>> {
    let mut all = vec![None; ops.len()];
    if !matches!(p.tape.cx().path, Path::Device(_)) || !p.mode.training {
        return Ok(all);
    }
    let (mut at, mut maps, mut norms) = (vec![], vec![], vec![]);
    for (i, (_, op)) in ops.iter().enumerate() {
        if let Some((x, norm)) = map(*op, i)? {
            at.push(i);
            maps.push(x);
            norms.push(norm);
        }
    }
    let maps: Vec<&Var> = maps.iter().collect();
    for (i, y) in at
        .into_iter()
        .zip(BatchNorm::forward_all(&norms, p, &maps, relu)?)
    {
        all[i] = Some(y);
    }
    Ok(all)
}

/// Dropout after a skip-connect, which P-DARTS lets decay over a stage.
fn drop_skip(p: &Pass, y: Var) -> Result<Var> {
    if !p.mode.training || p.mode.skip_dropout == 0.0 {
        return Ok(y);
    }
    let [seed, path @ ..] = p.stream();
    let drop = ops::Dropout {
        p: p.mode.skip_dropout,
        seed,
        path: path.to_vec(),
    };
    match p.draw()? {
        Some(draw) => ops::dropout_drawn(&y, drop, &draw),
        None => ops::dropout(&y, drop),
    }
}
