//! Decoding by launches: scores, ranking, boxes and suppression happen on the device; what stays comes down, a few hundred boxes.

use super::{DecodeConfig, kept, limit, not_finite};
use crate::annotation::{BBox, Detection};
use crate::backend::driver::{self as k, Arg, Launch};
use crate::error::{Error, Result};
use crate::ops::on_device;
use crate::task::priors::Priors;
use crate::tensor::{DType, Engine, Tensor};

/// The most boxes of a class that the kernel ranks.
const RANKED: usize = 1024;

/// [`super::decode`] of a batch: `loc` `(N, P, 4 or more)`, `conf` `(N, P, 1 + classes)`, both f32 or both bf16; one list an image.
/// `None` when there are no kernels for the types or the number of boxes of a class.
///
/// # Errors
/// An output that is not finite, with its prior and image; those of the device.
pub fn decode_on(
    e: Engine,
    priors: &Priors,
    loc: &Tensor,
    conf: &Tensor,
    sizes: &[(usize, usize)],
    config: &DecodeConfig,
) -> Result<Option<Vec<Vec<Detection>>>> {
    let score_kernel = on_device::pick(conf.dtype(), k::DETECT_SCORES_F32, k::DETECT_SCORES_BF16);
    let select_kernel = on_device::pick(loc.dtype(), k::DETECT_SELECT_F32, k::DETECT_SELECT_BF16);
    let (Some(score_kernel), Some(select_kernel)) = (score_kernel, select_kernel) else {
        return Ok(None);
    };
    let most = config.per_class;
    if loc.dtype() != conf.dtype() || !(1..=RANKED).contains(&most) || loc.numel() == 0 {
        return Ok(None);
    }
    let (n, p, values) = (loc.dims()[0], loc.dims()[1], loc.dims()[2]);
    let classes = conf.dims()[2] - 1;
    let rows = n * classes;
    let mut scores = Tensor::scratch_on(e, [n, classes, p], DType::F32)?;
    let mut bad = Tensor::zeros_on(e, [n], DType::I32)?;
    let [many, wide] = [p, values].map(|v| Arg::I32(v as i32));
    let args = [
        conf.arg(e)?,
        loc.arg(e)?,
        scores.arg_out(e)?,
        bad.arg_out(e)?,
        many,
        Arg::I32(classes as i32 + 1),
        wide,
    ];
    e.over(score_kernel, n * p, &args)?;
    let mut found = Tensor::zeros_on(e, [rows], DType::I32)?;
    let mut score = Tensor::zeros_on(e, [rows, most], DType::F32)?;
    let mut boxes = Tensor::zeros_on(e, [rows, most, 4], DType::F32)?;
    let sides = sizes.iter().flat_map(|s| [s.0 as f32, s.1 as f32]);
    let sides = Tensor::from_f32([n, 2], sides.collect())?;
    let variances = e.constant(&config.variances)?;
    let args = [
        scores.arg(e)?,
        loc.arg(e)?,
        priors.table().arg(e)?,
        variances.arg(),
        sides.arg(e)?,
        found.arg_out(e)?,
        score.arg_out(e)?,
        boxes.arg_out(e)?,
        many,
        Arg::I32(classes as i32),
        wide,
        Arg::I32(most as i32),
        Arg::F32(config.score),
        Arg::F32(config.iou),
    ];
    let launch = Launch::new([rows as u32, 1, 1], [256, 1, 1]);
    e.launch(select_kernel, launch, &args)?;
    e.healthy()?;
    first_bad(&bad, loc, conf)?;
    let (found, score, boxes) = (found.i32s(), score.f32s(), boxes.f32s());
    let image = |i: usize| {
        let mut all = vec![];
        let size = (sizes[i].0 as f32, sizes[i].1 as f32);
        for class in 0..classes {
            let row = i * classes + class;
            for j in (0..found[row] as usize).map(|j| row * most + j) {
                let b = BBox {
                    x1: boxes[4 * j],
                    y1: boxes[4 * j + 1],
                    x2: boxes[4 * j + 2],
                    y2: boxes[4 * j + 3],
                };
                all.extend(kept(class, score[j], b, size, config));
            }
        }
        limit(&mut all, config);
        all
    };
    Ok(Some((0..n).map(image).collect()))
}

/// The error of the first prior of the first image with a value that is not finite.
fn first_bad(bad: &Tensor, loc: &Tensor, conf: &Tensor) -> Result<()> {
    let found = bad.i32s().iter().enumerate().find(|(_, b)| **b > 0);
    let Some((image, &from_end)) = found else {
        return Ok(());
    };
    let (p, values, classes) = (loc.dims()[1], loc.dims()[2], conf.dims()[2]);
    let prior = p - from_end as usize;
    let (loc, conf) = (loc.to_f32(), conf.to_f32());
    let row = image * p + prior;
    let all = [&conf[row * classes..][..classes], &loc[row * values..][..4]].concat();
    let value = all.into_iter().find(|v| !v.is_finite()).unwrap_or(f32::NAN);
    let e: Error = not_finite(value, prior);
    Err(e.note(format!("image {image} of the batch")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::decode;
    use super::*;
    use crate::rng::Rng;
    use crate::task::priors::{PriorLayout, PriorLevel};

    fn random(r: &mut Rng, shape: [usize; 3], scale: f64, steps: f64) -> Tensor {
        let n = shape.iter().product();
        // Few values, so that scores and boxes tie.
        let v = (0..n).map(|_| ((r.normal() * scale * steps).round() / steps) as f32);
        Tensor::from_f32(shape, v.collect()).unwrap()
    }

    #[test]
    fn the_device_decodes_as_the_host() {
        mutation_cases(Engine::emulated(2));
    }

    /// What `kernels/detect_decode.cu` computes; panics where it is not what the host does.
    pub(crate) fn mutation_cases(e: Engine) {
        nothing_and_no_numbers(e);
        as_many_as_are_ranked(e);
        let priors = PriorLayout::peer(64, 64, 2).unwrap().priors().unwrap();
        let (p, mut r) = (priors.len(), Rng::new(4, &[]));
        for (steps, per_class, per_image, clip, iou, far) in [
            (1.0, 40, None, true, 0.45, false),
            (64.0, 200, Some(20), true, 0.3, false),
            (0.5, 7, None, false, 0.0, false),
            (4.0, 60, None, false, 0.45, true),
        ] {
            let config = DecodeConfig {
                score: 0.2,
                per_class,
                iou,
                per_image,
                clip,
                ..DecodeConfig::default()
            };
            let mut loc = random(&mut r, [2, p, 5], 2.0, steps);
            let conf = random(&mut r, [2, p, 4], 1.5, steps);
            // Edges far outside of the image, sizes beyond those that are followed.
            let all = loc.data_mut::<f32>().iter_mut().enumerate();
            let some =
                all.filter(|(i, _)| far && i % 5 < 4 && i / 5 % 4 == 0 && i / 20 % 4 == i % 5);
            for (i, v) in some {
                *v *= [1e8, 1e8, 200.0, 200.0][i % 5];
            }
            for dtype in [DType::F32, DType::Bf16] {
                let (loc, conf) = (loc.cast(dtype), conf.cast(dtype));
                as_the_host(e, &priors, (&loc, &conf), &config, 6);
            }
        }
    }

    /// Images of 64 x 64 and 100 x 37 on both; the host must find so many.
    fn as_the_host(
        e: Engine,
        priors: &Priors,
        (loc, conf): (&Tensor, &Tensor),
        config: &DecodeConfig,
        least: usize,
    ) {
        let sizes = &[(64, 64), (100, 37)][..loc.dims()[0]];
        let got = decode_on(e, priors, loc, conf, sizes, config);
        let got = got.unwrap().unwrap();
        let classes = conf.dims()[2];
        let [of_loc, of_conf] = [loc, conf].map(|t| t.numel() / sizes.len());
        let [l, c] = [loc, conf].map(|t| t.to_f32());
        for (i, got) in got.iter().enumerate() {
            let (l, c) = (&l[i * of_loc..][..of_loc], &c[i * of_conf..][..of_conf]);
            let want = decode(priors, l, c, classes - 1, sizes[i], config).unwrap();
            assert!(want.len() >= least, "{} of {config:?}", want.len());
            assert_eq!(*got, want, "{:?} {config:?}", loc.dtype());
        }
    }

    /// More than half of the places of the sort are taken.
    fn as_many_as_are_ranked(e: Engine) {
        let level = PriorLevel {
            rows: 16,
            cols: 16,
            step: 4.0,
            min: 4.0,
            max: 9.0,
            ratios: vec![2.0],
        };
        let layout = PriorLayout {
            height: 64,
            width: 64,
            levels: vec![level],
        };
        let (priors, mut r) = (layout.priors().unwrap(), Rng::new(5, &[]));
        let loc = random(&mut r, [1, priors.len(), 4], 1.0, 8.0);
        let conf = random(&mut r, [1, priors.len(), 2], 1.5, 8.0);
        let config = DecodeConfig {
            score: 0.2,
            per_class: 560,
            iou: 0.2,
            ..DecodeConfig::default()
        };
        as_the_host(e, &priors, (&loc, &conf), &config, 60);
    }

    #[test]
    fn nothing_found_and_values_that_are_no_numbers() {
        nothing_and_no_numbers(Engine::emulated(1));
    }

    fn nothing_and_no_numbers(e: Engine) {
        let priors = PriorLayout::peer(64, 64, 1).unwrap().priors().unwrap();
        let p = priors.len();
        let mut loc = Tensor::zeros([1, p, 4], DType::F32);
        let mut conf = Tensor::zeros([1, p, 3], DType::F32);
        // All score exactly as much as is not enough.
        let config = DecodeConfig {
            score: 1.0 / 3.0,
            ..DecodeConfig::default()
        };
        let sizes = [(64, 64)];
        let got = decode_on(e, &priors, &loc, &conf, &sizes, &config).unwrap();
        assert_eq!(got, Some(vec![vec![]]));
        conf.data_mut::<f32>()[3 * 7 + 1] = f32::NEG_INFINITY;
        conf.data_mut::<f32>()[3 * 9] = f32::NAN;
        let error = decode_on(e, &priors, &loc, &conf, &sizes, &config).unwrap_err();
        assert!(error.to_string().contains("prior 7"), "{error}");
        assert!(error.message().contains("-inf"), "{error}");
        for (k, v) in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::INFINITY]
            .into_iter()
            .enumerate()
        {
            let prior = 4 - k;
            loc.data_mut::<f32>()[4 * prior + k] = v;
            let error = decode_on(e, &priors, &loc, &conf, &sizes, &config).unwrap_err();
            let place = format!("prior {prior}");
            assert!(error.to_string().contains(&place), "{error}");
        }
        // What is beyond the four offsets is not looked at.
        let mut wide = Tensor::zeros([1, p, 5], DType::F32);
        wide.data_mut::<f32>()[4] = f32::NAN;
        let conf = Tensor::zeros([1, p, 3], DType::F32);
        let got = decode_on(e, &priors, &wide, &conf, &sizes, &config).unwrap();
        assert_eq!(got, Some(vec![vec![]]));
    }
}
