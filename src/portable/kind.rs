//! What a node computes. Maps are `(N, C, H, W)`.

/// Operations that ONNX and PyTorch know, with their sizes; the operands stand behind each.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Convolution of x with w `(C_out, C / groups, K, K)`, plus b `(C_out)` if there is one.
    Conv {
        /// Step between outputs.
        stride: usize,
        /// Zeros around the map.
        padding: usize,
        /// Step between taps.
        dilation: usize,
        /// Groups of channels.
        groups: usize,
    },
    /// Transposed convolution of x with w `(C, C_out, K, K)`, plus b `(C_out)` if there is one.
    ConvTranspose {
        /// Step of the outputs per input.
        stride: usize,
        /// Rows and columns cut off on each side.
        padding: usize,
    },
    /// `scale (x - mean) / sqrt(var + eps) + shift`: x, scale, shift, mean, var, `(C)` each but x.
    BatchNorm {
        /// Added to the variance.
        eps: f64,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Largest value of each window; padding takes no part.
    MaxPool(Window),
    /// Mean of each window over its taps inside the map.
    AvgPool(Window),
    /// Mean of each channel, `(N, C)`.
    GlobalAvgPool,
    /// `a + b` of one shape.
    Add,
    /// `a b` of one shape.
    Mul,
    /// x times a constant.
    Scale(f64),
    /// Operands one after the other along dimension 1.
    Concat,
    /// The channels `start..start + channels`.
    Slice {
        /// First channel.
        start: usize,
        /// How many.
        channels: usize,
    },
    /// Rows and columns `offset`, `offset + stride`, ...
    Subsample {
        /// Step.
        stride: usize,
        /// First row and column.
        offset: usize,
    },
    /// Every pixel repeated `factor` times in both directions.
    Nearest {
        /// Enlargement.
        factor: usize,
    },
    /// Bilinear resampling.
    Bilinear {
        /// Rows of the result.
        height: usize,
        /// Columns of the result.
        width: usize,
        /// Outermost pixel centres coincide, instead of the outer borders.
        align_corners: bool,
    },
    /// `x w^T + b`: x `(N, I)`, w `(O, I)` and, if there is one, b `(O)`.
    Linear,
    /// `(N, A width, H, W)` to `(N, H W A, width)`.
    ToRows {
        /// Values of a row.
        width: usize,
    },
    /// Channels of k groups one after the other, `y[:, i k + g] = x[:, g C / k + i]`.
    ChannelShuffle {
        /// Groups that are interleaved.
        groups: usize,
    },
    /// Probabilities along a dimension.
    Softmax {
        /// The dimension.
        axis: usize,
    },
    /// The same elements, those of an image, in the shape of the result.
    Reshape,
    /// Zeros in the shape of the result; the operand says for how many images.
    Zeros,
}

/// A square window of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Side.
    pub k: usize,
    /// Step.
    pub stride: usize,
    /// Ring around the map.
    pub padding: usize,
}

impl Kind {
    /// A short word, for names of values and for messages.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Conv { .. } => "conv",
            Kind::ConvTranspose { .. } => "conv_transpose",
            Kind::BatchNorm { .. } => "norm",
            Kind::Relu => "relu",
            Kind::Relu6 => "relu6",
            Kind::MaxPool(_) => "max_pool",
            Kind::AvgPool(_) => "avg_pool",
            Kind::GlobalAvgPool => "mean",
            Kind::Add => "sum",
            Kind::Mul => "product",
            Kind::Scale(_) => "scaled",
            Kind::Concat => "concat",
            Kind::Slice { .. } => "part",
            Kind::Subsample { .. } => "subsampled",
            Kind::Nearest { .. } | Kind::Bilinear { .. } => "enlarged",
            Kind::Linear => "linear",
            Kind::ToRows { .. } => "rows",
            Kind::ChannelShuffle { .. } => "shuffled",
            Kind::Softmax { .. } => "softmax",
            Kind::Reshape => "reshaped",
            Kind::Zeros => "zeros",
        }
    }
}
