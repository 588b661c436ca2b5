//! From the label ids of Cityscapes to the classes that a network predicts (systems.md 8.4 and 8.8).

use serde::{Deserialize, Serialize};

use crate::annotation::IGNORE;
use crate::error::{Code, Error, Result, nearest};

/// The 19 training classes of Cityscapes, in the order of their train ids.
pub const CITYSCAPES_19: [&str; 19] = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
];

/// The 16 classes of the mixed set of MTNAS (8.8): trucks and buses are cars, motorcycles and bicycles are one class.
pub const MIXED_16: [&str; 16] = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "train",
    "cycle",
];

/// Label id of each train id: `LABEL_IDS[0] = 7` is road.
pub const LABEL_IDS: [u8; 19] = [
    7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33,
];

/// Label ids that exist: 0 to 33, and 255 for the id -1 (licence plate).
pub fn is_label_id(id: u8) -> bool {
    id <= 33 || id == 255
}

/// How the files code the classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// `*_gtFine_labelIds.png`, the ids 0 to 33.
    #[default]
    LabelIds,
    /// `*_gtFine_labelTrainIds.png`, 0 to 18 and 255.
    TrainIds,
}

/// A table from the values of a file to class ids. `None` marks values that the coding does not have.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassMap {
    names: Vec<String>,
    table: Vec<Option<u8>>,
}

impl ClassMap {
    /// The map to `classes`: `["cityscapes-19"]`, `["mixed-16"]`, or names out of the 19, in the order wanted; classes that
    /// are not named are ignored.
    ///
    /// # Errors
    /// `ConfigValue` for an unknown or repeated name.
    pub fn new(classes: &[String], coding: Coding) -> Result<ClassMap> {
        let owned = |names: &[&str]| names.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let (names, of_train): (Vec<String>, Vec<u8>) = match classes {
            [one] if one == "cityscapes-19" => (owned(&CITYSCAPES_19), (0..19).collect()),
            [one] if one == "mixed-16" => {
                let merged = (0..19).map(|t| match t {
                    14 | 15 => 13,
                    16 => 14,
                    17 | 18 => 15,
                    t => t,
                });
                (owned(&MIXED_16), merged.collect())
            }
            names => (names.to_vec(), subset(names)?),
        };
        let mut table = vec![None; 256];
        table[255] = Some(IGNORE);
        match coding {
            Coding::LabelIds => {
                table[..=33].fill(Some(IGNORE));
                for (t, &id) in LABEL_IDS.iter().enumerate() {
                    table[id as usize] = Some(of_train[t]);
                }
            }
            Coding::TrainIds => {
                for t in 0..19 {
                    table[t] = Some(of_train[t]);
                }
            }
        }
        Ok(ClassMap { names, table })
    }

    /// The map of a format whose files hold indices of `own`, to `classes` out of them (all of them if empty); classes that
    /// are not named are ignored.
    ///
    /// # Errors
    /// `ConfigValue` for an unknown or repeated name, or more than 255 of them.
    pub fn of_indices(format: &str, own: &[String], classes: &[String]) -> Result<ClassMap> {
        let names = if classes.is_empty() { own } else { classes };
        if names.is_empty() || own.len() > IGNORE as usize {
            let text = format!("{} segmentation classes", own.len());
            return Err(Error::new(Code::ConfigValue, text).help("name 1 to 255 of them"));
        }
        let mut table = vec![None; 256];
        table[..own.len()].fill(Some(IGNORE));
        table[IGNORE as usize] = Some(IGNORE);
        for (class, name) in names.iter().enumerate() {
            let bad =
                |text: String, help: String| Err(Error::new(Code::ConfigValue, text).help(help));
            let Some(value) = own.iter().position(|n| n == name) else {
                let near = nearest(name, own.iter().map(String::as_str));
                let help = match near {
                    Some(n) => format!("did you mean {n:?}"),
                    None => format!("the classes are {}", own.join(", ")),
                };
                return bad(format!("{format} has no class {name:?}"), help);
            };
            if table[value] != Some(IGNORE) {
                let text = format!("the class {name:?} is listed twice");
                return bad(text, "list it once".into());
            }
            table[value] = Some(class as u8);
        }
        Ok(ClassMap {
            names: names.to_vec(),
            table,
        })
    }

    /// Names of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class of a value, 255 for ignore; `None` for a value that the coding does not have.
    pub fn get(&self, value: u8) -> Option<u8> {
        self.table[value as usize]
    }
}

/// The class of each train id when only `names` count.
fn subset(names: &[String]) -> Result<Vec<u8>> {
    if names.is_empty() {
        return Err(Error::new(Code::ConfigValue, "no segmentation classes")
            .help("for example cityscapes-19"));
    }
    let mut of_train = vec![IGNORE; 19];
    for (class, name) in names.iter().enumerate() {
        let Some(t) = CITYSCAPES_19.iter().position(|n| n == name) else {
            let known = CITYSCAPES_19
                .into_iter()
                .chain(["cityscapes-19", "mixed-16"]);
            let help = match nearest(name, known) {
                Some(n) => format!("did you mean {n:?}"),
                None => format!("the classes are {}", CITYSCAPES_19.join(", ")),
            };
            return Err(Error::new(
                Code::ConfigValue,
                format!("Cityscapes has no class {name:?}"),
            )
            .help(help));
        };
        if of_train[t] != IGNORE {
            return Err(Error::new(
                Code::ConfigValue,
                format!("the class {name:?} is listed twice"),
            )
            .help("list it once"));
        }
        of_train[t] = class as u8;
    }
    Ok(of_train)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(names: &[&str], coding: Coding) -> Result<ClassMap> {
        ClassMap::new(
            &names.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
            coding,
        )
    }

    #[test]
    fn nineteen_classes() {
        let m = map(&["cityscapes-19"], Coding::LabelIds).unwrap();
        let expect = [
            (7, 0),
            (8, 1),
            (11, 2),
            (12, 3),
            (13, 4),
            (17, 5),
            (19, 6),
            (20, 7),
            (21, 8),
            (22, 9),
            (23, 10),
        ];
        for (id, t) in expect.into_iter().chain([
            (24, 11),
            (25, 12),
            (26, 13),
            (27, 14),
            (28, 15),
            (31, 16),
            (32, 17),
            (33, 18),
        ]) {
            assert_eq!(m.get(id), Some(t), "id {id}");
        }
        for id in [0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 255] {
            assert_eq!(m.get(id), Some(IGNORE), "id {id}");
        }
        assert!((34..255).all(|id| m.get(id).is_none()));
    }

    #[test]
    fn sixteen_classes_of_the_34_ids() {
        let m = map(&["mixed-16"], Coding::LabelIds).unwrap();
        let got: Vec<u8> = (0..34).map(|id| m.get(id).unwrap()).collect();
        let i = IGNORE;
        let expect = [
            i, i, i, i, i, i, i, 0, 1, i, i, 2, 3, 4, i, i, i, 5, i, 6, 7, 8, 9, 10, 11, 12, 13,
            13, 13, i, i, 14, 15, 15,
        ];
        assert_eq!(got, expect);
        assert_eq!(m.names().len(), 16);
    }

    #[test]
    fn chosen_classes_and_train_ids() {
        let m = map(&["car", "road"], Coding::TrainIds).unwrap();
        assert_eq!(
            (m.get(13), m.get(0), m.get(1), m.get(19), m.get(255)),
            (Some(0), Some(1), Some(IGNORE), None, Some(IGNORE))
        );
        assert!(
            map(&["raod"], Coding::LabelIds)
                .unwrap_err()
                .to_string()
                .contains("\"road\"")
        );
        assert_eq!(
            map(&["car", "car"], Coding::LabelIds).unwrap_err().code(),
            Code::ConfigValue
        );
        assert!(map(&[], Coding::LabelIds).is_err());
    }

    #[test]
    fn indices_of_other_formats() {
        let own = ["void", "cat", "dog"].map(String::from);
        let of = |classes: &[&str]| {
            let classes: Vec<String> = classes.iter().map(|s| s.to_string()).collect();
            ClassMap::of_indices("pets", &own, &classes)
        };
        let all = of(&[]).unwrap();
        assert_eq!(
            [0, 1, 2, 3, 255].map(|v| all.get(v)),
            [Some(0), Some(1), Some(2), None, Some(IGNORE)]
        );
        let some = of(&["dog", "cat"]).unwrap();
        assert_eq!(
            [0, 1, 2, 3].map(|v| some.get(v)),
            [Some(IGNORE), Some(1), Some(0), None]
        );
        assert!(of(&["dogg"]).unwrap_err().to_string().contains("\"dog\""));
        assert!(of(&["dog", "dog"]).is_err());
    }
}
