//! Accuracy of the statistics by kernels, and where they stay.

use super::*;
use crate::rng::Rng;
use crate::tape::{Cx, Path, Tape};

const PARAMS: BatchNormParams = BatchNormParams {
    eps: 1e-5,
    relu: false,
};

fn on(e: Engine) -> Tape {
    Tape::new(Cx {
        path: Path::Device(e),
        ..Cx::default()
    })
}

#[test]
fn kernels_keep_six_digits_up_to_a_mean_of_a_thousand_deviations() {
    six_digits(Engine::emulated(1));
}

#[test]
fn running_statistics_stay_on_the_device() {
    running_stays(Engine::emulated(2));
}

/// What `kernels/norm.cu` computes beside the ops of the table; panics where it is wrong.
pub(crate) fn mutation_cases(e: Engine) {
    running_stays(e);
    six_digits(e);
}

fn six_digits(e: Engine) {
    let mut r = Rng::new(5, &[]);
    for (mean, d) in [
        (0.0, [3, 2, 20, 40]),
        (30.0, [2, 3, 37, 41]),
        (1000.0, [6, 1, 32, 32]),
    ] {
        let n: usize = d.iter().product();
        let v: Vec<f32> = (0..n).map(|_| (mean + r.normal()) as f32).collect();
        let x = on(e).leaf(Tensor::from_f32(d, v.clone()).unwrap());
        let (y, stats) = batch_norm(&x, None, PARAMS).unwrap();
        let exact = Tensor::from_f64(d, v.iter().map(|&v| v as f64).collect()).unwrap();
        let moments = moments_of(&exact);
        let (got_mean, got_var) = (stats.mean().to_f64(), stats.var().to_f64());
        for (k, m) in moments.iter().enumerate() {
            let var = m.m2 / m.count;
            let scale = m.mean.abs().max(var.sqrt());
            assert!((got_mean[k] - m.mean).abs() <= 1e-6 * scale, "{mean}");
            assert!(
                (got_var[k] / var - 1.0).abs() <= 1e-6,
                "{mean}: {}",
                got_var[k] / var - 1.0
            );
        }
        let plane = d[2] * d[3];
        for (i, (y, v)) in y.value().f32s().iter().zip(&v).enumerate() {
            let m = &moments[i / plane % d[1]];
            let want = (*v as f64 - m.mean) / (m.m2 / m.count + 1e-5).sqrt();
            // The low part of the mean keeps what f32 cannot: without it this is off by 3e-5.
            assert!((*y as f64 - want).abs() <= 2e-6, "{mean}: {y} for {want}");
        }
    }
}

/// `y = x`; saves statistics of two maps in one tensor.
#[derive(Debug)]
struct Rows(Tensor);

impl Op for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn infer(&self, x: &[Shape]) -> Result<Shape> {
        Ok(x[0])
    }

    fn forward(&self, x: &[Tensor]) -> Result<Output> {
        Ok(Output {
            y: x[0].clone(),
            saved: vec![x[0].clone(), self.0.clone()],
        })
    }

    fn backward(&self, _: &Backward) -> Result<Vec<Option<Grad>>> {
        Ok(vec![None])
    }

    fn forward_device(&self, _: Engine, x: &[Tensor]) -> Result<Option<Output>> {
        self.forward(x).map(Some)
    }
}

#[test]
fn statistics_may_be_rows_of_one_tensor() {
    let e = Engine::emulated(2);
    let mut r = Rng::new(7, &[]);
    let mut draw = |n: usize| (0..n).map(|_| r.normal() as f32).collect::<Vec<_>>();
    let x = on(e).leaf(Tensor::from_f32([2, 3, 2, 3], draw(36)).unwrap());
    let (_, own) = batch_norm(&x, None, PARAMS).unwrap();
    // The other map's are no numbers: nobody reads them.
    let saved: Vec<f32> = own.saved.get().iter().flat_map(Tensor::to_f32).collect();
    let all = [vec![f32::NAN; 12], saved].concat();
    let rows = Tensor::from_f32([2, 4, 3], all).unwrap();
    let (y, saved) = x.tape().apply_saving(Rows(rows), &[&x]).unwrap();
    let stats = BatchStats::row(saved, [1, 1], &y, 12);
    assert_eq!((stats.mean(), stats.var()), (own.mean(), own.var()));
    let old = [
        Tensor::full([3], DType::F32, 0.5),
        Tensor::full([3], DType::F32, 2.0),
    ];
    let of = |s: &BatchStats| s.running(&old[0], &old[1], 0.1).unwrap();
    assert_eq!(of(&stats), of(&own));
}

fn running_stays(e: Engine) {
    let before = e.counts();
    let mut r = Rng::new(6, &[]);
    let v: Vec<f32> = (0..2 * 3 * 5 * 5).map(|_| r.normal() as f32).collect();
    let old = [
        Tensor::full([3], DType::F32, 0.5),
        Tensor::full([3], DType::F32, 2.0),
    ];
    let run = |tape: Tape| {
        let x = tape.leaf(Tensor::from_f32([2, 3, 5, 5], v.clone()).unwrap());
        let (_, stats) = batch_norm(&x, None, PARAMS).unwrap();
        stats.running(&old[0], &old[1], 0.1).unwrap()
    };
    let new = run(on(e));
    assert_eq!(e.counts().downloaded, before.downloaded);
    assert_eq!(e.counts().launches - before.launches, 3);
    for (new, want) in new.iter().zip(run(Tape::new(Cx::default()))) {
        for (a, b) in new.to_f64().iter().zip(want.to_f64()) {
            assert!((a - b).abs() <= 1e-6, "{a} {b}");
        }
    }
}
