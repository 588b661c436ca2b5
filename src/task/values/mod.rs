//! Tasks of values for each pixel: depth, normals, keypoints, edges (systems.md 5.5, 6.4). What they differ in is a `Row` each; a further
//! one is a file with its row, a line in `ROWS` and a variant of [`TaskKind`].

mod depth;
mod meter;
mod normals;
mod strength;

use super::config::{TaskKind, ValuesConfig};
use super::{Loss, Meter, Prediction, Targets, Task, annotation_kind, wrong_kind, wrong_outputs};
use crate::annotation::{Annotation, NormalSpace, Quantity, ValueMap};
use crate::error::{Code, Error, Result};
use crate::metrics::Figure;
use crate::ops::{Cosine, SmoothL1, cosine, smooth_l1};
use crate::tape::{Path, Var};
use crate::tensor::{DType, Tensor};

/// What the tasks differ in.
pub(super) struct Row {
    kind: TaskKind,
    /// What a map in a space of normals must be.
    quantity: fn(NormalSpace) -> Quantity,
    distance: Distance,
    /// What the name of the figure begins with that is compared where one is.
    compared: &'static str,
    /// Empty errors, angles measured in the space given.
    errors: fn(NormalSpace) -> Box<dyn Errors>,
}

/// The rows of all tasks.
static ROWS: [&Row; 4] = [
    &depth::ROW,
    &normals::ROW,
    &strength::KEYPOINTS,
    &strength::EDGES,
];

/// The loss of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distance {
    /// Absolute difference.
    L1,
    /// One minus the cosine of the angle; the length of the prediction does not count.
    Cosine,
}

/// Errors of many images.
pub(super) trait Errors: Send {
    /// Adds a batch of predictions with their ground truth.
    ///
    /// # Errors
    /// A size, kind or value that cannot be.
    fn add(&mut self, batch: &[(&[f32], &ValueMap)]) -> Result<()>;

    /// The figures, the headline first.
    fn figures(&self, config: &ValuesConfig) -> Vec<Figure>;

    /// The same once more.
    fn again(&self) -> Box<dyn Errors>;
}

/// A task of this kind; the head gives `(N, planes, H, W)` at the size of the maps.
#[derive(Clone)]
pub struct ValueTask {
    row: &'static Row,
    /// How normals are coded, in the ground truth and in what is predicted.
    space: NormalSpace,
    config: ValuesConfig,
}

impl ValueTask {
    /// A task of `kind`; normals are coded as in `space`.
    ///
    /// # Errors
    /// `Internal` for a kind that has no values.
    pub fn new(kind: TaskKind, space: NormalSpace, config: &ValuesConfig) -> Result<ValueTask> {
        let row = ROWS.iter().find(|r| r.kind == kind).ok_or_else(|| {
            Error::new(Code::Internal, format!("{kind} has no values for pixels"))
        })?;
        Ok(ValueTask {
            row,
            space,
            config: config.clone(),
        })
    }

    fn values(&self) -> Quantity {
        (self.row.quantity)(self.space)
    }

    /// The map of an annotation, checked against the size of the first one.
    fn map<'a>(&self, a: &'a Annotation, size: Option<(usize, usize)>) -> Result<&'a ValueMap> {
        let quantity = self.values();
        let m = match a {
            Annotation::Values(m) if m.quantity == quantity => m,
            Annotation::Values(m) if m.quantity.name() == quantity.name() => {
                let text = format!("expected {quantity:?}, got {:?}", m.quantity);
                return Err(Error::new(Code::Argument, text)
                    .help("the task and its data set have another `normal_space`"));
            }
            other => return Err(wrong_kind(quantity.name(), annotation_kind(other))),
        };
        let (h, w) = size.unwrap_or((m.height, m.width));
        let fits = m.data.len() == quantity.planes() * h * w && m.valid.len() == h * w;
        if (m.height, m.width) != (h, w) || !fits {
            let text = format!(
                "a map of {} of {}x{} in a batch of {h}x{w} (height x width)",
                quantity.name(),
                m.height,
                m.width
            );
            return Err(Error::new(Code::SizeMismatch, text));
        }
        Ok(m)
    }

    /// Shape of the weights: a plane fewer dimensions where a pixel has one distance for all its planes.
    fn weights(&self, weight: Vec<f32>, [n, h, w]: [usize; 3]) -> Result<Tensor> {
        match self.row.distance {
            Distance::L1 => Tensor::from_f32([n, 1, h, w], weight),
            Distance::Cosine => Tensor::from_f32([n, h, w], weight),
        }
    }
}

impl Task for ValueTask {
    fn kind(&self) -> TaskKind {
        self.row.kind
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn quantity(&self) -> Option<Quantity> {
        Some(self.values())
    }

    fn targets(&self, annotations: &[Annotation]) -> Result<Targets> {
        let mut size = None;
        let (mut values, mut weight) = (vec![], vec![]);
        for (i, a) in annotations.iter().enumerate() {
            let m = self
                .map(a, size)
                .map_err(|e| e.at(format!("image {i} of the batch")))?;
            size = Some((m.height, m.width));
            values.extend_from_slice(&m.data);
            weight.extend(m.valid.iter().map(|&v| f32::from(v)));
        }
        let (h, w) = size.unwrap_or_default();
        let n = annotations.len();
        let known = weight.iter().filter(|&&v| v > 0.0).count();
        let planes = self.values().planes();
        Ok(Targets {
            tensors: vec![
                ("values", Tensor::from_f32([n, planes, h, w], values)?),
                ("weight", self.weights(weight, [n, h, w])?),
            ],
            denominator: known.max(1) as f64,
        })
    }

    /// On a device every step must look alike, so the division goes into the weights.
    fn inputs(&self, path: Path, annotations: &[Annotation]) -> Result<Targets> {
        let mut targets = self.targets(annotations)?;
        if let Path::Device(_) = path {
            let share = (1.0 / targets.denominator) as f32;
            for (_, t) in targets.tensors.iter_mut().filter(|t| t.0 == "weight") {
                t.data_mut::<f32>().iter_mut().for_each(|v| *v *= share);
            }
            targets.denominator = 1.0;
        }
        Ok(targets)
    }

    fn check(&self, annotation: &Annotation) -> Result<()> {
        self.map(annotation, None).map(drop)
    }

    fn loss(&self, outputs: &[Var], targets: &Targets) -> Result<Loss> {
        let (values, weight) = (targets.get("values"), targets.get("weight"));
        let y = match outputs {
            [y] if y.dims() == values.dims() => y,
            _ => {
                let wanted = format!("{:?}", values.dims());
                let got = outputs.iter().map(Var::dims);
                return Err(wrong_outputs(self.row.kind.name(), &wanted, got));
            }
        };
        let tape = y.tape();
        let denominator = targets.denominator;
        // The host computes in the type of the maps; kernels take the targets in f32, of which depth needs more digits than bf16 has.
        let dtype = match tape.cx().path {
            Path::Device(_) if y.dtype() == DType::Bf16 => DType::F32,
            _ => y.dtype(),
        };
        let [values, weight] = [values, weight].map(|t| tape.leaf(t.cast(dtype)));
        let total = match self.row.distance {
            Distance::L1 => {
                let op = SmoothL1 {
                    beta: 0.0,
                    denominator,
                };
                smooth_l1(y, &values, &weight, op)?
            }
            Distance::Cosine => cosine(y, &values, &weight, Cosine { denominator })?,
        };
        Ok(Loss {
            total,
            parts: vec![],
            audit: vec![],
        })
    }

    fn predict(&self, outputs: &[Tensor], sizes: &[(usize, usize)]) -> Result<Vec<Prediction>> {
        let planes = self.values().planes();
        let bad = || {
            let wanted = format!("({}, {planes}, H, W)", sizes.len());
            let got = outputs.iter().map(Tensor::dims);
            wrong_outputs(self.row.kind.name(), &wanted, got)
        };
        let [values] = outputs else { return Err(bad()) };
        let [n, c, h, w] = *values.dims() else {
            return Err(bad());
        };
        if n != sizes.len() || c != planes || h * w == 0 {
            return Err(bad());
        }
        let all = values.to_f32();
        let one = |(i, &size): (usize, &(usize, usize))| {
            let own = &all[i * c * h * w..][..c * h * w];
            if let Some(at) = own.iter().position(|v| !v.is_finite()) {
                let p = at % (h * w);
                let text = format!("a predicted value of {} is {}", self.row.kind, own[at]);
                return Err(Error::new(Code::Argument, text)
                    .at(format!("pixel ({}, {})", p % w, p / w))
                    .help("the network's weights or input are not finite")
                    .note(format!("image {i} of the batch")));
            }
            let mut data = resize_nearest(own, c, (h, w), size);
            if self.values() == Quantity::Normals(NormalSpace::True) {
                to_length_1(&mut data);
            }
            Ok(Prediction::Values(ValueMap {
                quantity: self.values(),
                height: size.0,
                width: size.1,
                data,
                valid: vec![true; size.0 * size.1],
            }))
        };
        sizes.iter().enumerate().map(one).collect()
    }

    fn meter(&self) -> Box<dyn Meter> {
        let angles = self.config.angles.unwrap_or(self.space);
        Box::new(meter::ValueMeter::new(
            self.clone(),
            (self.row.errors)(angles),
        ))
    }
}

/// Gives every vector of three planes the length 1, but those that have none: the loss leaves it free.
fn to_length_1(planes: &mut [f32]) {
    let pixels = planes.len() / 3;
    for i in 0..pixels {
        let at = |c: usize| c * pixels + i;
        let length = (0..3)
            .map(|c| f64::from(planes[at(c)]).powi(2))
            .sum::<f64>();
        let length = length.sqrt();
        if length > 0.0 {
            (0..3).for_each(|c| planes[at(c)] = (f64::from(planes[at(c)]) / length) as f32);
        }
    }
}

/// Nearest-neighbour resize of planes, output pixel i reads input pixel floor(i in / out): predictions are compared at the size of the ground
/// truth (systems.md 6.4).
pub fn resize_nearest(
    planes: &[f32],
    count: usize,
    (height, width): (usize, usize),
    to: (usize, usize),
) -> Vec<f32> {
    if (height, width) == to {
        return planes.to_vec();
    }
    let mut out = Vec::with_capacity(count * to.0 * to.1);
    for plane in planes.chunks_exact(height * width) {
        for y in 0..to.0 {
            let row = &plane[y * height / to.0 * width..][..width];
            out.extend((0..to.1).map(|x| row[x * width / to.1]));
        }
    }
    out
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
