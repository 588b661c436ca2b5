//! Own data by plain lists: `ROOT/SPLIT.txt` with a line `image[ label]` a picture. What a label is, the format says: a text
//! file of boxes ([`super::text_boxes`]; none: no objects), a PNG of class indices, or the name of a class.
//!
//! Paths start at `ROOT`. Picture and label are separated by a tab, or by the first space of a line without tabs. The
//! classes are those of the configuration, else the lines of `ROOT/classes.txt`.

use std::path::{Path, PathBuf};

use super::box_set::{self, BoxSet, Fault, RawBox, absent};
use super::class_map::ClassMap;
use super::class_rules::{ClassRules, ClassTable, Vocabulary};
use super::dataset::{Dataset, Kind, Sample};
use super::image_file::read_image;
pub use super::list_file::{Entry, List, class_names};
use super::mask_set::{self, MaskSet};
use super::text_boxes;
use crate::annotation::Annotation;
use crate::error::{Result, nearest};

/// The rules with class names.
fn named(root: &Path, rules: &ClassRules) -> Result<ClassRules> {
    let mut rules = rules.clone();
    if rules.classes.is_empty() {
        rules.classes = class_names(root)?;
    }
    Ok(rules)
}

/// A list of pictures with boxes.
pub struct ListBoxes {
    list: List,
    table: ClassTable,
}

impl ListBoxes {
    /// Reads a list.
    ///
    /// # Errors
    /// As [`List::open`] and [`class_names`]; `ConfigValue` for contradictory rules.
    pub fn open(root: &Path, split: &str, rules: &ClassRules) -> Result<ListBoxes> {
        let words = Vocabulary {
            format: "the list",
            open: true,
            ..Vocabulary::default()
        };
        Ok(ListBoxes {
            table: ClassTable::new(&named(root, rules)?, &words)?,
            list: List::open(root, split)?.with_paths(false)?,
        })
    }
}

/// A list of pictures with label maps.
pub struct ListMasks {
    list: List,
    map: ClassMap,
    values: String,
}

impl ListMasks {
    /// Reads a list. The values of the files are indices of the classes, in their order, and 255.
    ///
    /// # Errors
    /// As [`ListBoxes::open`]; `BadLine` for a picture without label.
    pub fn open(root: &Path, split: &str, rules: &ClassRules) -> Result<ListMasks> {
        let map = ClassMap::of_indices("the list", &named(root, rules)?.classes, &[])?;
        Ok(ListMasks {
            values: format!("values are 0 to {} and 255", map.names().len() - 1),
            map,
            list: List::open(root, split)?.with_paths(true)?,
        })
    }
}

/// A list of pictures with classes.
pub struct ListClasses {
    list: List,
    names: Vec<String>,
    /// Class of each picture.
    classes: Vec<usize>,
}

impl ListClasses {
    /// Reads a list.
    ///
    /// # Errors
    /// As [`ListBoxes::open`]; `BadLine` for a picture without a class, or with one that there is not.
    pub fn open(root: &Path, split: &str, rules: &ClassRules) -> Result<ListClasses> {
        let names = named(root, rules)?.classes;
        let list = List::open(root, split)?;
        let mut classes = vec![];
        for e in &list.entries {
            let Some(label) = &e.label else {
                let text = format!("the picture {:?} has no class", e.image);
                return list.bad(e, text, "write the name of its class behind it");
            };
            let Some(class) = names.iter().position(|n| n == label) else {
                let help = match nearest(label, names.iter().map(String::as_str)) {
                    Some(n) => format!("did you mean {n:?}"),
                    None => format!("the classes are {}", names.join(", ")),
                };
                return list.bad(e, format!("unknown class {label:?}"), help);
            };
            classes.push(class);
        }
        Ok(ListClasses {
            list,
            names,
            classes,
        })
    }
}

impl ListClasses {
    /// The file of a picture, whether it exists or not.
    pub fn image_path(&self, index: usize) -> PathBuf {
        self.list.image_path(index)
    }

    /// The line that names it.
    pub fn named_at(&self, index: usize) -> String {
        self.list.named_at(index)
    }
}

macro_rules! dataset {
    ($type:ty, $kind:expr, |$set:ident| $classes:expr, |$s:ident, $i:ident| $load:expr, { $($more:tt)* }) => {
        impl Dataset for $type {
            fn name(&self) -> &str {
                &self.list.name
            }
            fn kind(&self) -> Kind {
                $kind
            }
            fn classes(&self) -> &[String] {
                let $set = self;
                $classes
            }
            fn len(&self) -> usize {
                self.list.entries.len()
            }
            fn id(&self, index: usize) -> String {
                self.list.entries[index].image.clone()
            }
            fn place(&self, index: usize) -> String {
                self.list.image_path(index).display().to_string()
            }
            fn load(&self, index: usize) -> Result<Sample> {
                let ($s, $i) = (self, index);
                let load = || -> Result<Sample> { $load };
                load().map_err(|e| self.list.noted(index, e))
            }
            $($more)*
        }
    };
}

dataset!(
    ListBoxes,
    Kind::Detection,
    |s| s.table.names(),
    |s, i| box_set::load(s, i),
    {}
);
dataset!(
    ListMasks,
    Kind::Segmentation,
    |s| s.map.names(),
    |s, i| mask_set::load(s, i),
    {}
);
dataset!(
    ListClasses,
    Kind::Classification,
    |s| &s.names,
    |s, i| {
        let path = s.list.image_path(i);
        Ok(Sample {
            id: s.id(i),
            image: read_image(&path).map_err(|e| absent(&path, &s.list.named_at(i), e))?,
            annotation: Annotation::Class(s.classes[i]),
        })
    },
    {
        fn class_of(&self, index: usize) -> Result<Option<usize>> {
            Ok(Some(self.classes[index]))
        }
    }
);

impl BoxSet for ListBoxes {
    fn table(&self) -> &ClassTable {
        &self.table
    }
    fn image_path(&self, index: usize) -> PathBuf {
        self.list.image_path(index)
    }
    fn label_path(&self, index: usize) -> PathBuf {
        self.list.label_path(index)
    }
    fn named_at(&self, index: usize) -> String {
        self.list.named_at(index)
    }
    fn boxes(&self, index: usize, fault: &mut Fault) -> Result<Vec<RawBox>> {
        if self.list.entries[index].label.is_none() {
            return Ok(vec![]);
        }
        let read = text_boxes::read(&self.label_path(index), None, &self.table, fault);
        read.map_err(|e| super::mtnas_layout::missing_label(e, &self.named_at(index)))
    }
}

impl MaskSet for ListMasks {
    fn map(&self) -> &ClassMap {
        &self.map
    }
    fn image_path(&self, index: usize) -> PathBuf {
        self.list.image_path(index)
    }
    fn label_path(&self, index: usize) -> PathBuf {
        self.list.label_path(index)
    }
    fn named_at(&self, index: usize) -> String {
        self.list.named_at(index)
    }
    fn values(&self) -> &str {
        &self.values
    }
}

#[cfg(test)]
#[path = "listed_tests.rs"]
mod tests;
