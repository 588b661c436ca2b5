//! The first layers, from the image to the two inputs of cell 0.

use super::config::{Frame, FrameConfig, Stem as StemKind};
use super::conv_norm::{After, ConvNorm, three};
use crate::error::{Code, Error, Result};
use crate::nn::{Bias, Builder, Map, Pass};
use crate::space::operation::State;
use crate::tape::Var;

/// The first layers of a network.
#[derive(Debug)]
pub struct Stem {
    /// Up to the first input of cell 0.
    first: Vec<ConvNorm>,
    /// From there to the second input; empty if both are the same.
    second: Vec<ConvNorm>,
}

/// Sizes of what a stem yields.
#[derive(Debug, Clone, Copy)]
pub struct StemMaps {
    /// First input of cell 0.
    pub s0: Map,
    /// Second input of cell 0.
    pub s1: Map,
}

impl Stem {
    /// Declares the stem of a frame for an RGB image of `height` x `width`.
    ///
    /// # Errors
    /// `MT0105` for a width that cannot be halved or an image smaller than a window.
    pub fn new(
        b: &mut Builder,
        frame: &FrameConfig,
        height: usize,
        width: usize,
    ) -> Result<(Stem, StemMaps)> {
        let (c, image) = (frame.channels, Map::new(3, height, width));
        match (frame.frame, frame.stem) {
            (Frame::MtnasRelease, _) => two_step(b, image, c, 1),
            (Frame::Classification, StemKind::Imagenet) => two_step(b, image, c, 2),
            (Frame::MtnasPeer, _) => b.scope("stem", |b| {
                let half = (c / 2).max(8);
                let (one, x) = block(b, [0, 1], image, half, 2, After::Relu)?;
                let (two, x) = block(b, [3, 4], x, c, 2, After::Nothing)?;
                Ok(single(vec![one, two], x))
            }),
            (Frame::Classification, StemKind::Cifar) => b.scope("stem", |b| {
                let (one, x) = block(b, [0, 1], image, 3 * c, 1, After::Nothing)?;
                Ok(single(vec![one], x))
            }),
            (Frame::MtlResnet18 | Frame::Trunk, _) => {
                let message = format!("the frame {} has no stem of cells", frame.frame);
                Err(Error::new(Code::NetworkDoesNotFit, message))
            }
        }
    }

    /// The two inputs of cell 0. The first of a stem in two steps is rectified: in the released network the ReLU after it
    /// works in place, so its half-resolution skip feature is rectified too (section 3.5; for cell 0 it makes no difference).
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, image: &Var) -> Result<[State; 2]> {
        let run = |layers: &[ConvNorm], x: &Var| {
            layers
                .iter()
                .try_fold(x.clone(), |x, layer| layer.forward(p, &x))
        };
        let s0 = run(&self.first, image)?;
        let s1 = run(&self.second, &s0)?;
        Ok([State::new(s0), State::new(s1)])
    }
}

fn block(
    b: &mut Builder,
    names: [usize; 2],
    x: Map,
    c: usize,
    stride: usize,
    after: After,
) -> Result<(ConvNorm, Map)> {
    ConvNorm::new(b, names, x, c, three(stride), Bias::None, after)
}

fn single(first: Vec<ConvNorm>, x: Map) -> (Stem, StemMaps) {
    let stem = Stem {
        first,
        second: vec![],
    };
    (stem, StemMaps { s0: x, s1: x })
}

/// `stem0` (two convolutions) and `stem1` (one), DARTS for ImageNet; in the released network the second convolution has
/// stride 1, so that cells start at a quarter of the image.
fn two_step(b: &mut Builder, image: Map, c: usize, stride: usize) -> Result<(Stem, StemMaps)> {
    if c < 2 || !c.is_multiple_of(2) {
        let message = format!("the stem needs an even number of initial channels, got {c}");
        return Err(Error::new(Code::NetworkDoesNotFit, message).help("use an even `channels`"));
    }
    let (one, two, s0) = b.scope("stem0", |b| -> Result<_> {
        let (one, x) = block(b, [0, 1], image, c / 2, 2, After::Relu)?;
        let (two, x) = block(b, [3, 4], x, c, stride, After::Relu)?;
        Ok((one, two, x))
    })?;
    let (three, s1) = b.scope("stem1", |b| block(b, [1, 2], s0, c, 2, After::Nothing))?;
    let stem = Stem {
        first: vec![one, two],
        second: vec![three],
    };
    Ok((stem, StemMaps { s0, s1 }))
}
