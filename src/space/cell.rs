//! A cell: two preprocessed inputs, a searched or derived body, its nodes concatenated (DARTS section 2.1).

use super::arch::{ArchOptions, Mixture};
use super::derived_cell::{DerivedBody, DropPath};
use super::genotype::Genotype;
use super::operation::{FactorizedReduce, Norms, Operation, ReluConvBn, State};
use super::search_cell::{Nodes, SearchBody};
use crate::error::{Code, Error, Result};
use crate::nn::{BatchNorm, Builder, Conv2d, Map, Pass};
use crate::ops::{self, Convolved};
use crate::tape::{Path, Var};
use crate::tensor::{DType, Shape};

/// What the cells of a group are made of.
#[derive(Debug, Clone, PartialEq)]
pub enum CellKind {
    /// Mixed operations.
    Search {
        /// One k-th of the channels takes part.
        partial_k: usize,
        /// Candidates and edge normalisation.
        options: ArchOptions,
    },
    /// The operations of a genotype.
    Derived(Genotype),
}

impl CellKind {
    fn norms(&self) -> Norms {
        match self {
            CellKind::Search { .. } => Norms::Search,
            CellKind::Derived(_) => Norms::Derived,
        }
    }

    /// How many nodes a cell concatenates: its output has so many times its width.
    pub fn multiplier(&self, reduction: bool) -> usize {
        match self {
            CellKind::Search { options, .. } => {
                let edges = options.candidates(reduction).edges();
                super::genotype::nodes_of_edges(edges).expect("edges of a cell")
            }
            CellKind::Derived(g) => g.concat(reduction).len(),
        }
    }
}

/// Where a cell stands.
#[derive(Debug, Clone, Copy)]
pub struct CellSite {
    /// Output of the cell before the previous one: the size of `s1` or twice that.
    pub s0: Map,
    /// Output of the previous cell.
    pub s1: Map,
    /// Channels of each node.
    pub width: usize,
    /// Halves the map.
    pub reduction: bool,
    /// How inputs are brought to the width.
    pub preprocess: Preprocess,
    /// Whether drop path acts in it.
    pub drop_path: DropPath,
}

/// How a cell brings its inputs to its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preprocess {
    /// 1x1 convolutions.
    Pointwise,
    /// 3x3 convolutions without padding, so that the map loses two rows and columns (later detection cells, section 3.5).
    Unpadded3x3,
}

#[derive(Debug)]
enum Body {
    Search(SearchBody),
    Derived(DerivedBody),
}

/// A cell of a network.
#[derive(Debug)]
pub struct Cell {
    preprocess0: Vec<Box<dyn Operation>>,
    preprocess1: ReluConvBn,
    body: Body,
    reduction: bool,
    width: usize,
}

impl Cell {
    /// Declares a cell; returns it with its output. The first input is halved by a factorised reduction where it is twice as
    /// large as the second.
    ///
    /// # Errors
    /// `MT0105`, naming the layer, when something does not fit.
    pub fn new(b: &mut Builder, site: CellSite, kind: &CellKind) -> Result<(Cell, Map)> {
        let CellSite {
            s0,
            s1,
            width,
            reduction,
            ..
        } = site;
        let norms = kind.norms();
        let k = match site.preprocess {
            Preprocess::Pointwise => 1,
            Preprocess::Unpadded3x3 => 3,
        };
        let (preprocess0, x0) =
            b.scope("preprocess0", |b| preprocess(b, s0, s1, width, k, norms))?;
        let (preprocess1, x1) =
            b.scope("preprocess1", |b| ReluConvBn::new(b, s1, width, k, norms))?;
        if x0 != x1 {
            let message = format!("`{}`: its inputs are {s0} and {s1} maps", b.here());
            return Err(Error::new(Code::NetworkDoesNotFit, message)
                .help("use an input whose sides are multiples of the network's stride"));
        }
        let (body, node, nodes) = match kind {
            CellKind::Search { partial_k, options } => {
                let candidates = options.candidates(reduction);
                let (body, node) = SearchBody::new(b, x1, reduction, *partial_k, candidates)?;
                (Body::Search(body), node, kind.multiplier(reduction))
            }
            CellKind::Derived(g) => {
                let (cell, concat) = (g.cell(reduction), g.concat(reduction));
                let (body, node) =
                    DerivedBody::new(b, x1, reduction, cell, concat, site.drop_path)?;
                (Body::Derived(body), node, concat.len())
            }
        };
        let cell = Cell {
            preprocess0,
            preprocess1,
            body,
            reduction,
            width,
        };
        Ok((cell, node.channels(nodes * width)))
    }

    /// The cell's output. `mixture` holds the weights of a search cell and is not read by a derived one.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(
        &self,
        p: &Pass,
        s0: &State,
        s1: &State,
        mixture: Option<&Mixture>,
    ) -> Result<Var> {
        self.nodes(p, s0, s1, mixture)?.concat()
    }

    /// The nodes of the cell's output.
    fn nodes(&self, p: &Pass, s0: &State, s1: &State, mixture: Option<&Mixture>) -> Result<Nodes> {
        let [x0, x1] = self.inputs(p, s0, s1)?;
        match &self.body {
            Body::Search(body) => {
                let mixture = mixture.expect("a search cell is given its mixture");
                body.forward(p, [x0, x1], mixture.cell(self.reduction))
            }
            Body::Derived(body) => Ok(Nodes::Apart(body.forward(p, [x0, x1])?)),
        }
    }
}

impl Cell {
    /// Both inputs at the cell's width; their normalisations are one operation where that saves launches.
    fn inputs(&self, p: &Pass, s0: &State, s1: &State) -> Result<[Var; 2]> {
        let (last, before) = self.preprocess0.split_last().expect("an operation");
        let mut inner: Option<State> = None;
        for op in before {
            inner = Some(State::new(op.forward(p, inner.as_ref().unwrap_or(s0))?));
        }
        let s0 = inner.as_ref().unwrap_or(s0);
        if let Some(both) = self.joined(p, last.as_ref(), s0, s1)? {
            return Ok(both);
        }
        if let Some(both) = self.rectified(p, last.as_ref(), s0, s1)? {
            return Ok(both);
        }
        if let (Some((x0, norm0)), Some((x1, norm1))) = (
            last.before_norm(p, s0, None)?,
            self.preprocess1.before_norm(p, s1, None)?,
        ) {
            let all = BatchNorm::forward_all(&[norm0, norm1], p, &[&x0, &x1], false)?;
            return Ok(all.try_into().expect("two results"));
        }
        Ok([last.forward(p, s0)?, self.preprocess1.forward(p, s1)?])
    }

    /// [`Cell::inputs`] where both are convolutions of any window, as one operation on a device.
    fn rectified(
        &self,
        p: &Pass,
        last: &dyn Operation,
        s0: &State,
        s1: &State,
    ) -> Result<Option<[Var; 2]>> {
        let (Some((conv0, norm0)), Some((conv1, norm1))) =
            (last.rectified(), self.preprocess1.rectified())
        else {
            return Ok(None);
        };
        let (Some(x0), Some(x1)) = (s0.unrectified()?, s1.unrectified()?) else {
            return Ok(None);
        };
        if x0.dtype() != x1.dtype() {
            return Ok(None);
        }
        let both = Conv2d::forward_rectified(&[conv0, conv1], p, &[x0, x1])?;
        let both: Vec<&Var> = both.iter().collect();
        let all = BatchNorm::forward_all(&[norm0, norm1], p, &both, false)?;
        Ok(Some(all.try_into().expect("two results")))
    }

    /// [`Cell::inputs`] where all their convolutions are 1x1, as one operation on a device.
    fn joined(
        &self,
        p: &Pass,
        last: &dyn Operation,
        s0: &State,
        s1: &State,
    ) -> Result<Option<[Var; 2]>> {
        let (Some((convs0, norm0)), Some((convs1, norm1))) =
            (last.pointwise(), self.preprocess1.pointwise())
        else {
            return Ok(None);
        };
        if !matches!(p.tape.cx().path, Path::Device(_)) {
            return Ok(None);
        }
        let (x0, x1) = (s0.value()?.clone(), s1.value()?.clone());
        if x0.dtype() != x1.dtype() || !matches!(x1.dtype(), DType::F32 | DType::Bf16) {
            return Ok(None);
        }
        let convolved = |x: Var, convs: Vec<&Conv2d>| {
            let d = x1.dims();
            let y = Shape::new(&[d[0], self.width / convs.len(), d[2], d[3]]);
            let w = convs.iter().map(|c| c.within(p, &y)).collect();
            Convolved { x, w }
        };
        let both = [convolved(x0, convs0), convolved(x1.clone(), convs1)];
        let norms = [norm0, norm1];
        let all = match BatchNorm::together(&norms, p) {
            Some(eps) => {
                let (all, stats) = ops::normalised_pointwise(&both, eps)?;
                for (norm, stats) in norms.iter().zip(stats) {
                    norm.note(p, stats);
                }
                all
            }
            None => {
                let both = ops::pointwise_many(&both)?;
                BatchNorm::forward_all(&norms, p, &both.iter().collect::<Vec<_>>(), false)?
            }
        };
        Ok(Some(all.try_into().expect("two results")))
    }
}

fn preprocess(
    b: &mut Builder,
    x: Map,
    other: Map,
    width: usize,
    k: usize,
    norms: Norms,
) -> Result<(Vec<Box<dyn Operation>>, Map)> {
    let halve = x.h == 2 * other.h && x.w == 2 * other.w;
    if !halve {
        let (op, y) = ReluConvBn::new(b, x, width, k, norms)?;
        return Ok((vec![Box::new(op)], y));
    }
    if k == 1 {
        let (op, y) = FactorizedReduce::new(b, x, width, norms)?;
        return Ok((vec![Box::new(op)], y));
    }
    let (first, y) = b.scope("0", |b| FactorizedReduce::new(b, x, width, norms))?;
    let (second, y) = b.scope("1", |b| ReluConvBn::new(b, y, width, k, norms))?;
    Ok((vec![Box::new(first), Box::new(second)], y))
}
