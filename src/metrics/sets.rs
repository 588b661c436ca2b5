//! The input of the AP protocols: checked, and sorted by class and image.

use crate::annotation::{BBox, Detection, Object};
use crate::error::{Code, Error, Result};

/// Detections (by falling score, ties in list order) and objects of one class in one image, edges in f64.
pub(super) struct ImageSet {
    pub detections: Vec<(f32, [f64; 4])>,
    pub objects: Vec<([f64; 4], bool)>,
}

/// All images' detections and objects of one class.
pub(super) struct ClassSet {
    pub images: Vec<ImageSet>,
}

pub(super) fn edges(b: &BBox) -> [f64; 4] {
    [b.x1 as f64, b.y1 as f64, b.x2 as f64, b.y2 as f64]
}

impl ClassSet {
    pub fn of<D: AsRef<[Detection]>, O: AsRef<[Object]>>(
        class: usize,
        detections: &[D],
        objects: &[O],
    ) -> ClassSet {
        let images = detections
            .iter()
            .zip(objects)
            .map(|(ds, os)| {
                let of_class = ds.as_ref().iter().filter(|d| d.class == class);
                let mut detections: Vec<_> =
                    of_class.map(|d| (d.score + 0.0, edges(&d.bbox))).collect(); // + 0.0: -0 ties with 0
                detections.sort_by(|a, b| b.0.total_cmp(&a.0));
                let of_class = os.as_ref().iter().filter(|o| o.class == class);
                ImageSet {
                    detections,
                    objects: of_class.map(|o| (edges(&o.bbox), o.ignore)).collect(),
                }
            })
            .collect();
        ClassSet { images }
    }

    /// Number of objects that are not, and that are, ignored.
    pub fn counts(&self) -> (usize, usize) {
        let ignored = self
            .images
            .iter()
            .flat_map(|i| &i.objects)
            .filter(|o| o.1)
            .count();
        let all: usize = self.images.iter().map(|i| i.objects.len()).sum();
        (all - ignored, ignored)
    }
}

pub(super) fn check<D: AsRef<[Detection]>, O: AsRef<[Object]>>(
    detections: &[D],
    objects: &[O],
    classes: usize,
) -> Result<()> {
    if detections.len() != objects.len() {
        let (d, o) = (detections.len(), objects.len());
        return Err(Error::new(
            Code::Argument,
            format!("detections of {d} images against objects of {o} images"),
        )
        .help("give one list of detections for each image, empty where nothing was found"));
    }
    let bad_class = |class: usize, place: String| {
        Error::new(
            Code::BadLabelId,
            format!("class {class} is outside the {classes} classes"),
        )
        .at(place)
    };
    let bad_box = |b: &BBox, place: String| {
        Error::new(
            Code::BadBox,
            format!(
                "box ({}, {}, {}, {}) is inverted or not finite",
                b.x1, b.y1, b.x2, b.y2
            ),
        )
        .at(place)
        .help("boxes are (left, top, right, bottom) in pixels with left <= right and top <= bottom")
    };
    let sound = |b: &BBox| {
        [b.x1, b.y1, b.x2, b.y2].iter().all(|v| v.is_finite()) && b.x1 <= b.x2 && b.y1 <= b.y2
    };
    for (i, (ds, os)) in detections.iter().zip(objects).enumerate() {
        for (k, d) in ds.as_ref().iter().enumerate() {
            let place = || format!("image {i}, detection {k}");
            if !d.score.is_finite() {
                return Err(
                    Error::new(Code::Argument, format!("score {} is not finite", d.score))
                        .at(place())
                        .help("the network's outputs are not finite: check its weights and input"),
                );
            }
            if d.class >= classes {
                return Err(bad_class(d.class, place()));
            }
            if !sound(&d.bbox) {
                return Err(bad_box(&d.bbox, place()));
            }
        }
        for (k, o) in os.as_ref().iter().enumerate() {
            let place = || format!("image {i}, object {k}");
            if o.class >= classes {
                return Err(bad_class(o.class, place()));
            }
            if !sound(&o.bbox) {
                return Err(bad_box(&o.bbox, place()));
            }
        }
    }
    Ok(())
}
