//! NVIDIA GPUs through the CUDA driver. The library is opened at run time: without it everything else works, and asking for a
//! GPU is an error that says what is missing. Thin on purpose: memory pools, checks and counts stand above it, in the engine.

mod info;
mod pinned;

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::DriverError;
use cudarc::driver::result::{self, event, function, graph, module, primary_ctx, stream};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

pub use self::info::{GpuInfo, count, describe};
use self::info::{attribute, device};
use self::pinned::{Block, Pinned};
use super::driver::{
    Arg, DevicePtr, Driver, Event, Fetch, GPU_BINARIES, Graph, Kernel, Launch, Limits, MemoryInfo,
    Stream,
};
use super::emulated;
use crate::error::{Code, Error, Result};

/// One GPU.
pub struct Cuda {
    context: sys::CUcontext,
    name: String,
    limits: Limits,
    state: Mutex<State>,
}

/// A kernel of a loaded file and how many arguments make up each of its parameters.
#[derive(Clone)]
struct Function {
    handle: sys::CUfunction,
    groups: Arc<[usize]>,
}

#[derive(Default)]
struct State {
    modules: HashMap<&'static str, sys::CUmodule>,
    functions: HashMap<&'static str, Function>,
    streams: Vec<sys::CUstream>,
    events: Vec<Option<sys::CUevent>>,
    graphs: Vec<Option<sys::CUgraphExec>>,
    pinned: Pinned,
    fetches: Vec<Option<(Block, usize)>>,
}

// SAFETY: handles of the driver may be used by any thread that has made the context current, which every call does.
#[allow(unsafe_code)]
unsafe impl Send for Cuda {}
// SAFETY: as above; the handles stand behind a lock.
#[allow(unsafe_code)]
unsafe impl Sync for Cuda {}

fn refuse(text: impl Into<String>) -> Error {
    Error::new(Code::Device, text)
}

/// The driver's error in our words, with its own name.
fn failed(what: &str, e: DriverError) -> Error {
    let name = e.error_name().map(|n| n.to_string_lossy().into_owned());
    let text = e.error_string().map(|n| n.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|_| format!("{:?}", e.0));
    let text = format!("{what}: {name} ({})", text.unwrap_or_default());
    match e.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::new(Code::OutOfMemory, text),
        _ => refuse(text),
    }
}

impl Cuda {
    /// Opens a GPU.
    ///
    /// # Errors
    /// As [`describe`]; `Device` when this program was built without nvcc.
    #[allow(unsafe_code)]
    pub fn open(index: usize) -> Result<Cuda> {
        let d = device(index)?;
        if GPU_BINARIES.is_empty() {
            let text = "this program was built without nvcc and holds no kernels for a GPU";
            let help = "build it where nvcc is found (CUDA_HOME, MTNAS_NVCC or PATH): docs/gpu.md";
            return Err(refuse(text).help(help));
        }
        let info = describe(index)?;
        if info.capability < (8, 0) {
            let (major, minor) = info.capability;
            return Err(refuse(format!(
                "{} has compute capability {major}.{minor}, the kernels need 8.0",
                info.name
            )));
        }
        let a = |what| attribute(d, what);
        let limits = Limits {
            threads: a(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
            block: [
                a(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X)?,
                a(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y)?,
                a(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z)?,
            ],
            grid: [
                a(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X)?,
                a(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y)?,
                a(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z)?,
            ],
            shared: a(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK)? as usize,
            shared_opt_in: a(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?
                as usize,
        };
        // SAFETY: the context lives until the process ends.
        let context = unsafe { primary_ctx::retain(d) };
        let gpu = Cuda {
            context: context.map_err(|e| failed("the GPU's context", e))?,
            name: format!("{} (cuda:{index})", info.name),
            limits,
            state: Mutex::default(),
        };
        gpu.current()?;
        gpu.stream()?;
        Ok(gpu)
    }

    #[allow(unsafe_code)]
    fn current(&self) -> Result<()> {
        // SAFETY: the context of this device, never released.
        let set = unsafe { result::ctx::set_current(self.context) };
        set.map_err(|e| failed("the GPU's context", e))
    }

    /// The context made current, and the handles.
    fn enter(&self) -> Result<MutexGuard<'_, State>> {
        self.current()?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn stream(&self, on: Stream) -> Result<sys::CUstream> {
        let s = self.streams.get(on.0 as usize).copied();
        s.ok_or_else(|| refuse(format!("there is no stream {}", on.0)))
    }

    fn event(&self, e: Event) -> Result<sys::CUevent> {
        let found = self.events.get(e.0 as usize).copied().flatten();
        found.ok_or_else(|| refuse(format!("there is no event {}", e.0)))
    }

    /// The function of a kernel; its file is loaded when the first of its kernels is asked for.
    #[allow(unsafe_code)]
    fn function(&mut self, kernel: &Kernel) -> Result<Function> {
        if let Some(f) = self.functions.get(kernel.name) {
            return Ok(f.clone());
        }
        let stem = kernel.file.rsplit('/').next().unwrap_or(kernel.file);
        let stem = stem.trim_end_matches(".cu");
        let m = match self.modules.get(stem) {
            Some(m) => *m,
            None => {
                let found = GPU_BINARIES.iter().find(|(name, _)| *name == stem);
                let (name, binary) =
                    found.ok_or_else(|| refuse(format!("`{}` is not built in", kernel.file)))?;
                // The driver reads the binary's header as words, bytes of a program may lie anywhere.
                let mut words = vec![0u64; binary.len().div_ceil(8)];
                bytemuck::cast_slice_mut(&mut words)[..binary.len()].copy_from_slice(binary);
                // SAFETY: a whole binary of nvcc; the driver reads its length from it and copies what it keeps.
                let m = unsafe { module::load_data(words.as_ptr().cast()) };
                let m = m.map_err(|e| failed(&format!("loading `{}`", kernel.file), e))?;
                self.modules.insert(*name, m);
                m
            }
        };
        let name = CString::new(kernel.name).map_err(|e| refuse(e.to_string()))?;
        // SAFETY: a loaded module.
        let f = unsafe { module::get_function(m, name) };
        let f = Function {
            handle: f.map_err(|e| failed(&format!("kernel `{}`", kernel.name), e))?,
            groups: emulated::groups(kernel)?.into(),
        };
        self.functions.insert(kernel.name, f.clone());
        Ok(f)
    }
}

#[allow(unsafe_code)]
impl Driver for Cuda {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn memory(&self) -> Result<MemoryInfo> {
        self.current()?;
        let (free, total) = result::mem_get_info().map_err(|e| failed("memory", e))?;
        let (free, total) = (free as u64, total as u64);
        Ok(MemoryInfo { free, total })
    }

    fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        self.current()?;
        // SAFETY: fresh memory; who reads it has written it, which the emulated device checks.
        let at = unsafe { result::malloc_sync(bytes.max(1)) };
        let at = at.map_err(|e| failed(&format!("memory of {bytes} bytes"), e))?;
        Ok(DevicePtr(at as usize))
    }

    fn free(&self, at: DevicePtr) -> Result<()> {
        self.current()?;
        // SAFETY: the engine gives each allocation back once.
        unsafe { result::free_sync(at.0 as u64) }.map_err(|e| failed("giving memory back", e))
    }

    fn upload(&self, at: DevicePtr, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let mut s = self.enter()?;
        let on = s.stream(Stream::MAIN)?;
        // From ordinary memory the driver would first wait for everything before.
        let mut block = s.pinned.take(data.len())?;
        block.bytes()[..data.len()].copy_from_slice(data);
        // SAFETY: inside one allocation; the block is not used again before its event has passed.
        let done = unsafe {
            result::memcpy_htod_async(at.0 as u64, &block.bytes()[..data.len()], on)
                .and_then(|()| event::record(block.passed, on))
        };
        s.pinned.sent.push(block);
        done.map_err(|e| failed("an upload", e))
    }

    fn download(&self, at: DevicePtr, data: &mut [u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let on = self.enter()?.stream(Stream::MAIN)?;
        // SAFETY: inside one allocation; the wait ends the borrow of `data`.
        let done = unsafe {
            result::memcpy_dtoh_async(data, at.0 as u64, on).and_then(|()| stream::synchronize(on))
        };
        done.map_err(|e| failed("a download", e))
    }

    fn copy(&self, on: Stream, to: DevicePtr, from: DevicePtr, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let on = self.enter()?.stream(on)?;
        // SAFETY: inside two allocations.
        let done = unsafe { result::memcpy_dtod_async(to.0 as u64, from.0 as u64, bytes, on) };
        done.map_err(|e| failed("a copy", e))
    }

    fn fill(&self, on: Stream, at: DevicePtr, value: u8, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let on = self.enter()?.stream(on)?;
        // SAFETY: inside one allocation.
        let done = unsafe { result::memset_d8_async(at.0 as u64, value, bytes, on) };
        done.map_err(|e| failed("a fill", e))
    }

    fn launch_on(&self, on: Stream, kernel: &Kernel, l: Launch, args: &[Arg]) -> Result<()> {
        let mut s = self.enter()?;
        let (f, on) = (s.function(kernel)?, s.stream(on)?);
        drop(s);
        let what = |e| {
            let size = format!("grid {:?}, block {:?}", l.grid, l.block);
            failed(&format!("kernel `{}`, {size}", kernel.name), e)
        };
        if l.shared > 48 << 10 {
            let most =
                sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a function of a loaded module.
            unsafe { function::set_function_attribute(f.handle, most, l.shared as i32) }
                .map_err(what)?;
        }
        let mut values: Vec<u64> = args.iter().map(|a| a.bits()).collect();
        if values.len() != f.groups.iter().sum::<usize>() {
            let wanted: usize = f.groups.iter().sum();
            return Err(refuse(format!(
                "{} arguments for {wanted} parameters",
                values.len()
            )));
        }
        let pointers = emulated::parameters(&mut values, &f.groups);
        let mut pointers: Vec<*mut c_void> = pointers.into_iter().map(<*mut u8>::cast).collect();
        let dim = |d: [u32; 3]| (d[0], d[1], d[2]);
        // SAFETY: arguments in the order of the kernel's parameters, which the emulated device checks; the driver copies them
        // before the call returns.
        let done = unsafe {
            result::launch_kernel(
                f.handle,
                dim(l.grid),
                dim(l.block),
                l.shared,
                on,
                &mut pointers,
            )
        };
        done.map_err(what)
    }

    fn synchronize(&self) -> Result<()> {
        self.current()?;
        result::ctx::synchronize().map_err(|e| failed("the work before", e))
    }

    fn stream(&self) -> Result<Stream> {
        let mut s = self.enter()?;
        let made = stream::create(stream::StreamKind::NonBlocking);
        s.streams.push(made.map_err(|e| failed("a stream", e))?);
        Ok(Stream(s.streams.len() as u32 - 1))
    }

    fn event(&self, on: Stream) -> Result<Event> {
        let mut s = self.enter()?;
        let on = s.stream(on)?;
        let made = event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let made = made.map_err(|e| failed("an event", e))?;
        // SAFETY: both are alive.
        unsafe { event::record(made, on) }.map_err(|e| failed("an event", e))?;
        let free = s.events.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            s.events.push(None);
            s.events.len() - 1
        });
        s.events[at] = Some(made);
        Ok(Event(at as u32))
    }

    fn wait(&self, on: Stream, e: Event) -> Result<()> {
        let s = self.enter()?;
        let (on, e) = (s.stream(on)?, s.event(e)?);
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both are alive.
        unsafe { stream::wait_event(on, e, flags) }.map_err(|e| failed("a wait", e))
    }

    fn elapsed(&self, from: Event, to: Event) -> Result<f64> {
        let mut s = self.enter()?;
        let (a, b) = (s.event(from)?, s.event(to)?);
        // SAFETY: both are alive, and gone from the list before they are destroyed.
        let time = unsafe { event::synchronize(b).and_then(|()| event::elapsed(a, b)) };
        let time = time.map_err(|e| failed("a time", e))?;
        for (index, e) in [(from, a), (to, b)] {
            if s.events[index.0 as usize].take().is_some() {
                // SAFETY: as above.
                unsafe { event::destroy(e) }.map_err(|e| failed("an event", e))?;
            }
        }
        Ok(time.into())
    }

    fn begin_capture(&self, on: Stream) -> Result<()> {
        let on = self.enter()?.stream(on)?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is alive.
        unsafe { stream::begin_capture(on, mode) }.map_err(|e| failed("recording a graph", e))
    }

    fn end_capture(&self, on: Stream) -> Result<Graph> {
        let mut s = self.enter()?;
        let on = s.stream(on)?;
        let what = |e| failed("recording a graph", e);
        // SAFETY: the recorded graph is turned into an executable one and not used afterwards.
        let ready = unsafe {
            let recorded = stream::end_capture(on).map_err(what)?;
            let ready = graph::instantiate(recorded, sys::CUgraphInstantiate_flags(0));
            graph::destroy(recorded).map_err(what)?;
            ready.map_err(what)?
        };
        s.graphs.push(Some(ready));
        Ok(Graph(s.graphs.len() as u32 - 1))
    }

    fn replay(&self, on: Stream, g: Graph) -> Result<()> {
        let s = self.enter()?;
        let on = s.stream(on)?;
        let found = s.graphs.get(g.0 as usize).copied().flatten();
        let ready = found.ok_or_else(|| refuse(format!("there is no graph {}", g.0)))?;
        // SAFETY: both are alive.
        unsafe { graph::launch(ready, on) }.map_err(|e| failed("a graph", e))
    }

    fn forget(&self, g: Graph) -> Result<()> {
        let mut s = self.enter()?;
        let slot = s.graphs.get_mut(g.0 as usize).and_then(Option::take);
        let ready = slot.ok_or_else(|| refuse(format!("there is no graph {}", g.0)))?;
        // SAFETY: alive, and gone from the list.
        unsafe { graph::exec_destroy(ready) }.map_err(|e| failed("giving a graph up", e))
    }

    fn fetch(&self, at: DevicePtr, bytes: usize) -> Result<Fetch> {
        let mut s = self.enter()?;
        let on = s.stream(Stream::MAIN)?;
        let mut block = s.pinned.take(bytes)?;
        // SAFETY: inside one allocation; the block is kept until its event has passed.
        let done = unsafe {
            result::memcpy_dtoh_async(&mut block.bytes()[..bytes], at.0 as u64, on)
                .and_then(|()| event::record(block.passed, on))
        };
        let free = s.fetches.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            s.fetches.push(None);
            s.fetches.len() - 1
        });
        s.fetches[index] = Some((block, bytes));
        done.map_err(|e| failed("a download", e))?;
        Ok(Fetch(index as u32))
    }

    fn fetched(&self, f: Fetch, data: &mut [u8]) -> Result<()> {
        let mut s = self.enter()?;
        let slot = s.fetches.get_mut(f.0 as usize).and_then(Option::take);
        let (mut block, bytes) =
            slot.ok_or_else(|| refuse(format!("there is no copy {} under way", f.0)))?;
        // SAFETY: the event is alive as long as its block.
        let done = unsafe { event::synchronize(block.passed) };
        if done.is_ok() {
            data.copy_from_slice(&block.bytes()[..bytes]);
        }
        s.pinned.sent.push(block);
        done.map_err(|e| failed("a download", e))
    }
}
