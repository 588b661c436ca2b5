//! What compiled kernels call: the words of `kernels/emulated.h`, and what `-fsanitize=thread` puts before every access.
#![allow(missing_docs)]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

use super::block::{self, Site, WarpOp};
use super::shadow::Access;

/// `uint3` of the header.
#[repr(C)]
pub struct Uint3 {
    x: u32,
    y: u32,
    z: u32,
}

fn index(which: usize) -> Uint3 {
    let [x, y, z] = block::index(which);
    Uint3 { x, y, z }
}

/// What `-fsanitize=bounds` and its like pass first: where in the source.
#[repr(C)]
pub struct Source {
    file: *const c_char,
    line: u32,
    column: u32,
}

#[allow(unsafe_code)]
fn undefined(what: &str, at: *const Source) {
    // SAFETY: the compiler passes its static record, which begins with the place.
    let site = unsafe { Site::new((*at).file, (*at).line as c_int) };
    block::undefined(format!("{what} at {site}"));
}

fn overflow(operator: &str, at: *const Source) {
    undefined(&format!("integer overflow of `{operator}`"), at);
}

macro_rules! words {
    ($list:ident: $($name:ident($($a:ident: $t:ty),*) $(-> $r:ty)? $body:block)*) => {
        $(
            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            extern "C-unwind" fn $name($($a: $t),*) $(-> $r)? $body
        )*

        #[cfg(test)]
        fn $list() -> Vec<(&'static str, usize)> {
            vec![$((stringify!($name), $name as *const () as usize)),*]
        }
    };
}

words! {
    language:
    emu_thread_idx() -> Uint3 { index(0) }
    emu_block_idx() -> Uint3 { index(1) }
    emu_block_dim() -> Uint3 { index(2) }
    emu_grid_dim() -> Uint3 { index(3) }

    emu_barrier(file: *const c_char, line: c_int) {
        // SAFETY: the header passes __FILE__.
        block::barrier(unsafe { Site::new(file, line) });
    }

    emu_warp(kind: c_int, mask: c_uint, bits: u64, lane: c_int, file: *const c_char, line: c_int) -> u64 {
        // SAFETY: the header passes __FILE__.
        let site = unsafe { Site::new(file, line) };
        block::warp(WarpOp { kind, mask, bits, lane, site })
    }

    emu_atomic(p: *const c_void, size: usize) { block::access(p as usize, size, Access::Atomic) }

    emu_vector(p: *const c_void, size: usize, write: c_int) {
        block::vector(p as usize, size, if write == 0 { Access::Read } else { Access::Write });
    }

    emu_shared(p: *const c_void, size: usize, name: *const c_char, line: c_int) {
        // SAFETY: the header passes a string literal.
        let name = unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("?");
        block::shared(p as usize, size, name, line);
    }

    emu_dynamic(name: *const c_char) -> *const c_void {
        // SAFETY: the header passes a string literal.
        let name = unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("?");
        block::dynamic(name) as *const c_void
    }

    __ubsan_handle_add_overflow(at: *const Source, _a: usize, _b: usize) { overflow("+", at) }
    __ubsan_handle_sub_overflow(at: *const Source, _a: usize, _b: usize) { overflow("-", at) }
    __ubsan_handle_mul_overflow(at: *const Source, _a: usize, _b: usize) { overflow("*", at) }
    __ubsan_handle_negate_overflow(at: *const Source, _a: usize) { overflow("-", at) }
    __ubsan_handle_divrem_overflow(at: *const Source, _a: usize, b: usize) {
        if b == 0 { undefined("integer division by zero", at) } else { overflow("/", at) }
    }
    __ubsan_handle_shift_out_of_bounds(at: *const Source, _a: usize, _b: usize) {
        undefined("shift by more bits than the number has", at);
    }
    __ubsan_handle_out_of_bounds(at: *const Source, index: usize) {
        undefined(&format!("index {} outside of an array", index as isize), at);
    }

    __tsan_init() {}
    __tsan_func_entry(_pc: *const c_void) {}
    __tsan_func_exit() {}
    __tsan_read_range(p: *const c_void, size: usize) { block::access(p as usize, size, Access::Read) }
    __tsan_write_range(p: *const c_void, size: usize) { block::access(p as usize, size, Access::Write) }
}

macro_rules! accesses {
    ($($read:ident $write:ident $size:literal)*) => {
        words! {
            sized:
            $(
                $read(p: *const c_void) { block::access(p as usize, $size, Access::Read) }
                $write(p: *const c_void) { block::access(p as usize, $size, Access::Write) }
            )*
        }
    };
}

accesses! {
    __tsan_read1 __tsan_write1 1
    __tsan_read2 __tsan_write2 2
    __tsan_read4 __tsan_write4 4
    __tsan_read8 __tsan_write8 8
    __tsan_read16 __tsan_write16 16
    __tsan_unaligned_read2 __tsan_unaligned_write2 2
    __tsan_unaligned_read4 __tsan_unaligned_write4 4
    __tsan_unaligned_read8 __tsan_unaligned_write8 8
    __tsan_unaligned_read16 __tsan_unaligned_write16 16
}

/// Every word by name, with the address of the function, for libraries that are loaded later.
#[cfg(test)]
pub fn words() -> Vec<(&'static str, usize)> {
    [language(), sized()].concat()
}
