//! Maps that are computed once more against maps that are kept: bit by bit the same gradients, on the host and by launches.

use super::tests::{HALVED, KINDS, node, plan, random, size};
use super::*;
use crate::rng::Rng;
use crate::tape::{Backward, Grad, Op, Output};
use crate::tensor::Shape;

/// A node and its operands, all of which want a gradient.
struct Case {
    op: MixedNode,
    x: Vec<Tensor>,
    dy: Tensor,
}

fn case(s: [usize; 5], edges: &[&[Candidate]], dtype: DType) -> Case {
    let (op, x) = node(size(s), edges, 5);
    let p = plan(&op, &x);
    let stored = |(i, t): (usize, &Tensor)| match is_map(&p, i) {
        true => t.cast(dtype),
        false => t.clone(),
    };
    let shapes: Vec<Shape> = x.iter().map(|t| *t.shape()).collect();
    let shape = op.infer(&shapes).unwrap();
    Case {
        dy: random(&mut Rng::new(2, &[]), shape.dims(), 0.2).cast(dtype),
        x: x.iter().enumerate().map(stored).collect(),
        op,
    }
}

/// The bits of a node's value and of all gradients, and the elements of what is saved for the way back.
fn run(c: &Case, e: Option<Engine>, recompute: bool) -> (Vec<Vec<u64>>, usize) {
    let op = MixedNode {
        recompute,
        ..c.op.clone()
    };
    let Output { y, saved } = match e {
        Some(e) => op.forward_device(e, &c.x).unwrap().expect("kernels"),
        None => op.forward(&c.x).unwrap(),
    };
    let (x, need): (Vec<_>, Vec<_>) = c.x.iter().map(|t| (Some(t.clone()), true)).unzip();
    let shapes: Vec<Shape> = c.x.iter().map(|t| *t.shape()).collect();
    let b = Backward {
        x: &x,
        shapes: &shapes,
        y: None,
        saved: &saved,
        dy: &c.dy,
        terms: &[],
        need: &need,
    };
    let dx = match e {
        Some(e) => op.backward_device(e, &b).unwrap().expect("kernels"),
        None => op.backward(&b).unwrap(),
    };
    let bits = |t: &Tensor| t.to_f64().into_iter().map(f64::to_bits).collect();
    let mut all = vec![bits(&y)];
    all.extend(dx.iter().flatten().map(|g| match g {
        Grad::Whole(t)
        | Grad::Channels { dx: t, .. }
        | Grad::Within { dx: t, .. }
        | Grad::Chunks(t) => bits(t),
    }));
    (all, saved.iter().map(|t| t.shape().numel()).sum())
}

fn same(s: [usize; 5], edges: &[&[Candidate]], dtype: DType, e: Option<Engine>) {
    let c = case(s, edges, dtype);
    let (kept, again) = (run(&c, e, false), run(&c, e, true));
    let at = format!("{s:?} of {edges:?} in {dtype:?} on {e:?}");
    assert!(kept.0 == again.0, "{at}");
    let p = plan(&c.op, &c.x);
    let maps = p.maps * p.n * p.active();
    assert_eq!(kept.1 - again.1, maps, "{at}");
    assert!(again.1 <= 4 * p.maps.max(1) * p.a, "{at}: {}", again.1);
}

const SIZES: [[usize; 5]; 3] = [[2, 2, 4, 5, 9], [3, 4, 2, 4, 4], [1, 1, 6, 7, 5]];

#[test]
fn the_host_computes_the_same_bits_once_more() {
    for s in SIZES {
        let edges: [&[Candidate]; 3] = [&KINDS, &[], &HALVED];
        let edges = if s[1] == 1 { &edges[..2] } else { &edges[..] };
        same(s, edges, DType::F32, None);
    }
    same(SIZES[0], &[&[]], DType::F32, None);
}

#[test]
fn so_do_the_launches() {
    for (i, s) in SIZES.into_iter().enumerate() {
        let e = Some(Engine::emulated(1 + i as u64 % 2));
        let edges: [&[Candidate]; 3] = [&KINDS, &HALVED, &[]];
        let edges = if s[1] == 1 { &edges[..1] } else { &edges[..] };
        for dtype in [DType::F32, DType::Bf16] {
            same(s, edges, dtype, e);
        }
    }
    same(
        [2, 2, 3, 4, 4],
        &[&[Candidate::Skip]],
        DType::F32,
        Some(Engine::emulated(1)),
    );
}

/// What launches saved without maps serves the host's way back.
#[test]
fn the_host_takes_statistics_that_a_device_saved() {
    let e = Engine::emulated(1);
    let c = case([2, 2, 3, 5, 6], &[&KINDS, &KINDS[..2]], DType::F32);
    let gradients = |recompute: bool| {
        let op = MixedNode {
            recompute,
            ..c.op.clone()
        };
        let saved = op.forward_device(e, &c.x).unwrap().expect("kernels").saved;
        let (x, need): (Vec<_>, Vec<_>) = c.x.iter().map(|t| (Some(t.clone()), true)).unzip();
        let shapes: Vec<Shape> = c.x.iter().map(|t| *t.shape()).collect();
        let b = Backward {
            x: &x,
            shapes: &shapes,
            y: None,
            saved: &saved,
            dy: &c.dy,
            terms: &[],
            need: &need,
        };
        op.backward(&b).unwrap()
    };
    for (i, (k, a)) in gradients(false).iter().zip(gradients(true)).enumerate() {
        let (Some(Grad::Whole(k)), Some(Grad::Whole(a))) = (k, &a) else {
            panic!("operand {i}");
        };
        super::tests::near(&format!("operand {i}"), a, k, 3e-5).unwrap();
    }
}

#[test]
fn two_launches_more_and_no_fetch() {
    let e = Engine::emulated(1);
    let c = case([1, 2, 3, 4, 4], &[&KINDS, &KINDS], DType::F32);
    let launches = |recompute: bool| {
        let before = e.counts().launches;
        run(&c, Some(e), recompute);
        e.counts().launches - before
    };
    assert_eq!(launches(true), launches(false) + 2);
}
