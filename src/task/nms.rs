//! Greedy non-maximum suppression.

use crate::annotation::BBox;

/// Intersection over union; 0 where the union is empty.
pub fn iou(a: &BBox, b: &BBox) -> f32 {
    let w = a.x2.min(b.x2) - a.x1.max(b.x1);
    let h = a.y2.min(b.y2) - a.y1.max(b.y1);
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    w * h / (a.area() + b.area() - w * h)
}

/// Indices of the boxes that stay, best first. `ranked` lists boxes best first; each one that stays removes the later
/// boxes whose IoU with it exceeds `threshold` (equal stays).
pub fn suppress(ranked: &[BBox], threshold: f32) -> Vec<usize> {
    let mut kept: Vec<usize> = vec![];
    for (i, b) in ranked.iter().enumerate() {
        if kept.iter().all(|&k| iou(&ranked[k], b) <= threshold) {
            kept.push(i);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x1: f32, x2: f32) -> BBox {
        BBox {
            x1,
            y1: 0.0,
            x2,
            y2: 1.0,
        }
    }

    #[test]
    fn overlap_by_hand() {
        assert_eq!(iou(&at(0.0, 2.0), &at(1.0, 3.0)), 1.0 / 3.0);
        assert_eq!(iou(&at(0.0, 1.0), &at(1.0, 2.0)), 0.0);
        assert_eq!(iou(&at(1.0, 1.0), &at(1.0, 1.0)), 0.0);
    }

    #[test]
    fn the_threshold_itself_stays() {
        // IoU of the first two is 1/3.
        let b = [at(0.0, 2.0), at(1.0, 3.0)];
        assert_eq!(suppress(&b, 1.0 / 3.0), [0, 1]);
        assert_eq!(suppress(&b, 0.33), [0]);
    }

    #[test]
    fn a_removed_box_removes_nothing() {
        // 0 removes 1; 1 would have removed 2.
        let b = [at(0.0, 10.0), at(3.0, 13.0), at(6.0, 16.0)];
        assert!(iou(&b[1], &b[2]) > 0.45 && iou(&b[0], &b[2]) < 0.45);
        assert_eq!(suppress(&b, 0.45), [0, 2]);
        assert_eq!(suppress(&[], 0.45), [0; 0]);
    }
}
