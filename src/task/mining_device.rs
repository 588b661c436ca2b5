//! Mining by launches: a radix select over the losses of each image.

use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::ops::on_device;
use crate::tensor::{DType, Engine, Tensor};

/// [`super::hard_negatives`] of a batch: `labels` `(N, P)` i32 and `loss` `(N, P)` f32 give marks `(N, P)` i32, 0 or 1, the same ones.
///
/// # Errors
/// Those of the device.
pub fn hard_negatives_on(e: Engine, labels: &Tensor, loss: &Tensor, ratio: f64) -> Result<Tensor> {
    assert_eq!(labels.shape(), loss.shape());
    let mut used = Tensor::scratch_on(e, *labels.shape(), DType::I32)?;
    let (images, priors) = (labels.dims()[0], labels.dims()[1]);
    if labels.numel() > 0 {
        let ratio = e.constant(&[ratio])?;
        let args = [
            loss.arg(e)?,
            labels.arg(e)?,
            ratio.arg(),
            used.arg_out(e)?,
            Arg::I32(priors as i32),
        ];
        let launch = Launch::new([images as u32, 1, 1], [1024, 1, 1]);
        e.launch(k::DETECT_MINE, launch, &args)?;
    }
    Ok(used)
}

/// The priors that count for the classifier, by the cross entropy of the background in `conf` `(N, P, 1 + classes)`; `None` for
/// types without a kernel.
///
/// # Errors
/// Those of the device.
pub fn mine_on(e: Engine, conf: &Tensor, labels: &Tensor, ratio: f64) -> Result<Option<Tensor>> {
    let (f32, bf16) = (k::DETECT_BACKGROUND_F32, k::DETECT_BACKGROUND_BF16);
    let Some(kernel) = on_device::pick(conf.dtype(), f32, bf16) else {
        return Ok(None);
    };
    let mut loss = Tensor::scratch_on(e, *labels.shape(), DType::F32)?;
    let classes = Arg::I32(conf.dims()[2] as i32);
    let args = [conf.arg(e)?, loss.arg_out(e)?, classes];
    e.over(kernel, labels.numel(), &args)?;
    hard_negatives_on(e, labels, &loss, ratio).map(Some)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::{RATIO, hard_negatives};
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn the_device_chooses_the_same_priors() {
        mutation_cases(Engine::emulated(2));
    }

    /// What `kernels/detect_mine.cu` computes; panics where it is not what the host does.
    pub(crate) fn mutation_cases(e: Engine) {
        by_the_background(e);
        by_the_order_of_floats(e);
        by_losses(e);
    }

    /// Scores of f32 lie where e^x overflows, in some rows that of the background alone.
    fn by_the_background(e: Engine) {
        let (n, p, c, mut r) = (2, 140, 4, Rng::new(3, &[]));
        let (f32, bf16) = (k::DETECT_BACKGROUND_F32, k::DETECT_BACKGROUND_BF16);
        for (dtype, kernel, far) in [(DType::F32, f32, 200.0), (DType::Bf16, bf16, 0.0)] {
            let shift = |i: usize| match (i % c, i / c) {
                (0, row) if row % 5 == 1 => 2.0,
                (_, row) => (row % 3) as f64 - 1.0,
            };
            let z = (0..n * p * c).map(|i| r.normal() + far * shift(i));
            let conf = Tensor::from_f64([n, p, c], z.collect()).unwrap();
            let conf = conf.cast(dtype);
            let label = |r: &mut Rng| if r.coin(0.15) { 1 } else { 0 };
            let labels: Vec<i32> = (0..n * p).map(|_| label(&mut r)).collect();
            let on = Tensor::from_i32([n, p], labels.clone()).unwrap();
            let got = mine_on(e, &conf, &on, RATIO).unwrap().unwrap();
            let loss = |z: &[f64]| z.iter().map(|v| (v - z[0]).exp()).sum::<f64>().ln() as f32;
            let loss: Vec<f32> = conf.to_f64().chunks(c).map(loss).collect();
            let rows = labels.chunks(p).zip(loss.chunks(p));
            let want = rows.flat_map(|(labels, loss)| hard_negatives(labels, loss, RATIO));
            let want: Vec<i32> = want.map(i32::from).collect();
            assert_eq!(got.i32s(), want, "{dtype:?}");
            // The order of the losses says little of their size.
            let mut got = Tensor::scratch_on(e, [n, p], DType::F32).unwrap();
            let classes = Arg::I32(c as i32);
            let args = [conf.arg(e).unwrap(), got.arg_out(e).unwrap(), classes];
            e.over(kernel, n * p, &args).unwrap();
            for (got, want) in got.f32s().iter().zip(&loss) {
                assert!((got - want).abs() <= 1e-4, "{dtype:?}: {got} for {want}");
            }
        }
    }

    /// Image k asks for the k worst of the same values: zeros, infinities, subnormals and numbers of both signs, NaNs of several bits.
    fn by_the_order_of_floats(e: Engine) {
        let (nan, other) = (f32::from_bits(0xffc0_0000), f32::from_bits(0x7f80_0001));
        let infinite = [f32::NEG_INFINITY, f32::INFINITY];
        let finite = [1.0, -0.0, 0.0, 1e-40, -1e-40, -1.0, 0.5, -0.5, -0.0];
        let values = [&infinite[..], &[nan, f32::NAN, other], &finite].concat();
        let (n, images) = (values.len(), values.len() + 1);
        let label = |k: usize, i: usize| match i < n {
            true => 0,
            false => i32::from(i - n < k) * 2 - 1,
        };
        let labels: Vec<i32> = (0..images)
            .flat_map(|k| (0..2 * n).map(move |i| label(k, i)))
            .collect();
        let loss = [&values[..], &vec![9.0; n]].concat().repeat(images);
        let on = Tensor::from_i32([images, 2 * n], labels.clone()).unwrap();
        let of = Tensor::from_f32([images, 2 * n], loss.clone()).unwrap();
        let got = hard_negatives_on(e, &on, &of, 1.0).unwrap();
        let rows = labels.chunks(2 * n).zip(loss.chunks(2 * n));
        let want = rows.flat_map(|(labels, loss)| hard_negatives(labels, loss, 1.0));
        let want: Vec<i32> = want.map(i32::from).collect();
        assert_eq!(got.i32s(), want);
    }

    fn by_losses(e: Engine) {
        let mut r = Rng::new(2, &[]);
        let special = [0.0, -0.0, f32::NAN, f32::INFINITY, 1e-40, -1.0, 3.0];
        for (priors, ratio, levels) in [
            (1, RATIO, 2),
            (33, 0.9, 3),
            (1500, RATIO, 1000),
            (1100, 2.5, 4),
            (700, 0.0, 4),
        ] {
            let n = 3 * priors;
            // The last image has no positive; in the first almost everything is one.
            let share = [0.9, 0.05, 0.0];
            let label = |i: usize, r: &mut Rng| match r.f64() {
                v if v < share[i / priors] => 1 + r.below(3) as i32,
                v if v > 0.97 => -1,
                _ => 0,
            };
            let labels: Vec<i32> = (0..n).map(|i| label(i, &mut r)).collect();
            let value = |r: &mut Rng| match r.coin(0.02) {
                true => special[r.below(special.len())],
                false => r.below(levels) as f32 / 7.0,
            };
            let loss: Vec<f32> = (0..n).map(|_| value(&mut r)).collect();
            let on = hard_negatives_on(
                e,
                &Tensor::from_i32([3, priors], labels.clone()).unwrap(),
                &Tensor::from_f32([3, priors], loss.clone()).unwrap(),
                ratio,
            );
            let on = on.unwrap();
            let rows = labels.chunks(priors).zip(loss.chunks(priors));
            let want = rows.flat_map(|(labels, loss)| hard_negatives(labels, loss, ratio));
            let want: Vec<i32> = want.map(i32::from).collect();
            assert_eq!(on.i32s(), want, "{priors} {ratio}");
        }
    }
}
