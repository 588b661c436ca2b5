//! ResNet-18, -34 and -50 (He et al. 2016) as torchvision builds them: in the bottleneck of ResNet-50 the 3x3 convolution has the step.

use crate::error::Result;
use crate::model::config::TrunkKind;
use crate::model::conv_norm::{After, ConvNorm};
use crate::nn::map::Window;
use crate::nn::{Bias, Builder, Map, Pass};
use crate::ops::{self, Conv2dParams};
use crate::tape::Var;

/// Width of the first convolution and of the first stage; each later stage doubles it.
const WIDTH: usize = 64;

/// What a bottleneck yields, in widths.
const EXPANSION: usize = 4;

/// First convolution, max pooling and four stages of residual blocks.
#[derive(Debug)]
pub struct Resnet {
    first: ConvNorm,
    stages: Vec<Vec<Block>>,
}

/// A residual block: convolutions, and where map or width change a projection of the identity.
#[derive(Debug)]
struct Block {
    layers: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

/// The pooling after the first convolution.
const POOL: Window = Window {
    k: 3,
    stride: 2,
    padding: 1,
    dilation: 1,
};

impl Resnet {
    /// Declares `conv1`, `bn1`, `layer1` to `layer4`; returns it with the map after `bn1` and those of the four stages.
    ///
    /// # Errors
    /// `MT0105` when a window does not fit.
    pub fn new(b: &mut Builder, kind: TrunkKind, image: Map) -> Result<(Resnet, Vec<Map>)> {
        let (blocks, bottleneck) = match kind {
            TrunkKind::Resnet34 => ([3, 4, 6, 3], false),
            TrunkKind::Resnet50 => ([3, 4, 6, 3], true),
            _ => ([2, 2, 2, 2], false),
        };
        let (first, x) = layer(b, ["conv1", "bn1"], image, WIDTH, (7, 2), After::Relu)?;
        let mut maps = vec![x];
        let mut x = x.windowed("maxpool", POOL)?;
        let mut stages = vec![];
        for (i, count) in blocks.into_iter().enumerate() {
            let mut stage = vec![];
            for j in 0..count {
                // The first block of a stage halves the map, but for the first stage.
                let stride = if i > 0 && j == 0 { 2 } else { 1 };
                let name = format!("layer{}.{j}", i + 1);
                let (block, y) =
                    b.scope(name, |b| Block::new(b, x, WIDTH << i, stride, bottleneck))?;
                stage.push(block);
                x = y;
            }
            stages.push(stage);
            maps.push(x);
        }
        Ok((Resnet { first, stages }, maps))
    }

    /// The map after the first convolution and those of the stages.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, image: &Var) -> Result<Vec<Var>> {
        let mut maps = vec![self.first.forward(p, image)?];
        let mut x = ops::max_pool(&maps[0], POOL.k, POOL.stride, POOL.padding)?;
        for stage in &self.stages {
            for block in stage {
                x = block.forward(p, &x)?;
            }
            maps.push(x.clone());
        }
        Ok(maps)
    }
}

impl Block {
    fn new(
        b: &mut Builder,
        x: Map,
        width: usize,
        stride: usize,
        bottleneck: bool,
    ) -> Result<(Block, Map)> {
        // Channels, side and step of each convolution.
        let shapes = match bottleneck {
            true => vec![(width, 1, 1), (width, 3, stride), (EXPANSION * width, 1, 1)],
            false => vec![(width, 3, stride), (width, 3, 1)],
        };
        let (mut layers, mut y) = (vec![], x);
        for (i, &(c, k, step)) in shapes.iter().enumerate() {
            let after = match i + 1 == shapes.len() {
                true => After::Nothing,
                false => After::Relu,
            };
            let names = [format!("conv{}", i + 1), format!("bn{}", i + 1)];
            let names = [names[0].as_str(), names[1].as_str()];
            let (one, out) = layer(b, names, y, c, (k, step), after)?;
            layers.push(one);
            y = out;
        }
        let downsample = (y != x).then(|| {
            b.scope("downsample", |b| {
                layer(b, ["0", "1"], x, y.c, (1, stride), After::Nothing)
            })
        });
        let downsample = downsample.transpose()?.map(|d| d.0);
        Ok((Block { layers, downsample }, y))
    }

    fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let mut y = x.clone();
        for layer in &self.layers {
            y = layer.forward(p, &y)?;
        }
        let identity = match &self.downsample {
            Some(layer) => layer.forward(p, x)?,
            None => x.clone(),
        };
        ops::relu(&ops::add(&y, &identity)?)
    }
}

/// A convolution of side `k` without bias, padded so that step 1 keeps the size, and its normalisation.
fn layer(
    b: &mut Builder,
    names: [&str; 2],
    x: Map,
    c: usize,
    (k, stride): (usize, usize),
    after: After,
) -> Result<(ConvNorm, Map)> {
    let params = Conv2dParams {
        stride,
        padding: k / 2,
        ..Conv2dParams::default()
    };
    ConvNorm::named(b, names, x, c, (k, params), Bias::None, after)
}
