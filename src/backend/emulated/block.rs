//! One block at a time: its threads are fibers that run until they wait. There are two ways to wait, the block barrier and
//! a warp operation; whatever else stands still is a fault that names the threads and lines.

mod waits;
mod words;

pub use self::words::{access, barrier, dynamic, index, shared, undefined, vector, warp};

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::ops::Range;
use std::sync::Mutex;

use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::lock;
use super::memory::Memory;
use super::table::Entry;
use crate::backend::driver::{Launch, Limits};

const WARP: usize = 32;
/// Bytes of a thread's stack.
const STACK: usize = 64 << 10;

/// Where in a kernel file. The name is read when somebody asks for it: threads wait far more often than they fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    file: *const c_char,
    line: i32,
}

impl Site {
    /// From what `__FILE__` and `__LINE__` were.
    ///
    /// # Safety
    /// `file` is a string literal of a kernel.
    #[allow(unsafe_code)]
    pub unsafe fn new(file: *const c_char, line: i32) -> Site {
        Site { file, line }
    }
}

#[allow(unsafe_code)]
impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        // SAFETY: as the caller of `new` promised; literals live as long as the program.
        let path = unsafe { CStr::from_ptr(self.file) }.to_str().unwrap_or("?");
        let name = path.rsplit('/').next().unwrap_or(path);
        write!(f, "{name}:{}", self.line)
    }
}

/// A warp operation that a lane asks for; `kind` as in `kernels/emulated.h`.
#[derive(Debug, Clone, Copy)]
pub struct WarpOp {
    pub kind: i32,
    pub mask: u32,
    pub bits: u64,
    pub lane: i32,
    pub site: Site,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Ready,
    Barrier(Site),
    Warp(WarpOp),
    Done,
}

struct Thread {
    fiber: Option<Coroutine<(), (), (), DefaultStack>>,
    yielder: *const Yielder<(), ()>,
    stack: Range<usize>,
    state: State,
    result: u64,
    /// How far the accesses of each lane of the warp are ordered before this thread's; its own clock among them.
    seen: [u32; WARP],
}

/// The block that runs.
pub struct Running<'m> {
    memory: &'m mut Memory,
    limits: Limits,
    /// Accesses until the block is taken for one that never ends.
    left: u64,
    launch: Launch,
    block: [u32; 3],
    number: u32,
    threads: Vec<Thread>,
    current: usize,
    epoch: u32,
    dynamic: Option<usize>,
    shared: Vec<usize>,
    shared_bytes: usize,
    fault: Option<String>,
}

thread_local! {
    static RUNNING: Cell<*mut Running<'static>> = const { Cell::new(std::ptr::null_mut()) };
}

/// Stacks of threads that have ended, for the next ones; those of a launch that is over go to the launches of all devices, because
/// each is two mappings of a process that may have some 65,000.
#[derive(Default)]
pub struct Stacks(Vec<DefaultStack>);

static SPARE: Mutex<Vec<DefaultStack>> = Mutex::new(vec![]);

/// Spare stacks that a launch takes at a time.
const SOME: usize = 64;

impl Stacks {
    fn take(&mut self) -> Result<DefaultStack, String> {
        if self.0.is_empty() {
            let mut spare = lock(&SPARE);
            let rest = spare.len().saturating_sub(SOME);
            self.0.extend(spare.drain(rest..));
        }
        match self.0.pop() {
            Some(stack) => Ok(stack),
            None => {
                DefaultStack::new(STACK).map_err(|e| format!("no memory for a thread's stack: {e}"))
            }
        }
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        lock(&SPARE).append(&mut self.0);
    }
}

/// Runs one block, its threads in `order`.
///
/// # Errors
/// A text for the fault, with the thread.
#[allow(unsafe_code)]
pub fn run(
    entry: &Entry,
    args: &[*mut u8],
    memory: &mut Memory,
    stacks: &mut Stacks,
    limits: Limits,
    patience: u64,
    launch: Launch,
    block: [u32; 3],
    order: &[usize],
) -> Result<(), String> {
    let count = order.len();
    let [gx, gy, _] = launch.grid.map(u64::from);
    let number = u64::from(block[0]) + gx * (u64::from(block[1]) + gy * u64::from(block[2]));
    let fresh = |t: usize| {
        let mut seen = [0; WARP];
        seen[t % WARP] = 1;
        Thread {
            fiber: None,
            yielder: std::ptr::null(),
            stack: 0..0,
            state: State::Ready,
            result: 0,
            seen,
        }
    };
    let mut running = Running {
        memory,
        limits,
        left: patience,
        launch,
        block,
        number: number as u32 + 1,
        threads: (0..count).map(fresh).collect(),
        current: 0,
        epoch: 0,
        dynamic: None,
        shared: vec![],
        shared_bytes: 0,
        fault: None,
    };
    let r: *mut Running = &mut running;
    RUNNING.set(r.cast());
    // SAFETY: `running` outlives the loop, and between resumes nobody else looks at it: the pointer is that of this thread.
    let result = unsafe { schedule(r, entry, args, stacks, order) };
    RUNNING.set(std::ptr::null_mut());
    for t in &mut running.threads {
        if let Some(mut fiber) = t.fiber.take() {
            // SAFETY: kernels own nothing that would have to be dropped.
            unsafe { fiber.force_reset() };
            stacks.0.push(fiber.into_stack());
        }
    }
    for at in std::mem::take(&mut running.shared) {
        running.memory.remove(at);
    }
    result
}

#[allow(unsafe_code)]
unsafe fn schedule(
    r: *mut Running,
    entry: &Entry,
    args: &[*mut u8],
    stacks: &mut Stacks,
    order: &[usize],
) -> Result<(), String> {
    loop {
        for &t in order {
            // SAFETY: see `run`; no reference into `*r` is alive while a fiber runs.
            unsafe {
                if !matches!((&(*r).threads)[t].state, State::Ready) {
                    continue;
                }
                (*r).current = t;
                let mut fiber = match (&mut (*r).threads)[t].fiber.take() {
                    Some(fiber) => fiber,
                    None => start(r, t, entry, args, stacks)?,
                };
                match fiber.resume(()) {
                    CoroutineResult::Yield(()) => (&mut (*r).threads)[t].fiber = Some(fiber),
                    CoroutineResult::Return(()) => {
                        (&mut (*r).threads)[t].state = State::Done;
                        stacks.0.push(fiber.into_stack());
                    }
                }
                if let Some(text) = (*r).fault.take() {
                    return Err(format!("{text}, {}", (*r).who(t)));
                }
            }
        }
        // SAFETY: no fiber runs now.
        let running = unsafe { &mut *r };
        if running.resolve_warps()? {
            continue;
        }
        if !running.resolve_barrier()? {
            return Ok(());
        }
    }
}

/// A fiber for thread `t`.
#[allow(unsafe_code)]
unsafe fn start(
    r: *mut Running,
    t: usize,
    entry: &Entry,
    args: &[*mut u8],
    stacks: &mut Stacks,
) -> Result<Coroutine<(), (), (), DefaultStack>, String> {
    let stack = stacks.take()?;
    let run = entry.run;
    let arguments = args.as_ptr() as usize;
    // SAFETY: see `run`.
    unsafe { (&mut (*r).threads)[t].stack = stack.limit().get()..stack.base().get() };
    let at = r as usize;
    Ok(Coroutine::with_stack(stack, move |yielder, ()| {
        let r = at as *mut Running;
        // SAFETY: the block outlives its fibers; the arguments outlive the launch and match the signature.
        unsafe {
            (&mut (*r).threads)[t].yielder = yielder;
            run(arguments as *const *mut u8);
        }
    }))
}
