//! TFRecord files (systems.md 8.6): records of a length, its checksum, a payload and its checksum.
//!
//! An index is made from the headers alone, payloads are passed over; a payload's checksum is looked at when it is read.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::{Code, Error, Result};

/// Largest payload. A frame of Waymo has about 5 MB.
pub const MAX_RECORD: u64 = 64 << 20;
/// Most records of a file. A segment of Waymo has about 200.
pub const MAX_RECORDS: usize = 1 << 20;
/// Bytes before a payload: its length and the checksum of that.
pub const HEADER: u64 = 12;
/// Bytes after a payload: its checksum.
const FOOTER: u64 = 4;

/// Where a record lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its number in the file, from 0.
    pub number: usize,
    /// Byte at which its header starts.
    pub offset: u64,
    /// Bytes of its payload.
    pub length: u64,
}

impl Record {
    /// `FILE, record 3 at byte 4711`, for messages.
    pub fn place(&self, path: &Path) -> String {
        let (number, offset) = (self.number, self.offset);
        format!("{}, record {number} at byte {offset}", path.display())
    }
}

/// CRC-32C as the format stores it: turned and shifted, so that the checksum of data with checksums in them is not special.
pub fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn damaged(place: String, message: impl Into<String>) -> Error {
    Error::new(Code::BadFormat, message)
        .at(place)
        .help("fetch the file again")
}

/// The header at the reader's position, its checksum checked, its length held against the limit and the `size` of the file.
fn header(r: &mut impl Read, path: &Path, number: usize, at: u64, size: u64) -> Result<Record> {
    let record = |length| Record {
        number,
        offset: at,
        length,
    };
    let place = || record(0).place(path);
    let cut = |missing: u64| {
        let text = format!("the file is cut off: {missing} bytes of the record are missing");
        damaged(place(), text)
    };
    let left = size - at;
    if left < HEADER {
        return Err(cut(HEADER - left));
    }
    let mut bytes = [0u8; HEADER as usize];
    r.read_exact(&mut bytes)
        .map_err(|e| Error::io(path, e).at(place()))?;
    let (length, crc) = bytes.split_at(8);
    let want = u32::from_le_bytes(crc.try_into().expect("4 bytes"));
    if masked(crc32c::crc32c(length)) != want {
        return Err(damaged(
            place(),
            "the checksum of the record's length is wrong",
        ));
    }
    let length = u64::from_le_bytes(length.try_into().expect("8 bytes"));
    if length > MAX_RECORD {
        let text = format!("a record of {length} bytes, more than the limit of {MAX_RECORD}");
        return Err(Error::new(Code::TooLarge, text)
            .at(place())
            .help("see that it is a file of camera frames"));
    }
    let whole = HEADER + length + FOOTER;
    if left < whole {
        return Err(cut(whole - left));
    }
    Ok(record(length))
}

/// All records of a file, by their headers.
///
/// # Errors
/// `NotFound`, `Io`; `BadFormat` for a wrong checksum of a length or a file that ends inside a record, `TooLarge` above
/// [`MAX_RECORD`] or [`MAX_RECORDS`]; with file, record and byte.
pub fn index(path: &Path) -> Result<Vec<Record>> {
    let io = |e| Error::io(path, e);
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(Error::new(Code::Io, "not a regular file")
            .at(path.display())
            .help("put a TFRecord file there"));
    }
    let size = meta.len();
    let mut r = BufReader::with_capacity(64, file);
    let (mut at, mut records) = (0, vec![]);
    while at < size {
        if records.len() == MAX_RECORDS {
            let text = format!("more than {MAX_RECORDS} records");
            return Err(Error::new(Code::TooLarge, text)
                .at(path.display())
                .help("see that it is a file of camera frames"));
        }
        let record = header(&mut r, path, records.len(), at, size)?;
        r.seek_relative((record.length + FOOTER) as i64)
            .map_err(io)?;
        at += HEADER + record.length + FOOTER;
        records.push(record);
    }
    Ok(records)
}

/// The payload of a record that [`index`] found, both checksums checked.
///
/// # Errors
/// As [`index`]; `BadFormat` for a payload whose checksum is wrong.
pub fn read(path: &Path, record: &Record) -> Result<Vec<u8>> {
    let io = |e| Error::io(path, e).at(record.place(path));
    let mut file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len().max(record.offset);
    file.seek(SeekFrom::Start(record.offset)).map_err(io)?;
    let now = header(&mut file, path, record.number, record.offset, size)?;
    let mut payload = vec![0; now.length as usize];
    let mut crc = [0u8; FOOTER as usize];
    file.read_exact(&mut payload).map_err(io)?;
    file.read_exact(&mut crc).map_err(io)?;
    if masked(crc32c::crc32c(&payload)) != u32::from_le_bytes(crc) {
        return Err(damaged(
            record.place(path),
            "the checksum of the record is wrong",
        ));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bit by bit, so that the writer of these tests is not the code under test.
    fn crc(bytes: &[u8]) -> u32 {
        let turn = |c: u32, _| (c >> 1) ^ (0x82f6_3b78 * (c & 1));
        let c = !bytes
            .iter()
            .fold(!0, |c, &b| (0..8).fold(c ^ b as u32, turn));
        c.rotate_right(15).wrapping_add(0xa282_ead8)
    }

    fn frame(payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u64).to_le_bytes();
        let parts = [&length, &crc(&length).to_le_bytes()[..], payload];
        [parts.concat(), crc(payload).to_le_bytes().to_vec()].concat()
    }

    fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tfrecord");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn records_come_back() {
        let bytes = [frame(b"123456789"), frame(b""), frame(&[7; 1000])].concat();
        let (_dir, path) = file(&bytes);
        let records = index(&path).unwrap();
        let lengths: Vec<u64> = records.iter().map(|r| r.length).collect();
        assert_eq!(lengths, [9, 0, 1000]);
        assert_eq!(records[2].offset, 25 + 16);
        assert_eq!(read(&path, &records[0]).unwrap(), b"123456789");
        assert_eq!(read(&path, &records[1]).unwrap(), b"");
        assert_eq!(read(&path, &records[2]).unwrap(), [7; 1000]);
    }

    #[test]
    fn each_cut_and_each_bit_is_noticed_with_record_and_byte() {
        let good = [frame(b"first"), frame(b"second one")].concat();
        let all = |bytes: &[u8]| {
            let (_dir, path) = file(bytes);
            let records = index(&path)?;
            for r in &records {
                read(&path, r)?;
            }
            Ok::<usize, Error>(records.len())
        };
        assert_eq!(all(&good).unwrap(), 2);
        for cut in (0..good.len()).filter(|c| ![0, 21].contains(c)) {
            let e = all(&good[..cut]).unwrap_err();
            let record = if cut < 21 {
                "record 0 at byte 0"
            } else {
                "record 1 at byte 21"
            };
            assert_eq!(e.code(), Code::BadFormat);
            assert!(e.place().unwrap().ends_with(record), "{cut}: {e}");
            assert!(e.message().contains("cut off"), "{cut}: {e}");
        }
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let e = all(&bad).unwrap_err();
            let record = if bit < 8 * 21 { "record 0" } else { "record 1" };
            assert!(e.place().unwrap().contains(record), "{bit}: {e}");
            assert!(e.message().contains("checksum"), "{bit}: {e}");
        }
    }

    #[test]
    fn a_huge_length_is_refused_before_anything_is_allocated() {
        for length in [MAX_RECORD + 1, u64::MAX] {
            let length = length.to_le_bytes();
            let bytes = [&length[..], &crc(&length).to_le_bytes()].concat();
            let (_dir, path) = file(&bytes);
            assert_eq!(index(&path).unwrap_err().code(), Code::TooLarge);
        }
    }
}
