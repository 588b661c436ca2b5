//! What stands above a [`Driver`] and is the same for every device: pooled memory, launches with their checks and counts, the
//! first fault, which nothing after it survives.

mod arithmetic;
mod buffer;
mod constants;
mod graph;
mod plan;
mod pool;
mod watch;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::driver::{Arg, Driver, Kernel, Launch, Limits};
use super::emulated::Emulated;
use crate::error::{Code, Error, Result};
pub use arithmetic::{SUMS, Slab};
pub use buffer::{DeviceBuffer, Fetching};
pub use graph::{Recorded, Rehearsal};
pub use plan::{Life, Plan, plan};
use pool::Pool;

/// A device with its memory pool. A handle: copies are the same device, which lives until the process ends.
#[derive(Clone, Copy)]
pub struct Engine(&'static Inner);

struct Inner {
    driver: Box<dyn Driver>,
    name: String,
    sync_launches: bool,
    pool: Mutex<Pool>,
    failed: OnceLock<Error>,
    /// Kernels launched, and put into recordings.
    launches: AtomicU64,
    recorded: AtomicU64,
    recording: AtomicBool,
    arena: Mutex<Option<Arc<graph::Arena>>>,
    uploads: AtomicU64,
    uploaded: AtomicU64,
    downloaded: AtomicU64,
    fallbacks: Mutex<BTreeMap<&'static str, u64>>,
    constants: Mutex<constants::Constants>,
}

/// What a device did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Kernels launched.
    pub launches: u64,
    /// Copies from the host, tables of recordings apart.
    pub uploads: u64,
    /// Bytes from the host.
    pub uploaded: u64,
    /// Bytes to the host.
    pub downloaded: u64,
    /// Bytes in use now.
    pub live: u64,
    /// The most bytes in use at one time.
    pub peak: u64,
}

thread_local! {
    static LABEL: Cell<&'static str> = const { Cell::new("data") };
}

/// Runs `f`; what it allocates is listed under `label` when memory runs out.
pub fn labelled<R>(label: &'static str, f: impl FnOnce() -> R) -> R {
    let outer = LABEL.replace(label);
    let r = f();
    LABEL.set(outer);
    r
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// An engine over `driver`. With `sync_launches` every launch is waited for, so that a fault is told of the launch that did it.
    pub fn new(driver: Box<dyn Driver>, sync_launches: bool) -> Engine {
        Engine(Box::leak(Box::new(Inner {
            name: driver.name(),
            driver,
            sync_launches,
            pool: Mutex::default(),
            failed: OnceLock::new(),
            launches: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
            recording: AtomicBool::new(false),
            arena: Mutex::default(),
            uploads: AtomicU64::new(0),
            uploaded: AtomicU64::new(0),
            downloaded: AtomicU64::new(0),
            fallbacks: Mutex::default(),
            constants: Mutex::default(),
        })))
    }

    /// The emulated device; see [`Emulated::new`] for `orders`.
    pub fn emulated(orders: u64) -> Engine {
        Engine::new(Box::new(Emulated::new(Limits::SM_80, orders)), false)
    }

    /// Name of the device.
    pub fn name(&self) -> &'static str {
        &self.0.name
    }

    /// Its driver.
    pub fn driver(&self) -> &'static dyn Driver {
        &*self.0.driver
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        let pool = lock(&self.0.pool);
        let read = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Counts {
            launches: read(&self.0.launches),
            uploads: read(&self.0.uploads),
            uploaded: read(&self.0.uploaded),
            downloaded: read(&self.0.downloaded),
            live: pool.live(),
            peak: pool.peak(),
        }
    }

    /// Counts [`Counts::peak`] from what is in use now.
    pub fn reset_peak(&self) {
        lock(&self.0.pool).reset_peak();
    }

    /// Notes that the host computed an operation, because it has no kernels for it.
    pub fn note_fallback(&self, op: &'static str) {
        *lock(&self.0.fallbacks).entry(op).or_default() += 1;
    }

    /// Operations that the host computed, and how often.
    pub fn fallbacks(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.0.fallbacks).clone()
    }

    /// The first fault, if there was one: nothing on the device can be trusted after it.
    ///
    /// # Errors
    /// That fault.
    pub fn healthy(&self) -> Result<()> {
        match self.0.failed.get() {
            Some(e) => Err(e.clone()),
            None => Ok(()),
        }
    }

    /// Keeps the first fault.
    fn fault(&self, e: Error) -> Error {
        if e.code() == Code::Device && !self.is_recording() {
            let _ = self.0.failed.set(e.clone());
        }
        e
    }

    /// Runs a kernel over a grid.
    ///
    /// # Errors
    /// `Device`: a launch that is refused, a fault of this or of an earlier launch; it names kernel, grid and block.
    pub fn launch(&self, kernel: Kernel, launch: Launch, args: &[Arg]) -> Result<()> {
        self.healthy()?;
        let counter = match self.is_recording() {
            true => &self.0.recorded,
            false => &self.0.launches,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let driver = self.driver();
        let mut done = driver.launch(&kernel, launch, args);
        if self.0.sync_launches && !self.is_recording() && done.is_ok() {
            done = driver.synchronize();
        }
        done.map_err(|e| {
            let at = format!("{} `{}`", kernel.file, kernel.name);
            let size = format!("grid {:?}, block {:?}", launch.grid, launch.block);
            let e = e.at(at);
            let told = e.notes().contains(&size);
            self.fault(if told { e } else { e.note(size) })
        })
    }

    /// Bytes that nobody uses, once memory that was kept for reuse is given back; waits for the device.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn free_memory(&self) -> Result<u64> {
        self.healthy()?;
        let driver = self.driver();
        let given = lock(&self.0.pool).give_back(driver);
        let free = given.and_then(|()| driver.memory());
        Ok(free.map_err(|e| self.fault(e))?.free)
    }

    /// Waits for everything that was launched.
    ///
    /// # Errors
    /// A fault while it ran.
    pub fn synchronize(&self) -> Result<()> {
        self.healthy()?;
        self.driver().synchronize().map_err(|e| self.fault(e))
    }
}

impl PartialEq for Engine {
    fn eq(&self, other: &Engine) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Engine {}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Engine({})", self.name())
    }
}

#[cfg(test)]
mod tests;
