//! From the object types of a format to the classes of a configuration, by name.

use std::collections::BTreeMap;

use crate::error::{Code, Error, Result, nearest};

/// Which type counts as which class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeMap {
    names: Vec<String>,
    of_type: Vec<Option<usize>>,
}

impl TypeMap {
    /// A type counts as the class that `merge` gives it, or as that of its own name; one without such a class is dropped.
    /// `format` is for messages.
    ///
    /// # Errors
    /// `ConfigValue` without a class, for a class named twice or to which no type maps, for an unknown type in `merge`.
    pub fn new(
        format: &str,
        types: &[impl AsRef<str>],
        classes: &[String],
        merge: &BTreeMap<String, String>,
    ) -> Result<TypeMap> {
        let types: Vec<&str> = types.iter().map(AsRef::as_ref).collect();
        let bad = |message, help| Err(Error::new(Code::ConfigValue, message).help(help));
        let near = |name: &str| match nearest(name, types.iter().copied()) {
            Some(n) => format!("did you mean {n:?}"),
            None => format!("its types are {}", types.join(", ")),
        };
        if classes.is_empty() {
            let help = format!("name at least one, for example {}", types.join(", "));
            return bad("no detection classes".into(), help);
        }
        if let Some(t) = merge.keys().find(|t| !types.contains(&t.as_str())) {
            return bad(format!("{format} has no type {t:?}"), near(t));
        }
        let class_of = |t: &&str| {
            let name = merge.get(*t).map_or(*t, String::as_str);
            classes.iter().position(|c| c == name)
        };
        let of_type: Vec<Option<usize>> = types.iter().map(class_of).collect();
        for (i, class) in classes.iter().enumerate() {
            if classes[..i].contains(class) {
                let what = format!("the class {class:?} is listed twice");
                return bad(what, "list it once".into());
            }
            if !of_type.contains(&Some(i)) {
                let what = format!("{format} has no type for the class {class:?}");
                return bad(what, near(class));
            }
        }
        match merge.values().find(|c| !classes.contains(c)) {
            Some(c) => bad(
                format!("`merge` maps to the class {c:?}, which is not in `classes`"),
                "add it there".into(),
            ),
            None => Ok(TypeMap {
                names: classes.to_vec(),
                of_type,
            }),
        }
    }

    /// Names of the classes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The class of a type, by its place in the list; `None` for one that is dropped or that the format does not have.
    pub fn get(&self, kind: usize) -> Option<usize> {
        self.of_type.get(kind).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(classes: &[&str], merge: &[(&str, &str)]) -> Result<TypeMap> {
        let classes: Vec<String> = classes.iter().map(|c| c.to_string()).collect();
        let merge = merge.iter().map(|(a, b)| (a.to_string(), b.to_string()));
        TypeMap::new("X", &["van", "lorry", "cat"], &classes, &merge.collect())
    }

    #[test]
    fn types_become_classes_by_name() {
        let m = map(&["car", "van"], &[("lorry", "car")]).unwrap();
        assert_eq!(
            [0, 1, 2, 3].map(|t| m.get(t)),
            [Some(1), Some(0), None, None]
        );
    }

    #[test]
    fn slips_are_named() {
        let slips: [(&[&str], &[(&str, &str)], &str); 5] = [
            (&[], &[], "no detection classes"),
            (&["van", "van"], &[], "\"van\" is listed twice"),
            (&["vann"], &[], "did you mean \"van\""),
            (&["van"], &[("dog", "van")], "no type \"dog\""),
            (&["van"], &[("cat", "dog")], "\"dog\", which is not in"),
        ];
        for (classes, merge, words) in slips {
            let e = map(classes, merge).unwrap_err();
            assert_eq!(e.code(), Code::ConfigValue);
            assert!(e.render().contains(words), "{words}: {e}");
        }
    }
}
