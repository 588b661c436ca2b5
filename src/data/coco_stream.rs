//! A COCO detection file as a stream: pictures, boxes and categories as they come; outlines and everything else are skipped.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::box_set::{BoxTable, Fault, ImageRow, RawBox};
use super::json_stream::JsonFile;
use super::kitti_label::box_defect;
use super::text_file::at_line;
use crate::annotation::BBox;
use crate::error::{Code, Error};

type Parsed<T, E> = std::result::Result<T, E>;

/// Most categories of a file.
const MAX_CATEGORIES: usize = 60_000;

#[derive(Deserialize)]
struct Image {
    id: u64,
    file_name: String,
    #[serde(default)]
    width: Option<u32>,
    #[serde(default)]
    height: Option<u32>,
}

#[derive(Deserialize)]
struct Annotation {
    #[serde(default)]
    id: Option<u64>,
    image_id: u64,
    category_id: u32,
    #[serde(default)]
    bbox: Option<[f32; 4]>,
    #[serde(default)]
    iscrowd: Option<Flag>,
}

#[derive(Deserialize)]
pub(super) struct Category {
    pub id: u32,
    pub name: String,
}

/// 0, 1, true or false.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Number(u8),
    Truth(bool),
}

impl Flag {
    fn set(&self) -> bool {
        matches!(self, Flag::Number(1..) | Flag::Truth(true))
    }
}

/// Parsing ends; the reason lies in [`State::failed`].
pub(super) struct Stop;

/// A box that does not know its picture yet.
pub(super) struct Loose {
    pub image: u64,
    pub category: u32,
    pub raw: RawBox,
}

/// What has been read so far.
pub(super) struct State<'a, 'f> {
    file: &'a JsonFile,
    /// Skip pictures and boxes.
    names_only: bool,
    fault: &'a mut Fault<'f>,
    pub images: Vec<ImageRow>,
    /// Id of each image.
    pub ids: Vec<u64>,
    pub boxes: Vec<Loose>,
    pub categories: Vec<Category>,
    /// Why parsing ended.
    pub failed: Option<Error>,
}

impl<'a, 'f> State<'a, 'f> {
    /// Nothing yet.
    pub fn new(file: &'a JsonFile, names_only: bool, fault: &'a mut Fault<'f>) -> State<'a, 'f> {
        State {
            file,
            names_only,
            fault,
            images: vec![],
            ids: vec![],
            boxes: vec![],
            categories: vec![],
            failed: None,
        }
    }

    /// A defect; parsing ends where it counts as an error.
    fn tell(&mut self, e: Error) -> Parsed<(), Stop> {
        let e = e.at(at_line(self.file.path(), self.file.line()));
        (self.fault)(e).map_err(|e| {
            self.failed = Some(e);
            Stop
        })
    }

    fn image(&mut self, image: Image) -> Parsed<(), Stop> {
        self.too_many(self.images.len())?;
        self.ids.push(image.id);
        self.images.push(ImageRow {
            name: image.file_name.into(),
            line: self.file.line() as u32,
            size: image.width.zip(image.height),
            boxes: 0..0,
        });
        Ok(())
    }

    fn annotation(&mut self, a: Annotation) -> Parsed<(), Stop> {
        self.too_many(self.boxes.len())?;
        let label = a.id.unwrap_or(self.boxes.len() as u64);
        let Some([x, y, w, h]) = a.bbox else {
            let text = format!("annotation {label} has no `bbox`");
            return self.tell(Error::new(Code::BadLine, text).help("add its box"));
        };
        let bbox = BBox {
            x1: x,
            y1: y,
            x2: x + w,
            y2: y + h,
        };
        if let Some(defect) = box_defect(&bbox).filter(|d| !d.ends_with("empty")) {
            let e = Error::new(Code::BadBox, format!("annotation {label}: {defect}"));
            return self.tell(e.help("`bbox` is x, y, width, height in pixels"));
        }
        self.boxes.push(Loose {
            image: a.image_id,
            category: a.category_id,
            raw: RawBox {
                bbox,
                line: self.file.line() as u32,
                label,
                kind: 0,
                ignore: a.iscrowd.is_some_and(|f| f.set()),
            },
        });
        Ok(())
    }

    fn category(&mut self, category: Category) -> Parsed<(), Stop> {
        if self.categories.len() >= MAX_CATEGORIES {
            let text = format!("more than {MAX_CATEGORIES} categories");
            self.tell(Error::new(Code::TooLarge, text).help("merge them"))?;
            return Err(Stop);
        }
        self.categories.push(category);
        Ok(())
    }

    fn too_many(&mut self, n: usize) -> Parsed<(), Stop> {
        if n < BoxTable::MAX_BOXES {
            return Ok(());
        }
        self.tell(
            Error::new(Code::TooLarge, format!("more than {n} entries")).help("split the file"),
        )?;
        Err(Stop)
    }
}

/// The whole file.
pub(super) struct Top<'s, 'a, 'f>(pub &'s mut State<'a, 'f>);

impl<'de> DeserializeSeed<'de> for Top<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Parsed<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object with `images`, `annotations` and `categories`")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Parsed<(), A::Error> {
        let s = self.0;
        let mut seen = [false; 3];
        while let Some(key) = map.next_key::<String>()? {
            let part = ["images", "annotations", "categories"]
                .iter()
                .position(|k| *k == key);
            if let Some(i) = part
                && std::mem::replace(&mut seen[i], true)
            {
                return Err(A::Error::custom(format!("duplicate field `{key}`")));
            }
            match part {
                Some(0) if !s.names_only => map.next_value_seed(List(s, State::image))?,
                Some(1) if !s.names_only => map.next_value_seed(List(s, State::annotation))?,
                Some(2) => map.next_value_seed(List(s, State::category))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match seen {
            [true, true, true] => Ok(()),
            [false, ..] => Err(A::Error::missing_field("images")),
            [_, false, _] => Err(A::Error::missing_field("annotations")),
            _ => Err(A::Error::missing_field("categories")),
        }
    }
}

/// A list whose entries are handed over one by one.
struct List<'s, S, T>(&'s mut S, fn(&mut S, T) -> Parsed<(), Stop>);

impl<'de, S, T: Deserialize<'de>> DeserializeSeed<'de> for List<'_, S, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Parsed<(), D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de, S, T: Deserialize<'de>> Visitor<'de> for List<'_, S, T> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Parsed<(), A::Error> {
        while let Some(entry) = seq.next_element::<T>()? {
            (self.1)(self.0, entry).map_err(|Stop| A::Error::custom("an entry is refused"))?;
        }
        Ok(())
    }
}
