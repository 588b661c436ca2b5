//! Annotations as bytes and back, for the packed cache. A tag, then the fields, little-endian.

use crate::annotation::{Annotation, BBox, LabelMap, NormalSpace, Object, Quantity, ValueMap};

const OBJECTS: u8 = 0;
const LABELS: u8 = 1;
const CLASS: u8 = 2;
const VALUES: u8 = 3;
const JOINT: u8 = 4;

/// All that a map of values may tell.
const QUANTITIES: [Quantity; 5] = [
    Quantity::Depth,
    Quantity::Normals(NormalSpace::True),
    Quantity::Normals(NormalSpace::Encoded),
    Quantity::Keypoints,
    Quantity::Edges,
];

/// An annotation as bytes.
pub fn encode(annotation: &Annotation) -> Vec<u8> {
    let mut out = vec![];
    push(&mut out, annotation);
    out
}

fn push(out: &mut Vec<u8>, annotation: &Annotation) {
    let number = |out: &mut Vec<u8>, n: usize| out.extend((n as u64).to_le_bytes());
    match annotation {
        Annotation::Objects(objects) => {
            out.push(OBJECTS);
            number(out, objects.len());
            for o in objects {
                number(out, o.class);
                for v in [o.bbox.x1, o.bbox.y1, o.bbox.x2, o.bbox.y2] {
                    out.extend(v.to_le_bytes());
                }
                out.push(o.ignore.into());
            }
        }
        Annotation::Labels(map) => {
            out.push(LABELS);
            number(out, map.height);
            number(out, map.width);
            out.extend_from_slice(&map.data);
        }
        Annotation::Class(class) => {
            out.push(CLASS);
            number(out, *class);
        }
        Annotation::Values(map) => {
            out.push(VALUES);
            let at = QUANTITIES.iter().position(|q| *q == map.quantity);
            out.push(at.unwrap_or(0) as u8);
            number(out, map.height);
            number(out, map.width);
            out.extend(map.valid.iter().map(|&v| u8::from(v)));
            out.extend(map.data.iter().flat_map(|v| v.to_le_bytes()));
        }
        Annotation::Joint(parts) => {
            out.push(JOINT);
            number(out, parts.len());
            parts.iter().for_each(|p| push(out, p));
        }
    }
}

/// The annotation that `bytes` are, all of them, of a picture of `size` (height, width) in a set of `classes` classes; `None` if they are not
/// one.
pub fn decode(bytes: &[u8], size: (usize, usize), classes: usize) -> Option<Annotation> {
    let mut rest = Rest {
        bytes,
        size,
        classes,
    };
    let annotation = rest.annotation(true)?;
    rest.bytes.is_empty().then_some(annotation)
}

/// What was not read yet.
struct Rest<'a> {
    bytes: &'a [u8],
    size: (usize, usize),
    classes: usize,
}

impl<'a> Rest<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn flag(&mut self) -> Option<bool> {
        flag(self.byte()?)
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.take(8)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    }

    fn real(&mut self) -> Option<f32> {
        Some(f32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Height and width of a map, which are those of the picture; pixels.
    fn pixels(&mut self) -> Option<usize> {
        let size = (self.number()?, self.number()?);
        (size == self.size).then(|| size.0 * size.1)
    }

    fn class(&mut self) -> Option<usize> {
        self.number().filter(|&c| c < self.classes)
    }

    fn object(&mut self) -> Option<Object> {
        let class = self.class()?;
        let bbox = BBox {
            x1: self.real()?,
            y1: self.real()?,
            x2: self.real()?,
            y2: self.real()?,
        };
        Some(Object {
            class,
            bbox,
            ignore: self.flag()?,
        })
    }

    fn annotation(&mut self, may_be_joint: bool) -> Option<Annotation> {
        let (height, width) = self.size;
        match self.byte()? {
            OBJECTS => {
                let n = self.number()?;
                // Grows as objects are found: the number is not to be trusted.
                let mut objects = vec![];
                for _ in 0..n {
                    objects.push(self.object()?);
                }
                Some(Annotation::Objects(objects))
            }
            LABELS => {
                let pixels = self.pixels()?;
                Some(Annotation::Labels(LabelMap {
                    height,
                    width,
                    data: self.take(pixels)?.to_vec(),
                }))
            }
            CLASS => Some(Annotation::Class(self.class()?)),
            VALUES => {
                let quantity = *QUANTITIES.get(usize::from(self.byte()?))?;
                let pixels = self.pixels()?;
                let valid = self.take(pixels)?.iter().map(|&v| flag(v));
                let valid = valid.collect::<Option<Vec<bool>>>()?;
                let data = self.take(pixels.checked_mul(4 * quantity.planes())?)?;
                let value = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                Some(Annotation::Values(ValueMap {
                    quantity,
                    height,
                    width,
                    data: data.chunks_exact(4).map(value).collect(),
                    valid,
                }))
            }
            JOINT if may_be_joint => {
                let n = self.number()?;
                let mut parts = vec![];
                for _ in 0..n {
                    parts.push(self.annotation(false)?);
                }
                Some(Annotation::Joint(parts))
            }
            _ => None,
        }
    }
}

fn flag(v: u8) -> Option<bool> {
    match v {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Annotation> {
        let objects = [(0, false), (2, true)].map(|(class, ignore)| Object {
            class,
            bbox: BBox {
                x1: 0.25,
                y1: -0.0,
                x2: 3.1,
                y2: 2.0,
            },
            ignore,
        });
        let labels = LabelMap {
            height: 2,
            width: 3,
            data: vec![0, 1, 2, 255, 7, 1],
        };
        let values = |quantity: Quantity| ValueMap {
            data: (0..6 * quantity.planes()).map(|i| i as f32 / 7.0).collect(),
            valid: (0..6).map(|i| i % 2 == 0).collect(),
            ..ValueMap::unknown(quantity, 2, 3)
        };
        let mut all: Vec<Annotation> = QUANTITIES
            .iter()
            .map(|&q| Annotation::Values(values(q)))
            .collect();
        all.push(Annotation::Objects(objects.to_vec()));
        all.push(Annotation::Objects(vec![]));
        all.push(Annotation::Labels(labels));
        all.push(Annotation::Class(2));
        all.push(Annotation::Joint(all.clone()));
        all
    }

    #[test]
    fn every_annotation_comes_back() {
        for a in all() {
            let bytes = encode(&a);
            assert_eq!(decode(&bytes, (2, 3), 3), Some(a.clone()));
            for n in 0..bytes.len() {
                assert_eq!(decode(&bytes[..n], (2, 3), 3), None, "{a:?} cut at {n}");
            }
            assert_eq!(decode(&[&bytes[..], &[0]].concat(), (2, 3), 3), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let bytes = |a: &Annotation| encode(a);
        let all = all();
        for a in &all[..5] {
            assert_eq!(decode(&bytes(a), (3, 2), 3), None);
        }
        assert_eq!(decode(&bytes(&Annotation::Class(2)), (2, 3), 2), None);
        let nested = Annotation::Joint(vec![Annotation::Joint(vec![])]);
        assert_eq!(decode(&bytes(&nested), (2, 3), 3), None);
        let mut endless = vec![OBJECTS];
        endless.extend(u64::MAX.to_le_bytes());
        assert_eq!(decode(&endless, (2, 3), 3), None);
        let mut wide = vec![LABELS];
        wide.extend([u64::MAX, 2].map(u64::to_le_bytes).concat());
        assert_eq!(decode(&wide, (2, 3), 3), None);
    }
}
