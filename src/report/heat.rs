//! Architecture parameters over time: heat maps of edges by primitives, and a strip of the strongest primitive.

use super::cell::{self, source_name};
use super::records::{AlphaRecord, CellKind};
use super::svg::{Svg, short, ticks, xy};
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
fn node_of(edge: usize) -> usize {
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
    fn edges(&self) -> usize {
        self.all[0].p.len()
    }

    /// Nodes of the cell.
    fn nodes(&self) -> usize {
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

    /// The last snapshot as a heat map with numbers; the page's slider rewrites its cells.
    pub fn map(&self, label: &str) -> String {
        const ROW: f64 = 21.0;
        const COLUMN: f64 = 43.0;
        let (left, top) = (64.0, 66.0);
        let s = &self.all[self.all.len() - 1];
        let scale = self.top();
        let columns = PRIMITIVES;
        let mut svg = Svg::new();
        for c in 0..columns {
            let x = left + (c as f64 + 0.5) * COLUMN;
            svg.element(
                "text",
                &[
                    ("class", &"ax start"),
                    (
                        "transform",
                        &format!("translate({} {}) rotate(-38)", xy(x - 8.0), xy(top - 6.0)),
                    ),
                ],
                Some(cell::label(Primitive::ALL[c])),
            );
        }
        let beta_x = left + columns as f64 * COLUMN + 10.0;
        if !s.beta.is_empty() {
            svg.element(
                "text",
                &[
                    ("class", &"ax start"),
                    (
                        "transform",
                        &format!(
                            "translate({} {}) rotate(-38)",
                            xy(beta_x + 12.0),
                            xy(top - 6.0)
                        ),
                    ),
                ],
                Some("edge weight"),
            );
        }
        for (e, row) in s.p.iter().enumerate() {
            let node = node_of(e);
            let y = top + e as f64 * ROW + node as f64 * 5.0;
            svg.text(left - 8.0, y + 15.0, "ax end", &edge_name(e));
            for (c, &v) in row.iter().enumerate() {
                let kept = s.kept[e] == Some(c);
                value_cell(
                    &mut svg,
                    [left + c as f64 * COLUMN, y, COLUMN - 2.0, ROW - 2.0],
                    v,
                    scale,
                    kept,
                    "hc",
                );
            }
            if let Some(&b) = s.beta.get(e) {
                value_cell(
                    &mut svg,
                    [beta_x, y, COLUMN - 2.0, ROW - 2.0],
                    b,
                    1.0,
                    false,
                    "hb",
                );
            }
        }
        let width = beta_x
            + if s.beta.is_empty() {
                0.0
            } else {
                COLUMN + 26.0
            };
        let height = top + self.edges() as f64 * ROW + self.nodes() as f64 * 5.0 + 4.0;
        svg.finish(
            width,
            height,
            "heat",
            label,
            &[("data-kind", &self.kind.name())],
        )
    }

    /// A snapshot without numbers, small.
    pub fn small(&self, index: usize, label: &str) -> String {
        let s = &self.all[index];
        let (w, h) = (9.0, 7.0);
        let scale = self.top();
        let mut svg = Svg::new();
        for (e, row) in s.p.iter().enumerate() {
            let node = node_of(e);
            let y = e as f64 * h + node as f64 * 2.0;
            for (c, &v) in row.iter().enumerate() {
                let class = if s.kept[e] == Some(c) {
                    "cellbox kept"
                } else {
                    "cellbox"
                };
                svg.rect(
                    [c as f64 * w + 0.75, y + 0.75, w - 1.5, h - 1.5],
                    class,
                    &[("fill-opacity", &opacity(v / scale))],
                );
            }
        }
        svg.finish(
            PRIMITIVES as f64 * w,
            self.edges() as f64 * h + self.nodes() as f64 * 2.0,
            "heat small",
            label,
            &[],
        )
    }

    /// The strongest primitive (never `none`) of every edge over the steps; the fuller the colour, the surer.
    pub fn strip(&self, label: &str) -> String {
        let (left, right, top, row, width) = (58.0, 10.0, 16.0, 13.0, 520.0);
        let shown = self.shown();
        let (first, last) = (
            self.all[0].step as f64,
            self.all[self.all.len() - 1].step as f64,
        );
        let span = (last - first).max(1.0);
        let px = |step: f64| left + (step - first) / span * (width - left - right);
        let bottom = top + self.edges() as f64 * row + self.nodes() as f64 * 4.0;
        let mut svg = Svg::new();
        for e in 0..self.edges() {
            let node = node_of(e);
            let y = top + e as f64 * row + node as f64 * 4.0;
            svg.text(left - 6.0, y + 10.0, "ax end tiny", &edge_name(e));
            for (i, &index) in shown.iter().enumerate() {
                let s = &self.all[index];
                let x0 = px(s.step as f64);
                let x1 = shown
                    .get(i + 1)
                    .map_or(width - right, |&n| px(self.all[n].step as f64));
                let x0 = if shown.len() == 1 { left } else { x0 };
                let weight = |c: &usize| {
                    if s.p[e][*c].is_finite() {
                        s.p[e][*c]
                    } else {
                        0.0
                    }
                };
                let columns = (0..PRIMITIVES).filter(|&c| Primitive::ALL[c] != Primitive::Zero);
                let best = columns
                    .rev()
                    .max_by(|a, b| weight(a).total_cmp(&weight(b)))
                    .unwrap_or(0);
                let v = weight(&best);
                let kept = if s.kept[e].is_some() {
                    "kept in the derived cell"
                } else {
                    "not kept"
                };
                let tip = format!(
                    "{}, step {}\n{} {v:.3}\n{kept}",
                    edge_name(e),
                    s.step,
                    primitive_name(best)
                );
                let class = format!(
                    "strip p-{}{}",
                    primitive_name(best),
                    if s.kept[e].is_some() { " kept" } else { "" }
                );
                let even = 1.0 / PRIMITIVES as f64;
                let sure = 0.25 + 0.75 * ((v - even) / (self.top() - even)).clamp(0.0, 1.0).sqrt();
                let h = if s.kept[e].is_some() {
                    row - 2.0
                } else {
                    row - 8.0
                };
                svg.rect(
                    [x0, y + (row - 2.0 - h) / 2.0, (x1 - x0).max(0.5) + 0.3, h],
                    &class,
                    &[("fill-opacity", &opacity(sure)), ("data-tip", &tip)],
                );
            }
        }
        for step in &self.changes {
            let x = px(*step as f64);
            svg.path(
                &format!("M{} {}l-3.5 -6h7z", xy(x), top - 2.0),
                "markhead",
                &[(
                    "data-tip",
                    &format!("step {step}: the derived cell changed"),
                )],
            );
        }
        for t in ticks(first, last, 5) {
            let x = px(t);
            svg.line([x, bottom, x, bottom + 4.0], "axis");
            svg.text(
                x.min(width - right),
                bottom + 17.0,
                if x > width - right - 12.0 {
                    "ax end"
                } else {
                    "ax middle"
                },
                &short(t),
            );
        }
        svg.text(
            (left + width - right) / 2.0,
            bottom + 33.0,
            "ax middle title",
            "step",
        );
        svg.finish(width, bottom + 38.0, "chart stripes", label, &[])
    }
}

fn opacity(v: f64) -> String {
    format!(
        "{:.2}",
        if v.is_finite() {
            v.clamp(0.0, 1.0)
        } else {
            0.0
        }
    )
}

fn value_cell(svg: &mut Svg, place: [f64; 4], v: f64, scale: f64, kept: bool, class: &str) {
    let part = if v.is_finite() {
        (v / scale).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let ink = if part > 0.55 { " ink" } else { "" };
    svg.open(&[(
        "class",
        &format!("{class}{}{ink}", if kept { " kept" } else { "" }),
    )]);
    svg.rect(
        place,
        "cellbox",
        &[("fill-opacity", &opacity(part)), ("rx", &2)],
    );
    svg.text(
        place[0] + place[2] / 2.0,
        place[1] + 14.0,
        "value middle",
        &hundredths(v),
    );
    svg.close();
}

/// `.07` for 0.07.
fn hundredths(v: f64) -> String {
    let text = format!("{v:.2}");
    text.strip_prefix('0').map_or(text.clone(), String::from)
}

#[cfg(test)]
mod tests {
    use super::super::fabricate;
    use super::super::records::{AlphaRecord, read_lines};
    use super::*;
    use crate::space::EDGES;

    fn record(step: u64, value: f64) -> AlphaRecord {
        let mut alpha = vec![vec![0.0; 8]; EDGES];
        alpha[3][4] = value;
        let genotype = crate::space::published::by_name("DARTS_V2")
            .unwrap()
            .to_string();
        AlphaRecord {
            stage: "4-backbone".into(),
            step,
            set: super::super::records::AlphaSet::Backbone,
            kind: CellKind::Normal,
            alpha,
            beta: vec![],
            genotype,
        }
    }

    #[test]
    fn probabilities_and_entropy() {
        let list = [record(1, 0.0), record(2, 0.0)];
        let h = History::new(CellKind::Normal, list.iter()).unwrap();
        assert!((h.entropy()[0].1 - 8f64.ln()).abs() < 1e-12 && h.still() && h.changes.is_empty());
        let list = [record(1, 0.0), record(2, 3.0)];
        let h = History::new(CellKind::Normal, list.iter()).unwrap();
        let p = 3f64.exp() / (3f64.exp() + 7.0);
        assert!((h.all[1].p[3][4] - p).abs() < 1e-12 && !h.still() && (h.top() - p).abs() < 1e-12);
        assert!(History::new(CellKind::Reduce, list.iter()).is_none());
        // DARTS_V2's normal cell: sep_conv_3x3 on both edges of node 0, one skip of node 3's two edges from input 0.
        assert_eq!(h.all[0].kept[..2], [Some(4), Some(4)]);
        assert!((h.share(&["skip_connect"])[0].1 - 2.0 / 8.0).abs() < 1e-12);
    }

    #[test]
    fn values_that_are_not_finite_do_not_panic() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308] {
            let list = [record(1, bad), record(2, 0.0)];
            let h = History::new(CellKind::Normal, list.iter()).unwrap();
            for text in [h.map("m"), h.strip("s"), h.small(0, "x"), h.csv(), h.json()] {
                assert!(!text.is_empty() && !text.contains("opacity=\"NaN"));
            }
        }
    }

    #[test]
    fn what_is_shown_is_bounded_and_ends_with_the_last() {
        let list: Vec<_> = (0..1000).map(|i| record(i, i as f64 / 500.0)).collect();
        let h = History::new(CellKind::Normal, list.iter()).unwrap();
        let shown = h.shown();
        assert_eq!((shown.len(), shown[0], shown[SHOWN - 1]), (SHOWN, 0, 999));
        assert!(shown.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(h.csv().lines().count(), 1 + SHOWN * EDGES);
    }

    #[test]
    fn changes_are_found_in_a_made_up_search() {
        let dir = tempfile::tempdir().unwrap();
        fabricate::run(dir.path());
        let lines = read_lines::<AlphaRecord>(&dir.path().join("alpha.jsonl"))
            .unwrap()
            .records;
        let of = lines.iter().filter(|r| r.stage == "4-backbone");
        let h = History::new(CellKind::Normal, of).unwrap();
        assert!(
            !h.changes.is_empty() && h.changes.iter().all(|s| (1..=400).contains(s)),
            "{:?}",
            h.changes
        );
        assert_eq!(edge_name(13), "2 \u{2192} 3");
    }
}
