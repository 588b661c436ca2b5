//! From TOML text to [`Config`], with the place of everything that is wrong.

use std::io::Read;
use std::path::Path;

use toml::{Table, Value};

use super::source::Source;
use super::{Config, Method, Override, Problem};
use crate::error::{Code, Error, Result, nearest};

/// Configuration files beyond this size are refused unread.
const MAX_BYTES: u64 = 1 << 20;

impl Config {
    /// Reads, completes and validates a configuration; `path` is for messages.
    ///
    /// # Errors
    /// `ConfigSyntax` for text that is not TOML, `UnknownKey` with the nearest name, `ConfigValue` for a wrong type or value,
    /// `NetworkDoesNotFit`; all with `path:line:column` and the line itself.
    pub fn from_toml(text: &str, path: impl AsRef<Path>) -> Result<Config> {
        Config::from_toml_with(text, path, &[])
    }

    /// As [`Config::from_toml`], with `overrides` applied in order on top of the text.
    ///
    /// # Errors
    /// As [`Config::from_toml`]; for a fault of an override the place is that override.
    pub fn from_toml_with(
        text: &str,
        path: impl AsRef<Path>,
        overrides: &[Override],
    ) -> Result<Config> {
        let source = Source {
            path: path.as_ref(),
            text,
            overrides,
        };
        let config = read(&source)?.resolved();
        let problems = config.problems();
        match problems.is_empty() {
            true => Ok(config),
            false => Err(reject(&source, problems)),
        }
    }

    /// Reads the file at `path` and applies `overrides`.
    ///
    /// # Errors
    /// As [`Config::from_toml_with`]; `NotFound`, `Io` and `TooLarge` for the file.
    pub fn load(path: impl AsRef<Path>, overrides: &[Override]) -> Result<Config> {
        let path = path.as_ref();
        let io = |e| Error::io(path, e);
        let mut bytes = Vec::new();
        // Not `fs::read`: a device or pipe has no size to look at first.
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if bytes.len() as u64 > MAX_BYTES {
            let what = format!("more than {MAX_BYTES} bytes are too many for a configuration");
            return Err(Error::new(Code::TooLarge, what)
                .at(path.display())
                .help("give the small TOML text that describes a run"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let line = bytes[..e.valid_up_to()]
                .iter()
                .filter(|&&b| b == b'\n')
                .count()
                + 1;
            Error::new(Code::ConfigSyntax, "not UTF-8 text")
                .at(format!("{}:{line}", path.display()))
                .help("save the file as UTF-8")
        })?;
        Config::from_toml_with(text, path, overrides)
    }
}

/// The typed tree of the text with its overrides, not yet validated.
fn read(source: &Source) -> Result<Config> {
    let mut config: Config = toml::from_str(source.text).map_err(|e| explain(source, &e))?;
    let mut table: Table = source.text.parse().map_err(|e| explain(source, &e))?;
    for o in source.overrides {
        o.apply(&mut table)?;
        config = Value::Table(table.clone())
            .try_into()
            .map_err(|e: toml::de::Error| o.explain(e.message()))?;
    }
    let kept = Table::try_from(&config).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    if let Some((key, got, want)) = cut_list(&table, &kept, "") {
        let e = Error::new(
            Code::ConfigValue,
            format!("`{key}` has {got} values, not {want}"),
        );
        return Err(source.place_of(e, &key, &format!("expected {want} values")));
    }
    required(source, &table)?;
    implied(&mut config, &table);
    Ok(config)
}

/// Partial channels and edge normalisation came with PC-DARTS: the methods before it have neither, unless the keys are given.
fn implied(config: &mut Config, given: &Table) {
    let m = config.search.method;
    if !matches!(m, Method::Darts | Method::DartsPlus | Method::PDarts) {
        return;
    }
    let has = |key: &str| given.get("model").is_some_and(|t| t.get(key).is_some());
    if !has("partial_k") {
        config.model.partial_k = 1;
    }
    if !has("edge_norm") {
        config.model.edge_norm = false;
    }
}

/// A list that is longer than what was kept of it: the reader fills `[T; N]` with the first N elements and says nothing.
fn cut_list(given: &Table, kept: &Table, path: &str) -> Option<(String, usize, usize)> {
    given.iter().find_map(|(name, value)| {
        let path = format!("{path}{name}");
        match (value, kept.get(name)) {
            (Value::Array(a), Some(Value::Array(b))) if a.len() != b.len() => {
                Some((path, a.len(), b.len()))
            }
            (Value::Table(a), Some(Value::Table(b))) => cut_list(a, b, &format!("{path}.")),
            _ => None,
        }
    })
}

/// Tables that make no sense without some of their keys.
fn required(source: &Source, table: &Table) -> Result<()> {
    for (group, keys) in [("data", ["format", "root"]), ("tasks", ["kind", "data"])] {
        for (name, entry) in table
            .get(group)
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
        {
            for key in keys {
                if entry.get(key).is_none() {
                    let path = format!("{group}.{name}");
                    let e = Error::new(Code::ConfigValue, format!("`{path}` has no `{key}`"))
                        .help(format!("add `{key} = ...` to it"));
                    return Err(source.place_of(e, &path, &format!("`{key}` is missing")));
                }
            }
        }
    }
    Ok(())
}

/// An error of the TOML reader with place, line and remedy.
fn explain(source: &Source, e: &toml::de::Error) -> Error {
    let span = e.span().unwrap_or(0..0);
    let path = source.path_of(&span);
    let Fault {
        code,
        message,
        label,
        help,
    } = fault(e.message(), path.as_deref());
    let error = source.locate(Error::new(code, message), &span, &label);
    match help {
        Some(h) => error.help(h),
        None => error,
    }
}

/// A message of serde in our words.
pub(super) struct Fault {
    pub code: Code,
    pub message: String,
    pub label: String,
    pub help: Option<String>,
}

/// Translates a message of the TOML reader about the key `path`.
pub(super) fn fault(message: &str, path: Option<&str>) -> Fault {
    let message = message.lines().next().unwrap_or("not understood");
    let mut quoted = message.split('`').skip(1).step_by(2);
    let key = |what: &str| path.map_or(what.to_string(), |p| format!("`{p}`: {what}"));
    if message.starts_with("unknown field") {
        let name = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.collect();
        let full = path.unwrap_or(name);
        let home = full
            .rsplit_once('.')
            .map_or("the configuration".into(), |(t, _)| format!("`{t}`"));
        return Fault {
            code: Code::UnknownKey,
            message: format!("unknown key `{full}`"),
            label: format!("not a key of {home}"),
            help: Some(match nearest(name, known.iter().copied()) {
                Some(n) => format!("a key with a similar name exists: `{n}`"),
                None => format!("keys here: {}", known.join(", ")),
            }),
        };
    }
    if message.starts_with("unknown variant") {
        let name = quoted.next().unwrap_or_default();
        let known: Vec<&str> = quoted.collect();
        return Fault {
            code: Code::ConfigValue,
            message: key(&format!("there is no choice \"{name}\"")),
            label: "not a choice".into(),
            help: Some(match nearest(name, known.iter().copied()) {
                Some(n) => format!("a choice with a similar name exists: \"{n}\""),
                None => format!("choose one of {}", known.join(", ")),
            }),
        };
    }
    let of_value = ["invalid type", "invalid value", "invalid length"];
    if of_value.iter().any(|p| message.starts_with(p)) {
        let (found, wanted) = message.split_once(", expected ").unwrap_or((message, ""));
        let found = found.split_once(": ").map_or(found, |f| f.1);
        return Fault {
            code: Code::ConfigValue,
            message: key(&found
                .replace(" as i128", "")
                .replace("invalid length ", "a list of length ")),
            label: format!("expected {}", plain_type(wanted)),
            help: None,
        };
    }
    Fault {
        code: Code::ConfigSyntax,
        message: message.to_string(),
        label: String::new(),
        help: None,
    }
}

/// Rust's name of a type in a user's words.
fn plain_type(rust: &str) -> &str {
    match rust {
        "u64" | "usize" => "an integer of at least 0",
        "u8" => "an integer from 0 to 255",
        "f64" => "a number",
        "a boolean" => "true or false",
        t if t.starts_with("struct ") || t.starts_with("a map") => "a table",
        t if t.starts_with("a sequence") => "a list",
        t if t.starts_with("an array of length ") => t.trim_start_matches("an array of length "),
        t => t,
    }
}

/// One error out of all that validation found: the first problem in full, the others as notes.
fn reject(source: &Source, problems: Vec<Problem>) -> Error {
    let mut problems = problems.into_iter();
    let first = problems.next().expect("called with at least one problem");
    let e = Error::new(first.code, format!("`{}`: {}", first.key, first.message)).help(first.help);
    let e = source.place_of(e, &first.key, "");
    problems
        .take(9)
        .fold(e, |e, p| e.note(format!("also `{}`: {}", p.key, p.message)))
}
