//! A device that executes nothing: it counts launches and the bytes that they must move at least, and hands out addresses of
//! memory that is not there. A step of any size runs on it, to be planned for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::driver::{
    Arg, DevicePtr, Driver, Event, Graph, Kernel, Launch, Limits, MemoryInfo, Stream,
};
use super::queue::{Command, Queue};
use crate::error::{Code, Error, Result};

/// What the launches of one kernel came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Launches.
    pub launches: u64,
    /// Bytes of the buffers that the kernel reads.
    pub read: u64,
    /// Bytes of the buffers that it writes.
    pub written: u64,
}

#[derive(Default)]
struct State {
    next: usize,
    regions: BTreeMap<usize, usize>,
    work: BTreeMap<&'static str, Work>,
    queue: Queue,
}

/// What a [`Record`] counted so far; the device itself belongs to its engine.
#[derive(Clone, Default)]
pub struct Counted(Arc<Mutex<State>>);

impl Counted {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By name of the kernel; copies and fills under `copy` and `fill`.
    pub fn work(&self) -> BTreeMap<&'static str, Work> {
        self.state().work.clone()
    }

    /// The sum over all kernels.
    pub fn total(&self) -> Work {
        let add = |a: Work, b: &Work| Work {
            launches: a.launches + b.launches,
            read: a.read + b.read,
            written: a.written + b.written,
        };
        self.state().work.values().fold(Work::default(), add)
    }

    /// Forgets what was counted, not what is allocated.
    pub fn reset(&self) {
        self.state().work.clear();
    }
}

/// The recording device.
pub struct Record {
    memory: u64,
    counted: Counted,
}

impl Record {
    /// A device with `memory` bytes, and what it counts.
    pub fn new(memory: u64) -> (Record, Counted) {
        let counted = Counted::default();
        let own = counted.clone();
        (
            Record {
                memory,
                counted: own,
            },
            counted,
        )
    }

    fn put(&self, on: Stream, command: Command) -> Result<()> {
        let mut s = self.counted.state();
        match s.queue.put(on, command)? {
            None => Ok(()),
            Some(c) => s.count(&c),
        }
    }
}

impl State {
    /// Bytes from `at` to the end of its allocation.
    fn extent(&self, at: DevicePtr) -> Result<u64> {
        let found = self.regions.range(..=at.0).next_back();
        match found.filter(|(base, len)| at.0 < *base + **len) {
            Some((base, len)) => Ok((base + len - at.0) as u64),
            None => Err(Error::new(
                Code::Internal,
                format!("{:#x} is not inside an allocation", at.0),
            )),
        }
    }

    fn count(&mut self, c: &Command) -> Result<()> {
        let (name, mut w) = match c {
            Command::Launch(k, ..) => (k.name, Work::default()),
            Command::Copy(_, _, n) => (
                "copy",
                Work {
                    read: *n as u64,
                    written: *n as u64,
                    ..Work::default()
                },
            ),
            Command::Fill(_, _, n) => (
                "fill",
                Work {
                    written: *n as u64,
                    ..Work::default()
                },
            ),
        };
        if let Command::Launch(_, _, args) = c {
            for a in args {
                match a {
                    Arg::In(p, _) => w.read += self.extent(*p)?,
                    Arg::Out(p, _) => w.written += self.extent(*p)?,
                    _ => {}
                }
            }
        }
        let all = self.work.entry(name).or_default();
        all.launches += 1;
        all.read += w.read;
        all.written += w.written;
        Ok(())
    }
}

impl Driver for Record {
    fn name(&self) -> String {
        "record".into()
    }

    fn limits(&self) -> Limits {
        Limits::SM_80
    }

    fn memory(&self) -> Result<MemoryInfo> {
        let used: usize = self.counted.state().regions.values().sum();
        Ok(MemoryInfo {
            free: self.memory.saturating_sub(used as u64),
            total: self.memory,
        })
    }

    fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        if bytes as u64 > self.memory()?.free {
            let text = format!("no {bytes} bytes left of {}", self.memory);
            return Err(Error::new(Code::OutOfMemory, text));
        }
        let mut s = self.counted.state();
        s.next += 256;
        let at = s.next;
        s.next = (at + bytes).next_multiple_of(256);
        s.regions.insert(at, bytes);
        Ok(DevicePtr(at))
    }

    fn free(&self, at: DevicePtr) -> Result<()> {
        let gone = self.counted.state().regions.remove(&at.0);
        let text = format!("{:#x} is not an allocation", at.0);
        gone.map(drop)
            .ok_or_else(|| Error::new(Code::Internal, text))
    }

    fn renew(&self, at: DevicePtr, bytes: usize) {
        if let Some(len) = self.counted.state().regions.get_mut(&at.0) {
            *len = bytes;
        }
    }

    fn upload(&self, at: DevicePtr, _data: &[u8]) -> Result<()> {
        self.counted.state().extent(at).map(drop)
    }

    fn download(&self, at: DevicePtr, data: &mut [u8]) -> Result<()> {
        data.fill(0);
        self.counted.state().extent(at).map(drop)
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
        Ok(())
    }

    fn stream(&self) -> Result<Stream> {
        Ok(self.counted.state().queue.stream())
    }

    fn event(&self, on: Stream) -> Result<Event> {
        self.counted.state().queue.event(on)
    }

    fn wait(&self, on: Stream, event: Event) -> Result<()> {
        self.counted.state().queue.wait(on, event)
    }

    fn elapsed(&self, from: Event, to: Event) -> Result<f64> {
        self.counted.state().queue.elapsed(from, to)
    }

    fn begin_capture(&self, on: Stream) -> Result<()> {
        self.counted.state().queue.begin_capture(on)
    }

    fn end_capture(&self, on: Stream) -> Result<Graph> {
        self.counted.state().queue.end_capture(on)
    }

    fn replay(&self, on: Stream, graph: Graph) -> Result<()> {
        let mut s = self.counted.state();
        let all = s.queue.graph(on, graph)?;
        all.iter().try_for_each(|c| s.count(c))
    }
}
