//! Classification heads: global pooling and a linear layer over the last backbone map, and the auxiliary head of the DARTS
//! evaluation networks (section 2.3).

use super::conv_norm::{After, ConvNorm, ONE};
use crate::error::{Code, Error, Result};
use crate::nn::map::Window;
use crate::nn::{Affine, BatchNorm, Bias, Builder, Conv2d, Linear, Map, Pass};
use crate::ops::{self, Conv2dParams};
use crate::tape::Var;

/// Global average pooling and a linear layer named `classifier`.
#[derive(Debug)]
pub struct Classifier(Linear);

impl Classifier {
    /// Declares one over maps `x`.
    pub fn new(b: &mut Builder, x: Map, classes: usize) -> Classifier {
        Classifier(Linear::new(b, "classifier", x.c, classes))
    }

    /// Class scores `(N, classes)`.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        self.0.forward(p, &ops::global_avg_pool(x)?)
    }
}

/// Which auxiliary head: they differ in the step of the pooling and in the last normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuxiliaryKind {
    /// Pooling with step 3 (8x8 maps), two normalisations.
    Cifar,
    /// Pooling with step 2 (7x7 maps), no normalisation after the second convolution.
    Imagenet,
}

impl AuxiliaryKind {
    fn step(self) -> usize {
        match self {
            AuxiliaryKind::Cifar => 3,
            AuxiliaryKind::Imagenet => 2,
        }
    }
}

/// The auxiliary head, `auxiliary_head`; read in training only.
#[derive(Debug)]
pub struct Auxiliary {
    step: usize,
    reduce: ConvNorm,
    window: Conv2d,
    norm: Option<BatchNorm>,
    linear: Linear,
}

/// Layers of the auxiliary head, in channels.
const WIDTHS: [usize; 2] = [128, 768];

impl Auxiliary {
    /// Declares one over the map of the second reduction cell.
    ///
    /// # Errors
    /// `MT0105` unless the pooling leaves a 2x2 map.
    pub fn new(b: &mut Builder, x: Map, classes: usize, kind: AuxiliaryKind) -> Result<Auxiliary> {
        let step = kind.step();
        b.scope("auxiliary_head", |b| {
            let window = Window {
                k: 5,
                stride: step,
                padding: 0,
                dilation: 1,
            };
            let pooled = x.windowed(b.here(), window)?;
            if (pooled.h, pooled.w) != (2, 2) {
                let message = format!(
                    "the auxiliary head pools a {}x{} map to {}x{}, expected 2x2",
                    x.h, x.w, pooled.h, pooled.w
                );
                return Err(Error::new(Code::NetworkDoesNotFit, message)
                    .help("use 32x32 images with the CIFAR stem, 224x224 with the ImageNet stem"));
            }
            let (reduce, window, norm, y) = b.scope("features", |b| -> Result<_> {
                let (reduce, y) =
                    ConvNorm::new(b, [2, 3], pooled, WIDTHS[0], ONE, Bias::None, After::Relu)?;
                let plain = Conv2dParams::default();
                let (window, y) = Conv2d::new(b, "5", y, WIDTHS[1], 2, plain, Bias::None)?;
                let norm =
                    (kind == AuxiliaryKind::Cifar).then(|| BatchNorm::new(b, "6", y, Affine::Yes));
                Ok((reduce, window, norm, y))
            })?;
            let linear = Linear::new(b, "classifier", y.c, classes);
            Ok(Auxiliary {
                step,
                reduce,
                window,
                norm,
                linear,
            })
        })
    }

    /// Class scores `(N, classes)`.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let y = ops::avg_pool(&ops::relu(x)?, 5, self.step, 0)?;
        let y = self.window.forward(p, &self.reduce.forward(p, &y)?)?;
        let y = match &self.norm {
            Some(norm) => norm.forward_relu(p, &y)?,
            None => ops::relu(&y)?,
        };
        // The map is 1x1: pooling it only drops the two sides.
        self.linear.forward(p, &ops::global_avg_pool(&y)?)
    }
}
