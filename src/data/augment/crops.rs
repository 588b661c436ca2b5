//! Which window of a picture each kind of crop draws.

use super::Augmentation;
use crate::annotation::{Annotation, BBox};
use crate::data::transform::Window;
use crate::rng::Rng;

/// Tries of an SSD crop before the picture is left whole.
const CROP_TRIES: usize = 50;

impl Augmentation {
    pub(super) fn ssd(&self, rng: &mut Rng, whole: Window, annotation: &Annotation) -> Window {
        let mut canvas = whole;
        if rng.coin(0.5) {
            let ratio = rng.range(1.0, self.expand);
            canvas.x = -rng.range(0.0, whole.width * (ratio - 1.0));
            canvas.y = -rng.range(0.0, whole.height * (ratio - 1.0));
            canvas.width *= ratio;
            canvas.height *= ratio;
        }
        // One of the reference's six crop modes is "none"; the other five differ in conditions that it disables.
        if !rng.coin(5.0 / 6.0) {
            return canvas;
        }
        let objects = annotation.parts().iter().flat_map(|p| match p {
            Annotation::Objects(o) => o.as_slice(),
            _ => &[],
        });
        let boxes: Vec<BBox> = objects.filter(|o| !o.ignore).map(|o| o.bbox).collect();
        for _ in 0..CROP_TRIES {
            let width = canvas.width * rng.range(self.min_side, 1.0);
            let height = canvas.height * rng.range(self.min_side, 1.0);
            let x = canvas.x + rng.range(0.0, canvas.width - width);
            let y = canvas.y + rng.range(0.0, canvas.height - height);
            let window = Window {
                x,
                y,
                width,
                height,
                flip: false,
            };
            if boxes.is_empty() || boxes.iter().any(|b| holds_centre(&window, b)) {
                return window;
            }
        }
        canvas
    }

    pub(super) fn random_resized(&self, rng: &mut Rng, whole: Window) -> Window {
        for _ in 0..10 {
            let area = whole.width * whole.height * rng.range(self.min_area, 1.0);
            let ratio = rng.range((3.0f64 / 4.0).ln(), (4.0f64 / 3.0).ln()).exp();
            let (width, height) = ((area * ratio).sqrt(), (area / ratio).sqrt());
            if width <= whole.width && height <= whole.height {
                let x = rng.range(0.0, whole.width - width);
                let y = rng.range(0.0, whole.height - height);
                return Window {
                    x,
                    y,
                    width,
                    height,
                    flip: false,
                };
            }
        }
        centre(whole, 1.0)
    }
}

/// A picture scaled by 0.5 to 1.5 to whole pixels, of which `size` are seen: anywhere if it is larger, with an even border if it is
/// smaller, each axis for itself (AutoMTL, AdaShare).
pub(super) fn scale(rng: &mut Rng, whole: Window, size: (usize, usize)) -> Window {
    let factor = rng.range(0.5, 1.5);
    let mut axis = |extent: f64, seen: usize| {
        let scaled = ((extent * factor) as usize).max(1);
        let start = match scaled >= seen {
            true => rng.below(scaled - seen + 1) as f64,
            false => -(((seen - scaled) / 2) as f64),
        };
        let pixel = extent / scaled as f64;
        (start * pixel, seen as f64 * pixel)
    };
    let (x, width) = axis(whole.width, size.1);
    let (y, height) = axis(whole.height, size.0);
    Window {
        x,
        y,
        width,
        height,
        flip: false,
    }
}

/// A part of whole pixels, 1, 1.2 or 1.5 times smaller than the picture (MTAN).
pub(super) fn zoom(rng: &mut Rng, whole: Window) -> Window {
    let by = [1.0, 1.2, 1.5][rng.below(3)];
    let mut axis = |extent: f64| {
        let part = (extent / by).floor().max(1.0);
        (rng.below((extent - part) as usize + 1) as f64, part)
    };
    let (y, height) = axis(whole.height);
    let (x, width) = axis(whole.width);
    Window {
        x,
        y,
        width,
        height,
        flip: false,
    }
}

/// The middle square of a picture whose side is `share` of the shorter side.
pub fn centre(whole: Window, share: f64) -> Window {
    let side = whole.width.min(whole.height) * share;
    let x = whole.x + (whole.width - side) / 2.0;
    let y = whole.y + (whole.height - side) / 2.0;
    Window {
        x,
        y,
        width: side,
        height: side,
        flip: false,
    }
}

/// Whether the middle of a box lies in a window.
pub(super) fn holds_centre(w: &Window, b: &BBox) -> bool {
    let x = (b.x1 + b.x2) as f64 / 2.0;
    let y = (b.y1 + b.y2) as f64 / 2.0;
    w.x < x && x < w.x + w.width && w.y < y && y < w.y + w.height
}
