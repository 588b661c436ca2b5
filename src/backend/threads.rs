//! Work on several threads with results that do not depend on their number.
//!
//! Outputs are cut into pieces that one thread writes whole; sums over a batch go through a fixed number of logical
//! shards and a fixed tree ([`shards`], [`tree_fold`]), whoever computes them.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

/// Logical shards of a batch: gradients and statistics are summed within a shard in order, then over shards by a fixed tree.
pub const LOGICAL_SHARDS: usize = 8;

/// Below this many elementary operations a second thread costs more than it saves.
const MIN_WORK: usize = 1 << 17;

thread_local! {
    static LEAST: Cell<usize> = const { Cell::new(MIN_WORK) };
}

/// Runs `f` with every piece of work shared among the threads, however small: for tests of the independence of results
/// from their number.
pub fn always_parallel<R>(f: impl FnOnce() -> R) -> R {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            LEAST.set(MIN_WORK);
        }
    }
    LEAST.set(0);
    let _reset = Reset;
    f()
}

/// Threads that share the work.
pub fn count() -> usize {
    rayon::current_num_threads()
}

/// Operations that could start now, of all graphs.
static READY: AtomicUsize = AtomicUsize::new(0);

/// Says that so many operations wait for a thread: work is then not worth cutting.
pub fn add_ready(n: usize) {
    READY.fetch_add(n, Ordering::Relaxed);
}

/// Takes back what [`add_ready`] said.
pub fn take_ready(n: usize) {
    READY.fetch_sub(n, Ordering::Relaxed);
}

fn serial(work: usize) -> bool {
    let least = LEAST.get();
    work < least || count() == 1 || (least > 0 && READY.load(Ordering::Relaxed) > 0)
}

/// The images 0..n cut into at most [`LOGICAL_SHARDS`] runs, sizes differing by at most one.
pub fn shards(n: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let s = LOGICAL_SHARDS.min(n.max(1));
    (0..s).map(move |i| n * i / s..n * (i + 1) / s)
}

/// Sums `parts` pairwise by neighbour distance 1, 2, 4, ...: the shape of the tree depends on the number of parts only.
pub fn tree_fold<T>(mut parts: Vec<T>, mut merge: impl FnMut(T, T) -> T) -> Option<T> {
    while parts.len() > 1 {
        let mut next = Vec::with_capacity(parts.len().div_ceil(2));
        let mut it = parts.into_iter();
        while let Some(a) = it.next() {
            next.push(match it.next() {
                Some(b) => merge(a, b),
                None => a,
            });
        }
        parts = next;
    }
    parts.pop()
}

/// Calls `f(index, piece)` for consecutive pieces of `out`, in parallel if `work` (elementary operations in all) is worth it.
pub fn for_pieces<T: Send>(
    out: &mut [T],
    piece: usize,
    work: usize,
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    if piece == 0 || out.is_empty() {
        return;
    }
    if serial(work) {
        for (i, p) in out.chunks_mut(piece).enumerate() {
            f(i, p);
        }
    } else {
        out.par_chunks_mut(piece)
            .enumerate()
            .for_each(|(i, p)| f(i, p));
    }
}

/// The same over two outputs cut in step.
pub fn for_pieces2<T: Send, U: Send>(
    a: &mut [T],
    piece_a: usize,
    b: &mut [U],
    piece_b: usize,
    work: usize,
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync + Send,
) {
    if piece_a == 0 || piece_b == 0 {
        return;
    }
    if serial(work) {
        for (i, (p, q)) in a.chunks_mut(piece_a).zip(b.chunks_mut(piece_b)).enumerate() {
            f(i, p, q);
        }
    } else {
        a.par_chunks_mut(piece_a)
            .zip(b.par_chunks_mut(piece_b))
            .enumerate()
            .for_each(|(i, (p, q))| f(i, p, q));
    }
}

/// `f(i)` for i in 0..n, results in order, in parallel if `work` is worth it.
pub fn map<R: Send>(n: usize, work: usize, f: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    if n < 2 || serial(work) {
        (0..n).map(f).collect()
    } else {
        (0..n).into_par_iter().map(f).collect()
    }
}

/// `f` on each task, results in order, in parallel if `work` is worth it. A task owns the pieces of output it writes.
pub fn map_tasks<T: Send, R: Send>(
    tasks: Vec<T>,
    work: usize,
    f: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    if tasks.len() < 2 || serial(work) {
        tasks.into_iter().map(f).collect()
    } else {
        tasks.into_par_iter().map(f).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_without_overlap() {
        for n in 0..40 {
            let all: Vec<usize> = shards(n).flatten().collect();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
            assert!(shards(n).count() <= LOGICAL_SHARDS);
        }
    }

    #[test]
    fn tree_shape_is_fixed() {
        let s = tree_fold((0..5).map(|i| i.to_string()).collect(), |a, b| {
            format!("({a}{b})")
        });
        assert_eq!(s.unwrap(), "(((01)(23))4)");
    }
}
