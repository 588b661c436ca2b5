//! A data set made of several (systems.md 8.8): classes by name, seeded draws or list files, samples called `SOURCE/ID`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dataset::{Dataset, DatasetConfig, Kind, Sample};
use super::kitti::list_file;
use super::mixed_config::{Cycles, MixedConfig};
use super::text_file::{at_line, read_text};
use crate::annotation::{Annotation, Object};
use crate::error::{Code, Error, Result, nearest};
use crate::rng::{Rng, word};

/// The detection classes of the mixed set of MTNAS, `classes = ["mixed-3"]`.
pub const MIXED_3: [&str; 3] = ["car", "person", "sign"];
/// Split of the images that were drawn out of the training splits.
pub const HELD_OUT: &str = "held-out";

/// Class names of the sources behind each class of [`MIXED_3`], in lower case: BDD100K of both generations, Waymo, KITTI.
const CARS: [&str; 5] = ["car", "bus", "truck", "vehicle", "van"];
const PERSONS: [&str; 5] = ["person", "pedestrian", "rider", "cyclist", "person_sitting"];
const SIGNS: [&str; 3] = ["traffic sign", "traffic light", "sign"];
const CYCLES: [&str; 4] = ["motorcycle", "bicycle", "motor", "bike"];

/// What a mixed set is made of, for the readers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixedRules {
    /// Draws and disputed choices.
    pub config: MixedConfig,
    /// The sources, by name.
    pub sources: Vec<(String, DatasetConfig)>,
}

/// Detection classes that a configuration asks for.
pub fn detection_classes(classes: &[String]) -> Vec<String> {
    match classes {
        [] => MIXED_3.map(String::from).to_vec(),
        [one] if one == "mixed-3" => MIXED_3.map(String::from).to_vec(),
        other => other.to_vec(),
    }
}

/// The class of [`MIXED_3`] of an object type; `None` for trains and whatever else the set leaves out.
fn class_of_type(kind: &str, cycles: Cycles) -> Option<&'static str> {
    let kind = kind.to_lowercase();
    let is = |names: &[&str]| names.contains(&kind.as_str());
    match () {
        _ if is(&CARS) => Some("car"),
        _ if is(&PERSONS) => Some("person"),
        _ if is(&SIGNS) => Some("sign"),
        _ if is(&CYCLES) && cycles == Cycles::Car => Some("car"),
        _ => None,
    }
}

/// One source.
struct Part {
    name: String,
    dataset: Arc<dyn Dataset>,
    /// Class of each class of the source; `None` for one that is dropped.
    map: Vec<Option<usize>>,
}

/// A split of a mixed set.
pub struct Mixed {
    name: String,
    kind: Kind,
    classes: Vec<String>,
    parts: Vec<Part>,
    /// (part, index in it)
    samples: Vec<(usize, usize)>,
}

fn wrong(message: String, help: impl Into<String>) -> Error {
    Error::new(Code::ConfigValue, message).help(help)
}

impl Mixed {
    /// Opens a split: a list file of `SOURCE/ID` lines below `root` if there is one of that name; else `train`, `val`, or
    /// `held-out`, drawn from the splits of the sources.
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
        let list = list_file(&config.root, split).ok();
        let mut mixed = Mixed {
            name: format!("mixed/{split}"),
            kind: Kind::Detection,
            classes: vec![],
            parts: vec![],
            samples: vec![],
        };
        let val = match (&list, split) {
            (Some(_), _) => None,
            (None, "train" | HELD_OUT) => Some(false),
            (None, "val") => Some(true),
            (None, _) => {
                let what = format!("a mixed set has no split {split:?}, and no list of that name");
                let help = "use train, val or held-out, or write a list of SOURCE/ID lines";
                return Err(wrong(what, help).at(config.root.display()));
            }
        };
        for (name, source) in &rules.sources {
            let splits = match val {
                Some(false) => vec![&source.train],
                Some(true) => vec![&source.val],
                None if source.train == source.val => vec![&source.train],
                None => vec![&source.train, &source.val],
            };
            for split in splits {
                let named = |e: Error| e.note(format!("it is the source {name:?} of a mixed set"));
                let dataset: Arc<dyn Dataset> = source.open(split).map_err(named)?.into();
                mixed.parts.push(Part {
                    name: name.clone(),
                    dataset,
                    map: vec![],
                });
            }
        }
        mixed.set_classes(
            &config.rules.classes,
            &config.rules.merge,
            rules.config.cycles,
        )?;
        mixed.samples = match (list, val) {
            (Some(list), _) => mixed.listed(&list)?,
            (None, Some(true)) => mixed.drawn(&rules.config.take_val, rules.config.seed, "val")?,
            (None, _) => {
                let all = mixed.drawn(&rules.config.take, rules.config.seed, "train")?;
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
        cycles: Cycles,
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
        let preset = matches!(classes, []) || classes == ["mixed-3"];
        let names = detection_classes(classes);
        for part in &mut self.parts {
            let class = |own: &String| {
                let name = match merge.get(own) {
                    Some(name) => name,
                    None if preset => class_of_type(own, cycles)?,
                    None => own,
                };
                names.iter().position(|n| n == name)
            };
            part.map = part.dataset.classes().iter().map(class).collect();
        }
        let own: Vec<&str> = (self.parts.iter())
            .flat_map(|p| p.dataset.classes().iter().map(String::as_str))
            .collect();
        if let Some(key) = merge.keys().find(|k| !own.contains(&k.as_str())) {
            let help = match nearest(key, own.iter().copied()) {
                Some(n) => format!("did you mean {n:?}"),
                None => format!("their classes are {}", own.join(", ")),
            };
            return Err(wrong(format!("no source has the class {key:?}"), help));
        }
        if let Some(name) = merge.values().find(|n| !names.contains(n)) {
            let what = format!("`merge` maps to the class {name:?}, which is not in `classes`");
            return Err(wrong(what, "add it there"));
        }
        let labelled = |c: usize| self.parts.iter().any(|p| p.map.contains(&Some(c)));
        // The preset may name signs though no source has them: the network keeps its outputs.
        if let Some(c) = (0..names.len()).find(|&c| !preset && !labelled(c)) {
            let what = format!("no source has objects of the class {:?}", names[c]);
            return Err(wrong(what, "see `merge`, and the `classes` of the sources"));
        }
        self.classes = names;
        Ok(())
    }

    /// All samples of the parts, or as many as `take` says.
    fn drawn(
        &self,
        take: &BTreeMap<String, usize>,
        seed: u64,
        which: &str,
    ) -> Result<Vec<(usize, usize)>> {
        let mut samples = vec![];
        for (k, part) in self.parts.iter().enumerate() {
            let n = part.dataset.len();
            let mut picked: Vec<usize> = match take.get(&part.name) {
                None => (0..n).collect(),
                Some(&wanted) if wanted > n => {
                    let what = format!("{wanted} images of {:?}, which has {n}", part.name);
                    return Err(wrong(
                        what,
                        "lower the number in `mixed.take` or `take_val`",
                    ));
                }
                Some(&wanted) => {
                    let path = [word("mixed"), word(which), word(&part.name)];
                    let mut order = Rng::new(seed, &path).permutation(n);
                    order.truncate(wanted);
                    order
                }
            };
            picked.sort_unstable();
            samples.extend(picked.into_iter().map(|i| (k, i)));
        }
        Ok(samples)
    }

    /// The samples of a list of `SOURCE/ID` lines, in its order.
    fn listed(&self, list: &Path) -> Result<Vec<(usize, usize)>> {
        let mut known: HashMap<String, (usize, usize)> = HashMap::new();
        for (k, part) in self.parts.iter().enumerate() {
            for i in 0..part.dataset.len() {
                let id = format!("{}/{}", part.name, part.dataset.id(i));
                known.entry(id).or_insert((k, i));
            }
        }
        let mut lines: HashMap<&str, usize> = HashMap::new();
        let text = read_text(list)?;
        let mut samples = vec![];
        for (number, line) in (1..).zip(text.lines()) {
            let id = line.trim();
            if id.is_empty() {
                continue;
            }
            let at = |e: Error| e.at(at_line(list, number));
            if let Some(first) = lines.insert(id, number) {
                let what = format!("the id {id:?} is already in line {first}");
                return Err(at(Error::new(Code::BadLine, what)).help("keep one of the two lines"));
            }
            let Some(&sample) = known.get(id) else {
                let names: Vec<&str> = self.parts.iter().map(|p| p.name.as_str()).collect();
                let what = format!("no source has the sample {id:?}");
                return Err(at(Error::new(Code::NotFound, what)).help(format!(
                    "a line is SOURCE/ID, with a source out of {}",
                    names.join(", ")
                )));
            };
            samples.push(sample);
        }
        if samples.is_empty() {
            return Err(Error::new(Code::EmptyData, "the list has no ids")
                .at(list.display())
                .help("write one SOURCE/ID a line"));
        }
        Ok(samples)
    }

    fn part(&self, index: usize) -> (&Part, usize) {
        let (part, i) = self.samples[index];
        (&self.parts[part], i)
    }
}

/// The samples that are held out, or the others.
fn held_out(
    all: Vec<(usize, usize)>,
    config: &MixedConfig,
    held: bool,
) -> Result<Vec<(usize, usize)>> {
    let n = config.held_out;
    if n >= all.len() && n > 0 {
        let what = format!("{n} images held out of {}", all.len());
        return Err(wrong(what, "lower `mixed.held_out`"));
    }
    if held && n == 0 {
        let what = format!("the split {HELD_OUT:?} is empty");
        return Err(wrong(what, "set `mixed.held_out` to a number of images"));
    }
    let path = [word("mixed"), word(HELD_OUT)];
    let order = Rng::new(config.seed, &path).permutation(all.len());
    let mut out = vec![false; all.len()];
    order[..n].iter().for_each(|&i| out[i] = true);
    let kept = all.into_iter().zip(out).filter(|(_, out)| *out == held);
    Ok(kept.map(|(sample, _)| sample).collect())
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
#[path = "mixed_tests.rs"]
mod tests;
