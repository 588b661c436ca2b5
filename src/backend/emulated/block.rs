//! One block at a time: its threads are fibers that run until they wait. There are two ways to wait, the block barrier and
//! a warp operation; whatever else stands still is a fault that names the threads and lines.

mod waits;

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::ops::Range;

use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult, Yielder};

use super::memory::{Fault, Memory, Region};
use super::shadow::{Access, Conflict, Instant};
use super::table::Entry;
use crate::backend::driver::{Launch, Limits};

const WARP: usize = 32;
/// Bytes of a thread's stack.
const STACK: usize = 64 << 10;

/// Where in a kernel file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    file: &'static str,
    line: i32,
}

impl Site {
    /// From what `__FILE__` and `__LINE__` were.
    ///
    /// # Safety
    /// `file` is a string literal of a kernel.
    #[allow(unsafe_code)]
    pub unsafe fn new(file: *const c_char, line: i32) -> Site {
        // SAFETY: as the caller promises; literals live as long as the program.
        let path = unsafe { CStr::from_ptr(file) }.to_str().unwrap_or("?");
        let file = path.rsplit('/').next().unwrap_or(path);
        Site { file, line }
    }
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
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
}

/// The block that runs.
pub struct Running<'m> {
    memory: &'m mut Memory,
    limits: Limits,
    launch: Launch,
    block: [u32; 3],
    number: u32,
    threads: Vec<Thread>,
    current: usize,
    epoch: u32,
    warp_epochs: Vec<u32>,
    shared: Vec<usize>,
    shared_bytes: usize,
    fault: Option<String>,
}

thread_local! {
    static RUNNING: Cell<*mut Running<'static>> = const { Cell::new(std::ptr::null_mut()) };
}

/// Stacks of threads that have ended, for the next ones.
#[derive(Default)]
pub struct Stacks(Vec<DefaultStack>);

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
    launch: Launch,
    block: [u32; 3],
    order: &[usize],
) -> Result<(), String> {
    let count = order.len();
    let [gx, gy, _] = launch.grid.map(u64::from);
    let number = u64::from(block[0]) + gx * (u64::from(block[1]) + gy * u64::from(block[2]));
    let fresh = |_| Thread {
        fiber: None,
        yielder: std::ptr::null(),
        stack: 0..0,
        state: State::Ready,
        result: 0,
    };
    let mut running = Running {
        memory,
        limits,
        launch,
        block,
        number: number as u32 + 1,
        threads: (0..count).map(fresh).collect(),
        current: 0,
        epoch: 0,
        warp_epochs: vec![0; count.div_ceil(WARP)],
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
    let stack = match stacks.0.pop() {
        Some(stack) => stack,
        None => {
            DefaultStack::new(STACK).map_err(|e| format!("no memory for a thread's stack: {e}"))?
        }
    };
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

/// Calls `f` with the block that runs on this thread, if one does.
#[allow(unsafe_code)]
fn with<R>(f: impl FnOnce(&mut Running) -> R) -> Option<R> {
    let r = RUNNING.get();
    // SAFETY: set by `run` for as long as the block lives; `f` does not suspend.
    (!r.is_null()).then(|| f(unsafe { &mut *r }))
}

/// Puts the current thread to sleep.
#[allow(unsafe_code)]
fn suspend() {
    if let Some(y) = with(|r| r.threads[r.current].yielder) {
        // SAFETY: the yielder is that of the fiber that runs this.
        unsafe { (*y).suspend(()) };
    }
}

fn fail(text: String) {
    with(|r| r.fault = Some(text));
    suspend();
}

/// The barrier.
pub fn barrier(site: Site) {
    with(|r| r.threads[r.current].state = State::Barrier(site));
    suspend();
}

/// A warp operation; returns its result.
pub fn warp(op: WarpOp) -> u64 {
    with(|r| r.threads[r.current].state = State::Warp(op));
    suspend();
    with(|r| r.threads[r.current].result).unwrap_or(0)
}

/// `threadIdx`, `blockIdx`, `blockDim`, `gridDim`.
pub fn index(which: usize) -> [u32; 3] {
    with(|r| match which {
        0 => {
            let ([x, y, _], t) = (r.launch.block, r.current as u32);
            [t % x, t / x % y, t / (x * y)]
        }
        1 => r.block,
        2 => r.launch.block,
        _ => r.launch.grid,
    })
    .unwrap_or_default()
}

/// A shared array of the kernel: known from the first thread of the block that declares it, filled with NaN then.
#[allow(unsafe_code)]
pub fn shared(at: usize, len: usize, name: &str, line: i32) {
    let known = with(|r| r.shared.contains(&at)).unwrap_or(true);
    if known {
        return;
    }
    // SAFETY: a static array of the kernel, of this size; no other block runs.
    unsafe { std::ptr::write_bytes(at as *mut u8, 0xff, len) };
    let over = with(|r| {
        let region = Region::shared(format!("shared `{name}`"), at, len);
        r.memory.insert(region);
        r.shared.push(at);
        r.shared_bytes += len;
        (r.shared_bytes > r.limits.shared).then_some((r.shared_bytes, r.limits.shared))
    });
    if let Some((bytes, most)) = over.flatten() {
        fail(format!(
            "shared memory of {bytes} bytes with `{name}` (line {line}), the limit is {most}"
        ));
    }
}

/// An access of `len` bytes at once: they must be aligned to their number.
pub fn vector(at: usize, len: usize, how: Access) {
    match at.is_multiple_of(len) {
        true => access(at, len, how),
        false => fail(format!(
            "access of {len} bytes at an address that is not a multiple of {len}"
        )),
    }
}

/// An access that is about to happen; a faulty one never does.
pub fn access(at: usize, len: usize, how: Access) {
    let fault = with(|r| {
        if r.threads[r.current].stack.contains(&at) {
            return None;
        }
        let when = r.instant();
        r.memory.access(at, len, how, when).err()
    });
    let Some(fault) = fault.flatten() else { return };
    let verb = match how {
        Access::Read => "read",
        Access::Write => "write",
        Access::Atomic => "atomic access",
    };
    let who = |i: Instant| format!("by thread {} of block {}", i.thread, i.block - 1);
    fail(match fault {
        Fault::Outside(near) => format!("{verb} of {len} bytes outside of any memory, {near}"),
        Fault::Unaligned => {
            format!("{verb} of {len} bytes at an address that is not a multiple of {len}")
        }
        Fault::Rule(Conflict::Unwritten, what) => format!("{verb} of {what}, which nobody wrote"),
        Fault::Rule(Conflict::WithWrite(i), what) => {
            format!(
                "race: {verb} of {what}, not ordered with its write {}",
                who(i)
            )
        }
        Fault::Rule(Conflict::WithRead(i), what) => {
            format!(
                "race: {verb} of {what}, not ordered with its read {}",
                who(i)
            )
        }
    });
}
