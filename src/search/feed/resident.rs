//! Pictures that stay in the memory of a device from their first use on, as long as there is room.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::backend::engine::labelled;
use crate::data::sight::Kept;
use crate::error::{Code, Result};
use crate::tensor::{DType, DeviceBuffer, Engine};

/// Bytes of one allocation, at most.
const SLAB: usize = 1 << 30;

/// Pictures begin on multiples of this.
const ALIGN: usize = 16;

/// The pictures of one task.
pub struct Resident {
    engine: Engine,
    /// What its readers need not read again.
    pub kept: Arc<Kept>,
    /// Samples that may come.
    samples: usize,
    places: HashMap<usize, usize>,
    slabs: Vec<DeviceBuffer>,
    /// Bytes of the last slab that are taken.
    taken: usize,
    /// Bytes that the tasks of a stage may still take.
    budget: Rc<Cell<u64>>,
    /// No more are taken in.
    full: bool,
}

impl Resident {
    /// No picture yet, of a data set of `n` samples of which `samples` are used.
    pub fn new(engine: Engine, n: usize, samples: usize, budget: Rc<Cell<u64>>) -> Resident {
        Resident {
            engine,
            kept: Arc::new(Kept::new(n)),
            samples,
            places: HashMap::new(),
            slabs: vec![],
            taken: 0,
            budget,
            full: false,
        }
    }

    /// Where the pixels of a sample are.
    pub fn find(&self, index: usize) -> Option<usize> {
        self.places.get(&index).copied()
    }

    /// Takes the pixels of a sample in; `None` when there is no room for any more.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn take(&mut self, index: usize, parts: [&[u8]; 2]) -> Result<Option<usize>> {
        let bytes: usize = parts.iter().map(|p| p.len()).sum();
        if self.full || !self.room(bytes.next_multiple_of(ALIGN))? {
            self.full = true;
            return Ok(None);
        }
        let slab = self.slabs.last().expect("there is room");
        let mut at = self.taken;
        for p in parts.iter().filter(|p| !p.is_empty()) {
            slab.write_part(at, p)?;
            at += p.len();
        }
        let place = slab.address().0 + self.taken;
        self.taken += bytes.next_multiple_of(ALIGN);
        self.places.insert(index, place);
        self.kept.keep(index);
        Ok(Some(place))
    }

    /// Whether the last slab, or a new one, has `bytes` bytes left.
    fn room(&mut self, bytes: usize) -> Result<bool> {
        let size = |s: &DeviceBuffer| s.len() * s.dtype().size();
        if self
            .slabs
            .last()
            .is_some_and(|s| self.taken + bytes <= size(s))
        {
            return Ok(true);
        }
        // As if all that are still to come were as large as this one.
        let left = self.samples.saturating_sub(self.places.len()).max(1);
        let most = SLAB.min(self.budget.get() as usize);
        let wanted = (left.saturating_mul(bytes)).min(most) / ALIGN * ALIGN;
        if wanted < bytes {
            return Ok(false);
        }
        let words = wanted / DType::I32.size();
        let slab = || DeviceBuffer::lasting(self.engine, DType::I32, words);
        match labelled("pictures", slab) {
            Ok(slab) => {
                self.budget.set(self.budget.get() - wanted as u64);
                self.slabs.push(slab);
                self.taken = 0;
                Ok(true)
            }
            Err(e) if e.code() == Code::OutOfMemory => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Samples that are there, and whether no more fit.
    pub fn held(&self) -> (usize, bool) {
        (self.places.len(), self.full)
    }
}
