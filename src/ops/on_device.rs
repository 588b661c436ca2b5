//! What the device paths of the operations have in common.

use crate::backend::driver::{Arg, Kernel, Launch};
use crate::error::Result;
use crate::tensor::{DType, Engine, Tensor};

/// The kernel for maps of this type; `None` for types that kernels do not compute in.
pub fn pick(dtype: DType, f32: Kernel, bf16: Kernel) -> Option<Kernel> {
    match dtype {
        DType::F32 => Some(f32),
        DType::Bf16 => Some(bf16),
        DType::F64 | DType::I32 => None,
    }
}

/// Threads of a block of the kernels of maps and losses.
pub const THREADS: u32 = 256;

/// Blocks of the first stage of a sum over `n` values. It follows from `n` alone: so does the order of the sum.
pub fn sum_blocks(n: usize) -> usize {
    n.div_ceil(8 * THREADS as usize).clamp(1, 1024)
}

/// The values in f32 on the device, exactly.
///
/// # Errors
/// Those of the device.
pub fn wide(e: Engine, t: &Tensor) -> Result<Tensor> {
    stored(e, t.clone(), DType::F32)
}

/// A tensor as it is stored: cast on the device when it has another float type.
///
/// # Errors
/// Those of the device.
pub fn stored(e: Engine, t: Tensor, dtype: DType) -> Result<Tensor> {
    if t.dtype() == dtype {
        return Ok(t);
    }
    Ok(Tensor::from_device(*t.shape(), e.cast(t.on(e)?, dtype)?))
}

/// As [`Engine::over`], for kernels that take 16 bytes of `dtype` at a time.
///
/// # Errors
/// Those of the device.
pub fn over_packs(e: Engine, kernel: Kernel, dtype: DType, n: usize, args: &[Arg]) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    let args: Vec<Arg> = args.iter().copied().chain([Arg::I64(n as i64)]).collect();
    let launch = Launch::over(n.div_ceil(16 / dtype.size()), THREADS);
    e.launch(kernel, launch, &args)
}
