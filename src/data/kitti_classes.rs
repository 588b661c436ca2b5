//! Which object types of KITTI count, as what: classes, merged types, ignored neighbours (systems.md 8.3).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kitti_label::{KittiObject, TYPES};
use crate::annotation::{BBox, KittiRole, KittiTruth, Object};
use crate::error::{Code, Error, Result, nearest};

/// Which types count, as what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KittiConfig {
    /// Detection classes, in order: the lower-case type names, or names that `merge` maps to.
    pub classes: Vec<String>,
    /// Types that count as a class of another name, for example `Truck = "car"`.
    pub merge: BTreeMap<String, String>,
    /// Types that become ignored objects of a class (`*`: of every class). The official evaluation ignores the
    /// neighbour classes and `DontCare`. A type in no table is dropped.
    pub ignore: BTreeMap<String, String>,
}

impl Default for KittiConfig {
    fn default() -> Self {
        let ignore = [
            ("Van", "car"),
            ("Person_sitting", "pedestrian"),
            ("DontCare", "*"),
        ];
        KittiConfig {
            classes: ["car", "pedestrian", "cyclist"].map(String::from).to_vec(),
            merge: BTreeMap::new(),
            ignore: ignore.map(|(a, b)| (a.to_string(), b.to_string())).into(),
        }
    }
}

impl KittiConfig {
    /// # Errors
    /// `ConfigValue` for a type that the format does not have, a class that nothing maps to, or a class named twice.
    pub(super) fn check(&self) -> Result<()> {
        let bad =
            |message: String, help: String| Err(Error::new(Code::ConfigValue, message).help(help));
        if self.classes.is_empty() {
            return bad(
                "no detection classes".into(),
                "name at least one, for example car".into(),
            );
        }
        for (i, class) in self.classes.iter().enumerate() {
            if self.classes[..i].contains(class) {
                return bad(
                    format!("the class {class:?} is listed twice"),
                    "list it once".into(),
                );
            }
            let own = TYPES
                .iter()
                .any(|t| t.to_lowercase() == *class && *t != "DontCare");
            if !own && !self.merge.values().any(|c| c == class) {
                let names: Vec<String> = TYPES[..8].iter().map(|t| t.to_lowercase()).collect();
                let help = match nearest(class, names.iter().map(String::as_str)) {
                    Some(n) => format!("did you mean {n:?}"),
                    None => format!("KITTI has {}", names.join(", ")),
                };
                return bad(format!("KITTI has no type for the class {class:?}"), help);
            }
        }
        for t in self.merge.keys().chain(self.ignore.keys()) {
            if !TYPES.contains(&t.as_str()) {
                return bad(
                    format!("KITTI has no type {t:?}"),
                    format!("its types are {}", TYPES.join(", ")),
                );
            }
        }
        match self.merge.values().find(|c| !self.classes.contains(c)) {
            Some(c) => bad(
                format!("`merge` maps to the class {c:?}, which is not in `classes`"),
                "add it there".into(),
            ),
            None => Ok(()),
        }
    }

    /// The objects that a label line stands for: one of a class, ignored ones, or none.
    pub(super) fn objects(&self, kind: &str, bbox: BBox, out: &mut Vec<Object>) {
        let class_named = |name: &str| self.classes.iter().position(|c| c == name);
        let named = self
            .merge
            .get(kind)
            .cloned()
            .unwrap_or_else(|| kind.to_lowercase());
        if let Some(class) = class_named(&named) {
            out.push(Object {
                class,
                bbox,
                ignore: false,
            });
            return;
        }
        match self.ignore.get(kind).map(String::as_str) {
            Some("*") => out.extend((0..self.classes.len()).map(|class| Object {
                class,
                bbox,
                ignore: true,
            })),
            Some(name) => out.extend(class_named(name).map(|class| Object {
                class,
                bbox,
                ignore: true,
            })),
            None => {}
        }
    }

    /// What the line is to the official evaluation: an object, a neighbour of classes, a region that is not looked at, or nothing.
    pub(super) fn truth(&self, o: &KittiObject, out: &mut Vec<KittiTruth>) {
        let truth = |role| KittiTruth {
            role,
            bbox: o.bbox,
            truncated: o.truncated,
            occluded: o.occluded,
        };
        if o.kind == "DontCare" {
            out.push(truth(KittiRole::DontCare));
            return;
        }
        let mut objects = vec![];
        self.objects(o.kind, o.bbox, &mut objects);
        out.extend(objects.into_iter().map(|o| {
            truth(if o.ignore {
                KittiRole::Neighbour(o.class)
            } else {
                KittiRole::Object(o.class)
            })
        }));
    }
}
