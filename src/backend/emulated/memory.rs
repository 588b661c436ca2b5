//! The emulated device's memory: its regions by address, the check of every access, and what a launch has changed.

use std::collections::BTreeMap;

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

/// All regions by first address.
#[derive(Default)]
pub struct Memory {
    regions: BTreeMap<usize, Region>,
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
        self.regions.insert(at, region);
        at
    }

    /// Takes a region out.
    pub fn remove(&mut self, base: usize) -> Option<Region> {
        self.regions.remove(&base)
    }

    /// The region that holds `len` bytes from `at`, and where in it.
    pub fn find(&mut self, at: usize, len: usize) -> Option<(&mut Region, usize)> {
        let (_, r) = self.regions.range_mut(..=at).next_back()?;
        let from = at - r.base;
        (from + len <= r.len).then_some((r, from))
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
        self.regions.values().map(|r| r.len as u64).sum()
    }

    /// Checks and notes an access of `len` bytes.
    ///
    /// # Errors
    /// The fault; the access must then not happen.
    pub fn access(&mut self, at: usize, len: usize, how: Access, now: Now) -> Result<(), Fault> {
        let inside = self.regions.range_mut(..=at).next_back();
        let inside = inside.filter(|(_, r)| at - r.base + len <= r.len);
        let Some((_, region)) = inside else {
            return Err(Fault::Outside(self.near(at)));
        };
        let kept = &mut self.before;
        let from = at - region.base;
        region.touched = true;
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
                    kept.push(region.keep());
                }
                Role::Kept | Role::Shared => {}
            }
        }
        for c in &mut region.cells[from..from + len] {
            if let Err(e) = c.access(how, now) {
                return Err(Fault::Rule(e, format!("byte {from} of {}", region.name)));
            }
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
        let before = self.regions.range(..=at).next_back().map(|(_, r)| {
            let past = at - r.base;
            (past, format!("at byte {past} of"), r)
        });
        let after = self.regions.range(at + 1..).next().map(|(_, r)| {
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
    /// A launch with these arguments begins.
    pub fn begin(&mut self, args: &[Arg]) {
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
            }
        }
    }

    /// The launch has ended.
    pub fn end(&mut self) {
        self.before.clear();
        for r in self.regions.values_mut() {
            r.role = Role::Untouched;
            r.settle();
        }
    }

    /// What the launch has written, as it is now.
    pub fn written(&self) -> Vec<Saved> {
        let now = |s: &Saved| self.regions.get(&s.base).map(Region::keep);
        self.before.iter().filter_map(now).collect()
    }

    /// Puts back what was before the launch, for its next order.
    pub fn restore(&mut self) {
        for s in &self.before {
            if let Some(r) = self.regions.get_mut(&s.base) {
                r.bytes_mut().copy_from_slice(&s.bytes);
                r.cells.clone_from(&s.cells);
            }
        }
        self.regions.values_mut().for_each(Region::settle);
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
