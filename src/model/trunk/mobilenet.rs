//! MobileNetV2 (Sandler et al. 2018) at width 1, as torchvision builds it: inverted residuals with ReLU6 and linear bottlenecks.

use crate::error::Result;
use crate::model::conv_norm::{After, ConvNorm};
use crate::nn::{Bias, Builder, Map, Pass};
use crate::ops::{self, Conv2dParams};
use crate::tape::Var;

/// Expansion, channels, blocks and step of the first block of each group (Table 2 of the paper).
const GROUPS: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Channels of the first convolution and of the last.
const ENDS: [usize; 2] = [32, 1280];

/// `features.0` to `features.18`.
#[derive(Debug)]
pub struct MobileNetV2 {
    first: ConvNorm,
    blocks: Vec<Block>,
    last: ConvNorm,
}

/// Expansion (if any), depthwise convolution, projection.
#[derive(Debug)]
struct Block {
    layers: Vec<ConvNorm>,
    /// Whether the block's input is added: same map, same width.
    residual: bool,
}

impl MobileNetV2 {
    /// Declares the layers up to the last map, of 1280 channels.
    ///
    /// # Errors
    /// `MT0105` when a window does not fit.
    pub fn new(b: &mut Builder, image: Map) -> Result<(MobileNetV2, Map)> {
        b.scope("features", |b| {
            let (first, mut x) = b.scope("0", |b| {
                layer(b, ["0", "1"], image, ENDS[0], 3, 2, 1, After::Relu6)
            })?;
            let mut blocks = vec![];
            for (expansion, c, count, step) in GROUPS {
                for i in 0..count {
                    let stride = if i == 0 { step } else { 1 };
                    let name = blocks.len() + 1;
                    let (block, y) = b.scope(name, |b| Block::new(b, x, expansion, c, stride))?;
                    blocks.push(block);
                    x = y;
                }
            }
            let (last, x) = b.scope(blocks.len() + 1, |b| {
                layer(b, ["0", "1"], x, ENDS[1], 1, 1, 1, After::Relu6)
            })?;
            let net = MobileNetV2 {
                first,
                blocks,
                last,
            };
            Ok((net, x))
        })
    }

    /// The last map, `(N, 1280, H / 32, W / 32)`.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, image: &Var) -> Result<Var> {
        let mut x = self.first.forward(p, image)?;
        for block in &self.blocks {
            x = block.forward(p, &x)?;
        }
        self.last.forward(p, &x)
    }
}

impl Block {
    fn new(
        b: &mut Builder,
        x: Map,
        expansion: usize,
        c: usize,
        stride: usize,
    ) -> Result<(Block, Map)> {
        b.scope("conv", |b| {
            let (mut layers, mut y) = (vec![], x);
            let wide = x.c * expansion;
            if expansion > 1 {
                let (expand, out) = b.scope(layers.len(), |b| {
                    layer(b, ["0", "1"], y, wide, 1, 1, 1, After::Relu6)
                })?;
                layers.push(expand);
                y = out;
            }
            let (depthwise, out) = b.scope(layers.len(), |b| {
                layer(b, ["0", "1"], y, wide, 3, stride, wide, After::Relu6)
            })?;
            layers.push(depthwise);
            // The projection lies beside its normalisation, not in a block of its own.
            let names = [layers.len().to_string(), (layers.len() + 1).to_string()];
            let names = [names[0].as_str(), names[1].as_str()];
            let (project, y) = layer(b, names, out, c, 1, 1, 1, After::Nothing)?;
            layers.push(project);
            let residual = stride == 1 && x.c == c;
            Ok((Block { layers, residual }, y))
        })
    }

    fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let mut y = x.clone();
        for layer in &self.layers {
            y = layer.forward(p, &y)?;
        }
        match self.residual {
            true => ops::add(x, &y),
            false => Ok(y),
        }
    }
}

fn layer(
    b: &mut Builder,
    names: [&str; 2],
    x: Map,
    c: usize,
    k: usize,
    stride: usize,
    groups: usize,
    after: After,
) -> Result<(ConvNorm, Map)> {
    let params = Conv2dParams {
        stride,
        padding: k / 2,
        groups,
        ..Conv2dParams::default()
    };
    ConvNorm::named(b, names, x, c, (k, params), Bias::None, after)
}
