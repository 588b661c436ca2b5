//! The frame `mtnas-peer`: feature pyramid, SSD heads and an upsampling segmentation head, all by hand, over a backbone of
//! cells ("without branch search"; the network of the PyTorch peer).

use super::backbone::Backbone;
use super::conv_norm::{After, ConvNorm, three};
use super::network::Outputs;
use super::spec::NetworkSpec;
use crate::error::{Code, Error, Result};
use crate::nn::{Affine, BatchNorm, Bias, Builder, Conv2d, ConvTranspose2d, Map, Pass};
use crate::ops::{self, Conv2dParams};
use crate::space::operation::State;
use crate::tape::Var;
use crate::task::config::TaskKind;

/// Offsets per prior.
const LOC_VALUES: usize = 4;
/// Levels of the pyramid: strides 8, 16, 32.
const PYRAMID: usize = 3;

/// Pyramid and heads over the backbone.
#[derive(Debug)]
pub struct Peer {
    /// Last cell at strides 8, 16, 32.
    taps: [usize; PYRAMID],
    lateral: Vec<Conv2d>,
    smooth: Vec<ConvNorm>,
    extra: Option<ConvNorm>,
    loc: Vec<Conv2d>,
    conf: Vec<Conv2d>,
    classes: usize,
    /// Heads of maps for each pixel, by task.
    ups: Vec<(TaskKind, Up)>,
    maps: Vec<Map>,
}

/// Three transposed convolutions, each doubling the map; ReLU, then BN after the first two.
#[derive(Debug)]
struct Up {
    conv: [ConvTranspose2d; 3],
    norm: [BatchNorm; 2],
}

impl Peer {
    /// Declares pyramid and the heads that `spec` asks for.
    ///
    /// # Errors
    /// `MT0105` when the input is not a multiple of 32, the reductions are not three, or the levels not 3 or 4.
    pub fn new(b: &mut Builder, spec: &NetworkSpec, backbone: &Backbone) -> Result<Peer> {
        let bad =
            |message: String, help: &str| Error::new(Code::NetworkDoesNotFit, message).help(help);
        let reductions = spec.frame.reduction_cells();
        let [_, second, third] = reductions[..] else {
            let message = format!("mtnas-peer has three reductions, got {reductions:?}");
            return Err(bad(
                message,
                "set `reductions` to three rising indices of cells",
            ));
        };
        let taps = [second - 1, third - 1, backbone.outputs().len() - 1];
        let maps = taps.map(|t| backbone.outputs()[t]);
        let f = spec.frame.fpn_width;
        if !f.is_multiple_of(4) || f == 0 {
            return Err(bad(
                format!("fpn_width = {f} is not a multiple of 4"),
                "use a multiple of 4",
            ));
        }
        for pair in maps.windows(2) {
            if (pair[0].h, pair[0].w) != (2 * pair[1].h, 2 * pair[1].w) {
                let message = format!(
                    "input {}x{} is not a multiple of 32",
                    spec.height, spec.width
                );
                return Err(bad(message, "use an input whose sides are multiples of 32"));
            }
        }
        let (mut lateral, mut smooth) = (vec![], vec![]);
        for (l, &x) in maps.iter().enumerate() {
            let name = format!("fpn.lateral.{l}");
            lateral.push(conv(b, &name, x, f, 1)?);
        }
        for (l, &x) in maps.iter().enumerate() {
            let x = x.channels(f);
            let name = format!("fpn.smooth.{l}");
            let (layer, _) = b.scope(name, |b| {
                ConvNorm::new(b, [0, 1], x, f, three(1), Bias::None, After::Relu)
            })?;
            smooth.push(layer);
        }
        let mut peer = Peer {
            taps,
            lateral,
            smooth,
            extra: None,
            loc: vec![],
            conf: vec![],
            classes: 0,
            ups: vec![],
            maps: maps.map(|m| m.channels(f)).to_vec(),
        };
        match &spec.det_head {
            Some(head) => {
                peer.classes = head.classes + 1;
                peer.detection(b, &head.anchors, f)?;
            }
            None => peer.maps.clear(),
        }
        for (task, planes) in spec.map_heads() {
            let name = match task {
                TaskKind::Segmentation => "up".into(),
                other => format!("up_{}", other.key()),
            };
            let up = Up::new(b, name, maps[0].channels(f), planes)?;
            peer.ups.push((task, up));
        }
        Ok(peer)
    }

    fn detection(&mut self, b: &mut Builder, anchors: &[usize], f: usize) -> Result<()> {
        match anchors.len() {
            PYRAMID => {}
            4 => {
                let x = self.maps[PYRAMID - 1];
                let (extra, y) = b.scope("extra", |b| {
                    ConvNorm::new(b, [0, 1], x, f, three(2), Bias::None, After::Relu)
                })?;
                self.extra = Some(extra);
                self.maps.push(y);
            }
            n => {
                let message = format!("{n} detection levels, mtnas-peer has 3 or 4");
                return Err(
                    Error::new(Code::NetworkDoesNotFit, message).help("use det_levels = 3 or 4")
                );
            }
        }
        for (l, (&x, a)) in self.maps.iter().zip(anchors).enumerate() {
            self.loc
                .push(conv(b, &format!("loc.{l}"), x, a * LOC_VALUES, 3)?);
            self.conf
                .push(conv(b, &format!("conf.{l}"), x, a * self.classes, 3)?);
        }
        Ok(())
    }

    /// The maps of the detection levels, finest first.
    pub fn levels(&self) -> &[Map] {
        &self.maps
    }

    /// Sums of the pyramid, coarse to fine, down to the level `finest`.
    fn pyramid(&self, p: &Pass, cells: &[State]) -> Result<Vec<Var>> {
        let mut sums: Vec<Var> = vec![];
        for l in (0..PYRAMID).rev() {
            let mut x = self.lateral[l].forward(p, cells[self.taps[l]].x())?;
            if let Some(coarser) = sums.last() {
                x = ops::upsample_add(coarser, &x, 2)?;
            }
            sums.push(x);
        }
        sums.reverse();
        Ok(sums)
    }

    /// Outputs of those of `tasks` that it has heads for; the pyramid that they share is computed once.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn heads(
        &self,
        p: &Pass,
        cells: &[State],
        tasks: &[TaskKind],
    ) -> Result<Vec<(TaskKind, Outputs)>> {
        let det = tasks.contains(&TaskKind::Detection);
        // Maps for pixels read the finest level alone.
        let levels = if det { PYRAMID } else { 1 };
        let mut features = vec![];
        for (layer, x) in self.smooth.iter().zip(self.pyramid(p, cells)?).take(levels) {
            features.push(layer.forward(p, &x)?);
        }
        let finest = features[0].clone();
        let mut all = vec![];
        if det {
            if let Some(extra) = &self.extra {
                features.push(extra.forward(p, &features[PYRAMID - 1])?);
            }
            let rows = |layers: &[Conv2d], values: usize| {
                Conv2d::forward_rows(&layers.iter().collect::<Vec<_>>(), p, &features, values)
            };
            let outputs = Outputs::Detection {
                loc: rows(&self.loc, LOC_VALUES)?,
                conf: rows(&self.conf, self.classes)?,
            };
            all.push((TaskKind::Detection, outputs));
        }
        for (task, up) in self.ups.iter().filter(|(t, _)| tasks.contains(t)) {
            let y = up.forward(p, &finest)?;
            all.push((*task, Outputs::of_map(*task, y)));
        }
        Ok(all)
    }
}

impl Up {
    fn new(b: &mut Builder, name: String, x: Map, planes: usize) -> Result<Up> {
        b.scope(name, |b| {
            let mut step = |name: &str, x: Map, c: usize| -> Result<_> {
                b.scope(name, |b| {
                    let (conv, y) = ConvTranspose2d::new(b, "0", x, c, 4, 2, 1, Bias::None)?;
                    Ok((conv, BatchNorm::new(b, "2", y, Affine::Yes), y))
                })
            };
            let (conv0, norm0, y) = step("0", x, x.c / 2)?;
            let (conv1, norm1, y) = step("1", y, x.c / 4)?;
            let (conv2, _) = ConvTranspose2d::new(b, "2", y, planes, 4, 2, 1, Bias::PerChannel)?;
            Ok(Up {
                conv: [conv0, conv1, conv2],
                norm: [norm0, norm1],
            })
        })
    }

    fn forward(&self, p: &Pass, x: &Var) -> Result<Var> {
        let mut x = x.clone();
        for (conv, norm) in self.conv.iter().zip(&self.norm) {
            x = norm.forward_of_rectified(p, &conv.forward(p, &x)?)?;
        }
        self.conv[2].forward(p, &x)
    }
}

/// A convolution with bias that keeps the size.
fn conv(b: &mut Builder, name: &str, x: Map, c: usize, k: usize) -> Result<Conv2d> {
    let params = Conv2dParams {
        padding: k / 2,
        ..Conv2dParams::default()
    };
    Ok(Conv2d::new(b, name, x, c, k, params, Bias::PerChannel)?.0)
}
