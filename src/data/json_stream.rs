//! A JSON file that is read as a stream: it is never in memory as a whole, and whoever reads it can ask for the current line.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeSeed;

use super::text_file::at_line;
use crate::error::{Code, Error, Result};

/// Largest JSON file.
pub const MAX_JSON: u64 = 64 << 30;
/// Most bytes between two quotation marks, hence of a text: what a parser may have to keep of a damaged file.
pub const MAX_RUN: u64 = 16 << 20;
/// Bytes read at once.
const BUFFER: usize = 64 << 10;

/// An open JSON file, with the place of the reader in it.
pub struct JsonFile {
    path: PathBuf,
    file: RefCell<File>,
    // Cells, because the parser holds the reader while its visitors ask for the line.
    buffer: Box<[Cell<u8>]>,
    at: Cell<usize>,
    end: Cell<usize>,
    /// The current line.
    lines: Cell<usize>,
    /// Bytes since the last quotation mark, up to the end of the buffer.
    run: Cell<u64>,
    last: Cell<u8>,
    too_long: Cell<bool>,
}

impl JsonFile {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, `Io`; `TooLarge` above [`MAX_JSON`].
    pub fn open(path: &Path) -> Result<JsonFile> {
        let io = |e| Error::io(path, e);
        let file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(Error::new(Code::Io, "not a regular file")
                .at(path.display())
                .help("put a file there"));
        }
        if meta.len() > MAX_JSON {
            let text = format!("larger than the limit of {MAX_JSON} bytes");
            return Err(Error::new(Code::TooLarge, text)
                .at(path.display())
                .help("split the file, or see that it is the right one"));
        }
        Ok(JsonFile {
            path: path.into(),
            file: RefCell::new(file),
            buffer: vec![Cell::new(0); BUFFER].into(),
            at: Cell::new(0),
            end: Cell::new(0),
            lines: Cell::new(1),
            run: Cell::new(0),
            last: Cell::new(0),
            too_long: Cell::new(false),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The line that the parser has reached, from 1.
    pub fn line(&self) -> usize {
        self.lines.get()
    }

    /// Parses the whole file.
    ///
    /// # Errors
    /// `BadFormat` with line and column for what is not the expected JSON; `Io`; `TooLarge` for a text above [`MAX_RUN`].
    pub fn parse<'de, S: DeserializeSeed<'de>>(&self, seed: S) -> Result<S::Value> {
        let mut json = serde_json::Deserializer::from_reader(self);
        let value = seed.deserialize(&mut json);
        value
            .and_then(|v| json.end().map(|()| v))
            .map_err(|e| self.failed(e))
    }

    fn failed(&self, e: serde_json::Error) -> Error {
        if self.too_long.get() {
            let text = format!("more than {MAX_RUN} bytes without a quotation mark");
            return Error::new(Code::TooLarge, text)
                .at(at_line(&self.path, self.line()))
                .help("is this the right file?");
        }
        let text = e.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        let text: String = text.chars().take(200).collect();
        if let Some(kind) = e.io_error_kind() {
            return Error::io(&self.path, io::Error::new(kind, text));
        }
        let (line, column) = (e.line(), e.column());
        Error::new(Code::BadFormat, format!("not the expected JSON: {text}"))
            .at(format!("{}:{line}:{column}", self.path.display()))
            .help("fetch the file again, or correct it there")
    }

    /// The next part of the file; its number of bytes.
    #[cold]
    #[inline(never)]
    fn fill(&self) -> io::Result<usize> {
        let mut part = [0u8; BUFFER];
        let n = self.file.borrow_mut().read(&mut part)?;
        let (mut run, mut last) = (self.run.get(), self.last.get());
        for (slot, &byte) in self.buffer.iter().zip(&part[..n]) {
            slot.set(byte);
            // A mark behind a backslash does not end a text.
            run = if byte == b'"' && last != b'\\' {
                0
            } else {
                run + 1
            };
            last = byte;
        }
        self.run.set(run);
        self.last.set(last);
        self.at.set(0);
        self.end.set(n);
        if run > MAX_RUN {
            self.too_long.set(true);
            return Err(io::Error::other("too long"));
        }
        Ok(n)
    }
}

impl Read for &JsonFile {
    // The parser asks for a byte at a time, of files of gigabytes.
    #[inline]
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() || (self.at.get() == self.end.get() && self.fill()? == 0) {
            return Ok(0);
        }
        let at = self.at.get();
        let n = out.len().min(self.end.get() - at);
        for (slot, byte) in out[..n].iter_mut().zip(&self.buffer[at..at + n]) {
            *slot = byte.get();
            self.lines
                .set(self.lines.get() + usize::from(*slot == b'\n'));
        }
        self.at.set(at + n);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::marker::PhantomData;

    fn parse(bytes: &[u8]) -> Result<Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, bytes).unwrap();
        JsonFile::open(&path)?.parse(PhantomData::<Vec<String>>)
    }

    #[test]
    fn defects_have_lines() {
        assert_eq!(parse(b"[\"a\",\n\"b\"]\n").unwrap(), ["a", "b"]);
        for (text, place) in [
            (&b"[\"a\",\n\"b\"\n"[..], "a.json:3:0"),
            (b"[\"a\",\n 3]", "a.json:2:3"),
            (b"[]\n[]", "a.json:2:1"),
            (b"", "a.json:1:0"),
        ] {
            let e = parse(text).unwrap_err();
            assert_eq!(e.code(), Code::BadFormat, "{e}");
            assert!(e.place().unwrap().ends_with(place), "{e}");
        }
    }

    #[test]
    fn a_text_without_end_is_not_kept() {
        let mut text = b"[\"".to_vec();
        text.extend(br#"\""#.repeat(MAX_RUN as usize / 2 + BUFFER));
        let e = parse(&text).unwrap_err();
        assert_eq!(e.code(), Code::TooLarge, "{e}");
    }

    #[test]
    fn the_line_is_known_while_reading() {
        struct Lines<'a>(&'a JsonFile);
        impl<'de> DeserializeSeed<'de> for Lines<'_> {
            type Value = Vec<(u64, usize)>;
            fn deserialize<D: serde::Deserializer<'de>>(
                self,
                d: D,
            ) -> std::result::Result<Self::Value, D::Error> {
                d.deserialize_seq(self)
            }
        }
        impl<'de> serde::de::Visitor<'de> for Lines<'_> {
            type Value = Vec<(u64, usize)>;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct One {
                    a: u64,
                }
                let mut all = vec![];
                while let Some(one) = seq.next_element::<One>()? {
                    all.push((one.a, self.0.line()));
                }
                Ok(all)
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let lines: Vec<String> = (1..=9000).map(|i| format!("{{\"a\": {i}}}")).collect();
        std::fs::write(&path, format!("[{}]", lines.join(",\n"))).unwrap();
        let file = JsonFile::open(&path).unwrap();
        let got = file.parse(Lines(&file)).unwrap();
        assert!(got.len() == 9000 && got.iter().all(|(a, line)| *a == *line as u64));
    }
}
