//! Pictures on disk: PNG and JPEG to 8-bit RGB, label maps as raw values, and back.
//!
//! The decoder is chosen by content, never by extension (ImageNet has PNG files called `.JPEG`). Cut files are errors:
//! JPEG decoders usually fill the missing part with grey, which would train without a word.

use std::path::Path;

use png::{BitDepth, ColorType, Transformations};

use super::text_file::read_limited;
use super::{jpeg_file, png_file};
use crate::annotation::{Image, LabelMap};
use crate::error::{Code, Error, Result};

/// Largest picture, in pixels.
pub const MAX_PIXELS: u64 = 64 << 20;
/// Largest picture file, and most bytes one decode may allocate.
pub const MAX_BYTES: u64 = 512 << 20;

/// The format of a file, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG, baseline or progressive.
    Jpeg,
}

fn format_of(path: &Path, bytes: &[u8]) -> Result<Format> {
    let is = |magic: &[u8]| bytes.starts_with(magic);
    if is(b"\x89PNG\r\n\x1a\n") {
        return Ok(Format::Png);
    }
    if is(&[0xff, 0xd8, 0xff]) {
        return Ok(Format::Jpeg);
    }
    let found = match () {
        _ if bytes.is_empty() => "an empty file",
        _ if is(b"GIF8") => "a GIF",
        _ if is(b"BM") => "a BMP",
        _ if is(b"II*\0") || is(b"MM\0*") => "a TIFF",
        _ if is(b"RIFF") => "a RIFF file (WebP)",
        _ if is(b"version https://git-lfs") => "a Git LFS pointer, not the file itself",
        _ => "something else",
    };
    let help = if bytes.is_empty() {
        "fetch the file again or take it out of the list"
    } else {
        "convert it to PNG or JPEG"
    };
    Err(Error::new(
        Code::BadImage,
        format!("expected a PNG or JPEG picture, found {found}"),
    )
    .at(path.display())
    .help(help))
}

pub(super) fn check_size(path: &Path, width: u64, height: u64) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::new(
            Code::BadImage,
            format!("the picture has no pixels ({width} x {height})"),
        )
        .at(path.display())
        .help("fetch the file again or take it out of the list"));
    }
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(Error::new(
            Code::TooLarge,
            format!(
                "the picture has {width} x {height} pixels, more than the limit of {MAX_PIXELS}"
            ),
        )
        .at(path.display())
        .help("scale it down before use"));
    }
    Ok(())
}

pub(super) fn truncated(path: &Path, why: &str) -> Error {
    Error::new(Code::BadImage, format!("the picture is cut off: {why}"))
        .at(path.display())
        .help("fetch the file again or take it out of the list")
}

/// Decodes a PNG or JPEG file to 8-bit RGB: grey, palette, 16-bit, alpha (dropped) and CMYK pictures are converted.
///
/// # Errors
/// `NotFound`, `Io`; `BadImage` for a file that is neither format, damaged or cut off; `TooLarge` above
/// [`MAX_PIXELS`] or [`MAX_BYTES`]. The error names the file.
pub fn read_image(path: &Path) -> Result<Image> {
    decode_image(path, &read_limited(path, MAX_BYTES)?)
}

/// [`read_image`] of bytes that are there; `path` is for messages.
///
/// # Errors
/// As [`read_image`].
pub fn decode_image(path: &Path, bytes: &[u8]) -> Result<Image> {
    match format_of(path, bytes)? {
        Format::Png => png_file::to_rgb(path, bytes),
        Format::Jpeg => jpeg_file::to_rgb(path, bytes),
    }
}

/// Reads a label map: an 8-bit greyscale or palette PNG whose raw sample values are the ids.
///
/// # Errors
/// As [`read_image`]; `BadFormat` for a JPEG (lossy) and for other depths and colour types.
pub fn read_labels(path: &Path) -> Result<LabelMap> {
    let bytes = read_limited(path, MAX_BYTES)?;
    if format_of(path, &bytes)? == Format::Jpeg {
        return Err(Error::new(
            Code::BadFormat,
            "a label map must be a PNG; JPEG changes its values",
        )
        .at(path.display())
        .help("export the ids as an 8-bit PNG"));
    }
    let (width, height, color, depth, data) =
        png_file::read(path, &bytes, Transformations::IDENTITY)?;
    let one_channel = matches!(color, ColorType::Grayscale | ColorType::Indexed);
    if !one_channel || depth != BitDepth::Eight {
        let found = format!("{:?} with {} bits", color, depth as u8);
        return Err(Error::new(
            Code::BadFormat,
            format!("a label map must have one channel of 8 bits, found {found}"),
        )
        .at(path.display())
        .help("use the id picture (`labelIds`), not the colour picture"));
    }
    Ok(LabelMap {
        height,
        width,
        data,
    })
}

/// Reads a picture of numbers: a greyscale PNG of 16 bits, as (height, width, values).
///
/// # Errors
/// As [`read_image`]; `BadFormat` for a JPEG and for other depths and colour types.
pub fn read_grey16(path: &Path) -> Result<(usize, usize, Vec<u16>)> {
    let want = (ColorType::Grayscale, BitDepth::Sixteen);
    let (height, width, data) = read_raw(path, want, "one channel of 16 bits")?;
    let pairs = data.chunks_exact(2);
    let values = pairs.map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
    Ok((height, width, values))
}

/// Reads a picture of three numbers a pixel: an RGB PNG of 8 bits.
///
/// # Errors
/// As [`read_grey16`].
pub fn read_rgb8(path: &Path) -> Result<Image> {
    let want = (ColorType::Rgb, BitDepth::Eight);
    let (height, width, data) = read_raw(path, want, "three channels of 8 bits")?;
    Ok(Image {
        height,
        width,
        data,
    })
}

/// The samples of a PNG as they are stored: (height, width, bytes).
fn read_raw(
    path: &Path,
    want: (ColorType, BitDepth),
    words: &str,
) -> Result<(usize, usize, Vec<u8>)> {
    let bytes = read_limited(path, MAX_BYTES)?;
    let wrong = |found: &str| {
        let text = format!("expected a PNG with {words}, found {found}");
        Error::new(Code::BadFormat, text)
            .at(path.display())
            .help("fetch the file again, or export the values as such a PNG")
    };
    if format_of(path, &bytes)? == Format::Jpeg {
        return Err(wrong("a JPEG, which changes values"));
    }
    let (width, height, color, depth, data) =
        png_file::read(path, &bytes, Transformations::IDENTITY)?;
    if (color, depth) != want {
        return Err(wrong(&format!("{color:?} with {} bits", depth as u8)));
    }
    Ok((height, width, data))
}

/// An RGB picture as the bytes of a PNG file.
pub fn encode_png(image: &Image) -> Result<Vec<u8>> {
    png_file::encode(image.width, image.height, ColorType::Rgb, &image.data)
}

/// A label map as the bytes of an 8-bit greyscale PNG file.
pub fn encode_labels(labels: &LabelMap) -> Result<Vec<u8>> {
    png_file::encode(
        labels.width,
        labels.height,
        ColorType::Grayscale,
        &labels.data,
    )
}

/// A label map as the bytes of an 8-bit palette PNG file: the raw values are the ids, viewers show the colours.
pub fn encode_palette(labels: &LabelMap, colours: &[[u8; 3]; 256]) -> Result<Vec<u8>> {
    png_file::encode_palette(
        labels.width,
        labels.height,
        &labels.data,
        colours.as_flattened(),
    )
}

/// Height and width of a PNG or JPEG file by its header; the pixels are not looked at.
///
/// # Errors
/// As [`read_image`].
pub fn read_size(path: &Path) -> Result<(usize, usize)> {
    let io = |e| Error::io(path, e);
    let reader = image::ImageReader::open(path).map_err(io)?;
    let reader = reader.with_guessed_format().map_err(io)?;
    let (width, height) = reader.into_dimensions().map_err(|e| {
        Error::new(Code::BadImage, format!("no PNG or JPEG picture: {e}"))
            .at(path.display())
            .help("fetch the file again or take it out of the list")
    })?;
    check_size(path, width.into(), height.into())?;
    Ok((height as usize, width as usize))
}

/// An RGB picture as the bytes of a JPEG file of `quality` 1 to 100.
pub fn encode_jpeg(image: &Image, quality: u8) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality)
        .encode(
            &image.data,
            image.width as u32,
            image.height as u32,
            image::ExtendedColorType::Rgb8,
        )
        .map_err(|e| {
            Error::new(
                Code::Argument,
                format!(
                    "cannot encode a {} x {} JPEG: {e}",
                    image.width, image.height
                ),
            )
        })?;
    Ok(out)
}

/// Writes `bytes` to `path`.
///
/// # Errors
/// `CannotCreate` or `Io`, naming the file.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn noise(height: usize, width: usize) -> Image {
        let mut r = Rng::new(3, &[]);
        Image {
            height,
            width,
            data: (0..height * width * 3)
                .map(|_| r.below(256) as u8)
                .collect(),
        }
    }

    fn write(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn png_and_labels_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let image = noise(7, 5);
        assert_eq!(
            read_image(&write(&dir, "a.png", &encode_png(&image).unwrap())).unwrap(),
            image
        );
        let labels = LabelMap {
            height: 3,
            width: 4,
            data: (0..12).collect(),
        };
        assert_eq!(
            read_labels(&write(&dir, "l.png", &encode_labels(&labels).unwrap())).unwrap(),
            labels
        );
        let mut colours = [[0; 3]; 256];
        colours[11] = [1, 2, 3];
        let path = write(&dir, "p.png", &encode_palette(&labels, &colours).unwrap());
        assert_eq!(read_labels(&path).unwrap(), labels);
        assert_eq!(read_image(&path).unwrap().data[33..], [1, 2, 3]);
        assert_eq!(read_size(&path).unwrap(), (3, 4));
        let path = write(&dir, "s.jpg", &encode_jpeg(&image, 90).unwrap());
        assert_eq!(read_size(&path).unwrap(), (7, 5));
        let text = write(&dir, "t.png", b"hello");
        assert_eq!(read_size(&text).unwrap_err().code(), Code::BadImage);
    }

    #[test]
    fn jpeg_is_near_and_its_extension_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let image = Image {
            height: 16,
            width: 24,
            data: (0..16 * 24 * 3).map(|i| (i / 9) as u8).collect(),
        };
        let got = read_image(&write(&dir, "a.png", &encode_jpeg(&image, 95).unwrap())).unwrap();
        assert_eq!((got.height, got.width), (16, 24));
        let far = got
            .data
            .iter()
            .zip(&image.data)
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap();
        assert!(far < 40, "{far}");
    }

    #[test]
    fn every_truncation_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let image = noise(32, 40);
        for (name, bytes) in [
            ("a.png", encode_png(&image).unwrap()),
            ("b.jpg", encode_jpeg(&image, 80).unwrap()),
        ] {
            for cut in (0..bytes.len())
                .step_by(7)
                .chain([bytes.len() - 1, bytes.len() - 2])
            {
                let e = read_image(&write(&dir, name, &bytes[..cut]))
                    .expect_err(&format!("{name} cut at {cut}"));
                assert!(e.to_string().contains(name), "{e}");
            }
        }
    }

    #[test]
    fn label_maps_of_the_wrong_kind() {
        let dir = tempfile::tempdir().unwrap();
        let rgb = write(&dir, "rgb.png", &encode_png(&noise(2, 2)).unwrap());
        assert_eq!(read_labels(&rgb).unwrap_err().code(), Code::BadFormat);
        let jpeg = write(&dir, "l.png", &encode_jpeg(&noise(8, 8), 90).unwrap());
        assert_eq!(read_labels(&jpeg).unwrap_err().code(), Code::BadFormat);
        let text = write(&dir, "t.png", b"hello");
        assert_eq!(read_image(&text).unwrap_err().code(), Code::BadImage);
        assert_eq!(
            read_image(&dir.path().join("none.png")).unwrap_err().code(),
            Code::NotFound
        );
    }
}
