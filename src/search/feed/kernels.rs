//! The launches that make network input.

use crate::backend::driver::{self as k, Arg, Launch, Scalar};
use crate::data::normalise::Normalise;
use crate::error::{Code, Error, Result};
use crate::tensor::{DType, Engine, Tensor};

/// Threads of a block of the taps (`TAP_THREADS`), and of pixels.
const TAP_THREADS: u32 = 128;
const THREADS: u32 = 256;

/// What is the same for every batch of a task; what launches depend on besides shapes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// Network input (height, width).
    pub size: (usize, usize),
    /// Mean and standard deviation.
    pub normalise: Normalise,
    /// Type of the images.
    pub dtype: DType,
    /// Weights of a network pixel along an axis, at most.
    pub taps: usize,
    /// Whether there are label maps.
    pub labels: bool,
}

/// An argument that the kernel reads as `of`.
fn read(t: &Tensor, e: Engine, of: Scalar) -> Result<Arg> {
    Ok(match t.arg(e)? {
        Arg::In(at, _) => Arg::In(at, of),
        other => other,
    })
}

impl Recipe {
    /// Images `(N, 3, H, W)` of the rows of `table`, and label maps `(N, H, W)` i32 where there are; `bytes` holds the pictures that
    /// came with the batch.
    ///
    /// # Errors
    /// Those of the device; `Internal` for a type without a kernel.
    pub fn make(
        &self,
        e: Engine,
        table: &Tensor,
        bytes: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let (n, (h, w)) = (table.dims()[0], self.size);
        let kernel = match self.dtype {
            DType::F32 => k::FEED_IMAGES_F32,
            DType::Bf16 => k::FEED_IMAGES_BF16,
            other => {
                let text = format!("no kernel makes images of {}", other.name());
                return Err(Error::new(Code::Internal, text));
            }
        };
        let rows = read(table, e, Scalar::I64)?;
        let bytes = match bytes {
            Some(b) => read(b, e, Scalar::U8)?,
            // A pointer must point somewhere; no row asks for it.
            None => read(table, e, Scalar::U8)?,
        };
        let side = h.max(w);
        let mut taps = Tensor::scratch_on(e, [n, 2, self.taps + 3, side], DType::I32)?;
        let (int, sizes) = (|v: usize| Arg::I32(v as i32), [n, h, w]);
        let args = [rows, taps.arg_out(e)?, int(side), int(self.taps)];
        let launch = Launch::new([2 * n as u32, 1, 1], [TAP_THREADS, 1, 1]);
        e.launch(k::FEED_TAPS, launch, &args)?;
        let mut images = Tensor::scratch_on(e, [n, 3, h, w], self.dtype)?;
        let across = Launch::over(h * w, THREADS).grid[0];
        let launch = Launch::new([across, n.min(65535) as u32, 1], [THREADS, 1, 1]);
        let (mean, std) = (self.normalise.mean, self.normalise.std);
        let mut args = vec![rows, bytes, taps.arg(e)?, images.arg_out(e)?];
        args.extend(mean.iter().chain(&std).map(|&v| Arg::F32(v)));
        args.extend(sizes.iter().chain(&[side, self.taps]).map(|&v| int(v)));
        e.launch(kernel, launch, &args)?;
        if !self.labels {
            return Ok((images, None));
        }
        let mut labels = Tensor::scratch_on(e, [n, h, w], DType::I32)?;
        let mut args = vec![rows, bytes, labels.arg_out(e)?];
        args.extend(sizes.iter().map(|&v| int(v)));
        e.launch(k::FEED_LABELS, launch, &args)?;
        Ok((images, Some(labels)))
    }
}
