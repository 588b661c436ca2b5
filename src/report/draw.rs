//! Boxes, labels and class colours on pictures; pictures side by side and in sheets.

use super::{font, palette};
use crate::annotation::{BBox, Detection, IGNORE, Image, LabelMap, Object};
use crate::{Code, Error, Result};

/// Ground behind captions and between pictures: looks right on a light and on a dark page.
const GROUND: [u8; 3] = [32, 36, 42];
const PAPER: [u8; 3] = [236, 239, 243];
/// Pixels between pictures.
const GAP: usize = 4;

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

fn blend(pixel: &mut [u8], colour: [u8; 3], opacity: f32) {
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

fn name_of<S: AsRef<str>>(classes: &[S], class: usize) -> String {
    classes
        .get(class)
        .map_or_else(|| format!("class {class}"), |c| c.as_ref().to_string())
}

/// Draws detections: a box and `class 0.87` in the colour of its class; the surest lies on top.
pub fn detections<S: AsRef<str>>(image: &mut Image, list: &[Detection], classes: &[S]) {
    let mut order: Vec<&Detection> = list.iter().collect();
    order.sort_by(|a, b| a.score.total_cmp(&b.score));
    let boxes: Vec<(BBox, usize, String)> = order
        .iter()
        .map(|d| {
            (
                d.bbox,
                d.class,
                format!("{} {:.2}", name_of(classes, d.class), d.score),
            )
        })
        .collect();
    draw_boxes(image, &boxes);
}

/// Draws ground truth: a box and its class; boxes that metrics ignore are grey and say so.
pub fn objects<S: AsRef<str>>(image: &mut Image, list: &[Object], classes: &[S]) {
    let name = |o: &Object| {
        if o.ignore {
            "ignored".to_string()
        } else {
            name_of(classes, o.class)
        }
    };
    let boxes: Vec<(BBox, usize, String)> = list
        .iter()
        .map(|o| (o.bbox, if o.ignore { usize::MAX } else { o.class }, name(o)))
        .collect();
    draw_boxes(image, &boxes);
}

/// `usize::MAX` as class: a box that does not count.
fn draw_boxes(image: &mut Image, boxes: &[(BBox, usize, String)]) {
    let mut taken: Vec<[i64; 4]> = Vec::new();
    let finite = |b: &BBox| [b.x1, b.y1, b.x2, b.y2].iter().all(|v| v.is_finite());
    let visible: Vec<_> = boxes.iter().filter(|b| finite(&b.0)).collect();
    for (bbox, class, _) in &visible {
        outline(image, edges(bbox), colour_of(*class));
    }
    // Labels after all boxes, the surest first, so that it gets the best place.
    for (bbox, class, label) in visible.iter().rev() {
        let colour = colour_of(*class);
        let [x0, y0, x1, y1] = edges(bbox);
        let (w, h) = (text_width(label) as i64 + 4, font::HEIGHT as i64);
        let left = x0.min(image.width as i64 - w).max(0);
        let right = (x1 - w).clamp(0, (image.width as i64 - w).max(0));
        let places = [
            (left, y0 - h + 1),
            (left, y1 - 1),
            (right, y0 - h + 1),
            (right, y1 - 1),
            (left, y0),
        ];
        let free = |&(x, y): &(i64, i64)| {
            y >= 0
                && y + h <= image.height as i64
                && taken
                    .iter()
                    .all(|t| x >= t[2] || t[0] >= x + w || y >= t[3] || t[1] >= y + h)
        };
        let (x, y) = *places
            .iter()
            .find(|p| free(p))
            .unwrap_or(&(left, y0.max(0)));
        fill(image, [x, y, x + w, y + h], colour, 1.0);
        text(image, x + 2, y, label, palette::ink_on(colour));
        taken.push([x, y, x + w, y + h]);
    }
}

fn colour_of(class: usize) -> [u8; 3] {
    if class == usize::MAX {
        [170, 170, 170]
    } else {
        palette::box_colour(class)
    }
}

/// Pixel edges; beyond a million pixels they are cut, which no picture can tell.
fn edges(b: &BBox) -> [i64; 4] {
    [b.x1, b.y1, b.x2, b.y2].map(|v| v.round().clamp(-1e6, 1e6) as i64)
}

/// A line of two pixels with a dark one on either side, so that it shows on any ground.
fn outline(image: &mut Image, [x0, y0, x1, y1]: [i64; 4], colour: [u8; 3]) {
    let mut frame = |grow: i64, thick: i64, colour, opacity| {
        let [a, b, c, d] = [x0 - grow, y0 - grow, x1 + grow, y1 + grow];
        fill(image, [a, b, c, b + thick], colour, opacity);
        fill(image, [a, d - thick, c, d], colour, opacity);
        fill(image, [a, b + thick, a + thick, d - thick], colour, opacity);
        fill(image, [c - thick, b + thick, c, d - thick], colour, opacity);
    };
    frame(2, 1, [0, 0, 0], 0.6);
    frame(-1, 1, [0, 0, 0], 0.6);
    frame(1, 2, colour, 1.0);
}

/// Errors: [`Code::SizeMismatch`].
pub(super) fn same_size(image: &Image, map: &LabelMap) -> Result<()> {
    if (image.height, image.width) == (map.height, map.width) {
        return Ok(());
    }
    let (h, w, mh, mw) = (image.height, image.width, map.height, map.width);
    Err(Error::new(
        Code::SizeMismatch,
        format!("the image is {h} x {w} pixels, the label map {mh} x {mw}"),
    ))
}

/// Lays the colour of each pixel's class over the picture (`opacity` 0 to 1); pixels with [`IGNORE`] or an id beyond
/// `colours` stay as they are. Errors: [`Code::SizeMismatch`].
pub fn labels(image: &mut Image, map: &LabelMap, colours: &[[u8; 3]], opacity: f32) -> Result<()> {
    same_size(image, map)?;
    for (pixel, &id) in image.data.chunks_exact_mut(3).zip(&map.data) {
        if let Some(&colour) = colours.get(id as usize) {
            blend(pixel, colour, opacity);
        }
    }
    Ok(())
}

/// The picture in grey with wrong pixels in red; pixels that do not count are dark. Errors: [`Code::SizeMismatch`].
pub fn mistakes(image: &Image, truth: &LabelMap, predicted: &LabelMap) -> Result<Image> {
    same_size(image, truth)?;
    same_size(image, predicted)?;
    let mut out = image.clone();
    for (pixel, (&t, &p)) in out
        .data
        .chunks_exact_mut(3)
        .zip(truth.data.iter().zip(&predicted.data))
    {
        let grey = (f32::from(pixel[0]) * 0.3
            + f32::from(pixel[1]) * 0.59
            + f32::from(pixel[2]) * 0.11) as u8;
        pixel.fill(if t == IGNORE { grey / 4 } else { 64 + grey / 2 });
        if t != IGNORE && t != p {
            blend(pixel, [235, 40, 40], 0.75);
        }
    }
    Ok(out)
}

/// A legend of the classes that occur in the maps, as wide as `width`; none if no class occurs.
pub fn legend<S: AsRef<str>>(maps: &[&LabelMap], classes: &[S], width: usize) -> Option<Image> {
    let colours = palette::label_colours(classes);
    let present = (0..classes.len()).filter(|&c| {
        maps.iter()
            .any(|m| m.data.iter().any(|&id| id as usize == c))
    });
    let line = font::HEIGHT + 4;
    let (mut x, mut y) = (GAP, 0);
    let mut places = Vec::new();
    for c in present {
        let w = 18 + text_width(classes[c].as_ref()) + 12;
        if x > GAP && x + w > width {
            (x, y) = (GAP, y + line);
        }
        places.push((c, x as i64, y as i64));
        x += w;
    }
    places.first()?;
    let mut image = plain(y + line, width, GROUND);
    for (c, x, y) in places {
        fill(&mut image, [x, y + 3, x + 13, y + 14], PAPER, 1.0);
        fill(&mut image, [x + 1, y + 4, x + 12, y + 13], colours[c], 1.0);
        text(&mut image, x + 18, y + 2, classes[c].as_ref(), PAPER);
    }
    Some(image)
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
    fn nothing_is_drawn_outside_and_nothing_panics() {
        let wild = [f32::NAN, f32::INFINITY, -1e30, 1e30, -5.0, 3.0, 50.0];
        let mut image = plain(9, 11, [7; 3]);
        for &x1 in &wild {
            for &y2 in &wild {
                let bbox = BBox {
                    x1,
                    y1: -2.0,
                    x2: 6.0,
                    y2,
                };
                detections(
                    &mut image,
                    &[Detection {
                        class: 9,
                        score: f32::NAN,
                        bbox,
                    }],
                    &["car"],
                );
                objects(
                    &mut image,
                    &[Object {
                        class: 0,
                        bbox,
                        ignore: true,
                    }],
                    &["car"],
                );
            }
        }
        assert_eq!(image.data.len(), 9 * 11 * 3);
        assert!(legend::<&str>(&[], &[], 10).is_none());
        assert_eq!(row(&[]).data.len(), 0);
    }

    #[test]
    fn labels_blend_and_leave_ignored_pixels() {
        let mut image = plain(1, 3, [100; 3]);
        let map = LabelMap {
            height: 1,
            width: 3,
            data: vec![0, IGNORE, 1],
        };
        labels(&mut image, &map, &[[200, 0, 100], [0, 0, 0]], 0.5).unwrap();
        assert_eq!(image.data, [150, 50, 100, 100, 100, 100, 50, 50, 50]);
    }

    #[test]
    fn mistakes_are_red() {
        let map = |data: [u8; 3]| LabelMap {
            height: 1,
            width: 3,
            data: data.to_vec(),
        };
        let out = mistakes(
            &plain(1, 3, [100; 3]),
            &map([0, 0, IGNORE]),
            &map([0, 1, 1]),
        )
        .unwrap();
        assert!(out.data[3] > 180 && out.data[4] < 80, "{:?}", out.data);
        assert!(
            out.data[0] == out.data[1] && out.data[6] < 40,
            "{:?}",
            out.data
        );
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
