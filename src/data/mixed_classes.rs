//! Classes of a mixed set (systems.md 8.8): those of its sources, joined by name.

use std::collections::BTreeMap;

use super::mixed_config::Cycles;
use crate::error::{Code, Error, Result, nearest};

/// The detection classes of the mixed set of MTNAS, `classes = ["mixed-3"]`.
pub const MIXED_3: [&str; 3] = ["car", "person", "sign"];

/// Class names of the sources behind each class of [`MIXED_3`], in lower case: BDD100K of both generations, Waymo, KITTI.
const CARS: [&str; 5] = ["car", "bus", "truck", "vehicle", "van"];
const PERSONS: [&str; 5] = ["person", "pedestrian", "rider", "cyclist", "person_sitting"];
const SIGNS: [&str; 3] = ["traffic sign", "traffic light", "sign"];
const CYCLES: [&str; 4] = ["motorcycle", "bicycle", "motor", "bike"];

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

/// The error of a key.
pub(super) fn wrong(message: String, help: impl Into<String>) -> Error {
    Error::new(Code::ConfigValue, message).help(help)
}

/// Classes of several sources together.
pub(super) struct Joined {
    /// Their names.
    pub names: Vec<String>,
    /// For each source the class of each of its classes; `None` for one that is dropped.
    pub maps: Vec<Vec<Option<usize>>>,
}

/// Joins the classes `sources`: by `merge`, by the rule of [`MIXED_3`] where `classes` asks for it, else by their own names.
///
/// # Errors
/// `ConfigValue` for a key of `merge` that no source has, for a class that no source maps to.
pub(super) fn join(
    sources: &[&[String]],
    classes: &[String],
    merge: &BTreeMap<String, String>,
    cycles: Cycles,
) -> Result<Joined> {
    let preset = matches!(classes, []) || classes == ["mixed-3"];
    let names = detection_classes(classes);
    let class = |own: &String| {
        let name = match merge.get(own) {
            Some(name) => name,
            None if preset => class_of_type(own, cycles)?,
            None => own,
        };
        names.iter().position(|n| n == name)
    };
    let maps: Vec<Vec<Option<usize>>> = (sources.iter())
        .map(|own| own.iter().map(class).collect())
        .collect();
    let own: Vec<&str> = sources
        .iter()
        .copied()
        .flatten()
        .map(String::as_str)
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
    let there = |c: usize| maps.iter().any(|m| m.contains(&Some(c)));
    // The preset may name signs though no source has them: the network keeps its outputs.
    if let Some(c) = (0..names.len()).find(|&c| !preset && !there(c)) {
        let what = format!("no source has objects of the class {:?}", names[c]);
        return Err(wrong(what, "see `merge`, and the `classes` of the sources"));
    }
    Ok(Joined { names, maps })
}

/// Which of `classes` classes a source with this map labels: those that one of its own becomes.
pub(super) fn labelled(map: &[Option<usize>], classes: usize) -> Vec<bool> {
    (0..classes).map(|c| map.contains(&Some(c))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_the_classes_of_the_paper() {
        let of = |t, cycles| class_of_type(t, cycles);
        for cycles in [Cycles::Exclude, Cycles::Car] {
            let bikes = (cycles == Cycles::Car).then_some("car");
            assert!(CYCLES.iter().all(|t| of(t, cycles) == bikes));
            assert_eq!((of("train", cycles), of("unknown", cycles)), (None, None));
            assert_eq!(
                (of("rider", cycles), of("traffic light", cycles)),
                (Some("person"), Some("sign"))
            );
            assert_eq!(
                (of("bus", cycles), of("Truck", cycles)),
                (Some("car"), Some("car"))
            );
        }
    }

    #[test]
    fn a_source_labels_what_its_classes_become() {
        assert_eq!(labelled(&[Some(1), None, Some(1)], 3), [false, true, false]);
    }
}
