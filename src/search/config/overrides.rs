//! `-s key=value`: single keys on top of a file, in TOML's own syntax.

use toml::{Table, Value};

use super::read::{Fault, fault};
use crate::error::{Code, Error, Result};
use crate::model::config::FrameConfig;

/// No key lies deeper; the merged tables are walked recursively.
const MAX_DEPTH: usize = 16;

/// One key set on the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// Dotted key.
    pub key: String,
    /// How the user gave it, for messages: `-s search.batch=16`, `--seed 3`.
    pub label: String,
    parts: Vec<String>,
    value: Value,
}

impl Override {
    /// Reads `key=value`: a dotted key and a TOML value. A single word without quotes counts as text, since shells eat quotes.
    ///
    /// # Errors
    /// `Usage` without `=`, or when key or value is not TOML.
    pub fn parse(text: &str) -> Result<Override> {
        let label = format!("-s {text}");
        let bad = |what: &str| {
            Error::new(Code::Usage, what.to_string())
                .at(&label)
                .help("write it as key=value, for example `-s search.batch=16` or `-s 'model.frame=\"mtnas-peer\"'`")
        };
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| bad("no `=` in the override"))?;
        let (key, value) = (key.trim(), value.trim());
        let word = |c: char| c.is_alphanumeric() || "-_./+".contains(c);
        let bare = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let parts: Vec<String> = key.split('.').map(|p| p.trim().to_string()).collect();
        let named = parts.iter().all(|p| !p.is_empty() && p.chars().all(bare));
        if !named || parts.len() > MAX_DEPTH {
            return Err(bad("the key is not a dotted name"));
        }
        let parsed = match value.contains(['\n', '\r']) {
            true => None,
            false => format!("v = {value}")
                .parse::<Table>()
                .ok()
                .and_then(|mut t| t.remove("v")),
        };
        let value = match parsed {
            Some(v) => v,
            None if !value.is_empty() && value.chars().all(word) => Value::String(value.into()),
            None => return Err(bad("the value is not a TOML value")),
        };
        Ok(Override {
            key: parts.join("."),
            label,
            parts,
            value,
        })
    }

    /// A key set by a flag of its own; `label` is how the user gave it.
    pub fn flag(key: &str, value: impl Into<Value>, label: impl Into<String>) -> Override {
        let parts = key.split('.').map(String::from).collect();
        Override {
            key: key.into(),
            label: label.into(),
            parts,
            value: value.into(),
        }
    }

    /// `frame` with keys under `model` set, one after the other.
    ///
    /// # Errors
    /// `UnknownKey`, `ConfigValue`; the place is the override.
    pub fn on_frame(frame: &FrameConfig, list: &[Override]) -> Result<FrameConfig> {
        let internal = |e: toml::ser::Error| Error::new(Code::Internal, e.to_string());
        let model = Value::try_from(frame).map_err(internal)?;
        let mut table = Table::from_iter([("model".to_string(), model)]);
        let mut made = frame.clone();
        for o in list {
            o.apply(&mut table)?;
            let model = table["model"].clone();
            made = (model.try_into()).map_err(|e: toml::de::Error| o.explain(e.message()))?;
        }
        Ok(made)
    }

    /// Sets the key in `table`; an inline table is merged into what is there.
    pub(super) fn apply(&self, table: &mut Table) -> Result<()> {
        let (last, path) = self
            .parts
            .split_last()
            .expect("a key has at least one part");
        let mut at = table;
        for part in path {
            let entry = at
                .entry(part.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            at = entry.as_table_mut().ok_or_else(|| {
                Error::new(
                    Code::UnknownKey,
                    format!("`{}`: `{part}` is not a table", self.key),
                )
                .at(&self.label)
            })?;
        }
        merge(at, last, self.value.clone());
        Ok(())
    }

    /// The reader's complaint about this override.
    pub(super) fn explain(&self, message: &str) -> Error {
        let Fault {
            code,
            message: mut what,
            label,
            help,
        } = fault(message, None);
        if code == Code::ConfigValue {
            what = format!("`{}`: {what}, {label}", self.key);
        }
        let e = Error::new(code, what).at(&self.label);
        match help {
            Some(h) => e.help(h),
            None => e,
        }
    }
}

fn merge(table: &mut Table, key: &str, value: Value) {
    match (table.get_mut(key), value) {
        (Some(Value::Table(old)), Value::Table(new)) => {
            for (k, v) in new {
                merge(old, &k, v);
            }
        }
        (_, value) => {
            table.insert(key.into(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn with(text: &str, overrides: &[&str]) -> Result<Config> {
        let list = overrides
            .iter()
            .map(|o| Override::parse(o))
            .collect::<Result<Vec<_>>>()?;
        Config::from_toml_with(text, "a.toml", &list)
    }

    const SMALL: &str = include_str!("../../../configs/demo.toml");

    #[test]
    fn later_wins_and_words_need_no_quotes() {
        let c = with(
            SMALL,
            &[
                "search.batch=3",
                "search.batch = 5",
                "run.device=cpu",
                "search.alpha={lr=0.5}",
            ],
        )
        .unwrap();
        assert_eq!(c.search.batch, 5);
        assert_eq!(c.run.device, crate::backend::Device::Cpu);
        assert_eq!(c.search.alpha.lr, 0.5);
        assert_eq!(c.search.alpha.betas, [0.5, 0.999]);
    }

    #[test]
    fn keys_of_a_frame_alone() {
        let set = |all: &[&str]| {
            let list: Result<Vec<Override>> = all.iter().map(|o| Override::parse(o)).collect();
            Override::on_frame(&FrameConfig::default(), &list?)
        };
        let made = set(&["model.cells=11", "model.reductions=[3,6,9]"]).unwrap();
        let expected = FrameConfig {
            cells: 11,
            reductions: Some(vec![3, 6, 9]),
            ..FrameConfig::default()
        };
        assert_eq!(made, expected);
        let e = set(&["model.cell=11"]).unwrap_err();
        assert!(e.code() == Code::UnknownKey && e.render().contains("`cells`"));
        let e = set(&["model.cells=x"]).unwrap_err();
        assert!(e.code() == Code::ConfigValue && e.place().unwrap().contains("cells=x"));
    }

    #[test]
    fn faults_name_the_override() {
        for (o, code, needle) in [
            (
                "search.bacth=3",
                Code::UnknownKey,
                "similar name exists: `batch`",
            ),
            ("search.batch=x", Code::ConfigValue, "expected an integer"),
            ("search.batch=0", Code::ConfigValue, "search.batch"),
            ("search.batch.x=1", Code::UnknownKey, "not a table"),
            ("search.batch", Code::Usage, "no `=`"),
            ("a b=1", Code::Usage, "dotted name"),
            ("run.seed=1\nx=2", Code::Usage, "not a TOML value"),
            ("input.size=[32,32,32]", Code::ConfigValue, "length 3"),
        ] {
            let e = with(SMALL, &["run.seed=4", o]).expect_err(o);
            assert_eq!(e.code(), code, "{e}");
            assert!(e.render().contains(needle), "{}", e.render());
            // On one line, whatever was given.
            let o = o.replace('\n', "\\n");
            assert!(e.place().unwrap().contains(&o), "{}", e.render());
        }
    }
}
