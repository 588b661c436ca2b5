//! A search problem whose answer is known: does the search find what is there, and nothing where nothing is?
//!
//! A teacher is a search cell with fixed random operations whose mixing weights are one-hot: the planted genotype. A fixed
//! random linear head over its nodes names the class of every pixel. The student has the same operations, also fixed, so
//! that on every edge exactly one operation explains the labels; its architecture parameters start as in every search, its
//! own head starts at random. Both are trained by the bi-level step of the engine: the head on the weight half, the
//! architecture on the other half. Trained operations would make the answer ambiguous (a 5x5 convolution can become a
//! 3x3 one), which is why they stay fixed here. With shuffled labels every image gets the classes of another one.

use super::bilevel::{Learner, Loss, Order};
use crate::error::Result;
use crate::nn::{Bias, Builder, Conv2d, Map, Mode, Pass, Store};
use crate::ops::{self, Conv2dParams, CrossEntropy};
use crate::optim::config::{AdamConfig, Schedule, ScheduleKind, SgdConfig};
use crate::optim::rate;
use crate::rng::{Rng, word};
use crate::space::arch::{ArchGroup, ArchOptions};
use crate::space::random::{NoneDraws, one_hot, random_genotype};
use crate::space::search_cell::SearchBody;
use crate::space::{CellGenotype, Genotype, Mixture, Primitive};
use crate::tape::{Cx, Var};
use crate::tensor::{DType, Tensor};

/// Number of different primitives that every planted cell has at least.
const DISTINCT: usize = 4;
const TEACHER: Mode = Mode {
    grad_arch: false,
    ..Mode::ARCH_STEP
};

/// Sizes of the problem and of the search.
#[derive(Debug, Clone, PartialEq)]
pub struct Planted {
    /// Seed of everything.
    pub seed: u64,
    /// Intermediate nodes of the cell: 3 make 9 edges, of which 6 are planted.
    pub nodes: usize,
    /// Channels of each node.
    pub channels: usize,
    /// Rows and columns of the maps, in pixels.
    pub side: usize,
    /// Classes of a pixel.
    pub classes: usize,
    /// Images of each half.
    pub images: usize,
    /// Images of a step.
    pub batch: usize,
    /// Steps; the first tenth trains the head alone.
    pub steps: u64,
    /// Rate of the architecture.
    pub alpha_lr: f64,
    /// Rate of the head.
    pub head_lr: f64,
    /// Give every image the labels of another one: a control in which there is nothing to find.
    pub shuffle_labels: bool,
    /// dtype of activations (f32, f64 or bf16).
    pub activations: DType,
}

impl Planted {
    /// The problem that the tests and the benches take.
    pub fn new(seed: u64) -> Planted {
        Planted {
            seed,
            nodes: 3,
            channels: 4,
            side: 8,
            classes: 12,
            images: 64,
            batch: 16,
            steps: 120,
            alpha_lr: 0.1,
            head_lr: 0.3,
            shuffle_labels: false,
            activations: DType::F32,
        }
    }
}

/// What a search of a planted problem found.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovery {
    /// The planted cell, entries of a node by predecessor.
    pub planted: CellGenotype,
    /// The derived cell, likewise.
    pub found: CellGenotype,
    /// Loss on the architecture half, at the first and the last architecture step.
    pub loss: [f64; 2],
}

impl Recovery {
    /// Entries, (operation, predecessor) of a node, that are right.
    pub fn right(&self) -> usize {
        let nodes = self.planted.chunks(2).zip(self.found.chunks(2));
        nodes
            .map(|(a, b)| b.iter().filter(|e| a.contains(e)).count())
            .sum()
    }

    /// Whether all of them are.
    pub fn whole(&self) -> bool {
        self.right() == self.planted.len()
    }

    /// Number of different primitives in the planted cell.
    pub fn distinct(&self) -> usize {
        let mut ops: Vec<Primitive> = self.planted.iter().map(|e| e.0).collect();
        ops.sort();
        ops.dedup();
        ops.len()
    }
}

/// The planted genotype of a seed: random, with at least four different primitives in its normal cell.
fn plant(seed: u64, nodes: usize) -> Genotype {
    let mut draw = 0;
    loop {
        let g = random_genotype(
            &mut Rng::new(seed, &[word("planted"), draw]),
            nodes,
            NoneDraws::Exclude,
        );
        let cell = by_predecessor(&g.normal);
        let r = Recovery {
            planted: cell.clone(),
            found: cell,
            loss: [0.0; 2],
        };
        if r.distinct() >= DISTINCT.min(2 * nodes) {
            return g;
        }
        draw += 1;
    }
}

/// The same cell with the two entries of each node in the order of their predecessors.
fn by_predecessor(cell: &[(Primitive, usize)]) -> CellGenotype {
    let mut cell = cell.to_vec();
    cell.chunks_mut(2)
        .for_each(|node| node.sort_by_key(|e| e.1));
    cell
}

/// Images of a half: two cell inputs and a class for each pixel.
struct Half {
    inputs: [Tensor; 2],
    labels: Tensor,
}

impl Half {
    fn rows(&self, which: &[usize]) -> Result<Half> {
        Ok(Half {
            inputs: [
                rows_f32(&self.inputs[0], which)?,
                rows_f32(&self.inputs[1], which)?,
            ],
            labels: rows_i32(&self.labels, which)?,
        })
    }
}

fn shape_of(t: &Tensor, n: usize) -> crate::tensor::Shape {
    let mut dims = t.dims().to_vec();
    dims[0] = n;
    crate::tensor::Shape::new(&dims)
}

fn rows_f32(t: &Tensor, which: &[usize]) -> Result<Tensor> {
    let size = t.numel() / t.dims()[0];
    let v = which
        .iter()
        .flat_map(|&i| t.f32s()[i * size..][..size].to_vec())
        .collect();
    Tensor::from_f32(shape_of(t, which.len()), v)
}

fn rows_i32(t: &Tensor, which: &[usize]) -> Result<Tensor> {
    let size = t.numel() / t.dims()[0];
    let v = which
        .iter()
        .flat_map(|&i| t.i32s()[i * size..][..size].to_vec())
        .collect();
    Tensor::from_i32(shape_of(t, which.len()), v)
}

/// A cell with a pixel-wise linear head, each with its own values.
struct Problem {
    body: SearchBody,
    group: ArchGroup,
    head: Conv2d,
}

impl Problem {
    fn features(
        &self,
        p: &Pass,
        inputs: &[Tensor; 2],
        dtype: DType,
        mixture: &Mixture,
    ) -> Result<Var> {
        let leaf = |t: &Tensor| p.tape.leaf(t.cast(dtype));
        let inputs = [leaf(&inputs[0]), leaf(&inputs[1])];
        self.body.forward(p, inputs, mixture.cell(false))?.concat()
    }
}

fn cross_entropy(logits: &Var, labels: &Tensor) -> Result<Loss> {
    let labels = logits.tape().leaf(labels.clone());
    Ok(Loss {
        total: ops::cross_entropy(logits, &labels, CrossEntropy::default())?,
        parts: vec![],
    })
}

/// Plants a genotype, searches for it, derives. A pure function of its argument.
///
/// # Errors
/// Those of the ops; a loss that is not finite.
pub fn search(c: &Planted) -> Result<Recovery> {
    let options = ArchOptions::new(c.nodes, false);
    let map = Map::new(c.channels, c.side, c.side);
    let mut b = Builder::new();
    let group = ArchGroup::new(&mut b, "cell", &options);
    let (body, out) = SearchBody::new(&mut b, map, false, 1, options.candidates(false))?;
    let mut cell = Learner::new(b.finish(c.seed, DType::F32));
    let (head, learner) = new_head(c, out)?;
    let mut head_learner = learner(word("student"));
    let problem = Problem { body, group, head };
    let planted = plant(c.seed, c.nodes);
    let halves = label(
        c,
        &problem,
        &cell.store,
        &learner(word("teacher")).store,
        &planted,
    )?;

    let cx = Cx::default();
    let weights = SgdConfig {
        lr: c.head_lr,
        clip: 0.0,
        weight_decay: 0.0,
        ..SgdConfig::default()
    };
    let constant = Schedule {
        kind: ScheduleKind::Constant,
        ..Schedule::default()
    };
    let alpha = AdamConfig {
        lr: c.alpha_lr,
        weight_decay: 0.0,
        schedule: constant,
        ..AdamConfig::default()
    };
    let warmup = c.steps / 10;
    let mut loss = [f64::NAN; 2];
    for step in 0..c.steps {
        let key = [c.seed, 0, step];
        let [weight, arch] = [0, 1].map(|half| {
            let order = Rng::new(c.seed, &[word("batch"), half as u64, step]).permutation(c.images);
            halves[half].rows(&order[..c.batch.min(c.images)])
        });
        let (weight, arch) = (weight?, arch?);
        if step >= warmup {
            let fixed = head_learner.store.clone();
            let value = |p: &Pass| {
                let x =
                    problem.features(p, &arch.inputs, c.activations, &problem.group.mixture(p)?)?;
                cross_entropy(&fixed_head(&fixed, &x)?, &arch.labels)
            };
            let report = cell.arch_step(cx, key, &value, Order::First, &alpha, c.alpha_lr)?;
            loss = [
                if step == warmup { report.loss } else { loss[0] },
                report.loss,
            ];
        }
        let features = {
            let p = Pass::new(&cell.store, cx, TEACHER);
            let x = problem.features(
                &p,
                &weight.inputs,
                c.activations,
                &problem.group.mixture(&p)?,
            )?;
            x.value().clone()
        };
        let value = |p: &Pass| {
            cross_entropy(
                &problem.head.forward(p, &p.tape.leaf(features.clone()))?,
                &weight.labels,
            )
        };
        let lr = rate(&weights.schedule, weights.lr, step, c.steps);
        head_learner.weight_step(cx, Mode::WEIGHT_STEP, key, &value, &weights, lr)?;
    }
    let found = problem.group.genotype(&cell.store, None)?;
    Ok(Recovery {
        planted: by_predecessor(&planted.normal),
        found: by_predecessor(&found.normal),
        loss,
    })
}

/// The head and a maker of its learners: teacher and student differ in their seeds.
fn new_head(c: &Planted, node: Map) -> Result<(Conv2d, impl Fn(u64) -> Learner)> {
    let (classes, nodes, seed) = (c.classes, c.nodes, c.seed);
    let declare = move |b: &mut Builder| {
        Conv2d::new(
            b,
            "head",
            node.channels(node.c * nodes),
            classes,
            1,
            Conv2dParams::default(),
            Bias::PerChannel,
        )
    };
    let (head, _) = declare(&mut Builder::new())?;
    let learner = move |who: u64| {
        let mut b = Builder::new();
        declare(&mut b).expect("declared before");
        Learner::new(b.finish(Rng::new(seed, &[who]).u64(), DType::F32))
    };
    Ok((head, learner))
}

/// The head's scores with weights that take no gradient, on the tape of `x`.
fn fixed_head(head: &Store, x: &Var) -> Result<Var> {
    let leaf = |name: &str| {
        let id = head.weights.find(name).expect("a weight of the head");
        x.tape().leaf(head.weights.get(id).clone())
    };
    ops::conv2d(
        x,
        &leaf("head.weight"),
        Some(&leaf("head.bias")),
        Conv2dParams::default(),
    )
}

/// Both halves: random inputs, labelled by the teacher.
fn label(
    c: &Planted,
    problem: &Problem,
    cell: &Store,
    head: &Store,
    planted: &Genotype,
) -> Result<[Half; 2]> {
    let n = 2 * c.images;
    let noise = |which: u64| {
        let mut rng = Rng::new(c.seed, &[word("image"), which]);
        let v = (0..n * c.channels * c.side * c.side)
            .map(|_| rng.normal() as f32)
            .collect();
        Tensor::from_f32([n, c.channels, c.side, c.side], v)
    };
    let inputs = [noise(0)?, noise(1)?];
    let p = Pass::new(cell, Cx::default(), TEACHER);
    let mixture = Mixture::fixed(
        &p,
        &one_hot(&planted.normal),
        &one_hot(&planted.reduce),
        DType::F32,
    );
    // The teacher is exact: bf16 is a matter of the student.
    let x = problem.features(&p, &inputs, DType::F32, &mixture)?;
    let scores = fixed_head(head, &x)?.value().to_f32();
    let pixels = c.side * c.side;
    let best = |i: usize| {
        let score = |class: usize| scores[(i / pixels * c.classes + class) * pixels + i % pixels];
        (1..c.classes).fold(0, |best, class| {
            if score(class) > score(best) {
                class
            } else {
                best
            }
        }) as i32
    };
    let labels = Tensor::from_i32([n, c.side, c.side], (0..n * pixels).map(best).collect())?;
    let order = if c.shuffle_labels {
        Rng::new(c.seed, &[word("shuffled-labels")]).permutation(n)
    } else {
        (0..n).collect()
    };
    let all = Half {
        inputs,
        labels: rows_i32(&labels, &order)?,
    };
    let (weight, arch): (Vec<usize>, Vec<usize>) = (0..n).partition(|i| *i < c.images);
    Ok([all.rows(&weight)?, all.rows(&arch)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: u64 = 10;

    fn run(change: impl Fn(&mut Planted)) -> Vec<Recovery> {
        let one = |seed| {
            let mut c = Planted::new(seed);
            change(&mut c);
            let t = std::time::Instant::now();
            let r = search(&c).unwrap();
            eprintln!(
                "{seed} {} of {} {:?} {:?}",
                r.right(),
                r.planted.len(),
                r.loss,
                t.elapsed()
            );
            r
        };
        (0..SEEDS).map(one).collect()
    }

    fn whole(all: &[Recovery]) -> usize {
        all.iter().filter(|r| r.whole()).count()
    }

    #[test]
    fn planted_cells_are_found_whole() {
        let all = run(|_| ());
        assert!(
            all.iter()
                .all(|r| r.planted.len() >= 6 && r.distinct() >= 4)
        );
        assert!(whole(&all) >= 9, "{} of {SEEDS}", whole(&all));
    }

    #[test]
    fn shuffled_labels_hide_them() {
        let all = run(|c| c.shuffle_labels = true);
        assert!(whole(&all) <= 1, "{} of {SEEDS}", whole(&all));
    }

    #[test]
    fn found_with_bf16_storage_too() {
        let all = run(|c| c.activations = DType::Bf16);
        assert!(whole(&all) >= 9, "{} of {SEEDS}", whole(&all));
    }
}
