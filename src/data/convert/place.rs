//! Where results may lie: never in a data set.

use std::path::{Component, Path};

use crate::data::dataset::{DatasetConfig, Format};
use crate::error::{Code, Error, Result};

/// The error of a place that is not written to.
pub(super) fn refused(output: &Path, why: &str) -> Error {
    Error::new(Code::CannotCreate, why.to_string())
        .at(output.display())
        .help("name a place that is free, outside the data set")
}

/// Checks that `output`, which need not exist, lies in no folder of the data set: its own and those of its sources. Links are followed.
///
/// # Errors
/// `CannotCreate` if it does; `NotFound` and `Io` for a data set that is not there.
pub fn outside(config: &DatasetConfig, output: &Path) -> Result<()> {
    if config.format == Format::Mixed {
        for (_, source) in &config.mixed.sources {
            outside(source, output)?;
        }
        // The folder of its lists, if there are any.
        if !config.root.is_dir() {
            return Ok(());
        }
    }
    let root = (config.root.canonicalize()).map_err(|e| Error::io(&config.root, e))?;
    let absolute = std::path::absolute(output).map_err(|e| Error::io(output, e))?;
    let known = |a: &Path| Some((a.canonicalize().ok()?, absolute.strip_prefix(a).ok()?));
    let Some((known, new)) = absolute.ancestors().find_map(known) else {
        return Ok(());
    };
    if new.components().any(|c| c == Component::ParentDir) {
        return Err(refused(output, "`..` behind a folder that does not exist"));
    }
    match known.starts_with(&root) {
        true => Err(refused(output, "it lies in the data set itself")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(root: &Path) -> DatasetConfig {
        std::fs::create_dir_all(root).unwrap();
        DatasetConfig {
            root: root.into(),
            ..DatasetConfig::default()
        }
    }

    #[cfg(unix)]
    #[test]
    fn no_way_leads_into_a_set() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let config = set(&at("set"));
        std::fs::create_dir(at("set/inner")).unwrap();
        std::os::unix::fs::symlink(at("set/inner"), at("link")).unwrap();
        for (name, why) in [
            ("set", "in the data set"),
            ("set/new", "in the data set"),
            ("set/new/newer", "in the data set"),
            ("link/new", "in the data set"),
            ("link/../new", "in the data set"),
            ("new/../set/newer", "`..`"),
        ] {
            let e = outside(&config, &at(name)).unwrap_err();
            assert!(e.code() == Code::CannotCreate, "{name}: {e}");
            assert!(e.to_string().contains(why), "{name}: {e}");
        }
        for name in ["new", "set-2", "set/../new", "new/set"] {
            outside(&config, &at(name)).unwrap();
        }
    }

    #[test]
    fn sources_and_lists_of_a_mixed_set_are_parts_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut mixed = set(&at("lists"));
        mixed.format = Format::Mixed;
        let sources = ["a", "b"].map(|n| (n.to_string(), set(&at(n))));
        mixed.mixed.sources = sources.to_vec();
        for name in ["a/new", "b/new", "lists/new"] {
            assert!(outside(&mixed, &at(name)).is_err(), "{name}");
        }
        outside(&mixed, &at("new")).unwrap();
        // It needs no lists.
        std::fs::remove_dir(at("lists")).unwrap();
        outside(&mixed, &at("new")).unwrap();
        assert!(outside(&mixed, &at("b/new")).is_err());
    }
}
