//! The classifiers that trunks are published with, and the names that torchvision gives their layers.

use super::super::config::TrunkKind;
use super::super::conv_norm::{After, ConvNorm, ONE};
use crate::error::{Code, Error, Result};
use crate::nn::{Bias, Builder, Conv2d, Linear, Map, Pass};
use crate::ops::{self, Conv2dParams, Dropout};
use crate::tape::Var;

/// Side of the map that VGG's first linear layer reads.
const VGG_SIDE: usize = 7;
/// Outputs of VGG's first two linear layers.
const VGG_HIDDEN: usize = 4096;
/// Channels of the head in DeepLab's form.
const DEEPLAB_HIDDEN: usize = 1024;
/// Distance of the taps of its first convolution ("large field of view").
const DEEPLAB_DILATION: usize = 12;

/// From the last map of a trunk to class scores.
#[derive(Debug)]
pub enum TrunkClassifier {
    /// Mean over the map, dropout, one linear layer: ResNet (`fc`, no dropout) and MobileNetV2 (`classifier.1`).
    Pooled {
        /// Probability of the dropout.
        dropout: f64,
        /// The layer.
        linear: Linear,
    },
    /// Mean over a grid of 7x7, three linear layers (`classifier.0`, `.3`, `.6`), ReLU and dropout in between: VGG-16.
    Vgg {
        /// How the map becomes 7x7.
        resize: Resize,
        /// The layers.
        layers: [Linear; 3],
    },
    /// Convolutions instead of linear layers and the mean of their scores: DeepLab's form of VGG-16 (systems.md 5.2).
    Deeplab {
        /// 3x3 of dilation 12, then 1x1.
        hidden: Box<[ConvNorm; 2]>,
        /// 1x1 to the classes.
        scores: Conv2d,
    },
}

/// How a map of 7 times or a 7th of 7 pixels becomes 7x7, as adaptive pooling does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// Mean over squares of this side.
    Mean(usize),
    /// The one pixel everywhere.
    Spread,
}

impl TrunkClassifier {
    /// Declares the classifier of a trunk over its last map.
    ///
    /// # Errors
    /// `MT0105` for a map that VGG's linear layers cannot read.
    pub fn new(
        b: &mut Builder,
        kind: TrunkKind,
        x: Map,
        classes: usize,
    ) -> Result<TrunkClassifier> {
        Ok(match kind {
            TrunkKind::Resnet18 | TrunkKind::Resnet34 | TrunkKind::Resnet50 => {
                let linear = Linear::new(b, "fc", x.c, classes);
                TrunkClassifier::Pooled {
                    dropout: 0.0,
                    linear,
                }
            }
            TrunkKind::MobileNetV2 => {
                let linear = Linear::new(b, "classifier.1", x.c, classes);
                TrunkClassifier::Pooled {
                    dropout: 0.2,
                    linear,
                }
            }
            TrunkKind::Vgg16 => TrunkClassifier::vgg(b, x, VGG_HIDDEN, classes)?,
            TrunkKind::Vgg16Deeplab => TrunkClassifier::deeplab(b, x, DEEPLAB_HIDDEN, classes)?,
        })
    }

    /// VGG's with `hidden` outputs of the first two layers.
    pub(super) fn vgg(
        b: &mut Builder,
        x: Map,
        hidden: usize,
        classes: usize,
    ) -> Result<TrunkClassifier> {
        let s = VGG_SIDE;
        let resize = match (x.h, x.w) {
            (1, 1) => Resize::Spread,
            (h, w) if h == w && h % s == 0 => Resize::Mean(h / s),
            (h, w) => {
                let message = format!("the classifier of vgg16 reads 7x7 pixels, got {h}x{w}");
                return Err(Error::new(Code::NetworkDoesNotFit, message)
                    .help("use images of 224x224, of a multiple of that, or of 32x32"));
            }
        };
        let sizes = [(x.c * s * s, hidden), (hidden, hidden), (hidden, classes)];
        let names = ["classifier.0", "classifier.3", "classifier.6"];
        let mut layer = |i: usize| Linear::new(b, names[i], sizes[i].0, sizes[i].1);
        let layers = [layer(0), layer(1), layer(2)];
        Ok(TrunkClassifier::Vgg { resize, layers })
    }

    /// DeepLab's with `hidden` channels of the first two layers.
    pub(super) fn deeplab(
        b: &mut Builder,
        x: Map,
        hidden: usize,
        classes: usize,
    ) -> Result<TrunkClassifier> {
        b.scope("classifier", |b| {
            let wide = Conv2dParams {
                padding: DEEPLAB_DILATION,
                dilation: DEEPLAB_DILATION,
                ..Conv2dParams::default()
            };
            let (one, y) =
                ConvNorm::named(b, ["0", "1"], x, hidden, (3, wide), Bias::None, After::Relu)?;
            let (two, y) = ConvNorm::new(b, [4, 5], y, hidden, ONE, Bias::None, After::Relu)?;
            let plain = Conv2dParams::default();
            let (scores, _) = Conv2d::new(b, "8", y, classes, 1, plain, Bias::PerChannel)?;
            Ok(TrunkClassifier::Deeplab {
                hidden: Box::new([one, two]),
                scores,
            })
        })
    }

    /// Class scores `(N, classes)` of the trunk's last map.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        match self {
            TrunkClassifier::Pooled { dropout, linear } => {
                linear.forward(p, &dropped(p, &ops::global_avg_pool(x)?, *dropout)?)
            }
            TrunkClassifier::Vgg { resize, layers } => {
                let y = match resize {
                    Resize::Mean(1) => x.clone(),
                    Resize::Mean(k) => ops::avg_pool(x, *k, *k, 0)?,
                    Resize::Spread => ops::upsample_nearest(x, VGG_SIDE)?,
                };
                let values = y.dims()[1..].iter().product();
                let y = ops::reshape(&y, [y.dims()[0], values])?;
                let y = dropped(p, &ops::relu(&layers[0].forward(p, &y)?)?, 0.5)?;
                let y = dropped(p, &ops::relu(&layers[1].forward(p, &y)?)?, 0.5)?;
                layers[2].forward(p, &y)
            }
            TrunkClassifier::Deeplab { hidden, scores } => {
                let mut y = ops::avg_pool(x, 3, 1, 1)?;
                for layer in hidden.iter() {
                    y = dropped(p, &layer.forward(p, &y)?, 0.5)?;
                }
                ops::global_avg_pool(&scores.forward(p, &y)?)
            }
        }
    }
}

/// Dropout while the pass trains.
fn dropped(p: &Pass, x: &Var, probability: f64) -> Result<Var> {
    if !p.mode.training || probability == 0.0 {
        return Ok(x.clone());
    }
    let [seed, path @ ..] = p.stream();
    ops::dropout(
        x,
        Dropout {
            p: probability,
            seed,
            path: path.to_vec(),
        },
    )
}
