//! Made-up batches of noise, for audits and timings: no two values under a pooling window or in a list of mined negatives tie.

use crate::annotation::{Annotation, BBox, IGNORE, LabelMap, Object, ValueMap};
use crate::error::Result;
use crate::rng::Rng;
use crate::task::Task;
use crate::task::config::TaskKind;
use crate::tensor::Tensor;

/// Objects of an image; the last image of a batch of several has none.
const OBJECTS: usize = 4;

/// Images `(n, 3, h, w)` of normal noise, f32.
///
/// # Errors
/// None for sizes that fit into memory.
pub fn images(rng: &mut Rng, n: usize, [h, w]: [usize; 2]) -> Result<Tensor> {
    Tensor::from_f32(
        [n, 3, h, w],
        (0..n * 3 * h * w).map(|_| rng.normal() as f32).collect(),
    )
}

/// Random boxes, label maps (5 % ignored) or, for every other kind, classes for `n` images of `size` (height, width).
pub fn annotations(
    rng: &mut Rng,
    kind: TaskKind,
    n: usize,
    size: [usize; 2],
    classes: usize,
) -> Vec<Annotation> {
    let [h, w] = size;
    (0..n)
        .map(|i| match kind {
            TaskKind::Detection => {
                let count = if n > 1 && i + 1 == n { 0 } else { OBJECTS };
                Annotation::Objects(
                    (0..count)
                        .map(|_| object(rng, h as f64, w as f64, classes))
                        .collect(),
                )
            }
            TaskKind::Segmentation => {
                let data = (0..h * w)
                    .map(|_| {
                        if rng.coin(0.05) {
                            IGNORE
                        } else {
                            rng.below(classes) as u8
                        }
                    })
                    .collect();
                Annotation::Labels(LabelMap {
                    height: h,
                    width: w,
                    data,
                })
            }
            _ => Annotation::Class(rng.below(classes)),
        })
        .collect()
}

/// Annotations that fit a task, as of [`annotations`]; of values 5 % are not known.
pub fn of_task(rng: &mut Rng, task: &dyn Task, n: usize, size: [usize; 2]) -> Vec<Annotation> {
    let Some(quantity) = task.quantity() else {
        return annotations(rng, task.kind(), n, size, task.classes().len());
    };
    let [height, width] = size;
    let mut one = || {
        let values = quantity.planes() * height * width;
        Annotation::Values(ValueMap {
            quantity,
            height,
            width,
            data: (0..values).map(|_| rng.range(0.1, 1.0) as f32).collect(),
            valid: (0..height * width).map(|_| !rng.coin(0.05)).collect(),
        })
    };
    (0..n).map(|_| one()).collect()
}

fn object(rng: &mut Rng, h: f64, w: f64, classes: usize) -> Object {
    let mut axis = |side: f64| {
        let length = rng.range(0.1, 0.5) * side;
        let start = rng.range(0.0, side - length);
        (start as f32, (start + length) as f32)
    };
    let ((x1, x2), (y1, y2)) = (axis(w), axis(h));
    Object {
        class: rng.below(classes),
        bbox: BBox { x1, y1, x2, y2 },
        ignore: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_lie_inside_and_the_last_image_has_none() {
        let mut rng = Rng::new(1, &[]);
        let all = annotations(&mut rng, TaskKind::Detection, 3, [64, 96], 2);
        let counts: Vec<usize> = all
            .iter()
            .map(|a| {
                if let Annotation::Objects(o) = a {
                    o.len()
                } else {
                    99
                }
            })
            .collect();
        assert_eq!(counts, [OBJECTS, OBJECTS, 0]);
        for a in &all {
            let Annotation::Objects(o) = a else {
                unreachable!()
            };
            for o in o {
                let b = o.bbox;
                assert!(
                    0.0 <= b.x1
                        && b.x1 < b.x2
                        && b.x2 <= 96.0
                        && 0.0 <= b.y1
                        && b.y1 < b.y2
                        && b.y2 <= 64.0
                        && o.class < 2
                );
            }
        }
    }
}
