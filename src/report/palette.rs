//! Colours: the same thing has the same colour in every picture and figure.

/// The 19 evaluated classes of Cityscapes and their colours (mcordts/cityscapesScripts, `helpers/labels.py`), by train id.
pub const CITYSCAPES: [(&str, [u8; 3]); 19] = [
    ("road", [128, 64, 128]),
    ("sidewalk", [244, 35, 232]),
    ("building", [70, 70, 70]),
    ("wall", [102, 102, 156]),
    ("fence", [190, 153, 153]),
    ("pole", [153, 153, 153]),
    ("traffic light", [250, 170, 30]),
    ("traffic sign", [220, 220, 0]),
    ("vegetation", [107, 142, 35]),
    ("terrain", [152, 251, 152]),
    ("sky", [70, 130, 180]),
    ("person", [220, 20, 60]),
    ("rider", [255, 0, 0]),
    ("car", [0, 0, 142]),
    ("truck", [0, 0, 70]),
    ("bus", [0, 60, 100]),
    ("train", [0, 80, 100]),
    ("motorcycle", [0, 0, 230]),
    ("bicycle", [119, 11, 32]),
];

/// Colours of boxes, by class index: bright on a street by day and by night, and told apart by most colour-blind eyes.
const BOXES: [[u8; 3]; 8] = [
    [255, 176, 0],
    [64, 200, 255],
    [255, 92, 170],
    [140, 230, 80],
    [190, 150, 255],
    [255, 120, 60],
    [80, 235, 205],
    [240, 230, 120],
];

/// Colour of the boxes of a detection class.
pub fn box_colour(class: usize) -> [u8; 3] {
    BOXES[class % BOXES.len()]
}

/// Colour of a segmentation class: that of Cityscapes where the name is one of its classes, else one of a fixed series.
pub fn label_colour(class: usize, name: &str) -> [u8; 3] {
    let plain = name.to_ascii_lowercase().replace(['_', '-'], " ");
    let alias = match plain.as_str() {
        "pedestrian" => "person",
        "cyclist" => "rider",
        "sign" => "traffic sign",
        "bike" => "bicycle",
        other => other,
    };
    match CITYSCAPES.iter().find(|(n, _)| *n == alias) {
        Some((_, colour)) => *colour,
        // The golden angle keeps neighbours in the list far apart in hue.
        None => hue(class as f64 * 137.508 + 20.0),
    }
}

/// Colours of all classes of a segmentation task, by id.
pub fn label_colours<S: AsRef<str>>(classes: &[S]) -> Vec<[u8; 3]> {
    classes
        .iter()
        .enumerate()
        .map(|(i, c)| label_colour(i, c.as_ref()))
        .collect()
}

fn hue(degrees: f64) -> [u8; 3] {
    [0.0, 120.0, 240.0].map(|shift| {
        let x = ((degrees - shift).rem_euclid(360.0) - 180.0).abs() / 180.0; // 1 at the channel's own hue
        (60.0 + 170.0 * (1.5 * x - 0.25).clamp(0.0, 1.0)) as u8
    })
}

/// Black or white, whichever reads better on `colour` (relative luminance of WCAG 2).
pub fn ink_on(colour: [u8; 3]) -> [u8; 3] {
    let l = luminance(colour);
    if (l + 0.05) * (l + 0.05) > 1.05 * 0.05 {
        [0, 0, 0]
    } else {
        [255, 255, 255]
    }
}

/// Relative luminance of an sRGB colour, 0 to 1 (WCAG 2).
pub fn luminance(colour: [u8; 3]) -> f64 {
    let linear = colour.map(|c| {
        let c = f64::from(c) / 255.0;
        if c <= 0.04045 {
            c / 12.92
        } else {
            ((c + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_the_colours_of_cityscapes() {
        assert_eq!(label_colour(3, "Road"), [128, 64, 128]);
        assert_eq!(label_colour(0, "traffic_sign"), [220, 220, 0]);
        assert_eq!(label_colour(0, "pedestrian"), [220, 20, 60]);
        let others: Vec<_> = (0..12).map(|i| label_colour(i, "thing")).collect();
        for (i, a) in others.iter().enumerate() {
            assert!(others[..i].iter().all(|b| a != b), "{others:?}");
        }
    }

    #[test]
    fn ink_has_contrast_of_at_least_4_5() {
        for c in (0..8).map(box_colour).chain(CITYSCAPES.map(|c| c.1)) {
            let (a, b) = (luminance(c) + 0.05, luminance(ink_on(c)) + 0.05);
            assert!(a.max(b) / a.min(b) >= 4.5, "{c:?}");
        }
    }
}
