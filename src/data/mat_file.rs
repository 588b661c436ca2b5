//! Just enough of MATLAB's level 5 files (`.mat`) to read a field of a structure that is a matrix of bytes: the label maps of
//! SBD (`GTcls.Segmentation`). After "MAT-File Format" of The MathWorks.

use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::image_file::{MAX_PIXELS, check_size};
use super::text_file::read_limited;
use crate::annotation::LabelMap;
use crate::error::{Code, Error, Result};

/// Largest file, and most bytes that one of its variables may decompress to.
const MAX_MAT: u64 = 256 << 20;
const HEADER: usize = 128;

// Types of data elements and classes of matrices that matter here.
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const STRUCT: u8 = 2;
const UINT8_CLASS: u8 = 9;

/// What is wrong, for the caller to name the file.
type Found<T> = std::result::Result<T, String>;

/// Reads field `field` of the structure `variable`, a two-dimensional matrix of bytes, as a map of rows.
///
/// # Errors
/// `NotFound`, `Io`, `TooLarge`; `BadFormat` for what is not such a file. All name the file.
pub fn read_bytes(path: &Path, variable: &str, field: &str) -> Result<LabelMap> {
    let bytes = read_limited(path, MAX_MAT)?;
    let bad = |text: String| {
        Error::new(
            Code::BadFormat,
            format!("not the expected .mat file: {text}"),
        )
        .at(path.display())
        .help("fetch the file again; it must be a level 5 file (MATLAB's -v6 or -v7)")
    };
    let (height, width, column_major) = find(&bytes, variable, field).map_err(bad)?;
    check_size(path, width as u64, height as u64)?;
    let mut data = vec![0; height * width];
    for (x, column) in column_major.chunks_exact(height).enumerate() {
        for (y, v) in column.iter().enumerate() {
            data[y * width + x] = *v;
        }
    }
    Ok(LabelMap {
        height,
        width,
        data,
    })
}

/// Height, width and bytes, columns first.
fn find(bytes: &[u8], variable: &str, field: &str) -> Found<(usize, usize, Vec<u8>)> {
    let head = bytes.get(..HEADER).ok_or("the header is cut off")?;
    if bytes[HEADER - 2..HEADER] == *b"MI" {
        return Err("it is of a big-endian machine".into());
    }
    if head[HEADER - 2..] != *b"IM" || head[HEADER - 3] != 1 {
        return Err("no level 5 header".into());
    }
    let mut rest = &bytes[HEADER..];
    while !rest.is_empty() {
        let (kind, body, next) = element(rest)?;
        rest = next;
        let unpacked;
        let (kind, body) = match kind {
            COMPRESSED => {
                unpacked = inflate(body)?;
                let (kind, body, _) = element(&unpacked)?;
                (kind, body)
            }
            kind => (kind, body),
        };
        if kind != MATRIX {
            continue;
        }
        let m = Matrix::read(body)?;
        if m.name == variable.as_bytes() {
            return m.field(field);
        }
    }
    Err(format!("it has no variable {variable:?}"))
}

fn inflate(body: &[u8]) -> Found<Vec<u8>> {
    let mut out = vec![];
    let mut decoder = ZlibDecoder::new(body).take(MAX_MAT + 1);
    decoder
        .read_to_end(&mut out)
        .map_err(|e| format!("compressed data are damaged: {e}"))?;
    match out.len() as u64 > MAX_MAT {
        true => Err(format!("a variable has more than {MAX_MAT} bytes")),
        false => Ok(out),
    }
}

fn word(bytes: &[u8], at: usize) -> Found<u32> {
    let four = bytes.get(at..at + 4).ok_or("it is cut off")?;
    Ok(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

/// The first data element: its type, its bytes, and what follows. Elements of up to 4 bytes have a short form, all others begin at
/// multiples of 8 bytes, except that nothing pads a compressed one.
fn element(bytes: &[u8]) -> Found<(u32, &[u8], &[u8])> {
    let first = word(bytes, 0)?;
    if first >> 16 != 0 {
        let (n, kind) = ((first >> 16) as usize, first & 0xffff);
        let body = bytes.get(4..4 + n).filter(|_| n <= 4);
        let body = body.ok_or("a short element is too long")?;
        return Ok((kind, body, bytes.get(8..).unwrap_or_default()));
    }
    let n = word(bytes, 4)? as usize;
    let body = bytes[8..].get(..n).ok_or("an element is cut off")?;
    let whole = if first == COMPRESSED {
        n
    } else {
        n.next_multiple_of(8)
    };
    Ok((first, body, bytes[8..].get(whole..).unwrap_or_default()))
}

/// A matrix: class, sizes, name, and what follows them.
struct Matrix<'a> {
    class: u8,
    sizes: Vec<usize>,
    name: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Matrix<'a> {
    fn read(body: &'a [u8]) -> Found<Matrix<'a>> {
        let (kind, flags, rest) = element(body)?;
        if kind != UINT32 || flags.len() != 8 {
            return Err("a matrix without flags".into());
        }
        let (kind, sizes, rest) = element(rest)?;
        if kind != INT32 || !(8..=64).contains(&sizes.len()) {
            return Err("a matrix without sizes".into());
        }
        let (kind, name, rest) = element(rest)?;
        if kind != INT8 {
            return Err("a matrix without name".into());
        }
        let size = |i: usize| word(sizes, 4 * i).map(|v| v as usize);
        Ok(Matrix {
            class: flags[0],
            sizes: (0..sizes.len() / 4).map(size).collect::<Found<_>>()?,
            name,
            rest,
        })
    }

    /// A field of a structure of one element.
    fn field(&self, name: &str) -> Found<(usize, usize, Vec<u8>)> {
        if self.class != STRUCT || self.sizes.iter().any(|s| *s != 1) {
            return Err("the variable is not one structure".into());
        }
        let (kind, length, rest) = element(self.rest)?;
        let length = word(length, 0)? as usize;
        if kind != INT32 || !(1..=64).contains(&length) {
            return Err("a structure without field names".into());
        }
        let (_, names, mut rest) = element(rest)?;
        for own in names.chunks_exact(length) {
            let (kind, body, next) = element(rest)?;
            rest = next;
            let end = own.iter().position(|b| *b == 0).unwrap_or(length);
            if own[..end] == *name.as_bytes() {
                if kind != MATRIX {
                    return Err(format!("the field {name:?} is not a matrix"));
                }
                return Matrix::read(body)?.bytes(name);
            }
        }
        Err(format!("the structure has no field {name:?}"))
    }

    fn bytes(&self, name: &str) -> Found<(usize, usize, Vec<u8>)> {
        let [height, width] = self.sizes[..] else {
            return Err(format!("{name:?} has {} dimensions", self.sizes.len()));
        };
        let (kind, data, _) = element(self.rest)?;
        if self.class != UINT8_CLASS || kind != UINT8 {
            return Err(format!("{name:?} is not of type uint8"));
        }
        let pixels = height as u64 * width as u64;
        if pixels > MAX_PIXELS || pixels != data.len() as u64 {
            let n = data.len();
            return Err(format!(
                "{name:?} has {n} bytes for {width} x {height} pixels"
            ));
        }
        Ok((height, width, data.to_vec()))
    }
}
