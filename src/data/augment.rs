//! Random changes to training samples (systems.md 4.4): which window of the picture is seen, mirrored or not, and which
//! colours it has. Every draw comes from the generator handed in, keyed by (seed, stage, epoch, sample).
//!
//! The reference distorts colours before the crop. Here colours change after the resampling, on fewer pixels: both act
//! on each pixel alone, so only rounding differs. The border of an expanded picture keeps the mean colour, as there. The jitter of
//! ImageNet comes after the crop in its reference as well: the mean of its contrast is that of what the crop shows.

mod crops;

use std::ops::Range;

use super::config::Augment;
use super::transform::Window;
use crate::annotation::{Annotation, Object, Quantity};
use crate::error::{Code, Error, Result};
use crate::rng::Rng;
pub use crops::centre;
use crops::{holds_centre, scale, zoom};

/// How the window of a training sample is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Crop {
    /// The whole picture.
    #[default]
    None,
    /// Expand, then a random part that holds the centre of an object (detection).
    Ssd,
    /// Shift by up to 4 network pixels, black border (CIFAR).
    Pad4,
    /// A part of random area and aspect (ImageNet).
    RandomResized,
    /// Scaled by 0.5 to 1.5, then cut or padded to the input size (AutoMTL, MTL-NAS).
    Scale,
    /// A part of the picture's aspect, enlarged by 1, 1.2 or 1.5 (MTAN).
    Zoom,
}

/// Which changes are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Augmentation {
    /// Mirror every other sample.
    pub flip: bool,
    /// Brightness, contrast, saturation, hue, channel order.
    pub photometric: bool,
    /// Saturation and hue by up to 5 %; `photometric` goes before.
    pub jitter: bool,
    /// Brightness, contrast and saturation by up to 40 %, hue by up to 20 % of the circle, in random order; alone.
    pub colour_jitter: bool,
    /// A square of this side, centred anywhere, is set to the mean; 0 for none.
    pub cutout: usize,
    /// The window.
    pub crop: Crop,
    /// Largest ratio of the SSD expansion, from 1 (none). The reference has 4; less suits small pictures.
    pub expand: f64,
    /// Smallest side of an SSD crop as a share of the picture's.
    pub min_side: f64,
    /// Smallest area of a random-resized crop as a share of the picture's.
    pub min_area: f64,
    /// Divide depth by what the window enlarges.
    pub divide_depth: bool,
}

impl Default for Augmentation {
    fn default() -> Self {
        Augmentation {
            flip: false,
            photometric: false,
            jitter: false,
            colour_jitter: false,
            cutout: 0,
            crop: Crop::None,
            expand: 4.0,
            min_side: 0.3,
            min_area: 0.08,
            divide_depth: false,
        }
    }
}

impl Augmentation {
    /// The configured changes, with the sizes of the references.
    ///
    /// # Errors
    /// `ConfigValue` for two crops, or for `colour-jitter` beside other changes of the colours.
    pub fn new(changes: &[Augment]) -> Result<Augmentation> {
        let mut a = Augmentation::default();
        let mut crops = vec![];
        for change in changes {
            match change {
                Augment::Flip => a.flip = true,
                Augment::Photometric => a.photometric = true,
                Augment::Cutout => a.cutout = 16,
                Augment::Jitter => a.jitter = true,
                Augment::ColourJitter => a.colour_jitter = true,
                Augment::SsdCrop => crops.push(Crop::Ssd),
                Augment::PadCrop => crops.push(Crop::Pad4),
                Augment::ResizedCrop => crops.push(Crop::RandomResized),
                Augment::ScaleCrop => crops.push(Crop::Scale),
                Augment::ZoomCrop => crops.push(Crop::Zoom),
            }
        }
        if crops.len() > 1 {
            return Err(
                Error::new(Code::ConfigValue, "`augment` names two crops").help("keep one of them")
            );
        }
        a.crop = crops.pop().unwrap_or_default();
        a.check()?;
        Ok(a)
    }

    /// # Errors
    /// `ConfigValue` for a ratio outside its range, or for `colour-jitter` beside other changes of the colours.
    pub fn check(&self) -> Result<()> {
        let other = match (self.photometric, self.jitter) {
            (true, _) => Some("photometric"),
            (false, true) => Some("jitter"),
            _ => None,
        };
        if let (true, Some(other)) = (self.colour_jitter, other) {
            let text = format!(
                "`augment` names `{other}` and `colour-jitter`, which both change the colours"
            );
            let help = format!(
                "keep one: `colour-jitter` for classification as on ImageNet, else `{other}`"
            );
            return Err(Error::new(Code::ConfigValue, text).help(help));
        }
        let share = |v: f64| v > 0.0 && v <= 1.0;
        let bad = match self {
            c if !(1.0..=16.0).contains(&c.expand) => {
                format!("`expand` must be 1 to 16, got {}", c.expand)
            }
            c if !share(c.min_side) => {
                format!("`min_side` must be above 0, at most 1, got {}", c.min_side)
            }
            c if !share(c.min_area) => {
                format!("`min_area` must be above 0, at most 1, got {}", c.min_area)
            }
            _ => return Ok(()),
        };
        Err(Error::new(Code::ConfigValue, bad))
    }

    /// Draws the window of a source picture (height, width) that becomes the network input of `size`.
    pub fn window(
        &self,
        rng: &mut Rng,
        source: (usize, usize),
        size: (usize, usize),
        annotation: &Annotation,
    ) -> Window {
        let whole = Window::whole(source.0, source.1);
        let window = match self.crop {
            Crop::None => whole,
            Crop::Ssd => self.ssd(rng, whole, annotation),
            Crop::Pad4 => {
                let mut shift = |pixels: f64| (rng.below(9) as f64 - 4.0) * pixels;
                let x = shift(whole.width / size.1 as f64);
                Window {
                    x,
                    y: shift(whole.height / size.0 as f64),
                    ..whole
                }
            }
            Crop::RandomResized => self.random_resized(rng, whole),
            Crop::Scale => scale(rng, whole, size),
            Crop::Zoom => zoom(rng, whole),
        };
        Window {
            flip: self.flip && rng.coin(0.5),
            ..window
        }
    }

    /// Objects that an SSD crop keeps: those whose centre is in the window, and ignored ones that reach into it. The rest
    /// is background, as in the reference.
    pub fn kept(&self, annotation: &Annotation, window: &Window) -> Annotation {
        match annotation {
            Annotation::Objects(objects) if self.crop == Crop::Ssd => {
                let keep = |o: &&Object| o.ignore || holds_centre(window, &o.bbox);
                Annotation::Objects(objects.iter().filter(keep).copied().collect())
            }
            Annotation::Joint(parts) => {
                Annotation::Joint(parts.iter().map(|p| self.kept(p, window)).collect())
            }
            other => other.clone(),
        }
    }

    /// How many times larger than without augmentation things appear in a window: in the pixels of the picture for a random scale, whose
    /// network input is a part at the picture's own resolution, else in relation to the whole picture.
    pub fn enlarged(&self, window: &Window, source: (usize, usize), size: (usize, usize)) -> f64 {
        let by = match self.crop {
            Crop::Scale => size,
            _ => source,
        };
        ((by.0 as f64 / window.height) * (by.1 as f64 / window.width)).sqrt()
    }

    /// What the network shall know of a window: the objects that are kept, depth in the distance that the window suggests.
    pub fn seen(
        &self,
        annotation: &Annotation,
        window: &Window,
        source: (usize, usize),
        size: (usize, usize),
    ) -> Annotation {
        let mut seen = self.kept(annotation, window);
        if self.divide_depth {
            let share = 1.0 / self.enlarged(window, source, size) as f32;
            let parts = match &mut seen {
                Annotation::Joint(parts) => parts.as_mut_slice(),
                one => std::slice::from_mut(one),
            };
            for part in parts {
                if let Annotation::Values(map) = part
                    && map.quantity == Quantity::Depth
                {
                    map.data.iter_mut().for_each(|v| *v *= share);
                }
            }
        }
        seen
    }

    /// Colour of the network input where the window reaches outside the picture, 0 to 255; `None` for the mean. AutoMTL pads before it
    /// subtracts the mean, too.
    pub fn border(&self) -> Option<f32> {
        matches!(self.crop, Crop::Pad4 | Crop::Scale).then_some(0.0)
    }

    /// Rows and columns of the network input that cutout sets to the mean; clipped at the border, as DARTS does.
    pub fn hole(&self, rng: &mut Rng, size: (usize, usize)) -> Option<[Range<usize>; 2]> {
        if self.cutout == 0 {
            return None;
        }
        let half = self.cutout / 2;
        let mut span = |n: usize| {
            let centre = rng.below(n);
            centre.saturating_sub(half)..(centre + half).min(n)
        };
        Some([span(size.0), span(size.1)])
    }
}

#[cfg(test)]
mod dense_tests;
#[cfg(test)]
mod tests;
