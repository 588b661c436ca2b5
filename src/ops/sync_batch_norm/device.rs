//! Batch normalisation over groups and over devices by kernels (`kernels/norm.cu`, `kernels/norm_sync.cu`).

use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::Result;
use crate::ops::batch_norm::device::{Back, Sizes, statistics};
use crate::ops::on_device::{int, long, pick};
use crate::tensor::{DType, Engine, Tensor};

/// Writes (count, mean, rest, M2) of the images of `s` from `first` on into row `slot` of `moments`, `(rows, C, 4)`; zeros without a value.
pub(super) fn send(
    e: Engine,
    x: &Tensor,
    first: usize,
    s: Sizes,
    moments: &mut Tensor,
    slot: usize,
) -> Result<()> {
    if s.channels == 0 {
        return Ok(());
    }
    let part = match s.empty() {
        true => None,
        false => Some(statistics(e, x, first, s)?),
    };
    let kernel = pick(x.dtype(), k::NORM_LOCAL_F32, k::NORM_LOCAL_BF16).expect("supported");
    let args = [
        x.arg(e)?,
        match &part {
            Some(part) => part.arg(e)?,
            None => moments.arg(e)?,
        },
        moments.arg_out(e)?,
        int(part.map_or(0, |p| p.dims()[0])),
        long(first),
        int(s.channels),
        long(s.plane),
        int(slot),
    ];
    // A warp for each channel.
    let blocks = s.channels.div_ceil(8) as u32;
    e.launch(kernel, Launch::new([blocks, 1, 1], [256, 1, 1]), &args)
}

/// `[mean, var, rest]` of all rows of `moments` together.
pub(super) fn merge(e: Engine, moments: &Tensor) -> Result<Vec<Tensor>> {
    let (rows, c) = (moments.dims()[0], moments.dims()[1]);
    let mut mean = Tensor::scratch_on(e, [c], DType::F32)?;
    let mut var = Tensor::scratch_on(e, [c], DType::F32)?;
    let mut rest = Tensor::scratch_on(e, [2, c], DType::F32)?;
    let args = [
        moments.arg(e)?,
        mean.arg_out(e)?,
        var.arg_out(e)?,
        rest.arg_out(e)?,
        int(rows),
    ];
    e.over(k::NORM_MERGE_F32, c, &args)?;
    Ok(vec![mean, var, rest])
}

/// Writes `(sum dy, sum dy (x - mean))` of the images of `s` from `first` on into row `slot` of `sums`, `(rows, C, 2)`.
pub(super) fn send_sums(
    e: Engine,
    back: &Back,
    first: usize,
    s: Sizes,
    sums: &mut Tensor,
    slot: usize,
) -> Result<()> {
    let part = match s.empty() {
        true => None,
        false => Some(back.sums(e, first, s)?),
    };
    let args: [Arg; 4] = [
        match &part {
            Some(part) => part.arg(e)?,
            None => sums.arg(e)?,
        },
        sums.arg_out(e)?,
        int(part.map_or(0, |p| p.dims()[0])),
        int(slot),
    ];
    e.over(k::NORM_LOCAL_SUMS_F32, 2 * s.channels, &args)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn devices_without_images_change_nothing_and_no_digit_is_lost() {
        mutation_cases(Engine::emulated(2));
    }

    /// What `kernels/norm_sync.cu` sends and merges; panics where it is wrong.
    pub(crate) fn mutation_cases(e: Engine) {
        sent(e);
        merged(e);
    }

    /// Zeros for no images; of others the count, the mean and the sum of squares.
    fn sent(e: Engine) {
        let v: Vec<f32> = (0..2 * 3 * 4).map(|i| (i * i % 7) as f32).collect();
        let x = Tensor::from_f32([2, 3, 2, 2], v.clone()).unwrap();
        let mut moments = Tensor::scratch_on(e, [2, 3, 4], DType::F32).unwrap();
        let s = Sizes::of(x.shape());
        send(e, &x, 0, s, &mut moments, 0).unwrap();
        send(e, &x, 0, s.of_images(0), &mut moments, 1).unwrap();
        let got = moments.to_f64();
        for c in 0..3 {
            let of = |i: usize| v[(i / 4 * 3 + c) * 4 + i % 4] as f64;
            let mean = (0..8).map(of).sum::<f64>() / 8.0;
            let m2 = (0..8).map(|i| (of(i) - mean).powi(2)).sum::<f64>();
            let got = &got[4 * c..4 * c + 4];
            assert_eq!(got[0], 8.0);
            assert!((got[1] + got[2] - mean).abs() < 1e-6, "{got:?} {mean}");
            assert!((got[3] - m2).abs() < 1e-4, "{got:?} {m2}");
        }
        assert_eq!(got[12..], [0.0; 12]);
    }

    /// (count, mean, rest, M2) by hand, a channel a row of this table: none anywhere; one value on one device; far from 0 with
    /// digits below those of f32; devices without images before and after a mean whose square is not finite; means of 0.
    fn merged(e: Engine) {
        const NONE: [f32; 4] = [0.0; 4];
        let channels = [
            [NONE, NONE, NONE],
            [NONE, [1.0, 5.0, 0.0, 0.0], NONE],
            [[1.0, 1000.0, 2.5e-5, 0.0], NONE, [5.0, 1001.0, -2e-5, 4.0]],
            [NONE, [4.0, 1e20, 0.0, 0.0], NONE],
            [
                [3.0, 0.0, 0.0, 2.0],
                [2.0, 0.5, 0.0, 1.0],
                [3.0, 0.0, 0.0, 2.0],
            ],
            [
                [7.0, -1000.0, 1e-5, 3.0],
                [2.0, -999.0, 2e-5, 1.0],
                [4.0, -1002.0, -3e-5, 0.5],
            ],
        ];
        let n = channels.len();
        let rows = (0..3).flat_map(|d| channels.iter().flat_map(move |c| c[d]));
        let moments = Tensor::from_f32([3, n, 4], rows.collect()).unwrap();
        let [mean, var, rest] = <[Tensor; 3]>::try_from(merge(e, &moments).unwrap()).unwrap();
        let (mean, var, rest) = (mean.to_f64(), var.to_f64(), rest.to_f64());
        for (c, of) in channels.iter().enumerate() {
            let wide = of.map(|m| m.map(f64::from));
            let count: f64 = wide.iter().map(|m| m[0]).sum();
            let total: f64 = wide.iter().map(|m| m[0] * (m[1] + m[2])).sum();
            let of_all = total / count.max(1.0);
            let apart = |m: &[f64; 4]| m[3] + m[0] * (m[1] + m[2] - of_all).powi(2);
            let m2: f64 = wide.iter().map(apart).sum();
            assert_eq!(rest[n + c], count);
            let bound = 1e-6 * (m2 / count.max(1.0)).sqrt();
            let off = (mean[c] - of_all) + rest[c];
            assert!(off.abs() <= bound, "mean of {c}: {off}, bound {bound}");
            let want = m2 / count.max(1.0);
            assert!((var[c] - want).abs() <= 1e-6 * want, "variance of {c}");
        }
    }
}
