//! The 13 convolutions of VGG-16 (Simonyan and Zisserman 2015) with batch normalisation: as torchvision's `vgg16_bn`, or in the form of
//! DeepLab (Chen et al. 2015; systems.md 5.2), which keeps the map at an eighth of the image.

use crate::error::Result;
use crate::model::conv_norm::{After, ConvNorm};
use crate::nn::map::Window;
use crate::nn::{Bias, Builder, Map, Pass};
use crate::ops::{self, Conv2dParams};
use crate::tape::Var;

/// Channels and convolutions of the five blocks.
const BLOCKS: [(usize, usize); 5] = [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)];

/// `features.N`, a pooling after each block.
#[derive(Debug)]
pub struct Vgg {
    blocks: Vec<(Vec<ConvNorm>, Window)>,
}

impl Vgg {
    /// Declares the blocks. `deeplab`: the last two poolings are 3x3 with step 1, and the last block's convolutions are dilated by 2.
    /// The names are those of torchvision either way: its weights fit both.
    ///
    /// # Errors
    /// `MT0105` when a window does not fit.
    pub fn new(b: &mut Builder, deeplab: bool, image: Map) -> Result<(Vgg, Map)> {
        let (mut blocks, mut x, mut n) = (vec![], image, 0);
        for (i, (c, count)) in BLOCKS.into_iter().enumerate() {
            let dilation = if deeplab && i == 4 { 2 } else { 1 };
            let params = Conv2dParams {
                padding: dilation,
                dilation,
                ..Conv2dParams::default()
            };
            let mut layers = vec![];
            for _ in 0..count {
                let names = [n.to_string(), (n + 1).to_string()];
                let names = [names[0].as_str(), names[1].as_str()];
                let bias = Bias::PerChannel;
                let (layer, y) = b.scope("features", |b| {
                    ConvNorm::named(b, names, x, c, (3, params), bias, After::Relu)
                })?;
                layers.push(layer);
                x = y;
                // Convolution, normalisation and ReLU have a number each.
                n += 3;
            }
            let pool = pooling(deeplab && i >= 3);
            x = x.windowed(&format!("features.{n}"), pool)?;
            n += 1;
            blocks.push((layers, pool));
        }
        Ok((Vgg { blocks }, x))
    }

    /// The last map, of 512 channels: at a 32nd of the image, in DeepLab's form at an eighth.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, image: &Var) -> Result<Var> {
        let mut x = image.clone();
        for (layers, pool) in &self.blocks {
            for layer in layers {
                x = layer.forward(p, &x)?;
            }
            x = ops::max_pool(&x, pool.k, pool.stride, pool.padding)?;
        }
        Ok(x)
    }
}

/// 2x2 with step 2, or 3x3 with step 1 that keeps the map.
fn pooling(keeps: bool) -> Window {
    match keeps {
        true => Window {
            k: 3,
            stride: 1,
            padding: 1,
            dilation: 1,
        },
        false => Window {
            k: 2,
            stride: 2,
            padding: 0,
            dilation: 1,
        },
    }
}
