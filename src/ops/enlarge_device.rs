//! Enlarging by 2 and by 4 with 16 bytes at a time (`kernels/enlarge.cu`): what nearest neighbour and bilinear resampling share.

use super::on_device::{int, long, over_units, pick};
use crate::backend::driver::{self as k, Arg, Kernel};
use crate::error::Result;
use crate::tensor::{DType, Engine};

/// How values in between come about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Between {
    /// Each value is repeated.
    Nearest,
    /// Shares of the neighbours, the outer borders of the maps coinciding.
    Bilinear,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From x to y.
    Forward,
    /// From dy to dx.
    Backward,
}

fn kernel(between: Between, way: Way, factor: usize, dtype: DType) -> Option<Kernel> {
    use Between::{Bilinear, Nearest};
    use Way::{Backward, Forward};
    let (f32, bf16) = match (between, way, factor) {
        (Nearest, Forward, 2) => (k::NEAREST2_F32, k::NEAREST2_BF16),
        (Nearest, Forward, 4) => (k::NEAREST4_F32, k::NEAREST4_BF16),
        (Nearest, Backward, 2) => (k::NEAREST2_BWD_F32, k::NEAREST2_BWD_BF16),
        (Nearest, Backward, 4) => (k::NEAREST4_BWD_F32, k::NEAREST4_BWD_BF16),
        (Bilinear, Forward, 2) => (k::BILINEAR2_F32, k::BILINEAR2_BF16),
        (Bilinear, Forward, 4) => (k::BILINEAR4_F32, k::BILINEAR4_BF16),
        (Bilinear, Backward, 2) => (k::BILINEAR2_BWD_F32, k::BILINEAR2_BWD_BF16),
        (Bilinear, Backward, 4) => (k::BILINEAR4_BWD_F32, k::BILINEAR4_BWD_BF16),
        _ => return None,
    };
    pick(dtype, f32, bf16)
}

/// Rows of the smaller map that a thread of the bilinear kernels takes (`ENLARGE_ROWS`).
const ROWS: usize = 2;

/// Enlarges maps `(planes, h, w)` of `dtype` by `factor`, or pulls a gradient back to them; `first` is what the kernel is told before these
/// sizes. False, and nothing launched, where the factor or the rows do not allow 16 bytes at a time.
///
/// # Errors
/// Those of the launch.
pub(super) fn enlarge(
    e: Engine,
    (between, way, factor): (Between, Way, usize),
    dtype: DType,
    first: &[Arg],
    [planes, h, w]: [usize; 3],
) -> Result<bool> {
    let pack = 16 / dtype.size();
    // Values of a row that is written.
    let row = if way == Way::Forward { w * factor } else { w };
    let Some(kernel) = kernel(between, way, factor, dtype).filter(|_| row.is_multiple_of(pack))
    else {
        return Ok(false);
    };
    let strips = match between {
        Between::Nearest => h,
        Between::Bilinear => h.div_ceil(ROWS),
    };
    let args = [first, &[long(planes), int(h), int(w)]].concat();
    over_units(e, kernel, planes * strips * (row / pack), &args)?;
    Ok(true)
}
