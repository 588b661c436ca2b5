//! The samples of a split: of folders of arrays, and of JSON listings.

use std::path::{Path, PathBuf};

use super::listing::{self, Row};
use crate::data::text_file::sorted_names;
use crate::error::{Code, Error, Result};

/// Samples that lie as `ROOT/SPLIT/FOLDER/NAME.npy`, in the order of the numbers that are their names; `folders` begins with that of the
/// pictures. A folder that no target needs may be missing.
///
/// # Errors
/// `NotFound` for a missing folder, `EmptyData` without arrays.
pub fn npy_rows(root: &Path, split: &str, folders: &[&str]) -> Result<Vec<Row>> {
    let base = root.join(split);
    let pictures = base.join(folders[0]);
    if !pictures.is_dir() {
        return Err(Error::new(
            Code::NotFound,
            format!("no such folder: {}", pictures.display()),
        )
        .at(pictures.display())
        .help(format!(
            "give the folder that holds `train` and `val`, with `{}` in each",
            folders.join("`, `")
        )));
    }
    let mut names: Vec<String> = sorted_names(&pictures)?
        .into_iter()
        .filter_map(|n| n.strip_suffix(".npy").map(String::from))
        .collect();
    names.sort_by_key(|n| (n.parse::<u64>().unwrap_or(u64::MAX), n.clone()));
    if names.is_empty() {
        return Err(Error::new(Code::EmptyData, "no arrays named *.npy")
            .at(pictures.display())
            .help("pictures lie in it as 0.npy, 1.npy, ..."));
    }
    let row = |name: String| {
        let file = |folder: &&str| -> PathBuf { base.join(folder).join(format!("{name}.npy")) };
        Row {
            id: format!("{split}-{name}"),
            place: pictures.join(format!("{name}.npy")).display().to_string(),
            files: folders.iter().map(file).collect(),
        }
    };
    Ok(names.into_iter().map(row).collect())
}

/// The rows of a JSON listing, its paths below `root` or, where they are not there, below `inner`.
///
/// # Errors
/// Those of [`listing::json`] and [`listing::below`].
pub fn json_rows(
    file: &Path,
    names: &[&str],
    columns: usize,
    root: &Path,
    inner: &Path,
) -> Result<Vec<Row>> {
    let rows = listing::json(file, names, columns)?;
    // All rows lie alike: one look at the first picture decides.
    let first = &rows[0][0];
    let base = match listing::below(inner, first) {
        Ok(p) if p.is_file() => inner,
        _ => root,
    };
    let mut out = Vec::with_capacity(rows.len());
    for (i, row) in rows.iter().enumerate() {
        let place = format!("{}, sample {i}", file.display());
        let files = row.iter().map(|f| listing::below(base, f));
        out.push(Row {
            id: listing::id_of(&row[0]),
            files: files.collect::<Result<_>>().map_err(|e| e.at(&place))?,
            place,
        });
    }
    Ok(out)
}
