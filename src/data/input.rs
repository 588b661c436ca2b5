//! One sample as network input.

use std::ops::Range;

use super::augment::{Augmentation, centre};
use super::config::OnCorrupt;
use super::dataset::Sample;
use super::normalise::Normalise;
use super::photometric::Photometric;
use super::pixels;
use super::transform::{View, Window};
use crate::annotation::Annotation;
use crate::error::{Code, Error, Result};
use crate::rng::Rng;

/// What an image looks like to the network, and how unreadable samples are met.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Network input (height, width).
    pub size: (usize, usize),
    /// Mean and standard deviation.
    pub normalise: Normalise,
    /// Without augmentation, the network sees the middle square of this share of the shorter side; `None`: the whole
    /// picture. For classification only.
    pub centre: Option<f64>,
    /// Policy for unreadable samples.
    pub on_corrupt: OnCorrupt,
}

/// What the network sees of one picture: everything that is drawn for it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Which window of it, mirrored or not.
    pub view: View,
    /// Changes of the colours.
    pub photometric: Option<Photometric>,
    /// Colour outside the picture, 0 to 255; `None` for the mean.
    pub border: Option<f32>,
    /// Rows and columns of the network input that are set to the mean.
    pub hole: Option<[Range<usize>; 2]>,
    /// Its annotation without what the window leaves out, in pixels of the picture.
    pub annotation: Annotation,
}

impl Input {
    /// The default policy at this size.
    pub fn new(height: usize, width: usize) -> Input {
        Input {
            size: (height, width),
            normalise: Normalise::default(),
            centre: None,
            on_corrupt: OnCorrupt::Error,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.normalise.check()?;
        let (h, w) = self.size;
        if h == 0 || w == 0 || h > 1 << 14 || w > 1 << 14 {
            let text = format!("the network input must be 1 to 16384 pixels a side, got {h} x {w}");
            return Err(Error::new(Code::ConfigValue, text));
        }
        match self.centre {
            Some(c) if !(c > 0.0 && c <= 1.0) => {
                let text = format!("`centre` must be above 0 and at most 1, got {c}");
                Err(Error::new(Code::ConfigValue, text))
            }
            _ => Ok(()),
        }
    }

    /// What the network sees of a picture of `source` (height, width) with this annotation. With an augmentation, `rng` makes
    /// its draws.
    pub fn see(
        &self,
        source: (usize, usize),
        annotation: &Annotation,
        augment: Option<(&Augmentation, &mut Rng)>,
    ) -> Seen {
        let whole = Window::whole(source.0, source.1);
        let (mut photometric, mut border, mut hole) = (None, None, None);
        let (window, annotation) = match augment {
            None => {
                let window = match (self.centre, annotation) {
                    (Some(share), Annotation::Class(_)) => centre(whole, share),
                    _ => whole,
                };
                (window, annotation.clone())
            }
            Some((config, rng)) => {
                let window = config.window(rng, source, self.size, annotation);
                photometric = match (config.photometric, config.jitter) {
                    (true, _) => Some(Photometric::draw(rng)),
                    (false, true) => Some(Photometric::jitter(rng)),
                    _ => None,
                };
                border = config.border();
                hole = config.hole(rng, self.size);
                (window, config.seen(annotation, &window, source, self.size))
            }
        };
        Seen {
            view: View::new(&window, source, self.size),
            photometric,
            border,
            hole,
            annotation,
        }
    }

    /// One sample as `(3, H, W)` values and its annotation in network pixels. With an augmentation, `rng` makes its draws.
    ///
    /// # Errors
    /// `Internal` if the resizer refuses.
    pub fn prepare(
        &self,
        sample: &Sample,
        augment: Option<(&Augmentation, &mut Rng)>,
    ) -> Result<(Vec<f32>, Annotation)> {
        let (height, width) = self.size;
        let mut values = vec![0.0; 3 * height * width];
        let annotation = self.prepare_into(sample, augment, &mut values)?;
        Ok((values, annotation))
    }

    /// As [`Input::prepare`], into the `3 * H * W` values of `out`.
    ///
    /// # Errors
    /// As [`Input::prepare`].
    pub fn prepare_into(
        &self,
        sample: &Sample,
        augment: Option<(&Augmentation, &mut Rng)>,
        out: &mut [f32],
    ) -> Result<Annotation> {
        let source = (sample.image.height, sample.image.width);
        let seen = self.see(source, &sample.annotation, augment);
        let shown = seen.view.shown(&sample.image)?;
        pixels::fill(&self.normalise, &seen, &shown, self.size, out);
        Ok(seen.view.annotation(&seen.annotation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotation::Image;

    /// As ImageNet is evaluated: of a picture of 256 rows the middle 224x224 are seen as they are.
    #[test]
    fn the_middle_square_of_a_classified_picture() {
        let mut input = Input::new(224, 224);
        input.centre = Some(0.875);
        input.normalise = Normalise::new([0.0; 3], [1.0; 3]).unwrap();
        let picture = |h: usize, w: usize| {
            let rows = (0..h).flat_map(|y| (0..w).flat_map(move |x| [y as u8, (x / 2) as u8, 7]));
            Image {
                height: h,
                width: w,
                data: rows.collect(),
            }
        };
        let sample = |image: Image, annotation| Sample {
            id: String::new(),
            image,
            annotation,
        };
        let of = |s: &Sample| input.prepare(s, None).unwrap().0;
        let at = |v: &[f32], c: usize, y: usize, x: usize| 255.0 * v[(c * 224 + y) * 224 + x];
        let v = of(&sample(picture(256, 500), Annotation::Class(3)));
        // Row 16, column (500 - 224) / 2 = 138.
        for (y, x) in [(0, 0), (100, 50), (223, 223)] {
            let want = [(16 + y) as f32, ((138 + x) / 2) as f32, 7.0];
            for (c, want) in want.into_iter().enumerate() {
                assert!((at(&v, c, y, x) - want).abs() < 1e-3, "{c} {y} {x}");
            }
        }
        // Boxes keep the whole picture.
        let v = of(&sample(picture(256, 500), Annotation::Objects(vec![])));
        assert!(at(&v, 0, 0, 0) < 2.0 && at(&v, 0, 223, 223) > 253.0);
    }
}
