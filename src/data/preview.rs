//! A contact sheet of a data set: pictures with their boxes, or beside their label maps.

use super::dataset::{Dataset, Sample};
use super::transform::{View, Window, resize};
use crate::annotation::{
    Annotation, BBox, IGNORE, Image, LabelMap, NormalSpace, Quantity, ValueMap,
};
use crate::error::Result;

/// Colours of the 19 Cityscapes classes; further classes go round again.
pub const PALETTE: [[u8; 3]; 19] = [
    [128, 64, 128],
    [244, 35, 232],
    [70, 70, 70],
    [102, 102, 156],
    [190, 153, 153],
    [153, 153, 153],
    [250, 170, 30],
    [220, 220, 0],
    [107, 142, 35],
    [152, 251, 152],
    [70, 130, 180],
    [220, 20, 60],
    [255, 0, 0],
    [0, 0, 142],
    [0, 0, 70],
    [0, 60, 100],
    [0, 80, 100],
    [0, 0, 230],
    [119, 11, 32],
];

/// Colours of boxes that differ also without colour vision (Okabe and Ito).
pub const BOXES: [[u8; 3]; 6] = [
    [230, 159, 0],
    [86, 180, 233],
    [0, 158, 115],
    [240, 228, 66],
    [213, 94, 0],
    [204, 121, 167],
];

/// White space between pictures, pixels.
const GAP: usize = 3;

/// A sheet of the samples at `indices`, about `columns` wide, each picture `width` pixels wide. Segmentation samples take two
/// places: picture and classes; those with more targets one for each. Of several samples none is broken at the end of a row. Boxes of
/// ignored objects are dashed grey.
///
/// # Errors
/// The first sample that cannot be read.
pub fn sheet(set: &dyn Dataset, indices: &[usize], columns: usize, width: usize) -> Result<Image> {
    let width = width.clamp(16, 2048);
    let (mut cells, mut most) = (vec![], 1);
    for &i in indices {
        let sample = set.load(i)?;
        let aspect = sample.image.height as f64 / sample.image.width as f64;
        let height = ((width as f64 * aspect).round() as usize).clamp(1, 4 * width);
        let of_sample = pictures(&sample, height, width)?;
        most = most.max(of_sample.len());
        cells.extend(of_sample);
    }
    let whole = match indices.len() {
        0 | 1 => columns,
        _ => (columns / most).max(1) * most,
    };
    Ok(arrange(&cells, whole.max(1), width))
}

fn pictures(sample: &Sample, height: usize, width: usize) -> Result<Vec<Image>> {
    let source = (sample.image.height, sample.image.width);
    let view = View::new(&Window::whole(source.0, source.1), source, (height, width));
    let mut image = resize(&sample.image, height, width)?;
    let mut maps = vec![];
    for part in view.annotation(&sample.annotation).parts() {
        match part {
            Annotation::Objects(objects) => {
                for o in objects {
                    let colour = match o.ignore {
                        true => [160; 3],
                        false => BOXES[o.class % BOXES.len()],
                    };
                    outline(&mut image, &o.bbox, colour, o.ignore);
                }
            }
            Annotation::Labels(labels) => maps.push(coloured(labels)),
            Annotation::Values(map) => maps.push(shaded(map)),
            Annotation::Class(_) | Annotation::Joint(_) => {}
        }
    }
    maps.insert(0, image);
    Ok(maps)
}

/// A map of values as a picture, what is not known black: normals as red, green and blue; others grey, the largest white.
pub fn shaded(map: &ValueMap) -> Image {
    let pixels = map.valid.len();
    let known = || (0..map.data.len()).filter(|i| map.valid[i % pixels]);
    let range = match map.quantity {
        Quantity::Normals(NormalSpace::True) => (-1.0, 1.0),
        Quantity::Normals(NormalSpace::Encoded) => (0.0, 1.0),
        _ => known().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), i| {
            (low.min(map.data[i]), high.max(map.data[i]))
        }),
    };
    let level = |v: f32| ((v - range.0) / (range.1 - range.0).max(1e-12) * 255.0) as u8;
    let pixel = |i: usize| match (map.valid[i], map.quantity.planes()) {
        (false, _) => [0; 3],
        (true, 3) => std::array::from_fn(|c| level(map.data[c * pixels + i])),
        (true, _) => [level(map.data[i]); 3],
    };
    Image {
        height: map.height,
        width: map.width,
        data: (0..pixels).flat_map(pixel).collect(),
    }
}

/// A label map in the colours of its classes, ignored pixels black.
pub fn coloured(labels: &LabelMap) -> Image {
    let colour = |l: u8| {
        if l == IGNORE {
            [0; 3]
        } else {
            PALETTE[l as usize % PALETTE.len()]
        }
    };
    let data = labels.data.iter().flat_map(|&l| colour(l)).collect();
    Image {
        height: labels.height,
        width: labels.width,
        data,
    }
}

/// Draws the edges of a box.
pub fn outline(image: &mut Image, b: &BBox, colour: [u8; 3], dashed: bool) {
    let clip = |v: f32, n: usize| (v.max(0.0) as usize).min(n - 1);
    let (x1, x2) = (clip(b.x1, image.width), clip(b.x2 - 0.5, image.width));
    let (y1, y2) = (clip(b.y1, image.height), clip(b.y2 - 0.5, image.height));
    let mut dot = |x: usize, y: usize| {
        if !dashed || (x + y) % 6 < 3 {
            let i = (y * image.width + x) * 3;
            image.data[i..i + 3].copy_from_slice(&colour);
        }
    };
    for x in x1..=x2 {
        dot(x, y1);
        dot(x, y2);
    }
    for y in y1..=y2 {
        dot(x1, y);
        dot(x2, y);
    }
}

fn arrange(cells: &[Image], columns: usize, width: usize) -> Image {
    let columns = columns.min(cells.len().max(1));
    let heights: Vec<usize> = cells
        .chunks(columns)
        .map(|row| row.iter().map(|c| c.height).max().unwrap_or(0))
        .collect();
    let height = heights.iter().map(|h| h + GAP).sum::<usize>() + GAP;
    let total = columns * (width + GAP) + GAP;
    let mut sheet = Image {
        height,
        width: total,
        data: vec![255; height * total * 3],
    };
    let mut top = GAP;
    for (row, h) in cells.chunks(columns).zip(heights) {
        for (k, cell) in row.iter().enumerate() {
            let left = GAP + k * (width + GAP);
            for y in 0..cell.height {
                let to = ((top + y) * total + left) * 3;
                sheet.data[to..to + cell.width * 3]
                    .copy_from_slice(&cell.data[y * cell.width * 3..][..cell.width * 3]);
            }
        }
        top += h + GAP;
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cityscapes::{Cityscapes, CityscapesConfig};
    use crate::data::kitti::{Kitti, KittiConfig};
    use crate::data::synth::{SynthConfig, generate};

    #[test]
    fn sheets_show_boxes_and_classes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("set");
        let config = SynthConfig {
            size: [48, 64],
            train: 6,
            val: 1,
            folder_train: 0,
            ..Default::default()
        };
        generate(&root, &config).unwrap();
        let k = Kitti::open(&root.join("kitti"), "train", &KittiConfig::default()).unwrap();
        let s = sheet(&k, &[0, 1, 2, 3, 4], 3, 64).unwrap();
        assert_eq!((s.height, s.width), (2 * 51 + 3, 3 * 67 + 3));
        let has = |s: &Image, c: [u8; 3]| s.data.chunks_exact(3).any(|p| p == c);
        assert!(has(&s, BOXES[0]), "a car is outlined");
        let c = Cityscapes::open(
            &root.join("cityscapes"),
            "train",
            &CityscapesConfig::default(),
        )
        .unwrap();
        let s = sheet(&c, &[0, 1], 2, 32).unwrap();
        assert!(
            has(&s, PALETTE[0]) && has(&s, PALETTE[10]),
            "road and sky are coloured"
        );
    }
}
