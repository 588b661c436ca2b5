//! Pictures: plain, resized, as PNG, with text, side by side and in sheets.

use super::font;
use crate::annotation::{Image, LabelMap};
use crate::{Code, Error, Result};

/// Ground behind captions and between pictures: looks right on a light and on a dark page.
pub(super) const GROUND: [u8; 3] = [32, 36, 42];
/// Text on it.
pub(super) const PAPER: [u8; 3] = [236, 239, 243];
/// Pixels between pictures.
pub(super) const GAP: usize = 4;

/// An image of one colour.
pub fn plain(height: usize, width: usize, colour: [u8; 3]) -> Image {
    Image {
        height,
        width,
        data: colour
            .iter()
            .copied()
            .cycle()
            .take(height * width * 3)
            .collect(),
    }
}

/// The picture as a PNG file.
pub fn png(image: &Image) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (w, h) = (image.width as u32, image.height as u32);
    image::write_buffer_with_format(
        &mut std::io::Cursor::new(&mut bytes),
        &image.data,
        w,
        h,
        image::ExtendedColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .map_err(|e| {
        Error::new(
            Code::BadImage,
            format!("a picture of {h} x {w} pixels cannot be encoded: {e}"),
        )
    })?;
    Ok(bytes)
}

/// The picture at another size, smooth. Sizes are at least one pixel.
pub fn resized(image: &Image, height: usize, width: usize) -> Image {
    let (height, width) = (height.max(1), width.max(1));
    if (height, width) == (image.height, image.width) || image.data.is_empty() {
        return image.clone();
    }
    let buffer =
        image::RgbImage::from_raw(image.width as u32, image.height as u32, image.data.clone())
            .expect("an Image holds height * width * 3 bytes");
    let filter = image::imageops::FilterType::CatmullRom;
    Image {
        height,
        width,
        data: image::imageops::resize(&buffer, width as u32, height as u32, filter).into_raw(),
    }
}

/// The label map at another size, nearest neighbour.
pub fn resized_labels(map: &LabelMap, height: usize, width: usize) -> LabelMap {
    let mut data = Vec::with_capacity(height * width);
    for y in 0..height {
        for x in 0..width {
            data.push(map.data[(y * map.height / height) * map.width + x * map.width / width]);
        }
    }
    LabelMap {
        height,
        width,
        data,
    }
}

/// Fills `y0 <= y < y1`, `x0 <= x < x1`, clipped to the image; opacity 0 to 1.
pub fn fill(image: &mut Image, [x0, y0, x1, y1]: [i64; 4], colour: [u8; 3], opacity: f32) {
    let clip = |v: i64, limit: usize| v.clamp(0, limit as i64) as usize;
    let (left, right) = (clip(x0, image.width), clip(x1, image.width));
    for y in clip(y0, image.height)..clip(y1, image.height) {
        for x in left..right {
            blend(
                &mut image.data[(y * image.width + x) * 3..][..3],
                colour,
                opacity,
            );
        }
    }
}

/// Mixes a colour into a pixel.
pub(super) fn blend(pixel: &mut [u8], colour: [u8; 3], opacity: f32) {
    for (p, c) in pixel.iter_mut().zip(colour) {
        *p = (f32::from(*p) * (1.0 - opacity) + f32::from(c) * opacity).round() as u8;
    }
}

/// Writes `text` with its top left corner at (x, y), clipped to the image.
pub fn text(image: &mut Image, x: i64, y: i64, text: &str, colour: [u8; 3]) {
    for (i, letter) in text.chars().enumerate() {
        for (row, bits) in font::glyph(letter).iter().enumerate() {
            for column in 0..font::WIDTH {
                if bits & (0x80 >> column) != 0 {
                    let (px, py) = (x + (i * font::WIDTH + column) as i64, y + row as i64);
                    fill(image, [px, py, px + 1, py + 1], colour, 1.0);
                }
            }
        }
    }
}

/// Width of `text` in pixels.
pub fn text_width(text: &str) -> usize {
    text.chars().count() * font::WIDTH
}

/// Pictures side by side, each under its caption.
pub fn row(panels: &[(&str, Image)]) -> Image {
    let caption = font::HEIGHT + 4;
    let width = panels
        .iter()
        .map(|p| p.1.width + GAP)
        .sum::<usize>()
        .saturating_sub(GAP);
    let height = panels.iter().map(|p| p.1.height).max().unwrap_or(0) + caption;
    let mut out = plain(height, width, GROUND);
    let mut x = 0;
    for (name, image) in panels {
        text(&mut out, x as i64 + 3, 2, name, PAPER);
        paste(&mut out, image, x, caption);
        x += image.width + GAP;
    }
    out
}

/// Pictures below each other, left-aligned.
pub fn column(images: &[Image]) -> Image {
    let width = images.iter().map(|i| i.width).max().unwrap_or(0);
    let height = images
        .iter()
        .map(|i| i.height + GAP)
        .sum::<usize>()
        .saturating_sub(GAP);
    let mut out = plain(height, width, GROUND);
    let mut y = 0;
    for image in images {
        paste(&mut out, image, 0, y);
        y += image.height + GAP;
    }
    out
}

/// A contact sheet: pictures in rows of `columns`, each row as high as its highest picture.
pub fn sheet(images: &[Image], columns: usize) -> Image {
    let rows: Vec<Image> = images
        .chunks(columns.max(1))
        .map(|chunk| {
            let width = chunk.iter().map(|i| i.width + GAP).sum::<usize>() - GAP;
            let mut out = plain(
                chunk.iter().map(|i| i.height).max().unwrap_or(0),
                width,
                GROUND,
            );
            let mut x = 0;
            for image in chunk {
                paste(&mut out, image, x, 0);
                x += image.width + GAP;
            }
            out
        })
        .collect();
    column(&rows)
}

/// Copies `image` into `out` with its top left corner at (x, y); it must fit.
fn paste(out: &mut Image, image: &Image, x: usize, y: usize) {
    for row in 0..image.height {
        let from = row * image.width * 3;
        let to = ((y + row) * out.width + x) * 3;
        out.data[to..to + image.width * 3]
            .copy_from_slice(&image.data[from..from + image.width * 3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_ink_of_its_letters() {
        let mut image = plain(20, 40, [0; 3]);
        text(&mut image, 3, 4, "mIoU", [255; 3]);
        let ink = image.data.iter().filter(|&&v| v == 255).count() / 3;
        let wanted: u32 = "mIoU"
            .chars()
            .flat_map(font::glyph)
            .map(|row| row.count_ones())
            .sum();
        assert_eq!(ink, wanted as usize);
    }

    #[test]
    fn a_sheet_holds_every_picture() {
        let pictures: Vec<Image> = (1..=5).map(|i| plain(10 + i, 20, [i as u8; 3])).collect();
        let out = sheet(&pictures, 2);
        assert_eq!(
            (out.height, out.width),
            (12 + 14 + 15 + 2 * GAP, 20 * 2 + GAP)
        );
        for i in 1..=5u8 {
            let n = out.data.chunks_exact(3).filter(|p| *p == [i; 3]).count();
            assert_eq!(n, (10 + i as usize) * 20);
        }
    }
}
