//! The seam between the engine and what executes its kernels: memory, launches, limits. Everything above it is the same
//! for every driver, so what is proven with one holds for the others.

use crate::error::Result;

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The kernels compiled for GPUs: name of the file, binary for all architectures. Empty in a build without nvcc.
pub const GPU_BINARIES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/gpu_binaries.rs"));

/// A kernel of `kernels/*.cu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Name of its `extern "C"` entry.
    pub name: &'static str,
    /// File that it stands in.
    pub file: &'static str,
}

/// An address in the memory of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevicePtr(pub usize);

/// Type of the elements behind a pointer, or of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scalar {
    F32,
    Bf16,
    F64,
    I32,
    U32,
    I64,
    U8,
}

impl Scalar {
    /// Letter of the type in a kernel's signature.
    pub fn letter(self) -> u8 {
        match self {
            Scalar::F32 => b'f',
            Scalar::Bf16 => b'h',
            Scalar::F64 => b'd',
            Scalar::I32 => b'i',
            Scalar::U32 => b'u',
            Scalar::I64 => b'l',
            Scalar::U8 => b'b',
        }
    }
}

/// One argument of a launch, in the order of the kernel's parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    /// The kernel reads what lies there (`const T *`).
    In(DevicePtr, Scalar),
    /// The kernel writes what lies there (`T *`).
    Out(DevicePtr, Scalar),
    /// A number.
    F32(f32),
    /// A number.
    I32(i32),
    /// A number.
    I64(i64),
    /// A number.
    U32(u32),
}

/// Size of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
}

impl Launch {
    /// Enough blocks of `block` threads for `n` values, one each.
    pub fn over(n: usize, block: u32) -> Launch {
        let blocks = n.div_ceil(block as usize).clamp(1, 0x7fff_ffff);
        Launch {
            grid: [blocks as u32, 1, 1],
            block: [block, 1, 1],
        }
    }
}

/// What a device can do at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Threads of a block.
    pub threads: u32,
    /// Largest block in x, y, z.
    pub block: [u32; 3],
    /// Largest grid in x, y, z.
    pub grid: [u32; 3],
    /// Bytes of shared memory that a block may declare.
    pub shared: usize,
}

impl Limits {
    /// Compute capability 8.0 to 10.0: the same for what kernels here declare statically.
    pub const SM_80: Limits = Limits {
        threads: 1024,
        block: [1024, 1024, 64],
        grid: [0x7fff_ffff, 65535, 65535],
        shared: 48 << 10,
    };
}

/// Executes kernels.
pub trait Driver: Send + Sync {
    /// Name of the device for messages and manifests.
    fn name(&self) -> String;

    /// Its limits.
    fn limits(&self) -> Limits;

    /// Memory of `bytes` bytes, aligned to 256; what it holds is undefined.
    ///
    /// # Errors
    /// `Memory` when there is not enough.
    fn alloc(&self, bytes: usize) -> Result<DevicePtr>;

    /// Gives memory of [`Driver::alloc`] back.
    ///
    /// # Errors
    /// `Internal` for an address that is not that of an allocation.
    fn free(&self, at: DevicePtr) -> Result<()>;

    /// Copies `data` to the device.
    ///
    /// # Errors
    /// `Internal` outside of the allocations.
    fn upload(&self, at: DevicePtr, data: &[u8]) -> Result<()>;

    /// Copies from the device.
    ///
    /// # Errors
    /// As [`Driver::upload`].
    fn download(&self, at: DevicePtr, data: &mut [u8]) -> Result<()>;

    /// Runs a kernel over a grid.
    ///
    /// # Errors
    /// A launch that the device or the kernel's signature refuses; a fault while it runs.
    fn launch(&self, kernel: &Kernel, launch: Launch, args: &[Arg]) -> Result<()>;

    /// Waits for everything that was launched.
    ///
    /// # Errors
    /// A fault while it ran.
    fn synchronize(&self) -> Result<()>;
}
