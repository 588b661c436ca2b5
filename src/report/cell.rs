//! A derived cell as a drawing.

use super::layout::{BEND, INPUT, LANE, Layout, NODE, PILL, TOP, layout, sources};
use super::svg::{Svg, xy};
use crate::space::Primitive;
use crate::space::genotype::INPUTS;

/// Indices of the two inputs in drawings.
const INDEX: [&str; INPUTS] = ["k\u{2212}2", "k\u{2212}1"];

/// Name of a source of edges: the output of one of the two cells before, or an intermediate node.
pub fn source_name(source: usize) -> String {
    match source {
        0 => "c\u{2096}\u{208b}\u{2082}".into(),
        1 => "c\u{2096}\u{208b}\u{2081}".into(),
        node => (node - INPUTS).to_string(),
    }
}

/// A name of a primitive that is short and still says what it is.
pub fn label(p: Primitive) -> &'static str {
    match p {
        Primitive::Zero => "none",
        Primitive::MaxPool3 => "max 3\u{d7}3",
        Primitive::AvgPool3 => "avg 3\u{d7}3",
        Primitive::Skip => "skip",
        Primitive::SepConv3 => "sep 3\u{d7}3",
        Primitive::SepConv5 => "sep 5\u{d7}5",
        Primitive::DilConv3 => "dil 3\u{d7}3",
        Primitive::DilConv5 => "dil 5\u{d7}5",
    }
}

/// A cell to draw.
pub struct Cell<'a> {
    /// What it is (`backbone, normal cell`).
    pub title: &'a str,
    /// Its operations.
    pub ops: &'a [(Primitive, usize)],
    /// The nodes (2 is the first) whose outputs are concatenated.
    pub concat: &'a [usize],
    /// More about one of the operations, shown when the pointer rests on it.
    pub hint: &'a dyn Fn(usize) -> Option<String>,
}

impl Cell<'_> {
    /// The drawing.
    pub fn svg(&self) -> String {
        let l = layout(self.ops, self.concat);
        let n = sources(self.ops);
        let out_x = Layout::gap(l.last + 1) + 26.0;
        let (width, height) = (out_x + 66.0, TOP * 2.0 + LANE * (n - 1) as f64);
        let mut svg = Svg::new();
        self.output(&mut svg, &l, out_x);
        // Source by source, so that a line gets a gap where it crosses those of another source, not beside its neighbours.
        for source in 0..n {
            let slots: Vec<usize> = (0..self.ops.len())
                .filter(|&i| self.ops[i].1.min(n - 1) == source)
                .collect();
            for &slot in &slots {
                svg.path(&self.wire(&l, slot).0, "halo", &[]);
            }
            for slot in slots {
                self.edge(&mut svg, &l, slot);
            }
        }
        for source in 0..n {
            let (y, name) = (l.y(source), source_name(source));
            if source < INPUTS {
                svg.rect(
                    [INPUT.0, y - 15.0, INPUT.1, 30.0],
                    "node input",
                    &[("rx", &6)],
                );
                let at = INPUT.0 + INPUT.1 / 2.0;
                svg.indexed(at, y + 4.0, "nodetext middle", ["c", INDEX[source]]);
            } else {
                let (x, y) = (l.x(source), xy(y));
                svg.element(
                    "circle",
                    &[("cx", &xy(x)), ("cy", &y), ("r", &NODE), ("class", &"node")],
                    None,
                );
                svg.text(x, l.y(source) + 5.0, "nodetext middle", &name);
            }
        }
        let style = format!("min-width:{}px", xy((width * 0.82).min(620.0)));
        svg.finish(
            width,
            height,
            "cell",
            &format!("{}: {}", self.title, self.words()),
            &[("style", &style)],
        )
    }

    /// The cell in words, for those who do not see it.
    pub fn words(&self) -> String {
        let one = |(op, from): &(Primitive, usize)| format!("{op} of {}", source_name(*from));
        let node = |(i, reads): (usize, &[(Primitive, usize)])| {
            format!(
                "node {i} = {}",
                reads.iter().map(one).collect::<Vec<_>>().join(" + ")
            )
        };
        self.ops
            .chunks_exact(2)
            .enumerate()
            .map(node)
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn output(&self, svg: &mut Svg, l: &Layout, x: f64) {
        let nodes: Vec<usize> = self
            .concat
            .iter()
            .copied()
            .filter(|n| (INPUTS..l.lane.len()).contains(n))
            .collect();
        let lanes = || nodes.iter().map(|&n| l.y(n));
        let (top, bottom) = (
            lanes().fold(f64::INFINITY, f64::min),
            lanes().fold(f64::NEG_INFINITY, f64::max),
        );
        if nodes.is_empty() {
            return;
        }
        for &n in &nodes {
            let y = l.y(n);
            svg.line([l.exit(n), y, x, y], "concat");
        }
        svg.rect(
            [x, top - 12.0, 8.0, bottom - top + 24.0],
            "bar",
            &[
                ("rx", &3),
                ("data-tip", &"concatenation of the nodes along the channels"),
            ],
        );
        let middle = (top + bottom) / 2.0;
        svg.line([x + 8.0, middle, x + 22.0, middle], "concat");
        svg.rect(
            [x + 22.0, middle - 15.0, 36.0, 30.0],
            "node input",
            &[("rx", &6)],
        );
        svg.indexed(x + 40.0, middle + 4.0, "nodetext middle", ["c", "k"]);
    }

    /// The line of an operation from its source to its label, and the label's left end and middle.
    fn wire(&self, l: &Layout, slot: usize) -> (String, f64, f64) {
        let from = self.ops[slot].1.min(l.lane.len() - 1);
        let to = INPUTS + slot / 2;
        let pill_y = l.y(to) + l.side(self.ops, slot) * (PILL.1 / 2.0 + 2.0);
        let gap = Layout::gap(l.depth[to]);
        let pill_x = gap + BEND;
        // Edges that leave one source run side by side and do not cross: those that go up above those that go down, those that bend
        // first outermost, then in the order of their targets. The lane's middle is the output's.
        let mut fan: Vec<usize> = (0..self.ops.len())
            .filter(|&i| self.ops[i].1.min(l.lane.len() - 1) == from)
            .collect();
        let end = |i: usize| l.y(INPUTS + i / 2) + l.side(self.ops, i);
        let turn = |i: usize| {
            let (down, depth) = (end(i) > l.y(from), l.depth[INPUTS + i / 2] as i64);
            (down, if down { -depth } else { depth })
        };
        fan.sort_by(|&a, &b| (turn(a).cmp(&turn(b))).then(end(a).total_cmp(&end(b))));
        let rank = fan.iter().position(|&i| i == slot).unwrap_or(0) as f64
            - (fan.len() as f64 - 1.0) / 2.0;
        let start_y = l.y(from) + rank * (22.0 / fan.len() as f64).min(6.0);
        let path = format!(
            "M{} {}H{}C{} {} {} {} {} {}",
            xy(l.exit(from) - 2.0),
            xy(start_y),
            xy(gap),
            xy(gap + BEND * 0.55),
            xy(start_y),
            xy(gap + BEND * 0.45),
            xy(pill_y),
            xy(pill_x),
            xy(pill_y)
        );
        (path, pill_x, pill_y)
    }

    fn edge(&self, svg: &mut Svg, l: &Layout, slot: usize) {
        let (op, from) = (self.ops[slot].0, self.ops[slot].1.min(l.lane.len() - 1));
        let to = INPUTS + slot / 2;
        let (path, pill_x, pill_y) = self.wire(l, slot);
        let mut tip = format!("{op}: {} \u{2192} node {}", source_name(from), slot / 2);
        if let Some(more) = (self.hint)(slot) {
            tip = format!("{tip}\n{more}");
        }
        svg.open(&[
            ("class", &format!("edge p-{}", op.name())),
            ("data-tip", &tip),
            ("tabindex", &0),
        ]);
        svg.path(&path, "wire", &[]);
        let node_x = l.x(to);
        let join = format!(
            "M{} {}L{} {}",
            xy(pill_x + PILL.0),
            xy(pill_y),
            xy(node_x - NODE + 2.0),
            xy(l.y(to))
        );
        svg.path(&join, "wire", &[]);
        svg.rect(
            [pill_x, pill_y - PILL.1 / 2.0, PILL.0, PILL.1],
            "pill",
            &[("rx", &10.5)],
        );
        svg.text(
            pill_x + PILL.0 / 2.0,
            pill_y + 4.0,
            "pilltext middle",
            label(op),
        );
        svg.close();
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::{all, everything};
    use super::*;

    #[test]
    fn every_cell_is_drawn_with_all_its_operations() {
        for (name, ops) in all() {
            let svg = Cell {
                title: name,
                ops: &ops,
                concat: &everything(&ops),
                hint: &|_| None,
            }
            .svg();
            assert_eq!(svg.matches("class=\"pill\"").count(), ops.len(), "{name}");
            for (op, _) in ops {
                assert!(
                    svg.contains(&format!("p-{op}")) && svg.contains(label(op)),
                    "{name}"
                );
            }
        }
    }
}
