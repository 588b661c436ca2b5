//! Architecture parameters over time, as probabilities, and what follows from them: entropy, shares, changes.

use super::cell::source_name;
use super::records::{AlphaRecord, CellKind};
use crate::space::genotype::{INPUTS, edge_range, nodes_of_edges};
use crate::space::{Genotype, PRIMITIVES, Primitive};

/// Snapshots of one cell kind that are shown; more are thinned evenly, first and last kept.
pub const SHOWN: usize = 48;

/// The architecture parameters of one cell kind at one step, as probabilities.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Architecture steps done.
    pub step: u64,
    /// Softmax over the primitives, one row an edge.
    pub p: Vec<Vec<f64>>,
    /// Softmax of beta over the edges of a node; empty without edge normalisation.
    pub beta: Vec<f64>,
    /// Column of the primitive that the derived cell keeps on each edge.
    pub kept: Vec<Option<usize>>,
}

impl Snapshot {
    /// Column and probability of the strongest primitive of an edge, `none` aside; of equals the first.
    pub fn strongest(&self, edge: usize) -> (usize, f64) {
        let weight = |c: usize| {
            Some(self.p[edge][c])
                .filter(|p| p.is_finite())
                .unwrap_or(0.0)
        };
        let columns = (0..PRIMITIVES).filter(|&c| Primitive::ALL[c] != Primitive::Zero);
        let best = columns
            .rev()
            .max_by(|a, b| weight(*a).total_cmp(&weight(*b)))
            .unwrap_or(0);
        (best, weight(best))
    }
}

/// The records of one stage, set and cell kind, in order.
#[derive(Debug, Clone)]
pub struct History {
    /// Normal or reduction cell.
    pub kind: CellKind,
    /// All snapshots, by step.
    pub all: Vec<Snapshot>,
    /// Steps at which the derived cell of this kind changed.
    pub changes: Vec<u64>,
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let e: Vec<f64> = row.iter().map(|v| (v - top).exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|v| v / sum).collect()
}

/// The node at which an edge ends.
pub fn node_of(edge: usize) -> usize {
    (0..)
        .find(|&n| edge_range(n).contains(&edge))
        .expect("edge ranges of the nodes follow each other")
}

/// Name of an edge: source, arrow, node.
pub fn edge_name(edge: usize) -> String {
    let node = node_of(edge);
    format!(
        "{} \u{2192} {node}",
        source_name(edge - edge_range(node).start)
    )
}

/// The name of a column.
pub fn primitive_name(column: usize) -> &'static str {
    Primitive::ALL[column].name()
}

impl History {
    /// Gathers the records of one kind, which have the shape of a cell; none if there are none.
    pub fn new<'a>(
        kind: CellKind,
        records: impl Iterator<Item = &'a AlphaRecord>,
    ) -> Option<History> {
        let mut all: Vec<Snapshot> = Vec::new();
        let mut changes = Vec::new();
        for r in records.filter(|r| r.kind == kind) {
            let edges = r.alpha.len();
            let Some(nodes) = nodes_of_edges(edges) else {
                continue;
            };
            if r.alpha.iter().any(|row| row.len() != PRIMITIVES)
                || all.first().is_some_and(|s| s.p.len() != edges)
            {
                continue;
            }
            let mut kept = vec![None; edges];
            if let Ok(g) = r.genotype.parse::<Genotype>() {
                for (slot, (op, from)) in g.cell(kind == CellKind::Reduce).iter().enumerate() {
                    if slot / 2 < nodes && *from < slot / 2 + INPUTS {
                        kept[edge_range(slot / 2).start + from] = Some(op.index());
                    }
                }
            }
            if all.last().is_some_and(|s| s.kept != kept) {
                changes.push(r.step);
            }
            let mut beta = Vec::new();
            if r.beta.len() == edges {
                for node in 0..nodes {
                    beta.extend(softmax(&r.beta[edge_range(node)]));
                }
            }
            all.push(Snapshot {
                step: r.step,
                p: r.alpha.iter().map(|row| softmax(row)).collect(),
                beta,
                kept,
            });
        }
        (!all.is_empty()).then_some(History { kind, all, changes })
    }

    /// Edges of the cell.
    pub fn edges(&self) -> usize {
        self.all[0].p.len()
    }

    /// Nodes of the cell.
    pub fn nodes(&self) -> usize {
        node_of(self.edges() - 1) + 1
    }

    /// Indices of the snapshots that are shown.
    pub fn shown(&self) -> Vec<usize> {
        let n = self.all.len();
        if n <= SHOWN {
            return (0..n).collect();
        }
        (0..SHOWN).map(|i| i * (n - 1) / (SHOWN - 1)).collect()
    }

    /// The largest probability of all snapshots, at least 0.25: where the colour scale ends.
    pub fn top(&self) -> f64 {
        self.all
            .iter()
            .flat_map(|s| s.p.iter().flatten())
            .copied()
            .filter(|v| v.is_finite())
            .fold(0.25, f64::max)
    }

    /// Mean entropy of the rows in nats, by step.
    pub fn entropy(&self) -> Vec<(f64, f64)> {
        let row =
            |p: &Vec<f64>| -> f64 { p.iter().filter(|v| **v > 0.0).map(|v| -v * v.ln()).sum() };
        self.all
            .iter()
            .map(|s| {
                (
                    s.step as f64,
                    s.p.iter().map(row).sum::<f64>() / s.p.len() as f64,
                )
            })
            .collect()
    }

    /// Share of the kept operations that are one of `names`, by step.
    pub fn share(&self, names: &[&str]) -> Vec<(f64, f64)> {
        let of = |s: &Snapshot| {
            let kept: Vec<usize> = s.kept.iter().flatten().copied().collect();
            let hits = kept
                .iter()
                .filter(|k| names.contains(&primitive_name(**k)))
                .count();
            (
                s.step as f64,
                if kept.is_empty() {
                    f64::NAN
                } else {
                    hits as f64 / kept.len() as f64
                },
            )
        };
        self.all.iter().map(of).collect()
    }

    /// Whether the parameters never moved: a cell that no forward pass of the stage used.
    pub fn still(&self) -> bool {
        self.all.len() > 1 && self.all.iter().all(|s| s.p == self.all[0].p)
    }

    /// The table behind the figures.
    pub fn csv(&self) -> String {
        let mut out = format!(
            "step,cell,edge,from,node,{},edge_weight,kept\n",
            (0..PRIMITIVES)
                .map(primitive_name)
                .collect::<Vec<_>>()
                .join(",")
        );
        for i in self.shown() {
            let s = &self.all[i];
            for (e, row) in s.p.iter().enumerate() {
                let node = node_of(e);
                let p: Vec<String> = row.iter().map(|v| format!("{v:.5}")).collect();
                let beta = s.beta.get(e).map_or(String::new(), |b| format!("{b:.5}"));
                let kept = s.kept[e].map_or("", primitive_name);
                out += &format!(
                    "{},{},{e},{},{node},{},{beta},{kept}\n",
                    s.step,
                    self.kind.name(),
                    e - edge_range(node).start,
                    p.join(",")
                );
            }
        }
        out
    }

    /// The table behind the strip.
    pub fn strip_csv(&self) -> String {
        let mut out = String::from("step,cell,edge,strongest,probability,kept\n");
        for i in self.shown() {
            let s = &self.all[i];
            for e in 0..s.p.len() {
                let (best, v) = s.strongest(e);
                let kept = s.kept[e].map_or("", primitive_name);
                out += &format!(
                    "{},{},{e},{},{v:.5},{kept}\n",
                    s.step,
                    self.kind.name(),
                    primitive_name(best)
                );
            }
        }
        out
    }

    /// What the slider needs: steps, and per step the rows in thousandths, the edge weights and the kept columns.
    pub fn json(&self) -> String {
        let thousandths = |v: f64| (v * 1000.0).round() as i64;
        let rows: Vec<_> = self.shown().iter().map(|&i| &self.all[i]).collect();
        let steps: Vec<u64> = rows.iter().map(|s| s.step).collect();
        let p: Vec<Vec<i64>> = rows
            .iter()
            .map(|s| s.p.iter().flatten().map(|v| thousandths(*v)).collect())
            .collect();
        let b: Vec<Vec<i64>> = rows
            .iter()
            .map(|s| s.beta.iter().map(|v| thousandths(*v)).collect())
            .collect();
        let k: Vec<Vec<i64>> = rows
            .iter()
            .map(|s| s.kept.iter().map(|k| k.map_or(-1, |k| k as i64)).collect())
            .collect();
        serde_json::json!({ "steps": steps, "p": p, "b": b, "k": k, "top": thousandths(self.top()) }).to_string()
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
