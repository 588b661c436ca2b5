//! What is timed: the operations of a search at the shapes where they run, and at one that only bandwidth bounds.

use std::sync::Arc;

use super::Bound;
use crate::backend::host::pool::Kind;
use crate::ops::batch_norm::{BatchNorm, BatchNormParams};
use crate::ops::conv2d::{Conv2d, Conv2dParams};
use crate::ops::pool::Pool;
use crate::ops::relu::Relu;
use crate::ops::weighted_sum::{Term, WeightedSum};
use crate::tape::Op;
use crate::tensor::{DType, Shape};

/// How large the cases are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Both frames at 320x512 and batch 32, the CIFAR supernet at batch 64, and 32x64x80x128.
    Full,
    /// A few pixels of each operation: for devices that only check.
    Small,
}

/// One operation at one shape.
#[derive(Debug, Clone)]
pub struct BenchCase {
    /// The operation in a word or two.
    pub name: String,
    /// The operation.
    pub op: Arc<dyn Op>,
    /// Shapes of its operands.
    pub shapes: Vec<Shape>,
    /// Floating-point operations of the forward.
    pub flops: f64,
    /// Its operations are products of matrices: all channels of a pixel meet all filters.
    pub dense: bool,
}

impl BenchCase {
    /// The unit that its operations may run on with maps of this type.
    pub fn math(&self, dtype: DType) -> Bound {
        match self.dense && dtype == DType::Bf16 {
            true => Bound::Matrix,
            false => Bound::Fma,
        }
    }
}

/// Maps: batch, channels, height, width.
fn maps(size: Size) -> Vec<[usize; 4]> {
    match size {
        Size::Small => vec![[2, 8, 9, 13]],
        Size::Full => vec![
            // Bandwidth alone.
            [32, 64, 80, 128],
            // 16 channels, a quarter of them, at strides 4 to 32 of 320x512.
            [32, 4, 80, 128],
            [32, 8, 40, 64],
            [32, 16, 20, 32],
            [32, 32, 10, 16],
            // The CIFAR supernet.
            [64, 4, 32, 32],
            [64, 8, 16, 16],
            [64, 16, 8, 8],
        ],
    }
}

fn conv(
    name: &str,
    [n, c, h, w]: [usize; 4],
    out: usize,
    k: usize,
    stride: usize,
    dilation: usize,
    groups: usize,
) -> BenchCase {
    let padding = (k / 2) * dilation;
    let p = Conv2dParams {
        stride,
        padding,
        dilation,
        groups,
    };
    let side = |s: usize| (s + 2 * padding - (k - 1) * dilation - 1) / stride + 1;
    let macs = n * out * side(h) * side(w) * (c / groups) * k * k;
    BenchCase {
        name: name.into(),
        op: Arc::new(Conv2d(p)),
        shapes: vec![[n, c, h, w].into(), [out, c / groups, k, k].into()],
        flops: 2.0 * macs as f64,
        dense: groups == 1,
    }
}

/// All cases of a size.
pub fn cases(size: Size) -> Vec<BenchCase> {
    let mut all = vec![];
    for m in maps(size) {
        let [n, c, h, w] = m;
        let numel = (n * c * h * w) as f64;
        let map = Shape::from(m);
        let mut add = |name: &str, op: Arc<dyn Op>, shapes: Vec<Shape>, per: f64| {
            all.push(BenchCase {
                name: name.into(),
                op,
                shapes,
                flops: per * numel,
                dense: false,
            })
        };
        let vector = Shape::from([c]);
        let bn = BatchNormParams {
            eps: 1e-5,
            relu: false,
        };
        add("relu", Arc::new(Relu), vec![map], 1.0);
        let normal = BatchNorm(bn);
        add(
            "batch norm",
            Arc::new(normal),
            vec![map, vector, vector],
            8.0,
        );
        for kind in [Kind::Max, Kind::Average] {
            let op = Pool {
                kind,
                k: 3,
                stride: 1,
                padding: 1,
            };
            let name = match kind {
                Kind::Max => "max pool 3x3",
                Kind::Average => "average pool 3x3",
            };
            add(name, Arc::new(op), vec![map], 9.0);
        }
        let terms = (0..8).map(|weight| Term { weight, start: 0 }).collect();
        let mut operands = vec![map; 8];
        operands.push(Shape::from([8]));
        add("sum of 8", Arc::new(WeightedSum { terms }), operands, 16.0);
        all.push(conv("depthwise 3x3", m, c, 3, 1, 1, c));
        all.push(conv("depthwise 5x5", m, c, 5, 1, 1, c));
        all.push(conv("depthwise 3x3 dilated", m, c, 3, 1, 2, c));
        all.push(conv("depthwise 5x5 dilated", m, c, 5, 1, 2, c));
        all.push(conv("depthwise 3x3 stride 2", m, c, 3, 2, 1, c));
        all.push(conv("pointwise", m, c, 1, 1, 1, 1));
        all.push(conv("pointwise 4 to 1", [n, 4 * c, h, w], c, 1, 1, 1, 1));
    }
    let stem = match size {
        Size::Full => [32, 3, 320, 512],
        Size::Small => [1, 3, 11, 14],
    };
    all.push(conv("dense 3x3 stride 2", stem, 16, 3, 2, 1, 1));
    let deep = match size {
        Size::Full => [32, 64, 40, 64],
        Size::Small => [1, 8, 7, 9],
    };
    all.push(conv("dense 3x3", deep, deep[1], 3, 1, 1, 1));
    all
}
