//! Reads a packed cache.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::coding::decode;
use super::layout::{HEAD, HEADER, Head, Header, u64_at};
use crate::annotation::{Annotation, Image};
use crate::backend::mapped::Mapped;
use crate::error::{Code, Error, Result};

/// A packed cache, mapped. Opening looks at the header and the places; a record is checked when it is first asked for.
pub struct PackFile {
    path: PathBuf,
    map: Mapped,
    header: Header,
    /// Number of classes of the set; ids of an annotation are below it.
    classes: usize,
    checked: Vec<AtomicBool>,
}

impl PackFile {
    /// Opens the file.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `BadFormat` for a damaged file, which says how to mend it.
    pub fn open(path: &Path) -> Result<PackFile> {
        let io = |e| Error::io(path, e);
        let bad = |why: &str| damaged(path, why);
        let file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() || meta.len() < HEADER as u64 {
            return Err(bad("it is shorter than its header"));
        }
        let map = Mapped::of(&file).map_err(io)?;
        let header = Header::of(&map).map_err(bad)?;
        let length = map.len() as u64;
        let end = header.count.checked_mul(8);
        let end = end.and_then(|n| n.checked_add(header.places));
        if header.length != length || end != Some(length) || header.places < HEADER as u64 {
            return Err(bad("its length is not the one in its header"));
        }
        if crc32c::crc32c(&map[header.places as usize..]) != header.crc {
            return Err(bad("the checksum of the places of its records is wrong"));
        }
        let checked = (0..header.count).map(|_| AtomicBool::new(false)).collect();
        Ok(PackFile {
            path: path.into(),
            map,
            header,
            classes: usize::MAX,
            checked,
        })
    }

    /// The file of a set with so many classes: ids are checked.
    pub fn with_classes(self, classes: usize) -> PackFile {
        PackFile { classes, ..self }
    }

    /// Was it made from this, of so many samples?
    pub fn fits(&self, stamp: &[u8; 32], count: usize) -> bool {
        self.header.stamp == *stamp && self.header.count == count as u64
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.checked.len()
    }

    /// Is there no sample?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Height and width of the picture file of a sample; `None` for one that cannot be read.
    pub fn own_size(&self, index: usize) -> Option<(usize, usize)> {
        let (head, _) = self.record(index).ok()?;
        (head.size != (0, 0)).then_some((head.own.0 as usize, head.own.1 as usize))
    }

    /// Picture and annotation of a sample; `None` for one that could not be read when the file was made.
    ///
    /// # Errors
    /// `BadFormat` for a damaged record.
    pub fn sample(&self, index: usize) -> Result<Option<(Image, Annotation)>> {
        let (head, payload) = self.record(index)?;
        if head.size == (0, 0) {
            return Ok(None);
        }
        let (height, width) = (head.size.0 as usize, head.size.1 as usize);
        let (pixels, annotation) = payload.split_at(3 * height * width);
        let annotation = decode(annotation, (height, width), self.classes);
        let annotation = annotation.ok_or_else(|| self.bad(index, "its annotation is none"))?;
        let image = Image {
            height,
            width,
            data: pixels.to_vec(),
        };
        Ok(Some((image, annotation)))
    }

    fn bad(&self, index: usize, why: &str) -> Error {
        damaged(&self.path, &format!("record {index}: {why}"))
    }

    /// Head of a record and what follows it.
    fn record(&self, index: usize) -> Result<(Head, &[u8])> {
        let bad = |why| self.bad(index, why);
        let places = self.header.places as usize;
        let records = &self.map[..places];
        if index >= self.len() {
            return Err(bad("there is none"));
        }
        let from = usize::try_from(u64_at(&self.map, places + 8 * index)).ok();
        let record = from.and_then(|at| records.get(at..));
        let record = record.ok_or_else(|| bad("it lies outside the file"))?;
        let head = Head::of(record).ok_or_else(|| bad("it has no head"))?;
        let payload = head.payload().and_then(|n| usize::try_from(n).ok());
        let payload = payload.and_then(|n| record.get(HEAD..n.checked_add(HEAD)?));
        let payload = payload.ok_or_else(|| bad("it is cut off"))?;
        if !self.checked[index].load(Ordering::Relaxed) {
            if crc32c::crc32c(&record[8..HEAD + payload.len()]) != head.crc {
                return Err(bad("its checksum is wrong"));
            }
            let whole = (head.size.0 == 0) == (head.size.1 == 0);
            if head.index != index as u64 || !whole {
                return Err(bad("it is another one"));
            }
            self.checked[index].store(true, Ordering::Relaxed);
        }
        Ok((head, payload))
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    let text = format!("the packed cache is damaged: {why}");
    Error::new(Code::BadFormat, text)
        .at(path.display())
        .help("delete this file; it is made anew at the next start")
}
