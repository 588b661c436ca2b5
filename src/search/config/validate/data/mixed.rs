//! Keys of data sets that are made of others.

use crate::data::config::DataSetConfig;
use crate::data::dataset::Kind;
use crate::data::mixed_config::{MixedConfig, Unlabelled};
use crate::search::config::Config;
use crate::search::config::validate::Checks;

/// Sources that are there, of one kind, and named where their numbers stand.
pub(super) fn check(config: &Config, name: &str, set: &DataSetConfig, c: &mut Checks) {
    let key = |k: &str| format!("data.{name}.mixed.{k}");
    let m = &set.mixed;
    let names = &m.sources.names;
    c.that(
        set.is_mixed() != names.is_empty(),
        key("sources"),
        format!(
            "{} sources of a set of format {:?}",
            names.len(),
            set.format
        ),
        "name data sets for `format = \"mixed\"`, and only for it",
    );
    super::unique(c, &key("sources"), names);
    for source in names {
        let known = config.data.keys().map(String::as_str);
        let help = match crate::error::nearest(source, known) {
            Some(n) => format!("a data set with a similar name exists: \"{n}\""),
            None => format!("add a table [data.{source}]"),
        };
        let Some(table) = config.data.get(source) else {
            let what = format!("there is no data set {source:?}");
            c.that(false, key("sources"), what, help);
            continue;
        };
        let fits = match table.kind() {
            Kind::Classification => false,
            kind => !table.is_mixed() && kind == set.kind(),
        };
        c.that(
            fits,
            key("sources"),
            format!(
                "{source:?} is mixed itself, of image classes, or of another kind than the first"
            ),
            "mix boxes with boxes, or label maps with label maps",
        );
    }
    c.that(
        m.unlabelled == Unlabelled::Background || set.is_mixed() && set.kind() == Kind::Detection,
        key("unlabelled"),
        "there is no source here that does not label every class",
        "remove it: the key is for mixed sets of boxes",
    );
    unused(name, set, c);
    let tables = [("take", &m.take), ("take_val", &m.take_val)];
    for (k, table) in tables.into_iter().filter(|_| set.is_mixed()) {
        for source in table.keys().filter(|s| !names.contains(s)) {
            let what = format!("{source:?} is not a source");
            c.that(false, key(k), what, "name it in `sources`, or remove it");
        }
    }
}

/// Numbers and choices of a mixed set where there is none, or none of the classes that they are about.
fn unused(name: &str, set: &DataSetConfig, c: &mut Checks) {
    let key = |k: &str| format!("data.{name}.mixed.{k}");
    let (m, default) = (&set.mixed, MixedConfig::default());
    let untouched = [
        ("take", m.take == default.take),
        ("take_val", m.take_val == default.take_val),
        ("held_out", m.held_out == default.held_out),
        ("seed", m.seed == default.seed),
        ("cycles", m.cycles == default.cycles),
    ];
    for (k, untouched) in untouched {
        c.that(
            untouched || set.is_mixed(),
            key(k),
            format!("a data set of format {:?} is not mixed", set.format),
            "remove it: the key is for `format = \"mixed\"`",
        );
    }
    let preset =
        set.kind() == Kind::Detection && (set.classes.is_empty() || set.classes == ["mixed-3"]);
    c.that(
        !set.is_mixed() || m.cycles == default.cycles || preset,
        key("cycles"),
        "motorcycles and bicycles are what `classes` and `merge` say here",
        "remove it: the key is for `classes = [\"mixed-3\"]`",
    );
}
