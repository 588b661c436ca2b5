//! Architecture parameters: one alpha (and beta) per cell kind, shared by all cells of a group (backbone, det, seg).

use super::candidates::Candidates;
use super::config::SpaceConfig;
use super::derive::{CellLogits, Strengths, derive, derive_with_skip_limit};
use super::genotype::{Genotype, INPUTS, edge_count, nodes_of_edges};
use super::primitive::{PRIMITIVES, Primitive};
use super::random::OneHot;
use crate::error::Result;
use crate::nn::{Builder, Init, ParamId, Pass, Store};
use crate::ops::{self, Stretches};
use crate::tape::{Path, Var};
use crate::tensor::{DType, Tensor};

/// Weight of edges that are not normalised.
const PLAIN: f64 = 1.0;
/// Added to the logit of an operation that is no candidate: its weight is exactly 0 in every float type.
const STRUCK: f64 = -1e30;

/// How a group is searched.
#[derive(Debug, Clone, PartialEq)]
pub struct ArchOptions {
    /// Edge normalisation with betas (PC-DARTS section 3.3).
    pub edge_norm: bool,
    /// Standard deviation of the initial values (1e-3).
    pub init: f64,
    /// Operations of the normal cell's edges.
    pub normal: Candidates,
    /// Operations of the reduction cell's edges.
    pub reduce: Candidates,
}

impl ArchOptions {
    /// Betas as asked, all primitives, the usual initial values.
    pub fn new(nodes: usize, edge_norm: bool) -> ArchOptions {
        let all = Candidates::all(edge_count(nodes));
        ArchOptions {
            edge_norm,
            init: 1e-3,
            normal: all.clone(),
            reduce: all,
        }
    }

    /// As [`ArchOptions::new`], with the candidate operations and initial values of the configuration.
    ///
    /// # Errors
    /// `MT0102` for an unknown or repeated operation, or none besides `none`.
    pub fn configured(space: &SpaceConfig, nodes: usize, edge_norm: bool) -> Result<ArchOptions> {
        let candidates = Candidates::named(edge_count(nodes), &space.primitives)?;
        Ok(ArchOptions {
            edge_norm,
            init: space.alpha_init,
            normal: candidates.clone(),
            reduce: candidates,
        })
    }

    /// The operations of a cell kind.
    pub fn candidates(&self, reduction: bool) -> &Candidates {
        if reduction {
            &self.reduce
        } else {
            &self.normal
        }
    }
}

#[derive(Debug, Clone)]
struct CellParams {
    alpha: ParamId,
    beta: Option<ParamId>,
    candidates: Candidates,
}

/// The architecture parameters of a group of cells.
#[derive(Debug, Clone)]
pub struct ArchGroup {
    name: String,
    normal: CellParams,
    reduce: CellParams,
}

/// Mixing weights of one cell kind on a tape.
#[derive(Debug, Clone)]
pub struct CellMixture {
    /// `(E, 8)`: rows sum to one.
    pub alpha: Var,
    /// `(E)`: the edges of a node sum to one; ones without edge normalisation.
    pub beta: Var,
    /// The operations that take part, E x 8, where most weights are fixed zeros; `None` means all.
    kept: Option<Vec<bool>>,
}

impl CellMixture {
    /// Whether only some operations take part.
    pub fn is_sparse(&self) -> bool {
        self.kept.is_some()
    }

    /// Whether an operation takes part.
    pub fn keeps(&self, edge: usize, op: Primitive) -> bool {
        self.kept
            .as_ref()
            .is_none_or(|k| k[edge * PRIMITIVES + op.index()])
    }

    /// Whether any operation of an edge does.
    pub fn keeps_edge(&self, edge: usize) -> bool {
        Primitive::ALL.iter().any(|&op| self.keeps(edge, op))
    }
}

/// Mixing weights of a group.
#[derive(Debug, Clone)]
pub struct Mixture {
    normal: CellMixture,
    reduce: CellMixture,
}

impl Mixture {
    /// Those of a cell kind.
    pub fn cell(&self, reduction: bool) -> &CellMixture {
        if reduction {
            &self.reduce
        } else {
            &self.normal
        }
    }

    /// Fixed weights, for networks sampled by weight-sharing random search: operations of weight 0 are not computed, and get
    /// no gradient, no decay and no statistics. `dtype` f32 or f64.
    pub fn fixed(p: &Pass, normal: &OneHot, reduce: &OneHot, dtype: DType) -> Mixture {
        let leaf = |w: &OneHot| CellMixture {
            alpha: p
                .tape
                .leaf(values([w.beta.len(), PRIMITIVES], &w.alpha, dtype)),
            beta: p.tape.leaf(values([w.beta.len()], &w.beta, dtype)),
            kept: Some(w.alpha.iter().map(|&a| a != 0.0).collect()),
        };
        Mixture {
            normal: leaf(normal),
            reduce: leaf(reduce),
        }
    }
}

fn values<const R: usize>(shape: [usize; R], values: &[f64], dtype: DType) -> Tensor {
    let t = Tensor::from_f64(shape, values.to_vec()).expect("one value per place");
    t.cast(dtype)
}

impl ArchGroup {
    /// Declares `NAME.alpha_normal` `(E, 8)`, `NAME.beta_normal` `(E)` and the same for `reduce`.
    pub fn new(b: &mut Builder, name: &str, options: &ArchOptions) -> ArchGroup {
        let init = Init::Normal(options.init);
        let mut cell = |kind: &str, candidates: &Candidates| {
            let edges = candidates.edges();
            b.scope(name, |b| CellParams {
                alpha: b.arch(&format!("alpha_{kind}"), [edges, PRIMITIVES], init),
                beta: options
                    .edge_norm
                    .then(|| b.arch(&format!("beta_{kind}"), [edges], init)),
                candidates: candidates.clone(),
            })
        };
        let normal = cell("normal", &options.normal);
        let reduce = cell("reduce", &options.reduce);
        ArchGroup {
            name: name.into(),
            normal,
            reduce,
        }
    }

    /// Its name: the prefix of its parameters.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Intermediate nodes of its cells.
    pub fn nodes(&self) -> usize {
        nodes_of_edges(self.normal.candidates.edges()).expect("edges of a cell")
    }

    /// The mixing weights, softmax of the parameters.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn mixture(&self, p: &Pass) -> Result<Mixture> {
        Ok(ArchGroup::mixtures(&[self], p)?.remove(0))
    }

    /// Those of several groups: on a device all in one launch.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn mixtures(groups: &[&ArchGroup], p: &Pass) -> Result<Vec<Mixture>> {
        let cells = groups.iter().flat_map(|g| [&g.normal, &g.reduce]);
        let mut unmixed = vec![];
        for cell in cells {
            unmixed.push(cell.unmixed(p, true)?);
        }
        let mut weights = softmaxes(p, &unmixed.concat())?.into_iter();
        let mut mixtures = vec![];
        let mut next = || weights.next().expect("weights of each");
        for g in groups {
            mixtures.push(Mixture {
                normal: g.normal.mixture(p, &mut next)?,
                reduce: g.reduce.mixture(p, &mut next)?,
            });
        }
        Ok(mixtures)
    }

    /// The strengths of the operations of the normal and the reduction cell, at the values in `store`.
    ///
    /// # Errors
    /// `MT0602` for values that are not finite.
    pub fn strengths(&self, store: &Store) -> Result<[Strengths; 2]> {
        let (n, r) = (self.normal.values(store), self.reduce.values(store));
        Ok([
            Strengths::new(self.normal.logits(&n))?,
            Strengths::new(self.reduce.logits(&r))?,
        ])
    }

    /// The genotype at the values in `store`; with `skip_limit`, with at most so many skip-connects in the normal cell.
    ///
    /// # Errors
    /// `MT0602` for values that are not finite.
    pub fn genotype(&self, store: &Store, skip_limit: Option<usize>) -> Result<Genotype> {
        let (n, r) = (self.normal.values(store), self.reduce.values(store));
        let (normal, reduce) = (self.normal.logits(&n), self.reduce.logits(&r));
        match skip_limit {
            Some(limit) => derive_with_skip_limit(normal, reduce, limit),
            None => derive(normal, reduce),
        }
    }

    /// Name and values of every parameter, alpha row-major: what a search logs.
    pub fn values(&self, store: &Store) -> Vec<(String, Vec<f64>)> {
        let ids = [&self.normal, &self.reduce]
            .into_iter()
            .flat_map(|c| [Some(c.alpha), c.beta]);
        ids.flatten()
            .map(|id| (store.arch.name(id).to_string(), store.arch.get(id).to_f64()))
            .collect()
    }

    /// The operations that are searched over.
    pub fn candidates(&self, reduction: bool) -> &Candidates {
        &self.cell(reduction).candidates
    }

    /// Whether edges have weights of their own.
    pub fn edge_norm(&self) -> bool {
        self.normal.beta.is_some()
    }

    /// What the probabilities of a cell kind's operations other than `none`, and of its edges where they have weights, are softmaxes of.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn chosen(&self, reduction: bool, p: &Pass) -> Result<Vec<Stretches>> {
        self.cell(reduction).unmixed(p, false)
    }

    fn cell(&self, reduction: bool) -> &CellParams {
        [&self.normal, &self.reduce][usize::from(reduction)]
    }
}

/// The softmax of each: on a device all in one launch.
pub(super) fn softmaxes(p: &Pass, all: &[Stretches]) -> Result<Vec<Var>> {
    match p.tape.cx().path {
        Path::Device(_) => ops::softmaxes(all),
        _ => all.iter().map(softmax).collect(),
    }
}

/// One by one.
fn softmax(s: &Stretches) -> Result<Var> {
    let x = match &s.mask {
        Some(mask) => &ops::add(&s.x, mask)?,
        None => &s.x,
    };
    match x.dims() {
        [_] => ops::edge_softmax(x, &s.sizes),
        _ => ops::softmax(x, 1),
    }
}

struct Values {
    alpha: Vec<f64>,
    beta: Option<Vec<f64>>,
}

impl CellParams {
    fn values(&self, store: &Store) -> Values {
        Values {
            alpha: store.arch.get(self.alpha).to_f64(),
            beta: self.beta.map(|b| store.arch.get(b).to_f64()),
        }
    }

    fn logits<'a>(&'a self, values: &'a Values) -> CellLogits<'a> {
        CellLogits {
            alpha: &values.alpha,
            beta: values.beta.as_deref(),
            candidates: Some(&self.candidates),
        }
    }

    /// What the mixing weights are softmaxes of: alpha, then beta where there is one. Without `none` the operations that a derivation
    /// chooses from are left.
    fn unmixed(&self, p: &Pass, none: bool) -> Result<Vec<Stretches>> {
        let alpha = p.arch(self.alpha);
        let edges = self.candidates.edges();
        let mut mask = None;
        if !none || self.candidates != Candidates::all(edges) {
            let mut all = vec![STRUCK; edges * PRIMITIVES];
            for edge in 0..edges {
                self.candidates
                    .of(edge)
                    .filter(|&op| none || op != Primitive::Zero)
                    .for_each(|op| all[edge * PRIMITIVES + op.index()] = 0.0);
            }
            let all = values([edges, PRIMITIVES], &all, alpha.dtype());
            mask = Some(p.tape.constant(all)?);
        }
        let alpha = Stretches {
            x: alpha,
            mask,
            sizes: vec![PRIMITIVES; edges],
        };
        let beta = self.beta.map(|beta| {
            let nodes = nodes_of_edges(edges).expect("edges of a cell");
            Stretches {
                x: p.arch(beta),
                mask: None,
                sizes: (INPUTS..INPUTS + nodes).collect(),
            }
        });
        Ok([alpha].into_iter().chain(beta).collect())
    }

    /// `next` gives the softmax of each of [`CellParams::unmixed`].
    fn mixture(&self, p: &Pass, next: &mut impl FnMut() -> Var) -> Result<CellMixture> {
        let alpha = next();
        let beta = match self.beta {
            Some(_) => next(),
            None => {
                let edges = [self.candidates.edges()];
                p.tape.constant(Tensor::full(edges, alpha.dtype(), PLAIN))?
            }
        };
        Ok(CellMixture {
            alpha,
            beta,
            kept: None,
        })
    }
}

#[cfg(test)]
#[path = "arch_tests.rs"]
mod tests;
