//! What is in a data set: sizes, counts of each class, colours.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;

use super::dataset::{Dataset, Sample};
use crate::annotation::{Annotation, IGNORE};
use crate::error::Result;

/// Counts of one class.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClassStats {
    /// Name.
    pub name: String,
    /// Images that show it.
    pub images: u64,
    /// Objects (detection), pixels (segmentation) or images (classification).
    pub count: u64,
    /// Ignored objects.
    pub ignored: u64,
    /// Smallest, median and largest height of its boxes in pixels (detection).
    pub heights: Option<[f32; 3]>,
    /// Smallest, median and largest width of its boxes in pixels.
    pub widths: Option<[f32; 3]>,
    /// Boxes with an area below 32 x 32 pixels, below 96 x 96, and others (small, medium and large of COCO).
    pub areas: Option<[u64; 3]>,
    /// Share of the pixels that have a class (segmentation).
    pub share: Option<f64>,
}

/// Values of one quantity (depth, normals, keypoints, edges).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ValueStats {
    /// Pixels.
    pub pixels: u64,
    /// Pixels whose value is known.
    pub valid: u64,
    /// Smallest and largest known value, of any component.
    pub range: Option<[f32; 2]>,
}

/// Statistics of a data set.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Name of the data set.
    pub name: String,
    /// Number of samples.
    pub samples: u64,
    /// Number of pictures of each size, as `width x height`.
    pub sizes: BTreeMap<String, u64>,
    /// One entry a class.
    pub classes: Vec<ClassStats>,
    /// Objects, pixels or images without a class or ignored.
    pub ignored: u64,
    /// Maps of values, by quantity.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<&'static str, ValueStats>,
    /// Mean of R, G, B in 0 to 1.
    pub mean: [f64; 3],
    /// Standard deviation of R, G, B over all pixels.
    pub std: [f64; 3],
}

#[derive(Default)]
struct Part {
    size: String,
    classes: BTreeMap<usize, (u64, u64, Vec<[f32; 2]>)>,
    ignored: u64,
    values: BTreeMap<&'static str, ValueStats>,
    /// Pixels of label maps that have a class.
    labelled: u64,
    /// Pixels, sums and sums of squares: integers, so that the order of threads does not matter.
    colours: [[u64; 3]; 3],
}

fn part(sample: &Sample) -> Part {
    let mut p = Part {
        size: format!("{} x {}", sample.image.width, sample.image.height),
        ..Default::default()
    };
    for pixel in sample.image.data.chunks_exact(3) {
        for c in 0..3 {
            let v = pixel[c] as u64;
            p.colours[0][c] += 1;
            p.colours[1][c] += v;
            p.colours[2][c] += v * v;
        }
    }
    for annotation in sample.annotation.parts() {
        count(&mut p, annotation);
    }
    p
}

fn count(p: &mut Part, annotation: &Annotation) {
    match annotation {
        Annotation::Objects(objects) => {
            for o in objects {
                let class = p.classes.entry(o.class).or_default();
                if o.ignore {
                    class.1 += 1;
                    p.ignored += 1;
                } else {
                    class.0 += 1;
                    class.2.push([o.bbox.y2 - o.bbox.y1, o.bbox.x2 - o.bbox.x1]);
                }
            }
        }
        Annotation::Labels(labels) => {
            for &l in &labels.data {
                match l {
                    IGNORE => p.ignored += 1,
                    l => {
                        p.labelled += 1;
                        p.classes.entry(l as usize).or_default().0 += 1;
                    }
                }
            }
        }
        Annotation::Class(c) => p.classes.entry(*c).or_default().0 += 1,
        Annotation::Values(map) => {
            let pixels = map.valid.len();
            let s = p.values.entry(map.quantity.name()).or_default();
            s.pixels += pixels as u64;
            for (i, &v) in map.data.iter().enumerate() {
                if map.valid[i % pixels] {
                    s.valid += (i < pixels) as u64;
                    s.range = Some(s.range.map_or([v; 2], |[a, b]| [a.min(v), b.max(v)]));
                }
            }
        }
        // Its parts are counted one by one.
        Annotation::Joint(_) => {}
    }
}

/// Smallest, median and largest; `None` of nothing.
fn spread(values: impl Iterator<Item = f32>) -> Option<[f32; 3]> {
    let mut v: Vec<f32> = values.collect();
    v.sort_by(f32::total_cmp);
    v.first()
        .map(|&first| [first, v[v.len() / 2], v[v.len() - 1]])
}

/// Reads the samples at `indices` and counts.
///
/// # Errors
/// The first sample, in order, that cannot be read.
pub fn stats(set: &dyn Dataset, indices: &[usize]) -> Result<Stats> {
    let parts: Vec<Result<Part>> = indices
        .par_iter()
        .map(|&i| Ok(part(&set.load(i)?)))
        .collect();
    let mut s = Stats {
        name: set.name().into(),
        samples: indices.len() as u64,
        ..Default::default()
    };
    s.classes = set
        .classes()
        .iter()
        .map(|n| ClassStats {
            name: n.clone(),
            ..Default::default()
        })
        .collect();
    let mut sides = vec![vec![]; s.classes.len()];
    let mut labelled = 0;
    let mut sums = [[0u64; 3]; 3];
    for p in parts {
        let p = p?;
        *s.sizes.entry(p.size).or_default() += 1;
        s.ignored += p.ignored;
        for (quantity, part) in p.values {
            let all = s.values.entry(quantity).or_default();
            all.pixels += part.pixels;
            all.valid += part.valid;
            all.range = match (all.range, part.range) {
                (Some([a, b]), Some([c, d])) => Some([a.min(c), b.max(d)]),
                (a, b) => a.or(b),
            };
        }
        labelled += p.labelled;
        for (c, (count, ignored, h)) in p.classes {
            let class = &mut s.classes[c];
            class.images += (count > 0) as u64;
            class.count += count;
            class.ignored += ignored;
            sides[c].extend(h);
        }
        (0..9).for_each(|k| sums[k / 3][k % 3] += p.colours[k / 3][k % 3]);
    }
    for (class, sides) in s.classes.iter_mut().zip(sides) {
        class.heights = spread(sides.iter().map(|s| s[0]));
        class.widths = spread(sides.iter().map(|s| s[1]));
        class.areas = (!sides.is_empty()).then(|| {
            let area = |s: &[f32; 2]| f64::from(s[0]) * f64::from(s[1]);
            let below = |side: f64| sides.iter().filter(|s| area(s) < side * side).count() as u64;
            let (small, rest) = (below(32.0), below(96.0));
            [small, rest - small, sides.len() as u64 - rest]
        });
        class.share = (labelled > 0).then(|| class.count as f64 / labelled as f64);
    }
    for c in 0..3 {
        let n = sums[0][c].max(1) as f64;
        let mean = sums[1][c] as f64 / n;
        s.mean[c] = mean / 255.0;
        s.std[c] = (sums[2][c] as f64 / n - mean * mean).max(0.0).sqrt() / 255.0;
    }
    Ok(s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::{BBox, Image, LabelMap, Object};
    use crate::data::dataset::Kind;

    struct Two(Vec<String>, bool);

    impl Dataset for Two {
        fn name(&self) -> &str {
            "two"
        }
        fn kind(&self) -> Kind {
            Kind::Detection
        }
        fn classes(&self) -> &[String] {
            &self.0
        }
        fn len(&self) -> usize {
            2
        }
        fn id(&self, index: usize) -> String {
            index.to_string()
        }
        fn place(&self, index: usize) -> String {
            index.to_string()
        }
        fn load(&self, index: usize) -> Result<Sample> {
            let image = Image {
                height: 2,
                width: 2,
                data: vec![255 * index as u8; 12],
            };
            let bbox = |h: f32| BBox {
                x1: 0.0,
                y1: 0.0,
                x2: 1.0,
                y2: h,
            };
            let object = |class, h, ignore| Object {
                class,
                bbox: bbox(h),
                ignore,
            };
            let annotation = match self.1 {
                true => Annotation::Objects(vec![
                    object(0, 3.0, false),
                    object(0, 5.0, false),
                    object(1, 1.0, true),
                ]),
                false => Annotation::Labels(LabelMap {
                    height: 2,
                    width: 2,
                    data: vec![0, 1, 1, IGNORE],
                }),
            };
            Ok(Sample {
                id: index.to_string(),
                image,
                annotation,
            })
        }
    }

    #[test]
    fn counts() {
        let names = || vec!["a".to_string(), "b".to_string()];
        let s = stats(&Two(names(), true), &[0, 1]).unwrap();
        assert_eq!(
            (
                s.classes[0].count,
                s.classes[0].images,
                s.classes[1].ignored,
                s.ignored
            ),
            (4, 2, 2, 2)
        );
        assert_eq!(s.classes[0].heights, Some([3.0, 5.0, 5.0]));
        assert_eq!(s.classes[1].heights, None);
        assert_eq!(s.classes[0].widths, Some([1.0; 3]));
        assert_eq!(
            (s.classes[0].areas, s.classes[0].share),
            (Some([4, 0, 0]), None)
        );
        assert_eq!(s.classes[1].areas, None);
        assert_eq!(s.sizes, [("2 x 2".to_string(), 2)].into());
        assert_eq!((s.mean, s.std), ([0.5; 3], [0.5; 3]));
        let s = stats(&Two(names(), false), &[0, 1]).unwrap();
        assert_eq!(
            (s.classes[0].count, s.classes[1].count, s.ignored),
            (2, 4, 2)
        );
        assert_eq!(
            (s.classes[0].share, s.classes[1].share),
            (Some(2.0 / 6.0), Some(4.0 / 6.0))
        );
        assert_eq!(s.classes[0].areas, None);
    }
}
