//! The label text of KITTI object (systems.md 8.3): one object a line, 15 fields, 16 with a score.

use std::path::Path;

use super::text_file::{at_line, read_text};
use crate::annotation::BBox;
use crate::error::{Code, Error, Result, nearest};

/// The nine object types of the format.
pub const TYPES: [&str; 9] = [
    "Car",
    "Van",
    "Truck",
    "Pedestrian",
    "Person_sitting",
    "Cyclist",
    "Tram",
    "Misc",
    "DontCare",
];

/// One line of a label file.
#[derive(Debug, Clone, PartialEq)]
pub struct KittiObject {
    /// One of [`TYPES`].
    pub kind: &'static str,
    /// Share of the object outside the picture, 0 to 1; -1 unknown.
    pub truncated: f32,
    /// 0 visible, 1 partly, 2 largely occluded, 3 unknown; -1 for `DontCare`.
    pub occluded: i32,
    /// Observation angle, radians.
    pub alpha: f32,
    /// 2-D box in pixels.
    pub bbox: BBox,
    /// Height, width, length in metres.
    pub size: [f32; 3],
    /// Position x, y, z in camera coordinates, metres.
    pub location: [f32; 3],
    /// Rotation around the vertical axis, radians.
    pub rotation: f32,
    /// Confidence, in result files only.
    pub score: Option<f32>,
}

impl KittiObject {
    /// Reads one line of 15 fields, or 16 with a score.
    ///
    /// # Errors
    /// `BadLine` for a wrong number of fields, an unknown type or a number that does not parse; `BadBox` for a box that is
    /// not finite, empty or inverted. The caller adds file and line.
    pub fn parse(line: &str) -> Result<KittiObject> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if !matches!(fields.len(), 15 | 16) {
            return Err(Error::new(Code::BadLine, format!("expected 15 fields, or 16 with a score, found {}", fields.len()))
                .help("a line is: type truncated occluded alpha left top right bottom height width length x y z rotation_y"));
        }
        let Some(kind) = TYPES.into_iter().find(|t| *t == fields[0]) else {
            let near = TYPES
                .into_iter()
                .find(|t| t.eq_ignore_ascii_case(fields[0]));
            let help = match near.or_else(|| nearest(fields[0], TYPES)) {
                Some(n) => format!("did you mean {n:?}"),
                None => format!("the types are {}", TYPES.join(", ")),
            };
            return Err(Error::new(
                Code::BadLine,
                format!("unknown object type {:?}", fields[0]),
            )
            .help(help));
        };
        let names = [
            "truncated",
            "occluded",
            "alpha",
            "left",
            "top",
            "right",
            "bottom",
        ];
        let names = names.into_iter().chain([
            "height",
            "width",
            "length",
            "x",
            "y",
            "z",
            "rotation_y",
            "score",
        ]);
        let mut v = [0f32; 15];
        for ((slot, text), name) in v.iter_mut().zip(&fields[1..]).zip(names) {
            *slot = text.parse().map_err(|_| {
                Error::new(Code::BadLine, format!("`{name}` is not a number: {text:?}"))
                    .help("write a plain number, for example 12.50")
            })?;
        }
        let bbox = BBox {
            x1: v[3],
            y1: v[4],
            x2: v[5],
            y2: v[6],
        };
        if let Some(defect) = box_defect(&bbox) {
            return Err(Error::new(Code::BadBox, defect)
                .help("the fields 5 to 8 are left, top, right, bottom in pixels"));
        }
        if let Some(i) = (0..fields.len() - 1).find(|&i| !v[i].is_finite()) {
            return Err(Error::new(
                Code::BadLine,
                format!("field {} is not finite: {:?}", i + 2, fields[i + 1]),
            )
            .help("write a plain number, for example 12.50"));
        }
        Ok(KittiObject {
            kind,
            truncated: v[0],
            occluded: v[1] as i32,
            alpha: v[2],
            bbox,
            size: [v[7], v[8], v[9]],
            location: [v[10], v[11], v[12]],
            rotation: v[13],
            score: (fields.len() == 16).then_some(v[14]),
        })
    }
}

/// The line of a label file, 15 or 16 fields, two decimals as in the original.
impl std::fmt::Display for KittiObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (b, s, l) = (&self.bbox, &self.size, &self.location);
        write!(
            f,
            "{} {:.2} {} {:.2} ",
            self.kind, self.truncated, self.occluded, self.alpha
        )?;
        write!(f, "{:.2} {:.2} {:.2} {:.2} ", b.x1, b.y1, b.x2, b.y2)?;
        write!(
            f,
            "{:.2} {:.2} {:.2} {:.2} {:.2} {:.2} {:.2}",
            s[0], s[1], s[2], l[0], l[1], l[2], self.rotation
        )?;
        match self.score {
            Some(score) => write!(f, " {score:.4}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with a box whatever its picture, if anything.
pub fn box_defect(b: &BBox) -> Option<String> {
    let text = format!("({}, {}, {}, {})", b.x1, b.y1, b.x2, b.y2);
    if ![b.x1, b.y1, b.x2, b.y2].iter().all(|v| v.is_finite()) {
        Some(format!("the box {text} is not finite"))
    } else if b.x2 < b.x1 || b.y2 < b.y1 {
        Some(format!("the box {text} is inverted"))
    } else if b.x2 == b.x1 || b.y2 == b.y1 {
        Some(format!("the box {text} is empty"))
    } else {
        None
    }
}

/// `bbox` clipped to a picture, or `None` if nothing of it is inside.
pub fn clip_box(b: &BBox, height: usize, width: usize) -> Option<BBox> {
    let (w, h) = (width as f32, height as f32);
    let c = BBox {
        x1: b.x1.clamp(0.0, w),
        y1: b.y1.clamp(0.0, h),
        x2: b.x2.clamp(0.0, w),
        y2: b.y2.clamp(0.0, h),
    };
    (c.x2 > c.x1 && c.y2 > c.y1).then_some(c)
}

/// All lines of a label file.
///
/// # Errors
/// As [`KittiObject::parse`], at the first bad line; as [`read_text`].
pub fn read_label(path: &Path) -> Result<Vec<(usize, KittiObject)>> {
    let text = read_text(path)?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty());
    lines
        .map(|(i, l)| {
            KittiObject::parse(l)
                .map(|o| (i + 1, o))
                .map_err(|e| e.at(at_line(path, i + 1)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "Car 0.00 0 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57";

    #[test]
    fn a_line_prints_and_parses_to_itself() {
        let object = KittiObject::parse(LINE).unwrap();
        assert_eq!(object.to_string(), LINE);
        assert_eq!(
            object.bbox,
            BBox {
                x1: 387.63,
                y1: 181.54,
                x2: 423.81,
                y2: 203.12
            }
        );
        assert_eq!(
            KittiObject::parse(&format!("{LINE} 0.5")).unwrap().score,
            Some(0.5)
        );
    }
}
