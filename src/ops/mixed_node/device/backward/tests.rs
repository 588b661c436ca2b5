//! The launches of the way back against the host's path over the same stored maps.

use super::super::tests::{HALVED, KINDS, Size, near, node, plan, random, size};
use super::super::{forward, is_map, on_host};
use super::*;
use crate::ops::mixed_node::Candidate;
use crate::rng::Rng;
use crate::tape::Op;
use crate::tensor::Shape;

/// Which operands want a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wants {
    All,
    /// Alpha, beta and maps.
    Arch,
    /// Weights and maps.
    Weights,
    /// Weights, but no map.
    OnlyWeights,
    /// Pooled maps and every second edge.
    Some,
}

impl Wants {
    fn of(self, p: &Plan, i: usize) -> bool {
        let mixture = i == p.alpha || i == p.beta;
        let map = is_map(p, i);
        match self {
            Wants::All => true,
            Wants::Arch => mixture || map,
            Wants::Weights => !mixture,
            Wants::OnlyWeights => !mixture && !map,
            Wants::Some => map && (i > p.alpha || i % 2 == 1),
        }
    }
}

fn given(of: &[Tensor]) -> Vec<Option<Tensor>> {
    of.iter().cloned().map(Some).collect()
}

/// The gradients on the device and those that the host takes from what the device has stored.
fn agree(
    e: Engine,
    s: Size,
    edges: &[&[Candidate]],
    dtype: DType,
    wants: Wants,
) -> Result<Vec<Option<Grad>>> {
    let (op, x) = node(s, edges, 9);
    let p = plan(&op, &x);
    let stored = |(i, t): (usize, &Tensor)| match is_map(&p, i) {
        true => t.cast(dtype),
        false => t.clone(),
    };
    let stored: Vec<Tensor> = x.iter().enumerate().map(stored).collect();
    let wide: Vec<Tensor> = stored.iter().map(|t| t.cast(DType::F32)).collect();
    let shapes: Vec<Shape> = x.iter().map(|t| *t.shape()).collect();
    let shape = op.infer(&shapes)?;
    let dy = random(&mut Rng::new(2, &[]), shape.dims(), 0.2).cast(dtype);
    let need: Vec<bool> = (0..x.len()).map(|i| wants.of(&p, i)).collect();
    let out = forward(e, &op, &p, &stored)?.expect("a node that fits");
    let got = backward(
        e,
        &op,
        &p,
        &Backward {
            x: &given(&stored),
            shapes: &shapes,
            y: None,
            saved: &out.saved,
            dy: &dy,
            terms: [&[], &[]],
            need: &need,
        },
    )?
    .expect("a node that fits");
    e.healthy()?;
    let saved = on_host(&p, &out.saved, DType::F32);
    let want = op.backward(&Backward {
        x: &given(&wide),
        shapes: &shapes,
        y: None,
        saved: &saved,
        dy: &dy.cast(DType::F32),
        terms: [&[], &[]],
        need: &need,
    })?;
    let most = if dtype == DType::F32 { 3e-5 } else { 2e-2 };
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        let at = format!("{s:?} of {edges:?}, {wants:?}: operand {i}");
        match (g, w) {
            (Some(Grad::Whole(g)), Some(Grad::Whole(w))) => near(&at, g, w, most)?,
            (
                Some(Grad::Channels { start: a, dx: g }),
                Some(Grad::Channels { start: b, dx: w }),
            ) => {
                assert_eq!(a, b, "{at}");
                near(&at, g, w, most)?;
            }
            (None, None) => {}
            _ => panic!(
                "{at}: {} on the device, {} on the host",
                g.is_some(),
                w.is_some()
            ),
        }
        let g = g.as_ref().map(|g| match g {
            Grad::Whole(t) | Grad::Channels { dx: t, .. } | Grad::Within { dx: t, .. } => t.dtype(),
        });
        assert!(g.is_none_or(|d| d == stored[i].dtype()), "{at}");
    }
    Ok(got)
}

/// Tiles of every width, tails, several tiles and chunks, more channels than a group.
const SIZES: [[usize; 5]; 6] = [
    [2, 1, 2, 5, 6],
    [1, 4, 3, 9, 18],
    [1, 2, 18, 3, 6],
    [1, 2, 4, 17, 33],
    [1, 2, 5, 33, 4],
    [2, 2, 4, 4, 12],
];
const WANTS: [Wants; 5] = [
    Wants::All,
    Wants::Arch,
    Wants::Weights,
    Wants::OnlyWeights,
    Wants::Some,
];

/// Few cases that between them reach every line.
pub fn backward_cases(e: Engine) -> Result<()> {
    for (i, s) in [0, 1, 2].into_iter().enumerate() {
        let edges: [&[Candidate]; 3] = [&KINDS, &[], &KINDS[2..4]];
        let dtype = [DType::F32, DType::Bf16][i % 2];
        agree(e, size(SIZES[s]), &edges[..2 + i % 2], dtype, WANTS[i])?;
    }
    Ok(())
}

/// Nodes with edges that halve the map: more channels than a group, several tiles, chunks, edges; states of more channels.
const HALVING: [[usize; 5]; 6] = [
    [2, 2, 2, 3, 5],
    [1, 4, 6, 9, 20],
    [1, 1, 16, 5, 8],
    [1, 2, 4, 17, 18],
    [3, 1, 2, 1, 9],
    [1, 4, 18, 3, 7],
];

/// Few cases that between them reach every line of the kernels of edges that halve the map.
pub fn halving_cases(e: Engine) -> Result<()> {
    for (i, s) in HALVING.into_iter().enumerate() {
        halving(e, s, [DType::F32, DType::Bf16][i % 2], WANTS[i % 5])?;
    }
    Ok(())
}

fn halving(e: Engine, s: [usize; 5], dtype: DType, wants: Wants) -> Result<()> {
    let (all, some, whole) = (&HALVED[..], &HALVED[1..5], &KINDS[..3]);
    // The second edge's state has a channel more, which needs an operand of what bypasses.
    let edges: &[&[Candidate]] = match (s[1], s[2] % 3) {
        (1, _) => &[all, whole],
        (_, 0) => &[all],
        (_, 1) => &[whole, some],
        _ => &[all, some, whole],
    };
    agree(e, size(s), edges, dtype, wants).map(|_| ())
}

#[test]
fn edges_that_halve_the_map_agree() {
    let e = Engine::emulated(2);
    halving_cases(e).unwrap();
    for (i, wants) in WANTS.into_iter().enumerate() {
        halving(
            e,
            HALVING[i % 2 * 4],
            [DType::Bf16, DType::F32][i % 2],
            wants,
        )
        .unwrap();
    }
}

#[test]
fn whatever_kind_halves_the_map_agrees() {
    let e = Engine::emulated(1);
    for c in HALVED.into_iter().filter(|c| *c != Candidate::Reduced) {
        let edges: [&[Candidate]; 1] = [&[Candidate::Reduced, c]];
        agree(e, size([1, 2, 4, 4, 5]), &edges, DType::F32, Wants::All).unwrap();
    }
}

#[test]
fn the_backward_agrees_with_the_hosts() {
    let e = Engine::emulated(2);
    for (i, s) in SIZES.into_iter().enumerate() {
        let dtype = [DType::F32, DType::Bf16][i / 2 % 2];
        let edges: [&[Candidate]; 3] = [&KINDS[i % 3..][..3 + i % 2], &[], &KINDS[3..4]];
        agree(e, size(s), &edges[..1 + i % 3], dtype, WANTS[i % 5]).unwrap();
    }
}

#[test]
fn whatever_is_wanted_of_nodes_of_one_kind_agrees() {
    let e = Engine::emulated(1);
    for (i, c) in KINDS.into_iter().enumerate() {
        let wants = WANTS[i % 5];
        agree(e, size([1, 2, 4, 6, 9]), &[&[c]], DType::F32, wants).unwrap();
    }
    let edges: [&[Candidate]; 2] = [&[], &[]];
    agree(e, size([2, 2, 4, 6, 9]), &edges, DType::Bf16, Wants::Arch).unwrap();
}

#[test]
fn a_phase_has_so_many_launches_and_no_fetch() {
    let e = Engine::emulated(1);
    let whole: [&[Candidate]; 2] = [&KINDS; 2];
    let halved: [&[Candidate]; 3] = [&HALVED, &KINDS, &HALVED];
    for (edges, wants, launches) in [
        (&whole[..], Wants::Arch, 4),
        (&whole[..], Wants::Weights, 5),
        (&halved[..], Wants::Arch, 5),
        (&halved[..], Wants::Weights, 7),
    ] {
        let (op, x) = node(size([1, 2, 4, 4, 4]), edges, 1);
        let p = plan(&op, &x);
        let shapes: Vec<Shape> = x.iter().map(|t| *t.shape()).collect();
        let need: Vec<bool> = (0..x.len()).map(|i| wants.of(&p, i)).collect();
        let saved = forward(e, &op, &p, &x).unwrap().unwrap().saved;
        let dy = random(&mut Rng::new(2, &[]), &[1, 8, 4, 4], 0.0);
        let b = Backward {
            x: &given(&x),
            shapes: &shapes,
            y: None,
            saved: &saved,
            dy: &dy,
            terms: [&[], &[]],
            need: &need,
        };
        backward(e, &op, &p, &b).unwrap();
        let before = e.counts();
        backward(e, &op, &p, &b).unwrap();
        let after = e.counts();
        assert_eq!(after.launches - before.launches, launches);
        let moved = |c: crate::backend::engine::Counts| (c.downloaded, c.uploaded);
        assert_eq!(moved(after), moved(before));
    }
}
