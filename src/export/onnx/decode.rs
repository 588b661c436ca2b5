//! Decoding of boxes and suppression inside an ONNX graph, step by step as [`crate::task::decode`] does it.

use super::builder::{Attribute as A, Builder, Dim};
use super::lower::{cut, turn};
use crate::task::decode::DecodeConfig;
use crate::task::priors::Priors;
use crate::tensor::Tensor;

/// What decoding needs to know.
#[derive(Debug, Clone)]
pub struct Decoding<'a> {
    /// Priors, in the order of the head's rows.
    pub priors: &'a Priors,
    /// Limits.
    pub config: DecodeConfig,
    /// Classes, background not counted.
    pub classes: usize,
    /// Height and width of the input in pixels.
    pub size: [usize; 2],
}

/// Outputs that decoding adds.
pub const OUTPUTS: [&str; 3] = ["boxes", "scores", "selected"];

/// Largest size offset, times its variance, that decoding follows ([`crate::task::matching::decode`]).
const MAX_LOG_SIZE: f32 = 10.0;

/// Edges stay within this many image sides, as in [`crate::task::decode`].
const FAR: f32 = 1e5;

/// Scores of what does not take part.
const OUT: f32 = -1.0;

/// Reads `loc` and `conf`, adds the outputs [`OUTPUTS`].
pub(super) fn append(b: &mut Builder, d: &Decoding, batch: Dim) {
    let (rows, c) = (d.priors.len(), &d.config);
    let scores = probabilities(b, d.classes);
    let relative = edges(b, d);
    let sides = [d.size[1], d.size[0], d.size[1], d.size[0]].map(|s| s as f32);
    let pixels = b.floats("decode.pixels", &sides);
    let scaled = |b: &mut Builder, [low, high]: [f32; 2], name: &str, y: &str| {
        let limits =
            [("low", low), ("high", high)].map(|(n, v)| b.scalar(&format!("decode.{name}.{n}"), v));
        let kept = [&relative[..], &limits[0], &limits[1]];
        let kept = b.node("Clip", &kept, &format!("decode.{name}"), &[]);
        b.node("Mul", &[&kept, &pixels], y, &[])
    };
    // Suppression sees boxes as they are; what is given out ends at the image.
    let whole = scaled(b, [-FAR, FAR], "near", "decode.boxes");
    match c.clip {
        true => scaled(b, [0.0, 1.0], "inside", OUTPUTS[0]),
        false => b.node("Identity", &[&whole], OUTPUTS[0], &[]),
    };
    let ranked = best(b, &scores, rows, c.per_class);
    let limit = b.ints(&[c.per_class.min(rows) as i64]);
    let iou = b.floats("decode.iou", &[c.iou]);
    let least = b.floats("decode.score", &[c.score]);
    let x = [&whole[..], &ranked, &limit, &iou, &least];
    b.node("NonMaxSuppression", &x, OUTPUTS[2], &[]);
    let doc = "edges of the box of each prior in pixels of the input: x1, y1, x2, y2";
    b.output(OUTPUTS[0], &[batch, Dim::Is(rows), Dim::Is(4)], doc);
    let doc = "probabilities of the classes, background left out";
    b.output(OUTPUTS[1], &[batch, Dim::Is(d.classes), Dim::Is(rows)], doc);
    let doc = "what stays after suppression: image, class, prior";
    b.output_of_ints(OUTPUTS[2], &[Dim::Open("found"), Dim::Is(3)], doc);
}

/// Probabilities `(N, classes, P)` without the background; the name.
fn probabilities(b: &mut Builder, classes: usize) -> String {
    let axis = [("axis", A::Int(2))];
    let all = b.node("Softmax", &["conf"], "decode.probabilities", &axis);
    let end = classes as i64 + 1;
    let own = cut(b, &all, "decode.objects", [&[1], &[end], &[2], &[1]]);
    turn(b, &own, OUTPUTS[1], &[0, 2, 1])
}

/// Edges x1 y1 x2 y2 `(N, P, 4)` in sides of the image; the name.
fn edges(b: &mut Builder, d: &Decoding) -> String {
    let [v0, v1] = d.config.variances;
    let mut table = |name: &str, of: fn([f64; 4], f64) -> [f64; 2]| {
        let values = d.priors.boxes().iter();
        let values = values.flat_map(|&p| of(p, v0));
        let values: Vec<f32> = values.map(|v| v as f32).collect();
        let t = Tensor::from_f32([1, d.priors.len(), 2], values).expect("two values a prior");
        b.tensor(name, &t);
    };
    table("priors.centre", |p, _| [p[0], p[1]]);
    table("priors.step", |p, v| [p[2] * v, p[3] * v]);
    table("priors.half", |p, _| [p[2] / 2.0, p[3] / 2.0]);
    let moved = cut(b, "loc", "decode.moved", [&[0], &[2], &[2], &[1]]);
    let moved = b.node("Mul", &[&moved, "priors.step"], "decode.shift", &[]);
    let centre = b.node("Add", &[&moved, "priors.centre"], "decode.centre", &[]);
    let grown = cut(b, "loc", "decode.grown", [&[2], &[4], &[2], &[1]]);
    let variance = b.scalar("decode.variance", v1 as f32);
    let grown = b.node("Mul", &[&grown, &variance], "decode.log_size", &[]);
    let most = b.scalar("decode.most", MAX_LOG_SIZE);
    let grown = b.node("Min", &[&grown, &most], "decode.log_size.limited", &[]);
    let grown = b.node("Exp", &[&grown], "decode.growth", &[]);
    let half = b.node("Mul", &[&grown, "priors.half"], "decode.half", &[]);
    let first = b.node("Sub", &[&centre, &half], "decode.first", &[]);
    let last = b.node("Add", &[&centre, &half], "decode.last", &[]);
    let axis = [("axis", A::Int(2))];
    b.node("Concat", &[&first, &last], "decode.edges", &axis)
}

/// The scores, of each class the best `most` alone: the others take no part in suppression.
fn best(b: &mut Builder, scores: &str, rows: usize, most: usize) -> String {
    if rows <= most {
        return scores.into();
    }
    let k = b.ints(&[most as i64]);
    let (top, which) = ("decode.top", "decode.top.prior");
    b.node_of("TopK", &[scores, &k], &[top, which], &[("axis", A::Int(2))]);
    let (last, end) = (most as i64 - 1, most as i64);
    let least = cut(b, top, "decode.least", [&[last], &[end], &[2], &[1]]);
    let among = b.node("GreaterOrEqual", &[scores, &least], "decode.among", &[]);
    let out = b.scalar("decode.out", OUT);
    b.node("Where", &[&among, scores, &out], "decode.ranked", &[])
}
