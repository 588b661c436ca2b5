//! How a layer declares its part of the configuration: a plain struct whose keys carry their documentation and default,
//! so that the reader, `mtnas config explain` and `docs/configuration.md` all come from one place. A leaf.

use std::collections::BTreeMap;

/// One configuration key as a user sees it.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name inside its table.
    pub name: &'static str,
    /// What it means, its unit, and where its default comes from.
    pub doc: &'static str,
    /// The type in words, for example `float` or `list of text`.
    pub kind: String,
    /// The keys below it; empty for a value.
    pub keys: Vec<Key>,
    /// For a closed choice, each spelling with its meaning.
    pub choices: Vec<(&'static str, &'static str)>,
}

/// A type that may stand in the configuration.
pub trait Describe {
    /// The type in words.
    fn kind() -> String;

    /// The keys below it; empty for a value.
    fn keys() -> Vec<Key> {
        Vec::new()
    }

    /// For a closed choice, each spelling with its meaning.
    fn choices() -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }
}

/// Spellings of a closed choice, in words.
pub fn choice<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|n| format!("`\"{n}\"`")).collect();
    quoted.join(" | ")
}

macro_rules! values {
    ($($type:ty = $kind:literal;)*) => {
        $(impl Describe for $type {
            fn kind() -> String {
                $kind.into()
            }
        })*
    };
}

values! {
    bool = "true or false";
    f64 = "float";
    u8 = "integer";
    u64 = "integer";
    usize = "integer";
    String = "text";
    std::path::PathBuf = "path";
}

impl<T: Describe> Describe for Vec<T> {
    fn kind() -> String {
        format!("list of {}", T::kind())
    }
    fn choices() -> Vec<(&'static str, &'static str)> {
        T::choices()
    }
}

impl<T: Describe, const N: usize> Describe for [T; N] {
    fn kind() -> String {
        format!("list of {N} x {}", T::kind())
    }
}

impl<T: Describe> Describe for Option<T> {
    fn kind() -> String {
        format!("{}, may be absent", T::kind())
    }
    fn keys() -> Vec<Key> {
        T::keys()
    }
    fn choices() -> Vec<(&'static str, &'static str)> {
        T::choices()
    }
}

/// A table with names of the user's choice; its keys are shown below the name `NAME`.
impl<T: Describe> Describe for BTreeMap<String, T> {
    fn kind() -> String {
        format!("table of {}", T::kind())
    }
    fn keys() -> Vec<Key> {
        let keys = T::keys();
        if keys.is_empty() {
            return keys;
        }
        vec![Key {
            name: "NAME",
            doc: "A name of your choice.",
            kind: T::kind(),
            keys,
            choices: Vec::new(),
        }]
    }
}

/// Declares a table of the configuration: every key with its documentation, type and default.
///
/// The struct reads from and prints to TOML, refuses unknown keys, and fills absent ones with their defaults.
#[macro_export]
macro_rules! settings {
    ($(#[doc = $head:literal])* pub struct $name:ident {
        $($(#[doc = $doc:literal])* pub $key:ident: $type:ty = $default:expr,)*
    }) => {
        $(#[doc = $head])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name { $($(#[doc = $doc])* pub $key: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                $name { $($key: $default,)* }
            }
        }

        impl $crate::settings::Describe for $name {
            fn kind() -> String {
                "table".into()
            }
            fn keys() -> Vec<$crate::settings::Key> {
                vec![$($crate::settings::Key {
                    name: stringify!($key),
                    doc: concat!($($doc, "\n",)*).trim_ascii(),
                    kind: <$type as $crate::settings::Describe>::kind(),
                    keys: <$type as $crate::settings::Describe>::keys(),
                    choices: <$type as $crate::settings::Describe>::choices(),
                },)*]
            }
        }
    };
}

/// Declares a closed choice of the configuration: every variant with its documentation and its spelling.
#[macro_export]
macro_rules! choices {
    ($(#[doc = $head:literal])* pub enum $name:ident {
        $($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*
    }) => {
        $(#[doc = $head])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $doc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// All choices, in the order of their documentation.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The spelling in configuration files.
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl $crate::settings::Describe for $name {
            fn kind() -> String {
                $crate::settings::choice([$($text,)*])
            }
            fn choices() -> Vec<(&'static str, &'static str)> {
                vec![$(($text, concat!($($doc, "\n",)*).trim_ascii()),)*]
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    settings! {
        /// A table.
        pub struct Inner {
            /// How many.
            /// No unit.
            pub count: usize = 3,
            /// Which.
            pub colour: Colour = Colour::DarkRed,
        }
    }

    choices! {
        /// A colour.
        pub enum Colour {
            /// Dark.
            DarkRed = "dark-red",
            /// Light.
            Blue = "blue",
        }
    }

    #[test]
    fn keys_describe_themselves() {
        let keys = <BTreeMap<String, Inner> as Describe>::keys();
        assert_eq!(keys[0].name, "NAME");
        let count = &keys[0].keys[0];
        assert_eq!(
            (count.name, count.doc, count.kind.as_str()),
            ("count", "How many.\n No unit.", "integer")
        );
        assert_eq!(
            Colour::ALL
                .iter()
                .map(|c| c.to_string())
                .collect::<Vec<_>>(),
            ["dark-red", "blue"]
        );
        assert_eq!(keys[0].keys[1].kind, "`\"dark-red\"` | `\"blue\"`");
    }

    #[test]
    fn absent_keys_take_their_defaults() {
        let t: Inner = toml::from_str("colour = \"blue\"").unwrap();
        assert_eq!(
            t,
            Inner {
                count: 3,
                colour: Colour::Blue
            }
        );
        assert!(toml::from_str::<Inner>("cuont = 1").is_err());
        assert_eq!(
            toml::to_string(&t).unwrap(),
            "count = 3\ncolour = \"blue\"\n"
        );
    }
}
