//! What conversions read: the splits of a data set, where pictures lie, and the names that they get.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::data::dataset::{Dataset, DatasetConfig};
use crate::data::image_folder::is_picture;
use crate::data::text_file::id_defect;
use crate::error::{Code, Error, Result};

/// Where a picture is.
#[derive(Clone)]
pub enum Pixels {
    /// A PNG or JPEG file of its own.
    File(PathBuf),
    /// Sample of a set whose files hold many pictures (Waymo Open Dataset), or hold them as arrays.
    Sample(Arc<dyn Dataset>, usize),
}

impl Pixels {
    /// That of a sample.
    ///
    /// # Errors
    /// `Io` for a file that cannot be read.
    pub fn of(set: &Arc<dyn Dataset>, index: usize) -> Result<Pixels> {
        let file = PathBuf::from(set.place(index));
        Ok(match file.is_file() && begins(&file, &[PNG, JPEG])? {
            true => Pixels::File(file),
            false => Pixels::Sample(set.clone(), index),
        })
    }

    /// Ending of the file that it becomes where the target leaves pictures as they are; that of a sample is PNG.
    pub fn ending(&self) -> String {
        let Pixels::File(path) = self else {
            return "png".into();
        };
        let own = path.extension().unwrap_or_default().to_string_lossy();
        match own.to_lowercase().as_str() {
            "jpeg" => "jpg".into(),
            other => other.into(),
        }
    }

    /// For messages, and to tell pictures apart.
    pub fn place(&self) -> String {
        match self {
            Pixels::File(path) => path.display().to_string(),
            Pixels::Sample(set, index) => set.place(*index),
        }
    }
}

/// How a PNG file begins.
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// How a JPEG file begins.
const JPEG: &[u8] = b"\xff\xd8\xff";

/// Whether a file begins as one of these.
///
/// # Errors
/// `NotFound`, `Io`.
pub fn begins(path: &Path, kinds: &[&[u8]]) -> Result<bool> {
    let io = |e| Error::io(path, e);
    let mut magic = vec![];
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(8).read_to_end(&mut magic).map_err(io)?;
    Ok(kinds.iter().any(|k| magic.starts_with(k)))
}

/// Notes where the picture of a name is.
///
/// # Errors
/// `BadFormat` where another picture has the name.
pub fn twice(places: &mut BTreeMap<String, String>, id: &str, place: String) -> Result<()> {
    match places.insert(id.to_string(), place.clone()) {
        Some(other) if other != place => {
            let text = format!("two pictures would be called {id:?}");
            Err(Error::new(Code::BadFormat, text)
                .at(place)
                .note(format!("the other one is {other}"))
                .help("rename one of them"))
        }
        _ => Ok(()),
    }
}

/// A split as it was opened.
pub struct Opened {
    /// As the configuration calls it.
    pub name: String,
    /// Not the training split.
    pub held_out: bool,
    /// Its samples.
    pub set: Arc<dyn Dataset>,
}

/// The splits of a data set, one where training and held-out split are the same. A note tells of a held-out split that is not there.
///
/// # Errors
/// As [`DatasetConfig::open`], of the training split whatever it is.
pub fn opened(config: &DatasetConfig, notes: &mut Vec<String>) -> Result<Vec<Opened>> {
    let one = |name: &String, held_out: bool, set: Box<dyn Dataset>| Opened {
        name: name.clone(),
        held_out,
        set: set.into(),
    };
    let mut sets = vec![one(&config.train, false, config.open_train()?)];
    if config.train != config.val {
        match config.open_val() {
            Ok(set) => sets.push(one(&config.val, true, set)),
            // A set may have one of them only.
            Err(e) if matches!(e.code(), Code::NotFound | Code::EmptyData) => {
                notes.push(left_out(&config.val, &e));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(sets)
}

/// The note of a split that is not there.
pub fn left_out(split: &str, e: &Error) -> String {
    let place = e.place().filter(|p| !e.message().contains(p));
    let place = place.map_or(String::new(), |p| format!(" ({p})"));
    format!("without the split {split:?}: {}{place}", e.message())
}

/// The name of a split, of which the configuration may give the path of a list.
pub fn stem(split: &str) -> String {
    let path = Path::new(split);
    let list = path.extension().is_some_and(|e| e == "txt" || e == "json");
    let name = match list {
        true => path.file_stem(),
        false => path.file_name(),
    };
    name.unwrap_or_default().to_string_lossy().into_owned()
}

/// A file name made of the id of a sample, which may be a path: `images/two words.jpg` becomes `images_two_words`.
pub fn file_name(id: &str) -> String {
    let stem = match id.rsplit_once('.') {
        Some((stem, _)) if is_picture(id) => stem,
        _ => id,
    };
    let plain = |c: char| match c {
        '/' | '\\' | '\0' => '_',
        c if c.is_whitespace() => '_',
        c => c,
    };
    let name: String = stem.chars().map(plain).collect();
    match id_defect(&name) {
        None => name,
        Some(_) => format!("_{name}"),
    }
}
