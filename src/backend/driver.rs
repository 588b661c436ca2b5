//! The seam between the engine and what executes its kernels: memory, launches, limits. Everything above it is the same
//! for every driver, so what is proven with one holds for the others.

use crate::error::Result;

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The kernels compiled for GPUs: name of the file, binary for all architectures. Empty in a build without nvcc.
pub const GPU_BINARIES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/gpu_binaries.rs"));

/// Compute capabilities that they are compiled for, the last as PTX for newer ones; empty without nvcc.
pub const GPU_ARCHITECTURES: &str = env!("MTNAS_GPU_ARCHITECTURES");

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

impl Arg {
    /// The bits of the argument in the low bytes.
    pub fn bits(&self) -> u64 {
        match *self {
            Arg::In(p, _) | Arg::Out(p, _) => p.0 as u64,
            Arg::F32(v) => u64::from(v.to_bits()),
            Arg::I32(v) => u64::from(v as u32),
            Arg::I64(v) => v as u64,
            Arg::U32(v) => u64::from(v),
        }
    }
}

impl Arg {
    /// A pointer to nothing, of the role and type of `self`: in a list, for what a launch has no use for.
    #[must_use]
    pub fn null(self) -> Arg {
        match self {
            Arg::In(_, t) => Arg::In(DevicePtr(0), t),
            Arg::Out(_, t) => Arg::Out(DevicePtr(0), t),
            other => other,
        }
    }

    /// Whether it points nowhere.
    pub fn is_null(&self) -> bool {
        matches!(self, Arg::In(DevicePtr(0), _) | Arg::Out(DevicePtr(0), _))
    }
}

/// Size of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block: what `DYNAMIC_SHARED` of the kernel may use.
    pub shared: u32,
    /// Bytes that it reads and writes, each once, where that is less than the buffers of its arguments: for those that count.
    pub touches: Option<[u64; 2]>,
}

impl Launch {
    /// A grid of blocks.
    pub const fn new(grid: [u32; 3], block: [u32; 3]) -> Launch {
        Launch {
            grid,
            block,
            shared: 0,
            touches: None,
        }
    }

    /// Blocks of `block` threads over `n` values, one or more each (kernels stride by the grid).
    pub fn over(n: usize, block: u32) -> Launch {
        let blocks = n.div_ceil(block as usize).clamp(1, 1 << 20);
        Launch::new([blocks as u32, 1, 1], [block, 1, 1])
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
    /// Bytes of shared memory that a block may declare statically.
    pub shared: usize,
    /// Bytes of shared memory of a block at most, static and dynamic; above `shared` the kernel has to opt in.
    pub shared_opt_in: usize,
}

impl Limits {
    /// Compute capability 8.0 (CUDA Programming Guide, technical specifications per compute capability).
    pub const SM_80: Limits = Limits {
        threads: 1024,
        block: [1024, 1024, 64],
        grid: [0x7fff_ffff, 65535, 65535],
        shared: 48 << 10,
        shared_opt_in: 163 << 10,
    };

    /// Compute capability 9.0, as [`Limits::SM_80`].
    pub const SM_90: Limits = Limits {
        shared_opt_in: 227 << 10,
        ..Limits::SM_80
    };
}

/// A queue of work on a device; what is put on one is done in order, different ones at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stream(pub u32);

impl Stream {
    /// The stream that every device has from the start.
    pub const MAIN: Stream = Stream(0);
}

/// A point in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event(pub u32);

/// A recorded sequence of launches and copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Graph(pub u32);

/// A copy to the host that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fetch(pub u32);

/// Memory of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryInfo {
    /// Bytes not in use by anybody.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Executes kernels. One value is one device; its memory is not that of another.
///
/// Every fallible call gives `Device` for what the device refuses or for a fault (also one of an earlier launch), naming what the
/// driver calls it, and `Internal` for an address outside of the allocations.
pub trait Driver: Send + Sync {
    /// Name of the device for messages and manifests.
    fn name(&self) -> String;

    /// Its limits.
    fn limits(&self) -> Limits;

    /// Its memory.
    ///
    /// # Errors
    /// See [`Driver`].
    fn memory(&self) -> Result<MemoryInfo>;

    /// Memory of `bytes` bytes (at least 1), aligned to 256; what it holds is undefined.
    ///
    /// # Errors
    /// `OutOfMemory` when there is not enough.
    fn alloc(&self, bytes: usize) -> Result<DevicePtr>;

    /// Memory in which lives begin at any multiple of 256 ([`Driver::renew`]); outside of a life nobody may access it.
    ///
    /// # Errors
    /// As [`Driver::alloc`].
    fn arena(&self, bytes: usize) -> Result<DevicePtr> {
        self.alloc(bytes)
    }

    /// Gives memory of [`Driver::alloc`] or [`Driver::arena`] back.
    ///
    /// # Errors
    /// See [`Driver`].
    fn free(&self, at: DevicePtr) -> Result<()>;

    /// Says that an allocation begins a new life of `bytes` bytes, not more than it has; what it holds is undefined again. In an
    /// arena a life ends those that it overlaps. It happens in the order of the main stream, and is recorded with what is put there.
    fn renew(&self, _at: DevicePtr, _bytes: usize) {}

    /// Copies `data` to the device.
    ///
    /// # Errors
    /// See [`Driver`].
    fn upload(&self, at: DevicePtr, data: &[u8]) -> Result<()>;

    /// Copies from the device, after everything that was put on the main stream before.
    ///
    /// # Errors
    /// See [`Driver`].
    fn download(&self, at: DevicePtr, data: &mut [u8]) -> Result<()>;

    /// Copies within the device.
    ///
    /// # Errors
    /// See [`Driver`].
    fn copy(&self, on: Stream, to: DevicePtr, from: DevicePtr, bytes: usize) -> Result<()>;

    /// Sets every byte.
    ///
    /// # Errors
    /// See [`Driver`].
    fn fill(&self, on: Stream, at: DevicePtr, value: u8, bytes: usize) -> Result<()>;

    /// Runs a kernel over a grid.
    ///
    /// # Errors
    /// See [`Driver`]; a launch that the device or the kernel's signature refuses.
    fn launch_on(&self, on: Stream, kernel: &Kernel, launch: Launch, args: &[Arg]) -> Result<()>;

    /// [`Driver::launch_on`] the main stream.
    ///
    /// # Errors
    /// As there.
    fn launch(&self, kernel: &Kernel, launch: Launch, args: &[Arg]) -> Result<()> {
        self.launch_on(Stream::MAIN, kernel, launch, args)
    }

    /// Waits for everything on all streams.
    ///
    /// # Errors
    /// See [`Driver`].
    fn synchronize(&self) -> Result<()>;

    /// A new stream.
    ///
    /// # Errors
    /// See [`Driver`].
    fn stream(&self) -> Result<Stream>;

    /// A point at the end of what is on the stream now.
    ///
    /// # Errors
    /// See [`Driver`].
    fn event(&self, on: Stream) -> Result<Event>;

    /// What is put on the stream from now on waits for the event.
    ///
    /// # Errors
    /// See [`Driver`].
    fn wait(&self, on: Stream, event: Event) -> Result<()>;

    /// Milliseconds between two events, once both have passed; gives both back.
    ///
    /// # Errors
    /// See [`Driver`].
    fn elapsed(&self, from: Event, to: Event) -> Result<f64>;

    /// What is put on the stream from now on is recorded, not done. Uploads, downloads and allocations are refused meanwhile.
    ///
    /// # Errors
    /// See [`Driver`].
    fn begin_capture(&self, on: Stream) -> Result<()>;

    /// The recorded sequence.
    ///
    /// # Errors
    /// See [`Driver`].
    fn end_capture(&self, on: Stream) -> Result<Graph>;

    /// Does a recorded sequence again.
    ///
    /// # Errors
    /// See [`Driver`].
    fn replay(&self, on: Stream, graph: Graph) -> Result<()>;

    /// Gives a recorded sequence up; it has been done.
    ///
    /// # Errors
    /// See [`Driver`].
    fn forget(&self, graph: Graph) -> Result<()>;

    /// Begins to copy from the device, after everything that was put on the main stream before. Nobody waits; uploads after it may
    /// change what lies there.
    ///
    /// # Errors
    /// See [`Driver`].
    fn fetch(&self, at: DevicePtr, bytes: usize) -> Result<Fetch>;

    /// Waits for a copy, hands it over and gives it up; `data` is as long as what was asked for.
    ///
    /// # Errors
    /// See [`Driver`].
    fn fetched(&self, fetch: Fetch, data: &mut [u8]) -> Result<()>;
}
