//! Sample predictions beside ground truth, as pictures in a run directory and on the page.

use super::{draw, overlay, palette, records};
use crate::annotation::{BBox, Detection, Image, LabelMap, Object};
use crate::{Code, Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How strongly class colours cover the picture.
const OPACITY: f32 = 0.62;
/// Widths of one panel: smaller pictures are enlarged so that labels stay small beside them, larger ones shrunk.
const PANEL: std::ops::RangeInclusive<usize> = 420..=640;

/// A finished picture, its task (`det`, `seg`) and the name of the image it shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// `det` or `seg`.
    pub task: String,
    /// Name of the image in its data set.
    pub name: String,
    /// What to read from it, in a few words (`5 of 6 objects found`); may be empty.
    pub note: String,
    /// Panels side by side.
    pub picture: Image,
}

/// An entry of `samples.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// File name of the PNG, beside `samples.json`.
    pub file: String,
    /// `det` or `seg`.
    pub task: String,
    /// Name of the image in its data set.
    pub name: String,
    /// What to read from it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The size at which a picture is shown, and the factor to it.
fn panel_size(image: &Image) -> (usize, usize, f32) {
    let width = image.width.clamp(*PANEL.start(), *PANEL.end());
    let factor = width as f32 / image.width.max(1) as f32;
    (
        ((image.height as f32 * factor).round() as usize).max(1),
        width,
        factor,
    )
}

fn scaled(b: BBox, f: f32) -> BBox {
    BBox {
        x1: b.x1 * f,
        y1: b.y1 * f,
        x2: b.x2 * f,
        y2: b.y2 * f,
    }
}

/// Ground truth and prediction side by side. Boxes are in pixels of `image`.
pub fn detection<S: AsRef<str>>(
    image: &Image,
    truth: &[Object],
    predicted: &[Detection],
    classes: &[S],
) -> Image {
    let (height, width, f) = panel_size(image);
    let mut left = draw::resized(image, height, width);
    let mut right = left.clone();
    let truth: Vec<Object> = truth
        .iter()
        .map(|o| Object {
            bbox: scaled(o.bbox, f),
            ..*o
        })
        .collect();
    let predicted: Vec<Detection> = predicted
        .iter()
        .map(|d| Detection {
            bbox: scaled(d.bbox, f),
            ..*d
        })
        .collect();
    overlay::objects(&mut left, &truth, classes);
    overlay::detections(&mut right, &predicted, classes);
    draw::row(&[("ground truth", left), ("prediction", right)])
}

/// Ground truth, prediction and mistakes side by side, with a legend. Errors: [`Code::SizeMismatch`].
pub fn segmentation<S: AsRef<str>>(
    image: &Image,
    truth: &LabelMap,
    predicted: &LabelMap,
    classes: &[S],
) -> Result<Image> {
    let (height, width, _) = panel_size(image);
    let colours = palette::label_colours(classes);
    overlay::same_size(image, truth)?;
    overlay::same_size(image, predicted)?;
    let small = draw::resized(image, height, width);
    let (truth, predicted) = (
        draw::resized_labels(truth, height, width),
        draw::resized_labels(predicted, height, width),
    );
    let (mut left, mut right) = (small.clone(), small.clone());
    overlay::labels(&mut left, &truth, &colours, OPACITY)?;
    overlay::labels(&mut right, &predicted, &colours, OPACITY)?;
    let wrong = overlay::mistakes(&small, &truth, &predicted)?;
    let row = draw::row(&[
        ("ground truth", left),
        ("prediction", right),
        ("wrong pixels in red", wrong),
    ]);
    let legend = overlay::legend(&[&truth, &predicted], classes, row.width);
    Ok(match legend {
        Some(l) => draw::column(&[row, l]),
        None => row,
    })
}

/// A picture and maps of it side by side, each under its caption.
pub fn panels<const N: usize>(image: &Image, maps: [(&str, Image); N]) -> Image {
    let (height, width, _) = panel_size(image);
    let all: Vec<(&str, Image)> = std::iter::once(("picture", image.clone()))
        .chain(maps)
        .map(|(name, map)| (name, draw::resized(&map, height, width)))
        .collect();
    draw::row(&all)
}

/// What a network sees in one picture: class colours below, boxes above, a legend at the foot; at the picture's own
/// size, enlarged if it is small. Errors: [`Code::SizeMismatch`].
pub fn prediction<D: AsRef<str>, S: AsRef<str>>(
    image: &Image,
    boxes: Option<(&[Detection], &[D])>,
    map: Option<(&LabelMap, &[S])>,
) -> Result<Image> {
    let width = image.width.max(*PANEL.start());
    let f = width as f32 / image.width.max(1) as f32;
    let height = ((image.height as f32 * f).round() as usize).max(1);
    let mut out = draw::resized(image, height, width);
    let mut foot = None;
    if let Some((map, classes)) = map {
        overlay::same_size(image, map)?;
        let map = draw::resized_labels(map, height, width);
        overlay::labels(&mut out, &map, &palette::label_colours(classes), 0.5)?;
        foot = overlay::legend(&[&map], classes, width);
    }
    if let Some((list, classes)) = boxes {
        let list: Vec<Detection> = list
            .iter()
            .map(|d| Detection {
                bbox: scaled(d.bbox, f),
                ..*d
            })
            .collect();
        overlay::detections(&mut out, &list, classes);
    }
    Ok(match foot {
        Some(l) => draw::column(&[out, l]),
        None => out,
    })
}

/// Writes pictures and `samples.json` into `dir`, which is made if needed. Errors: those of writing.
pub fn write(dir: &Path, samples: &[Sample]) -> Result<()> {
    crate::files::create_dir(dir)?;
    let mut list = Vec::new();
    for (i, s) in samples.iter().enumerate() {
        let file = format!("{}-{i:03}.png", s.task);
        let path = dir.join(&file);
        crate::files::write_atomic(&path, &draw::png(&s.picture)?)?;
        list.push(SampleRecord {
            file,
            task: s.task.clone(),
            name: s.name.clone(),
            note: s.note.clone(),
        });
    }
    let path = dir.join("samples.json");
    crate::files::write_atomic(&path, records::to_file(&list).as_bytes())
}

/// The entries of `samples.json` with their files; an empty list if there is none. Errors: a damaged list, a file name
/// that leaves the directory.
pub fn read(dir: &Path) -> Result<Vec<(SampleRecord, PathBuf)>> {
    let path = dir.join("samples.json");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let list: Vec<SampleRecord> = records::read_file(&path)?;
    list.into_iter()
        .map(|s| {
            if s.file.contains(['/', '\\']) || s.file.starts_with('.') {
                let message = format!("`{}` is not the name of a file in this directory", s.file);
                return Err(Error::new(Code::BadLine, message).at(path.display()));
            }
            let file = dir.join(&s.file);
            Ok((s, file))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fabricate;
    use super::*;

    #[test]
    fn pictures_and_their_list_come_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), vec![]);
        let samples = fabricate::samples();
        write(dir.path(), &samples).unwrap();
        let back = read(dir.path()).unwrap();
        assert_eq!(back.len(), samples.len());
        for ((record, file), sample) in back.iter().zip(&samples) {
            assert_eq!(
                (&record.task, &record.name, &record.note),
                (&sample.task, &sample.name, &sample.note)
            );
            let decoded = image::open(file).unwrap().into_rgb8();
            assert_eq!(decoded.as_raw(), &sample.picture.data);
        }
        std::fs::write(
            dir.path().join("samples.json"),
            r#"[{"file":"../x.png","task":"det","name":"x"}]"#,
        )
        .unwrap();
        assert!(read(dir.path()).unwrap_err().message().contains("../x.png"));
    }

    #[test]
    fn sizes_must_agree() {
        let image = draw::plain(8, 8, [0; 3]);
        let map = |height, width| LabelMap {
            height,
            width,
            data: vec![0; height * width],
        };
        let e = segmentation(&image, &map(8, 8), &map(8, 9), &["road"]).unwrap_err();
        assert_eq!(e.code(), Code::SizeMismatch);
        let e = prediction::<&str, &str>(&image, None, Some((&map(4, 4), &["road"]))).unwrap_err();
        assert_eq!(e.code(), Code::SizeMismatch);
    }

    #[test]
    fn boxes_keep_their_place_when_a_picture_is_enlarged() {
        let image = draw::plain(60, 100, [90; 3]);
        let bbox = BBox {
            x1: 50.0,
            y1: 30.0,
            x2: 90.0,
            y2: 50.0,
        };
        let list = [Detection {
            class: 1,
            score: 0.5,
            bbox,
        }];
        let out = prediction::<_, &str>(&image, Some((&list, &["car", "person"])), None).unwrap();
        assert_eq!((out.height, out.width), (252, 420));
        let at = |x: usize, y: usize| &out.data[(y * out.width + x) * 3..][..3];
        let colour = palette::box_colour(1);
        assert_eq!(at(210, 160), colour, "left edge at 50 * 4.2");
        assert_eq!(at(377, 160), colour, "right edge at 90 * 4.2");
        assert_eq!(at(300, 210), colour, "lower edge at 50 * 4.2");
        assert_eq!(at(300, 170), [90; 3], "inside is untouched");
    }
}
