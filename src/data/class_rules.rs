//! Which object types of a data set of boxes count, as what: classes, merged types, ignored types. The rules of KITTI
//! ([`super::kitti_classes`]) for every other format, which gives its [`Vocabulary`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::annotation::{BBox, Object};
use crate::error::{Code, Error, Result, nearest};

/// What the configuration says about classes. All of it may be empty: then the format decides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClassRules {
    /// Classes in order: types of the format, or names that `merge` maps to.
    pub classes: Vec<String>,
    /// Types that count as a class of another name.
    pub merge: BTreeMap<String, String>,
    /// Types that become ignored objects of a class (`*`: of every class; empty: dropped) instead of those that the format ignores.
    pub ignore: Option<BTreeMap<String, String>>,
}

/// The object types that a format has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vocabulary<'a> {
    /// Name of the format, for messages.
    pub format: &'a str,
    /// Its types.
    pub types: &'a [&'a str],
    /// Other spellings of its types: (spelling, type).
    pub aliases: &'a [(&'a str, &'a str)],
    /// The classes where the configuration names none.
    pub classes: &'a [&'a str],
    /// Types that count as a class of another name unless the configuration says something else of them.
    pub merge: &'a [(&'a str, &'a str)],
    /// Types that are ignored where the configuration has no table.
    pub ignore: &'a [(&'a str, &'a str)],
    /// True where the user names the types: whatever the configuration names is one.
    pub open: bool,
}

/// What becomes of an object of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Class(usize),
    Ignored(usize),
    IgnoredInAll,
    Dropped,
}

/// The rules applied to a vocabulary: from the spelling of a type to its number, and from there to objects.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassTable {
    format: String,
    names: Vec<String>,
    kinds: BTreeMap<String, u16>,
    fates: Vec<Fate>,
}

fn bad<T>(message: String, help: impl Into<String>) -> Result<T> {
    Err(Error::new(Code::ConfigValue, message).help(help))
}

impl ClassTable {
    /// Applies `rules` to the types of a format.
    ///
    /// # Errors
    /// `ConfigValue` for a class or type that the format does not have, a class named twice, or a merge into no class.
    pub fn new(rules: &ClassRules, words: &Vocabulary) -> Result<ClassTable> {
        let owned = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let names = match rules.classes.is_empty() {
            true => owned(words.classes),
            false => rules.classes.clone(),
        };
        let canonical = |name: &str| {
            let alias = words.aliases.iter().find(|(a, _)| *a == name);
            alias.map_or(name, |(_, t)| *t).to_string()
        };
        let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let own = pairs.iter();
            own.map(|(a, b)| (a.to_string(), b.to_string())).collect()
        };
        let mut merge = map(words.merge);
        merge.retain(|_, class| names.contains(class));
        merge.extend(rules.merge.iter().map(|(t, c)| (canonical(t), c.clone())));
        let ignore: BTreeMap<String, String> = match &rules.ignore {
            Some(own) => own.iter().map(|(t, c)| (canonical(t), c.clone())).collect(),
            None => map(words.ignore),
        };
        let mut types = owned(words.types);
        if words.open {
            let named = names.iter().chain(merge.keys()).chain(ignore.keys());
            types.extend(named.map(|n| canonical(n)));
            types.sort();
            types.dedup();
        }
        check(words.format, &names, &merge, &ignore, &types, &canonical)?;
        let class_named = |name: &str| names.iter().position(|n| n == name);
        let class_of = |t: &String| match merge.get(t) {
            Some(name) => class_named(name),
            None => names.iter().position(|n| canonical(n) == *t),
        };
        let fate = |t: &String| match (class_of(t), ignore.get(t).map(String::as_str)) {
            (Some(class), _) => Fate::Class(class),
            (None, Some("*")) => Fate::IgnoredInAll,
            // The type that it belongs to may count as a class of another name.
            (None, Some(name)) => class_named(name)
                .or_else(|| class_of(&canonical(name)))
                .map_or(Fate::Dropped, Fate::Ignored),
            (None, None) => Fate::Dropped,
        };
        let fates: Vec<Fate> = types.iter().map(fate).collect();
        let number = |t: &str| types.iter().position(|x| x == t).map(|i| i as u16);
        let spelled = types.iter().map(|t| (t.clone(), t.clone()));
        let others = words.aliases.iter();
        let kinds = spelled
            .chain(others.map(|(a, t)| (a.to_string(), t.to_string())))
            .filter_map(|(spelling, t)| Some((spelling, number(&t)?)))
            .collect();
        Ok(ClassTable {
            format: words.format.into(),
            names,
            kinds,
            fates,
        })
    }

    /// Names of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of a type by its spelling.
    ///
    /// # Errors
    /// `BadLine` for a type that there is not; the caller adds the place.
    pub fn kind(&self, name: &str) -> Result<u16> {
        if let Some(kind) = self.kinds.get(name) {
            return Ok(*kind);
        }
        let lower = name.to_lowercase();
        let known = || self.kinds.keys().map(String::as_str);
        let near = known().find(|t| t.to_lowercase() == lower);
        let shown: String = name.chars().take(80).collect();
        let help = match near.or_else(|| nearest(&shown, known())) {
            Some(n) => format!("did you mean {n:?}"),
            None => {
                let all: Vec<&str> = known().take(20).collect();
                format!("the types are {}", all.join(", "))
            }
        };
        let text = format!("unknown object type {shown:?}");
        Err(Error::new(Code::BadLine, text).help(help))
    }

    /// The class of a type, if it is one.
    pub fn class(&self, kind: u16) -> Option<usize> {
        match self.fates.get(kind as usize) {
            Some(Fate::Class(c)) => Some(*c),
            _ => None,
        }
    }

    /// The objects that a box of a type stands for: one of a class, ignored ones, or none.
    pub fn objects(&self, kind: u16, bbox: BBox, ignore: bool, out: &mut Vec<Object>) {
        let object = |class, ignore| Object {
            class,
            bbox,
            ignore,
        };
        match self.fates.get(kind as usize) {
            Some(Fate::Class(class)) => out.push(object(*class, ignore)),
            Some(Fate::Ignored(class)) => out.push(object(*class, true)),
            Some(Fate::IgnoredInAll) => out.extend((0..self.names.len()).map(|c| object(c, true))),
            Some(Fate::Dropped) | None => {}
        }
    }
}

fn check(
    format: &str,
    names: &[String],
    merge: &BTreeMap<String, String>,
    ignore: &BTreeMap<String, String>,
    types: &[String],
    canonical: &dyn Fn(&str) -> String,
) -> Result<()> {
    if names.is_empty() {
        return bad(
            "no detection classes".into(),
            "name them in `classes`, for example [\"car\"]",
        );
    }
    if types.len() > u16::MAX as usize {
        return bad(format!("{} object types", types.len()), "use fewer");
    }
    let known = || types.iter().map(String::as_str);
    for (i, class) in names.iter().enumerate() {
        if names[..i].iter().any(|n| canonical(n) == canonical(class)) {
            return bad(
                format!("the class {class:?} is listed twice"),
                "list it once",
            );
        }
        let own = known().any(|t| t == canonical(class));
        if !own && !merge.values().any(|c| c == class) {
            let help = match nearest(class, known()) {
                Some(n) => format!("did you mean {n:?}"),
                None => format!("its types are {}", types.join(", ")),
            };
            return bad(
                format!("{format} has no type for the class {class:?}"),
                help,
            );
        }
    }
    for t in merge.keys().chain(ignore.keys()) {
        if !known().any(|k| k == t) {
            let help = match nearest(t, known()) {
                Some(n) => format!("did you mean {n:?}"),
                None => format!("its types are {}", types.join(", ")),
            };
            return bad(format!("{format} has no type {t:?}"), help);
        }
    }
    match merge.values().find(|c| !names.contains(c)) {
        Some(c) => bad(
            format!("`merge` maps to the class {c:?}, which is not in `classes`"),
            "add it there",
        ),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Vocabulary = Vocabulary {
        format: "test",
        types: &["pedestrian", "car", "bus", "other person"],
        aliases: &[("person", "pedestrian")],
        classes: &["pedestrian", "car"],
        merge: &[],
        ignore: &[("other person", "pedestrian")],
        open: false,
    };

    fn rules(classes: &[&str], merge: &[(&str, &str)]) -> ClassRules {
        ClassRules {
            classes: classes.iter().map(|s| s.to_string()).collect(),
            merge: merge
                .iter()
                .map(|(a, b)| (a.to_string(), b.to_string()))
                .collect(),
            ignore: None,
        }
    }

    fn fates(rules: &ClassRules, names: &[&str]) -> Vec<Vec<(usize, bool)>> {
        let table = ClassTable::new(rules, &WORDS).unwrap();
        let of = |name: &&str| {
            let mut out = vec![];
            table.objects(table.kind(name).unwrap(), BBox::default(), false, &mut out);
            out.iter().map(|o| (o.class, o.ignore)).collect()
        };
        names.iter().map(of).collect()
    }

    #[test]
    fn spellings_merges_and_ignored_neighbours() {
        let all = ["person", "pedestrian", "car", "bus", "other person"];
        let own = fates(&ClassRules::default(), &all);
        let (p, i) = (vec![(0, false)], vec![(0, true)]);
        assert_eq!(
            own,
            [p.clone(), p.clone(), vec![(1, false)], vec![], i.clone()]
        );
        let merged = rules(&["human", "car"], &[("person", "human"), ("bus", "car")]);
        let car = vec![(1, false)];
        assert_eq!(fates(&merged, &all), [p.clone(), p, car.clone(), car, i]);
        let all_classes = ClassRules {
            ignore: Some([("bus".into(), "*".into()), ("car".into(), "".into())].into()),
            ..rules(&["person"], &[])
        };
        assert_eq!(
            fates(&all_classes, &["bus", "car"]),
            [vec![(0, true)], vec![]]
        );
    }

    #[test]
    fn rules_are_checked() {
        for (rules, word) in [
            (rules(&["pedestrain"], &[]), "did you mean \"pedestrian\""),
            (rules(&["person", "pedestrian"], &[]), "listed twice"),
            (rules(&["car"], &[("lorry", "car")]), "no type \"lorry\""),
            (rules(&["car"], &[("bus", "vehicle")]), "not in `classes`"),
        ] {
            let e = ClassTable::new(&rules, &WORDS).unwrap_err();
            assert!(
                e.code() == Code::ConfigValue && e.to_string().contains(word),
                "{e}"
            );
        }
        let table = ClassTable::new(&ClassRules::default(), &WORDS).unwrap();
        let e = table.kind("Car").unwrap_err();
        assert!(e.to_string().contains("did you mean \"car\""), "{e}");
        let open = Vocabulary {
            types: &[],
            classes: &[],
            open: true,
            ignore: &[],
            ..WORDS
        };
        let cats = ClassTable::new(&rules(&["cat"], &[("kitten", "cat")]), &open).unwrap();
        assert_eq!(cats.kind("kitten").map(|k| cats.class(k)).unwrap(), Some(0));
        assert!(cats.kind("dog").is_err());
        assert!(ClassTable::new(&ClassRules::default(), &open).is_err());
    }
}
