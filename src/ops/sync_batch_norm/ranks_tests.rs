//! One, two, three and four emulated devices against one device in f64.

use super::*;
use crate::dist::InProcess;
use crate::ops;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};

const PARAMS: BatchNormParams = BatchNormParams {
    eps: 1e-5,
    relu: false,
};

/// Runs `f(rank, first image, images)` on a device of each rank; `parts` are the images of each.
fn ranks<R: Send>(
    parts: &[usize],
    f: impl Fn(Arc<dyn Communicator>, Engine, usize, usize) -> R + Sync,
) -> Vec<R> {
    std::thread::scope(|s| {
        let (f, mut first) = (&f, 0);
        let mut all = vec![];
        for (c, &n) in InProcess::group(parts.len()).into_iter().zip(parts) {
            let from = first;
            all.push(s.spawn(move || f(Arc::new(c), Engine::emulated(1), from, n)));
            first += n;
        }
        all.into_iter().map(|t| t.join().unwrap()).collect()
    })
}

fn tape_on(e: Engine) -> Tape {
    Tape::new(Cx {
        path: Path::Device(e),
        ..Cx::default()
    })
}

/// Images `from..from + n` of a tensor.
fn images(t: &Tensor, from: usize, n: usize) -> Tensor {
    let mut d = t.dims().to_vec();
    let row: usize = d[1..].iter().product();
    d[0] = n;
    let v = t.f32s()[from * row..][..n * row].to_vec();
    Tensor::from_f32(&d[..], v).unwrap()
}

/// A copy with storage of its own: a storage lies on one device.
fn own(t: &Tensor) -> Tensor {
    images(t, 0, t.dims()[0])
}

/// The same in f64.
fn wide(t: &Tensor) -> Tensor {
    t.cast(DType::F64)
}

struct Ran {
    mean: Tensor,
    var: Tensor,
    y: Vec<f64>,
    dx: Vec<f64>,
    /// Of gamma, of beta.
    affine: [Vec<f64>; 2],
    /// New running mean and variance.
    running: [Tensor; 2],
}

fn near(what: &str, got: f64, want: f64, bound: f64) {
    assert!(
        (got - want).abs() <= bound,
        "{what}: {got} for {want}, bound {bound:.1e}"
    );
}

#[test]
fn several_devices_are_one() {
    let d = [5, 3, 9, 8];
    let (c, plane, m) = (d[1], d[2] * d[3], (d[0] * d[2] * d[3]) as f64);
    for (mean, parts) in [
        (0.0, &[5][..]),
        (1000.0, &[5]),
        (1.0, &[3, 2]),
        (30.0, &[2, 2, 1]),
        (1000.0, &[1, 0, 4]),
        (1000.0, &[1, 2, 0, 2]),
        (-1000.0, &[0, 5, 0, 0]),
    ] {
        let mut r = Rng::new(3, &[parts.len() as u64]);
        let mut draw = |shape: &[usize], about: f64| {
            let n = shape.iter().product();
            let v = (0..n).map(|_| (about + r.normal()) as f32).collect();
            Tensor::from_f32(shape, v).unwrap()
        };
        let (x, dy) = (draw(&d, mean), draw(&d, 0.0));
        let (gamma, beta) = (draw(&[c], 1.0), draw(&[c], 0.0));
        let old = [
            Tensor::zeros([c], DType::F32),
            Tensor::full([c], DType::F32, 1.0),
        ];
        let one = {
            let tape = Tape::new(Cx::default());
            let (x, g, b) = (
                tape.param(wide(&x)),
                tape.param(wide(&gamma)),
                tape.param(wide(&beta)),
            );
            let (y, s) = ops::batch_norm(&x, Some((&g, &b)), PARAMS).unwrap();
            let grads = tape.backward_from(&y, wide(&dy)).unwrap();
            let of = |v: &Var| grads.get(v).unwrap().to_f64();
            Ran {
                mean: s.mean(),
                var: s.var(),
                y: y.value().to_f64(),
                dx: of(&x),
                affine: [of(&g), of(&b)],
                running: s.running(&wide(&old[0]), &wide(&old[1]), 0.1).unwrap(),
            }
        };
        let all = ranks(parts, |comm, e, from, n| {
            let tape = tape_on(e);
            let xv = tape.param(images(&x, from, n));
            let (g, b) = (tape.param(own(&gamma)), tape.param(own(&beta)));
            let op = RankBatchNorm {
                params: PARAMS,
                comm,
            };
            let (y, s) = rank_batch_norm(&xv, Some((&g, &b)), op).unwrap();
            let grads = tape.backward_from(&y, images(&dy, from, n)).unwrap();
            let of = |v: &Var| grads.get(v).unwrap().to_f64();
            assert!(e.fallbacks().is_empty());
            Ran {
                mean: s.mean(),
                var: s.var(),
                y: y.value().to_f64(),
                dx: of(&xv),
                affine: [of(&g), of(&b)],
                running: s.running(&own(&old[0]), &own(&old[1]), 0.1).unwrap(),
            }
        });
        let std: Vec<f64> = one.var.to_f64().iter().map(|v| v.sqrt()).collect();
        for ran in &all {
            assert_eq!((&ran.mean, &ran.var), (&all[0].mean, &all[0].var));
            for k in 0..c {
                let (mean, var) = (one.mean.to_f64()[k], one.var.to_f64()[k]);
                near(
                    "mean",
                    ran.mean.to_f64()[k],
                    mean,
                    1e-6 * mean.abs().max(std[k]),
                );
                near("var", ran.var.to_f64()[k], var, 1e-6 * var);
                for (got, want) in ran.running.iter().zip(&one.running) {
                    let want = want.to_f64()[k];
                    near("running", got.to_f64()[k], want, 1e-6 * want.abs().max(1.0));
                }
            }
        }
        let joined = |f: fn(&Ran) -> &Vec<f64>| all.iter().flat_map(f).copied().collect::<Vec<_>>();
        let summed = |which: usize, k: usize| all.iter().map(|r| r.affine[which][k]).sum::<f64>();
        let (y, dx) = (joined(|r| &r.y), joined(|r| &r.dx));
        let unit = 1.0 / (1u64 << 24) as f64;
        for i in 0..y.len() {
            let k = i / plane % c;
            let (g, b) = (gamma.to_f64()[k], beta.to_f64()[k]);
            // xhat by about eight roundings, each relative to what it rounds.
            let size = (one.y[i] - b).abs() + b.abs() + g.abs();
            near("y", y[i], one.y[i], 16.0 * unit * size);
            // The sums behind dx: a thread's part in line, then trees; divided by M.
            let sums = g.abs() / std[k] * (dy.to_f64()[i].abs() + 4.0);
            near("dx", dx[i], one.dx[i], 32.0 * unit * sums);
        }
        for k in 0..c {
            near("dgamma", summed(0, k), one.affine[0][k], 32.0 * unit * m);
            near("dbeta", summed(1, k), one.affine[1][k], 32.0 * unit * m);
        }
    }
}

/// Five steps of plain descent on a small network, its loss a mean over the whole batch; the parameters afterwards.
fn train(
    tape_of: impl Fn() -> Tape,
    norm: impl Fn(&Var, (&Var, &Var)) -> Var,
    x: &Tensor,
    target: &Tensor,
    total: usize,
    mut params: Vec<Tensor>,
    sum: impl Fn(Tensor) -> Tensor,
) -> Vec<Tensor> {
    for _ in 0..5 {
        let tape = tape_of();
        let p: Vec<Var> = params.iter().map(|p| tape.param(p.clone())).collect();
        let x = tape.leaf(x.clone());
        let h = ops::conv2d(
            &x,
            &p[0],
            None,
            ops::Conv2dParams {
                stride: 1,
                padding: 1,
                dilation: 1,
                groups: 1,
            },
        );
        let y = norm(&h.unwrap(), (&p[1], &p[2]));
        let y = ops::global_avg_pool(&ops::relu(&y).unwrap()).unwrap();
        let dy: Vec<f64> = y
            .value()
            .to_f64()
            .iter()
            .zip(target.to_f64())
            .map(|(y, t)| 2.0 * (y - t) / total as f64)
            .collect();
        let dy = Tensor::from_f64(*y.shape(), dy)
            .unwrap()
            .cast(target.dtype());
        let grads = tape.backward_from(&y, dy).unwrap();
        for (p, v) in params.iter_mut().zip(&p) {
            let g = sum(grads.get(v).unwrap().clone());
            let moved = p
                .to_f64()
                .iter()
                .zip(g.to_f64())
                .map(|(p, g)| p - 0.5 * g)
                .collect();
            *p = Tensor::from_f64(*p.shape(), moved).unwrap().cast(p.dtype());
        }
    }
    params
}

#[test]
fn five_steps_on_several_devices_are_those_of_one() {
    let mut r = Rng::new(8, &[]);
    let mut draw = |shape: &[usize], about: f64, by: f64| {
        let n = shape.iter().product();
        let v = (0..n).map(|_| (about + by * r.normal()) as f32).collect();
        Tensor::from_f32(shape, v).unwrap()
    };
    let (x, target) = (draw(&[6, 2, 7, 6], 3.0, 1.0), draw(&[6, 4], 0.5, 0.3));
    let start = vec![
        draw(&[4, 2, 3, 3], 0.0, 0.3),
        draw(&[4], 1.0, 0.1),
        draw(&[4], 0.0, 0.1),
    ];
    let one = train(
        || Tape::new(Cx::default()),
        |h, affine| ops::batch_norm(h, Some(affine), PARAMS).unwrap().0,
        &wide(&x),
        &wide(&target),
        6,
        start.iter().map(wide).collect(),
        |g| g,
    );
    for parts in [&[6][..], &[4, 2], &[1, 3, 2], &[2, 1, 2, 1]] {
        let all = ranks(parts, |comm, e, from, n| {
            let summed = |g: Tensor| {
                let mut sum = Tensor::scratch_on(e, *g.shape(), DType::F32).unwrap();
                let (send, recv) = (g.on(e).unwrap(), sum.on_mut(e).unwrap());
                comm.all_reduce(send, recv, Reduce::Sum, Stream::MAIN)
                    .unwrap();
                sum
            };
            let norm = |h: &Var, affine: (&Var, &Var)| {
                let op = RankBatchNorm {
                    params: PARAMS,
                    comm: comm.clone(),
                };
                rank_batch_norm(h, Some(affine), op).unwrap().0
            };
            let (x, target) = (images(&x, from, n), images(&target, from, n));
            let start = start.iter().map(own).collect();
            train(|| tape_on(e), norm, &x, &target, 6, start, summed)
        });
        for params in &all {
            for ((got, want), start) in params.iter().zip(&one).zip(&start) {
                assert_ne!(got, start);
                for (got, want) in got.to_f64().iter().zip(want.to_f64()) {
                    near("parameter", *got, want, 1e-5 * want.abs().max(1.0));
                }
            }
        }
    }
}
