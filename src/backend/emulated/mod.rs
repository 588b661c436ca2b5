//! A device made of ordinary code that executes the very kernels of the GPU and forgives nothing: races, stray and unaligned
//! accesses, reads of what nobody wrote, divergent barriers, wrong arguments are errors that name the thread and the line.
//! It is a test device, slow by design.

mod block;
mod calls;
mod launch;
mod memory;
mod region;
mod shadow;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use self::launch::parameters;
use self::memory::Memory;
use self::region::Region;
pub(super) use self::table::groups;
use super::driver::{
    Arg, DevicePtr, Driver, Event, Fetch, Graph, Kernel, Launch, Limits, MemoryInfo, Stream,
};
use super::queue::{Command, Queue};
use crate::error::{Code, Error, Result};

/// Bytes that a launch moved, as counted at every access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Read from memory and shared memory.
    pub read: u64,
    /// Written.
    pub written: u64,
}

struct State {
    memory: Memory,
    made: usize,
    traffic: Traffic,
    queue: Queue,
}

/// The emulated device.
pub struct Emulated {
    limits: Limits,
    orders: u64,
    /// Its memory.
    bytes: u64,
    /// Accesses that a block may make until it is taken for one that never ends.
    patience: u64,
    kernels: Option<&'static [table::Entry]>,
    touched: Option<Arc<Mutex<Traffic>>>,
    state: Mutex<State>,
}

// One launch at a time in the whole process: shared arrays of kernels are static.
static ONE: Mutex<()> = Mutex::new(());

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Emulated {
    /// A device with these limits that runs every launch in `orders` orders of its threads and blocks: ascending, descending,
    /// then random ones; their bits must agree.
    pub fn new(limits: Limits, orders: u64) -> Emulated {
        Emulated {
            limits,
            orders: orders.max(1),
            bytes: 8 << 30,
            patience: 1 << 33,
            kernels: None,
            touched: None,
            state: Mutex::new(State {
                memory: Memory::default(),
                made: 0,
                traffic: Traffic::default(),
                queue: Queue::default(),
            }),
        }
    }

    /// The same device with `bytes` of memory instead of 8 GiB.
    pub fn with_memory(self, bytes: u64) -> Emulated {
        Emulated { bytes, ..self }
    }

    /// The same device, which adds the bytes of memory that its launches touch to a sum: in each launch every byte once, as a
    /// cache of any size would move it.
    pub fn with_touched(mut self, sum: Arc<Mutex<Traffic>>) -> Emulated {
        self.touched = Some(sum);
        self
    }

    /// The same device that gives a block up after `accesses` accesses.
    #[cfg(test)]
    fn with_patience(mut self, accesses: u64) -> Emulated {
        self.patience = accesses;
        self
    }

    /// The same device with `kernels` in place of the built-in ones of the same names.
    #[cfg(test)]
    fn with_kernels(mut self, kernels: &'static [table::Entry]) -> Emulated {
        self.kernels = Some(kernels);
        self
    }

    /// What the last launch moved, in its first order.
    pub fn traffic(&self) -> Traffic {
        lock(&self.state).traffic
    }
}

impl Emulated {
    /// The device's state, one allocation further, if `bytes` bytes are left.
    fn room(&self, bytes: usize) -> Result<MutexGuard<'_, State>> {
        let mut s = lock(&self.state);
        s.queue.outside_capture("an allocation")?;
        s.made += 1;
        if bytes as u64 > self.bytes.saturating_sub(s.memory.bytes()) {
            let left = format!("no {bytes} bytes left of {}", self.bytes);
            let text = format!("{left} on the emulated device");
            return Err(Error::new(Code::OutOfMemory, text));
        }
        Ok(s)
    }

    /// Does a command, or records it.
    fn put(&self, on: Stream, command: Command) -> Result<()> {
        let now = lock(&self.state).queue.put(on, command)?;
        match now {
            None => Ok(()),
            Some(Command::Launch(kernel, launch, args)) => self.execute(&kernel, launch, &args),
            Some(Command::Copy(to, from, bytes)) => {
                let s = &mut *lock(&self.state);
                let (region, at) = s.memory.region(from, bytes)?;
                let data = region.bytes()[at..at + bytes].to_vec();
                let known = region.known(at, bytes);
                let (region, at) = s.memory.region(to, bytes)?;
                region.bytes_mut()[at..at + bytes].copy_from_slice(&data);
                region.inherit(at, &known);
                Ok(())
            }
            Some(Command::Renew(at, bytes)) => {
                lock(&self.state).memory.renew(at.0, bytes);
                Ok(())
            }
            Some(Command::Fill(to, value, bytes)) => {
                let s = &mut *lock(&self.state);
                let (region, at) = s.memory.region(to, bytes)?;
                region.bytes_mut()[at..at + bytes].fill(value);
                region.uploaded(at, bytes);
                Ok(())
            }
        }
    }
}

fn outside(at: DevicePtr, len: usize) -> Error {
    Error::new(
        Code::Internal,
        format!("{len} bytes at {:#x} are not inside an allocation", at.0),
    )
}

impl Driver for Emulated {
    fn name(&self) -> String {
        "emulated".into()
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        let mut s = self.room(bytes)?;
        let name = format!("buffer {}", s.made);
        Ok(DevicePtr(s.memory.insert(Region::buffer(name, bytes))))
    }

    fn arena(&self, bytes: usize) -> Result<DevicePtr> {
        let mut s = self.room(bytes)?;
        let name = format!("arena {}", s.made);
        let arena = Region::buffer(name, bytes);
        Ok(DevicePtr(s.memory.insert_arena(arena)))
    }

    fn memory(&self) -> Result<MemoryInfo> {
        let used = lock(&self.state).memory.bytes();
        Ok(MemoryInfo {
            free: self.bytes.saturating_sub(used),
            total: self.bytes,
        })
    }

    fn renew(&self, at: DevicePtr, bytes: usize) {
        let put = self.put(Stream::MAIN, Command::Renew(at, bytes));
        put.expect("the main stream is there");
    }

    fn free(&self, at: DevicePtr) -> Result<()> {
        match lock(&self.state).memory.remove(at.0) {
            true => Ok(()),
            false => Err(outside(at, 0)),
        }
    }

    fn upload(&self, at: DevicePtr, data: &[u8]) -> Result<()> {
        let mut s = lock(&self.state);
        s.queue.outside_capture("an upload")?;
        let (region, from) = s.memory.region(at, data.len())?;
        region.bytes_mut()[from..from + data.len()].copy_from_slice(data);
        region.uploaded(from, data.len());
        Ok(())
    }

    fn download(&self, at: DevicePtr, data: &mut [u8]) -> Result<()> {
        let mut s = lock(&self.state);
        s.queue.outside_capture("a download")?;
        let (region, from) = s.memory.region(at, data.len())?;
        data.copy_from_slice(&region.bytes()[from..from + data.len()]);
        Ok(())
    }

    fn copy(&self, on: Stream, to: DevicePtr, from: DevicePtr, bytes: usize) -> Result<()> {
        self.put(on, Command::Copy(to, from, bytes))
    }

    fn fill(&self, on: Stream, at: DevicePtr, value: u8, bytes: usize) -> Result<()> {
        self.put(on, Command::Fill(at, value, bytes))
    }

    fn launch_on(&self, on: Stream, kernel: &Kernel, launch: Launch, args: &[Arg]) -> Result<()> {
        self.put(on, Command::Launch(*kernel, launch, args.to_vec()))
    }

    fn synchronize(&self) -> Result<()> {
        lock(&self.state).queue.outside_capture("a wait")
    }

    fn stream(&self) -> Result<Stream> {
        Ok(lock(&self.state).queue.stream())
    }

    fn event(&self, on: Stream) -> Result<Event> {
        lock(&self.state).queue.event(on)
    }

    fn wait(&self, on: Stream, event: Event) -> Result<()> {
        lock(&self.state).queue.wait(on, event)
    }

    fn elapsed(&self, from: Event, to: Event) -> Result<f64> {
        lock(&self.state).queue.elapsed(from, to)
    }

    fn begin_capture(&self, on: Stream) -> Result<()> {
        lock(&self.state).queue.begin_capture(on)
    }

    fn end_capture(&self, on: Stream) -> Result<Graph> {
        lock(&self.state).queue.end_capture(on)
    }

    fn replay(&self, on: Stream, graph: Graph) -> Result<()> {
        let all = lock(&self.state).queue.graph(on, graph)?;
        all.iter().try_for_each(|c| self.put(on, c.clone()))
    }

    fn forget(&self, graph: Graph) -> Result<()> {
        lock(&self.state).queue.forget(graph)
    }

    fn fetch(&self, at: DevicePtr, bytes: usize) -> Result<Fetch> {
        let s = &mut *lock(&self.state);
        let (region, from) = s.memory.region(at, bytes)?;
        let data = region.bytes()[from..from + bytes].to_vec();
        s.queue.fetch(data)
    }

    fn fetched(&self, fetch: Fetch, data: &mut [u8]) -> Result<()> {
        lock(&self.state).queue.fetched(fetch, data)
    }
}

#[cfg(test)]
mod agreement_tests;
#[cfg(all(test, unix))]
mod mutation;
#[cfg(all(test, mtnas_corpus))]
mod tests;
