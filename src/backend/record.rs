//! A device that executes nothing: it counts launches and the bytes that they must move at least, and hands out addresses of
//! memory that is not there. A step of any size runs on it, to be planned for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::driver::{
    Arg, DevicePtr, Driver, Event, Fetch, Graph, Kernel, Launch, Limits, MemoryInfo, Stream,
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
    arenas: BTreeMap<usize, usize>,
    /// Lives in arenas.
    lives: BTreeMap<usize, usize>,
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

    /// Whether an allocation of `bytes` bytes may be made now.
    fn room(&self, bytes: usize) -> Result<()> {
        self.counted
            .state()
            .queue
            .outside_capture("an allocation")?;
        if bytes as u64 > self.memory()?.free {
            let text = format!("no {bytes} bytes left of {}", self.memory);
            return Err(Error::new(Code::OutOfMemory, text));
        }
        Ok(())
    }

    fn put(&self, on: Stream, command: Command) -> Result<()> {
        let mut s = self.counted.state();
        match s.queue.put(on, command)? {
            None => Ok(()),
            Some(c) => s.count(&c),
        }
    }
}

/// The run of bytes that `at` lies in: where it begins, how long it is.
fn holder(all: &BTreeMap<usize, usize>, at: usize) -> Option<(usize, usize)> {
    let (base, len) = all.range(..=at).next_back()?;
    (at < base + len).then_some((*base, *len))
}

impl State {
    /// Bytes from `at` to the end of its allocation.
    fn extent(&self, at: DevicePtr) -> Result<u64> {
        let of = |all: &BTreeMap<usize, usize>| holder(all, at.0);
        match of(&self.lives).or_else(|| of(&self.regions)) {
            Some((base, len)) => Ok((base + len - at.0) as u64),
            None => Err(Error::new(
                Code::Internal,
                format!("{:#x} is not inside an allocation", at.0),
            )),
        }
    }

    /// An address where `bytes` bytes are free.
    fn place(&mut self, bytes: usize) -> usize {
        self.next += 256;
        let at = self.next;
        self.next = (at + bytes).next_multiple_of(256);
        at
    }

    fn renew(&mut self, at: usize, bytes: usize) {
        if holder(&self.arenas, at).is_none() {
            if let Some(len) = self.regions.get_mut(&at) {
                *len = bytes;
            }
            return;
        }
        let before = holder(&self.lives, at).map(|(base, _)| base);
        let within = self.lives.range(at..at + bytes).map(|(base, _)| *base);
        let ended: Vec<usize> = within.chain(before).collect();
        for base in ended {
            self.lives.remove(&base);
        }
        self.lives.insert(at, bytes);
    }

    fn count(&mut self, c: &Command) -> Result<()> {
        let (name, mut w) = match c {
            Command::Launch(k, ..) => (k.name, Work::default()),
            Command::Renew(..) => ("", Work::default()),
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
        if let Command::Renew(at, bytes) = c {
            self.renew(at.0, *bytes);
            return Ok(());
        }
        if let Command::Launch(
            _,
            Launch {
                touches: Some(t), ..
            },
            _,
        ) = c
        {
            [w.read, w.written] = *t;
        } else if let Command::Launch(_, _, args) = c {
            for a in args.iter().filter(|a| !a.is_null()) {
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
        let s = self.counted.state();
        let used: usize = s.regions.values().chain(s.arenas.values()).sum();
        Ok(MemoryInfo {
            free: self.memory.saturating_sub(used as u64),
            total: self.memory,
        })
    }

    fn alloc(&self, bytes: usize) -> Result<DevicePtr> {
        self.room(bytes)?;
        let mut s = self.counted.state();
        let at = s.place(bytes);
        s.regions.insert(at, bytes);
        Ok(DevicePtr(at))
    }

    fn arena(&self, bytes: usize) -> Result<DevicePtr> {
        self.room(bytes)?;
        let mut s = self.counted.state();
        let at = s.place(bytes);
        s.arenas.insert(at, bytes);
        Ok(DevicePtr(at))
    }

    fn free(&self, at: DevicePtr) -> Result<()> {
        let s = &mut *self.counted.state();
        if let Some(bytes) = s.arenas.remove(&at.0) {
            s.lives
                .retain(|&base, _| base < at.0 || base >= at.0 + bytes);
            return Ok(());
        }
        let gone = s.regions.remove(&at.0);
        let text = format!("{:#x} is not an allocation", at.0);
        gone.map(drop)
            .ok_or_else(|| Error::new(Code::Internal, text))
    }

    fn renew(&self, at: DevicePtr, bytes: usize) {
        let put = self.put(Stream::MAIN, Command::Renew(at, bytes));
        put.expect("the main stream is there");
    }

    fn upload(&self, at: DevicePtr, _data: &[u8]) -> Result<()> {
        let s = self.counted.state();
        s.queue.outside_capture("an upload")?;
        s.extent(at).map(drop)
    }

    fn download(&self, at: DevicePtr, data: &mut [u8]) -> Result<()> {
        data.fill(0);
        let s = self.counted.state();
        s.queue.outside_capture("a download")?;
        s.extent(at).map(drop)
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

    fn forget(&self, graph: Graph) -> Result<()> {
        self.counted.state().queue.forget(graph)
    }

    fn fetch(&self, at: DevicePtr, bytes: usize) -> Result<Fetch> {
        let mut s = self.counted.state();
        s.extent(at)?;
        s.queue.fetch(vec![0; bytes])
    }

    fn fetched(&self, fetch: Fetch, data: &mut [u8]) -> Result<()> {
        self.counted.state().queue.fetched(fetch, data)
    }
}
