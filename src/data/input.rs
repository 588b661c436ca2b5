//! One sample as network input.

use std::ops::Range;

use super::augment::{Augmentation, centre};
use super::config::OnCorrupt;
use super::dataset::Sample;
use super::normalise::Normalise;
use super::photometric::{ColourJitter, Photometric};
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
    /// Changes of the colours, each pixel for itself.
    pub photometric: Option<Photometric>,
    /// Others, one of which needs the mean of the picture.
    pub colour_jitter: Option<ColourJitter>,
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
        let (mut photometric, mut colour_jitter) = (None, None);
        let (mut border, mut hole) = (None, None);
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
                colour_jitter = config.colour_jitter.then(|| ColourJitter::draw(rng));
                border = config.border();
                hole = config.hole(rng, self.size);
                (window, config.seen(annotation, &window, source, self.size))
            }
        };
        Seen {
            view: View::new(&window, source, self.size),
            photometric,
            colour_jitter,
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
    use crate::data::config::Augment;

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

    /// The draws of a sample are those of its stream: what the picture is, and what it is of, does not change them.
    #[test]
    fn colours_are_drawn_from_the_stream_alone() {
        let input = Input::new(8, 8);
        let changes = [Augment::Flip, Augment::PadCrop, Augment::ColourJitter];
        let jitter = Augmentation {
            cutout: 2,
            ..Augmentation::new(&changes).unwrap()
        };
        let mut seen = vec![];
        for seed in 0..50 {
            let see = |source, a: &Annotation, config: &Augmentation| {
                input.see(source, a, Some((config, &mut Rng::new(seed, &[]))))
            };
            let one = see((9, 30), &Annotation::Class(1), &jitter);
            let other = see((100, 20), &Annotation::Objects(vec![]), &jitter);
            assert!(one.colour_jitter.is_some() && one.photometric.is_none());
            assert_eq!(one.colour_jitter, other.colour_jitter);
            assert_eq!(one.hole, other.hole);
            // The window is drawn before, as without the jitter.
            let plain = Augmentation {
                colour_jitter: false,
                ..jitter.clone()
            };
            let plain = see((9, 30), &Annotation::Class(1), &plain);
            assert_eq!(plain.view.axes(), one.view.axes());
            assert_eq!(plain.view.flipped(), one.view.flipped());
            assert!(plain.colour_jitter.is_none());
            assert!(!seen.contains(&one.colour_jitter), "twice the same");
            seen.push(one.colour_jitter);
        }
    }

    /// A mirrored picture has the colours of the other, to the bit; held-out pictures have their own.
    #[test]
    fn jittered_pictures_are_mirrored_as_others_and_held_out_ones_are_left_alone() {
        let mut input = Input::new(11, 13);
        input.normalise = Normalise::new([0.0; 3], [1.0; 3]).unwrap();
        let mut r = Rng::new(4, &[]);
        let data: Vec<u8> = (0..3 * 11 * 13).map(|_| r.below(256) as u8).collect();
        let image = Image {
            height: 11,
            width: 13,
            data,
        };
        let jitter = ColourJitter::draw(&mut r);
        let made = |flip, jitter: Option<ColourJitter>| {
            let mut seen = input.see((11, 13), &Annotation::Class(0), None);
            assert_eq!(seen.colour_jitter, None);
            let whole = Window::whole(11, 13);
            seen.view = View::new(&Window { flip, ..whole }, (11, 13), (11, 13));
            seen.colour_jitter = jitter;
            let mut out = vec![f32::NAN; 3 * 11 * 13];
            let shown = seen.view.shown(&image).unwrap();
            pixels::fill(&input.normalise, &seen, &shown, input.size, &mut out);
            out
        };
        let (one, other) = (made(false, Some(jitter.clone())), made(true, Some(jitter)));
        for (row, mirrored) in one.chunks(13).zip(other.chunks(13)) {
            assert!(row.iter().eq(mirrored.iter().rev()));
        }
        let plain = made(false, None);
        assert!(one.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 0.05));
        for (i, p) in image.data.iter().enumerate() {
            assert_eq!(plain[(i % 3) * 143 + i / 3], f32::from(*p) / 255.0);
        }
    }
}
