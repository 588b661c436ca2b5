//! What the tape itself computes: casts between storage types, sums of gradients.

use super::{DeviceBuffer, Engine};
use crate::backend::buffer::DType;
use crate::backend::driver::{self as k, Arg, Kernel, Launch};
use crate::error::Result;

/// Threads of a block of a kernel with one value a thread.
const THREADS: u32 = 256;

impl Engine {
    /// The values in another float type, f32 or bf16, rounded to nearest even.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn cast(&self, x: &DeviceBuffer, dtype: DType) -> Result<DeviceBuffer> {
        let kernel = match (x.dtype(), dtype) {
            (DType::F32, DType::Bf16) => k::CAST_F32_BF16,
            (DType::Bf16, DType::F32) => k::CAST_BF16_F32,
            _ => return x.duplicate(),
        };
        let y = DeviceBuffer::scratch(*self, dtype, x.len())?;
        self.over(kernel, x.len(), &[x.arg(), y.arg_out()])?;
        Ok(y)
    }

    /// `acc += x`; both f32 or bf16, each by itself; asserts equal lengths.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn accumulate(&self, acc: &mut DeviceBuffer, x: &DeviceBuffer) -> Result<()> {
        assert_eq!(acc.len(), x.len());
        let kernel = match (acc.dtype(), x.dtype()) {
            (DType::F32, DType::F32) => k::ACCUMULATE_F32,
            (DType::F32, _) => k::ACCUMULATE_F32_BF16,
            (_, DType::F32) => k::ACCUMULATE_BF16_F32,
            _ => k::ACCUMULATE_BF16,
        };
        self.over(kernel, x.len(), &[acc.arg_out(), x.arg()])
    }

    /// Adds `x`, `(images, part)` values, into `acc`, `(images, whole)` values, from `start` on in each image.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn accumulate_part(
        &self,
        acc: &mut DeviceBuffer,
        x: &DeviceBuffer,
        images: usize,
        start: usize,
    ) -> Result<()> {
        let kernel = match (acc.dtype(), x.dtype()) {
            (DType::F32, DType::F32) => k::ACCUMULATE_PART_F32,
            (DType::F32, _) => k::ACCUMULATE_PART_F32_BF16,
            (_, DType::F32) => k::ACCUMULATE_PART_BF16_F32,
            _ => k::ACCUMULATE_PART_BF16,
        };
        let whole = acc.len() / images.max(1);
        let part = x.len() / images.max(1);
        assert!(start + part <= whole);
        let args = [
            acc.arg_out(),
            x.arg(),
            Arg::I64(part as i64),
            Arg::I64(whole as i64),
            Arg::I64(start as i64),
        ];
        self.over(kernel, x.len(), &args)
    }

    /// Launches a kernel with one value a thread, whose last parameter is the number of values (`long long`); none: no launch.
    ///
    /// # Errors
    /// As [`Engine::launch`].
    pub fn over(&self, kernel: Kernel, n: usize, args: &[Arg]) -> Result<()> {
        if n == 0 {
            return Ok(());
        }
        let args: Vec<Arg> = args.iter().copied().chain([Arg::I64(n as i64)]).collect();
        self.launch(kernel, Launch::over(n, THREADS), &args)
    }
}
