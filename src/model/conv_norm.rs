//! Convolution and batch normalisation: the block of stems, heads and hand-crafted branches.

use crate::error::Result;
use crate::nn::{Affine, BatchNorm, Bias, Builder, Conv2d, Map, Pass};
use crate::ops::{self, Conv2dParams};
use crate::tape::Var;

/// What follows the normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    Nothing,
    /// ReLU.
    Relu,
    /// ReLU with the ceiling 6 (MobileNetV2).
    Relu6,
}

/// A convolution followed by an affine batch normalisation and, where asked, ReLU.
#[derive(Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
    after: After,
}

/// Sides and steps of the window; channels are given apart.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Side of the window.
    pub k: usize,
    /// Step.
    pub stride: usize,
    /// Zeros around the map.
    pub padding: usize,
}

impl ConvNorm {
    /// Declares one whose two layers are named `names` inside the current scope.
    ///
    /// # Errors
    /// `MT0105` when the window does not fit.
    pub fn new(
        b: &mut Builder,
        names: [usize; 2],
        x: Map,
        c_out: usize,
        shape: Shape,
        bias: Bias,
        after: After,
    ) -> Result<(ConvNorm, Map)> {
        let params = Conv2dParams {
            stride: shape.stride,
            padding: shape.padding,
            ..Conv2dParams::default()
        };
        let [conv, norm] = names.map(|n| n.to_string());
        ConvNorm::named(b, [&conv, &norm], x, c_out, (shape.k, params), bias, after)
    }

    /// As [`ConvNorm::new`] with names in words and all parameters of a convolution: the side of the window, then step, padding,
    /// dilation, groups.
    ///
    /// # Errors
    /// As there.
    pub fn named(
        b: &mut Builder,
        [conv, norm]: [&str; 2],
        x: Map,
        c_out: usize,
        (k, params): (usize, Conv2dParams),
        bias: Bias,
        after: After,
    ) -> Result<(ConvNorm, Map)> {
        let (conv, y) = Conv2d::new(b, conv, x, c_out, k, params, bias)?;
        let norm = BatchNorm::new(b, norm, y, Affine::Yes);
        Ok((ConvNorm { conv, norm, after }, y))
    }

    /// `(N, C_in, H, W)` to `(N, C_out, H', W')`.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let y = self.conv.forward(p, x)?;
        match self.after {
            After::Nothing => self.norm.forward(p, &y),
            After::Relu => self.norm.forward_relu(p, &y),
            After::Relu6 => ops::relu6(&self.norm.forward(p, &y)?),
        }
    }
}

/// Heads of the levels of detection: each over the map of its level, nothing after the normalisation, and of all results a row of `width` values for
/// each prior, `(N, P, width)`. In training, on a device, all levels together.
///
/// # Errors
/// Those of the ops.
pub fn rows_of(layers: &[&ConvNorm], p: &Pass, x: &[Var], width: usize) -> Result<Var> {
    let norms: Vec<&BatchNorm> = layers.iter().map(|l| &l.norm).collect();
    if BatchNorm::take_rows(&norms, p) {
        let convs: Vec<&Conv2d> = layers.iter().map(|l| &l.conv).collect();
        // Heads keep the sizes of their maps.
        let pixels: Vec<usize> = x.iter().map(|x| x.dims()[2..].iter().product()).collect();
        let rows = Conv2d::forward_rows(&convs, p, x, width)?;
        if let Some(y) = BatchNorm::forward_rows(&norms, p, &rows, &pixels)? {
            return Ok(y);
        }
    }
    let maps = layers.iter().zip(x).map(|(layer, x)| layer.forward(p, x));
    let maps = maps.collect::<Result<Vec<_>>>()?;
    ops::to_rows(&maps.iter().collect::<Vec<_>>(), width)
}

/// A 3x3 window with padding 1.
pub fn three(stride: usize) -> Shape {
    Shape {
        k: 3,
        stride,
        padding: 1,
    }
}

/// A 1x1 window.
pub const ONE: Shape = Shape {
    k: 1,
    stride: 1,
    padding: 0,
};
