//! The changes: bits flipped, parts cut, repeated and exchanged, lengths and numbers edited.

use crate::rng::Rng;

/// Words that upset readers of numbers, names and values.
const WORDS: [&str; 24] = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e39",
    "1e-45",
    "1e999",
    "99999999999999999999",
    "-0.0",
    "+",
    "0x10",
    "",
    "1,5",
    "\u{663}",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
    "'''",
    "none",
    "1979-05-27",
    "a.b.c",
];

/// Pieces of syntax.
const PIECES: [&str; 16] = [
    "[[", "]]", "=", "\"", "'", "(", ")", "{", "}", ",", ":", "\n", "\0", "\u{e9}", "#", "\\u12",
];

/// Values that upset length fields.
const LENGTHS: [u64; 10] = [
    0,
    1,
    0x7f,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_ffff,
    0x7fff_ffff_ffff_fff0,
    u64::MAX,
];

/// A damaged copy: one to four changes anywhere.
pub fn mutate(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut b = bytes.to_vec();
    for _ in 0..1 + rng.below(4) {
        if b.is_empty() {
            b.extend((0..rng.below(9)).map(|_| rng.u32() as u8));
        } else {
            change(&mut b, bytes, rng);
        }
    }
    b
}

fn change(b: &mut Vec<u8>, original: &[u8], rng: &mut Rng) {
    let n = b.len();
    let at = rng.below(n);
    let to = (at + 1 + rng.below(24)).min(n);
    match rng.below(14) {
        0 => b[at] ^= 1 << rng.below(8),
        1 => b[at] = rng.u32() as u8,
        2 => b[at] = [0, 0xff, 0x7f, 0x80, b'\n', b' '][rng.below(6)],
        3 => b.truncate(at),
        4 => drop(b.drain(at..to)),
        5 => {
            let part = b[at..to].to_vec();
            let into = rng.below(n);
            b.splice(into..into, part);
        }
        6 => {
            let noise: Vec<u8> = (0..rng.below(12)).map(|_| rng.u32() as u8).collect();
            b.splice(at..at, noise);
        }
        7 => length(b, at, rng),
        8 | 9 => word(b, at, rng),
        10 => drop(b.splice(at..at, PIECES[rng.below(PIECES.len())].bytes())),
        11 => {
            let other = rng.below(n);
            b.swap(at, other);
        }
        12 => lines(b, rng),
        _ => b.extend_from_slice(&original[..original.len().min(64)]),
    }
}

/// Writes an awkward number of 2, 4 or 8 bytes over what is at `at` (in one of four cases at the front, where headers are).
fn length(b: &mut [u8], at: usize, rng: &mut Rng) {
    let value = LENGTHS[rng.below(LENGTHS.len())];
    let width = [2, 4, 8][rng.below(3)];
    let at = if rng.coin(0.25) { at % 32 } else { at };
    let bytes = if rng.coin(0.5) {
        value.to_le_bytes()[..width].to_vec()
    } else {
        value.to_be_bytes()[8 - width..].to_vec()
    };
    for (slot, v) in b.iter_mut().skip(at).zip(bytes) {
        *slot = v;
    }
}

/// Replaces the word around `at`, or the first one behind it.
fn word(b: &mut Vec<u8>, at: usize, rng: &mut Rng) {
    let part = |c: &u8| c.is_ascii_alphanumeric() || b".+-_".contains(c);
    let at = b[at..].iter().position(part).map_or(at, |p| at + p);
    let start = b[..at].iter().rposition(|c| !part(c)).map_or(0, |p| p + 1);
    let end = b[at..]
        .iter()
        .position(|c| !part(c))
        .map_or(b.len(), |p| at + p);
    if end.saturating_sub(start) < 64 {
        b.splice(start..end.max(start), WORDS[rng.below(WORDS.len())].bytes());
    }
}

/// Exchanges two lines, or doubles one.
fn lines(b: &mut Vec<u8>, rng: &mut Rng) {
    let mut lines: Vec<Vec<u8>> = b.split(|&c| c == b'\n').map(<[u8]>::to_vec).collect();
    let (one, other) = (rng.below(lines.len()), rng.below(lines.len()));
    if rng.coin(0.5) {
        lines.swap(one, other);
    } else {
        let copy = lines[one].clone();
        lines.insert(other, copy);
    }
    *b = lines.join(&b'\n');
}

/// Corrects the checksums of a PNG, so that damage gets past them.
pub fn mend_png(b: &mut [u8]) {
    let mut at = 8;
    while at + 12 <= b.len() {
        let length = u32::from_be_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]) as usize;
        let Some(end) = at.checked_add(8 + length).filter(|e| e + 4 <= b.len()) else {
            return;
        };
        let crc = crc32(&b[at + 4..end]);
        b[end..end + 4].copy_from_slice(&crc.to_be_bytes());
        at = end + 4;
    }
}

/// Corrects the checksums of TFRecord files, so that damage gets past them.
pub fn mend_tfrecord(b: &mut [u8]) {
    let crc = |bytes: &[u8]| {
        let turn = |c: u32, _| (c >> 1) ^ (0x82f6_3b78 * (c & 1));
        let step = |c: u32, &v: &u8| (0..8).fold(c ^ v as u32, turn);
        let c = !bytes.iter().fold(!0u32, step);
        (c.rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes()
    };
    let mut at = 0;
    while at + 16 <= b.len() {
        let length: [u8; 8] = b[at..at + 8].try_into().expect("8 bytes");
        let sum = crc(&length);
        b[at + 8..at + 12].copy_from_slice(&sum);
        let length = u64::from_le_bytes(length);
        let left = (b.len() - at - 16) as u64;
        if length > left {
            return;
        }
        let end = at + 12 + length as usize;
        let sum = crc(&b[at + 12..end]);
        b[end..end + 4].copy_from_slice(&sum);
        at = end + 4;
    }
}

/// The checksum of PNG.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |c, &b| {
        (0..8).fold(c ^ b as u32, |c, _| {
            if c & 1 == 1 {
                (c >> 1) ^ 0xedb8_8320
            } else {
                c >> 1
            }
        })
    })
}
