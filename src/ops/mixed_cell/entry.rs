//! Row of the registry: cases, refusals, planted wrong gradients.

use std::sync::Arc;

use super::{CellEdge, Choice, INPUTS, MixedCell};
use crate::ops::mixed_node::Candidate;
use crate::ops::pool::Kind;
use crate::ops::table::{Case, Entry, FACTOR, Gen, Planted, Refusal, scale_gradient};
use crate::tensor::{Shape, Tensor};

const ALL: [Choice; 7] = [
    Choice::Pool(Kind::Max),
    Choice::Pool(Kind::Average),
    Choice::Of(Candidate::Skip),
    Choice::Of(Candidate::Reduced),
    Choice::Of(Candidate::Dilated(3)),
    Choice::Of(Candidate::Dilated(5)),
    Choice::Of(Candidate::Separable(3)),
];

/// Without a kink.
fn smooth(c: Choice) -> bool {
    matches!(c, Choice::Pool(Kind::Average) | Choice::Of(Candidate::Skip))
}

/// Of weights, the shapes.
fn shapes(c: Choice, a: usize) -> Vec<Shape> {
    let Choice::Of(candidate) = c else {
        return vec![];
    };
    if candidate == Candidate::Reduced {
        return vec![Shape::new(&[a / 2, a, 1, 1]); 2];
    }
    let (side, _) = candidate.kernel().unwrap_or((0, 0));
    let half = [Shape::new(&[a, 1, side, side]), Shape::new(&[a, a, 1, 1])];
    half.into_iter().cycle().take(c.weights()).collect()
}

/// One or two nodes. What starts from a node has no kink: the node is computed, and where its values lie nobody chooses.
fn case(g: &mut Gen) -> Case {
    loop {
        let (op, x) = draw(g);
        if varied(&op, &x) {
            return Case {
                op: Arc::new(op),
                x,
            };
        }
    }
}

/// A state: its values are 0.025 away from zero, where rectifiers bend, and those of any 3x3 window 0.05 apart, where maxima do.
fn state(g: &mut Gen, shape: [usize; 4]) -> Tensor {
    const APART: f64 = 0.05;
    const STEP: f64 = 9.0 * APART;
    let mut t = g.normal(shape);
    let (h, w) = (shape[2], shape[3]);
    for (i, v) in t.data_mut::<f64>().iter_mut().enumerate() {
        let of_window = 3 * (i / w % h % 3) + i % w % 3;
        *v = STEP * (*v / STEP).round() + APART * (of_window as f64 - 3.5);
    }
    t
}

pub(super) fn draw(g: &mut Gen) -> (MixedCell, Vec<Tensor>) {
    let (n, k, a) = (g.int(1, 2), g.pick(&[1, 2, 4]), g.pick(&[2, 2, 4]));
    let (mut h, mut w) = (g.int(1, 4), g.int(2, 5));
    if g.side > 9 {
        (h, w) = (g.int(8, g.side / 2), g.int(8, g.side / 2));
    }
    // Fewer values per channel saturate a normalisation and leave no gradient to check.
    while n * h * w < 12 {
        (h, w) = (h + 1, w + 1);
    }
    let halves = g.rng.coin(0.3);
    let (mut x, mut own, mut nodes, mut beta) = (vec![], vec![], vec![], 0);
    for _ in 0..INPUTS {
        let side = if halves { 2 } else { 1 };
        x.push(state(g, [n, a * k, side * h, side * w]));
    }
    for node in 0..g.int(1, 2) {
        let mut edges = vec![];
        for from in 0..INPUTS + node {
            let stride = if halves && from < INPUTS { 2 } else { 1 };
            let fits = |c: &Choice| match *c {
                Choice::Of(candidate) => candidate.goes_with(stride),
                Choice::Pool(_) => true,
            };
            let may = |c: &Choice| fits(c) && (from < INPUTS || smooth(*c));
            let mut candidates = vec![];
            for (at, choice) in ALL.into_iter().enumerate().filter(|(_, c)| may(c)) {
                // Two halves only where the second's ReLU is not among many values.
                let double = choice == Choice::Of(Candidate::Separable(3));
                if g.rng.coin(if double { 0.1 } else { 0.45 }) && !(double && g.side > 9) {
                    candidates.push((choice, ALL.len() * beta + at));
                }
            }
            if candidates.is_empty() {
                candidates.push((ALL[1], ALL.len() * beta + 1));
            }
            for s in candidates.iter().flat_map(|c| shapes(c.0, a)) {
                own.push(g.normal(s));
            }
            edges.push(CellEdge {
                from,
                beta,
                candidates,
            });
            beta += 1;
        }
        nodes.push(edges);
    }
    x.push(g.off_zero([beta, ALL.len()]));
    x.push(g.off_zero([beta]));
    x.extend(own);
    let op = MixedCell {
        nodes,
        halves,
        k,
        eps: g.pick(&[1e-5, 1e-3]),
        recompute: g.rng.coin(0.3),
    };
    (op, x)
}

/// Whether no normalisation bends what is behind it too much for differences, and no inner ReLU is near its kink: of each node alone,
/// over the states that it has.
fn varied(op: &MixedCell, x: &[Tensor]) -> bool {
    super::definition::nodes(op, x)
        .into_iter()
        .all(|(node, x)| crate::ops::mixed_node::far_from_kinks(&node, &x))
}

fn refusals() -> Vec<Refusal> {
    let refuse =
        |k: usize, from: usize, choice: Choice, halves: bool, shapes: &[&[usize]], expect| {
            Refusal {
                op: Arc::new(MixedCell {
                    nodes: vec![vec![CellEdge {
                        from,
                        beta: 0,
                        candidates: vec![(choice, 0)],
                    }]],
                    halves,
                    k,
                    eps: 1e-5,
                    recompute: false,
                }),
                shapes: shapes.iter().map(|s| Shape::new(s)).collect(),
                expect,
            }
        };
    let skip = Choice::Of(Candidate::Skip);
    let state: &[usize] = &[1, 2, 4, 4];
    let arch: [&[usize]; 2] = [&[1, 7], &[1]];
    vec![
        refuse(
            2,
            0,
            skip,
            false,
            &[&[1, 3, 4, 4], &[1, 3, 4, 4], arch[0], arch[1]],
            "3 channels are not a multiple of k = 2",
        ),
        refuse(
            1,
            2,
            skip,
            false,
            &[state, state, arch[0], arch[1]],
            "node 0 has no edge, or one from itself",
        ),
        refuse(
            1,
            0,
            Choice::Of(Candidate::Dilated(3)),
            false,
            &[state, state, arch[0], arch[1]],
            "alpha, beta and 2 weights, got 4",
        ),
        refuse(
            1,
            0,
            Choice::Of(Candidate::Pooled),
            false,
            &[state, state, arch[0], arch[1], state],
            "a candidate with an operand of its own",
        ),
        refuse(
            1,
            1,
            Choice::Pool(Kind::Max),
            true,
            &[&[1, 2, 5, 4], &[1, 2, 5, 4], arch[0], arch[1]],
            "has an odd side",
        ),
        refuse(
            1,
            0,
            skip,
            true,
            &[state, state, arch[0], arch[1]],
            "Skip of 2 channels on an edge of stride 2",
        ),
        refuse(
            1,
            1,
            skip,
            false,
            &[state, &[1, 2, 4, 5], arch[0], arch[1]],
            "(1, 2, 4, 5)",
        ),
    ]
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "mixed_cell",
    case,
    refusals,
    planted: &[
        FACTOR,
        Planted {
            what: "gradient of alpha too large by a factor 1.0005",
            spoil: |c, _, g| scale_gradient(g, alpha(&c.x)),
        },
        Planted {
            what: "gradient of beta too large by a factor 1.0005",
            spoil: |c, _, g| scale_gradient(g, alpha(&c.x) + 1),
        },
    ],
};

/// The operand alpha: the first of rank 2.
fn alpha(x: &[Tensor]) -> usize {
    let rank = |t: &Tensor| t.shape().rank() == 2;
    x.iter().position(rank).expect("alpha is an operand")
}
