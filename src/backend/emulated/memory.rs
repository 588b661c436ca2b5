//! The emulated device's memory: host memory with zones around it that no kernel may touch, and a [`Cell`] for each byte.

use std::collections::BTreeMap;

use super::shadow::{Access, Cell, Conflict, Instant};
use crate::backend::driver::{Arg, DevicePtr, Scalar};
use crate::error::Result as Checked;

/// Bytes before and after every buffer.
const ZONE: usize = 256;
/// What fresh memory holds: NaN in every float format.
const POISON: u8 = 0xff;

/// A run of bytes that kernels may access.
pub struct Region {
    /// What it is, for messages.
    pub name: String,
    base: usize,
    len: usize,
    cells: Vec<Cell>,
    /// Holds the bytes of a buffer with its zones; shared arrays lie in the compiled kernels.
    storage: Vec<u128>,
}

impl Region {
    /// A fresh buffer.
    pub fn buffer(name: String, len: usize) -> Region {
        let poison = u128::from_ne_bytes([POISON; 16]);
        let storage = vec![poison; (len + 2 * ZONE + 256).div_ceil(16)];
        let base = (storage.as_ptr() as usize + ZONE).next_multiple_of(256);
        Region {
            name,
            base,
            len,
            cells: vec![Cell::default(); len],
            storage,
        }
    }

    /// A shared array at `base`.
    pub fn shared(name: String, base: usize, len: usize) -> Region {
        Region {
            name,
            base,
            len,
            cells: vec![Cell::default(); len],
            storage: vec![],
        }
    }

    /// The bytes, for the host.
    pub fn bytes(&self) -> &[u8] {
        let from = self.base - self.storage.as_ptr() as usize;
        &bytemuck::cast_slice(&self.storage)[from..from + self.len]
    }

    /// The bytes, for the host.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let from = self.base - self.storage.as_ptr() as usize;
        &mut bytemuck::cast_slice_mut(&mut self.storage)[from..from + self.len]
    }

    /// Starts anew with `len` bytes, as fresh memory; the rest of the allocation becomes part of the zone after it.
    pub fn renew(&mut self, len: usize) {
        let from = self.base - self.storage.as_ptr() as usize;
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.storage);
        let room = bytes.len() - from - ZONE;
        assert!(len <= room, "{}: {len} of {room} bytes", self.name);
        bytes[from..].fill(POISON);
        self.len = len;
        self.cells.clear();
        self.cells.resize(len, Cell::default());
    }

    /// Copies what is known of bytes of another region: whether they were written.
    pub fn inherit(&mut self, to: usize, known: &[bool]) {
        for (c, &written) in self.cells[to..].iter_mut().zip(known) {
            *c = if written {
                Cell::UPLOADED
            } else {
                Cell::default()
            };
        }
    }

    /// Which of `len` bytes from `from` somebody wrote.
    pub fn known(&self, from: usize, len: usize) -> Vec<bool> {
        let all = self.cells[from..from + len].iter();
        all.map(|c| c.is_written()).collect()
    }

    /// Marks bytes as written by the host.
    pub fn uploaded(&mut self, from: usize, len: usize) {
        self.cells[from..from + len].fill(Cell::UPLOADED);
    }

    /// Forgets the accesses of a launch.
    pub fn settle(&mut self) {
        self.cells.iter_mut().for_each(Cell::settle);
    }
}

/// A fault of one access.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Not inside a region: the text says near which one.
    Outside(String),
    /// Not a multiple of the access's size.
    Unaligned,
    /// A rule of [`Cell`], and which region.
    Rule(Conflict, String),
}

/// All regions by first address.
#[derive(Default)]
pub struct Memory {
    regions: BTreeMap<usize, Region>,
    /// Bytes that kernels read and wrote since the last reset.
    pub read: u64,
    /// As above.
    pub written: u64,
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

    /// Every region.
    pub fn regions(&mut self) -> impl Iterator<Item = &mut Region> {
        self.regions.values_mut()
    }

    /// Checks and notes an access of `len` bytes.
    ///
    /// # Errors
    /// The fault; the access must then not happen.
    pub fn access(
        &mut self,
        at: usize,
        len: usize,
        how: Access,
        when: Instant,
    ) -> Result<(), Fault> {
        let inside = self.regions.range(..=at).next_back();
        if inside.is_none_or(|(_, r)| at - r.base + len > r.len) {
            return Err(Fault::Outside(self.near(at)));
        }
        let (region, from) = self.find(at, len).expect("inside a region");
        if len.is_power_of_two() && !at.is_multiple_of(len) {
            return Err(Fault::Unaligned);
        }
        for c in &mut region.cells[from..from + len] {
            if let Err(e) = c.access(how, when) {
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

/// Contents of a buffer at one time.
pub struct Saved {
    base: usize,
    name: String,
    bytes: Vec<u8>,
    cells: Vec<Cell>,
}

impl Memory {
    /// The words of the buffer at `at` that are addresses within a buffer.
    fn addresses(&mut self, at: usize) -> Vec<usize> {
        let words = self.find(at, 0).map_or(vec![], |(r, _)| {
            let words = r.bytes().chunks_exact(size_of::<usize>());
            let word = |w: &[u8]| usize::from_ne_bytes(w.try_into().expect("eight bytes"));
            words.map(word).collect::<Vec<usize>>()
        });
        words
            .into_iter()
            .filter(|&w| self.find(w, 1).is_some())
            .collect()
    }

    /// The buffers that a launch may write: its outputs, and what a table of addresses names.
    pub fn save(&mut self, args: &[Arg]) -> Vec<Saved> {
        let mut all: Vec<Saved> = vec![];
        let mut reached = vec![];
        for a in args {
            match a {
                Arg::Out(p, _) => reached.push(p.0),
                Arg::In(p, Scalar::I64) => reached.extend(self.addresses(p.0)),
                _ => {}
            }
        }
        for at in reached {
            let Some((r, _)) = self.find(at, 0) else {
                continue;
            };
            if all.iter().all(|s| s.base != r.base) {
                all.push(Saved {
                    base: r.base,
                    name: r.name.clone(),
                    bytes: r.bytes().to_vec(),
                    cells: r.cells.clone(),
                });
            }
        }
        all
    }

    /// Puts them back.
    pub fn restore(&mut self, saved: &[Saved]) {
        for s in saved {
            if let Some(r) = self.regions.get_mut(&s.base) {
                r.bytes_mut().copy_from_slice(&s.bytes);
                r.cells.clone_from(&s.cells);
            }
        }
    }
}

/// Name of the first buffer that differs.
pub fn differs(a: &[Saved], b: &[Saved]) -> Option<String> {
    let pairs = a.iter().zip(b);
    pairs
        .filter(|(a, b)| a.bytes != b.bytes)
        .map(|(a, _)| a.name.clone())
        .next()
}
