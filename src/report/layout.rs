//! Where the parts of a drawn cell go. Every node has a lane of its own and a column by its depth; an edge runs in the lane
//! of its source and bends only in the gap before its target's column, so that no line passes through a node or a label.

use crate::space::Primitive;
use crate::space::genotype::INPUTS;

/// Up to this many sources all orders of the lanes are tried; more are improved by swaps.
const ALL_ORDERS: usize = 7;
/// Pixels from lane to lane.
pub const LANE: f64 = 52.0;
/// The first lane.
pub const TOP: f64 = 30.0;
/// Left edge and width of an input.
pub const INPUT: (f64, f64) = (12.0, 62.0);
/// Width of the gap in which lines bend.
pub const BEND: f64 = 80.0;
/// Width and height of an operation.
pub const PILL: (f64, f64) = (70.0, 21.0);
/// Radius of a node.
pub const NODE: f64 = 14.0;
/// From an operation to its node.
pub const GAP: f64 = 12.0;
/// From column to column.
pub const PITCH: f64 = BEND + PILL.0 + GAP + 2.0 * NODE + 6.0;

pub struct Layout {
    /// Lane of each source, 0 on top.
    pub lane: Vec<usize>,
    /// Column of each source: 0 for inputs.
    pub depth: Vec<usize>,
    /// The last column.
    pub last: usize,
}

/// Operations of a cell: two (operation, source) pairs a node.
pub type Ops<'a> = &'a [(Primitive, usize)];

/// Inputs and nodes of a cell.
pub fn sources(ops: Ops) -> usize {
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
        lane.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
    }
}

/// Places of all sources.
pub fn layout(ops: Ops, concat: &[usize]) -> Layout {
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
    pub fn y(&self, source: usize) -> f64 {
        TOP + LANE * self.lane[source] as f64
    }

    /// Left end of the gap before a column.
    pub fn gap(column: usize) -> f64 {
        INPUT.0 + INPUT.1 + 10.0 + (column - 1) as f64 * PITCH
    }

    /// Centre of an intermediate node.
    pub fn x(&self, source: usize) -> f64 {
        Self::gap(self.depth[source]) + BEND + PILL.0 + GAP + NODE
    }

    /// Where lines leave a source.
    pub fn exit(&self, source: usize) -> f64 {
        if source < INPUTS {
            INPUT.0 + INPUT.1
        } else {
            self.x(source) + NODE
        }
    }

    /// Upper (-1) or lower (1) place of an operation before its node: sorted by the lanes of the two sources.
    pub fn side(&self, ops: Ops, slot: usize) -> f64 {
        let lane = |i: usize| (self.lane[ops[i].1.min(self.lane.len() - 1)], i);
        if lane(slot) < lane(slot ^ 1) {
            -1.0
        } else {
            1.0
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::space::published;

    /// The published cells, and one of six nodes, which is laid out by swaps.
    pub fn all() -> Vec<(&'static str, Vec<(Primitive, usize)>)> {
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

    pub fn everything(ops: Ops) -> Vec<usize> {
        (INPUTS..sources(ops)).collect()
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
