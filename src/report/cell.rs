//! A derived cell as a drawing. Every node has a lane of its own and a column by its depth; an edge runs in the lane of
//! its source and bends only in the gap before its target's column, so that no line passes through a node or a label.

use super::svg::{Svg, xy};
use crate::space::Primitive;
use crate::space::genotype::INPUTS;

/// Up to this many sources all orders of the lanes are tried; more are improved by swaps.
const ALL_ORDERS: usize = 7;
const LANE: f64 = 52.0;
const TOP: f64 = 30.0;
const INPUT: (f64, f64) = (12.0, 62.0); // left edge, width
const BEND: f64 = 58.0;
const PILL: (f64, f64) = (62.0, 21.0);
const NODE: f64 = 14.0; // radius
const GAP: f64 = 12.0;
const PITCH: f64 = BEND + PILL.0 + GAP + 2.0 * NODE + 6.0;

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

struct Layout {
    lane: Vec<usize>,
    depth: Vec<usize>,
    last: usize,
}

type Ops<'a> = &'a [(Primitive, usize)];

/// Inputs and nodes of a cell.
fn sources(ops: Ops) -> usize {
    INPUTS + ops.len() / 2
}

/// Columns: inputs 0, a node one more than the deepest node it reads.
fn depths(ops: Ops) -> Vec<usize> {
    let mut depth = vec![0; INPUTS];
    for reads in ops.chunks_exact(2) {
        let deepest = reads
            .iter()
            .map(|(_, from)| depth.get(*from).copied().unwrap_or(0))
            .max();
        depth.push(1 + deepest.unwrap_or(0));
    }
    depth
}

/// What disturbs the eye: lines that cross, long bends, inputs out of order. Smaller is better.
fn cost(ops: Ops, concat: &[usize], depth: &[usize], lane: &[usize]) -> i64 {
    let n = depth.len();
    let last = depth.iter().max().copied().unwrap_or(0) + 1;
    let edges: Vec<(usize, usize)> = (0..ops.len())
        .map(|i| (ops[i].1.min(n - 1), INPUTS + i / 2))
        .collect();
    // How far to the right each source's lane is in use.
    let mut reach: Vec<usize> = (0..n)
        .map(|s| if concat.contains(&s) { last } else { 0 })
        .collect();
    for &(s, t) in &edges {
        reach[s] = reach[s].max(depth[t]);
    }
    let mut total = 0;
    for (i, &(s, t)) in edges.iter().enumerate() {
        let (a, b) = (lane[s] as i64, lane[t] as i64);
        total += 4 * (a - b).abs();
        for other in (0..n).filter(|&o| o != s && o != t) {
            let l = lane[other] as i64;
            if depth[other] < depth[t] && reach[other] >= depth[t] && l > a.min(b) && l < a.max(b) {
                total += 10;
            }
        }
        for &(s2, t2) in &edges[i + 1..] {
            if depth[t2] == depth[t] && (lane[s2] as i64 - a) * (lane[t2] as i64 - b) < 0 {
                total += 10;
            }
        }
    }
    total + if lane[0] > lane[1] { 3 } else { 0 }
}

/// Heap's algorithm: every order of the first `k` entries.
fn orders(k: usize, lane: &mut Vec<usize>, look: &mut dyn FnMut(&[usize])) {
    if k <= 1 {
        return look(lane);
    }
    for i in 0..k {
        orders(k - 1, lane, look);
        lane.swap(if k % 2 == 0 { i } else { 0 }, k - 1);
    }
}

fn layout(ops: Ops, concat: &[usize]) -> Layout {
    let depth = depths(ops);
    let n = sources(ops);
    let mut lane: Vec<usize> = (0..n).collect();
    let mut best = (cost(ops, concat, &depth, &lane), lane.clone());
    if n <= ALL_ORDERS {
        orders(n, &mut lane, &mut |l| {
            best = std::cmp::min(best.clone(), (cost(ops, concat, &depth, l), l.to_vec()))
        });
    } else {
        let swaps: Vec<(usize, usize)> = (0..n)
            .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
            .collect();
        while let Some(better) = (swaps.iter())
            .map(|&(i, j)| {
                let mut l = best.1.clone();
                l.swap(i, j);
                (cost(ops, concat, &depth, &l), l)
            })
            .min()
            .filter(|b| b.0 < best.0)
        {
            best = better;
        }
    }
    Layout {
        lane: best.1,
        last: depth.iter().max().copied().unwrap_or(0),
        depth,
    }
}

impl Layout {
    fn y(&self, source: usize) -> f64 {
        TOP + LANE * self.lane[source] as f64
    }

    /// Left end of the gap before a column.
    fn gap(column: usize) -> f64 {
        INPUT.0 + INPUT.1 + 10.0 + (column - 1) as f64 * PITCH
    }

    /// Centre of an intermediate node.
    fn x(&self, source: usize) -> f64 {
        Self::gap(self.depth[source]) + BEND + PILL.0 + GAP + NODE
    }

    /// Where lines leave a source.
    fn exit(&self, source: usize) -> f64 {
        if source < INPUTS {
            INPUT.0 + INPUT.1
        } else {
            self.x(source) + NODE
        }
    }

    /// Upper (-1) or lower (1) place of an operation before its node: sorted by the lanes of the two sources.
    fn side(&self, ops: Ops, slot: usize) -> f64 {
        let lane = |i: usize| (self.lane[ops[i].1.min(self.lane.len() - 1)], i);
        if lane(slot) < lane(slot ^ 1) {
            -1.0
        } else {
            1.0
        }
    }
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
                svg.text(INPUT.0 + INPUT.1 / 2.0, y + 5.0, "nodetext middle", &name);
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
        svg.text(x + 40.0, middle + 5.0, "nodetext middle", "c\u{2096}");
    }

    /// The line of an operation from its source to its label, and the label's left end and middle.
    fn wire(&self, l: &Layout, slot: usize) -> (String, f64, f64) {
        let from = self.ops[slot].1.min(l.lane.len() - 1);
        let to = INPUTS + slot / 2;
        let pill_y = l.y(to) + l.side(self.ops, slot) * (PILL.1 / 2.0 + 2.0);
        let gap = Layout::gap(l.depth[to]);
        let pill_x = gap + BEND;
        // Edges that leave one source run side by side, in the order of their targets; the lane's middle is the output's.
        let mut fan: Vec<usize> = (0..self.ops.len())
            .filter(|&i| self.ops[i].1.min(l.lane.len() - 1) == from)
            .collect();
        let end = |i: usize| l.y(INPUTS + i / 2) + l.side(self.ops, i);
        fan.sort_by(|&a, &b| end(a).total_cmp(&end(b)));
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
    use super::*;
    use crate::space::published;

    /// The published cells, and one of six nodes, which is laid out by swaps.
    fn all() -> Vec<(&'static str, Vec<(Primitive, usize)>)> {
        let cells = published::names().flat_map(|n| {
            [false, true].map(|r| (n, published::by_name(n).unwrap().cell(r).to_vec()))
        });
        let six = (0..12)
            .map(|i| {
                (
                    Primitive::ALL[1 + i % 7],
                    if i % 2 == 0 {
                        i / 2 + 1
                    } else {
                        (i * 5) % (i / 2 + 1)
                    },
                )
            })
            .collect();
        cells.chain([("six nodes", six)]).collect()
    }

    fn everything(ops: Ops) -> Vec<usize> {
        (INPUTS..sources(ops)).collect()
    }

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

    #[test]
    fn labels_and_nodes_never_overlap() {
        for (name, ops) in all() {
            let l = layout(&ops, &everything(&ops));
            let mut boxes: Vec<[f64; 4]> = Vec::new();
            for slot in 0..ops.len() {
                let to = INPUTS + slot / 2;
                let (x, y) = (
                    Layout::gap(l.depth[to]) + BEND,
                    l.y(to) + l.side(&ops, slot) * (PILL.1 / 2.0 + 2.0),
                );
                boxes.push([x, y - PILL.1 / 2.0, x + PILL.0, y + PILL.1 / 2.0]);
            }
            boxes.extend(
                (INPUTS..sources(&ops))
                    .map(|s| [l.x(s) - NODE, l.y(s) - NODE, l.x(s) + NODE, l.y(s) + NODE]),
            );
            for (i, a) in boxes.iter().enumerate() {
                for b in &boxes[..i] {
                    assert!(
                        a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3],
                        "{name}: {a:?} {b:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_layout_is_no_worse_than_the_plain_order() {
        for (name, ops) in all() {
            let l = layout(&ops, &everything(&ops));
            let plain: Vec<usize> = (0..sources(&ops)).collect();
            let (best, before) = (
                cost(&ops, &everything(&ops), &l.depth, &l.lane),
                cost(&ops, &everything(&ops), &l.depth, &plain),
            );
            assert!(best <= before, "{name}: {best} {before}");
            let mut lanes = l.lane.clone();
            lanes.sort();
            assert_eq!(lanes, plain, "{name}: every source has a lane of its own");
        }
    }
}
