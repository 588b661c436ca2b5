//! Boxes of a COCO detection file (`instances_*.json`), as a stream: `images`, `annotations` and `categories` in any order.
//! Outlines and everything else are skipped as they come.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::box_set::{BoxTable, Fault, ImageRow, RawBox, refuse_doubles, stop};
use super::class_rules::{ClassRules, ClassTable, Vocabulary};
use super::json_stream::JsonFile;
use super::kitti_label::box_defect;
use super::text_file::{at_line, path_defect};
use crate::annotation::BBox;
use crate::error::{Code, Error, Result};

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
struct Category {
    id: u32,
    name: String,
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
struct Stop;

/// A box that does not know its picture yet.
struct Loose {
    image: u64,
    category: u32,
    raw: RawBox,
}

/// The category names of a file in the order of their ids.
///
/// # Errors
/// As [`read`].
pub fn categories(path: &Path) -> Result<Vec<String>> {
    let file = JsonFile::open(path)?;
    let mut first = stop;
    let mut state = State::new(&file, true, &mut first);
    file.parse(Top(&mut state))?;
    let list = sorted(path, state.categories, &mut stop)?;
    Ok(list.into_iter().map(|c| c.name).collect())
}

/// Reads a file: its pictures in the order of the file, their boxes, and the classes, which without rules are the categories in
/// the order of their ids.
///
/// # Errors
/// `BadFormat` for what is not such JSON; `ConfigValue` for classes that the file does not have; whatever `fault` gives back for
/// defects: `BadLine` (a picture or category that is not there or twice, a name that leaves the folder), `BadBox`.
pub fn read(path: &Path, rules: &ClassRules, fault: &mut Fault) -> Result<(BoxTable, ClassTable)> {
    let file = JsonFile::open(path)?;
    let mut state = State::new(&file, false, fault);
    let read = file.parse(Top(&mut state));
    let State {
        images,
        ids,
        boxes,
        categories,
        failed,
        ..
    } = state;
    if let Some(e) = failed {
        return Err(e);
    }
    read?;
    let categories = sorted(path, categories, fault)?;
    let names: Vec<&str> = categories.iter().map(|c| c.name.as_str()).collect();
    let words = Vocabulary {
        format: "the COCO file",
        types: &names,
        classes: &names,
        ..Vocabulary::default()
    };
    let table = ClassTable::new(rules, &words).map_err(|e| e.note(path.display().to_string()))?;
    for row in &images {
        if let Some(defect) = path_defect(&row.name) {
            let text = format!("{defect}: {:?}", row.name);
            fault(
                Error::new(Code::BadLine, text)
                    .at(at_line(path, row.line as usize))
                    .help("give `file_name` as a path below the folder of the pictures"),
            )?;
        }
    }
    refuse_doubles(path, &images, fault)?;
    let mut by_id: Vec<(u64, usize)> = ids.iter().copied().zip(0..).collect();
    by_id.sort_unstable();
    for pair in by_id.windows(2).filter(|p| p[0].0 == p[1].0) {
        let row = |i: usize| images[i].line as usize;
        let text = format!(
            "the image id {} is already in line {}",
            pair[1].0,
            row(pair[0].1)
        );
        let e = Error::new(Code::BadLine, text).at(at_line(path, row(pair[1].1)));
        fault(e.help("keep one of the two entries"))?;
    }
    let mut kept: Vec<(u32, RawBox)> = vec![];
    for loose in &boxes {
        let bad = |text: String| {
            Error::new(
                Code::BadLine,
                format!("annotation {}: {text}", loose.raw.label),
            )
            .at(at_line(path, loose.raw.line as usize))
            .help("correct the annotation, or add what it names")
        };
        let image = by_id.binary_search_by_key(&loose.image, |p| p.0);
        let category = categories.binary_search_by_key(&loose.category, |c| c.id);
        let kind = category.ok().map(|i| table.kind(&categories[i].name));
        match (image, kind) {
            (Err(_), _) => fault(bad(format!(
                "there is no image with the id {}",
                loose.image
            )))?,
            (_, Some(Ok(kind))) => {
                let row = image.map(|i| by_id[i].1).unwrap_or_default();
                kept.push((row as u32, RawBox { kind, ..loose.raw }));
            }
            (_, _) => fault(bad(format!(
                "unknown object type: there is no category with the id {}",
                loose.category
            )))?,
        }
    }
    drop(boxes);
    kept.sort_by_key(|(row, _)| *row);
    let mut out = BoxTable {
        images,
        boxes: kept.iter().map(|(_, raw)| *raw).collect(),
    };
    let mut start = 0;
    for (i, image) in out.images.iter_mut().enumerate() {
        let n = kept[start..]
            .iter()
            .take_while(|(r, _)| *r as usize == i)
            .count();
        image.boxes = start as u32..(start + n) as u32;
        start += n;
    }
    Ok((out, table))
}

/// Categories by id; those that come twice go to `fault`.
fn sorted(path: &Path, mut list: Vec<Category>, fault: &mut Fault) -> Result<Vec<Category>> {
    list.sort_by_key(|c| c.id);
    let mut seen = std::collections::BTreeSet::new();
    let mut out: Vec<Category> = vec![];
    for category in list {
        let same_id = out.last().is_some_and(|c| c.id == category.id);
        if same_id || !seen.insert(category.name.clone()) {
            let text = format!(
                "the category {} ({:?}) is listed twice",
                category.id, category.name
            );
            fault(
                Error::new(Code::BadLine, text)
                    .at(path.display())
                    .help("give each category its own id and name"),
            )?;
            continue;
        }
        out.push(category);
    }
    if out.is_empty() {
        return Err(Error::new(Code::BadFormat, "the file has no `categories`")
            .at(path.display())
            .help("is it a detection file, such as instances_train2017.json?"));
    }
    Ok(out)
}

struct State<'a, 'f> {
    file: &'a JsonFile,
    /// Skip pictures and boxes.
    names_only: bool,
    fault: &'a mut Fault<'f>,
    images: Vec<ImageRow>,
    ids: Vec<u64>,
    boxes: Vec<Loose>,
    categories: Vec<Category>,
    failed: Option<Error>,
}

impl<'a, 'f> State<'a, 'f> {
    fn new(file: &'a JsonFile, names_only: bool, fault: &'a mut Fault<'f>) -> State<'a, 'f> {
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
struct Top<'s, 'a, 'f>(&'s mut State<'a, 'f>);

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
