//! Sizes known before anything runs: networks infer the shape of every map while they are declared, so that a network that
//! does not fit is refused, and its cost counted, without a tensor.

use std::fmt;

use crate::error::{Code, Error, Result};

/// The size of one sample's feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Map {
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.c, self.h, self.w)
    }
}

/// A sliding window: kernel side, step, ring of padding, distance of its taps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Side of the kernel.
    pub k: usize,
    /// Step between outputs.
    pub stride: usize,
    /// Ring around the map.
    pub padding: usize,
    /// Step between taps.
    pub dilation: usize,
}

impl Map {
    /// A map of `c` channels, `h` rows and `w` columns.
    pub fn new(c: usize, h: usize, w: usize) -> Map {
        Map { c, h, w }
    }

    /// The same size with other channels.
    pub fn channels(self, c: usize) -> Map {
        Map { c, ..self }
    }

    /// Rows and columns multiplied.
    pub fn enlarged(self, factor: usize) -> Map {
        Map {
            h: self.h * factor,
            w: self.w * factor,
            ..self
        }
    }

    /// Number of values.
    pub fn numel(self) -> usize {
        self.c * self.h * self.w
    }

    /// What a window leaves of the map, `floor((side + 2 padding - dilation (k - 1) - 1) / stride) + 1` each way.
    ///
    /// # Errors
    /// `MT0105`, naming `layer`, when nothing is left.
    pub fn windowed(self, layer: &str, window: Window) -> Result<Map> {
        let Window {
            k,
            stride,
            padding,
            dilation,
        } = window;
        let reach = dilation * (k - 1) + 1;
        let side = |n: usize| (n + 2 * padding).checked_sub(reach).map(|r| r / stride + 1);
        match (side(self.h), side(self.w)) {
            (Some(h), Some(w)) if self.h > 0 && self.w > 0 => Ok(Map { h, w, ..self }),
            _ => Err(Error::new(
                Code::NetworkDoesNotFit,
                format!(
                    "`{layer}`: a {k}x{k} window with padding {padding} does not fit a {}x{} map",
                    self.h, self.w
                ),
            )
            .help("use a larger input")),
        }
    }

    /// Half the rows and columns.
    ///
    /// # Errors
    /// `MT0105`, naming `layer`, when a side is odd or 0.
    pub fn halved(self, layer: &str) -> Result<Map> {
        if self.h == 0 || self.w == 0 || self.h % 2 == 1 || self.w % 2 == 1 {
            let message = format!(
                "`{layer}` halves a {}x{} map, whose sides must be even",
                self.h, self.w
            );
            return Err(Error::new(Code::NetworkDoesNotFit, message)
                .help("use an input whose sides are multiples of the network's stride"));
        }
        Ok(Map {
            h: self.h / 2,
            w: self.w / 2,
            ..self
        })
    }
}

/// What a layer is, for cost tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// Dense convolution with a window larger than 1x1.
    Conv,
    /// One filter per channel.
    Depthwise,
    /// 1x1 convolution.
    Pointwise,
    /// Transposed convolution.
    Transposed,
    /// Fully connected.
    Linear,
    /// Batch normalisation; its work is not counted.
    Norm,
}

impl LayerKind {
    /// All kinds.
    pub const ALL: [LayerKind; 6] = [
        LayerKind::Conv,
        LayerKind::Depthwise,
        LayerKind::Pointwise,
        LayerKind::Transposed,
        LayerKind::Linear,
        LayerKind::Norm,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            LayerKind::Conv => "conv",
            LayerKind::Depthwise => "depthwise",
            LayerKind::Pointwise => "pointwise",
            LayerKind::Transposed => "transposed",
            LayerKind::Linear => "linear",
            LayerKind::Norm => "norm",
        }
    }
}

/// One layer as it was declared.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LayerCost {
    /// Dotted name, without `.weight`.
    pub name: String,
    /// What it is.
    pub kind: LayerKind,
    /// One sample's input.
    pub input: Map,
    /// One sample's output.
    pub output: Map,
    /// Side of the window; 1 for linear layers and norms.
    pub k: usize,
    /// Step of the window.
    pub stride: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Trainable values.
    pub params: u64,
    /// Multiply-adds for one sample; 0 for norms.
    pub macs: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(k: usize, stride: usize, padding: usize, dilation: usize) -> Window {
        Window {
            k,
            stride,
            padding,
            dilation,
        }
    }

    #[test]
    fn windows() {
        let m = Map::new(3, 5, 8);
        assert_eq!(
            m.windowed("a", window(3, 2, 1, 1)).unwrap(),
            Map::new(3, 3, 4)
        );
        assert_eq!(
            m.windowed("a", window(3, 1, 0, 1)).unwrap(),
            Map::new(3, 3, 6)
        );
        assert_eq!(m.windowed("a", window(5, 1, 4, 2)).unwrap(), m);
        let e = Map::new(3, 2, 6)
            .windowed("cell", window(3, 1, 0, 1))
            .unwrap_err();
        assert_eq!(e.code(), Code::NetworkDoesNotFit);
        assert_eq!(
            e.message(),
            "`cell`: a 3x3 window with padding 0 does not fit a 2x6 map"
        );
        assert_eq!(
            m.halved("cell").unwrap_err().message(),
            "`cell` halves a 5x8 map, whose sides must be even"
        );
    }
}
