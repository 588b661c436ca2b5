//! What a program is made of: values with a place each, and steps that make them.

use crate::backend::host::conv::ConvSizes;
use crate::backend::host::pool::Kind as PoolKind;
use crate::backend::host::{products, tiles};
use crate::portable::{Kind, Window};
use crate::tensor::Tensor;

/// A value of the program: its place in [`super::Program`]'s list.
pub type V = usize;

/// A value.
#[derive(Debug, Clone)]
pub struct Value {
    /// Its sizes, the images left out.
    pub dims: Vec<usize>,
    /// The value that it is a part of, and where in each image of that: a node of a cell lies where the cell's output wants it.
    pub part_of: Option<(V, usize)>,
}

impl Value {
    /// Elements of an image.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }
}

/// What follows a convolution or a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    None,
    /// `max(v, 0)`.
    Relu,
    /// `min(max(v, 0), 6)`.
    Relu6,
}

impl Act {
    /// As the kernels know it.
    pub fn code(self) -> u8 {
        match self {
            Act::None => tiles::PLAIN,
            Act::Relu => tiles::RELU,
            Act::Relu6 => tiles::RELU6,
        }
    }
}

/// A weight as products read it, and as it is.
#[derive(Debug, Clone)]
pub struct Weight {
    /// `(c_out, rest)`.
    pub plain: Vec<f32>,
    /// The same, packed, for each group, [`DEPTH`] columns at a time; empty where there are no kernels for that.
    pub packed: Vec<Vec<Vec<f32>>>,
}

/// Rows of B at a time: what a tile of a product reads of them stays in the first-level cache for all rows of the result.
pub const DEPTH: usize = 256;

impl Weight {
    /// Packs `(c_out, rest)` in groups.
    pub fn new(plain: Vec<f32>, c_out: usize, groups: usize) -> Weight {
        let (per, rest) = (c_out / groups, plain.len() / c_out.max(1));
        let pack = |q: usize| {
            let own = &plain[q * per * rest..][..per * rest];
            let part = |at: usize| {
                let mut out = vec![];
                let depth = DEPTH.min(rest - at);
                products::pack(per, depth, &own[at..], [rest, 1], &mut out);
                out
            };
            (0..rest).step_by(DEPTH).map(part).collect()
        };
        let packed = match products::applies::<f32>() {
            true => (0..groups).map(pack).collect(),
            false => vec![],
        };
        Weight { plain, packed }
    }
}

/// A depthwise convolution.
#[derive(Debug, Clone)]
pub struct Depthwise {
    /// Sizes for one image.
    pub sizes: ConvSizes,
    /// `(c, k k)`.
    pub taps: Vec<f32>,
    /// One a channel.
    pub bias: Vec<f32>,
    /// What follows.
    pub act: Act,
}

/// What convolves.
#[derive(Debug, Clone)]
pub enum Body {
    /// 1x1 over the whole map.
    Pointwise {
        /// Channels read, channels made, pixels.
        sizes: [usize; 3],
        /// `(c_out, c_in)`.
        w: Weight,
    },
    /// A depthwise convolution and a 1x1 one over its output, which is never whole in memory.
    Separable {
        /// The first of them.
        first: Depthwise,
        /// Channels made.
        c_out: usize,
        /// `(c_out, c)`.
        w: Weight,
    },
    /// A depthwise convolution alone; its own bias and rectifier are left alone.
    Depthwise(Depthwise),
    /// Any other.
    Dense {
        /// Sizes for one image.
        sizes: ConvSizes,
        /// `(c_out, c_in / groups, k, k)`.
        w: Weight,
    },
}

/// A convolution with what is around it: `y = act(conv(rectified x) + bias + plus)`.
#[derive(Debug, Clone)]
pub struct Conv {
    /// What it reads.
    pub x: V,
    /// Whether it reads `max(x, 0)`.
    pub rectify: bool,
    /// What convolves.
    pub body: Body,
    /// One a channel.
    pub bias: Vec<f32>,
    /// A value of the result's size that is added.
    pub plus: Option<V>,
    /// What follows.
    pub act: Act,
    /// The result.
    pub y: V,
}

/// One step.
#[derive(Debug, Clone)]
pub enum Step {
    /// A convolution.
    Conv(Box<Conv>),
    /// `act(a + b)`.
    Add {
        /// Operands.
        x: [V; 2],
        /// What follows; never the ceiling.
        act: Act,
        /// The result.
        y: V,
    },
    /// `max(x, 0)` or, unrectified, a copy.
    Copy {
        /// The operand.
        x: V,
        /// Whether negative values go.
        rectify: bool,
        /// The result.
        y: V,
    },
    /// A pooling.
    Pool {
        /// The operand.
        x: V,
        /// Its kind.
        kind: PoolKind,
        /// Its window.
        window: Window,
        /// The result.
        y: V,
    },
    /// Rows and columns `offset`, `offset + stride`, ... of a map.
    Subsample {
        /// The operand.
        x: V,
        /// Whether it reads `max(x, 0)`.
        rectify: bool,
        /// Step.
        stride: usize,
        /// First row and column.
        offset: usize,
        /// The result.
        y: V,
    },
    /// Every pixel repeated, and where there is something to add, added to it.
    Nearest {
        /// The operand.
        x: V,
        /// Enlargement.
        factor: usize,
        /// What is added; only where the factor is 2.
        plus: Option<V>,
        /// The result.
        y: V,
    },
    /// `(A width, H, W)` to `(H W A, width)`.
    Rows {
        /// The operand.
        x: V,
        /// The result.
        y: V,
    },
    /// Anything else, by the operation of the tape.
    Other {
        /// What it computes.
        kind: Kind,
        /// Operands, computed or stored.
        x: Vec<Operand>,
        /// The result.
        y: V,
    },
}

/// An operand of [`Step::Other`].
#[derive(Debug, Clone)]
pub enum Operand {
    /// A value of the program.
    Value(V),
    /// A stored value.
    Stored(Tensor),
}

impl Step {
    /// The values that it reads, one perhaps more than once.
    pub fn reads(&self) -> Vec<V> {
        match self {
            Step::Conv(c) => [Some(c.x), c.plus].into_iter().flatten().collect(),
            Step::Add { x, .. } => x.to_vec(),
            Step::Nearest { x, plus, .. } => [Some(*x), *plus].into_iter().flatten().collect(),
            Step::Copy { x, .. }
            | Step::Pool { x, .. }
            | Step::Subsample { x, .. }
            | Step::Rows { x, .. } => vec![*x],
            Step::Other { x, .. } => {
                let value = |o: &Operand| match o {
                    Operand::Value(v) => Some(*v),
                    Operand::Stored(_) => None,
                };
                x.iter().filter_map(value).collect()
            }
        }
    }

    /// The value that it makes.
    pub fn makes(&self) -> V {
        match self {
            Step::Conv(c) => c.y,
            Step::Add { y, .. }
            | Step::Copy { y, .. }
            | Step::Pool { y, .. }
            | Step::Subsample { y, .. }
            | Step::Nearest { y, .. }
            | Step::Rows { y, .. }
            | Step::Other { y, .. } => *y,
        }
    }

    /// A word for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Step::Conv(c) => match c.body {
                Body::Pointwise { .. } => "pointwise",
                Body::Separable { .. } => "separable",
                Body::Depthwise(_) => "depthwise",
                Body::Dense { .. } => "conv",
            },
            Step::Add { .. } => "sum",
            Step::Copy { .. } => "copy",
            Step::Pool { .. } => "pool",
            Step::Subsample { .. } => "subsampled",
            Step::Nearest { .. } => "enlarged",
            Step::Rows { .. } => "rows",
            Step::Other { kind, .. } => kind.word(),
        }
    }
}
