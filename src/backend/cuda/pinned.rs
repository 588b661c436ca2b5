//! Pinned host memory: the GPU copies from and to it while the host goes on. From ordinary memory a copy first waits for everything
//! that was put on the stream before.

use cudarc::driver::result::{self, event};
use cudarc::driver::sys;

use super::failed;
use crate::error::Result;

/// Host memory that the GPU copies from and to by itself.
pub(super) struct Block {
    at: *mut u8,
    len: usize,
    /// Passes once the block may be used again.
    pub passed: sys::CUevent,
}

impl Block {
    /// All of it.
    #[allow(unsafe_code)]
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes of the driver, zeroed when they were made, never given back.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

/// All such memory: kept for good, a step asks for the same sizes again and again.
#[derive(Default)]
pub(super) struct Pinned {
    /// Under way, or already free: the event tells.
    pub sent: Vec<Block>,
}

impl Pinned {
    /// A block of the size, rounded up to a power of two, that is free; a new one where there is none.
    ///
    /// # Errors
    /// Those of the driver.
    #[allow(unsafe_code)]
    pub fn take(&mut self, bytes: usize) -> Result<Block> {
        let len = bytes.next_power_of_two().max(4096);
        // SAFETY: events live as long as their blocks.
        let free = |b: &Block| b.len == len && unsafe { event::query(b.passed) }.is_ok();
        if let Some(i) = self.sent.iter().position(free) {
            return Ok(self.sent.swap_remove(i));
        }
        let what = |e| failed(&format!("{len} bytes of pinned host memory"), e);
        // SAFETY: fresh memory of the driver, `len` bytes, filled before anything reads it.
        let at = unsafe {
            let at = result::malloc_host(len, 0).map_err(what)?.cast::<u8>();
            at.write_bytes(0, len);
            at
        };
        let passed = event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(what)?;
        Ok(Block { at, len, passed })
    }
}
