//! What the device paths of the operations have in common.

use crate::backend::driver::Kernel;
use crate::tensor::DType;

/// The kernel for maps of this type; `None` for types that kernels do not compute in.
pub fn pick(dtype: DType, f32: Kernel, bf16: Kernel) -> Option<Kernel> {
    match dtype {
        DType::F32 => Some(f32),
        DType::Bf16 => Some(bf16),
        DType::F64 | DType::I32 => None,
    }
}
