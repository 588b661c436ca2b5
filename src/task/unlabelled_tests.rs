//! Pictures of a source without signs beside pictures that label everything.

use super::*;
use crate::annotation::{Annotation, BBox, Object};
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};
use crate::task::config::DetectionConfig;
use crate::task::mining::hard_negatives;
use crate::task::priors::PriorLayout;
use crate::task::{DetectionTask, Task};
use crate::tensor::{DType, Engine};

const SIGN: usize = 3;
/// Car, person and sign, and without signs.
const ALL: &[bool] = &[true; 3];
const WAYMO: &[bool] = &[true, true, false];

fn task() -> DetectionTask {
    let names = ["car", "person", "sign"].map(String::from).to_vec();
    let layout = PriorLayout::peer(64, 64, 2).unwrap();
    DetectionTask::new(names, layout, &DetectionConfig::default()).unwrap()
}

/// A picture with a car and a person.
fn street() -> Annotation {
    let object = |class, x1: f32, side: f32| Object {
        class,
        bbox: BBox {
            x1,
            y1: 8.0,
            x2: x1 + side,
            y2: 8.0 + side,
        },
        ignore: false,
    };
    Annotation::Objects(vec![object(0, 4.0, 14.0), object(1, 30.0, 12.0)])
}

fn random(seed: u64, shape: [usize; 3]) -> Tensor {
    let r = &mut Rng::new(seed, &[]);
    let v = (0..shape.iter().product()).map(|_| r.normal()).collect();
    Tensor::from_f64(shape, v).unwrap()
}

/// What a loss of streets gives.
struct Got {
    loss: f64,
    labels: Vec<i32>,
    used: Vec<i32>,
    loc: Vec<f64>,
    conf: Vec<f64>,
}

fn run(path: Path, marks: Option<&[&[bool]]>, loc: &Tensor, conf: &Tensor) -> Got {
    let task = task();
    let tape = Tape::new(Cx {
        path,
        ..Cx::default()
    });
    let streets = vec![street(); conf.dims()[0]];
    let mut inputs = task.inputs(path, &streets).unwrap();
    if let Some(marks) = marks {
        inputs.tensors.extend(task.labelled(marks).unwrap());
    }
    let targets = task.targets_of(path, inputs).unwrap();
    let out = [tape.param(loc.clone()), tape.param(conf.clone())];
    let l = task.loss(&out, &targets).unwrap();
    let mut g = tape.backward(&l.total).unwrap();
    let [loc, conf] = out.map(|v| g.take(&v).unwrap().to_f64());
    Got {
        loss: l.total.value().item(),
        labels: targets.get("label").i32s().to_vec(),
        used: l.audit[0].1.i32s().to_vec(),
        loc,
        conf,
    }
}

/// A background prior that is sure to see a sign.
#[test]
fn a_sign_that_nobody_labelled_is_not_pushed_down() {
    let p = task().priors().len();
    let loc = random(1, [1, p, 4]);
    let mut conf = random(2, [1, p, 4]);
    let labels = run(Path::Fast, None, &loc, &conf).labels;
    let i = labels.iter().position(|&t| t == 0).unwrap();
    conf.data_mut::<f64>()[4 * i + SIGN] = 12.0;
    let plain = run(Path::Fast, None, &loc, &conf);
    // A step against the gradient lowers the sign and lifts the background.
    assert!(plain.used[i] == 1 && plain.conf[4 * i + SIGN] > 0.01);
    assert!(plain.conf[4 * i] < -0.01);
    let masked = run(Path::Fast, Some(&[WAYMO]), &loc, &conf);
    assert!(masked.loss < plain.loss - 0.1);
    for (i, t) in labels.iter().enumerate() {
        let sign = masked.conf[4 * i + SIGN];
        match (*t > 0, masked.used[i] == 1) {
            // A car is no sign, labelled or not.
            (true, _) => assert!(sign > 0.0, "{i}"),
            (false, true) => assert!(sign == 0.0 && masked.conf[4 * i] < 0.0, "{i}"),
            (false, false) => assert_eq!(masked.conf[4 * i..][..4], [0.0; 4]),
        }
    }
    assert_eq!(
        plain.used.iter().sum::<i32>(),
        masked.used.iter().sum::<i32>()
    );
    // Boxes are learnt as before.
    assert_eq!(plain.loc, masked.loc);
}

/// Probabilities over the labelled classes alone, written out.
#[test]
fn loss_and_gradients_are_those_of_the_formula() {
    let p = task().priors().len();
    for seed in 0..4 {
        let marks = [WAYMO, ALL, &[false, false, true]];
        let (loc, conf) = (random(seed, [3, p, 4]), random(seed + 9, [3, p, 4]));
        let plain = run(Path::Fast, None, &loc, &conf);
        let got = run(Path::Fast, Some(&marks), &loc, &conf);
        let z = conf.f64s();
        let counts = |n: usize, c: usize, t: i32| t != 0 || c == 0 || marks[n][c - 1];
        let share = |n: usize, i: usize, c: usize| {
            let t = got.labels[n * p + i];
            let e = |c: usize| match counts(n, c, t) {
                true => z[(n * p + i) * 4 + c].exp(),
                false => 0.0,
            };
            e(c) / (0..4).map(e).sum::<f64>()
        };
        let positives = got.labels.iter().filter(|t| **t > 0).count() as f64;
        let mut change = 0.0;
        for n in 0..3 {
            let labels = &got.labels[n * p..][..p];
            let hard: Vec<f64> = (0..p).map(|i| -share(n, i, 0).ln()).collect();
            let used = hard_negatives(labels, &hard, 3.0);
            for (i, &t) in labels.iter().enumerate() {
                let at = n * p + i;
                assert_eq!(got.used[at], i32::from(used[i]));
                if used[i] {
                    change -= share(n, i, t as usize).ln();
                }
                if plain.used[at] == 1 {
                    let sum: f64 = (0..4).map(|c| z[at * 4 + c].exp()).sum();
                    change -= sum.ln() - z[at * 4 + t as usize];
                }
                for c in 0..4 {
                    let hit = f64::from(c == t as usize);
                    let want = f64::from(used[i]) * (share(n, i, c) - hit) / positives;
                    let d = got.conf[at * 4 + c];
                    assert!((d - want).abs() < 1e-12, "{n} {i} {c}: {d} for {want}");
                }
            }
        }
        let want = plain.loss + change / positives;
        assert!((got.loss - want).abs() < 1e-10, "{} for {want}", got.loss);
    }
}

#[test]
fn where_everything_is_labelled_no_bit_changes() {
    let p = task().priors().len();
    let e = Engine::emulated(2);
    for path in [Path::Fast, Path::Device(e)] {
        let (loc, conf) = (random(3, [2, p, 4]), random(4, [2, p, 4]));
        let (loc, conf) = (loc.cast(DType::F32), conf.cast(DType::F32));
        let plain = run(path, None, &loc, &conf);
        let all = run(path, Some(&[ALL, ALL]), &loc, &conf);
        assert_eq!(plain.loss.to_bits(), all.loss.to_bits());
        assert_eq!((plain.used, plain.loc), (all.used, all.loc));
        assert_eq!(plain.conf, all.conf);
        // Nor in the one picture of a batch that labels everything, when another does not.
        let one = run(path, Some(&[ALL, WAYMO]), &loc, &conf);
        assert_eq!(one.conf[..4 * p], all.conf[..4 * p]);
        assert_ne!(one.conf[4 * p..], all.conf[4 * p..]);
    }
}

#[test]
fn a_device_does_the_same_and_fetches_nothing() {
    let e = Engine::emulated(2);
    let p = task().priors().len();
    for dtype in [DType::F32, DType::Bf16] {
        let (loc, conf) = (
            random(5, [2, p, 4]).cast(dtype),
            random(6, [2, p, 4]).cast(dtype),
        );
        let on = |path| run(path, Some(&[WAYMO, ALL]), &loc, &conf);
        let (host, device) = (on(Path::Fast), on(Path::Device(e)));
        assert_eq!((host.labels, host.used), (device.labels, device.used));
        assert!((host.loss - device.loss).abs() < 1e-5 * host.loss);
        let both = host.conf.iter().zip(&device.conf);
        for (a, b) in both.chain(host.loc.iter().zip(&device.loc)) {
            assert!((a - b).abs() <= 1e-2 * a.abs().max(1e-7), "{a} {b}");
        }
    }
    assert!(e.fallbacks().is_empty(), "{:?}", e.fallbacks());
}

#[test]
fn marks_of_other_classes_are_refused() {
    let e = task().labelled(&[ALL, &[true]]).unwrap_err();
    assert!(e.code() == Code::Argument && e.place() == Some("image 1 of the batch"));
}
