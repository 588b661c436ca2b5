//! Batch normalisation folded into the convolution before it: `scale (w x + b - mean) / sqrt(var + eps) + shift` is a convolution with other
//! weights and a bias. Of a factorised reduction, whose two convolutions are concatenated first, each takes its channels.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::portable::{Graph, Id, Kind, Node, Rebuilt};
use crate::tensor::Tensor;

/// What a channel is multiplied with and what is added to it.
type Affine = Vec<[f64; 2]>;

/// The graph without the normalisations whose operand is a convolution, or a concatenation of convolutions, that nothing else reads. The
/// weights keep their names; a convolution that had no bias gets one. Computed in f64.
///
/// # Errors
/// None for graphs of networks: their statistics fit their channels.
pub fn fold_norms(graph: &Graph) -> Result<Graph> {
    let (mut convolutions, mut gone) = (BTreeMap::new(), BTreeMap::new());
    for n in graph.nodes() {
        if let Some((parts, affine)) = foldable(graph, n) {
            let mut rest = affine;
            for part in parts {
                let own = rest.split_off(graph.shape(part).dims()[1].min(rest.len()));
                convolutions.insert(part, std::mem::replace(&mut rest, own));
            }
            gone.insert(n.y, n.x[0]);
        }
    }
    let mut new = Rebuilt::new(graph);
    for n in graph.nodes() {
        match (convolutions.get(&n.y), gone.get(&n.y)) {
            (Some(affine), _) => folded(graph, &mut new, n, affine)?,
            (_, Some(&x)) => {
                let x = new.of(x);
                new.stand_in(n.y, x);
            }
            _ => new.copy(n),
        }
    }
    Ok(new.done())
}

/// The convolutions that a normalisation can be folded into, in the order of its channels, with what it does to each channel.
fn foldable(graph: &Graph, n: &Node) -> Option<(Vec<Id>, Affine)> {
    let Kind::BatchNorm { eps } = n.kind else {
        return None;
    };
    let before = graph.maker(n.x[0])?;
    let parts = match before.kind {
        Kind::Concat => before.x.clone(),
        _ => vec![n.x[0]],
    };
    let convolves = |&x: &Id| {
        let made_by = graph.maker(x).map(|m| &m.kind);
        let kind = matches!(
            made_by,
            Some(Kind::Conv { .. } | Kind::ConvTranspose { .. })
        );
        kind && graph.readers(x) == 1
    };
    if graph.readers(n.x[0]) != 1 || !parts.iter().all(convolves) {
        return None;
    }
    let values = |i: usize| Some(graph.stored(n.x[i])?.1.to_f64());
    let (scale, shift, mean, var) = (values(1)?, values(2)?, values(3)?, values(4)?);
    let affine = (0..scale.len()).map(|c| {
        let a = scale[c] / (var[c] + eps).sqrt();
        [a, shift[c] - mean[c] * a]
    });
    Some((parts, affine.collect()))
}

/// Takes a convolution over with weights and bias changed.
fn folded(graph: &Graph, new: &mut Rebuilt, n: &Node, affine: &Affine) -> Result<()> {
    let (Some((name, w)), bias) = (graph.stored(n.x[1]), n.x.get(2)) else {
        new.copy(n);
        return Ok(());
    };
    let d = w.dims();
    // Which channel of the output a weight belongs to: dimension 0 of (O, I, K, K), dimension 1 of a transposed one's (I, O, K, K).
    let inner: usize = match n.kind {
        Kind::ConvTranspose { .. } => d[2..].iter().product(),
        _ => d[1..].iter().product(),
    };
    let scaled = w.to_f64().into_iter().enumerate();
    let scaled = scaled.map(|(i, v)| (v * affine[i / inner % affine.len()][0]) as f32);
    let scaled = Tensor::from_f32(*w.shape(), scaled.collect())?;
    let old = match bias.and_then(|&b| graph.stored(b)) {
        Some((_, b)) => b.to_f64(),
        None => vec![0.0; affine.len()],
    };
    let shifted = old.iter().zip(affine).map(|(b, [a, s])| (b * a + s) as f32);
    let shifted = Tensor::from_f32([affine.len()], shifted.collect())?;
    let layer = name.map_or("conv", |n| n.strip_suffix(".weight").unwrap_or(n));
    let x = new.of(n.x[0]);
    let g = new.graph();
    let w = g.parameter(&format!("{layer}.weight"), &scaled);
    let b = g.parameter(&format!("{layer}.bias"), &shifted);
    let y = g.node(n.kind.clone(), &[x, w, b], *graph.shape(n.y));
    new.stand_in(n.y, y);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Shape;

    fn vector(v: &[f32]) -> Tensor {
        Tensor::from_f32([v.len()], v.to_vec()).unwrap()
    }

    /// One pixel, two convolutions of one channel each, concatenated and normalised.
    #[test]
    fn each_convolution_takes_its_channels() {
        let mut g = Graph::default();
        let one = Shape::from([1, 1, 1, 1]);
        let x = g.input("image", one);
        let conv = |g: &mut Graph, name: &str, w: f32| {
            let w = g.parameter(name, &Tensor::from_f32([1, 1, 1, 1], vec![w]).unwrap());
            let kind = Kind::Conv {
                stride: 1,
                padding: 0,
                dilation: 1,
                groups: 1,
            };
            g.node(kind, &[x, w], one)
        };
        let (a, b) = (conv(&mut g, "a.weight", 2.0), conv(&mut g, "b.weight", 3.0));
        let two = Shape::from([1, 2, 1, 1]);
        let both = g.node(Kind::Concat, &[a, b], two);
        let rest = [[1.0, 2.0], [0.5, 0.25], [4.0, 8.0], [3.0, 15.0]];
        let rest: Vec<Id> = rest.iter().map(|v| g.constant(&vector(v))).collect();
        let y = g.node(
            Kind::BatchNorm { eps: 1.0 },
            &[&[both], &rest[..]].concat(),
            two,
        );
        g.output("y", y);
        let f = fold_norms(&g).unwrap().pruned();
        assert_eq!(f.nodes().len(), 3);
        let stored = |name: &str| {
            let found = f.values().filter_map(|v| f.stored(v));
            found
                .filter(|s| s.0 == Some(name))
                .map(|s| s.1.to_f32())
                .next()
        };
        // a / sqrt(3 + 1), 2 b / sqrt(15 + 1); 0.5 - 4 / 2, 0.25 - 8 * 2 / 4.
        assert_eq!(stored("a.weight").unwrap(), [1.0]);
        assert_eq!(stored("b.weight").unwrap(), [1.5]);
        assert_eq!(stored("a.bias").unwrap(), [-1.5]);
        assert_eq!(stored("b.bias").unwrap(), [-3.75]);
    }

    #[test]
    fn what_others_read_is_left_alone() {
        let mut g = Graph::default();
        let s = Shape::from([1, 1, 1, 1]);
        let x = g.input("image", s);
        let w = g.parameter(
            "a.weight",
            &Tensor::from_f32([1, 1, 1, 1], vec![2.0]).unwrap(),
        );
        let kind = Kind::Conv {
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
        };
        let c = g.node(kind, &[x, w], s);
        let v = g.constant(&vector(&[1.0]));
        let n = g.node(Kind::BatchNorm { eps: 1e-5 }, &[c, v, v, v, v], s);
        let y = g.node(Kind::Add, &[c, n], s);
        g.output("y", y);
        assert_eq!(fold_norms(&g).unwrap().nodes(), g.nodes());
    }
}
