//! Where host tensors lie: a few mapped segments, in huge pages where the system has them, that are never given back.
//!
//! A search step allocates and frees thousands of tensors, the same ones every time. Fresh pages cost more than the arithmetic of a small
//! operation, so freed memory is taken again: the first stretch that is long enough, in the order in which segments were mapped; neighbours
//! that are free are one. The lowest memory is used first, so what was ever touched is little more than the most that was alive.
//! Small tensors come from lists of their own, of one length each: they would cut the stretches up.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

/// Bytes of a cache line.
pub const LINE: usize = 64;

/// A cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Line([u8; LINE]);

/// Lines up to which tensors are small.
const SMALL: usize = 128;
/// Small tensors kept of each length.
const KEPT: usize = 256;
/// Lines of a huge page.
const PAGE: usize = (2 << 20) / LINE;
/// Lines of a segment at least.
const LEAST: usize = 32 * PAGE;

static FREE: [Mutex<Vec<Box<[Line]>>>; SMALL + 1] = [const { Mutex::new(Vec::new()) }; SMALL + 1];
static ARENA: Mutex<Arena> = Mutex::new(Arena::new());

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|p| p.into_inner())
}

/// Stretches of lines that are free, by place. Places count lines from the first segment on; between segments one is left out, so that no
/// stretch reaches over an end.
struct Places {
    free: BTreeMap<usize, usize>,
    end: usize,
}

impl Places {
    const fn new() -> Places {
        Places {
            free: BTreeMap::new(),
            end: 0,
        }
    }

    /// The first stretch of `n` lines.
    fn take(&mut self, n: usize) -> Option<usize> {
        let (&at, &len) = self.free.iter().find(|(_, len)| **len >= n)?;
        self.free.remove(&at);
        if len > n {
            self.free.insert(at + n, len - n);
        }
        Some(at)
    }

    /// Joins what is given back with its neighbours.
    fn give(&mut self, mut at: usize, mut n: usize) {
        if let Some(after) = self.free.remove(&(at + n)) {
            n += after;
        }
        if let Some((&before, &len)) = self.free.range(..at).next_back()
            && before + len == at
        {
            (at, n) = (before, len + n);
        }
        self.free.insert(at, n);
    }

    /// Adds a segment of `n` lines; its first place.
    fn grow(&mut self, n: usize) -> usize {
        let at = self.end;
        self.end = at + n + 1;
        self.free.insert(at, n);
        at
    }
}

/// A segment: place and address of its first line.
struct Segment {
    at: usize,
    first: usize,
}

struct Arena {
    places: Places,
    segments: Vec<Segment>,
}

impl Arena {
    const fn new() -> Arena {
        Arena {
            places: Places::new(),
            segments: Vec::new(),
        }
    }

    /// `n` lines: their place, and the address of the first.
    fn take(&mut self, n: usize) -> (usize, usize) {
        loop {
            if let Some(at) = self.places.take(n) {
                let of = self.segments.partition_point(|s| s.at <= at) - 1;
                let segment = &self.segments[of];
                return (at, segment.first + (at - segment.at) * LINE);
            }
            // Half as much again as there is, so that segments stay few.
            let more = n.max(self.places.end / 2).max(LEAST).next_multiple_of(PAGE);
            let first = mapped(more).or_else(|| mapped(n));
            let Some((first, lines)) = first else {
                let layout = std::alloc::Layout::array::<Line>(n).expect("a length in lines");
                std::alloc::handle_alloc_error(layout);
            };
            let at = self.places.grow(lines);
            self.segments.push(Segment { at, first });
        }
    }
}

/// Maps `n` lines that begin on a huge page; their address and number. `None` where there is no more memory.
fn mapped(n: usize) -> Option<(usize, usize)> {
    let map = MmapMut::map_anon((n + PAGE) * LINE).ok()?;
    // A hint: without it pages are small.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    let first = map.as_ptr().expose_provenance();
    // Never unmapped: lines of it may be anywhere.
    std::mem::forget(map);
    Some((first.next_multiple_of(PAGE * LINE), n))
}

/// Lines of unspecified value, of one owner.
pub struct Lines(Kind);

enum Kind {
    Small(Box<[Line]>),
    /// Place, address and number.
    Mapped(usize, usize, usize),
}

impl Lines {
    /// `n` lines.
    pub fn take(n: usize) -> Lines {
        Lines(match n {
            0..=SMALL => {
                let kept = lock(&FREE[n]).pop();
                Kind::Small(kept.unwrap_or_else(|| vec![Line::zeroed(); n].into()))
            }
            _ => {
                let (at, first) = lock(&ARENA).take(n);
                Kind::Mapped(at, first, n)
            }
        })
    }

    /// Their size.
    pub fn bytes(&self) -> usize {
        LINE * match &self.0 {
            Kind::Small(lines) => lines.len(),
            Kind::Mapped(_, _, n) => *n,
        }
    }

    /// What they hold.
    #[allow(unsafe_code)]
    pub fn values(&self) -> &[Line] {
        match &self.0 {
            Kind::Small(lines) => lines,
            // SAFETY: the lines are mapped, initialised by the system, aligned, never unmapped, and this value's alone until it is dropped.
            Kind::Mapped(_, first, n) => unsafe {
                std::slice::from_raw_parts(std::ptr::with_exposed_provenance(*first), *n)
            },
        }
    }

    /// What they hold, to be written.
    #[allow(unsafe_code)]
    pub fn values_mut(&mut self) -> &mut [Line] {
        match &mut self.0 {
            Kind::Small(lines) => lines,
            // SAFETY: as above, and this borrow is unique.
            Kind::Mapped(_, first, n) => unsafe {
                std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut(*first), *n)
            },
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        match &mut self.0 {
            Kind::Small(lines) => {
                let mut kept = lock(&FREE[lines.len()]);
                if kept.len() < KEPT {
                    kept.push(std::mem::take(lines));
                }
            }
            Kind::Mapped(at, _, n) => lock(&ARENA).places.give(*at, *n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn stretches_never_overlap_and_all_come_back() {
        let (mut p, mut r) = (Places::new(), Rng::new(3, &[]));
        let sizes = [1000, 700];
        let first: Vec<usize> = sizes.iter().map(|&n| p.grow(n)).collect();
        let mut held: Vec<(usize, usize)> = vec![];
        for _ in 0..5000 {
            if r.coin(0.5) && !held.is_empty() {
                let (at, n) = held.swap_remove(r.below(held.len()));
                p.give(at, n);
            } else {
                let n = 1 + r.below(120);
                let Some(at) = p.take(n) else { continue };
                let inside = |(&f, &s): (&usize, &usize)| f <= at && at + n <= f + s;
                assert!(first.iter().zip(&sizes).any(inside), "{at} {n}");
                assert!(held.iter().all(|&(o, m)| at + n <= o || o + m <= at));
                held.push((at, n));
            }
        }
        held.into_iter().for_each(|(at, n)| p.give(at, n));
        let whole: Vec<(usize, usize)> = first.into_iter().zip(sizes).collect();
        assert_eq!(p.free.into_iter().collect::<Vec<_>>(), whole);
    }

    #[test]
    fn the_lowest_stretch_is_taken_first() {
        let mut p = Places::new();
        p.grow(10);
        let [a, b, c] = [3, 4, 3].map(|n| p.take(n).unwrap());
        assert_eq!([a, b, c], [0, 3, 7]);
        p.give(c, 3);
        p.give(a, 3);
        assert_eq!(p.take(2), Some(0));
        assert_eq!(p.take(2), Some(7));
        assert_eq!(p.take(2), None, "one is left in each place");
    }

    #[test]
    fn lines_are_aligned_and_apart() {
        let mut all: Vec<Lines> = [0, 1, SMALL, SMALL + 1, 5 * PAGE, LEAST + 1]
            .map(Lines::take)
            .into();
        for (i, lines) in all.iter_mut().enumerate() {
            assert_eq!(lines.values().as_ptr() as usize % LINE, 0);
            lines.values_mut().fill(Line([i as u8; LINE]));
        }
        for (i, lines) in all.iter().enumerate() {
            assert!(lines.values().iter().all(|l| l.0 == [i as u8; LINE]));
        }
    }
}
