//! One file to one target: how the values of each published form become classes, metres, normals, strengths.
//!
//! What files mark as unknown becomes `valid = false` and the value 0, whatever the mark is (0, -1, 255, 64500).

use std::path::Path;

use crate::annotation::{IGNORE, Image, LabelMap, NormalSpace, Quantity, ValueMap};
use crate::data::image_file::{check_size, read_grey16, read_labels, read_rgb8};
use crate::data::npy_file::{Array, read_npy};
use crate::error::{Code, Error, Result};

/// A depth of at most this is unknown (AutoMTL's losses and metrics).
pub const LEAST_DEPTH: f32 = 3e-5;
/// Raw Taskonomy depth from which on nothing was scanned.
pub const TASKONOMY_FAR: u16 = 64_500;
/// Normals of at most this length are unknown (MTAN's arrays have zeros there).
const LEAST_NORMAL: f32 = 1e-3;

/// Beyond 0 to 1 by at most this much, a value of a picture is rounding.
const SLACK: f32 = 0.02;

fn at_pixel(path: &Path, width: usize, i: usize) -> String {
    format!("{}, pixel ({}, {})", path.display(), i % width, i / width)
}

/// An array of height x width x `channels`; a last dimension of 1 may be missing. (height, width, values)
fn plane(path: &Path, channels: usize) -> Result<(usize, usize, Vec<f32>)> {
    let Array { shape, data } = read_npy(path)?;
    let (height, width) = match (shape.as_slice(), channels) {
        (&[h, w], 1) => (h, w),
        (&[h, w, c], _) if c == channels => (h, w),
        _ => {
            let text = format!("expected an array of height x width x {channels}, found {shape:?}");
            return Err(Error::new(Code::BadFormat, text)
                .at(path.display())
                .help("channels come last; save one picture an array"));
        }
    };
    check_size(path, width as u64, height as u64)?;
    if let Some(i) = data.iter().position(|v| !v.is_finite()) {
        let text = format!("the value {} is not finite", data[i]);
        return Err(Error::new(Code::BadFormat, text)
            .at(at_pixel(path, width, i / channels))
            .help("mark what is unknown as the format does (0, or -1 for classes)"));
    }
    Ok((height, width, data))
}

/// A picture of values of 0 to 1, R G B, to 8 bits.
///
/// # Errors
/// Those of [`read_npy`]; `BadImage` for a value outside 0 to 1.
pub fn picture_npy(path: &Path) -> Result<Image> {
    let (height, width, data) = plane(path, 3)?;
    if let Some(i) = data
        .iter()
        .position(|v| !(-SLACK..=1.0 + SLACK).contains(v))
    {
        let text = format!("the value {} of a picture is outside 0 to 1", data[i]);
        return Err(Error::new(Code::BadImage, text)
            .at(at_pixel(path, width, i / 3))
            .help("divide the values by 255"));
    }
    let byte = |v: f32| (v * 255.0).round() as u8;
    Ok(Image {
        height,
        width,
        data: data.into_iter().map(byte).collect(),
    })
}

fn outside(path: &Path, width: usize, i: usize, id: f32, classes: usize) -> Error {
    let text = format!("label id {id} is outside the {classes} classes");
    Error::new(Code::BadLabelId, text)
        .at(at_pixel(path, width, i))
        .help(format!(
            "ids are 0 to {}, others are ignored: 255 in a PNG, -1 in an array",
            classes - 1
        ))
}

/// Classes of 0 to `classes` - 1; 255 is ignored.
///
/// # Errors
/// Those of [`read_labels`]; `BadLabelId` with the pixel.
pub fn labels_png(path: &Path, classes: usize) -> Result<LabelMap> {
    let map = read_labels(path)?;
    let wrong = |&v: &u8| v != IGNORE && v as usize >= classes;
    match map.data.iter().position(wrong) {
        None => Ok(map),
        Some(i) => Err(outside(path, map.width, i, map.data[i] as f32, classes)),
    }
}

/// Classes of 0 to `classes` - 1 in whole numbers of any type; -1 and 255 are ignored.
///
/// # Errors
/// Those of [`read_npy`]; `BadLabelId` with the pixel.
pub fn labels_npy(path: &Path, classes: usize) -> Result<LabelMap> {
    let (height, width, values) = plane(path, 1)?;
    let mut data = Vec::with_capacity(values.len());
    for (i, &v) in values.iter().enumerate() {
        data.push(match v {
            -1.0 | 255.0 => IGNORE,
            v if v >= 0.0 && v.fract() == 0.0 && v < classes as f32 => v as u8,
            v => return Err(outside(path, width, i, v, classes)),
        });
    }
    Ok(LabelMap {
        height,
        width,
        data,
    })
}

/// Taskonomy's classes: 0 is uncertain, 1 the background, 2 to 17 the objects. The class is the id less 1; what is uncertain is class 0
/// too, as the published loaders have it, or ignored.
///
/// # Errors
/// Those of [`read_labels`]; `BadLabelId` with the pixel.
pub fn labels_taskonomy(path: &Path, classes: usize, ignore_uncertain: bool) -> Result<LabelMap> {
    let mut map = read_labels(path)?;
    for i in 0..map.data.len() {
        map.data[i] = match map.data[i] {
            0 if ignore_uncertain => IGNORE,
            0 => 0,
            id if id as usize <= classes => id - 1,
            id => {
                return Err(outside(path, map.width, i, id as f32, classes + 1));
            }
        };
    }
    Ok(map)
}

/// Fills a map pixel by pixel; `None` is unknown.
fn fill<const N: usize>(
    quantity: Quantity,
    (height, width): (usize, usize),
    value: impl Fn(usize) -> Option<[f32; N]>,
) -> ValueMap {
    let mut map = ValueMap::unknown(quantity, height, width);
    let pixels = height * width;
    for i in 0..pixels {
        if let Some(v) = value(i) {
            map.valid[i] = true;
            (0..N).for_each(|p| map.data[p * pixels + i] = v[p]);
        }
    }
    map
}

/// Depth; at most [`LEAST_DEPTH`] is unknown.
///
/// # Errors
/// Those of [`read_npy`]; `BadFormat` for a value that is not finite.
pub fn depth_npy(path: &Path) -> Result<ValueMap> {
    let (height, width, data) = plane(path, 1)?;
    let value = |i: usize| (data[i] > LEAST_DEPTH).then_some([data[i]]);
    Ok(fill(Quantity::Depth, (height, width), value))
}

/// Cityscapes disparity: (p - 1) / 256 pixels, 0 is unknown (systems.md 8.4).
///
/// # Errors
/// Those of [`read_grey16`].
pub fn disparity_png(path: &Path) -> Result<ValueMap> {
    let (height, width, data) = read_grey16(path)?;
    let value = |i: usize| (data[i] > 0).then(|| [(data[i] - 1) as f32 / 256.0]);
    Ok(fill(Quantity::Depth, (height, width), value))
}

/// Taskonomy depth: raw x of 1/512 m to ln(1 + x) / ln(65536); unknown from [`TASKONOMY_FAR`] on (8.11).
///
/// # Errors
/// Those of [`read_grey16`].
pub fn depth_taskonomy(path: &Path) -> Result<ValueMap> {
    let (height, width, data) = read_grey16(path)?;
    let log = |x: u16| ((1.0 + x as f64).ln() / 65536f64.ln()) as f32;
    let value = |i: usize| (data[i] < TASKONOMY_FAR).then(|| [log(data[i])]);
    Ok(fill(Quantity::Depth, (height, width), value))
}

/// Bytes of a normal in the space wanted.
fn decoded(v: [u8; 3], space: NormalSpace) -> [f32; 3] {
    v.map(|v| match space {
        NormalSpace::True => (v as f32 - 127.5) / 127.5,
        NormalSpace::Encoded => v as f32 / 255.0,
    })
}

/// Normals as bytes; a pixel with 255 in all channels is unknown (9.3).
///
/// # Errors
/// Those of [`read_rgb8`].
pub fn normals_png(path: &Path, space: NormalSpace) -> Result<ValueMap> {
    let image = read_rgb8(path)?;
    let value = |i: usize| {
        let v = [0, 1, 2].map(|c| image.data[3 * i + c]);
        (v != [255; 3]).then(|| decoded(v, space))
    };
    Ok(fill(
        Quantity::Normals(space),
        (image.height, image.width),
        value,
    ))
}

/// Unit normals, zero where unknown.
///
/// # Errors
/// Those of [`read_npy`]; `BadFormat` for a component far outside -1 to 1.
pub fn normals_npy(path: &Path, space: NormalSpace) -> Result<ValueMap> {
    let (height, width, data) = plane(path, 3)?;
    if let Some(i) = data.iter().position(|v| v.abs() > 1.0 + SLACK) {
        let text = format!("the component {} of a normal is outside -1 to 1", data[i]);
        return Err(Error::new(Code::BadFormat, text)
            .at(at_pixel(path, width, i / 3))
            .help("save normals of length 1"));
    }
    let value = |i: usize| {
        let v = [0, 1, 2].map(|c| data[3 * i + c]);
        let length = v.iter().map(|v| v * v).sum::<f32>().sqrt();
        (length > LEAST_NORMAL).then(|| match space {
            NormalSpace::True => v,
            NormalSpace::Encoded => v.map(|v| (v + 1.0) / 2.0),
        })
    };
    Ok(fill(Quantity::Normals(space), (height, width), value))
}

/// Taskonomy normals as bytes; known where the depth of `depth` is (8.11).
///
/// # Errors
/// Those of [`read_rgb8`] and [`read_grey16`]; `SizeMismatch`.
pub fn normals_taskonomy(path: &Path, depth: &Path, space: NormalSpace) -> Result<ValueMap> {
    let image = read_rgb8(path)?;
    let (height, width, far) = read_grey16(depth)?;
    if (height, width) != (image.height, image.width) {
        return Err(other_size(
            "the depth map",
            (height, width),
            path,
            (image.height, image.width),
        )
        .at(depth.display()));
    }
    let value = |i: usize| {
        let v = [0, 1, 2].map(|c| image.data[3 * i + c]);
        (far[i] < TASKONOMY_FAR).then(|| decoded(v, space))
    };
    Ok(fill(Quantity::Normals(space), (height, width), value))
}

/// Taskonomy keypoints and edges: 16 bits as 0 to 1, clipped at `top`, rescaled to -1 to 1 (8.11).
///
/// # Errors
/// Those of [`read_grey16`].
pub fn strength_png(path: &Path, quantity: Quantity, top: f32) -> Result<ValueMap> {
    let (height, width, data) = read_grey16(path)?;
    let value = |i: usize| {
        let share = (data[i] as f32 / 65536.0).min(top) / top;
        Some([2.0 * share - 1.0])
    };
    Ok(fill(quantity, (height, width), value))
}

/// The error of a file whose size is not that of its picture.
pub fn other_size(what: &str, got: (usize, usize), picture: &Path, want: (usize, usize)) -> Error {
    let text = format!(
        "{what} is {} x {}, its picture {} x {}",
        got.1, got.0, want.1, want.0
    );
    Error::new(Code::SizeMismatch, text).help(format!(
        "target and picture {} must have the same size",
        picture.display()
    ))
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
