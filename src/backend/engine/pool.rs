//! Device memory by size class: a step asks for the same sizes again and again, and asking the driver costs more than a kernel.

use std::collections::{BTreeMap, HashMap};

use super::LABEL;
use super::graph::Block;
use super::watch::Watch;
use crate::backend::driver::{DevicePtr, Driver};
use crate::error::{Code, Error, Result};

/// Smallest allocation.
const LEAST: usize = 512;

/// Memory of one device, in use and kept for reuse.
#[derive(Default)]
pub struct Pool {
    free: BTreeMap<usize, Vec<DevicePtr>>,
    used: HashMap<DevicePtr, (usize, &'static str)>,
    live: u64,
    peak: u64,
    /// What is noted or planned of what is taken.
    pub watch: Watch,
}

/// Bytes of the size class: four classes for each power of two, so that at most a fifth is wasted.
fn class(bytes: usize) -> usize {
    let bytes = bytes.max(LEAST);
    let step = (bytes.next_power_of_two() / 8).max(LEAST / 4);
    bytes.next_multiple_of(step)
}

/// For people.
fn readable(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{:.2} GiB", b as f64 / (1u64 << 30) as f64),
        b if b >= 1 << 20 => format!("{:.1} MiB", b as f64 / (1u64 << 20) as f64),
        b => format!("{:.1} KiB", b as f64 / 1024.0),
    }
}

impl Pool {
    /// Bytes in use.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// The most bytes in use at one time.
    pub fn peak(&self) -> u64 {
        self.peak
    }

    /// Counts [`Pool::peak`] from what is in use now.
    pub fn reset_peak(&mut self) {
        self.peak = self.live;
    }

    /// Memory for `bytes` bytes.
    ///
    /// # Errors
    /// `OutOfMemory` with the largest holders, when the device has none left after everything kept was given back.
    pub fn take(&mut self, driver: &dyn Driver, bytes: usize) -> Result<Block> {
        if let Watch::Recording(planned) = &mut self.watch {
            return planned.take(driver, bytes);
        }
        let at = self.take_lasting(driver, bytes)?;
        if let Watch::Rehearsing(noted) = &mut self.watch {
            noted.taken(at, bytes);
        }
        Ok(Block { at, arena: None })
    }

    /// As [`Pool::take`], whatever is noted or planned.
    ///
    /// # Errors
    /// As there.
    pub fn take_lasting(&mut self, driver: &dyn Driver, bytes: usize) -> Result<DevicePtr> {
        let class = class(bytes);
        let kept = self.free.get_mut(&class).and_then(Vec::pop);
        let at = match kept {
            Some(at) => at,
            None => match driver.alloc(class) {
                Err(e) if e.code() == Code::OutOfMemory => {
                    self.give_back(driver)?;
                    driver
                        .alloc(class)
                        .map_err(|e| self.exhausted(driver, e, bytes))?
                }
                other => other?,
            },
        };
        driver.renew(at, bytes.max(1));
        self.used.insert(at, (class, LABEL.get()));
        self.resize(0, class);
        Ok(at)
    }

    /// Counts bytes given back and taken.
    pub fn resize(&mut self, before: usize, after: usize) {
        self.live = self.live - before as u64 + after as u64;
        self.peak = self.peak.max(self.live);
    }

    /// Memory for an arena, once nothing is kept for reuse.
    ///
    /// # Errors
    /// As [`Pool::take`].
    pub fn arena(&mut self, driver: &dyn Driver, bytes: usize) -> Result<DevicePtr> {
        self.give_back(driver)?;
        let made = driver.arena(bytes.max(1));
        let at = made.map_err(|e| self.exhausted(driver, e, bytes))?;
        self.resize(0, bytes);
        Ok(at)
    }

    /// Takes memory back for reuse.
    pub fn put(&mut self, at: DevicePtr) {
        if let Some((class, _)) = self.used.remove(&at) {
            if let Watch::Rehearsing(noted) = &mut self.watch {
                noted.given(at);
            }
            self.resize(class, 0);
            self.free.entry(class).or_default().push(at);
        }
    }

    /// Gives what nobody uses back to the driver.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn give_back(&mut self, driver: &dyn Driver) -> Result<()> {
        driver.synchronize()?;
        let kept = std::mem::take(&mut self.free).into_values().flatten();
        kept.into_iter().try_for_each(|at| driver.free(at))
    }

    fn exhausted(&self, driver: &dyn Driver, e: Error, bytes: usize) -> Error {
        if e.code() != Code::OutOfMemory {
            return e;
        }
        let mut holders: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
        for (class, label) in self.used.values() {
            let h = holders.entry(label).or_default();
            *h = (h.0 + *class as u64, h.1 + 1);
        }
        let mut holders: Vec<_> = holders.into_iter().collect();
        holders.sort_by_key(|(name, (bytes, _))| (u64::MAX - bytes, *name));
        let list: Vec<String> = holders
            .iter()
            .take(10)
            .map(|(name, (bytes, n))| format!("{name}: {} in {n}", readable(*bytes)))
            .collect();
        let total = driver.memory().map_or(0, |m| m.total);
        let text = format!(
            "no memory on {} for {} more: {} of {} in use",
            driver.name(),
            readable(bytes as u64),
            readable(self.live),
            readable(total)
        );
        Error::new(Code::OutOfMemory, text)
            .note(format!("largest holders: {}", list.join("; ")))
            .help("a smaller batch of the stage (`batch`) needs less memory in proportion, search cells less with `search.memory = \"small\"`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_waste_little() {
        for bytes in (1..100_000).step_by(7) {
            let c = class(bytes);
            assert!(
                c >= bytes && c.is_multiple_of(64) && class(c) == c,
                "{bytes} {c}"
            );
            assert!(bytes < LEAST || (c - bytes) * 4 <= bytes, "{bytes} {c}");
        }
    }
}
