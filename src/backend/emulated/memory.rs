//! The emulated device's memory: its regions by address, the check of every access, and what a launch has changed.

use super::region::{Region, Role, Saved};
use super::shadow::{Access, Conflict, Now};
use crate::backend::driver::{Arg, DevicePtr};
use crate::error::Result as Checked;

/// A fault of one access.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Not inside a region: the text says near which one.
    Outside(String),
    /// Not a multiple of the access's size.
    Unaligned,
    /// A rule of [`Cell`], and which region.
    Rule(Conflict, String),
    /// A write to a region that the launch was given as a pointer to const.
    Constant(String),
}

/// All regions.
#[derive(Default)]
pub struct Memory {
    /// In the order of their addresses, which `bases` repeats for the search.
    regions: Vec<Region>,
    bases: Vec<usize>,
    /// Memory that lives lie in, which are regions.
    arenas: Vec<Region>,
    /// Where the last access was: the next one is often there too.
    last: usize,
    /// Addresses of the regions that the launch was given or has accessed.
    dirty: Vec<usize>,
    /// Whether regions are kept as they were before their first write.
    keeps: bool,
    /// Bytes that kernels read and wrote since the last reset.
    pub read: u64,
    /// As above.
    pub written: u64,
    /// The regions that the launch has written, as they were before.
    before: Vec<Saved>,
}

impl Memory {
    /// Adds a region; returns its address.
    pub fn insert(&mut self, region: Region) -> usize {
        let at = region.base;
        let i = self.bases.partition_point(|&b| b < at);
        self.bases.insert(i, at);
        self.regions.insert(i, region);
        at
    }

    /// Adds an arena; returns its address.
    pub fn insert_arena(&mut self, arena: Region) -> usize {
        let at = arena.base;
        self.arenas.push(arena);
        at
    }

    /// Takes a region or an arena out; false when there is none.
    pub fn remove(&mut self, base: usize) -> bool {
        if let Some(i) = self.arenas.iter().position(|a| a.base == base) {
            let len = self.arenas[i].len;
            self.end_lives(base, len);
            self.arenas.remove(i);
            return true;
        }
        let Ok(i) = self.bases.binary_search(&base) else {
            return false;
        };
        self.bases.remove(i);
        self.regions.remove(i);
        true
    }

    /// Takes out the regions that overlap `len` bytes from `at`.
    fn end_lives(&mut self, at: usize, len: usize) {
        let next = self.bases.partition_point(|&b| b < at);
        let before = next.checked_sub(1);
        let reaches = |i: &usize| self.bases[*i] + self.regions[*i].len > at;
        let from = before.filter(reaches).unwrap_or(next);
        let to = self.bases.partition_point(|&b| b < at + len);
        self.bases.drain(from..to);
        self.regions.drain(from..to);
    }

    /// A life of `bytes` bytes begins at `at`: of a buffer, or in an arena. Panics where there is neither.
    pub fn renew(&mut self, at: usize, bytes: usize) {
        let holds = |a: &&mut Region| at >= a.base && at + bytes <= a.base + a.len;
        let Some(arena) = self.arenas.iter_mut().find(holds) else {
            let found = self.find(at, 0);
            let (region, _) = found.expect("a life begins in an allocation");
            return region.renew(bytes);
        };
        let life = arena.life(at, bytes);
        self.end_lives(at, bytes);
        self.insert(life);
    }

    /// Index of the region that holds `len` bytes from `at`.
    fn index(&self, at: usize, len: usize) -> Option<usize> {
        let holds = |i: usize| {
            let r: &Region = self.regions.get(i)?;
            (at >= r.base && at + len <= r.base + r.len).then_some(i)
        };
        holds(self.last).or_else(|| holds(self.bases.partition_point(|&b| b <= at).checked_sub(1)?))
    }

    /// The region that holds `len` bytes from `at`, and where in it.
    pub fn find(&mut self, at: usize, len: usize) -> Option<(&mut Region, usize)> {
        let i = self.index(at, len)?;
        let r = &mut self.regions[i];
        let from = at - r.base;
        Some((r, from))
    }

    /// [`Memory::find`].
    ///
    /// # Errors
    /// `Internal` outside of the allocations.
    pub fn region(&mut self, at: DevicePtr, len: usize) -> Checked<(&mut Region, usize)> {
        let outside = || super::outside(at, len);
        self.find(at.0, len).ok_or_else(outside)
    }

    /// Bytes of all regions.
    pub fn bytes(&self) -> u64 {
        let own = self.regions.iter().filter(|r| !r.is_life());
        own.chain(&self.arenas).map(|r| r.len as u64).sum()
    }

    /// Checks and notes an access of `len` bytes.
    ///
    /// # Errors
    /// The fault; the access must then not happen.
    pub fn access(&mut self, at: usize, len: usize, how: Access, now: Now) -> Result<(), Fault> {
        let Some(i) = self.index(at, len) else {
            return Err(Fault::Outside(self.near(at)));
        };
        self.last = i;
        let region = &mut self.regions[i];
        let from = at - region.base;
        if !std::mem::replace(&mut region.touched, true) {
            self.dirty.push(region.base);
        }
        if len.is_power_of_two() && !at.is_multiple_of(len) {
            return Err(Fault::Unaligned);
        }
        if how != Access::Read {
            match region.role {
                Role::Constant => {
                    return Err(Fault::Constant(format!("byte {from} of {}", region.name)));
                }
                Role::Untouched => {
                    region.role = Role::Kept;
                    if self.keeps {
                        self.before.push(region.keep());
                    }
                }
                Role::Kept | Role::Shared => {}
            }
        }
        if let Err(e) = region.access(from, len, how, now) {
            return Err(Fault::Rule(e, format!("byte {from} of {}", region.name)));
        }
        if how != Access::Write {
            self.read += len as u64;
        }
        if how != Access::Read {
            self.written += len as u64;
        }
        Ok(())
    }

    /// Where `at` lies, for messages.
    fn near(&self, at: usize) -> String {
        let next = self.bases.partition_point(|&b| b <= at);
        let before = next.checked_sub(1).map(|i| {
            let past = at - self.bases[i];
            (past, format!("at byte {past} of"), &self.regions[i])
        });
        let after = self.regions.get(next).map(|r| {
            let ahead = r.base - at;
            (ahead, format!("{ahead} bytes before"), r)
        });
        let nearest = before.into_iter().chain(after).min_by_key(|n| n.0);
        nearest.map_or("no memory is near".into(), |(_, text, r)| {
            format!("{text} {} ({} bytes)", r.name, r.len)
        })
    }
}

impl Memory {
    /// A launch with these arguments begins; `keeps`: it runs in several orders.
    pub fn begin(&mut self, args: &[Arg], keeps: bool) {
        self.keeps = keeps;
        let read = args.iter().filter_map(|a| match a {
            Arg::In(p, _) => Some((p, Role::Constant)),
            _ => None,
        });
        // Later, so that a region given both ways may be written.
        let written = args.iter().filter_map(|a| match a {
            Arg::Out(p, _) => Some((p, Role::Untouched)),
            _ => None,
        });
        for (p, role) in read.chain(written) {
            if let Some((r, _)) = self.find(p.0, 0) {
                r.role = role;
                let base = r.base;
                self.dirty.push(base);
            }
        }
    }

    /// The launch has ended.
    pub fn end(&mut self) {
        self.before.clear();
        for base in std::mem::take(&mut self.dirty) {
            if let Some((r, _)) = self.find(base, 0) {
                r.role = Role::Untouched;
                r.settle();
            }
        }
    }

    /// Bytes of memory that the launch has read and written, each counted once.
    pub fn accessed(&self) -> (u64, u64) {
        let mut bases = self.dirty.clone();
        bases.sort_unstable();
        bases.dedup();
        let regions = bases.iter().filter_map(|&b| self.index(b, 0));
        regions.fold((0, 0), |sum, i| {
            let (read, written) = self.regions[i].accessed();
            (sum.0 + read, sum.1 + written)
        })
    }

    /// What the launch has written, as it is now.
    pub fn written(&self) -> Vec<Saved> {
        let now = |s: &Saved| {
            let i = self.index(s.base, 0)?;
            Some(self.regions[i].keep())
        };
        self.before.iter().filter_map(now).collect()
    }

    /// Puts back what was before the launch, for its next order.
    pub fn restore(&mut self) {
        let before = std::mem::take(&mut self.before);
        for s in &before {
            if let Some((r, _)) = self.find(s.base, 0) {
                r.restore(s);
            }
        }
        self.before = before;
        for i in 0..self.dirty.len() {
            let base = self.dirty[i];
            if let Some((r, _)) = self.find(base, 0) {
                r.settle();
            }
        }
    }
}

/// Name of the first buffer that differs, or that only one order of threads wrote.
pub fn differs(a: &[Saved], b: &[Saved]) -> Option<String> {
    let lacks = |x: &Saved, all: &[Saved]| {
        let same = |y: &&Saved| y.base == x.base;
        all.iter().find(same).is_none_or(|y| y.bytes != x.bytes)
    };
    let first = a.iter().find(|x| lacks(x, b));
    first
        .or_else(|| b.iter().find(|x| lacks(x, a)))
        .map(|s| s.name.clone())
}
