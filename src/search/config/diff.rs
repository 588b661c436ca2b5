//! What differs between two configurations, key by key: a resumed run must be the run that was started.

use toml::{Table, Value};

use super::Config;
use crate::error::{Code, Error, Result};

/// Keys that may change between a run and its resumption, because no bit of a result depends on them; of another device, whose
/// bits differ, a resumed run warns.
pub const FREE_KEYS: [&str; 10] = [
    "run.device",
    "run.threads",
    "run.sync_launches",
    "run.graphs",
    "search.memory",
    "loader.threads",
    "loader.prefetch",
    "loader.input_on",
    "loader.resident",
    "checkpoint.keep",
];

/// Nor does any on whether pictures come from a packed cache, of whatever data set.
fn is_free(key: &str) -> bool {
    FREE_KEYS.contains(&key) || (key.starts_with("data.") && key.ends_with(".packed"))
}

/// One key with two values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Dotted key.
    pub key: String,
    /// TOML value before; none where the key was absent.
    pub old: Option<String>,
    /// TOML value after.
    pub new: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |v: &Option<String>| v.clone().unwrap_or_else(|| "(absent)".into());
        write!(
            f,
            "{}: {} -> {}",
            self.key,
            show(&self.old),
            show(&self.new)
        )
    }
}

impl Config {
    /// All keys whose values differ from `new`'s, in alphabetical order.
    pub fn changes(&self, new: &Config) -> Vec<Change> {
        let table =
            |c: &Config| Table::try_from(c).expect("a configuration holds only what TOML can say");
        let mut out = Vec::new();
        walk(
            Some(&Value::Table(table(self))),
            Some(&Value::Table(table(new))),
            "",
            &mut out,
        );
        out
    }

    /// Refuses to go on with `new` where this configuration started.
    ///
    /// # Errors
    /// `ConfigChanged` with a line for each changed key, unless all of them are among those that no result depends on.
    pub fn check_resume(&self, new: &Config) -> Result<()> {
        let changes: Vec<Change> = self
            .changes(new)
            .into_iter()
            .filter(|c| !is_free(&c.key))
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        let keys = if changes.len() == 1 { "key" } else { "keys" };
        let lines: String = changes.iter().map(|c| format!("   | {c}\n")).collect();
        Err(Error::new(
            Code::ConfigChanged,
            format!(
                "the configuration differs from the run's in {} {keys}",
                changes.len()
            ),
        )
        .snippet(lines)
        .help("resume without these changes, or start a new run with them"))
    }
}

fn walk(old: Option<&Value>, new: Option<&Value>, path: &str, out: &mut Vec<Change>) {
    if let (Some(Value::Table(a)), Some(Value::Table(b))) = (old, new) {
        let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            walk(a.get(name), b.get(name), &path, out);
        }
    } else if old != new {
        let text = |v: Option<&Value>| v.map(Value::to_string);
        out.push(Change {
            key: path.into(),
            old: text(old),
            new: text(new),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_keys_are_listed_old_to_new() {
        let a = Config::default().resolved();
        assert!(a.check_resume(&a).is_ok());
        let mut b = a.clone();
        b.run.threads = 7;
        b.checkpoint.keep = 9;
        b.search.memory = crate::model::Memory::Small;
        assert!(a.check_resume(&b).is_ok());
        b.search.alpha.lr = 0.5;
        b.data.insert("x".into(), Default::default());
        let mut packed = b.clone();
        packed.data.get_mut("x").unwrap().packed = "packs".into();
        assert!(b.check_resume(&packed).is_ok());
        b.model.reductions = Some(vec![1]);
        let e = a.check_resume(&b).unwrap_err();
        assert_eq!(e.code(), Code::ConfigChanged);
        let text = e.render();
        assert!(text.contains("search.alpha.lr: 0.0006 -> 0.5"), "{text}");
        assert!(
            text.contains("model.reductions: [6, 9, 12] -> [1]"),
            "{text}"
        );
        assert!(text.contains("data.x: (absent) -> {"), "{text}");
        assert!(!text.contains("threads"), "{text}");
    }
}
