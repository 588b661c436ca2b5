//! The launches against the host's path, at sizes whose tiles have tails; small cases that reach every line of the kernels.

use super::*;
use crate::error::{Code, Error};
use crate::ops::mixed_node::{Edge, Source};
use crate::rng::Rng;
use crate::tape::Op;
use crate::tensor::Shape;

/// Sizes of a node: images, k, mixed channels, sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    n: usize,
    k: usize,
    a: usize,
    h: usize,
    w: usize,
}

pub(super) fn size([n, k, a, h, w]: [usize; 5]) -> Size {
    Size { n, k, a, h, w }
}

/// What the kernels compute, all kinds.
pub(super) const KINDS: [Candidate; 6] = [
    Candidate::Separable(3),
    Candidate::Skip,
    Candidate::Dilated(5),
    Candidate::Pooled,
    Candidate::Separable(5),
    Candidate::Dilated(3),
];

/// Those of an edge that halves the map.
pub(super) const HALVED: [Candidate; 6] = [
    Candidate::Separable(5),
    Candidate::Reduced,
    Candidate::Dilated(5),
    Candidate::Pooled,
    Candidate::Separable(3),
    Candidate::Dilated(3),
];

pub(super) fn random(r: &mut Rng, shape: &[usize], offset: f64) -> Tensor {
    let shape = Shape::new(shape);
    let v = (0..shape.numel()).map(|_| r.normal() + offset).collect();
    Tensor::from_f64(shape, v).unwrap().cast(DType::F32)
}

/// A node of edges with these candidates, of one that comes mixed where there are none; an edge with a reduction halves the map.
pub(super) fn node(s: Size, edges: &[&[Candidate]], seed: u64) -> (MixedNode, Vec<Tensor>) {
    let Size { n, k, a, h, w } = s;
    let mut r = Rng::new(seed, &[1]);
    let (mut all, mut x, mut own, mut at) = (vec![], vec![], vec![], 0);
    for (beta, candidates) in edges.iter().enumerate() {
        if candidates.is_empty() {
            x.push(random(&mut r, &[n, a, h, w], 0.0));
            let start = beta % 3;
            if k > 1 {
                x.push(random(&mut r, &[n, start + a * (k - 1), h, w], 0.0));
            }
            let source = Source::Mixed { start };
            all.push(Edge { beta, source });
            continue;
        }
        let halves = candidates.contains(&Candidate::Reduced);
        let start = beta % 2;
        if halves {
            x.push(random(&mut r, &[n, a + start, 2 * h, 2 * w], 0.0));
            if k > 1 {
                x.push(random(&mut r, &[n, start + a * (k - 1), h, w], 0.0));
            }
        } else {
            x.push(random(&mut r, &[n, a * k, h, w], 0.0));
        }
        let mut own_of = |c: Candidate| {
            if c == Candidate::Pooled {
                own.push(random(&mut r, &[n, a, h, w], 3.0));
            }
            if c == Candidate::Reduced {
                own.extend([0, 1].map(|_| random(&mut r, &[a / 2, a, 1, 1], 0.1)));
            }
            if let Some((side, _)) = c.kernel() {
                for _ in 0..c.operands() / 2 {
                    own.push(random(&mut r, &[a, 1, side, side], 0.1));
                    own.push(random(&mut r, &[a, a, 1, 1], 0.1));
                }
            }
            at += 1;
            (c, at - 1)
        };
        let candidates = candidates.iter().map(|&c| own_of(c)).collect();
        let source = match halves {
            true => Source::Halved { candidates, start },
            false => Source::State(candidates),
        };
        all.push(Edge { beta, source });
    }
    x.push(random(&mut r, &[1, at.max(1)], 0.0));
    x.push(random(&mut r, &[edges.len()], 0.0));
    x.extend(own);
    let op = MixedNode {
        edges: all,
        k,
        eps: 1e-3,
        recompute: false,
    };
    (op, x)
}

pub(super) fn plan(op: &MixedNode, x: &[Tensor]) -> Plan {
    let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
    op.infer(&shapes).unwrap();
    Plan::new(op, &shapes)
}

/// Whether two tensors of one shape are as near as `most` times the largest of `want`.
pub(super) fn near(what: &str, got: &Tensor, want: &Tensor, most: f64) -> Result<()> {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (got.to_f64(), want.to_f64());
    let large = want.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        if (g - w).abs().total_cmp(&(most * large)).is_gt() {
            let text = format!("{what}[{i}] is {g:e} on the device, {w:e} on the host");
            return Err(Error::new(Code::CheckFailed, text));
        }
    }
    Ok(())
}

/// The forward on the device against the host's, both of what is stored in `dtype`.
fn agree(e: Engine, s: Size, edges: &[&[Candidate]], dtype: DType) -> Result<()> {
    let (op, x) = node(s, edges, 7);
    let p = plan(&op, &x);
    let stored = |(i, t): (usize, &Tensor)| match is_map(&p, i) {
        true => t.cast(dtype),
        false => t.clone(),
    };
    let stored: Vec<Tensor> = x.iter().enumerate().map(stored).collect();
    let wide: Vec<Tensor> = stored.iter().map(|t| t.cast(DType::F32)).collect();
    let want = op.forward(&wide)?;
    let got = forward(e, &op, &p, &stored)?.expect("a node that fits");
    e.healthy()?;
    let most = if dtype == DType::F32 { 2e-5 } else { 4e-2 };
    let at = format!("{s:?} of {edges:?}");
    assert_eq!((got.y.dtype(), got.saved.len()), (dtype, p.maps + 1));
    let saved = on_host(&p, &got.saved, DType::F32);
    for (i, (g, w)) in saved.iter().zip(&want.saved).enumerate() {
        near(&format!("{at}: saved {i}"), g, w, most)?;
    }
    near(&format!("{at}: y"), &got.y, &want.y, most)?;
    let count = (s.n * s.h * s.w) as f32;
    let counts = got.saved[p.maps].f32s().chunks(4 * s.a).take(p.maps);
    assert!(counts.flat_map(|m| &m[3 * s.a..]).all(|&c| c == count));
    Ok(())
}

/// Sizes with tails in every direction, more than a tile, more channels than a group and than a warp's, several chunks.
const SIZES: [[usize; 5]; 12] = [
    [2, 1, 1, 3, 1],
    [1, 2, 2, 4, 8],
    [3, 4, 3, 5, 2],
    [1, 1, 5, 7, 33],
    [2, 2, 4, 9, 40],
    [1, 4, 9, 2, 7],
    [1, 2, 16, 40, 12],
    [2, 1, 20, 6, 16],
    [1, 1, 33, 5, 12],
    [1, 2, 64, 10, 20],
    [1, 1, 40, 3, 37],
    [4, 2, 2, 33, 36],
];

/// Few cases that between them reach every line.
pub fn forward_cases(e: Engine) -> Result<()> {
    for (i, s) in [0, 4, 5, 8, 11].into_iter().enumerate() {
        let edges: [&[Candidate]; 3] = [&KINDS, &[], &KINDS[2..4]];
        let dtype = [DType::F32, DType::Bf16][i % 2];
        agree(e, size(SIZES[s]), &edges[..2 + i % 2], dtype)?;
    }
    halving_cases(e)
}

/// Edges that halve the map, beside others, of several tiles and widths.
fn halving_cases(e: Engine) -> Result<()> {
    let sizes = [
        [2, 2, 2, 3, 5],
        [1, 4, 6, 9, 40],
        [1, 1, 16, 20, 8],
        [1, 2, 36, 6, 12],
    ];
    for (i, s) in sizes.into_iter().enumerate() {
        let s = size(s);
        // Without an operand of what bypasses the state has no further channel to tell.
        let edges: [&[Candidate]; 3] = [&HALVED, &KINDS[..2], &HALVED[1..3]];
        let edges = if s.k == 1 {
            &edges[..1]
        } else {
            &edges[..1 + i % 3]
        };
        agree(e, s, edges, [DType::F32, DType::Bf16][i / 2])?;
    }
    Ok(())
}

#[test]
fn edges_that_halve_the_map_agree_too() {
    halving_cases(Engine::emulated(2)).unwrap();
}

#[test]
fn the_forward_agrees_with_the_hosts() {
    for (i, s) in SIZES.into_iter().enumerate() {
        let e = Engine::emulated(1 + u64::from(i % 3 == 0));
        for dtype in [DType::F32, DType::Bf16] {
            let edges: [&[Candidate]; 3] = [&KINDS[i % 3..][..3 + i % 2], &[], &KINDS[3..4]];
            agree(e, size(s), &edges[..1 + i % 3], dtype).unwrap();
        }
    }
}

#[test]
fn nodes_of_one_kind_agree_too() {
    let e = Engine::emulated(1);
    for c in KINDS {
        agree(e, size([1, 2, 4, 6, 9]), &[&[c]], DType::F32).unwrap();
    }
    agree(e, size([2, 2, 4, 6, 9]), &[&[]], DType::Bf16).unwrap();
}

#[test]
fn nothing_is_launched_for_maps_without_values() {
    let e = Engine::emulated(1);
    let before = e.counts().launches;
    let (op, x) = node(size([0, 2, 3, 4, 4]), &[&KINDS], 1);
    let out = forward(e, &op, &plan(&op, &x), &x).unwrap().unwrap();
    assert_eq!(out.y.dims(), [0, 6, 4, 4]);
    assert_eq!(out.saved.last().unwrap().f32s(), vec![0.0; 7 * 4 * 3]);
    assert_eq!(e.counts().launches, before);
}

#[test]
fn three_launches_and_no_fetch() {
    let e = Engine::emulated(1);
    let (op, x) = node(size([1, 2, 3, 4, 4]), &[&KINDS, &KINDS], 1);
    let p = plan(&op, &x);
    let run = || forward(e, &op, &p, &x).unwrap().unwrap();
    run();
    let before = e.counts();
    run();
    let after = e.counts();
    assert_eq!(after.launches - before.launches, 3);
    assert_eq!(after.downloaded, before.downloaded);
}

#[test]
fn what_does_not_fit_is_refused() {
    let e = Engine::emulated(1);
    let none = |s: Size, edges: &[&[Candidate]]| {
        let (op, x) = node(s, edges, 1);
        forward(e, &op, &plan(&op, &x), &x).unwrap().is_none()
    };
    assert!(!none(size([1, 1, 64, 1, 1]), &[&[Candidate::Skip]]));
    assert!(none(size([1, 1, 65, 1, 1]), &[&[Candidate::Skip]]));
    let eight: &[Candidate] = &[Candidate::Skip; 8];
    assert!(!none(size([1, 1, 1, 2, 2]), &[eight; 8]));
    assert!(none(size([1, 1, 1, 2, 2]), &[&eight[..1]; 9]));
    assert!(none(size([1, 1, 1, 2, 2]), &[&[Candidate::Skip; 65]]));
    assert!(none(
        size([1, 1, 1, 2, 2]),
        &[&[Candidate::Separable(3); 25]]
    ));
    assert!(none(size([1, 1, 1, 9, 9]), &[&[Candidate::Separable(7)]]));
    let (op, mut x) = node(size([1, 1, 2, 2, 2]), &[&KINDS], 1);
    let p = plan(&op, &x);
    x[p.alpha] = x[p.alpha].cast(DType::Bf16);
    assert!(forward(e, &op, &p, &x).unwrap().is_none());
}
