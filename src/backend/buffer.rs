//! Typed host memory, 64-byte aligned: alignment to a cache line keeps vector loads unsplit. Where it comes from: `arena.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytemuck::Pod;
use half::bf16;

use super::arena::{LINE, Lines};

/// Element type of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// bfloat16 storage: arithmetic in f32, rounded to nearest even on store.
    Bf16,
    /// Indices and class ids.
    I32,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::F64 => 8,
            DType::Bf16 => 2,
        }
    }

    /// `f32`, `f64`, `bf16`, `i32`.
    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Bf16 => "bf16",
            DType::I32 => "i32",
        }
    }

    /// True for every dtype but `I32`.
    pub fn is_float(self) -> bool {
        self != DType::I32
    }
}

/// A Rust type that a buffer can hold.
pub trait Element: Pod + Send + Sync + PartialEq + std::fmt::Debug {
    /// Its dtype.
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for f64 {
    const DTYPE: DType = DType::F64;
}
impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
}
impl Element for i32 {
    const DTYPE: DType = DType::I32;
}

/// Bytes of tensors alive, and the most of them.
static TENSORS: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Bytes of tensors alive now, in whole cache lines.
pub fn live_bytes() -> usize {
    TENSORS.load(Ordering::Relaxed)
}

/// The largest [`live_bytes`] so far.
pub fn peak_bytes() -> usize {
    PEAK.load(Ordering::Relaxed)
}

/// Counts [`peak_bytes`] from what is alive now.
pub fn reset_peak() {
    PEAK.store(live_bytes(), Ordering::Relaxed);
}

/// Typed host memory, returned to the arena when dropped.
pub struct Buffer {
    lines: Lines,
    dtype: DType,
    len: usize,
}

impl Buffer {
    /// `len` elements of unspecified value: for outputs that are written whole.
    pub fn scratch(dtype: DType, len: usize) -> Buffer {
        let lines = Lines::take((len * dtype.size()).div_ceil(LINE));
        let tensors = TENSORS.fetch_add(lines.bytes(), Ordering::Relaxed) + lines.bytes();
        PEAK.fetch_max(tensors, Ordering::Relaxed);
        Buffer { lines, dtype, len }
    }

    /// `len` zeros.
    pub fn zeros(dtype: DType, len: usize) -> Buffer {
        let mut b = Buffer::scratch(dtype, len);
        b.bytes_mut().fill(0);
        b
    }

    /// A copy of `data`.
    pub fn from_slice<T: Element>(data: &[T]) -> Buffer {
        let mut b = Buffer::scratch(T::DTYPE, data.len());
        b.values_mut::<T>().copy_from_slice(data);
        b
    }

    /// The dtype.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements; asserts the dtype.
    pub fn values<T: Element>(&self) -> &[T] {
        assert_eq!(T::DTYPE, self.dtype, "buffer of another dtype");
        &bytemuck::cast_slice(self.lines.values())[..self.len]
    }

    /// The elements, to be written; asserts the dtype.
    pub fn values_mut<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(T::DTYPE, self.dtype, "buffer of another dtype");
        &mut bytemuck::cast_slice_mut(self.lines.values_mut())[..self.len]
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(self.lines.values())[..self.len * self.dtype.size()]
    }

    /// The raw bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let n = self.len * self.dtype.size();
        &mut bytemuck::cast_slice_mut(self.lines.values_mut())[..n]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        TENSORS.fetch_sub(self.lines.bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_typed() {
        let b = Buffer::from_slice(&[1.0f32, 2.0, 3.0]);
        assert_eq!(b.values::<f32>().as_ptr() as usize % 64, 0);
        assert_eq!(b.bytes().len(), 12);
        assert!(Buffer::zeros(DType::F64, 0).is_empty());
    }
}
