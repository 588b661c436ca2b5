//! Text of data sets (lists, labels): read with a size limit, checked for UTF-8, lines numbered from 1.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};

/// Largest list or label file.
pub const MAX_TEXT: u64 = 100 << 20;
/// Most lines, hence pictures of a list (ImageNet has 1.28 million) and boxes of a label file.
pub const MAX_LINES: usize = 2_000_000;

/// All bytes of a regular file of at most `limit` bytes.
///
/// # Errors
/// `NotFound`, `Io`, `TooLarge`, naming the file.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io = |e| Error::io(path, e);
    let file = std::fs::File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(Error::new(Code::Io, "not a regular file")
            .at(path.display())
            .help("put a file there"));
    }
    let too_large = || {
        Error::new(
            Code::TooLarge,
            format!("larger than the limit of {limit} bytes"),
        )
        .at(path.display())
        .help("split the file, or see that it is the right one")
    };
    if meta.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// The text of a file; a byte-order mark is dropped.
///
/// # Errors
/// As [`read_limited`]; `BadLine` naming the line for bytes that are not UTF-8, `TooLarge` above [`MAX_LINES`].
pub fn read_text(path: &Path) -> Result<String> {
    let bytes = read_limited(path, MAX_TEXT)?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..good].iter().filter(|&&b| b == b'\n').count() + 1;
        Error::new(Code::BadLine, "not UTF-8 text")
            .at(at_line(path, line))
            .help("is this a text file?")
    })?;
    if text.lines().count() > MAX_LINES {
        return Err(
            Error::new(Code::TooLarge, format!("more than {MAX_LINES} lines")).at(path.display()),
        );
    }
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_string(),
        None => text,
    })
}

/// `path:line`.
pub fn at_line(path: &Path, line: usize) -> String {
    format!("{}:{line}", path.display())
}

/// One id of a list file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// Line, from 1.
    pub line: usize,
    /// The id.
    pub id: String,
}

/// What is wrong with an id of a list, if anything. Ids are file names without extension: no path may leave the data set.
pub fn id_defect(id: &str) -> Option<&'static str> {
    if id.contains(['/', '\\', '\0']) || id.starts_with('.') {
        Some("an id must be a plain file name without folders")
    } else if id.split_whitespace().count() != 1 {
        Some("expected one id in a line")
    } else {
        None
    }
}

/// What is wrong with the path of a file in a data set, if anything: no path may leave the data set.
pub fn path_defect(path: &str) -> Option<&'static str> {
    let parts = || path.split('/');
    if path.is_empty() || path.contains(['\\', '\0']) || parts().any(|p| p.is_empty()) {
        Some("expected the path of a file, with / between folders")
    } else if parts().any(|p| p == "..") {
        Some("a path must not leave the data set")
    } else {
        None
    }
}

/// The ids of a list file, one a line; empty lines are skipped.
///
/// # Errors
/// As [`read_text`]; `BadLine` for an id that is not a plain name or comes twice; `EmptyData` for an empty list.
pub fn read_list(path: &Path) -> Result<Vec<ListEntry>> {
    let text = read_text(path)?;
    let mut seen = std::collections::BTreeMap::new();
    let mut list = vec![];
    for (i, line) in text.lines().enumerate() {
        let (line, id) = (i + 1, line.trim());
        if id.is_empty() {
            continue;
        }
        if let Some(defect) = id_defect(id) {
            return Err(Error::new(Code::BadLine, format!("{defect}: {id:?}"))
                .at(at_line(path, line))
                .help("write one file name a line, without folder and extension"));
        }
        if let Some(first) = seen.insert(id.to_string(), line) {
            return Err(Error::new(
                Code::BadLine,
                format!("the id {id:?} is already in line {first}"),
            )
            .at(at_line(path, line))
            .help("keep one of the two lines"));
        }
        list.push(ListEntry {
            line,
            id: id.to_string(),
        });
    }
    if list.is_empty() {
        return Err(Error::new(Code::EmptyData, "the list has no ids")
            .at(path.display())
            .help("write one id a line"));
    }
    Ok(list)
}

/// Names of the entries of a folder, sorted; entries that start with a dot are left out.
///
/// # Errors
/// `NotFound`, `Io`; `BadFormat` for a name that is not UTF-8.
pub fn sorted_names(dir: &Path) -> Result<Vec<String>> {
    let io = |e| Error::io(dir, e);
    let mut names = vec![];
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.into_string().map_err(|n| {
            Error::new(
                Code::BadFormat,
                format!("a file name is not UTF-8: {}", n.to_string_lossy()),
            )
            .at(dir.display())
        })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The first of `candidates` that exists.
pub fn first_existing(candidates: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    candidates.into_iter().find(|p| p.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_of(bytes: &[u8]) -> Result<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("train.txt");
        std::fs::write(&path, bytes).unwrap();
        read_list(&path).map(|l| l.into_iter().map(|e| e.id).collect())
    }

    #[test]
    fn lists() {
        assert_eq!(list_of(b"\xef\xbb\xbfa\r\n\n b \n").unwrap(), ["a", "b"]);
        for (text, code, place) in [
            (&b"a\nb\na\n"[..], Code::BadLine, "train.txt:3"),
            (b"a\n../b\n", Code::BadLine, "train.txt:2"),
            (b"a b\n", Code::BadLine, "train.txt:1"),
            (b"a\n\xff\n", Code::BadLine, "train.txt:2"),
            (b"\n\n", Code::EmptyData, "train.txt"),
        ] {
            let e = list_of(text).unwrap_err();
            assert_eq!(e.code(), code, "{e}");
            assert!(e.place().unwrap().ends_with(place), "{e}");
        }
    }

    #[test]
    fn a_folder_is_not_a_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_limited(dir.path(), 10).is_err());
        std::fs::write(dir.path().join("x"), [0; 11]).unwrap();
        assert_eq!(
            read_limited(&dir.path().join("x"), 10).unwrap_err().code(),
            Code::TooLarge
        );
    }
}
