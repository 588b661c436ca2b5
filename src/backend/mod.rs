//! Where bytes live and kernels run. `host` holds the slice kernels of the CPU; buffers come from an arena.
//!
//! **Invariant:** nothing here knows a tensor's meaning: shapes are plain sizes, and this is the only place with `unsafe`.

mod arena;
pub mod buffer;
pub mod cuda;
pub mod devices;
pub mod driver;
pub mod emulated;
pub mod engine;
pub mod host;
pub mod mapped;
pub mod queue;
pub mod record;
pub mod threads;

pub use buffer::{Buffer, DType, Element, live_bytes, peak_bytes, reset_peak};
pub use devices::Device;
pub use engine::{DeviceBuffer, Engine};
