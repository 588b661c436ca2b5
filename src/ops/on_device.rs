//! What the device paths of the operations have in common.

use crate::backend::driver::{self as k, Arg, Kernel, Launch};
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

/// Bytes of the elements.
pub fn bytes(t: &Tensor) -> u64 {
    (t.numel() * t.dtype().size()) as u64
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

/// Whether all are of one element type.
pub fn one_type(x: &[Tensor]) -> bool {
    x.iter().all(|t| t.dtype() == x[0].dtype())
}

/// A list of `n` pointers for one parameter of a kernel (`List` of dialect.cuh); what is missing points nowhere.
///
/// # Panics
/// When there are more than `n`, or values among them: a bug of the caller.
pub fn list(pointers: &[Arg], n: usize, of: Arg) -> Vec<Arg> {
    assert!(pointers.len() <= n, "{} pointers for {n}", pointers.len());
    let missing = std::iter::repeat_n(of.null(), n - pointers.len());
    pointers.iter().copied().chain(missing).collect()
}

/// A size as a kernel takes it (`int`).
pub fn int(v: usize) -> Arg {
    Arg::I32(v as i32)
}

/// A size as a kernel takes it (`long long`).
pub fn long(v: usize) -> Arg {
    Arg::I64(v as i64)
}

/// In place of an output that the kernel is told not to touch: a pointer must point somewhere.
pub fn untouched(a: Arg) -> Arg {
    match a {
        Arg::In(at, of) => Arg::Out(at, of),
        other => other,
    }
}

/// Blocks for a kernel that takes sixteen bytes of `n` values of `dtype` a thread.
pub fn pack_blocks(n: usize, dtype: DType, most: usize) -> usize {
    n.div_ceil(THREADS as usize * 16 / dtype.size())
        .clamp(1, most)
}

/// Rows that a thread takes one after the other (`MAP_ROWS` of vector.cuh).
const MAP_ROWS: usize = 4;

/// Launches a kernel that walks over maps `(planes, h, w)` by `over_map` of vector.cuh; no element: no launch.
///
/// # Errors
/// Those of the launch.
pub fn over_maps(
    e: Engine,
    kernel: Kernel,
    [planes, h, w]: [usize; 3],
    args: &[Arg],
) -> Result<()> {
    if planes * h * w == 0 {
        return Ok(());
    }
    let threads = THREADS as usize;
    let lines = threads / w.next_power_of_two().min(threads);
    let blocks = (planes * h).div_ceil(lines * MAP_ROWS).clamp(1, 1 << 20);
    let launch = Launch::new([blocks as u32, 1, 1], [THREADS, 1, 1]);
    e.launch(kernel, launch, args)
}

/// Launches a kernel that takes a number of units, a thread each (strips of strips.cuh: 16 bytes of some rows); no unit: no launch.
///
/// # Errors
/// Those of the launch.
pub fn over_units(e: Engine, kernel: Kernel, units: usize, args: &[Arg]) -> Result<()> {
    if units == 0 {
        return Ok(());
    }
    e.launch(kernel, Launch::over(units, THREADS), args)
}

/// A part of every image of a tensor: values of an image, and the first of the part.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// Values of an image.
    pub whole: usize,
    /// First value of the part.
    pub start: usize,
}

/// Copies `part` values of every image, from a part of `x` to a part of `y`; both f32 or both bf16 (asserted).
///
/// # Errors
/// Those of the launch.
pub fn copy_part(
    e: Engine,
    x: &Tensor,
    from: Part,
    y: &mut Tensor,
    to: Part,
    part: usize,
) -> Result<()> {
    let kernel = pick(x.dtype(), k::COPY_PART_F32, k::COPY_PART_BF16).expect("f32 or bf16");
    let images = x.numel().checked_div(from.whole).unwrap_or(0);
    let args = [
        x.arg(e)?,
        y.arg_out(e)?,
        long(part),
        long(from.whole),
        long(from.start),
        long(to.whole),
        long(to.start),
    ];
    over_packs(e, kernel, x.dtype(), images * part, &args)
}
