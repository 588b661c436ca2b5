//! JPEG, by the `zune-jpeg` crate in strict mode. A file that is cut off is an error.

use std::path::Path;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::image_file::{check_size, truncated};
use crate::annotation::Image;
use crate::error::{Code, Error, Result};

/// No JPEG codes more pixels than this in a byte: one bit for each 8x8 luma block (progressive), chroma subsampled.
const JPEG_PIXELS_PER_BYTE: u64 = 600;

enum Failure {
    Decode(DecodeErrors),
    Refused(Error),
}

/// Is there an end marker after the last scan? Segments are skipped by length, so that a thumbnail's marker does not count.
fn ends(bytes: &[u8]) -> bool {
    let mut i = 2;
    while i + 1 < bytes.len() {
        if bytes[i] != 0xff || bytes[i + 1] == 0xff {
            i += 1;
            continue;
        }
        match bytes[i + 1] {
            0xd9 => return true,
            0x00 | 0x01 | 0xd0..=0xd7 => i += 2,
            _ if i + 3 >= bytes.len() => return false,
            _ => i += 2 + u16::from_be_bytes([bytes[i + 2], bytes[i + 3]]) as usize,
        }
    }
    false
}

pub(super) fn to_rgb(path: &Path, bytes: &[u8]) -> Result<Image> {
    let fail = |e: DecodeErrors| match e {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => {
            truncated(path, "the JPEG data end early")
        }
        DecodeErrors::FormatStatic(m) if m.contains("Premature end") => {
            truncated(path, "the JPEG data end early")
        }
        e => {
            let text = e.to_string().replace(['\n', '\r'], " ");
            Error::new(Code::BadImage, format!("damaged JPEG: {}", text.trim()))
                .at(path.display())
                .help("fetch the file again")
        }
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(u16::MAX as usize)
        .set_max_height(u16::MAX as usize)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let decode =
        |options: DecoderOptions| -> std::result::Result<(usize, usize, Vec<u8>), Failure> {
            let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
            decoder.decode_headers().map_err(Failure::Decode)?;
            let (width, height) = decoder
                .dimensions()
                .ok_or(Failure::Decode(DecodeErrors::ZeroError))?;
            check_size(path, width as u64, height as u64).map_err(Failure::Refused)?;
            if width as u64 * height as u64 > bytes.len() as u64 * JPEG_PIXELS_PER_BYTE {
                return Err(Failure::Refused(truncated(
                    path,
                    "too few bytes for so many pixels",
                )));
            }
            let data = decoder.decode().map_err(Failure::Decode)?;
            Ok((width, height, data))
        };
    let result = match decode(options) {
        // Bytes between the headers are harmless, and some of ImageNet's files have them.
        Err(Failure::Decode(DecodeErrors::FormatStatic(m)))
            if m.contains("Extra bytes between headers") =>
        {
            decode(options.set_strict_mode(false))
        }
        other => other,
    };
    let (width, height, data) = result.map_err(|e| match e {
        Failure::Decode(e) => fail(e),
        Failure::Refused(e) => e,
    })?;
    if data.len() != width * height * 3 {
        return Err(
            Error::new(Code::BadImage, "damaged JPEG: unknown colour model")
                .at(path.display())
                .help("convert it to RGB or grey"),
        );
    }
    if !ends(bytes) {
        return Err(truncated(path, "the JPEG end marker is missing"));
    }
    Ok(Image {
        height,
        width,
        data,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use crate::data::image_file::read_image;

    /// What Pillow makes of the same bytes. Adobe writes inks inverted: 255 is none.
    #[test]
    fn inks_become_the_colours_that_pillow_shows() {
        for (transform, inks, rgb) in [
            (0, [200, 100, 50, 220], [173, 86, 43]),
            (0, [90, 130, 140, 255], [90, 130, 140]),
            (0, [250, 120, 135, 100], [98, 47, 53]),
            (2, [200, 100, 50, 220], [141, 0, 91]),
            (2, [90, 130, 140, 255], [148, 174, 161]),
            (2, [128; 4], [64, 64, 64]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("c.JPEG");
            std::fs::write(&path, four_components(transform, inks)).unwrap();
            let got = read_image(&path).unwrap();
            assert_eq!((got.height, got.width, got.data.len()), (8, 8, 192));
            for (k, v) in got.data.iter().enumerate() {
                let off = v.abs_diff(rgb[k % 3]);
                assert!(off <= 3, "{transform} {inks:?}: {v} for {}", rgb[k % 3]);
            }
        }
    }

    /// A picture of 8 x 8 pixels of one colour, four components: CMYK (transform 0) or YCCK (2) of Adobe. One block a component,
    /// the mean alone.
    pub fn four_components(transform: u8, values: [u8; 4]) -> Vec<u8> {
        let mut b = vec![0xff, 0xd8];
        b.extend([0xff, 0xee, 0, 14]);
        b.extend(b"Adobe\0\x64\0\0\0\0");
        b.push(transform);
        // Quantised by 8: the DC value is then the mean.
        b.extend([0xff, 0xdb, 0, 67, 0]);
        b.extend([8; 64]);
        b.extend([0xff, 0xc0, 0, 20, 8, 0, 8, 0, 8, 4]);
        for c in 1..=4 {
            b.extend([c, 0x11, 0]);
        }
        // DC: the categories 0 to 7, four bits each. AC: the end of a block, one bit.
        b.extend([0xff, 0xc4, 0, 27, 0x00, 0, 0, 0, 8]);
        b.extend([0; 12]);
        b.extend(0..8);
        b.extend([0xff, 0xc4, 0, 20, 0x10, 1]);
        b.extend([0; 15]);
        b.push(0);
        b.extend([0xff, 0xda, 0, 14, 4]);
        for c in 1..=4 {
            b.extend([c, 0]);
        }
        b.extend([0, 63, 0]);
        let mut bits = String::new();
        for v in values {
            let d = v as i32 - 128;
            let size = 32 - d.unsigned_abs().leading_zeros();
            bits += &format!("{size:04b}");
            if size > 0 {
                let code = if d > 0 { d } else { d + (1 << size) - 1 };
                bits += &format!("{code:0width$b}", width = size as usize);
            }
            bits += "0";
        }
        while !bits.len().is_multiple_of(8) {
            bits += "1";
        }
        for byte in bits.as_bytes().chunks(8) {
            let byte = byte.iter().fold(0u8, |v, &c| (v << 1) | (c - b'0'));
            b.push(byte);
            if byte == 0xff {
                b.push(0);
            }
        }
        b.extend([0xff, 0xd9]);
        b
    }
}
