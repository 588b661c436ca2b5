//! Cases, refusals and planted errors of convolutions for the registry.

use std::sync::Arc;

use super::{Conv2d, Conv2dParams, each_product};
use crate::backend::host::conv::ConvSizes;
use crate::ops::table::{Case, Entry, FACTOR, Planted, Refusal, scale_gradient};
use crate::tape::Op;
use crate::tensor::{Shape, Tensor};

/// Gradients of `case` by the reference with other parameters: for planting bugs.
fn with_params(case: &Case, dy: &Tensor, change: impl Fn(&mut ConvSizes)) -> Option<Vec<Tensor>> {
    let (x, w) = (&case.x[0], &case.x[1]);
    let [n, c_out, ho, wo] = *dy.dims() else {
        return None;
    };
    let [_, c_in, h, wi] = *x.dims() else {
        return None;
    };
    let k = w.dims()[2];
    let text = format!("{:?}", case.op);
    let field = |name: &str| -> usize {
        let at = text.find(name).map_or(0, |i| i + name.len() + 2);
        text[at..]
            .chars()
            .take_while(|c| c.is_ascii_digit())
            .collect::<String>()
            .parse()
            .unwrap_or(1)
    };
    let mut s = ConvSizes {
        n,
        c_in,
        h,
        w: wi,
        c_out,
        ho,
        wo,
        k,
        stride: field("stride"),
        padding: field("padding"),
        dilation: field("dilation"),
        groups: field("groups"),
    };
    change(&mut s);
    let (mut dx, mut dw) = (vec![0.0; x.numel()], vec![0.0; w.numel()]);
    each_product(&s, |yi, xi, ti| {
        dx[xi] += dy.f64s()[yi] * w.f64s()[ti];
        dw[ti] += dy.f64s()[yi] * x.f64s()[xi];
    });
    Some(vec![
        Tensor::from_f64(*x.shape(), dx).ok()?,
        Tensor::from_f64(*w.shape(), dw).ok()?,
    ])
}

fn replace(
    case: &Case,
    dy: &Tensor,
    g: &mut [Option<Tensor>],
    change: impl Fn(&mut ConvSizes),
) -> bool {
    let Some(wrong) = with_params(case, dy, change) else {
        return false;
    };
    let differs = g[..2]
        .iter()
        .zip(&wrong)
        .any(|(a, b)| a.as_ref() != Some(b));
    for (slot, w) in g.iter_mut().zip(wrong) {
        *slot = Some(w);
    }
    differs
}

/// Makes the sums of a convolution almost cancel: the second half of a group's channels repeats the first, with weights of the other sign
/// that differ in the last half of their bits, so that a part of a weight that is lost is no small share of what is left. `group` elements
/// of x and `row` of w are those of all channels of a group.
pub(super) fn cancel(x: &mut [f64], group: usize, w: &mut [f64], row: usize) {
    for all in x.chunks_mut(group) {
        let (first, second) = all.split_at_mut(group / 2);
        second.copy_from_slice(first);
    }
    for all in w.chunks_mut(row) {
        let (first, second) = all.split_at_mut(row / 2);
        let pairs = second.iter_mut().zip(first);
        pairs.for_each(|(b, a)| *b = *b / 4096.0 - *a);
    }
}

/// Registry entry.
pub static ENTRY: Entry = Entry {
    name: "conv2d",
    case: |g| {
        // Dense, grouped, depthwise as the search spaces use it, depthwise of any kind with a multiplier.
        let kind = g.int(0, 3);
        let plain = kind == 2;
        let k = if plain {
            g.pick(&[3, 5])
        } else {
            g.pick(&[1, 2, 3, 5])
        };
        let (stride, dilation) = (g.int(1, if plain { 2 } else { 3 }), g.int(1, 2));
        // Of large cases, some are of many channels, the others of large maps.
        let large = g.side > 9;
        let many = large && kind < 2 && k < 3;
        let groups = match kind {
            0 => 1,
            1 => g.int(2, 3),
            _ => g.int(1, 6),
        };
        let c_in = groups
            * match kind {
                0 if many => g.int(6, 40),
                1 if many => g.int(6, 20),
                0 => g.int(1, 5),
                1 => g.int(1, 3),
                _ => 1,
            };
        let c_out = match kind {
            2 => c_in,
            _ if many => groups * g.int(6, 40),
            _ => groups * g.int(1, 3),
        };
        let padding = match plain || k % 2 == 1 && g.rng.coin(0.3) {
            true => k / 2 * dilation,
            false => g.int(0, (k - 1) * dilation),
        };
        let least = ((k - 1) * dilation + 1).saturating_sub(2 * padding).max(1);
        let more = if large && !many { g.side - 5 } else { 0 };
        let (h, w) = (least + g.int(0, 6 + more / 2), least + g.int(0, 19 + more));
        let n = g.int(1, 3);
        let mut x = g.normal([n, c_in, h, w]);
        let mut wt = g.normal([c_out, c_in / groups, k, k]);
        let b = g.rng.coin(0.3).then(|| g.normal([c_out]));
        let depth = c_in / groups;
        if b.is_none() && depth.is_multiple_of(2) && g.rng.coin(0.3) {
            let (x, wt) = (x.data_mut::<f64>(), wt.data_mut::<f64>());
            cancel(x, depth * h * w, wt, depth * k * k);
        }
        let x = [x, wt].into_iter().chain(b).collect();
        Case {
            op: Arc::new(Conv2d(Conv2dParams {
                stride,
                padding,
                dilation,
                groups,
            })),
            x,
        }
    },
    refusals: || {
        let p = Conv2dParams::default();
        let refuse = |p, shapes: &[&[usize]], expect| Refusal {
            op: Arc::new(Conv2d(p)) as Arc<dyn Op>,
            shapes: shapes.iter().map(|s| Shape::new(s)).collect(),
            expect,
        };
        vec![
            refuse(p, &[&[1, 3, 4], &[2, 3, 3, 3]], "expected (N, C, H, W)"),
            refuse(p, &[&[1, 3, 4, 4], &[2, 2, 3, 3]], "does not fit input"),
            refuse(p, &[&[1, 3, 4, 4], &[2, 3, 3, 1]], "must be square"),
            refuse(p, &[&[1, 3, 2, 4], &[2, 3, 3, 3]], "vanishes"),
            refuse(
                Conv2dParams { stride: 0, ..p },
                &[&[1, 3, 4, 4], &[2, 3, 3, 3]],
                "at least 1",
            ),
            refuse(
                p,
                &[&[1, 3, 4, 4], &[2, 3, 3, 3], &[3]],
                "bias (3) does not fit 2",
            ),
        ]
    },
    planted: &[
        FACTOR,
        Planted {
            what: "dw too large by a factor 1.0005",
            spoil: |_, _, g| scale_gradient(g, 1),
        },
        Planted {
            what: "padding one too small",
            spoil: |c, dy, g| {
                let mut padded = true;
                replace(c, dy, g, |s| {
                    if s.padding == 0 {
                        s.k = 0;
                    }
                    s.padding = s.padding.saturating_sub(1);
                }) && {
                    padded &= g[1]
                        .as_ref()
                        .is_some_and(|t| t.f64s().iter().any(|v| *v != 0.0));
                    padded
                }
            },
        },
        Planted {
            what: "stride off by one",
            spoil: |c, dy, g| replace(c, dy, g, |s| s.stride += 1),
        },
        Planted {
            what: "dilation ignored",
            spoil: |c, dy, g| replace(c, dy, g, |s| s.dilation = 1),
        },
    ],
};
