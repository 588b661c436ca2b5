//! Drawings of architecture parameters: heat maps of edges by primitives, and a strip of the strongest primitive.

use super::cell;
use super::history::{History, edge_name, node_of, primitive_name};
use super::svg::{Svg, short, ticks, xy};
use crate::space::{PRIMITIVES, Primitive};

/// Triangles above a strip; of more changes every n-th is marked.
const MARKS: usize = 120;

impl History {
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
        let (scale, even) = (self.top(), 1.0 / PRIMITIVES as f64);
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
                let (best, v) = s.strongest(e);
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
                let sure = 0.25 + 0.75 * ((v - even) / (scale - even)).clamp(0.0, 1.0).sqrt();
                let h = if s.kept[e].is_some() {
                    row - 2.0
                } else {
                    row - 8.0
                };
                svg.rect(
                    [x0, y + (row - 2.0 - h) / 2.0, (x1 - x0).max(0.5), h],
                    &class,
                    &[("fill-opacity", &opacity(sure)), ("data-tip", &tip)],
                );
            }
        }
        for step in self
            .changes
            .iter()
            .step_by(self.changes.len().div_ceil(MARKS).max(1))
        {
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
