//! Rows of the registry: cases, refusals, planted wrong gradients.

use std::sync::Arc;

use super::definition::{batch_statistics, reference_fwd};
use super::rows::RowsBatchNorm;
use super::{BatchNorm, BatchNormEval, BatchNormParams};
use crate::ops::reference::Arr;
use crate::ops::table::{Case, Entry, FACTOR, Gen, Planted, Refusal, scale_gradient};
use crate::tape::Op;
use crate::tensor::{DType, Shape, Tensor};

/// Operands with at least six values per channel (fewer saturate and leave no gradient to check) and, with a rectifier,
/// no output near its kink.
pub(in crate::ops) fn operands(g: &mut Gen, relu: bool, eps: f64) -> Vec<Tensor> {
    let large = g.side > 9;
    loop {
        let (n, c) = (g.int(1, 3), g.int(1, 4));
        let (h, w) = match large {
            true => (g.int(20, g.side), g.int(20, g.side)),
            false => (g.int(1, 4), g.int(1, 6)),
        };
        if n * h * w < 6 {
            continue;
        }
        let mut x = vec![g.normal([n, c, h, w])];
        if relu || g.rng.coin(0.5) {
            x.push(g.off_zero([c]));
            x.push(g.normal([c]));
        }
        if large && relu {
            move_from_kink(&mut x, eps);
        }
        let arrays: Vec<Arr<f64>> = x
            .iter()
            .map(|t| Arr {
                shape: *t.shape(),
                data: t.to_f64(),
            })
            .collect();
        let (mean, var) = batch_statistics(&arrays[0]);
        let y = reference_fwd(&arrays, &mean, &var, BatchNormParams { eps, relu: false });
        let margin = if large { 1e-3 } else { 0.03 };
        if !relu || y.data.iter().all(|v| v.abs() > margin) {
            return x;
        }
    }
}

/// Pushes the values whose output is near zero away from there, as often as it takes: a large map always has some.
fn move_from_kink(x: &mut [Tensor], eps: f64) {
    for _ in 0..20 {
        let arrays: Vec<Arr<f64>> = x
            .iter()
            .map(|t| Arr {
                shape: *t.shape(),
                data: t.to_f64(),
            })
            .collect();
        let (mean, var) = batch_statistics(&arrays[0]);
        let y = reference_fwd(&arrays, &mean, &var, BatchNormParams { eps, relu: false });
        for (v, y) in x[0].data_mut::<f64>().iter_mut().zip(y.data) {
            if y.abs() <= 4e-3 {
                *v += 0.3;
            }
        }
    }
}

/// Moves the values whose output with the given statistics is near zero; whether none is left.
fn keep_from_kink(x: &mut [Tensor], mean: &Tensor, var: &Tensor, params: BatchNormParams) -> bool {
    let (mean, var) = (mean.to_f64(), var.to_f64());
    for _ in 0..40 {
        let arrays: Vec<Arr<f64>> = x
            .iter()
            .map(|t| Arr {
                shape: *t.shape(),
                data: t.to_f64(),
            })
            .collect();
        let y = reference_fwd(&arrays, &mean, &var, params);
        let near: Vec<bool> = y.data.iter().map(|y| y.abs() <= 0.05).collect();
        if !near.contains(&true) {
            return true;
        }
        let values = x[0].data_mut::<f64>().iter_mut().zip(near);
        values.filter(|v| v.1).for_each(|(v, _)| *v += 0.3);
    }
    false
}

fn refusals(op: Arc<dyn Op>) -> Vec<Refusal> {
    let refuse = |shapes: &[&[usize]], expect| Refusal {
        op: op.clone(),
        shapes: shapes.iter().map(|s| Shape::new(s)).collect(),
        expect,
    };
    vec![
        refuse(&[&[2, 3]], "expected (N, C, H, W)"),
        refuse(
            &[&[2, 3, 1, 1], &[2], &[3]],
            "gamma (2) does not fit 3 channels",
        ),
        refuse(
            &[&[2, 3, 1, 1], &[3], &[4]],
            "beta (4) does not fit 3 channels",
        ),
    ]
}

const GAMMA: Planted = Planted {
    what: "dgamma too large by a factor 1.0005",
    spoil: |_, _, g| scale_gradient(g, 1),
};

/// Registry entry of the training mode.
pub static ENTRY: Entry = Entry {
    name: "batch_norm",
    case: |g| {
        let params = BatchNormParams {
            eps: g.pick(&[1e-5, 1e-3, 0.1]),
            relu: g.rng.coin(0.5),
        };
        Case {
            op: Arc::new(BatchNorm(params)),
            x: operands(g, params.relu, params.eps),
        }
    },
    refusals: || {
        refusals(Arc::new(BatchNorm(BatchNormParams {
            eps: 1e-5,
            relu: false,
        })))
    },
    planted: &[
        FACTOR,
        GAMMA,
        Planted {
            what: "count off by one in the mean of dy",
            spoil: |c, dy, g| {
                let d = c.x[0].dims();
                let (per, ch, plane) = (d[0] * d[2] * d[3], d[1], d[2] * d[3]);
                let Some(t) = &mut g[0] else { return false };
                let mut sums = vec![0.0; ch];
                dy.f64s()
                    .iter()
                    .enumerate()
                    .for_each(|(i, v)| sums[i / plane % ch] += v);
                let slip = 1.0 / per as f64 - 1.0 / (per + 1) as f64;
                t.data_mut::<f64>()
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, v)| *v += sums[i / plane % ch] * slip);
                true
            },
        },
    ],
};

/// Registry entry of the evaluation mode.
pub static EVAL: Entry = Entry {
    name: "batch_norm_eval",
    case: |g| {
        let mut params = BatchNormParams {
            eps: g.pick(&[1e-5, 1e-3, 0.1]),
            relu: false,
        };
        let mut x = operands(g, false, params.eps);
        let c = x[0].dims()[1];
        let of = |v: Vec<f64>| Tensor::from_f64([c], v).expect("as many").cast(DType::F32);
        let mean = of((0..c).map(|_| g.rng.normal()).collect());
        let var = of((0..c).map(|_| g.rng.range(0.1, 3.0)).collect());
        // A rectifier where every output can be kept from its kink.
        if g.rng.coin(0.5) {
            params.relu = keep_from_kink(&mut x, &mean, &var, params);
        }
        Case {
            op: Arc::new(BatchNormEval { params, mean, var }),
            x,
        }
    },
    refusals: || {
        let params = BatchNormParams {
            eps: 1e-5,
            relu: false,
        };
        let op = BatchNormEval {
            params,
            mean: Tensor::zeros([3], DType::F32),
            var: Tensor::full([3], DType::F32, 1.0),
        };
        let mut all = refusals(Arc::new(op.clone()));
        all.push(Refusal {
            op: Arc::new(op),
            shapes: vec![Shape::from([1, 4, 2, 2])],
            expect: "statistics of 3 channels for an input of 4",
        });
        all
    },
    planted: &[FACTOR, GAMMA],
};

/// Levels with at least six values per channel, now and then more of them than a launch takes, or one of more channels than a block.
fn rows_case(g: &mut Gen) -> Case {
    let (n, width) = (g.int(1, 3), g.int(1, 6));
    let large = g.side > 9;
    let count = if g.rng.coin(0.1) { 9 } else { g.int(1, 3) };
    let mut levels: Vec<[usize; 2]> = (0..count)
        .map(|l| {
            let pixels = match large && l == 0 {
                true => g.int(20, g.side) * g.int(20, g.side),
                false => 6usize.div_ceil(n) + g.int(0, 12),
            };
            [g.int(1, 3) * width, pixels]
        })
        .collect();
    if g.rng.coin(0.1) {
        levels.push([256usize.div_ceil(width) * width + width, 6]);
    }
    let values: usize = levels.iter().map(|[c, p]| c * p).sum();
    let mut x = vec![g.normal([n, values / width, width])];
    for &[c, _] in &levels {
        x.push(g.off_zero([c]));
        x.push(g.normal([c]));
    }
    let eps = g.pick(&[1e-5, 1e-3, 0.1]);
    Case {
        op: Arc::new(RowsBatchNorm { levels, eps }),
        x,
    }
}

/// Registry entry of the rows of levels.
pub static ROWS: Entry = Entry {
    name: "rows_batch_norm",
    case: rows_case,
    refusals: || {
        let refuse = |shapes: &[&[usize]], expect| Refusal {
            op: Arc::new(RowsBatchNorm {
                levels: vec![[4, 6], [2, 1]],
                eps: 1e-5,
            }),
            shapes: shapes.iter().map(|s| Shape::new(s)).collect(),
            expect,
        };
        vec![
            refuse(
                &[&[2, 13, 2, 1], &[4], &[4], &[2], &[2]],
                "expected (N, P, V), got (2, 13, 2, 1)",
            ),
            refuse(&[&[2, 13, 2], &[4], &[4]], "3 operands for 2 levels"),
            refuse(
                &[&[2, 26, 1], &[4], &[4], &[3], &[2]],
                "gamma (3) does not fit 2 channels",
            ),
            refuse(
                &[&[2, 26, 1], &[4], &[4, 1], &[2], &[2]],
                "beta (4, 1) does not fit 4 channels",
            ),
            refuse(
                &[&[2, 8, 4], &[4], &[4], &[2], &[2]],
                "2 channels of level 1 are not rows of 4",
            ),
            refuse(
                &[&[2, 12, 2], &[4], &[4], &[2], &[2]],
                "levels of 26 values for 24 of an image",
            ),
        ]
    },
    planted: &[
        FACTOR,
        GAMMA,
        Planted {
            what: "dbeta too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 2),
        },
    ],
};
