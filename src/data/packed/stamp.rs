//! What a packed cache was made from: the settings that decide the samples of its split, and name, length and time of change of every file
//! below the folders of the data set and of lists and folders of the split that lie elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::data::dataset::{Dataset, DatasetConfig, Format};
use crate::data::kitti::list_file;
use crate::data::mixed::HELD_OUT;
use crate::data::mixed_config::Unlabelled;
use crate::error::{Code, Error, Result};

/// Folders below folders, links followed, at most: deeper ones are an error, since files in them would not be looked at.
const DEPTH: usize = 32;

/// What readers make of files. To be raised with every change of a decoder, of the resizer or of a reader that gives other pixels or
/// annotations of the same files, so that packed caches are made anew; a release raises the version of the program, which counts too.
const PIXELS: u32 = 1;

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
        let version = env!("CARGO_PKG_VERSION");
        let used = used(self.config, self.split);
        format!(
            "{version} {PIXELS} {used:?} {:?} {:?}",
            self.split, self.size
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
    /// `NotFound`, `CannotCreate`, `Io` for folders that cannot be listed, but for those below which no sample lies; `BadFormat` for folders
    /// deeper than `DEPTH`.
    pub fn stamp(&self, set: &dyn Dataset) -> Result<([u8; 32], BTreeSet<PathBuf>)> {
        let mut hash = Sha256::new();
        hash.update(self.words());
        for index in 0..set.len() {
            hash.update(set.id(index));
            hash.update([0]);
        }
        let holds = |dir: &Path| (0..set.len()).any(|i| Path::new(&set.place(i)).starts_with(dir));
        let mut walk = Walk {
            list: &listed,
            holds: &holds,
            seen: BTreeSet::new(),
            hash,
        };
        for place in places(self.config, self.split) {
            if add_file(&place, &mut walk.hash) {
                walk.below(&place, 0)?;
            }
        }
        Ok((walk.hash.finalize().into(), walk.seen))
    }
}

/// The splits of its sources that a split of a mixed set is made of: training, held-out. A list may name both.
fn splits_of_sources(config: &DatasetConfig, split: &str) -> [bool; 2] {
    match split {
        _ if list_file(&config.root, split).is_ok() => [true, true],
        "train" | HELD_OUT => [true, false],
        "val" => [false, true],
        _ => [true, true],
    }
}

/// What of a configuration decides the samples of `split`: no other split, and of a mixed set nothing that its readers leave to others.
fn used(config: &DatasetConfig, split: &str) -> DatasetConfig {
    let mut own = config.clone();
    (own.train, own.val) = (String::new(), String::new());
    if config.format != Format::Mixed {
        return own;
    }
    let mixed = &mut own.mixed.config;
    // The tables themselves: what the readers of the sources use of them is in `sources`.
    mixed.sources.tables.clear();
    // Asked of the set itself, never of its packed samples.
    mixed.unlabelled = Unlabelled::Background;
    let [train, val] = splits_of_sources(config, split);
    if !train {
        (mixed.take, mixed.held_out) = (BTreeMap::new(), 0);
    }
    if !val {
        mixed.take_val = BTreeMap::new();
    }
    for (_, source) in &mut own.mixed.sources {
        if !train {
            source.train.clear();
        }
        if !val {
            source.val.clear();
        }
    }
    own
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
    let splits = splits_of_sources(config, split);
    for (_, source) in &config.mixed.sources {
        let own = [&source.train, &source.val].into_iter().zip(splits);
        let own = own.filter(|(_, of)| *of);
        all.extend(own.flat_map(|(name, _)| places(source, name)));
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

/// What is in a folder, in the order of the names.
fn listed(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)?.map(|e| e.map(|e| e.path()));
    let mut entries = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    entries.sort_unstable();
    Ok(entries)
}

/// A way through folders.
struct Walk<'a> {
    list: &'a dyn Fn(&Path) -> io::Result<Vec<PathBuf>>,
    /// Does a sample lie below this folder?
    holds: &'a dyn Fn(&Path) -> bool,
    /// Folders that were gone through, by their own names.
    seen: BTreeSet<PathBuf>,
    hash: Sha256,
}

impl Walk<'_> {
    /// Adds all files below `dir`, which is `depth` folders deep; a folder that was seen, by a link, is not gone through again.
    fn below(&mut self, dir: &Path, depth: usize) -> Result<()> {
        let io = |e| Error::io(dir, e);
        if !self.seen.insert(dir.canonicalize().map_err(io)?) {
            return Ok(());
        }
        if depth > DEPTH {
            let text = format!("folders more than {DEPTH} deep in a data set");
            return Err(Error::new(Code::BadFormat, text)
                .at(dir.display())
                .help("`root` may name a folder too far up; or move these elsewhere"));
        }
        let entries = match (self.list)(dir) {
            // As `lost+found` is. Its name stays in the stamp.
            Err(e)
                if e.kind() == ErrorKind::PermissionDenied && depth > 0 && !(self.holds)(dir) =>
            {
                self.hash.update("not allowed");
                return Ok(());
            }
            entries => entries.map_err(io)?,
        };
        for path in entries {
            if add_file(&path, &mut self.hash) {
                self.below(&path, depth + 1)?;
            }
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_folder_is_passed_over_unless_samples_lie_there() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "lost+found"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("x"), name).unwrap();
        }
        let stamp = |closed: &Path, held: bool| {
            let list = |d: &Path| match d == closed {
                true => Err(ErrorKind::PermissionDenied.into()),
                false => listed(d),
            };
            let mut walk = Walk {
                list: &list,
                holds: &|_| held,
                seen: BTreeSet::new(),
                hash: Sha256::new(),
            };
            walk.below(dir.path(), 0).map(|()| walk.hash.finalize())
        };
        let lost = dir.path().join("lost+found");
        let (open, without) = (stamp(Path::new(""), true).unwrap(), stamp(&lost, false));
        assert_ne!(open, without.unwrap());
        for (closed, held) in [(lost.as_path(), true), (dir.path(), false)] {
            let e = stamp(closed, held).unwrap_err();
            assert_eq!(e.code(), Code::CannotCreate, "{e}");
        }
    }
}
