//! Row of the registry: cases, refusals, planted wrong gradients.

use std::sync::Arc;

use super::forward::Norm;
use super::plan::Plan;
use super::{Candidate, Edge, MixedNode, Source};
use crate::ops::table::{Case, Entry, FACTOR, Gen, Planted, Refusal, scale_gradient};
use crate::tape::Op;
use crate::tensor::{Shape, Tensor};

const ALL: [Candidate; 8] = [
    Candidate::Pooled,
    Candidate::Pooled,
    Candidate::Skip,
    Candidate::Reduced,
    Candidate::Separable(3),
    Candidate::Separable(5),
    Candidate::Dilated(3),
    Candidate::Dilated(5),
];

/// One or two edges with some of the candidates.
fn case(g: &mut Gen) -> Case {
    loop {
        let case = draw(g);
        if far_from_kinks(&case.0, &case.1) {
            return Case {
                op: Arc::new(case.0),
                x: case.1,
            };
        }
    }
}

/// Candidates with one ReLU only, whose kink the states keep away from, where maps are large.
pub(super) fn draw(g: &mut Gen) -> (MixedNode, Vec<Tensor>) {
    let large = g.side > 9;
    // A normalisation undoes the pointwise weight of a single channel, whose gradient would be zero.
    let (n, k, a) = (g.int(1, 2), g.pick(&[1, 2, 4]), g.pick(&[2, 2, 3, 4]));
    let (mut h, mut w) = (g.int(1, 4), g.int(2, 5));
    if large {
        (h, w) = (g.int(8, g.side / 2), g.int(8, g.side / 2));
    }
    // Fewer values per channel saturate a normalisation and leave no gradient to check.
    while n * h * w < 10 {
        (h, w) = (h + 1, w + 1);
    }
    let (mut edges, mut x, mut own) = (vec![], vec![], vec![]);
    let count = g.int(1, 2);
    for beta in 0..count {
        if g.rng.coin(0.25) {
            x.push(g.normal([n, a, h, w]));
            let start = if k > 1 { g.int(0, 2) } else { 0 };
            if k > 1 {
                x.push(g.normal([n, start + a * (k - 1), h, w]));
            }
            let source = Source::Mixed { start };
            edges.push(Edge { beta, source });
            continue;
        }
        // Away from the kink of the first ReLU.
        let halves = g.rng.coin(0.3);
        let mut start = 0;
        if halves {
            let more = if k > 1 { g.int(0, 2) } else { 0 };
            x.push(g.off_zero([n, a + more, 2 * h, 2 * w]));
            if k > 1 {
                start = g.int(0, 1);
                x.push(g.normal([n, start + a * (k - 1), h, w]));
            }
        } else {
            x.push(g.off_zero([n, a * k, h, w]));
        }
        let stride = if halves { 2 } else { 1 };
        let fits = |c: &Candidate| {
            c.goes_with(stride) && (*c != Candidate::Reduced || a.is_multiple_of(2))
        };
        let mut candidates = vec![];
        for (at, candidate) in ALL.into_iter().enumerate().filter(|(_, c)| fits(c)) {
            let double = matches!(candidate, Candidate::Separable(_));
            if !g.rng.coin(0.4) || (large && double) {
                continue;
            }
            candidates.push((candidate, ALL.len() * beta + at));
        }
        if candidates.is_empty() {
            let one = if halves { 6 } else { 2 };
            candidates.push((ALL[one], ALL.len() * beta + one));
        }
        for &(candidate, _) in &candidates {
            match candidate {
                Candidate::Pooled => own.push(g.normal([n, a, h, w])),
                Candidate::Reduced => {
                    own.extend([0, 1].map(|_| g.normal([a / 2, a, 1, 1])));
                }
                _ => {}
            }
            if let Some((side, _)) = candidate.kernel() {
                for _ in 0..candidate.operands() / 2 {
                    own.push(g.normal([a, 1, side, side]));
                    own.push(g.normal([a, a, 1, 1]));
                }
            }
        }
        let source = match halves {
            true => Source::Halved { candidates, start },
            false => Source::State(candidates),
        };
        edges.push(Edge { beta, source });
    }
    x.push(g.off_zero([count, ALL.len()]));
    x.push(g.off_zero([count]));
    x.extend(own);
    let eps = g.pick(&[1e-5, 1e-3]);
    // Not drawn, so that cases stay what they are.
    let recompute = n == 2;
    let op = MixedNode {
        edges,
        k,
        eps,
        recompute,
    };
    (op, x)
}

/// Whether the inner ReLU of every separable convolution sees no value near zero, and no channel of a state is rectified to almost
/// nothing, which leaves a convolution without a gradient.
pub fn far_from_kinks(op: &MixedNode, x: &[Tensor]) -> bool {
    let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
    let op = MixedNode {
        recompute: false,
        ..op.clone()
    };
    let plan = Plan::new(&op, &shapes);
    let alive = |t: usize, inside: usize, c: usize| {
        let (state, channels) = (x[t].f64s(), x[t].dims()[1]);
        let planes = state.chunks(inside).skip(c).step_by(channels);
        planes.flatten().filter(|v| **v > 0.0).count() * 4 >= plan.n * inside
    };
    let mut states = plan.edges.iter().filter(|e| !e.units.is_empty());
    if !states.all(|e| (0..plan.a).all(|c| alive(e.x, plan.plane_of(e), c))) {
        return false;
    }
    let saved = op.forward(x).expect("operands that fit").saved;
    let norm = |m: usize| {
        let at = plan.maps + 2 * m;
        Norm::new(&saved[at..at + 2], op.eps)
    };
    // A map that hardly varies bends what is behind its normalisation too much for differences.
    if !(0..plan.maps).all(|m| norm(m).inverse.iter().all(|&i| i < 2.0)) {
        return false;
    }
    let doubles = plan.units.iter().filter(|u| u.maps.len() == 2);
    doubles.map(|u| u.maps.start).all(|m| {
        let norm = norm(m);
        let planes = saved[m].f64s().chunks(plan.plane).enumerate();
        let mut values = planes.flat_map(|(p, z)| z.iter().map(move |z| (p, *z)));
        values.all(|(p, z)| {
            let (a, b) = norm.affine::<f64>(p % plan.a);
            (a * z + b).abs() > 0.03
        })
    })
}

fn refusals() -> Vec<Refusal> {
    let refuse = |k: usize, source: Source, shapes: &[&[usize]], expect| Refusal {
        op: Arc::new(MixedNode {
            edges: vec![Edge { beta: 0, source }],
            k,
            eps: 1e-5,
            recompute: false,
        }),
        shapes: shapes.iter().map(|s| Shape::new(s)).collect(),
        expect,
    };
    let skip = |at| Source::State(vec![(Candidate::Skip, at)]);
    let dilated = Source::State(vec![(Candidate::Dilated(3), 0)]);
    let halved = |c| Source::Halved {
        candidates: vec![(c, 0)],
        start: 0,
    };
    vec![
        refuse(
            2,
            skip(0),
            &[&[1, 3, 4, 4], &[1, 7], &[1]],
            "3 channels are not a multiple of k = 2",
        ),
        refuse(
            1,
            skip(9),
            &[&[1, 3, 4, 4], &[1, 7], &[1]],
            "no weight 9 in alpha (1, 7)",
        ),
        refuse(
            1,
            dilated,
            &[&[1, 3, 4, 4], &[1, 7], &[1]],
            "and 2 of candidates, got 3",
        ),
        refuse(
            2,
            Source::Mixed { start: 1 },
            &[&[1, 2, 4, 4], &[1, 2, 4, 4], &[1, 7], &[1]],
            "(1, 3, 4, 4)",
        ),
        refuse(
            1,
            Source::State(vec![(Candidate::Reduced, 0)]),
            &[&[1, 2, 4, 4], &[1, 7], &[1], &[1, 2, 1, 1], &[1, 2, 1, 1]],
            "Reduced of 2 channels on an edge of stride 1",
        ),
        refuse(
            1,
            halved(Candidate::Reduced),
            &[&[1, 3, 4, 4], &[1, 7], &[1], &[1, 3, 1, 1], &[1, 3, 1, 1]],
            "Reduced of 3 channels",
        ),
        refuse(
            1,
            halved(Candidate::Pooled),
            &[&[1, 2, 5, 4], &[1, 7], &[1], &[1, 2, 3, 2]],
            "has an odd side",
        ),
        refuse(
            2,
            halved(Candidate::Pooled),
            &[&[1, 1, 4, 4], &[1, 2, 2, 2], &[1, 7], &[1], &[1, 2, 2, 2]],
            "has no 2 channels to mix",
        ),
        refuse(
            1,
            Source::State(vec![]),
            &[&[1, 2, 4, 4], &[1, 7], &[1]],
            "no candidate over (1, 2, 4, 4)",
        ),
    ]
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "mixed_node",
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
