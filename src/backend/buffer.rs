//! Pooled, 64-byte aligned host memory.
//!
//! A search step allocates and frees thousands of tensors of few sizes. Fresh pages cost more than the arithmetic of a
//! small op, so freed memory goes to free lists by size class. Alignment to a cache line keeps vector loads unsplit.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytemuck::{Pod, Zeroable};
use half::bf16;

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

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

const CLASSES: usize = 256;
/// Memory kept for reuse beyond this many bytes goes back to the system.
const KEEP_BYTES: usize = 768 << 20;

static FREE: [Mutex<Vec<Vec<Line>>>; CLASSES] = [const { Mutex::new(Vec::new()) }; CLASSES];
static KEPT: AtomicUsize = AtomicUsize::new(0);
/// Bytes of the size classes of what is alive.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// Bytes of the tensors themselves, and the most of them.
static TENSORS: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// The most of [`LIVE`] ever.
static MOST: AtomicUsize = AtomicUsize::new(0);

/// Size class of `lines` cache lines: four classes per power of two, so at most 25 % is wasted.
fn class_of(lines: usize) -> (usize, usize) {
    if lines <= 4 {
        return (lines, lines);
    }
    let top = usize::BITS - 1 - (lines - 1).leading_zeros(); // 2^top <= lines - 1
    let step = 1usize << top.saturating_sub(2);
    let rounded = lines.div_ceil(step) * step;
    let class = 4 * top as usize + (rounded - 1 - (1usize << top)) / step;
    (class.min(CLASSES - 1), rounded)
}

/// Classes that serve a request beside its own: of up to twice its size, so that little memory lies idle.
const WIDER: usize = 4;

/// Memory kept for reuse, of the class or a little wider.
fn take(class: usize) -> Option<Vec<Line>> {
    let last = (class + WIDER).min(CLASSES - 1);
    (class..=last).find_map(|c| FREE[c].lock().unwrap_or_else(|p| p.into_inner()).pop())
}

/// Before the process grows by `bytes`: gives back what is kept beyond the most that was ever alive, narrower memory first.
fn make_room(class: usize, bytes: usize) {
    let wanted = LIVE.load(Ordering::Relaxed) + bytes;
    let most = MOST.load(Ordering::Relaxed).max(wanted);
    let mut excess = (wanted + KEPT.load(Ordering::Relaxed)).saturating_sub(most);
    for c in (0..class).rev().chain(class..CLASSES) {
        if excess == 0 {
            return;
        }
        let mut free = FREE[c].lock().unwrap_or_else(|p| p.into_inner());
        while excess > 0 {
            let Some(lines) = free.pop() else { break };
            KEPT.fetch_sub(lines.len() * 64, Ordering::Relaxed);
            excess = excess.saturating_sub(lines.len() * 64);
        }
    }
}

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

/// Typed host memory, returned to the pool when dropped.
pub struct Buffer {
    lines: Vec<Line>,
    dtype: DType,
    len: usize,
}

impl Buffer {
    /// `len` elements of unspecified value: for outputs that are written whole.
    pub fn scratch(dtype: DType, len: usize) -> Buffer {
        let need = (len * dtype.size()).div_ceil(64);
        let (class, rounded) = class_of(need);
        let lines = match take(class) {
            Some(v) => {
                KEPT.fetch_sub(v.len() * 64, Ordering::Relaxed);
                v
            }
            None => {
                make_room(class, rounded * 64);
                vec![Line::zeroed(); rounded]
            }
        };
        // What the request takes, so that figures do not depend on what was kept.
        let live = LIVE.fetch_add(rounded * 64, Ordering::Relaxed) + rounded * 64;
        MOST.fetch_max(live, Ordering::Relaxed);
        let tensors = TENSORS.fetch_add(need * 64, Ordering::Relaxed) + need * 64;
        PEAK.fetch_max(tensors, Ordering::Relaxed);
        debug_assert!(lines.len() >= need);
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
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    /// The elements, to be written; asserts the dtype.
    pub fn values_mut<T: Element>(&mut self) -> &mut [T] {
        assert_eq!(T::DTYPE, self.dtype, "buffer of another dtype");
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len * self.dtype.size()]
    }

    /// The raw bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let n = self.len * self.dtype.size();
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..n]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let need = (self.len * self.dtype.size()).div_ceil(64);
        LIVE.fetch_sub(class_of(need).1 * 64, Ordering::Relaxed);
        TENSORS.fetch_sub(need * 64, Ordering::Relaxed);
        let bytes = self.lines.len() * 64;
        if bytes == 0 || KEPT.load(Ordering::Relaxed) + bytes > KEEP_BYTES {
            return;
        }
        KEPT.fetch_add(bytes, Ordering::Relaxed);
        let (class, rounded) = class_of(self.lines.len());
        debug_assert_eq!(rounded, self.lines.len());
        let lines = std::mem::take(&mut self.lines);
        FREE[class]
            .lock()
            .unwrap_or_else(|p| p.into_inner())
            .push(lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_exact_and_monotone() {
        let mut last = 0;
        for n in 1..5000 {
            let (c, r) = class_of(n);
            assert!(r >= n && r <= n + n.div_ceil(4) + 1, "{n} {r}");
            assert!(c >= last);
            assert_eq!(class_of(r), (c, r), "{n}");
            last = c;
        }
    }

    #[test]
    fn buffers_are_aligned_and_typed() {
        let b = Buffer::from_slice(&[1.0f32, 2.0, 3.0]);
        assert_eq!(b.values::<f32>().as_ptr() as usize % 64, 0);
        assert_eq!(b.bytes().len(), 12);
        assert!(Buffer::zeros(DType::F64, 0).is_empty());
    }
}
