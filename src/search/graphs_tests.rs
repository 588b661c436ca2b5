//! Replayed steps against launched ones on the emulated device, bit by bit.

use super::*;
use crate::error::Code;
use crate::nn::{Affine, BatchNorm, Bias, Builder, Conv2d, Init, Map, Mode, ParamId, Store};
use crate::ops::{self, Conv2dParams, CrossEntropy};
use crate::optim::config::{AdamConfig, SgdConfig};
use crate::rng::Rng;
use crate::search::learner_io;
use crate::tape::{Cx, Path, Var};

const SIDE: usize = 6;
const STEPS: u64 = 6;

/// A network with everything that a search step has: convolutions, running statistics, architecture parameters, both kinds of
/// dropping.
struct Small {
    conv: Conv2d,
    norm: BatchNorm,
    head: Conv2d,
    alpha: ParamId,
}

fn small() -> (Small, Store) {
    let mut b = Builder::new();
    let params = |padding| Conv2dParams {
        stride: 1,
        padding,
        dilation: 1,
        groups: 1,
    };
    let x = Map::new(3, SIDE, SIDE);
    let (conv, y) = Conv2d::new(&mut b, "conv", x, 4, 3, params(1), Bias::None).unwrap();
    let norm = BatchNorm::new(&mut b, "norm", y, Affine::Yes);
    let (head, _) = Conv2d::new(&mut b, "head", y, 5, 1, params(0), Bias::PerChannel).unwrap();
    let alpha = b.arch("alpha", [1, 2], Init::Normal(0.1));
    let net = Small {
        conv,
        norm,
        head,
        alpha,
    };
    (net, b.finish(3, DType::F32))
}

impl Small {
    fn loss(&self, p: &Pass, inputs: &[Tensor]) -> Result<Loss> {
        let [seed, path @ ..] = p.stream();
        let path = path.to_vec();
        let x = p.tape.leaf(inputs[0].clone());
        let y = self.norm.forward_relu(p, &self.conv.forward(p, &x)?)?;
        let draw = p.draw()?.expect("a device");
        let op = ops::Dropout {
            p: p.mode.skip_dropout,
            seed,
            path: path.clone(),
        };
        let a = match p.mode.skip_dropout > 0.0 {
            true => ops::dropout_drawn(&y, op, &draw)?,
            false => y.clone(),
        };
        let op = ops::DropPath {
            p: p.mode.drop_path,
            seed,
            path,
        };
        let b = match p.mode.drop_path > 0.0 {
            true => ops::drop_path_drawn(&y, op, &draw)?,
            false => ops::relu(&y)?,
        };
        let alpha = ops::softmax(&p.arch(self.alpha), 1)?;
        let mixed: Var = ops::weighted_sum(&[&a, &b], &alpha, &[0, 1])?;
        let labels = p.tape.leaf(inputs[1].clone());
        let total = ops::cross_entropy(
            &self.head.forward(p, &mixed)?,
            &labels,
            CrossEntropy::default(),
        )?;
        let parts = vec![("entropy", total.value().clone())];
        Ok(Loss { total, parts })
    }
}

fn batch(step: u64, half: u64, images: usize) -> [Tensor; 2] {
    let mut r = Rng::new(7, &[step, half]);
    let pixels = images * SIDE * SIDE;
    let x = (0..3 * pixels).map(|_| r.normal() as f32).collect();
    let labels = (0..pixels).map(|_| r.below(5) as i32).collect();
    [
        Tensor::from_f32([images, 3, SIDE, SIDE], x).unwrap(),
        Tensor::from_i32([images, SIDE, SIDE], labels).unwrap(),
    ]
}

struct Run {
    e: Engine,
    net: Small,
    learner: Learner,
    graphs: Graphs,
}

#[derive(Default)]
struct Configs(AdamConfig, SgdConfig);

impl Learner {
    /// A phase as this test has them; sets the dropout after skip-connects.
    fn phase<'a>(&mut self, e: Engine, c: &'a Configs, step: u64, arch: bool) -> Phase<'a> {
        let share = step as f64 / (2 * STEPS) as f64;
        let dropped = Mode {
            drop_path: 0.5 * share,
            ..Mode::WEIGHT_STEP
        };
        self.skip_dropout = 0.4 * (1.0 - share);
        Phase {
            cx: Cx {
                path: Path::Device(e),
                ..Cx::default()
            },
            mode: if arch { Mode::ARCH_STEP } else { dropped },
            key: [1, 2, step],
            update: match arch {
                true => Update::Arch(&c.0),
                false => Update::Weights(&c.1),
            },
            lr: 0.1 / (step + 1) as f64,
        }
    }
}

impl Run {
    fn new(e: Engine, off: bool) -> Run {
        let (net, store) = small();
        Run {
            e,
            net,
            learner: Learner::new(store),
            graphs: Graphs::new(off),
        }
    }

    /// A phase of a step on `inputs`; what it reports.
    fn phase(&mut self, step: u64, arch: bool, inputs: &[Tensor]) -> Result<StepReport> {
        let begun = self.begin(step, arch, inputs)?;
        self.end(step, arch, inputs, begun)
    }

    fn begin(&mut self, step: u64, arch: bool, inputs: &[Tensor]) -> Result<Begun> {
        let (configs, net) = (Configs::default(), &self.net);
        let phase = self.learner.phase(self.e, &configs, step, arch);
        let s = Step {
            of: &[0],
            inputs,
            loss: &|p, x| net.loss(p, x),
            varies: None,
        };
        self.graphs.begin(&mut self.learner, &phase, &s)
    }

    fn end(&mut self, step: u64, arch: bool, x: &[Tensor], begun: Begun) -> Result<StepReport> {
        let (configs, net) = (Configs::default(), &self.net);
        let phase = self.learner.phase(self.e, &configs, step, arch);
        self.learner.end(&phase, begun, &|p| net.loss(p, x))
    }

    fn step(&mut self, step: u64, images: usize) -> [StepReport; 2] {
        let [arch, weight] = [0, 1].map(|half| batch(step, half, images));
        let a = self.phase(step, true, &arch).unwrap();
        let w = self.phase(step, false, &weight).unwrap();
        [a, w]
    }

    fn state(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let l = &self.learner;
        (learner_io::tensors(l), learner_io::adam_steps(l))
    }
}

#[test]
fn a_replayed_step_has_the_bits_of_a_launched_one() {
    let [mut launched, mut replayed] = [true, false].map(|off| Run::new(Engine::emulated(1), off));
    for step in 0..STEPS {
        let before = replayed.e.counts();
        assert_eq!(
            launched.step(step, 2),
            replayed.step(step, 2),
            "step {step}"
        );
        let now = replayed.e.counts();
        // Two phases of images, labels, a rate, and what is drawn with; two of two figures and a norm.
        if step > 4 {
            assert_eq!(now.uploads - before.uploads, 8, "step {step}");
            assert_eq!(now.downloaded - before.downloaded, 48);
        }
        assert_eq!(launched.state(), replayed.state(), "step {step}");
    }
    // The weight phase of step 0 has no drop path: from step 1 on it is another one.
    assert_eq!(replayed.graphs.replays(), 2 * STEPS - 5);
    assert_eq!(
        (launched.graphs.replays(), replayed.graphs.reason()),
        (0, None)
    );
}

#[test]
fn other_shapes_and_parameters_that_others_hold() {
    let [mut launched, mut replayed] = [true, false].map(|off| Run::new(Engine::emulated(1), off));
    let mut kept = vec![];
    for step in 1..STEPS + 4 {
        // A smaller batch now and then; a larger one later, which needs a larger arena.
        let images = [2, 2, 1, 2, 3][step as usize % 5];
        let both = [&mut launched, &mut replayed].map(|r| r.step(step, images));
        assert_eq!(both[0], both[1], "step {step}");
        // Others hold the parameters of this step: from the next one on they lie elsewhere.
        if step % 4 == 0 {
            let weight = |r: &Run| r.learner.store.weights.get(ParamId(0)).to_f32();
            let stores = [&replayed, &launched].map(|r| r.learner.store.clone());
            kept.push((stores, weight(&replayed)));
        }
    }
    assert_eq!(launched.state(), replayed.state());
    assert!(
        replayed.graphs.replays() > 4,
        "{}",
        replayed.graphs.replays()
    );
    assert_eq!(replayed.graphs.reason(), None);
    for (stores, then) in kept {
        for store in stores {
            assert_eq!(store.weights.get(ParamId(0)).to_f32(), then);
        }
    }
}

/// A checkpoint before the first step brings parameters from the host and no state of the optimisers.
#[test]
fn a_run_that_is_put_back_goes_on_in_the_same_bits() {
    let [mut launched, mut replayed] = [true, false].map(|off| Run::new(Engine::emulated(1), off));
    for run in [&mut launched, &mut replayed] {
        (1..5).for_each(|step| drop(run.step(step, 2)));
        run.learner = Learner::new(small().1);
    }
    let before = replayed.graphs.replays();
    for step in 1..8 {
        assert_eq!(
            launched.step(step, 2),
            replayed.step(step, 2),
            "step {step}"
        );
    }
    assert_eq!(launched.state(), replayed.state());
    assert!(before > 0 && replayed.graphs.replays() > before + 4);
    assert_eq!(replayed.graphs.reason(), None);
}

#[test]
fn a_step_that_is_not_finite_names_its_op_and_changes_nothing() {
    let [mut launched, mut replayed] = [true, false].map(|off| Run::new(Engine::emulated(1), off));
    for step in 1..STEPS {
        if step > 3 {
            for run in [&mut launched, &mut replayed] {
                let mut bad = batch(step, 1, 2);
                bad[0].data_mut::<f32>()[5] = f32::INFINITY;
                let before = run.state();
                let e = run.phase(step, step == 4, &bad).unwrap_err();
                assert_eq!(e.code(), Code::Diverged);
                assert!(e.message().contains("op `conv2d`"), "{}", e.message());
                assert!(run.state() == before);
            }
        }
        assert_eq!(
            launched.step(step, 2),
            replayed.step(step, 2),
            "step {step}"
        );
    }
    assert_eq!(launched.state(), replayed.state());
    assert!(replayed.graphs.replays() > 4);
}

#[test]
fn steps_that_cannot_be_recorded_are_launched_and_say_why() {
    let (record, _) = crate::backend::record::Record::new(1 << 30);
    for (e, why) in [
        (Engine::new(Box::new(record), true), "sync_launches"),
        (Engine::emulated(1), "another architecture"),
    ] {
        let mut run = Run::new(e, false);
        let inputs = batch(0, 0, 2);
        for step in 1..5 {
            if why == "sync_launches" {
                run.phase(step, true, &inputs).unwrap();
                continue;
            }
            let (adam, net) = (AdamConfig::default(), &run.net);
            let phase = Phase {
                cx: Cx {
                    path: Path::Device(e),
                    ..Cx::default()
                },
                mode: Mode::ARCH_STEP,
                key: [1, 2, step],
                update: Update::Arch(&adam),
                lr: 0.1,
            };
            let s = Step {
                of: &[0],
                inputs: &inputs,
                loss: &|p, x| net.loss(p, x),
                varies: Some("every step samples another architecture"),
            };
            run.graphs.step(&mut run.learner, &phase, &s).unwrap();
        }
        assert_eq!(run.graphs.replays(), 0);
        let reason = run.graphs.reason().unwrap();
        assert!(reason.contains(why), "{reason}");
        assert_eq!(run.graphs.reason(), None);
    }
}

#[test]
fn what_a_step_tells_may_be_asked_for_later() {
    let [mut at_once, mut later] = [true, false].map(|off| Run::new(Engine::emulated(1), off));
    let mut open: Option<(u64, [Tensor; 2], Begun)> = None;
    let mut told = vec![];
    for step in 1..STEPS {
        let [arch, weight] = [0, 1].map(|half| batch(step, half, 2));
        told.push(at_once.step(step, 2));
        let a = later.begin(step, true, &arch).unwrap();
        let fetched = later.learner.fetch_arch(later.e).unwrap();
        let w = later.begin(step, false, &weight).unwrap();
        if let Some((before, x, begun)) = open.replace((step, weight, w)) {
            let report = later.end(before, false, &x, begun).unwrap();
            assert_eq!(report, told[before as usize - 1][1]);
        }
        assert_eq!(
            later.end(step, true, &arch, a).unwrap(),
            told[step as usize - 1][0]
        );
        later.learner.know_arch(fetched).unwrap();
        let known = later.e.counts().downloaded;
        let alpha = |r: &Run| r.learner.store.arch.get(ParamId(0)).to_f32();
        assert_eq!(alpha(&later), alpha(&at_once));
        assert_eq!(later.e.counts().downloaded, known, "the host knows them");
    }
    drop(open);
    assert_eq!(at_once.state(), later.state());
    assert!(later.graphs.replays() > 4);
    // A step that halts, found out after the next one: nothing has changed since.
    let before = later.state();
    let mut bad = batch(STEPS, 1, 2);
    bad[0].data_mut::<f32>()[5] = f32::NAN;
    let w = later.begin(STEPS, false, &bad).unwrap();
    let next = batch(STEPS + 1, 1, 2);
    let after = later.begin(STEPS + 1, false, &next).unwrap();
    let e = later.end(STEPS, false, &bad, w).unwrap_err();
    assert!(e.message().contains("op `conv2d`"), "{}", e.message());
    drop(after);
    assert!(later.state() == before);
    // It goes on.
    let x = batch(STEPS, 1, 2);
    let want = at_once.phase(STEPS, false, &x).unwrap();
    assert_eq!(later.phase(STEPS, false, &x).unwrap(), want);
    assert_eq!(at_once.state(), later.state());
}

/// A step that takes two batches moves running statistics by one after the other, on a device as on the host.
#[test]
fn statistics_of_two_batches_move_in_turn() {
    let (net, store) = small();
    let inputs = [batch(0, 0, 2), batch(1, 0, 2)].map(|[x, _]| x);
    let loss = |p: &Pass| -> Result<Loss> {
        let one = |x: &Tensor| -> Result<Var> {
            let x = p.tape.leaf(x.clone());
            let y = net.norm.forward_relu(p, &net.conv.forward(p, &x)?)?;
            ops::mean(&net.head.forward(p, &y)?)
        };
        let total = ops::add(&one(&inputs[0])?, &one(&inputs[1])?)?;
        let parts = vec![];
        Ok(Loss { total, parts })
    };
    let run = |path: Path| -> Vec<Vec<f64>> {
        let cx = Cx {
            path,
            ..Cx::default()
        };
        let (mut l, c) = (Learner::new(store.clone()), SgdConfig::default());
        for step in 0..2 {
            let mode = Mode::WEIGHT_STEP;
            l.weight_step(cx, mode, [1, 2, step], &loss, &c, 0.1)
                .unwrap();
        }
        l.store.buffers.iter().map(|b| b.2.to_f64()).collect()
    };
    let (host, device) = (run(Path::Fast), run(Path::Device(Engine::emulated(1))));
    for (h, d) in host.iter().flatten().zip(device.iter().flatten()) {
        assert!((h - d).abs() < 1e-5, "{h} on the host, {d} on the device");
    }
    // Four batches in all: each leaves 0.9 of what was there.
    let (mean, var) = (&host[0], &host[1]);
    assert!(var.iter().all(|v| *v > 0.9f64.powi(4)), "{var:?}");
    assert!(mean.iter().any(|m| m.abs() > 1e-4), "{mean:?}");
}
