//! The operators of decoding that are no operation of ours: the largest values, and suppression as the standard says.

use super::array::Array;
use super::evaluate::Value;
use super::read::bad;
use crate::annotation::BBox;
use crate::error::Result;
use crate::task::nms;

/// The `k` largest along the last dimension, in falling order, and where they are.
pub(super) fn top(x: &Array<f32>, k: &[i64], axis: usize) -> Result<Vec<Value>> {
    let (Some(&k), Some(&side)) = (k.first(), x.dims.last()) else {
        return Err(bad("how many is not said"));
    };
    let k = usize::try_from(k).unwrap_or(usize::MAX);
    if axis + 1 != x.dims.len() || k > side {
        return Err(bad(format!("the {k} largest of {:?} along {axis}", x.dims)));
    }
    let (mut values, mut places) = (vec![], vec![]);
    for row in x.data.chunks(side.max(1)) {
        let mut order: Vec<usize> = (0..side).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        values.extend(order[..k].iter().map(|&i| row[i]));
        places.extend(order[..k].iter().map(|&i| i as i64));
    }
    let mut dims = x.dims.clone();
    dims[axis] = k;
    Ok(vec![
        Value::Float(Array::new(dims.clone(), values)?),
        Value::Int(Array::new(dims, places)?),
    ])
}

/// `[image, class, box]` of what stays of boxes `(N, P, 4)` with scores `(N, C, P)`: per class at most so many, best first, those that
/// overlap a better one by more than an IoU left out, only those above a score.
pub(super) fn suppressed(
    boxes: &Array<f32>,
    scores: &Array<f32>,
    (most, iou, least): (i64, f32, f32),
) -> Result<Vec<Value>> {
    let (&[n, p, 4], &[m, classes, q]) = (&boxes.dims[..], &scores.dims[..]) else {
        return Err(bad(format!(
            "boxes {:?}, scores {:?}",
            boxes.dims, scores.dims
        )));
    };
    if (n, p) != (m, q) {
        return Err(bad(format!(
            "boxes {:?}, scores {:?}",
            boxes.dims, scores.dims
        )));
    }
    let mut rows: Vec<i64> = vec![];
    for image in 0..n {
        let edge = |i: usize, k: usize| boxes.data[(image * p + i) * 4 + k];
        for class in 0..classes {
            let own = &scores.data[(image * classes + class) * p..][..p];
            let mut best: Vec<usize> = (0..p).filter(|&i| own[i] > least).collect();
            best.sort_by(|&a, &b| own[b].total_cmp(&own[a]));
            let ranked: Vec<BBox> = best
                .iter()
                .map(|&i| BBox {
                    x1: edge(i, 0),
                    y1: edge(i, 1),
                    x2: edge(i, 2),
                    y2: edge(i, 3),
                })
                .collect();
            let kept = nms::suppress(&ranked, iou);
            for k in kept.into_iter().take(usize::try_from(most).unwrap_or(0)) {
                rows.extend([image as i64, class as i64, best[k] as i64]);
            }
        }
    }
    Ok(vec![Value::Int(Array::new(vec![rows.len() / 3, 3], rows)?)])
}
