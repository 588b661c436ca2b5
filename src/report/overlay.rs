//! Boxes, class colours and legends on pictures.

use super::draw::{GAP, GROUND, PAPER, blend, fill, plain, text, text_width};
use super::{font, palette};
use crate::annotation::{BBox, Detection, IGNORE, Image, LabelMap, Object};
use crate::{Code, Error, Result};

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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(super::super::draw::row(&[]).data.len(), 0);
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
}
