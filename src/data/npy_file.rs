//! NumPy arrays (`.npy`, versions 1 to 3): one array of plain numbers as f32, in C order. NumPy Enhancement Proposal 1 and
//! `numpy.lib.format` describe the file: magic, version, length of a header, the header (a Python dictionary in one line), the numbers.
//!
//! Read by ourselves: the header is three keys, and all lengths shall be known before anything is allocated. Objects, which NumPy
//! would unpickle, and records are refused.

use std::path::Path;

use super::image_file::MAX_BYTES;
use super::text_file::read_limited;
use crate::error::{Code, Error, Result};

/// Most elements of an array: a picture of the largest size has three a pixel, other maps one.
pub const MAX_ELEMENTS: u64 = 96 << 20;
/// Longest header; NumPy's own writer stays below 200 bytes for plain numbers.
const MAX_HEADER: usize = 64 << 10;
/// Most dimensions, as in NumPy.
const MAX_DIMENSIONS: usize = 32;

/// An array of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Its dimensions; empty for a single number.
    pub shape: Vec<usize>,
    /// The product of `shape` numbers, the last dimension fastest.
    pub data: Vec<f32>,
}

/// The numbers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    /// `b`, `i`, `u` or `f`.
    kind: u8,
    /// Bytes of a number.
    size: usize,
    big_endian: bool,
}

/// Reads an array. Numbers that f32 does not hold are rounded.
///
/// # Errors
/// `NotFound`, `Io`; `BadFormat` for a file that is not one array of plain numbers, or whose size is not that of its header;
/// `TooLarge` above [`MAX_ELEMENTS`]. The error names the file.
pub fn read_npy(path: &Path) -> Result<Array> {
    let bytes = read_limited(path, MAX_BYTES)?;
    parse(&bytes).map_err(|e| e.at(path.display()))
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Code::BadFormat, message).help("write it anew with `numpy.save`")
}

fn parse(bytes: &[u8]) -> Result<Array> {
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
        let found = match bytes {
            b if b.starts_with(b"PK\x03\x04") => "an .npz archive",
            b if b.starts_with(b"version https://git-lfs") => "a Git LFS pointer",
            [] => "an empty file",
            _ => "something else",
        };
        return Err(bad(format!("expected a NumPy array (.npy), found {found}")));
    };
    let cut = || bad("the file is cut off inside its header");
    let (&version, rest) = rest.split_first().ok_or_else(cut)?;
    let (_minor, rest) = rest.split_first().ok_or_else(cut)?;
    let (length, rest) = match version {
        1 => {
            let (n, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
            (u16::from_le_bytes(*n) as usize, rest)
        }
        2 | 3 => {
            let (n, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            (u32::from_le_bytes(*n) as usize, rest)
        }
        other => {
            return Err(bad(format!(
                "version {other} of the .npy format is not known"
            )));
        }
    };
    if length > MAX_HEADER {
        let text = format!("a header of {length} bytes, more than the limit of {MAX_HEADER}");
        return Err(Error::new(Code::TooLarge, text).help("is this a plain array of numbers?"));
    }
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| bad("the header is not text"))?;
    let (layout, fortran, shape) = Header { rest: header }.read()?;
    let count = shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d as u64))
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| {
            let text =
                format!("an array of {shape:?} is above the limit of {MAX_ELEMENTS} numbers");
            Error::new(Code::TooLarge, text).help("save each picture as an array of its own")
        })? as usize;
    if data.len() != count * layout.size {
        return Err(bad(format!(
            "{} bytes of numbers, an array of {shape:?} has {}; the file is cut off or has something behind it",
            data.len(),
            count * layout.size
        )));
    }
    let data = numbers(data, layout);
    let data = if fortran {
        c_order(&shape, &data)
    } else {
        data
    };
    Ok(Array { shape, data })
}

/// The numbers in the order of the file.
fn numbers(bytes: &[u8], layout: Layout) -> Vec<f32> {
    // Eight bytes, least significant first, whatever the width.
    let word = |b: &[u8]| {
        let mut w = [0u8; 8];
        w[..b.len()].copy_from_slice(b);
        if layout.big_endian {
            w[..b.len()].reverse();
        }
        u64::from_le_bytes(w)
    };
    let unused = 64 - 8 * layout.size as u32;
    let value = |w: u64| match (layout.kind, layout.size) {
        (b'f', 2) => half::f16::from_bits(w as u16).to_f32(),
        (b'f', 4) => f32::from_bits(w as u32),
        (b'f', _) => f64::from_bits(w) as f32,
        // The shift back fills with the sign.
        (b'i', _) => (((w << unused) as i64) >> unused) as f32,
        _ => w as f32,
    };
    bytes
        .chunks_exact(layout.size)
        .map(|b| value(word(b)))
        .collect()
}

/// Numbers whose first dimension is fastest, with the last one fastest.
fn c_order(shape: &[usize], data: &[f32]) -> Vec<f32> {
    if data.is_empty() {
        // One dimension is 0; the others may be too large to multiply.
        return vec![];
    }
    let mut strides = vec![1; shape.len()];
    for d in 1..shape.len() {
        strides[d] = strides[d - 1] * shape[d - 1];
    }
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    let mut out = Vec::with_capacity(data.len());
    for _ in 0..data.len() {
        out.push(data[at]);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            at += strides[d];
            if index[d] < shape[d] {
                break;
            }
            at -= strides[d] * shape[d];
            index[d] = 0;
        }
    }
    out
}

/// The dictionary of a header, for example `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`.
struct Header<'a> {
    rest: &'a str,
}

impl<'a> Header<'a> {
    fn read(mut self) -> Result<(Layout, bool, Vec<usize>)> {
        let (mut layout, mut fortran, mut shape) = (None, None, None);
        self.expect('{')?;
        while !self.take('}') {
            let key = self.text()?;
            self.expect(':')?;
            match key {
                "descr" => layout = Some(self.layout()?),
                "fortran_order" => fortran = Some(self.truth()?),
                "shape" => shape = Some(self.shape()?),
                other => return Err(bad(format!("the header has an unknown key {other:?}"))),
            }
            if !self.take(',') {
                self.expect('}')?;
                break;
            }
        }
        match (layout, fortran, shape, self.rest.trim().is_empty()) {
            (Some(l), Some(f), Some(s), true) => Ok((l, f, s)),
            _ => Err(bad(
                "the header needs `descr`, `fortran_order` and `shape`, and nothing else",
            )),
        }
    }

    /// Takes `c` and the spaces before it, if it is next.
    fn take(&mut self, c: char) -> bool {
        let found = self.rest.trim_start().strip_prefix(c);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn expect(&mut self, c: char) -> Result<()> {
        match self.take(c) {
            true => Ok(()),
            false => {
                let near: String = self.rest.trim_start().chars().take(20).collect();
                Err(bad(format!("expected {c:?} in the header, found {near:?}")))
            }
        }
    }

    fn text(&mut self) -> Result<&'a str> {
        let quote = if self.take('"') { '"' } else { '\'' };
        if quote == '\'' {
            self.expect('\'')?;
        }
        let (text, rest) = self
            .rest
            .split_once(quote)
            .ok_or_else(|| bad("a text in the header does not end"))?;
        self.rest = rest;
        Ok(text)
    }

    fn layout(&mut self) -> Result<Layout> {
        if self.rest.trim_start().starts_with('[') {
            return Err(bad("an array of records").help("save a plain array of numbers"));
        }
        let text = self.text()?;
        let wrong = || {
            bad(format!("numbers of type {text:?} are not read"))
                .help("save the array as f4, f8, u1, i4, i8, u2 or bool")
        };
        let (order, kind) = match text.as_bytes() {
            [order @ (b'<' | b'>' | b'|' | b'='), kind @ ..] => (*order, kind),
            kind => (b'<', kind),
        };
        let (kind, size) = match kind {
            [k @ (b'i' | b'u'), s @ (b'1' | b'2' | b'4' | b'8')] => (*k, s - b'0'),
            [b'f', s @ (b'2' | b'4' | b'8')] => (b'f', s - b'0'),
            b"b1" | b"?" => (b'b', 1),
            _ => return Err(wrong()),
        };
        // `|` says that there is no order, which only single bytes have.
        if order == b'|' && size != 1 {
            return Err(wrong());
        }
        Ok(Layout {
            kind,
            size: size as usize,
            big_endian: order == b'>',
        })
    }

    fn truth(&mut self) -> Result<bool> {
        let rest = self.rest.trim_start();
        for (word, value) in [("True", true), ("False", false)] {
            if let Some(after) = rest.strip_prefix(word) {
                self.rest = after;
                return Ok(value);
            }
        }
        Err(bad("`fortran_order` must be True or False"))
    }

    fn shape(&mut self) -> Result<Vec<usize>> {
        self.expect('(')?;
        let mut shape = vec![];
        while !self.take(')') {
            self.rest = self.rest.trim_start();
            let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = self.rest.split_at(digits);
            let size = number
                .parse()
                .map_err(|_| bad("`shape` must be a tuple of whole numbers"))?;
            // Python 2 wrote long numbers with an L.
            self.rest = rest.strip_prefix('L').unwrap_or(rest);
            shape.push(size);
            if shape.len() > MAX_DIMENSIONS {
                return Err(bad(format!("more than {MAX_DIMENSIONS} dimensions")));
            }
            if !self.take(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(shape)
    }
}

/// A file of f32 values in C order, version 1.0, as `numpy.save` writes it: the numbers begin at a multiple of 64 bytes.
///
/// # Panics
/// When there are not as many values as the shape says: a bug of the caller.
pub fn npy_bytes(shape: &[usize], data: &[f32]) -> Vec<u8> {
    assert_eq!(shape.iter().product::<usize>(), data.len());
    let sides: String = shape.iter().map(|d| format!("{d}, ")).collect();
    let sides = match shape.len() {
        1 => sides.trim_end(),
        _ => sides.trim_end_matches(", "),
    };
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sides}), }}");
    // Magic, version and length take 10 bytes, the end of the line one.
    let length = (text.len() + 11).next_multiple_of(64) - 10;
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(length as u16).to_le_bytes());
    out.extend_from_slice(format!("{text:<width$}\n", width = length - 1).as_bytes());
    out.extend(data.iter().flat_map(|v| v.to_le_bytes()));
    out
}

#[cfg(test)]
#[path = "npy_file_tests.rs"]
mod tests;
