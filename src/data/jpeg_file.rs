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
mod tests {
    #[test]
    fn cmyk_jpeg_is_converted() {
        // A 4-component Adobe JPEG: made from a grey one by repeating its component in header and scan is not possible
        // without an encoder, so the smallest such file is built by hand: one 8x8 block per component, all DC only.
        let bytes = cmyk_jpeg();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.jpg");
        std::fs::write(&path, bytes).unwrap();
        let got = crate::data::image_file::read_image(&path).unwrap();
        assert_eq!((got.height, got.width, got.data.len()), (8, 8, 192));
    }

    fn cmyk_jpeg() -> Vec<u8> {
        let mut b = vec![0xff, 0xd8];
        b.extend([0xff, 0xee, 0, 14]);
        b.extend(b"Adobe\0\x64\0\0\0\0\0");
        b.extend([0xff, 0xdb, 0, 67, 0]);
        b.extend([1; 64]);
        b.extend([0xff, 0xc0, 0, 20, 8, 0, 8, 0, 8, 4]);
        for c in 1..=4 {
            b.extend([c, 0x11, 0]);
        }
        // One code in each table: DC category 0 and AC end-of-block, both the one-bit code 0.
        for class in [0x00, 0x10] {
            b.extend([0xff, 0xc4, 0, 20, class, 1]);
            b.extend([0; 15]);
            b.push(0);
        }
        b.extend([0xff, 0xda, 0, 14, 4]);
        for c in 1..=4 {
            b.extend([c, 0]);
        }
        b.extend([0, 63, 0, 0x00, 0xff, 0xd9]);
        b
    }
}
