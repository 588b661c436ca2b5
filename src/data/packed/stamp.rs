//! What a packed cache was made from: the settings of the data set, and name, length and time of change of every file below its folders and
//! of lists and folders of its splits that lie elsewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::data::dataset::{Dataset, DatasetConfig};
use crate::error::{Code, Error, Result};

/// Folders below folders, links followed; more is a mistake.
const DEPTH: usize = 32;

/// From what a packed cache is made.
pub struct Origin<'a> {
    /// The data set.
    pub config: &'a DatasetConfig,
    /// Its split.
    pub split: &'a str,
    /// Height and width of the pictures as they are kept; `None` for their own.
    pub size: Option<(usize, usize)>,
}

impl Origin<'_> {
    /// All that the settings decide, in words.
    fn words(&self) -> String {
        // Another version may decode to other bits.
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "{version} {:?} {:?} {:?}",
            self.config, self.split, self.size
        )
    }

    /// Name of its file: that of the set, the size, and eight digits that tell settings apart.
    pub fn file_name(&self, name: &str) -> String {
        let plain = |c: char| match c {
            c if c.is_ascii_alphanumeric() || c == '.' => c,
            _ => '-',
        };
        let name: String = name.chars().map(plain).take(80).collect();
        let name = name.trim_start_matches('.');
        let size = match self.size {
            Some((h, w)) => format!("{h}x{w}"),
            None => "own".into(),
        };
        let digits: String = Sha256::digest(self.words())
            .iter()
            .take(4)
            .map(|b| format!("{b:02x}"))
            .collect();
        format!("{name}-{size}-{digits}.pack")
    }

    /// SHA-256 of the settings, the ids and the files; and all folders in which the files lie, with links followed.
    ///
    /// # Errors
    /// `NotFound`, `CannotCreate`, `Io` for folders that cannot be listed.
    pub fn stamp(&self, set: &dyn Dataset) -> Result<([u8; 32], BTreeSet<PathBuf>)> {
        let mut hash = Sha256::new();
        hash.update(self.words());
        for index in 0..set.len() {
            hash.update(set.id(index));
            hash.update([0]);
        }
        let mut folders = BTreeSet::new();
        for place in places(self.config, self.split) {
            if add_file(&place, &mut hash) {
                walk(&place, DEPTH, &mut folders, &mut hash)?;
            }
        }
        Ok((hash.finalize().into(), folders))
    }
}

/// The folder of a data set, the file or folder that a split names, which may lie anywhere, and those of the sets that it is made of.
fn places(config: &DatasetConfig, split: &str) -> Vec<PathBuf> {
    let root = &config.root;
    let mut all: Vec<PathBuf> = vec![];
    // A mixed set may have no folder, or one that is not there.
    if !root.as_os_str().is_empty() {
        all.extend([
            root.clone(),
            root.join(split),
            root.join(format!("{split}.txt")),
        ]);
    }
    all.retain(|p| p.exists());
    all.extend(Some(PathBuf::from(split)).filter(|p| p.is_file()));
    for (_, source) in &config.mixed.sources {
        all.extend(places(source, &source.train));
        all.extend(places(source, &source.val));
    }
    all
}

/// Adds name, length and time of change; of a link to nowhere the name alone. Is it a folder?
fn add_file(path: &Path, hash: &mut Sha256) -> bool {
    hash.update(path.as_os_str().as_encoded_bytes());
    let Ok(meta) = std::fs::metadata(path) else {
        return false;
    };
    if !meta.is_dir() {
        hash.update(meta.len().to_le_bytes());
        let time = meta.modified().ok();
        let time = time.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        hash.update(time.map_or(0, |t| t.as_nanos()).to_le_bytes());
    }
    meta.is_dir()
}

/// Adds all files below `dir`, in the order of their names; a folder that was seen, by a link, is not gone through again.
fn walk(dir: &Path, depth: usize, seen: &mut BTreeSet<PathBuf>, hash: &mut Sha256) -> Result<()> {
    let io = |e| Error::io(dir, e);
    if depth == 0 || !seen.insert(dir.canonicalize().map_err(io)?) {
        return Ok(());
    }
    let mut entries = std::fs::read_dir(dir)
        .map_err(io)?
        .map(|e| e.map(|e| e.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()
        .map_err(io)?;
    entries.sort_unstable();
    for path in entries {
        if add_file(&path, hash) {
            walk(&path, depth - 1, seen, hash)?;
        }
    }
    Ok(())
}

/// Refuses a folder for packed caches that lies in one of the folders of the data set: nothing is written there.
///
/// # Errors
/// `ConfigValue`; `Io` where there is no working directory.
pub fn check_place(folder: &Path, folders: &BTreeSet<PathBuf>) -> Result<()> {
    let whole = std::path::absolute(folder).map_err(|e| Error::io(folder, e))?;
    // What exists of it, with its links followed.
    let known = whole.ancestors().find_map(|a| a.canonicalize().ok());
    let mut above = known.iter().flat_map(|k| k.ancestors());
    if let Some(own) = above.find(|a| folders.contains(*a)) {
        let text = format!(
            "`packed` names a folder inside the data set {}",
            own.display()
        );
        return Err(Error::new(Code::ConfigValue, text)
            .at(folder.display())
            .help("name a folder elsewhere: nothing is ever written into a data set"));
    }
    Ok(())
}
