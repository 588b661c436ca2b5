//! Several devices as one: what they send to each other. The calls are NCCL's (`ncclAllGather`, `ncclAllReduce`): every rank makes the
//! same calls in the same order, each with its own buffers.

mod in_process;

use std::fmt::Debug;

pub use in_process::InProcess;

use crate::backend::driver::Stream;
use crate::error::Result;
use crate::tensor::DeviceBuffer;

/// How values of all ranks become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduce {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
}

/// One rank of a group of devices.
///
/// A rank that is dropped or that makes another call than the others ends the calls of all: an error, not a wait without end.
pub trait Communicator: Debug + Send + Sync {
    /// Number of this rank, from 0.
    fn rank(&self) -> usize;

    /// Ranks of the group.
    fn size(&self) -> usize;

    /// `recv` is what the ranks sent, one after the other in their order; `size` times as long as `send`, of the same type.
    ///
    /// # Errors
    /// `Device` when another rank is gone or a transfer fails; `Argument` when the buffers do not fit.
    fn all_gather(&self, send: &DeviceBuffer, recv: &mut DeviceBuffer, on: Stream) -> Result<()>;

    /// `recv` is the reduction of what the ranks sent, element by element in the order of the ranks: the same bits on each; f32.
    ///
    /// # Errors
    /// As [`Communicator::all_gather`].
    fn all_reduce(
        &self,
        send: &DeviceBuffer,
        recv: &mut DeviceBuffer,
        by: Reduce,
        on: Stream,
    ) -> Result<()>;
}
