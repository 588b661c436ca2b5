//! Whether a written file says what the network says: read back, evaluated apart from what wrote it, compared.

use std::collections::BTreeMap;
use std::path::Path;

use super::onnx::decode::{Decoding, OUTPUTS};
use super::onnx::evaluate::{Value, run};
use super::onnx::read::read;
use super::trace::{IMAGE, outputs};
use crate::annotation::{BBox, Detection};
use crate::error::{Code, Error, Result};
use crate::model::Network;
use crate::nn::{Mode, Pass, Store};
use crate::rng::{Rng, word};
use crate::tape::{Cx, Path as Implementation};
use crate::task::decode::{DecodeConfig, decode};
use crate::tensor::Tensor;

/// Largest difference that passes, of a value to a share of itself or of 1, whichever is more.
pub const TOLERANCE: f64 = 1e-4;
/// Largest difference of an edge of a decoded box, in pixels: ours decodes in f64, a file in f32.
const PIXELS: f32 = 1e-2;
/// Multiply-adds of an image up to which files are evaluated on the reference path; more would take minutes in its plain loops.
const REFERENCE_MACS: u64 = 500_000_000;

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Largest difference, over all outputs: `|a - b| / max(1, |b|)`.
    pub largest: f64,
    /// Values compared.
    pub values: usize,
    /// Detections compared after decoding, if the file decodes.
    pub detections: Option<usize>,
    /// Whether the reference path evaluated the file.
    pub reference: bool,
}

/// Standard normal images `(n, 3, H, W)` for a network.
///
/// # Errors
/// None: there are as many values as the shape holds.
pub fn images(net: &Network, n: usize) -> Result<Tensor> {
    let (h, w) = (net.spec().height, net.spec().width);
    let mut rng = Rng::new(0, &[word("verify")]);
    let v = (0..n * 3 * h * w).map(|_| rng.normal() as f32);
    Tensor::from_f32([n, 3, h, w], v.collect())
}

/// What the network itself yields for images, by name.
///
/// # Errors
/// Those of the ops.
pub fn expected(net: &Network, store: &Store, x: &Tensor) -> Result<Vec<(&'static str, Tensor)>> {
    let p = Pass::new(store, Cx::default(), Mode::EVAL);
    let all = outputs(net, &p, &p.tape.leaf(x.clone()))?;
    Ok(all
        .into_iter()
        .map(|(n, v)| (n, v.value().clone()))
        .collect())
}

/// Reads an ONNX file back, checks that it holds together, and compares what it computes for `n` random images with the network.
///
/// # Errors
/// [`Code::CheckFailed`] for a difference above [`TOLERANCE`], naming the output; those of reading and evaluating.
pub fn onnx(
    path: &Path,
    net: &Network,
    store: &Store,
    n: usize,
    decoding: Option<&Decoding>,
) -> Result<Verified> {
    let model = read(path)?;
    let x = images(net, n)?;
    let want = expected(net, store, &x)?;
    let reference = net.cost().total().macs * n as u64 <= REFERENCE_MACS;
    let cx = Cx {
        path: match reference {
            true => Implementation::Reference,
            false => Implementation::Fast,
        },
        ..Cx::default()
    };
    let got = run(&model, &[(IMAGE, Value::from(&x))], cx).map_err(|e| e.at(path.display()))?;
    let (mut largest, mut values) = (0.0, 0);
    for (name, want) in &want {
        let found = got
            .get(*name)
            .ok_or_else(|| failed(path, name, "it is missing".into()))?;
        largest = difference(path, name, found, want)?.max(largest);
        values += want.numel();
    }
    let detections = decoding.map(|d| detections(path, d, &got)).transpose()?;
    Ok(Verified {
        largest,
        values,
        detections,
        reference,
    })
}

/// The largest difference of an output, if it passes.
fn difference(path: &Path, name: &str, got: &Value, want: &Tensor) -> Result<f64> {
    let got = got.floats()?;
    if got.dims != want.dims() {
        let text = format!("its shape is {:?}, expected {}", got.dims, want.shape());
        return Err(failed(path, name, text));
    }
    let mut largest = 0.0;
    for (&a, b) in got.data.iter().zip(want.to_f64()) {
        let d = (f64::from(a) - b).abs() / b.abs().max(1.0);
        if !(d <= TOLERANCE) {
            return Err(failed(path, name, format!("{a} is there, {b} expected")));
        }
        largest = d.max(largest);
    }
    Ok(largest)
}

fn failed(path: &Path, name: &str, what: String) -> Error {
    let text = format!("output `{name}` is not what the network yields: {what}");
    Error::new(Code::CheckFailed, text).at(path.display())
}

/// Compares decoded boxes with our decoding of the file's own head; how many there are.
fn detections(path: &Path, d: &Decoding, got: &BTreeMap<String, Value>) -> Result<usize> {
    let value = |name: &str| {
        got.get(name)
            .ok_or_else(|| failed(path, name, "it is missing".into()))
    };
    let (loc, conf) = (value("loc")?.floats()?, value("conf")?.floats()?);
    let [boxes, scores, selected] = [value(OUTPUTS[0])?, value(OUTPUTS[1])?, value(OUTPUTS[2])?];
    let (boxes, scores) = (boxes.floats()?, scores.floats()?);
    let (rows, size) = (d.priors.len(), (d.size[0], d.size[1]));
    let mut total = 0;
    for image in 0..loc.dims[0] {
        let of = |a: &[f32], each: usize| a[image * each..][..each].to_vec();
        let loc = of(&loc.data, loc.data.len() / loc.dims[0]);
        let conf = of(&conf.data, conf.data.len() / conf.dims[0]);
        let config = DecodeConfig {
            per_image: None,
            ..d.config
        };
        let want = decode(d.priors, &loc, &conf, d.classes, size, &config)?;
        let mut found: Vec<Detection> = vec![];
        for row in selected
            .ints()?
            .data
            .chunks(3)
            .filter(|r| r[0] == image as i64)
        {
            let (class, prior) = (row[1] as usize, row[2] as usize);
            let edges = &boxes.data[(image * rows + prior) * 4..][..4];
            let bbox = BBox {
                x1: edges[0],
                y1: edges[1],
                x2: edges[2],
                y2: edges[3],
            };
            // What lies outside the image has nothing left of it.
            if !d.config.clip || bbox.area() > 0.0 {
                let score = scores.data[(image * d.classes + class) * rows + prior];
                found.push(Detection { class, score, bbox });
            }
        }
        if !same(&found, &want) {
            let text = format!("{} detections, {} expected", found.len(), want.len());
            return Err(failed(path, OUTPUTS[2], text));
        }
        total += want.len();
    }
    Ok(total)
}

/// Whether two lists, class by class and best first, are the same up to rounding.
fn same(a: &[Detection], b: &[Detection]) -> bool {
    let edges = |d: &Detection| [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2];
    let near = |(a, b): (&Detection, &Detection)| {
        let apart = edges(a)
            .into_iter()
            .zip(edges(b))
            .map(|(a, b)| (a - b).abs());
        a.class == b.class
            && f64::from((a.score - b.score).abs()) <= TOLERANCE
            && apart.fold(0.0, f32::max) <= PIXELS
    };
    a.len() == b.len() && a.iter().zip(b).all(near)
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
