//! The launches against the definition in f64, at sizes whose tiles have tails; small cases that reach every line of the kernels.

use super::super::CellEdge;
use super::*;
use crate::error::{Code, Error};
use crate::rng::Rng;
use crate::tape::{Backward, Grad, Op};
use crate::tensor::Shape;

const MAX: Choice = Choice::Pool(Kind::Max);
const MEAN: Choice = Choice::Pool(Kind::Average);
const SKIP: Choice = Choice::Of(Candidate::Skip);
const SEP3: Choice = Choice::Of(Candidate::Separable(3));
const SEP5: Choice = Choice::Of(Candidate::Separable(5));
const DIL3: Choice = Choice::Of(Candidate::Dilated(3));
const DIL5: Choice = Choice::Of(Candidate::Dilated(5));
const REDUCED: Choice = Choice::Of(Candidate::Reduced);

/// What the kernels compute, all kinds.
const KINDS: [Choice; 7] = [SEP3, MAX, SKIP, DIL5, MEAN, SEP5, DIL3];
/// Those of an edge that halves the map.
const HALVED: [Choice; 7] = [SEP5, REDUCED, DIL5, MAX, SEP3, MEAN, DIL3];

/// A cell: images, k, mixed channels, sides; nodes; whether it halves the map.
#[derive(Debug, Clone, Copy)]
struct Case {
    size: [usize; 5],
    nodes: usize,
    halves: bool,
    /// The candidates of edge i begin with the i-th of their list, so many of them.
    each: usize,
    dtype: DType,
    recompute: bool,
}

impl Case {
    const fn of(size: [usize; 5], nodes: usize, each: usize) -> Case {
        Case {
            size,
            nodes,
            halves: false,
            each,
            dtype: DType::F32,
            recompute: false,
        }
    }

    const fn halved(self) -> Case {
        Case {
            halves: true,
            ..self
        }
    }

    const fn bf16(self) -> Case {
        Case {
            dtype: DType::Bf16,
            ..self
        }
    }
}

fn random(r: &mut Rng, shape: &[usize], offset: f64) -> Tensor {
    let shape = Shape::new(shape);
    let v = (0..shape.numel()).map(|_| r.normal() + offset).collect();
    Tensor::from_f64(shape, v).unwrap().cast(DType::F32)
}

/// A cell and its operands, maps as they are stored.
fn cell(c: Case) -> (MixedCell, Vec<Tensor>) {
    let [n, k, a, h, w] = c.size;
    let mut r = Rng::new(7, &[1]);
    let (mut x, mut own, mut nodes, mut beta) = (vec![], vec![], vec![], 0);
    let side = if c.halves { 2 } else { 1 };
    for _ in 0..INPUTS {
        x.push(random(&mut r, &[n, a * k, side * h, side * w], 0.1));
    }
    for node in 0..c.nodes {
        let mut edges = vec![];
        for from in 0..INPUTS + node {
            let list = if c.halves && from < INPUTS {
                HALVED
            } else {
                KINDS
            };
            let even = |c: &Choice| *c != REDUCED || a.is_multiple_of(2);
            let own_of = list.into_iter().cycle().skip(beta % 7).filter(even);
            let candidates: Vec<_> = own_of.take(c.each).enumerate().collect();
            for &(_, choice) in &candidates {
                let Choice::Of(candidate) = choice else {
                    continue;
                };
                if choice == REDUCED {
                    own.extend([0, 1].map(|_| random(&mut r, &[a / 2, a, 1, 1], 0.1)));
                } else if let Some((side, _)) = candidate.kernel() {
                    for _ in 0..candidate.operands() / 2 {
                        own.push(random(&mut r, &[a, 1, side, side], 0.1));
                        own.push(random(&mut r, &[a, a, 1, 1], 0.1));
                    }
                }
            }
            let candidates = candidates.into_iter().map(|(i, c)| (c, 7 * beta + i));
            edges.push(CellEdge {
                from,
                beta,
                candidates: candidates.collect(),
            });
            beta += 1;
        }
        nodes.push(edges);
    }
    let mut x: Vec<Tensor> = x.iter().map(|t| t.cast(c.dtype)).collect();
    x.push(random(&mut r, &[beta, 7], 0.0));
    x.push(random(&mut r, &[beta], 0.0));
    x.extend(own);
    let op = MixedCell {
        nodes,
        halves: c.halves,
        k,
        eps: 1e-3,
        recompute: c.recompute,
    };
    (op, x)
}

fn plan(op: &MixedCell, x: &[Tensor]) -> Plan {
    Plan::new(op, &shapes(op, x))
}

fn shapes(op: &MixedCell, x: &[Tensor]) -> Vec<Shape> {
    let shapes: Vec<Shape> = x.iter().map(|x| *x.shape()).collect();
    op.infer(&shapes).unwrap();
    shapes
}

/// Whether two tensors of one shape are near: each value by `most` times the largest of `want`, or all together by that share of their
/// norm where a rounded value may be on the other side of a kink.
fn near(what: &str, got: &Tensor, want: &Tensor, dtype: DType) -> Result<()> {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let (got, want) = (got.to_f64(), want.to_f64());
    let far = match dtype {
        DType::F32 => {
            let large = want.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
            let over = |(g, w): (&f64, &f64)| !((g - w).abs() <= 2e-4 * large);
            got.iter().zip(&want).position(|p| over((p.0, p.1)))
        }
        _ => {
            let norm = |v: &mut dyn Iterator<Item = f64>| v.map(|v| v * v).sum::<f64>().sqrt();
            let apart = norm(&mut got.iter().zip(&want).map(|(g, w)| g - w));
            let near = apart <= 0.08 * norm(&mut want.iter().copied()) + 1e-3;
            (!near).then_some(0)
        }
    };
    match far {
        None => Ok(()),
        Some(i) => {
            let text = format!("{what}[{i}] is {:e} on the device, {:e}", got[i], want[i]);
            Err(Error::new(Code::CheckFailed, text))
        }
    }
}

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
    /// Every second map.
    Some,
}

impl Wants {
    fn of(self, p: &Plan, i: usize) -> bool {
        let (mixture, map) = (i == p.alpha || i == p.beta, i < p.alpha);
        match self {
            Wants::All => true,
            Wants::Arch => mixture || map,
            Wants::Weights => !mixture,
            Wants::OnlyWeights => !mixture && !map,
            Wants::Some => map && i % 2 == 1,
        }
    }
}

/// A gradient of the whole operand.
fn whole(g: Grad) -> Tensor {
    match g {
        Grad::Whole(t) => t,
        _ => panic!("another kind of gradient"),
    }
}

/// Everything that a device computes of a case: the value, what is saved, and gradients.
struct Done {
    y: Tensor,
    saved: Vec<Tensor>,
    grads: Vec<Option<Tensor>>,
}

fn given(of: &[Tensor]) -> Vec<Option<Tensor>> {
    of.iter().cloned().map(Some).collect()
}

fn gradient(op: &MixedCell, x: &[Tensor]) -> Tensor {
    let shape = op.infer(&shapes(op, x)).unwrap();
    random(&mut Rng::new(2, &[]), shape.dims(), 0.2).cast(x[0].dtype())
}

fn run(e: Engine, op: &MixedCell, x: &[Tensor], wants: Wants) -> Result<Done> {
    let (p, shapes, dy) = (plan(op, x), shapes(op, x), gradient(op, x));
    let out = forward(e, op, &p, x)?.expect("a cell that fits");
    e.healthy()?;
    let need: Vec<bool> = (0..x.len()).map(|i| wants.of(&p, i)).collect();
    let b = Backward {
        x: &given(x),
        shapes: &shapes,
        y: Some(&out.y),
        saved: &out.saved,
        dy: &dy,
        terms: &[],
        so_far: &[],
        need: &need,
    };
    let grads = backward(e, op, &p, &b)?.expect("a cell that fits");
    e.healthy()?;
    Ok(Done {
        y: out.y,
        saved: out.saved,
        grads: grads.into_iter().map(|g| g.map(whole)).collect(),
    })
}

/// Both directions on the device against the definition.
fn agree(e: Engine, c: Case, wants: Wants) -> Result<()> {
    let (op, x) = cell(c);
    let p = plan(&op, &x);
    let got = run(e, &op, &x, wants)?;
    let wide: Vec<Tensor> = x.iter().map(|t| t.cast(DType::F64)).collect();
    let y = op.forward(&wide)?.y;
    near(&format!("{c:?}: y"), &got.y, &y, c.dtype)?;
    let stats = got.saved.last().unwrap();
    let count = (c.size[0] * c.size[3] * c.size[4]) as f32;
    let counts = stats.f32s().chunks(4 * p.a).take(p.maps);
    assert!(counts.flat_map(|m| &m[3 * p.a..]).all(|&c| c == count));
    let need: Vec<bool> = (0..x.len()).map(|i| wants.of(&p, i)).collect();
    let want = op.backward(&Backward {
        x: &given(&wide),
        shapes: &shapes(&op, &x),
        y: None,
        saved: &[],
        dy: &gradient(&op, &x).cast(DType::F64),
        terms: &[],
        so_far: &[],
        need: &need,
    })?;
    for (i, (g, w)) in got.grads.iter().zip(want).enumerate() {
        let at = format!("{c:?}, {wants:?}: operand {i}");
        match (g, w) {
            (Some(g), Some(w)) => near(&at, g, &whole(w), c.dtype)?,
            (g, w) => assert!(g.is_none() && w.is_none(), "{at}"),
        }
    }
    Ok(())
}

const WANTS: [Wants; 5] = [
    Wants::All,
    Wants::Arch,
    Wants::Weights,
    Wants::OnlyWeights,
    Wants::Some,
];

/// Sizes with tails in every direction, more than a tile, more channels than a group and than a warp's, several chunks.
const SIZES: [[usize; 5]; 12] = [
    [2, 1, 2, 3, 4],
    [1, 2, 2, 4, 8],
    [3, 4, 3, 5, 2],
    [1, 1, 5, 7, 33],
    [2, 2, 4, 9, 40],
    [1, 4, 9, 2, 7],
    [1, 2, 16, 40, 12],
    [2, 1, 20, 3, 16],
    [1, 1, 33, 3, 12],
    [1, 2, 64, 5, 4],
    [1, 1, 18, 3, 37],
    [2, 2, 2, 33, 36],
];

/// Few cases that between them reach every line of the kernels of edges that keep the size.
pub fn cases(e: Engine) -> Result<()> {
    agree(e, Case::of([2, 2, 4, 5, 20], 2, 7), Wants::All)?;
    agree(e, Case::of(SIZES[3], 1, 7).bf16(), Wants::Weights)?;
    agree(e, Case::of(SIZES[10], 1, 3), Wants::All)?;
    agree(e, Case::of([1, 2, 2, 33, 36], 1, 4).bf16(), Wants::Arch)
}

/// The same of edges that halve the map.
pub fn halving_cases(e: Engine) -> Result<()> {
    agree(e, Case::of([2, 2, 2, 3, 5], 2, 7).halved(), Wants::All)?;
    agree(e, Case::of([1, 4, 6, 9, 20], 1, 7).halved(), Wants::Weights)?;
    agree(
        e,
        Case::of([1, 1, 18, 5, 8], 1, 7).halved().bf16(),
        Wants::All,
    )?;
    agree(e, Case::of([1, 2, 2, 17, 18], 1, 3).halved(), Wants::Arch)
}

#[test]
fn both_directions_agree_with_the_definition() {
    for (i, s) in SIZES.into_iter().enumerate() {
        let e = Engine::emulated(1 + u64::from(i % 3 == 0));
        let case = Case::of(s, 1 + (i + s[2] / 20) % 2, 2 + i % 3);
        agree(e, case, WANTS[i % 5]).unwrap();
        if s[2] < 20 {
            agree(e, Case { nodes: 1, ..case }.bf16(), WANTS[(i + 2) % 5]).unwrap();
        }
    }
}

#[test]
fn edges_that_halve_the_map_agree() {
    halving_cases(Engine::emulated(2)).unwrap();
    for (i, wants) in WANTS.into_iter().enumerate() {
        let s = [[2, 2, 2, 3, 5], [3, 1, 2, 1, 9], [1, 4, 18, 3, 7]][i % 3];
        let case = Case::of(s, 1 + i % 2, 3 + i % 3).halved();
        agree(Engine::emulated(2), case, wants).unwrap();
    }
}

#[test]
fn a_whole_cell_agrees() {
    let e = Engine::emulated(1);
    agree(e, Case::of([2, 4, 2, 6, 8], 4, 7), Wants::All).unwrap();
    let halved = Case::of([2, 4, 2, 4, 6], 4, 7).halved();
    agree(e, halved, Wants::All).unwrap();
}

#[test]
fn every_kind_agrees_alone() {
    let e = Engine::emulated(1);
    for i in 0..7 {
        // The list of edge i begins with the i-th.
        let (mut op, mut x) = cell(Case::of([1, 2, 4, 6, 9], 3, 1));
        let weights: usize = (0..i).map(|e| weights_of(&op, e)).sum();
        let one = op.nodes.concat().swap_remove(i);
        let from = one.from.min(1);
        let first = INPUTS + 2 + weights;
        let own = x[first..first + weights_of(&op, i)].to_vec();
        x.truncate(INPUTS + 2);
        x.extend(own);
        op.nodes = vec![vec![CellEdge { from, ..one }]];
        let got = run(e, &op, &x, Wants::All).unwrap();
        let wide: Vec<Tensor> = x.iter().map(|t| t.cast(DType::F64)).collect();
        let y = op.forward(&wide).unwrap().y;
        near(&format!("kind {i}"), &got.y, &y, DType::F32).unwrap();
    }
}

fn weights_of(op: &MixedCell, edge: usize) -> usize {
    let edges = op.nodes.concat();
    edges[edge].candidates.iter().map(|c| c.0.weights()).sum()
}

#[test]
fn computing_maps_again_gives_the_same_bits() {
    let e = Engine::emulated(1);
    for case in [
        Case::of([2, 2, 4, 5, 8], 2, 7),
        Case::of([1, 2, 2, 4, 6], 2, 7).halved().bf16(),
    ] {
        let (mut op, x) = cell(case);
        let kept = run(e, &op, &x, Wants::All).unwrap();
        op.recompute = true;
        let again = run(e, &op, &x, Wants::All).unwrap();
        assert_eq!((kept.saved.len(), again.saved.len()), (4, 1));
        assert_eq!(kept.y, again.y);
        assert_eq!(kept.grads, again.grads);
    }
}

#[test]
fn a_cell_has_so_many_launches_and_no_fetch() {
    let e = Engine::emulated(1);
    for (halves, wants, launches) in [
        (false, Wants::Arch, [12, 13]),
        (false, Wants::Weights, [12, 14]),
        (true, Wants::Arch, [12, 13]),
        (true, Wants::Weights, [12, 15]),
    ] {
        let case = Case::of([1, 2, 2, 4, 4], 4, 7);
        let (op, x) = cell(Case { halves, ..case });
        let (p, shapes, dy) = (plan(&op, &x), shapes(&op, &x), gradient(&op, &x));
        let need: Vec<bool> = (0..x.len()).map(|i| wants.of(&p, i)).collect();
        run(e, &op, &x, wants).unwrap();
        let before = e.counts();
        let out = forward(e, &op, &p, &x).unwrap().unwrap();
        let between = e.counts();
        let b = Backward {
            x: &given(&x),
            shapes: &shapes,
            y: Some(&out.y),
            saved: &out.saved,
            dy: &dy,
            terms: &[],
            so_far: &[],
            need: &need,
        };
        dy.arg(e).unwrap();
        let uploaded = e.counts().uploaded;
        backward(e, &op, &p, &b).unwrap();
        let after = e.counts();
        let both = [
            between.launches - before.launches,
            after.launches - between.launches,
        ];
        assert_eq!(both, launches, "{wants:?}");
        assert_eq!(
            (after.downloaded, after.uploaded),
            (before.downloaded, uploaded)
        );
    }
}

#[test]
fn nothing_is_launched_for_maps_without_values() {
    let e = Engine::emulated(1);
    let before = e.counts().launches;
    let (op, x) = cell(Case::of([0, 2, 3, 4, 4], 2, 3));
    let got = run(e, &op, &x, Wants::All).unwrap();
    assert_eq!(got.y.dims(), [0, 12, 4, 4]);
    assert_eq!(e.counts().launches, before);
}

#[test]
fn what_does_not_fit_is_refused() {
    let fits = |a: usize, nodes: usize, each: usize| {
        let (op, _) = cell(Case::of([1, 1, 2, 2, 2], nodes, each));
        op.fits_device(a)
    };
    assert!(fits(64, 4, 7));
    assert!(!fits(65, 4, 7));
    // More edges, then more candidates, than there is room for.
    assert!(!fits(2, 8, 1));
    assert!(!fits(2, 4, 13));
    let (mut op, x) = cell(Case::of([1, 1, 2, 2, 2], 1, 1));
    let mut narrow = x.clone();
    narrow[2] = narrow[2].cast(DType::Bf16);
    let e = Engine::emulated(1);
    assert!(forward(e, &op, &plan(&op, &x), &narrow).unwrap().is_none());
    op.nodes[0][0].candidates[0].0 = Choice::Of(Candidate::Separable(7));
    assert!(!op.fits_device(2));
}
