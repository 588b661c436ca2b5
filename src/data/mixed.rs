//! A data set made of several (systems.md 8.8): classes by name (`mixed_classes`), seeded draws (`mixed_draw`) or list files, samples
//! called `SOURCE/ID`.

mod list;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, DatasetConfig, Kind, Sample};
use super::kitti::list_file;
pub use super::mixed_classes::{MIXED_3, detection_classes};
use super::mixed_classes::{join, labelled, wrong};
use super::mixed_config::{MixedConfig, Unlabelled};
pub use super::mixed_draw::HELD_OUT;
use super::mixed_draw::{drawn, held_out};
use crate::annotation::{Annotation, Object};
use crate::error::{Code, Error, Result};

/// What a mixed set is made of, for the readers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixedRules {
    /// Draws and disputed choices.
    pub config: MixedConfig,
    /// The sources, by name.
    pub sources: Vec<(String, DatasetConfig)>,
}

/// One source.
struct Part {
    name: String,
    dataset: Arc<dyn Dataset>,
    /// Class of each class of the source; `None` for one that is dropped.
    map: Vec<Option<usize>>,
    /// Which classes of the mixed set it has.
    labelled: Vec<bool>,
}

impl Part {
    /// Opens a split of a source; its classes are joined later.
    ///
    /// # Errors
    /// Those of the source, with its name.
    fn open(name: &str, source: &DatasetConfig, split: &str) -> Result<Part> {
        let named = |e: Error| e.note(format!("it is the source {name:?} of a mixed set"));
        Ok(Part {
            name: name.into(),
            dataset: source.open(split).map_err(named)?.into(),
            map: vec![],
            labelled: vec![],
        })
    }
}

/// A split of a mixed set.
pub struct Mixed {
    name: String,
    kind: Kind,
    classes: Vec<String>,
    parts: Vec<Part>,
    /// Losses shall know which classes a source does not label.
    masked: bool,
    /// (part, index in it)
    samples: Vec<(usize, usize)>,
}

impl Mixed {
    /// Opens a split: a list file of `SOURCE/ID` lines below `root` if there is one of that name, for which a source needs only the
    /// splits that the list names; else `train`, `val`, or `held-out`, drawn from the splits of the sources.
    ///
    /// # Errors
    /// Those of the sources; `ConfigValue` for classes that do not fit, sources that are not there, more samples than there are;
    /// `BadLine` and `NotFound` in a list.
    pub fn open(config: &DatasetConfig, split: &str) -> Result<Mixed> {
        let rules = &config.mixed;
        if rules.sources.is_empty() {
            let help = "name data sets in `mixed.sources`";
            return Err(wrong("a mixed set without sources".into(), help));
        }
        let file = list_file(&config.root, split).ok();
        let mut mixed = Mixed {
            name: format!("mixed/{split}"),
            kind: Kind::Detection,
            classes: vec![],
            parts: vec![],
            masked: false,
            samples: vec![],
        };
        let val = match (&file, split) {
            (Some(_), _) => None,
            (None, "train" | HELD_OUT) => Some(false),
            (None, "val") => Some(true),
            (None, _) => {
                let what = format!("a mixed set has no split {split:?}, and no list of that name");
                let help = "use train, val or held-out, or write a list of SOURCE/ID lines";
                return Err(wrong(what, help).at(config.root.display()));
            }
        };
        let mut closed = vec![];
        for (name, source) in &rules.sources {
            mixed.parts.extend(match val {
                Some(false) => vec![Part::open(name, source, &source.train)?],
                Some(true) => vec![Part::open(name, source, &source.val)?],
                None => list::parts(name, source, &mut closed)?,
            });
        }
        mixed.set_classes(&config.rules.classes, &config.rules.merge, &rules.config)?;
        mixed.samples = match (file, val) {
            (Some(file), _) => list::read(&mixed.parts, &file, &closed)?,
            (None, Some(true)) => {
                let config = &rules.config;
                drawn(&mixed.sizes(), &config.take_val, config.seed, "val")?
            }
            (None, _) => {
                let config = &rules.config;
                let all = drawn(&mixed.sizes(), &config.take, config.seed, "train")?;
                held_out(all, &rules.config, split == HELD_OUT)?
            }
        };
        if mixed.samples.is_empty() {
            return Err(Error::new(Code::EmptyData, "no samples")
                .at(mixed.name)
                .help("see `mixed.take` and `mixed.held_out`"));
        }
        Ok(mixed)
    }

    /// Joins the classes of the sources.
    fn set_classes(
        &mut self,
        classes: &[String],
        merge: &BTreeMap<String, String>,
        config: &MixedConfig,
    ) -> Result<()> {
        let first = &self.parts[0];
        self.kind = first.dataset.kind();
        if let Some(other) = self.parts.iter().find(|p| p.dataset.kind() != self.kind) {
            let (a, b) = (&first.name, &other.name);
            let what = format!("{a:?} and {b:?} have different kinds of labels");
            return Err(wrong(
                what,
                "mix boxes with boxes and label maps with label maps",
            ));
        }
        if self.kind != Kind::Detection {
            if config.unlabelled == Unlabelled::Mask {
                let what = "label maps have no classes that a source does not label";
                return Err(wrong(what.into(), "`mixed.unlabelled` is for boxes"));
            }
            self.classes = first.dataset.classes().to_vec();
            let differs = |p: &&Part| p.dataset.classes() != self.classes;
            return match self.parts.iter().find(differs) {
                Some(p) => {
                    let what = format!("{:?} and {:?} have different classes", first.name, p.name);
                    Err(wrong(what, "give all sources the same `classes`"))
                }
                None => Ok(()),
            };
        }
        let own: Vec<&[String]> = self.parts.iter().map(|p| p.dataset.classes()).collect();
        let joined = join(&own, classes, merge, config.cycles)?;
        for (part, map) in self.parts.iter_mut().zip(joined.maps) {
            part.labelled = labelled(&map, joined.names.len());
            part.map = map;
        }
        let partly = (self.parts.iter()).any(|p| p.labelled.contains(&false));
        self.masked = partly && config.unlabelled == Unlabelled::Mask;
        self.classes = joined.names;
        Ok(())
    }

    /// Names of the parts, and how many samples each has.
    fn sizes(&self) -> Vec<(&str, usize)> {
        let parts = self.parts.iter();
        parts.map(|p| (p.name.as_str(), p.dataset.len())).collect()
    }

    fn part(&self, index: usize) -> (&Part, usize) {
        let (part, i) = self.samples[index];
        (&self.parts[part], i)
    }
}

impl Dataset for Mixed {
    fn name(&self) -> &str {
        &self.name
    }
    fn kind(&self) -> Kind {
        self.kind
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn len(&self) -> usize {
        self.samples.len()
    }
    fn id(&self, index: usize) -> String {
        let (part, i) = self.part(index);
        format!("{}/{}", part.name, part.dataset.id(i))
    }
    fn place(&self, index: usize) -> String {
        let (part, i) = self.part(index);
        part.dataset.place(i)
    }
    fn class_of(&self, index: usize) -> Result<Option<usize>> {
        let (part, i) = self.part(index);
        part.dataset.class_of(i)
    }
    fn labelled(&self, index: usize) -> Option<&[bool]> {
        self.masked.then(|| self.part(index).0.labelled.as_slice())
    }
    fn load(&self, index: usize) -> Result<Sample> {
        let (part, i) = self.part(index);
        let mut sample = part.dataset.load(i)?;
        sample.id = self.id(index);
        if let Annotation::Objects(objects) = &mut sample.annotation {
            let known = |o: Object| {
                let class = (*part.map.get(o.class)?)?;
                Some(Object { class, ..o })
            };
            *objects = objects.iter().copied().filter_map(known).collect();
        }
        Ok(sample)
    }
}

#[cfg(test)]
#[path = "mixed_published_tests.rs"]
mod published_tests;
#[cfg(test)]
#[path = "mixed_tests.rs"]
mod tests;
