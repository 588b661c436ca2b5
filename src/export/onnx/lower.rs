//! What each kind of node is in ONNX, operators of version 17.

use super::builder::{Attribute as A, Builder};
use super::write::Batch;
use crate::portable::{Graph, Kind, Node, Window};

/// Appends the operators of a node, whose operands are named `x` and whose result `y`.
pub(super) fn lower(b: &mut Builder, g: &Graph, n: &Node, x: &[&str], y: &str, batch: Batch) {
    let own = |list: &[usize]| A::Ints(list.iter().map(|&v| v as i64).collect());
    let (of, to) = (n.x.first().map(|&x| g.shape(x).dims()), g.shape(n.y).dims());
    let from = of.unwrap_or_default();
    let inner = |suffix: &str| format!("{y}.{suffix}");
    match n.kind {
        Kind::Conv {
            stride: s,
            padding: p,
            dilation: d,
            groups,
        } => {
            let k = g.shape(n.x[1]).dims()[2];
            let attributes = [
                ("dilations", own(&[d, d])),
                ("group", A::Int(groups as i64)),
                ("kernel_shape", own(&[k, k])),
                ("pads", own(&[p, p, p, p])),
                ("strides", own(&[s, s])),
            ];
            b.node("Conv", x, y, &attributes);
        }
        Kind::ConvTranspose {
            stride: s,
            padding: p,
        } => {
            let k = g.shape(n.x[1]).dims()[2];
            let attributes = [
                ("kernel_shape", own(&[k, k])),
                ("pads", own(&[p, p, p, p])),
                ("strides", own(&[s, s])),
            ];
            b.node("ConvTranspose", x, y, &attributes);
        }
        Kind::BatchNorm { eps } => {
            let attributes = [("epsilon", A::Float(eps as f32))];
            b.node("BatchNormalization", x, y, &attributes);
        }
        Kind::Relu => {
            b.node("Relu", x, y, &[]);
        }
        Kind::Relu6 => {
            let ends = [("zero", 0.0), ("ceiling", 6.0)].map(|(n, v)| b.scalar(&inner(n), v));
            b.node("Clip", &[x[0], &ends[0], &ends[1]], y, &[]);
        }
        Kind::MaxPool(w) => {
            b.node("MaxPool", x, y, &window(w));
        }
        Kind::AvgPool(w) => {
            let [k, p, s] = window(w);
            let inside = ("count_include_pad", A::Int(0));
            b.node("AveragePool", x, y, &[inside, k, p, s]);
        }
        Kind::GlobalAvgPool => {
            let mean = b.node("GlobalAveragePool", x, &inner("pooled"), &[]);
            b.node("Flatten", &[&mean], y, &[("axis", A::Int(1))]);
        }
        Kind::Add => {
            b.node("Add", x, y, &[]);
        }
        Kind::Mul => {
            b.node("Mul", x, y, &[]);
        }
        Kind::Scale(factor) => {
            let c = b.scalar(&inner("factor"), factor as f32);
            b.node("Mul", &[x[0], &c], y, &[]);
        }
        Kind::Concat => {
            b.node("Concat", x, y, &[("axis", A::Int(1))]);
        }
        Kind::Slice { start, channels } => {
            let end = (start + channels) as i64;
            cut(b, x[0], y, [&[start as i64], &[end], &[1], &[1]]);
        }
        Kind::Subsample { stride, offset } => {
            let (o, s) = (offset as i64, stride as i64);
            let ends = [from[2] as i64, from[3] as i64];
            cut(b, x[0], y, [&[o, o], &ends, &[2, 3], &[s, s]]);
        }
        Kind::Nearest { factor } => {
            let f = factor as f32;
            let scales = b.floats(&inner("scales"), &[1.0, 1.0, f, f]);
            let attributes = [
                ("coordinate_transformation_mode", A::Text("asymmetric")),
                ("mode", A::Text("nearest")),
                ("nearest_mode", A::Text("floor")),
            ];
            b.node("Resize", &[x[0], "", &scales], y, &attributes);
        }
        Kind::Bilinear { align_corners, .. } => {
            let scale = |d: usize| enlargement(from[d], to[d]);
            let scales = b.floats(&inner("scales"), &[1.0, 1.0, scale(2), scale(3)]);
            let corners = match align_corners {
                true => "align_corners",
                false => "half_pixel",
            };
            let attributes = [
                ("coordinate_transformation_mode", A::Text(corners)),
                ("mode", A::Text("linear")),
            ];
            b.node("Resize", &[x[0], "", &scales], y, &attributes);
        }
        Kind::Linear => {
            b.node("Gemm", x, y, &[("transB", A::Int(1))]);
        }
        Kind::ToRows { width } => {
            let turned = turn(b, x[0], &inner("turned"), &[0, 2, 3, 1]);
            view(b, &turned, y, &[0, -1, width as i64]);
        }
        Kind::ChannelShuffle { groups } => {
            let [c, h, w] = [1, 2, 3].map(|d| from[d] as i64);
            let k = groups as i64;
            let apart = view(b, x[0], &inner("groups"), &[0, k, c / k, h, w]);
            let turned = turn(b, &apart, &inner("turned"), &[0, 2, 1, 3, 4]);
            view(b, &turned, y, &[0, c, h, w]);
        }
        Kind::Softmax { axis } => {
            b.node("Softmax", x, y, &[("axis", A::Int(axis as i64))]);
        }
        Kind::Reshape => {
            let sizes: Vec<i64> = to[1..].iter().map(|&v| v as i64).collect();
            view(b, x[0], y, &[&[0], &sizes[..]].concat());
        }
        Kind::Zeros => {
            let sizes: Vec<i64> = to[1..].iter().map(|&v| v as i64).collect();
            let shape = match batch {
                Batch::Fixed(n) => b.ints(&[&[n as i64], &sizes[..]].concat()),
                Batch::Open => {
                    let first = [("end", A::Int(1)), ("start", A::Int(0))];
                    let images = b.node("Shape", x, &inner("images"), &first);
                    let rest = b.ints(&sizes);
                    let axis = [("axis", A::Int(0))];
                    b.node("Concat", &[&images, &rest], &inner("shape"), &axis)
                }
            };
            b.node("ConstantOfShape", &[&shape], y, &[]);
        }
    }
}

fn window(w: Window) -> [(&'static str, A<'static>); 3] {
    let (k, p, s) = (w.k as i64, w.padding as i64, w.stride as i64);
    [
        ("kernel_shape", A::Ints(vec![k, k])),
        ("pads", A::Ints(vec![p, p, p, p])),
        ("strides", A::Ints(vec![s, s])),
    ]
}

/// The part of x from `starts` to `ends` along `axes`, in steps.
pub(super) fn cut(
    b: &mut Builder,
    x: &str,
    y: &str,
    [starts, ends, axes, steps]: [&[i64]; 4],
) -> String {
    let lists = [starts, ends, axes, steps].map(|l| b.ints(l));
    b.node(
        "Slice",
        &[x, &lists[0], &lists[1], &lists[2], &lists[3]],
        y,
        &[],
    )
}

/// x with its dimensions in another order.
pub(super) fn turn(b: &mut Builder, x: &str, y: &str, order: &[i64]) -> String {
    b.node("Transpose", &[x], y, &[("perm", A::Ints(order.to_vec()))])
}

/// x in another shape: 0 leaves a size as it is, -1 is what is left over.
fn view(b: &mut Builder, x: &str, y: &str, shape: &[i64]) -> String {
    let shape = b.ints(shape);
    b.node("Reshape", &[x, &shape], y, &[])
}

/// The scale that takes a side from `n` to `to` pixels when the product is rounded down, in f32.
fn enlargement(n: usize, to: usize) -> f32 {
    let mut scale = to as f32 / n as f32;
    while ((n as f32 * scale) as usize) < to {
        scale = f32::from_bits(scale.to_bits() + 1);
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enlargements_come_out_whole() {
        for n in 1..300 {
            for to in [1, 2, 3, 7, 49, 113, 320, 512, 2 * n, 3 * n] {
                let scale = enlargement(n, to);
                assert_eq!((n as f32 * scale).floor(), to as f32, "{n} to {to}");
                assert!(
                    (scale - to as f32 / n as f32).abs() <= 2e-7 * scale,
                    "{n} to {to}"
                );
            }
        }
    }
}
