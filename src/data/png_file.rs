//! PNG, by the `png` crate: raw samples for label maps, RGB for pictures.

use std::path::Path;

use png::{BitDepth, ColorType, Transformations};

use super::image_file::{MAX_BYTES, check_size, truncated};
use crate::annotation::Image;
use crate::error::{Code, Error, Result};

/// Deflate cannot expand by more than this.
const DEFLATE_RATIO: u64 = 1032;

fn failed(path: &Path, e: png::DecodingError) -> Error {
    match e {
        png::DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            truncated(path, "the PNG data end early")
        }
        png::DecodingError::LimitsExceeded => Error::new(
            Code::TooLarge,
            format!("decoding needs more than {MAX_BYTES} bytes"),
        )
        .at(path.display())
        .help("scale it down before use"),
        e => Error::new(Code::BadImage, format!("damaged PNG: {e}"))
            .at(path.display())
            .help("fetch the file again"),
    }
}

/// Raw samples after `transform`: (width, height, colour type, depth, bytes).
pub(super) fn read(
    path: &Path,
    bytes: &[u8],
    transform: Transformations,
) -> Result<(usize, usize, ColorType, BitDepth, Vec<u8>)> {
    let fail = |e| failed(path, e);
    let mut decoder = png::Decoder::new_with_limits(
        std::io::Cursor::new(bytes),
        png::Limits {
            bytes: MAX_BYTES as usize,
        },
    );
    decoder.set_transformations(transform);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let (width, height) = decoder.read_header_info().map_err(fail)?.size();
    check_size(path, width as u64, height as u64)?;
    let mut reader = decoder.read_info().map_err(fail)?;
    let size = reader
        .output_buffer_size()
        .filter(|&s| s as u64 <= MAX_BYTES);
    let size = size.ok_or_else(|| fail(png::DecodingError::LimitsExceeded))?;
    let raw_bits = width as u64 * height as u64 * reader.info().bits_per_pixel() as u64;
    if raw_bits / 8 > bytes.len() as u64 * DEFLATE_RATIO {
        return Err(truncated(path, "too few bytes for so many pixels"));
    }
    let mut data = vec![0; size];
    let info = reader.next_frame(&mut data).map_err(fail)?;
    // `finish` meets the end chunk: a file that stops right after the pixels is cut off as well.
    reader.finish().map_err(fail)?;
    if info.width != width || info.height != height {
        return Err(Error::new(
            Code::BadImage,
            "the frame of the PNG is smaller than the picture",
        )
        .at(path.display())
        .help("fetch the file again"));
    }
    Ok((
        width as usize,
        height as usize,
        info.color_type,
        info.bit_depth,
        data,
    ))
}

pub(super) fn to_rgb(path: &Path, bytes: &[u8]) -> Result<Image> {
    let transform = Transformations::EXPAND | Transformations::STRIP_16;
    let (width, height, color, _, data) = read(path, bytes, transform)?;
    let rgb: Vec<u8> = match color {
        ColorType::Rgb => data,
        ColorType::Rgba => data
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
        ColorType::Grayscale => data.iter().flat_map(|&g| [g; 3]).collect(),
        ColorType::GrayscaleAlpha => data.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        ColorType::Indexed => {
            return Err(Error::new(Code::BadImage, "damaged PNG: palette missing")
                .at(path.display())
                .help("fetch the file again"));
        }
    };
    Ok(Image {
        height,
        width,
        data: rgb,
    })
}

/// The bytes of an 8-bit file.
pub(super) fn encode(
    width: usize,
    height: usize,
    color: ColorType,
    data: &[u8],
) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    let write = encoder.write_header().and_then(|mut w| {
        w.write_image_data(data)?;
        w.finish()
    });
    write.map_err(|e| {
        Error::new(
            Code::Argument,
            format!("cannot encode a {width} x {height} PNG: {e}"),
        )
    })?;
    Ok(out)
}

/// The bytes of an 8-bit palette file; `colours` are R G B of each value.
pub(super) fn encode_palette(
    width: usize,
    height: usize,
    data: &[u8],
    colours: &[u8],
) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width as u32, height as u32);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_palette(colours);
    let write = encoder.write_header().and_then(|mut w| {
        w.write_image_data(data)?;
        w.finish()
    });
    write.map_err(|e| {
        let text = format!("cannot encode a {width} x {height} palette PNG: {e}");
        Error::new(Code::Argument, text)
    })?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::image_file::{encode_png, read_image};
    use crate::mutation::mend_png;

    fn write(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn grey_alpha_and_sixteen_bits_are_converted() {
        let dir = tempfile::tempdir().unwrap();
        for (color, depth, data, expect) in [
            (
                ColorType::Grayscale,
                BitDepth::Eight,
                vec![7u8, 9],
                vec![7u8, 7, 7, 9, 9, 9],
            ),
            (
                ColorType::GrayscaleAlpha,
                BitDepth::Eight,
                vec![7, 0, 9, 255],
                vec![7, 7, 7, 9, 9, 9],
            ),
            (
                ColorType::Rgba,
                BitDepth::Eight,
                vec![1, 2, 3, 0, 4, 5, 6, 9],
                vec![1, 2, 3, 4, 5, 6],
            ),
            (
                ColorType::Grayscale,
                BitDepth::Sixteen,
                vec![200, 3, 10, 255],
                vec![200, 200, 200, 10, 10, 10],
            ),
            (
                ColorType::Grayscale,
                BitDepth::One,
                vec![0b1000_0000],
                vec![255, 255, 255, 0, 0, 0],
            ),
        ] {
            let mut out = Vec::new();
            let mut e = png::Encoder::new(&mut out, 2, 1);
            e.set_color(color);
            e.set_depth(depth);
            e.write_header().unwrap().write_image_data(&data).unwrap();
            assert_eq!(
                read_image(&write(&dir, "x.png", &out)).unwrap().data,
                expect,
                "{color:?} {depth:?}"
            );
        }
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = encode_png(&Image {
            height: 2,
            width: 2,
            data: vec![5; 12],
        })
        .unwrap();
        bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        // A right checksum, so that the size itself is what is refused.
        mend_png(&mut bytes);
        assert_eq!(
            read_image(&write(&dir, "bomb.png", &bytes))
                .unwrap_err()
                .code(),
            Code::TooLarge
        );
    }
}
