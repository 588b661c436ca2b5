//! The `Frame` message of Waymo Open Dataset v1 (systems.md 8.6): pictures and 2-D boxes of the cameras, everything else skipped.
//!
//! The fields of the outermost message are walked over by their lengths, in memory or in the file, so that neither lidar nor the
//! pictures of other cameras are decoded; the messages inside are decoded by `prost`.

use std::io::{Read, Seek};

use prost::Message;

use super::waymo_config::Camera;

/// Most fields of a frame, and most boxes of a camera.
pub const MAX_FIELDS: usize = 10_000;
/// Largest list of boxes of one camera, in bytes: about 10,000 boxes.
const MAX_LABELS: u64 = 1 << 20;

/// A picture of one camera.
#[derive(Clone, PartialEq, Message)]
pub struct CameraImage {
    /// Which camera, 1 to 5.
    #[prost(int32, tag = "1")]
    pub name: i32,
    /// The JPEG file.
    #[prost(bytes = "vec", tag = "2")]
    pub image: Vec<u8>,
}

/// The 2-D boxes of one camera.
#[derive(Clone, PartialEq, Message)]
pub struct CameraLabels {
    /// Which camera, 1 to 5.
    #[prost(int32, tag = "1")]
    pub name: i32,
    /// Its boxes.
    #[prost(message, repeated, tag = "2")]
    pub labels: Vec<Label>,
}

/// A box with its type.
#[derive(Clone, PartialEq, Message)]
pub struct Label {
    /// Where.
    #[prost(message, optional, tag = "1")]
    pub bbox: Option<LabelBox>,
    /// 0 unknown, 1 vehicle, 2 pedestrian, 3 sign, 4 cyclist.
    #[prost(int32, tag = "3")]
    pub kind: i32,
}

/// A box in pixels. Of 2-D boxes **the length lies along x and the width along y**.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct LabelBox {
    /// Middle along x.
    #[prost(double, tag = "1")]
    pub center_x: f64,
    /// Middle along y.
    #[prost(double, tag = "2")]
    pub center_y: f64,
    /// Extent along y.
    #[prost(double, tag = "4")]
    pub width: f64,
    /// Extent along x.
    #[prost(double, tag = "5")]
    pub length: f64,
}

/// Numbers of the fields of a frame that are read.
const IMAGES: u64 = 4;
const CAMERA_LABELS: u64 = 8;

/// A field that holds bytes.
struct Field {
    number: u64,
    start: u64,
    length: u64,
}

fn byte(r: &mut impl Read) -> Result<u8, String> {
    let mut b = [0];
    match r.read_exact(&mut b) {
        Ok(()) => Ok(b[0]),
        Err(_) => Err("the message ends inside a field".into()),
    }
}

/// A number of up to ten groups of seven bits, the lowest first; also its size.
fn varint(r: &mut impl Read) -> Result<(u64, u64), String> {
    let mut value = 0;
    for k in 0..10 {
        let b = byte(r)?;
        value |= ((b & 0x7f) as u64) << (7 * k);
        if b < 0x80 {
            return Ok((value, k + 1));
        }
    }
    Err("a number of more than ten bytes".into())
}

/// The fields of type bytes of a message that begins at the reader's position and has `size` bytes; all others are skipped.
fn fields(r: &mut (impl Read + Seek), size: u64) -> Result<Vec<Field>, String> {
    let (mut at, mut depth, mut all) = (0, 0u64, vec![]);
    for _ in 0..MAX_FIELDS {
        if at == size {
            return match depth {
                0 => Ok(all),
                _ => Err("a group without an end".into()),
            };
        }
        let (key, bytes) = varint(r)?;
        at += bytes;
        let skipped = match key & 7 {
            0 => {
                at += varint(r)?.1;
                0
            }
            1 => 8,
            2 => {
                let (length, bytes) = varint(r)?;
                at += bytes;
                if depth == 0 {
                    all.push(Field {
                        number: key >> 3,
                        start: at,
                        length,
                    });
                }
                length
            }
            3 => {
                depth += 1;
                0
            }
            4 => {
                depth = depth.checked_sub(1).ok_or("the end of no group")?;
                0
            }
            5 => 4,
            other => return Err(format!("no field is of wire type {other}")),
        };
        if at > size || skipped > size - at {
            return Err(format!("field {} reaches beyond the message", key >> 3));
        }
        let failed = |e: std::io::Error| e.to_string();
        r.seek_relative(skipped as i64).map_err(failed)?;
        at += skipped;
    }
    Err(format!("more than {MAX_FIELDS} fields"))
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, String> {
    M::decode(bytes).map_err(|e| e.to_string())
}

fn labels_of(bytes: &[u8]) -> Result<CameraLabels, String> {
    let labels: CameraLabels = decode(bytes)?;
    match labels.labels.len() > MAX_FIELDS {
        true => Err(format!("more than {MAX_FIELDS} boxes of a camera")),
        false => Ok(labels),
    }
}

fn short(f: &Field) -> Result<usize, String> {
    match f.length > MAX_LABELS {
        true => Err(format!("{} bytes of boxes of a camera", f.length)),
        false => Ok(f.length as usize),
    }
}

/// JPEG bytes and boxes of one camera out of the bytes of a frame.
///
/// # Errors
/// What is wrong with the message, without a place; also if the camera has no picture. A camera without a list of boxes has none.
pub fn camera(payload: &[u8], camera: Camera) -> Result<(Vec<u8>, Vec<Label>), String> {
    let mut picture = None;
    let mut boxes = vec![];
    for f in fields(&mut std::io::Cursor::new(payload), payload.len() as u64)? {
        let bytes = &payload[f.start as usize..][..f.length as usize];
        match f.number {
            IMAGES if picture.is_none() => {
                let image: CameraImage = decode(bytes)?;
                picture = (image.name == camera.number()).then_some(image.image);
            }
            CAMERA_LABELS => {
                short(&f)?;
                let labels = labels_of(bytes)?;
                if labels.name == camera.number() {
                    boxes.extend(labels.labels);
                }
            }
            _ => {}
        }
    }
    let none = || format!("the frame has no picture of the camera {camera}");
    Ok((picture.ok_or_else(none)?, boxes))
}

/// Camera and types of the boxes of a frame of `size` bytes at the reader's position; pictures and lidar are not read.
///
/// # Errors
/// What is wrong with the message, without a place.
pub fn box_types(r: &mut (impl Read + Seek), size: u64) -> Result<Vec<(i32, i32)>, String> {
    let failed = |e: std::io::Error| e.to_string();
    let start = r.stream_position().map_err(failed)?;
    let mut types = vec![];
    for f in fields(r, size)? {
        if f.number != CAMERA_LABELS {
            continue;
        }
        let mut bytes = vec![0; short(&f)?];
        r.seek(std::io::SeekFrom::Start(start + f.start))
            .map_err(failed)?;
        r.read_exact(&mut bytes).map_err(failed)?;
        let labels = labels_of(&bytes)?;
        types.extend(labels.labels.iter().map(|l| (labels.name, l.kind)));
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_any_wire_type_are_skipped() {
        // 1: varint 300; 2: 64 bits; 5: 32 bits; 3: a group with a group and bytes in it; 4: bytes.
        let mut b = vec![0x08, 0xac, 0x02, 0x11];
        b.extend([9; 8]);
        b.extend([0x2d, 1, 2, 3, 4]);
        b.extend([0x1b, 0x33, 0x22, 2, 7, 7, 0x34, 0x1c]);
        b.extend([0x22, 3, 1, 2, 3]);
        let all = |b: &[u8]| fields(&mut std::io::Cursor::new(b), b.len() as u64);
        let got = all(&b).unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].number, got[0].length), (4, 3));
        assert_eq!(got[0].start as usize, b.len() - 3);
        for (bytes, word) in [
            (&[0x22, 4, 1, 2, 3][..], "beyond"),
            (&[0x08], "ends inside"),
            (&[0x0b], "without an end"),
            (&[0x0c], "end of no group"),
            (&[0x0f], "wire type 7"),
            (&[0x11, 1, 2], "beyond"),
            (&[0xff; 11], "more than ten"),
            (
                &[
                    0x22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
                ],
                "beyond",
            ),
        ] {
            let e = all(bytes).err().unwrap();
            assert!(e.contains(word), "{word}: {e}");
        }
        let many = [0x08, 1].repeat(MAX_FIELDS + 1);
        assert!(all(&many).err().unwrap().contains("more than 10000"));
    }
}
