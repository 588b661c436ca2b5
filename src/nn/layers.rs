//! Layers: parameters with a forward. Declaring one infers the size of its output and counts its cost.

use super::builder::{BatchNormOptions, Builder, Init};
use super::map::{LayerCost, LayerKind, Map, Window};
use super::params::ParamId;
use super::pass::{LayerRecord, Moving, Pass};
use crate::error::{Code, Error, Result};
use crate::ops::{self, BatchNormParams, BatchStats, Conv2dParams};
use crate::tape::{Path, Var};
use crate::tensor::Shape;

/// Whether a convolution adds a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// No bias.
    None,
    /// One per output channel.
    PerChannel,
}

/// A convolution, weight `(C_out, C_in / groups, K, K)`, optional bias.
#[derive(Debug, Clone)]
pub struct Conv2d {
    w: ParamId,
    b: Option<ParamId>,
    params: Conv2dParams,
    kind: LayerKind,
}

impl Conv2d {
    /// Declares a convolution named `name` that reads `x`; returns it with its output.
    ///
    /// # Errors
    /// `MT0105` when the window does not fit or the channels are not a multiple of the groups.
    pub fn new(
        b: &mut Builder,
        name: &str,
        x: Map,
        c_out: usize,
        k: usize,
        params: Conv2dParams,
        bias: Bias,
    ) -> Result<(Conv2d, Map)> {
        let Conv2dParams {
            stride,
            padding,
            dilation,
            groups,
        } = params;
        let path = b.path(name);
        if c_out == 0 || !x.c.is_multiple_of(groups) || !c_out.is_multiple_of(groups) {
            let message = format!("`{path}`: {} to {c_out} channels in {groups} groups", x.c);
            return Err(Error::new(Code::NetworkDoesNotFit, message)
                .help("use a larger number of initial channels"));
        }
        let window = Window {
            k,
            stride,
            padding,
            dilation,
        };
        let y = x.windowed(&path, window)?.channels(c_out);
        let fan_in = x.c / groups * k * k;
        let (w, bias) = b.scope(name, |b| {
            let w = b.weight("weight", [c_out, x.c / groups, k, k], Init::FanIn(fan_in));
            let bias =
                (bias == Bias::PerChannel).then(|| b.weight("bias", [c_out], Init::FanIn(fan_in)));
            (w, bias)
        });
        let kind = match (groups, k) {
            (g, _) if g > 1 && g == x.c => LayerKind::Depthwise,
            (_, 1) => LayerKind::Pointwise,
            _ => LayerKind::Conv,
        };
        b.count(LayerCost {
            name: name.into(),
            kind,
            input: x,
            output: y,
            k,
            stride,
            groups,
            params: (c_out * fan_in + if bias.is_some() { c_out } else { 0 }) as u64,
            macs: (y.numel() * fan_in) as u64,
        });
        let conv = Conv2d {
            w,
            b: bias,
            params,
            kind,
        };
        Ok((conv, y))
    }

    /// `(N, C_in, H, W)` to `(N, C_out, H', W')`.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let (w, b) = (p.weight(self.w), self.b.map(|b| p.weight(b)));
        let y = ops::conv2d(x, &w, b.as_ref(), self.params)?;
        note(
            p,
            self.w,
            self.kind,
            y.shape(),
            per_sample(y.shape()) * taps(&w),
        );
        Ok(y)
    }

    /// Each over a map of its own, and of all results a row of `width` values for each prior, `(N, P, width)`: see [`ops::head_rows()`].
    ///
    /// # Errors
    /// Those of the op.
    ///
    /// # Panics
    /// When one has no bias, or parameters other than the first one's: a bug of the caller.
    pub fn forward_rows(layers: &[&Conv2d], p: &Pass, x: &[Var], width: usize) -> Result<Var> {
        let params = layers.first().map_or(Conv2dParams::default(), |l| l.params);
        let mut heads = vec![];
        for (layer, x) in layers.iter().zip(x) {
            assert_eq!(layer.params, params, "heads are alike");
            let b = p.weight(layer.b.expect("heads have biases"));
            let y = ops::conv2d_shape(x.shape(), p.store().weights.get(layer.w).shape(), params)?;
            let w = layer.within(p, &y);
            let x = x.clone();
            heads.push(ops::Head { x, w, b });
        }
        ops::head_rows(&heads, params, width)
    }

    /// Each over the rectified values of a map, to results of one size: see [`ops::rectified_convs()`].
    ///
    /// # Errors
    /// Those of the op.
    ///
    /// # Panics
    /// When one has a bias, or parameters other than the first one's: a bug of the caller.
    pub fn forward_rectified(layers: &[&Conv2d], p: &Pass, x: &[&Var]) -> Result<Vec<Var>> {
        let params = layers.first().map_or(Conv2dParams::default(), |l| l.params);
        let mut weights = vec![];
        for (layer, x) in layers.iter().zip(x) {
            assert!(layer.params == params && layer.b.is_none(), "all are alike");
            let w = p.store().weights.get(layer.w).shape();
            let y = ops::conv2d_shape(x.shape(), w, params)?;
            weights.push(layer.within(p, &y));
        }
        let all: Vec<(&Var, &Var)> = x.iter().copied().zip(&weights).collect();
        ops::rectified_convs(&all, params)
    }

    /// The weight, for an operation that convolves to `y` `(N, C_out, H', W')` as a part of its own.
    pub fn within(&self, p: &Pass, y: &Shape) -> Var {
        let w = p.weight(self.w);
        note(p, self.w, self.kind, y, per_sample(y) * taps(&w));
        w
    }
}

fn taps(w: &Var) -> usize {
    w.dims()[1..].iter().product()
}

fn per_sample(x: &Shape) -> usize {
    x.numel() / x.dims()[0].max(1)
}

pub(super) fn note(p: &Pass, w: ParamId, kind: LayerKind, y: &Shape, macs: usize) {
    let name = p.store().weights.name(w);
    p.note_layer(LayerRecord {
        name: name.trim_end_matches(".weight").to_string(),
        kind: kind.name(),
        macs: macs as u64,
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
    /// Declares a transposed convolution that reads `x`: `(H - 1) * stride - 2 * padding + k` rows. PyTorch's fan-in of a
    /// transposed convolution counts output channels.
    ///
    /// # Errors
    /// `MT0105` when nothing is left of the map.
    pub fn new(
        b: &mut Builder,
        name: &str,
        x: Map,
        c_out: usize,
        k: usize,
        stride: usize,
        padding: usize,
        bias: Bias,
    ) -> Result<(ConvTranspose2d, Map)> {
        let side = |n: usize| ((n.max(1) - 1) * stride + k).checked_sub(2 * padding);
        let (Some(h @ 1..), Some(w @ 1..)) = (side(x.h), side(x.w)) else {
            let message = format!("`{}`: nothing is left of a {x} map", b.path(name));
            return Err(Error::new(Code::NetworkDoesNotFit, message));
        };
        let y = Map::new(c_out, h, w);
        let fan_in = c_out * k * k;
        let (w, bias) = b.scope(name, |b| {
            let w = b.weight("weight", [x.c, c_out, k, k], Init::FanIn(fan_in));
            let bias =
                (bias == Bias::PerChannel).then(|| b.weight("bias", [c_out], Init::FanIn(fan_in)));
            (w, bias)
        });
        b.count(LayerCost {
            name: name.into(),
            kind: LayerKind::Transposed,
            input: x,
            output: y,
            k,
            stride,
            groups: 1,
            params: (x.c * fan_in + if bias.is_some() { c_out } else { 0 }) as u64,
            macs: (x.numel() * fan_in) as u64,
        });
        let conv = ConvTranspose2d {
            w,
            b: bias,
            stride,
            padding,
        };
        Ok((conv, y))
    }

    /// `(N, C_in, H, W)` to `(N, C_out, H', W')`.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let (w, b) = (p.weight(self.w), self.b.map(|b| p.weight(b)));
        let y = ops::conv_transpose2d(x, &w, b.as_ref(), self.stride, self.padding)?;
        note(
            p,
            self.w,
            LayerKind::Transposed,
            y.shape(),
            per_sample(x.shape()) * taps(&w),
        );
        Ok(y)
    }
}

/// Whether a batch normalisation has a learnable scale and shift.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affine {
    /// Normalises only (inside search cells).
    No,
    /// Scale and shift per channel, starting at 1 and 0.
    Yes,
}

/// Batch normalisation over (N, H, W) of each channel.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    affine: Option<(ParamId, ParamId)>,
    mean: ParamId,
    var: ParamId,
    options: BatchNormOptions,
}

impl BatchNorm {
    /// Declares a batch normalisation of `x`.
    pub fn new(b: &mut Builder, name: &str, x: Map, affine: Affine) -> BatchNorm {
        let c = x.c;
        let options = b.batch_norm;
        let norm = b.scope(name, |b| {
            let affine = (affine == Affine::Yes).then(|| {
                let scale = b.weight("weight", [c], Init::Constant(1.0));
                (scale, b.weight("bias", [c], Init::Constant(0.0)))
            });
            BatchNorm {
                affine,
                mean: b.buffer("running_mean", [c], Init::Constant(0.0)),
                var: b.buffer("running_var", [c], Init::Constant(1.0)),
                options,
            }
        });
        b.count(LayerCost {
            name: name.into(),
            kind: LayerKind::Norm,
            input: x,
            output: x,
            k: 1,
            stride: 1,
            groups: 1,
            params: if norm.affine.is_some() {
                2 * c as u64
            } else {
                0
            },
            macs: 0,
        });
        norm
    }

    /// Normalises; in training mode with the batch's statistics, whose running averages are noted on the pass.
    pub fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        self.run(p, x, false)
    }

    /// Normalises and rectifies in one go.
    pub fn forward_relu(&self, p: &Pass, x: &Var) -> Result<Var> {
        self.run(p, x, true)
    }

    /// Normalises what is positive of x, `batch_norm(max(x, 0))`.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward_of_rectified(&self, p: &Pass, x: &Var) -> Result<Var> {
        let on_device = matches!(p.tape.cx().path, Path::Device(_));
        if !p.mode.training || !on_device {
            return self.forward(p, &ops::relu(x)?);
        }
        let affine = self.affine.map(|(g, b)| (p.weight(g), p.weight(b)));
        let affine = affine.as_ref().map(|(g, b)| (g, b));
        let params = BatchNormParams {
            eps: self.options.eps,
            relu: false,
        };
        let (y, stats) = ops::rectified_batch_norm(x, affine, params)?;
        self.note(p, stats);
        Ok(y)
    }

    fn run(&self, p: &Pass, x: &Var, relu: bool) -> Result<Var> {
        let affine = self.affine.map(|(g, b)| (p.weight(g), p.weight(b)));
        let affine = affine.as_ref().map(|(g, b)| (g, b));
        let params = BatchNormParams {
            eps: self.options.eps,
            relu,
        };
        if !p.mode.training {
            let (mean, var) = (p.buffer(self.mean), p.buffer(self.var));
            return ops::batch_norm_eval(x, mean, var, affine, params);
        }
        let (y, stats) = ops::batch_norm(x, affine, params)?;
        self.note(p, stats);
        Ok(y)
    }

    /// Each normalises a map, and rectifies it where `relu`: on a device, those without scale and shift together where the maps are of
    /// one size, with the batch's statistics; else one by one.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward_all(norms: &[&BatchNorm], p: &Pass, x: &[&Var], relu: bool) -> Result<Vec<Var>> {
        let alike = (x.iter()).all(|y| y.shape() == x[0].shape() && y.dtype() == x[0].dtype())
            && (2..=ops::NORMS).contains(&x.len());
        match BatchNorm::together(norms, p) {
            Some(eps) if alike => {
                let (y, stats) = ops::batch_norms(x, BatchNormParams { eps, relu })?;
                for (norm, stats) in norms.iter().zip(stats) {
                    norm.note(p, stats);
                }
                Ok(y)
            }
            _ => (norms.iter().zip(x))
                .map(|(norm, x)| norm.run(p, x, relu))
                .collect(),
        }
    }

    /// What all add to the variance, where one operation may normalise for them: on a device, with the batch's statistics, where none has a
    /// scale and a shift.
    pub fn together(norms: &[&BatchNorm], p: &Pass) -> Option<f64> {
        let on_device = matches!(p.tape.cx().path, Path::Device(_));
        let eps = norms.first().and_then(|n| n.plain_eps());
        let alike = norms.iter().all(|n| n.plain_eps() == eps);
        eps.filter(|_| p.mode.training && on_device && alike)
    }

    /// Whether [`BatchNorm::forward_rows`] normalises rows: on a device, with the batch's statistics, where all have a scale and a shift
    /// and add the same to the variance.
    pub fn take_rows(norms: &[&BatchNorm], p: &Pass) -> bool {
        let eps = norms.first().map(|n| n.options.eps);
        let alike = |n: &&BatchNorm| n.affine.is_some() && Some(n.options.eps) == eps;
        let on_device = matches!(p.tape.cx().path, Path::Device(_));
        p.mode.training && on_device && eps.is_some() && norms.iter().all(alike)
    }

    /// Each normalises a level of the rows `(N, P, V)` that [`ops::to_rows()`] makes of maps of so many pixels each, all together, as it
    /// would the map before; `None` where they do not ([`BatchNorm::take_rows`]).
    ///
    /// # Errors
    /// Those of the op.
    pub fn forward_rows(
        norms: &[&BatchNorm],
        p: &Pass,
        rows: &Var,
        pixels: &[usize],
    ) -> Result<Option<Var>> {
        if !BatchNorm::take_rows(norms, p) {
            return Ok(None);
        }
        let affine = norms.iter().filter_map(|n| n.affine);
        let affine: Vec<(Var, Var)> = affine.map(|(g, b)| (p.weight(g), p.weight(b))).collect();
        let affine: Vec<(&Var, &Var)> = affine.iter().map(|(g, b)| (g, b)).collect();
        let (y, stats) = ops::rows_batch_norm(rows, &affine, pixels, norms[0].options.eps)?;
        for (norm, stats) in norms.iter().zip(stats) {
            norm.note(p, stats);
        }
        Ok(Some(y))
    }

    /// Notes the running averages after a batch of these statistics, where the pass collects them: also for an operation that
    /// normalises as a part of its own.
    pub fn note(&self, p: &Pass, stats: BatchStats) {
        if p.mode.update_statistics {
            let momentum = self.options.momentum;
            p.note_statistics(Moving {
                ids: [self.mean, self.var],
                batch: stats,
                momentum,
            });
        }
    }

    /// What is added to the variance, of one without scale and shift.
    pub fn plain_eps(&self) -> Option<f64> {
        self.affine.is_none().then_some(self.options.eps)
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
