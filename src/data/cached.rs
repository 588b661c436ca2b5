//! Keeps decoded pictures in memory at network size, for sets small enough: decoding then costs nothing after one pass.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::dataset::{Dataset, Kind, Sample};
use super::transform::{LEAST_SIDE, View, Window, resize};
use crate::annotation::{Annotation, KittiTruth};
use crate::error::Result;

/// A data set whose samples are resized once, to 8-bit pictures of one size, and kept up to a limit of memory.
///
/// Every sample is resized, kept or not, so that results do not depend on the limit. Augmentation that crops then works on
/// the resized picture.
pub struct Cached {
    inner: Arc<dyn Dataset>,
    size: (usize, usize),
    kept: Vec<OnceLock<Sample>>,
    /// Height and width of each picture file that was read.
    sizes: Vec<OnceLock<(usize, usize)>>,
    bytes: AtomicUsize,
    limit: usize,
}

impl Cached {
    /// Samples of `inner` at (height, width), keeping at most about `limit` bytes.
    pub fn new(inner: Arc<dyn Dataset>, size: (usize, usize), limit: usize) -> Cached {
        let kept = (0..inner.len()).map(|_| OnceLock::new()).collect();
        let sizes = (0..inner.len()).map(|_| OnceLock::new()).collect();
        Cached {
            inner,
            size,
            kept,
            sizes,
            bytes: AtomicUsize::new(0),
            limit,
        }
    }

    fn resized(&self, index: usize) -> Result<Sample> {
        let sample = self.inner.load(index)?;
        let loaded = (sample.image.height, sample.image.width);
        let _ = self.sizes[index].set(self.inner.own_size(index, loaded));
        at_size(sample, Some(self.size), LEAST_SIDE)
    }
}

/// A sample resized to (height, width), annotation and all, as a network that sees it whole would, without objects of a side below `least`;
/// `None` leaves it as it is.
///
/// # Errors
/// `Internal` if the resizer refuses.
pub(super) fn at_size(sample: Sample, size: Option<(usize, usize)>, least: f32) -> Result<Sample> {
    let source = (sample.image.height, sample.image.width);
    let Some(size) = size else {
        return Ok(sample);
    };
    let view = View::new(&Window::whole(source.0, source.1), source, size);
    Ok(Sample {
        id: sample.id,
        image: resize(&sample.image, size.0, size.1)?,
        annotation: view.annotation_from(&sample.annotation, least),
    })
}

fn bytes_of(sample: &Sample) -> usize {
    let part = |a: &Annotation| match a {
        Annotation::Objects(o) => std::mem::size_of_val(o.as_slice()),
        Annotation::Labels(l) => l.data.len(),
        Annotation::Values(m) => 4 * m.data.len() + m.valid.len(),
        Annotation::Class(_) | Annotation::Joint(_) => 0,
    };
    let annotation: usize = sample.annotation.parts().iter().map(part).sum();
    sample.image.data.len() + annotation
}

impl Dataset for Cached {
    fn name(&self) -> &str {
        self.inner.name()
    }
    fn kind(&self) -> Kind {
        self.inner.kind()
    }
    fn classes(&self) -> &[String] {
        self.inner.classes()
    }
    fn len(&self) -> usize {
        self.inner.len()
    }
    fn id(&self, index: usize) -> String {
        self.inner.id(index)
    }
    fn place(&self, index: usize) -> String {
        self.inner.place(index)
    }
    fn class_of(&self, index: usize) -> Result<Option<usize>> {
        self.inner.class_of(index)
    }
    fn annotation(&self, index: usize) -> Result<Annotation> {
        self.inner.annotation(index)
    }
    fn own_size(&self, index: usize, loaded: (usize, usize)) -> (usize, usize) {
        self.sizes[index].get().copied().unwrap_or(loaded)
    }
    fn labelled(&self, index: usize) -> Option<&[bool]> {
        self.inner.labelled(index)
    }
    fn kitti_truth(&self, index: usize) -> Result<Option<Vec<KittiTruth>>> {
        self.inner.kitti_truth(index)
    }
    fn load(&self, index: usize) -> Result<Sample> {
        if let Some(sample) = self.kept[index].get() {
            return Ok(sample.clone());
        }
        let sample = self.resized(index)?;
        let bytes = bytes_of(&sample);
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.limit {
            // Another thread may have been first; both have the same sample.
            let _ = self.kept[index].set(sample.clone());
        } else {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::{BBox, Image, Object};

    struct Counting(AtomicUsize, Vec<String>);

    impl Dataset for Counting {
        fn name(&self) -> &str {
            "counting"
        }
        fn kind(&self) -> Kind {
            Kind::Detection
        }
        fn classes(&self) -> &[String] {
            &self.1
        }
        fn len(&self) -> usize {
            3
        }
        fn id(&self, index: usize) -> String {
            index.to_string()
        }
        fn place(&self, index: usize) -> String {
            index.to_string()
        }
        fn load(&self, index: usize) -> Result<Sample> {
            self.0.fetch_add(1, Ordering::Relaxed);
            let bbox = BBox {
                x1: 2.0,
                y1: 2.0,
                x2: 6.0,
                y2: 8.0,
            };
            let image = Image {
                height: 10,
                width: 20,
                data: vec![index as u8; 600],
            };
            let objects = vec![Object {
                class: 0,
                bbox,
                ignore: false,
            }];
            Ok(Sample {
                id: index.to_string(),
                image,
                annotation: Annotation::Objects(objects),
            })
        }
    }

    #[test]
    fn decodes_once_and_scales_boxes() {
        let counting = || Arc::new(Counting(AtomicUsize::new(0), vec!["x".into()]));
        let (a, b) = (counting(), counting());
        let keep = Cached::new(a.clone(), (5, 10), 1 << 20);
        let drop = Cached::new(b.clone(), (5, 10), 200);
        for _ in 0..4 {
            for i in 0..3 {
                assert_eq!(keep.load(i).unwrap(), drop.load(i).unwrap());
            }
        }
        assert_eq!(a.0.load(Ordering::Relaxed), 3);
        // The limit leaves room for one sample of 150 bytes and a box.
        assert_eq!(b.0.load(Ordering::Relaxed), 1 + 2 * 4);
        let s = keep.load(2).unwrap();
        let Annotation::Objects(o) = &s.annotation else {
            panic!()
        };
        assert_eq!(
            o[0].bbox,
            BBox {
                x1: 1.0,
                y1: 1.0,
                x2: 3.0,
                y2: 4.0
            }
        );
        assert_eq!((s.image.height, s.image.width), (5, 10));
        // What it was before.
        assert_eq!(keep.own_size(2, (5, 10)), (10, 20));
        let Annotation::Objects(own) = keep.annotation(2).unwrap() else {
            panic!()
        };
        assert_eq!((own[0].bbox.x2, own[0].bbox.y2), (6.0, 8.0));
    }
}
