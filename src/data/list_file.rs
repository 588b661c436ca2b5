//! Plain lists of pictures, `ROOT/SPLIT.txt` with a line `image[ label]` each, and the class names beside them.

use std::path::{Path, PathBuf};

use super::text_file::{at_line, path_defect, read_text};
use crate::error::{Code, Error, Result};

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Line, from 1.
    pub line: usize,
    /// Path of the picture below the root.
    pub image: String,
    /// What follows it.
    pub label: Option<String>,
}

/// A list with the folder that its paths start at.
#[derive(Debug, Clone)]
pub struct List {
    /// `list/SPLIT`.
    pub(super) name: String,
    root: PathBuf,
    path: PathBuf,
    /// Its lines with a picture.
    pub(super) entries: Vec<Entry>,
}

impl List {
    /// Reads the list of a split: `ROOT/SPLIT.txt`, or a path.
    ///
    /// # Errors
    /// `NotFound`; `BadLine` for a picture that comes twice or a path that leaves the folder; `EmptyData`.
    pub fn open(root: &Path, split: &str) -> Result<List> {
        let places = [
            root.join(format!("{split}.txt")),
            root.join(split),
            split.into(),
        ];
        let Some(path) = places.iter().find(|p| p.is_file()).cloned() else {
            let text = format!("no list of the split {split:?}");
            return Err(Error::new(Code::NotFound, text)
                .at(places[0].display())
                .help("write a line `image label` for each picture there"));
        };
        let text = read_text(&path)?;
        let mut seen = std::collections::BTreeMap::new();
        let mut entries = vec![];
        for (line, number) in text.lines().zip(1..).filter(|(l, _)| !l.trim().is_empty()) {
            let at = at_line(&path, number);
            let (image, label) = match line.split_once('\t') {
                Some((image, label)) => (image.trim(), Some(label.trim())),
                None => match line.trim().split_once(char::is_whitespace) {
                    Some((image, label)) => (image, Some(label.trim())),
                    None => (line.trim(), None),
                },
            };
            if let Some(defect) = path_defect(image) {
                let text = format!("{defect}: {image:?}");
                return Err(Error::new(Code::BadLine, text)
                    .at(at)
                    .help("give the picture's path below the data set's folder"));
            }
            if let Some(first) = seen.insert(image.to_string(), number) {
                let text = format!("the picture {image:?} is already in line {first}");
                return Err(Error::new(Code::BadLine, text)
                    .at(at)
                    .help("keep one of the two lines"));
            }
            entries.push(Entry {
                line: number,
                image: image.into(),
                label: label.filter(|l| !l.is_empty()).map(String::from),
            });
        }
        if entries.is_empty() {
            return Err(Error::new(Code::EmptyData, "the list has no pictures")
                .at(path.display())
                .help("write a line `image label` for each picture"));
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(List {
            name: format!("list/{stem}"),
            root: root.into(),
            entries,
            path,
        })
    }

    /// The error of a line.
    pub(super) fn bad<T>(&self, entry: &Entry, text: String, help: impl Into<String>) -> Result<T> {
        Err(Error::new(Code::BadLine, text)
            .at(at_line(&self.path, entry.line))
            .help(help))
    }

    /// Refuses lines without a label that is a path below the root.
    pub(super) fn with_paths(self, needed: bool) -> Result<List> {
        for e in &self.entries {
            match &e.label {
                None if needed => {
                    let text = format!("the picture {:?} has no label", e.image);
                    return self.bad(e, text, "write the path of its label map behind it");
                }
                Some(label) if path_defect(label).is_some() => {
                    let text = format!("{}: {label:?}", path_defect(label).unwrap_or_default());
                    return self.bad(e, text, "give the label's path below the data set's folder");
                }
                _ => {}
            }
        }
        Ok(self)
    }

    /// The file of a picture.
    pub(super) fn image_path(&self, index: usize) -> PathBuf {
        self.root.join(&self.entries[index].image)
    }

    /// The file of its label; the list itself where it has none.
    pub(super) fn label_path(&self, index: usize) -> PathBuf {
        match &self.entries[index].label {
            Some(label) => self.root.join(label),
            None => self.path.clone(),
        }
    }

    /// The line that names it.
    pub(super) fn named_at(&self, index: usize) -> String {
        at_line(&self.path, self.entries[index].line)
    }

    /// An error about a file of a picture, with the line that names the file.
    pub(super) fn noted(&self, index: usize, e: Error) -> Error {
        let at = self.named_at(index);
        match e.place() {
            Some(place) if place == at => e,
            _ => e.note(format!("listed in {at}")),
        }
    }
}

/// The class names of a folder: `classes.txt`, one a line.
///
/// # Errors
/// `NotFound` for a missing file; `EmptyData`; `BadLine` for a name that comes twice.
pub fn class_names(root: &Path) -> Result<Vec<String>> {
    let path = root.join("classes.txt");
    let text = read_text(&path).map_err(|e| match e.code() {
        Code::NotFound => e.help("write one class name a line there, or name them in `classes`"),
        _ => e,
    })?;
    let mut names: Vec<String> = vec![];
    for (line, number) in text.lines().zip(1..).filter(|(l, _)| !l.trim().is_empty()) {
        if names.iter().any(|n| n == line.trim()) {
            let text = format!("the class {:?} is listed twice", line.trim());
            return Err(Error::new(Code::BadLine, text)
                .at(at_line(&path, number))
                .help("list it once"));
        }
        names.push(line.trim().into());
    }
    match names.is_empty() {
        true => Err(Error::new(Code::EmptyData, "no class names")
            .at(path.display())
            .help("write one class name a line")),
        false => Ok(names),
    }
}
