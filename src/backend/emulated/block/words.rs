//! What a thread of the running block asks for: accesses, indices, shared arrays, waits.

use super::{RUNNING, Running, Site, State, WarpOp};
use crate::backend::emulated::memory::Fault;
use crate::backend::emulated::region::Region;
use crate::backend::emulated::shadow::{Access, Conflict, Instant, Now};

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
    tick();
    with(|r| r.threads[r.current].state = State::Barrier(site));
    suspend();
}

/// A warp operation; returns its result.
pub fn warp(op: WarpOp) -> u64 {
    tick();
    with(|r| r.threads[r.current].state = State::Warp(op));
    suspend();
    with(|r| r.threads[r.current].result).unwrap_or(0)
}

/// Counts a step of the block.
fn tick() {
    let over = with(|r| {
        r.left = r.left.saturating_sub(1);
        r.left == 0
    });
    if over == Some(true) {
        fail("the block does not come to an end".into());
    }
}

/// `threadIdx`, `blockIdx`, `blockDim`, `gridDim`.
pub fn index(which: usize) -> [u32; 3] {
    tick();
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
        let (own, dynamic) = (r.shared_bytes, r.launch.shared as usize);
        let (most, in_all) = (r.limits.shared, r.limits.shared_opt_in);
        if own > most {
            Some(format!(
                "{own} bytes with `{name}` (line {line}), the limit is {most}"
            ))
        } else if own + dynamic > in_all {
            Some(format!(
                "{own} bytes with `{name}` (line {line}) and {dynamic} dynamic ones, the limit is {in_all}"
            ))
        } else {
            None
        }
    });
    if let Some(text) = over.flatten() {
        fail(format!("shared memory of {text}"));
    }
}

/// The dynamic shared memory of the block, as many bytes as the launch asks for; filled with NaN for each block.
pub fn dynamic(name: &str) -> usize {
    let at = with(|r| {
        if let Some(at) = r.dynamic {
            return Some(at);
        }
        let len = r.launch.shared as usize;
        if len > 0 {
            let region = Region::dynamic(format!("dynamic shared `{name}`"), len);
            let at = r.memory.insert(region);
            r.shared.push(at);
            r.dynamic = Some(at);
        }
        r.dynamic
    });
    at.flatten().unwrap_or_else(|| {
        fail(format!(
            "dynamic shared `{name}` in a launch without dynamic shared memory"
        ));
        0
    })
}

/// A fault that the compiler's own checks found: integer overflow, an index outside of a local array.
pub fn undefined(text: String) {
    fail(text);
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
    tick();
    let fault = with(|r| {
        if r.threads[r.current].stack.contains(&at) {
            return None;
        }
        let now = Now {
            at: r.instant(),
            seen: &r.threads[r.current].seen,
        };
        r.memory.access(at, len, how, now).err()
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
        Fault::Constant(what) => format!("{verb} of {what}, which the kernel only reads"),
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
