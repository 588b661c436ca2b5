//! The small sets that `tests/data/make_dense.py` wrote, for tests.

use std::path::{Path, PathBuf};

use crate::data::dataset::{DatasetConfig, Format};

/// The folder of a set.
pub fn root(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dense")).join(name)
}

/// Copies a set into a folder, so that files of it can be damaged.
pub fn copy(name: &str, to: &Path) {
    fn walk(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            match entry.path().is_dir() {
                true => walk(&entry.path(), &target),
                false => std::fs::write(&target, std::fs::read(entry.path()).unwrap()).unwrap(),
            }
        }
    }
    walk(&root(name), to);
}

/// The set in a folder.
pub fn config(format: Format, root: impl Into<PathBuf>) -> DatasetConfig {
    DatasetConfig {
        format,
        root: root.into(),
        ..Default::default()
    }
}
