//! What a packed cache looks like: a header, records that begin on cache lines, the place of each record. Numbers are little-endian.
//!
//! | bytes | header (128) |
//! | --- | --- |
//! | 0..8 | `MTNASPK1`; the digit is the version of the layout |
//! | 8..40 | SHA-256 of what it was made from |
//! | 40..48 | number of samples |
//! | 48..56 | where the places begin, 8 bytes a sample; 0 while it is being made |
//! | 56..64 | length of the file; 0 while it is being made |
//! | 64..68, 68..72 | CRC-32C of the places, and of the header up to here |
//!
//! | bytes | head of a record (64) |
//! | --- | --- |
//! | 0..4, 4..8 | `RECD`; CRC-32C of all that follows in the record |
//! | 8..16 | number of the sample |
//! | 16..24 | height and width of its picture file |
//! | 24..32 | height and width as kept; 0 for a sample that cannot be read |
//! | 32..40 | bytes of its annotation |
//!
//! After a head come the pixels (R G B, rows first) and the annotation, then zeros up to a multiple of 64.

use crate::data::image_file::MAX_PIXELS;

/// Bytes of the header.
pub const HEADER: usize = 128;
/// Bytes of the head of a record; records begin at multiples of it.
pub const HEAD: usize = 64;
/// Most bytes of an annotation: several maps of the largest picture.
pub const MAX_ANNOTATION: u64 = 4 << 30;
/// How the file begins.
pub const MAGIC: [u8; 8] = *b"MTNASPK1";
const RECORD: [u8; 4] = *b"RECD";

/// The first bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it was made from.
    pub stamp: [u8; 32],
    /// Number of samples.
    pub count: u64,
    /// Where the places begin; 0 while it is being made.
    pub places: u64,
    /// Length of the file; 0 while it is being made.
    pub length: u64,
    /// CRC-32C of the places.
    pub crc: u32,
}

impl Header {
    /// As bytes.
    pub fn bytes(&self) -> [u8; HEADER] {
        let mut b = [0; HEADER];
        b[..8].copy_from_slice(&MAGIC);
        b[8..40].copy_from_slice(&self.stamp);
        b[40..48].copy_from_slice(&self.count.to_le_bytes());
        b[48..56].copy_from_slice(&self.places.to_le_bytes());
        b[56..64].copy_from_slice(&self.length.to_le_bytes());
        b[64..68].copy_from_slice(&self.crc.to_le_bytes());
        let own = crc32c::crc32c(&b[..68]);
        b[68..72].copy_from_slice(&own.to_le_bytes());
        b
    }

    /// Out of the first bytes of a file; what is wrong with them otherwise.
    pub fn of(b: &[u8]) -> Result<Header, &'static str> {
        if b.len() < HEADER {
            return Err("it is shorter than its header");
        }
        if b[..8] != MAGIC {
            return Err("it does not begin as one");
        }
        if u32_at(b, 68) != crc32c::crc32c(&b[..68]) {
            return Err("the checksum of its header is wrong");
        }
        let mut stamp = [0; 32];
        stamp.copy_from_slice(&b[8..40]);
        Ok(Header {
            stamp,
            count: u64_at(b, 40),
            places: u64_at(b, 48),
            length: u64_at(b, 56),
            crc: u32_at(b, 64),
        })
    }
}

/// What is known of a record before its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// CRC-32C of what follows it in the record.
    pub crc: u32,
    /// Number of the sample.
    pub index: u64,
    /// Height and width of the picture file.
    pub own: (u32, u32),
    /// Height and width of the pixels; 0 x 0 for a sample that cannot be read.
    pub size: (u32, u32),
    /// Bytes of the annotation.
    pub annotation: u64,
}

impl Head {
    /// Out of the first bytes of a record. `None` for what is no head, or one of a picture above [`MAX_PIXELS`] or an annotation
    /// above [`MAX_ANNOTATION`].
    pub fn of(b: &[u8]) -> Option<Head> {
        if b.len() < HEAD || b[..4] != RECORD {
            return None;
        }
        let head = Head {
            crc: u32_at(b, 4),
            index: u64_at(b, 8),
            own: (u32_at(b, 16), u32_at(b, 20)),
            size: (u32_at(b, 24), u32_at(b, 28)),
            annotation: u64_at(b, 32),
        };
        let pixels = u64::from(head.size.0) * u64::from(head.size.1);
        (pixels <= MAX_PIXELS && head.annotation <= MAX_ANNOTATION).then_some(head)
    }

    /// Bytes of the pixels.
    pub fn pixels(&self) -> u64 {
        3 * u64::from(self.size.0) * u64::from(self.size.1)
    }

    /// Bytes after the head; `None` where that is no number.
    pub fn payload(&self) -> Option<u64> {
        self.pixels().checked_add(self.annotation)
    }

    /// The record with these pixels and this annotation, padded; its checksum is computed, whatever the head says.
    pub fn record(&self, pixels: &[u8], annotation: &[u8]) -> Vec<u8> {
        let used = HEAD + pixels.len() + annotation.len();
        let mut b = Vec::with_capacity(used.next_multiple_of(HEAD));
        b.resize(HEAD, 0);
        b[..4].copy_from_slice(&RECORD);
        b[8..16].copy_from_slice(&self.index.to_le_bytes());
        for (at, v) in [
            (16, self.own.0),
            (20, self.own.1),
            (24, self.size.0),
            (28, self.size.1),
        ] {
            b[at..at + 4].copy_from_slice(&v.to_le_bytes());
        }
        b[32..40].copy_from_slice(&self.annotation.to_le_bytes());
        b.extend_from_slice(pixels);
        b.extend_from_slice(annotation);
        let crc = crc32c::crc32c(&b[8..]);
        b[4..8].copy_from_slice(&crc.to_le_bytes());
        b.resize(used.next_multiple_of(HEAD), 0);
        b
    }
}

/// Four bytes as a number.
pub fn u32_at(b: &[u8], at: usize) -> u32 {
    let mut v = [0; 4];
    v.copy_from_slice(&b[at..at + 4]);
    u32::from_le_bytes(v)
}

/// Eight bytes as a number.
pub fn u64_at(b: &[u8], at: usize) -> u64 {
    let mut v = [0; 8];
    v.copy_from_slice(&b[at..at + 8]);
    u64::from_le_bytes(v)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_and_damage_is_seen() {
        let header = Header {
            stamp: [9; 32],
            count: 3,
            places: 512,
            length: 536,
            crc: 77,
        };
        let bytes = header.bytes();
        assert_eq!(Header::of(&bytes), Ok(header));
        for bit in 0..8 * 72 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::of(&bad).is_err(), "bit {bit}");
        }
        assert!(Header::of(&bytes[..100]).is_err());

        let head = Head {
            crc: 0,
            index: 5,
            own: (40, 30),
            size: (2, 3),
            annotation: 4,
        };
        let record = head.record(&[1; 18], &[2; 4]);
        assert_eq!(record.len(), 128);
        let got = Head::of(&record).unwrap();
        assert_eq!(Head { crc: 0, ..got }, head);
        assert_eq!(got.crc, crc32c::crc32c(&record[8..HEAD + 22]));
        assert_eq!((got.pixels(), got.payload()), (18, Some(22)));
        let huge = Head {
            size: (u32::MAX, 2),
            ..head
        };
        assert_eq!(Head::of(&huge.record(&[], &[])), None);
        let endless = Head {
            annotation: u64::MAX,
            ..head
        };
        assert_eq!(endless.payload(), None);
    }
}
