//! Which cases tell a right kernel file from a wrong one. Whoever writes a kernel file adds a line.

use super::super::agreement_tests::elementwise;
use crate::backend::driver::Driver;
use crate::backend::engine::Engine;
use crate::error::{Code, Error, Result};
use crate::gradcheck::{DeviceOptions, run_on};
use crate::ops::conv2d::device::tests as convolution;

/// A kernel file and its cases.
pub struct Family {
    /// Name within `kernels/`.
    pub file: &'static str,
    /// Files that it includes and whose lines its cases answer for too.
    pub headers: &'static [&'static str],
    /// Runs its cases, few and small; fails where a result is not what it must be.
    pub cases: fn(Box<dyn Driver>) -> Result<()>,
}

/// All of them.
pub const FAMILIES: &[Family] = &[
    Family {
        file: "depthwise.cu",
        headers: &[],
        cases: convolution::depthwise_cases,
    },
    Family {
        file: "elementwise.cu",
        headers: &[],
        cases: elementwise::mutation_cases,
    },
    Family {
        file: "norm.cu",
        headers: &["norm.cuh", "vector.cuh"],
        // The eighth case is large: several chunks of a channel.
        cases: |d| ops(d, &["batch_norm", "batch_norm_eval"], 8),
    },
    Family {
        file: "norm_sync.cu",
        headers: &[],
        cases: |d| ops(d, &["sync_batch_norm"], 5),
    },
    Family {
        file: "pool.cu",
        headers: &[],
        cases: |d| ops(d, &["avg_pool", "max_pool", "global_avg_pool"], 8),
    },
    Family {
        file: "rearrange.cu",
        headers: &[],
        cases: |d| {
            ops(
                d,
                &[
                    "concat",
                    "slice",
                    "channel_shuffle",
                    "concat_shuffle",
                    "subsample",
                ],
                6,
            )
        },
    },
    Family {
        file: "resample.cu",
        headers: &[],
        cases: |d| ops(d, &["upsample_bilinear", "upsample_nearest"], 6),
    },
    Family {
        file: "sum.cu",
        headers: &[],
        cases: |d| ops(d, &["weighted_sum"], 3),
    },
];

/// Cases for kernels that ops of the table launch: `cases` of each op, in f32 and bf16, against the references with their bounds.
fn ops(driver: Box<dyn Driver>, names: &[&str], cases: usize) -> Result<()> {
    let engine = Engine::new(driver, true);
    for name in names {
        let report = run_on(
            engine,
            &DeviceOptions {
                cases,
                first: 0,
                seed: 1,
                op: Some((*name).into()),
            },
        )?;
        if !report.passed {
            return Err(Error::new(Code::CheckFailed, report.table()));
        }
    }
    Ok(())
}

#[test]
fn ops_run_on_the_driver_that_is_given() {
    use crate::backend::emulated::{Emulated, Limits};
    let device = || Emulated::new(Limits::SM_80, 2);
    ops(Box::new(device()), &["relu"], 3).unwrap();
    // A device that gives up at once fails them.
    let e = ops(Box::new(device().with_patience(1)), &["relu"], 3).unwrap_err();
    assert!(e.to_string().contains("does not come to an end"), "{e}");
}
