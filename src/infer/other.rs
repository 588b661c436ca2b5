//! Operations without a step of their own: those of the tape, one image at a time.

use crate::error::{Code, Error, Result};
use crate::ops::{self, BatchNormParams, UpsampleBilinear};
use crate::portable::Kind;
use crate::tape::{Cx, Tape, Var};
use crate::tensor::{DType, Tensor};

/// What `kind` makes of `x`; `dims` are the sizes of the result without the image.
///
/// # Errors
/// `Internal` for a kind that has a step; those of the operation.
pub fn compute(kind: &Kind, x: &[Tensor], dims: &[usize]) -> Result<Tensor> {
    let tape = Tape::new(Cx::default());
    let x: Vec<Var> = x.iter().map(|t| tape.leaf(t.clone())).collect();
    let y = match *kind {
        Kind::ConvTranspose { stride, padding } => {
            ops::conv_transpose2d(&x[0], &x[1], x.get(2), stride, padding)?
        }
        Kind::BatchNorm { eps } => {
            let affine = Some((&x[1], &x[2]));
            let params = BatchNormParams { eps, relu: false };
            ops::batch_norm_eval(&x[0], x[3].value(), x[4].value(), affine, params)?
        }
        Kind::Relu6 => ops::relu6(&x[0])?,
        Kind::GlobalAvgPool => ops::global_avg_pool(&x[0])?,
        Kind::Mul => ops::mul(&x[0], &x[1])?,
        Kind::Scale(factor) => ops::scale(&x[0], factor)?,
        Kind::Bilinear {
            height,
            width,
            align_corners,
        } => {
            let to = UpsampleBilinear {
                height,
                width,
                align_corners,
            };
            ops::upsample_bilinear(&x[0], to)?
        }
        Kind::Linear => ops::linear(&x[0], &x[1], x.get(2))?,
        Kind::ChannelShuffle { groups } => ops::channel_shuffle(&x[0], groups)?,
        Kind::Softmax { axis } => ops::softmax(&x[0], axis)?,
        Kind::Zeros => {
            let dims = [&[1], dims].concat();
            return Ok(Tensor::zeros(&dims[..], DType::F32));
        }
        _ => {
            let what = format!("`{}` has a step of its own", kind.word());
            return Err(Error::new(Code::Internal, what));
        }
    };
    Ok(y.value().clone())
}
