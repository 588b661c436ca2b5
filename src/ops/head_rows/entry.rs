//! Cases, refusals and planted errors for the registry.

use std::sync::Arc;

use super::{EACH, HeadRows};
use crate::ops::conv2d::Conv2dParams;
use crate::ops::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::tape::Op;
use crate::tensor::Shape;

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "head_rows",
    case: |g| {
        let (k, dilation) = (g.pick(&[1, 2, 3, 3]), g.int(1, 2));
        let reach = (k - 1) * dilation + 1;
        // `k / 2` keeps the size; others too.
        let padding = g.pick(&[k / 2, (k / 2 * dilation).min(reach - 1)]);
        let least = reach.saturating_sub(2 * padding).max(1);
        let (n, width) = (g.int(1, 2), g.int(1, 4));
        // Of large cases, some are of many channels, the others of large maps.
        let many = g.side > 9 && g.rng.coin(0.5);
        let more = if many { 2 } else { g.side.min(20) };
        let mut x = vec![];
        for _ in 0..g.int(1, 3) {
            let (depth, priors) = match many {
                true => (g.int(6, 40), g.int(1, 70 / width)),
                false => (g.int(1, 5), g.int(1, 3)),
            };
            let (h, w) = (least + g.int(0, more), least + g.int(0, more));
            x.push(g.normal([n, depth, h, w]));
            x.push(g.normal([priors * width, depth, k, k]));
            x.push(g.normal([priors * width]));
        }
        let params = Conv2dParams {
            padding,
            dilation,
            ..Conv2dParams::default()
        };
        Case {
            op: Arc::new(HeadRows { params, width }),
            x,
        }
    },
    refusals: || {
        let refuse = |stride, shapes: &[&[usize]], expect| {
            let params = Conv2dParams {
                stride,
                ..Conv2dParams::default()
            };
            Refusal {
                op: Arc::new(HeadRows { params, width: 4 }) as Arc<dyn Op>,
                shapes: shapes.iter().map(|s| Shape::new(s)).collect(),
                expect,
            }
        };
        let (x, w, b): (&[usize], &[usize], &[usize]) = (&[1, 3, 4, 4], &[8, 3, 1, 1], &[8]);
        vec![
            refuse(2, &[x, w, b], "expected stride 1"),
            refuse(1, &[x, w], "three operands a level"),
            refuse(1, &[x, w, &[7]], "bias (7) does not fit 8"),
            refuse(1, &[x, &[6, 3, 1, 1], &[6]], "not rows of 4"),
            refuse(1, &[x, w, b, &[2, 3, 2, 2], w, b], "(2, 8, 2, 2) beside"),
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "weights' gradient too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
        Planted {
            what: "biases' gradient without the last image",
            spoil: |c, dy, g| {
                let n = dy.dims()[0];
                let total: usize = dy.dims()[1..].iter().product();
                let (last, rows) = (&dy.f64s()[(n - 1) * total..], c.x[2].numel());
                let plane = {
                    let shapes: Vec<Shape> = c.x[..EACH].iter().map(|t| *t.shape()).collect();
                    let Ok(of_first) = c.op.infer(&shapes) else {
                        return false;
                    };
                    of_first.numel() / n / rows
                };
                let Some(db) = g[2].as_mut() else {
                    return false;
                };
                for (i, v) in last[..plane * rows].iter().enumerate() {
                    db.data_mut::<f64>()[i % rows] -= v;
                }
                true
            },
        },
    ],
};
