//! Boxes of BDD100K, all published forms in one stream (systems.md 8.5): the list of frames of 2018
//! (`bdd100k_labels_images_SPLIT.json`) and 2020 (`det_SPLIT.json`), the same under a key `frames`, and the single frame of
//! 2018 (`labels/100k/SPLIT/ID.json`, `frames[0].objects`). Only boxes are kept; lanes and areas are skipped as they come.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::box_set::{BoxTable, Fault, ImageRow, RawBox, refuse_doubles};
use super::class_rules::ClassTable;
use super::json_stream::JsonFile;
use super::kitti_label::box_defect;
use super::text_file::{at_line, id_defect};
use crate::annotation::BBox;
use crate::error::{Code, Error, Result};

type Parsed<T, E> = std::result::Result<T, E>;

/// Reads a file. Pictures are named without extension; a frame without a name has the name of the file's top level.
///
/// # Errors
/// `BadFormat` for what is not such JSON; whatever `fault` gives back for defects of labels: `BadLine` (unknown type, frame
/// without name, name twice), `BadBox` (not finite, inverted).
pub fn read(path: &Path, table: &ClassTable, fault: &mut Fault) -> Result<BoxTable> {
    let file = JsonFile::open(path)?;
    let mut state = State {
        file: &file,
        table,
        out: BoxTable::default(),
        fault,
        failed: None,
        current: None,
    };
    let read = file.parse(Top(&mut state));
    let State {
        mut out, failed, ..
    } = state;
    if let Some(e) = failed {
        return Err(e);
    }
    let top_name = read?;
    for (i, row) in out.images.iter_mut().enumerate() {
        if row.name.is_empty() {
            row.name = top_name.as_deref().map_or("", stem).into();
        }
        if let Some(defect) = id_defect(&row.name) {
            let text = match row.name.is_empty() {
                true => format!("the frame {i} has no `name`"),
                false => format!("{defect}: the frame {i} is called {:?}", row.name),
            };
            fault(
                Error::new(Code::BadLine, text)
                    .at(at_line(path, row.line as usize))
                    .help("give it the file name of its picture"),
            )?;
        }
    }
    refuse_doubles(path, &out.images, fault)?;
    Ok(out)
}

/// A file name without the extension of a picture.
pub fn stem(name: &str) -> &str {
    let known = [".jpg", ".jpeg", ".png"];
    let found = known.iter().find_map(|e| name.strip_suffix(e));
    found.unwrap_or(name)
}

struct State<'a, 'f> {
    file: &'a JsonFile,
    table: &'a ClassTable,
    out: BoxTable,
    fault: &'a mut Fault<'f>,
    failed: Option<Error>,
    /// Name of the frame that is being read, as far as it is known.
    current: Option<String>,
}

impl State<'_, '_> {
    /// A defect; parsing ends where it counts as an error.
    fn tell<E: serde::de::Error>(&mut self, e: Error) -> Parsed<(), E> {
        let e = e.at(at_line(self.file.path(), self.file.line()));
        (self.fault)(e).map_err(|e| {
            self.failed = Some(e);
            E::custom("a label is refused")
        })
    }
}

/// What a label says that matters here.
#[derive(Deserialize)]
struct Label {
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    box2d: Option<Box2d>,
    #[serde(default)]
    attributes: Option<Attributes>,
}

#[derive(Deserialize)]
struct Box2d {
    x1: f32,
    y1: f32,
    x2: f32,
    y2: f32,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(default)]
    crowd: Option<bool>,
}

/// The whole file; gives the `name` of its top level, if there is one.
struct Top<'s, 'a, 'f>(&'s mut State<'a, 'f>);
/// A list of frames.
struct Frames<'s, 'a, 'f>(&'s mut State<'a, 'f>);
/// One frame.
struct Frame<'s, 'a, 'f>(&'s mut State<'a, 'f>);
/// Its labels, perhaps `null`.
struct Labels<'s, 'a, 'f>(&'s mut State<'a, 'f>);

impl<'de> DeserializeSeed<'de> for Top<'_, '_, '_> {
    type Value = Option<String>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Parsed<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_, '_> {
    type Value = Option<String>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of frames")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Parsed<Self::Value, A::Error> {
        Frames(self.0).visit_seq(seq).map(|()| None)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Parsed<Self::Value, A::Error> {
        let (mut name, mut any) = (None, false);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "frames" if any => return Err(A::Error::duplicate_field("frames")),
                "frames" => {
                    map.next_value_seed(Frames(self.0))?;
                    any = true;
                }
                "name" => name = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match any {
            true => Ok(name),
            false => Err(A::Error::missing_field("frames")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Frames<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Parsed<(), D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Frames<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of frames")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Parsed<(), A::Error> {
        while seq.next_element_seed(Frame(self.0))?.is_some() {}
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Frame<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Parsed<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Frame<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a frame with `name` and `labels`")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Parsed<(), A::Error> {
        let start = self.0.out.boxes.len() as u32;
        let mut any = false;
        self.0.current = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => self.0.current = map.next_value()?,
                "labels" | "objects" if any => return Err(A::Error::duplicate_field("labels")),
                "labels" | "objects" => {
                    map.next_value_seed(Labels(self.0))?;
                    any = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let end = self.0.out.boxes.len() as u32;
        self.0.out.images.push(ImageRow {
            name: stem(self.0.current.as_deref().unwrap_or_default()).into(),
            line: self.0.file.line() as u32,
            size: None,
            boxes: start..end,
        });
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Labels<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Parsed<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Labels<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of labels")
    }
    fn visit_unit<E>(self) -> Parsed<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Parsed<(), A::Error> {
        let s = self.0;
        let mut index = 0u64;
        while let Some(label) = seq.next_element::<Label>()? {
            let place = index;
            index += 1;
            // Lanes and areas have polygons instead.
            let Some(b) = label.box2d else { continue };
            let name = label.category.unwrap_or_default();
            let frame = match &s.current {
                Some(name) => format!("{:?}", stem(name)),
                None => format!("the frame {}", s.out.images.len()),
            };
            let of = |e: Error| {
                let text = format!("label {place} of {frame}: {}", e.message());
                let new = Error::new(e.code(), text);
                match e.remedy() {
                    Some(help) => new.help(help),
                    None => new,
                }
            };
            let kind = match s.table.kind(&name) {
                Ok(kind) => kind,
                Err(e) => {
                    s.tell(of(e))?;
                    continue;
                }
            };
            let bbox = BBox {
                x1: b.x1,
                y1: b.y1,
                x2: b.x2,
                y2: b.y2,
            };
            if let Some(defect) = box_defect(&bbox).filter(|d| !d.ends_with("empty")) {
                let e = Error::new(Code::BadBox, defect);
                s.tell(of(e.help("`box2d` is x1, y1, x2, y2 in pixels")))?;
                continue;
            }
            if s.out.boxes.len() >= BoxTable::MAX_BOXES {
                let text = format!("more than {} boxes", BoxTable::MAX_BOXES);
                s.tell(Error::new(Code::TooLarge, text).help("split the file"))?;
                return Err(A::Error::custom("too many boxes"));
            }
            s.out.boxes.push(RawBox {
                bbox,
                line: s.file.line() as u32,
                label: place,
                kind,
                ignore: label.attributes.and_then(|a| a.crowd) == Some(true),
            });
        }
        Ok(())
    }
}
