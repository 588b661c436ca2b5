//! Layers: parameters with a forward.

use super::builder::{Builder, Init};
use super::params::ParamId;
use super::pass::{LayerRecord, Pass};
use crate::error::Result;
use crate::ops::{self, BatchNormParams, Conv2dParams};
use crate::tape::Var;
use crate::tensor::Tensor;

/// Epsilon of every batch normalisation (systems.md 2.1: framework default).
pub const BN_EPS: f64 = 1e-5;
/// Share of the batch in the running statistics: `running += momentum * (batch - running)`.
pub const BN_MOMENTUM: f64 = 0.1;

/// A convolution, weight `(C_out, C_in / groups, K, K)`, optional bias.
#[derive(Debug, Clone)]
pub struct Conv2d {
    w: ParamId,
    b: Option<ParamId>,
    params: Conv2dParams,
}

impl Conv2d {
    /// Without bias.
    pub fn new(
        b: &mut Builder,
        c_in: usize,
        c_out: usize,
        k: usize,
        params: Conv2dParams,
    ) -> Conv2d {
        let fan_in = c_in / params.groups * k * k;
        let w = b.weight(
            "weight",
            [c_out, c_in / params.groups, k, k],
            Init::FanIn(fan_in),
        );
        Conv2d { w, b: None, params }
    }

    /// With bias.
    pub fn with_bias(
        b: &mut Builder,
        c_in: usize,
        c_out: usize,
        k: usize,
        params: Conv2dParams,
    ) -> Conv2d {
        let conv = Conv2d::new(b, c_in, c_out, k, params);
        let bias = b.weight("bias", [c_out], Init::FanIn(c_in / params.groups * k * k));
        Conv2d {
            b: Some(bias),
            ..conv
        }
    }

    /// `(N, C_in, H, W)` to `(N, C_out, H', W')`.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let (w, b) = (p.weight(self.w), self.b.map(|b| p.weight(b)));
        let y = ops::conv2d(x, &w, b.as_ref(), self.params)?;
        let taps: usize = w.dims()[1..].iter().product();
        let kind = match (self.params.groups, w.dims()[2]) {
            (g, _) if g > 1 && w.dims()[1] == 1 => "depthwise",
            (_, 1) => "pointwise",
            _ => "conv",
        };
        note(
            p,
            self.w,
            kind,
            (y.value().numel() / y.dims()[0].max(1) * taps) as u64,
            &y,
        );
        Ok(y)
    }
}

fn note(p: &Pass, w: ParamId, kind: &'static str, macs: u64, y: &Var) {
    let name = p
        .store()
        .weights
        .name(w)
        .trim_end_matches(".weight")
        .to_string();
    p.note_layer(LayerRecord {
        name,
        kind,
        macs,
        output: y.dims().to_vec(),
    });
}

/// A transposed convolution, weight `(C_in, C_out, K, K)`, optional bias.
#[derive(Debug, Clone)]
pub struct ConvTranspose2d {
    w: ParamId,
    b: Option<ParamId>,
    stride: usize,
    padding: usize,
}

impl ConvTranspose2d {
    /// `bias` adds one; PyTorch's fan-in of a transposed convolution counts output channels.
    pub fn new(
        b: &mut Builder,
        c_in: usize,
        c_out: usize,
        k: usize,
        stride: usize,
        padding: usize,
    ) -> ConvTranspose2d {
        let w = b.weight("weight", [c_in, c_out, k, k], Init::FanIn(c_out * k * k));
        ConvTranspose2d {
            w,
            b: None,
            stride,
            padding,
        }
    }

    /// With bias.
    pub fn with_bias(
        b: &mut Builder,
        c_in: usize,
        c_out: usize,
        k: usize,
        stride: usize,
        padding: usize,
    ) -> ConvTranspose2d {
        let conv = ConvTranspose2d::new(b, c_in, c_out, k, stride, padding);
        let bias = b.weight("bias", [c_out], Init::FanIn(c_out * k * k));
        ConvTranspose2d {
            b: Some(bias),
            ..conv
        }
    }

    /// `(N, C_in, H, W)` to `(N, C_out, (H - 1) * stride - 2 * padding + K, ...)`.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let (w, b) = (p.weight(self.w), self.b.map(|b| p.weight(b)));
        let y = ops::conv_transpose2d(x, &w, b.as_ref(), self.stride, self.padding)?;
        let taps: usize = w.dims()[1..].iter().product();
        note(
            p,
            self.w,
            "transposed",
            (x.value().numel() / x.dims()[0].max(1) * taps) as u64,
            &y,
        );
        Ok(y)
    }
}

/// Batch normalisation over (N, H, W) of each channel.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    affine: Option<(ParamId, ParamId)>,
    mean: ParamId,
    var: ParamId,
}

impl BatchNorm {
    /// `affine`: with learnable scale and shift.
    pub fn new(b: &mut Builder, c: usize, affine: bool) -> BatchNorm {
        let affine = affine.then(|| {
            (
                b.weight("weight", [c], Init::Constant(1.0)),
                b.weight("bias", [c], Init::Constant(0.0)),
            )
        });
        let mean = b.buffer("running_mean", [c], Init::Constant(0.0));
        let var = b.buffer("running_var", [c], Init::Constant(1.0));
        BatchNorm { affine, mean, var }
    }

    /// Normalises; in training mode with the batch's statistics, whose running averages are noted on the pass.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        self.run(p, x, false)
    }

    /// Normalises and rectifies in one go.
    pub fn forward_relu(&self, p: &Pass, x: &Var) -> Result<Var> {
        self.run(p, x, true)
    }

    fn run(&self, p: &Pass, x: &Var, relu: bool) -> Result<Var> {
        let affine = self.affine.map(|(g, b)| (p.weight(g), p.weight(b)));
        let affine = affine.as_ref().map(|(g, b)| (g, b));
        let params = BatchNormParams { eps: BN_EPS, relu };
        if !p.mode.training {
            return ops::batch_norm_eval(
                x,
                p.buffer(self.mean),
                p.buffer(self.var),
                affine,
                params,
            );
        }
        let (y, stats) = ops::batch_norm(x, affine, params)?;
        if p.mode.update_statistics {
            p.note_statistic(self.mean, running(p.buffer(self.mean), &stats.mean));
            p.note_statistic(self.var, running(p.buffer(self.var), &stats.unbiased_var()));
        }
        Ok(y)
    }
}

fn running(old: &Tensor, batch: &Tensor) -> Tensor {
    let v = old
        .to_f64()
        .iter()
        .zip(batch.to_f64())
        .map(|(o, b)| o + BN_MOMENTUM * (b - o))
        .collect();
    Tensor::from_f64(*old.shape(), v)
        .expect("same shape")
        .cast(old.dtype())
}
