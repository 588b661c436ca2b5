//! Runs of bytes that kernels may access: buffers with zones around them that no kernel may touch, shared arrays.

use super::shadow::{Access, Cell, Conflict, Now};

/// Bytes before and after every buffer.
const ZONE: usize = 256;
/// Largest cell.
const GRANULE: usize = 4;
/// What fresh memory holds: NaN in every float format.
const POISON: u8 = 0xff;

/// A run of bytes that kernels may access.
pub struct Region {
    /// What it is, for messages.
    pub name: String,
    /// Address of the first byte.
    pub base: usize,
    /// Bytes.
    pub len: usize,
    /// What is known of each run of `granule` bytes.
    cells: Vec<Cell>,
    /// Bytes of a cell: all accesses so far were of whole cells. It shrinks when one is not.
    granule: usize,
    /// Holds the bytes of a buffer with its zones; shared arrays lie in the compiled kernels.
    storage: Vec<u128>,
    /// What the running launch may do with it.
    pub role: Role,
    /// Whether the running launch has accessed it.
    pub touched: bool,
}

/// What a region is to the launch that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Memory that it may write; as it was is kept at the first write.
    #[default]
    Untouched,
    /// Memory that it has written.
    Kept,
    /// A pointer to const, and only that.
    Constant,
    /// Shared memory: gone with the block.
    Shared,
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
            cells: vec![Cell::default(); len.div_ceil(GRANULE)],
            granule: GRANULE,
            storage,
            role: Role::Untouched,
            touched: false,
        }
    }

    /// Fresh dynamic shared memory.
    pub fn dynamic(name: String, len: usize) -> Region {
        Region {
            role: Role::Shared,
            ..Region::buffer(name, len)
        }
    }

    /// A shared array at `base`.
    pub fn shared(name: String, base: usize, len: usize) -> Region {
        Region {
            name,
            base,
            len,
            cells: vec![Cell::default(); len.div_ceil(GRANULE)],
            granule: GRANULE,
            storage: vec![],
            role: Role::Shared,
            touched: false,
        }
    }

    /// Fresh memory in this arena: nothing around it may be accessed unless it is part of another life.
    pub fn life(&mut self, at: usize, len: usize) -> Region {
        let from = at - self.base;
        self.bytes_mut()[from..from + len].fill(POISON);
        let name = format!("the life at byte {from} of {}", self.name);
        Region {
            role: Role::Untouched,
            ..Region::shared(name, at, len)
        }
    }

    /// Whether its bytes belong to an arena.
    pub fn is_life(&self) -> bool {
        self.storage.is_empty() && self.role != Role::Shared
    }

    /// The bytes, for the host.
    #[allow(unsafe_code)]
    pub fn bytes(&self) -> &[u8] {
        if self.is_life() {
            // SAFETY: the bytes of an arena, which lives as long as this and is not borrowed meanwhile; they hold values.
            return unsafe { std::slice::from_raw_parts(self.base as *const u8, self.len) };
        }
        let from = self.base - self.storage.as_ptr() as usize;
        &bytemuck::cast_slice(&self.storage)[from..from + self.len]
    }

    /// The bytes, for the host.
    #[allow(unsafe_code)]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        if self.is_life() {
            // SAFETY: as above; lives do not overlap.
            return unsafe { std::slice::from_raw_parts_mut(self.base as *mut u8, self.len) };
        }
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
        self.cells.resize(len.div_ceil(GRANULE), Cell::default());
        self.granule = GRANULE;
    }

    /// Cells small enough for an access of `len` bytes at `from`.
    fn refine(&mut self, from: usize, len: usize) {
        let fits = |g: usize| from.is_multiple_of(g) && len.is_multiple_of(g);
        let mut granule = self.granule;
        while !fits(granule) {
            granule /= 2;
        }
        if granule == self.granule {
            return;
        }
        let cell = |at: usize| self.cells[at * granule / self.granule];
        self.cells = (0..self.len.div_ceil(granule)).map(cell).collect();
        self.granule = granule;
    }

    /// Checks and notes an access of `len` bytes.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn access(
        &mut self,
        from: usize,
        len: usize,
        how: Access,
        now: Now,
    ) -> Result<(), Conflict> {
        self.refine(from, len);
        let cells = from / self.granule..(from + len) / self.granule;
        self.cells[cells]
            .iter_mut()
            .try_for_each(|c| c.access(how, now))
    }

    /// Takes over what is known of bytes of another region: whether they were written.
    pub fn inherit(&mut self, to: usize, known: &[bool]) {
        let mut from = to;
        for run in known.chunk_by(|a, b| a == b) {
            self.set(from, run.len(), run[0]);
            from += run.len();
        }
    }

    /// Which of `len` bytes from `from` somebody wrote.
    pub fn known(&self, from: usize, len: usize) -> Vec<bool> {
        let cell = |at: usize| &self.cells[at / self.granule];
        (from..from + len).map(|at| cell(at).is_written()).collect()
    }

    /// Marks bytes as written by the host.
    pub fn uploaded(&mut self, from: usize, len: usize) {
        self.set(from, len, true);
    }

    fn set(&mut self, from: usize, len: usize, written: bool) {
        // The last cell of a region may hold fewer bytes than the others.
        let to_end = from + len == self.len;
        self.refine(from, if to_end { 0 } else { len });
        let to = (from + len).div_ceil(self.granule);
        self.cells[from / self.granule..to].fill(match written {
            true => Cell::UPLOADED,
            false => Cell::default(),
        });
    }

    /// Bytes that the running launch has read and written, each counted once.
    pub fn accessed(&self) -> (u64, u64) {
        let mut sum = (0, 0);
        for (i, c) in self.cells.iter().enumerate() {
            let (read, written) = c.accessed();
            let bytes = self.granule.min(self.len - i * self.granule) as u64;
            sum.0 += if read { bytes } else { 0 };
            sum.1 += if written { bytes } else { 0 };
        }
        sum
    }

    /// Forgets the accesses of a launch.
    pub fn settle(&mut self) {
        if std::mem::take(&mut self.touched) {
            self.cells.iter_mut().for_each(Cell::settle);
        }
    }

    /// Puts back what [`Region::keep`] kept.
    pub fn restore(&mut self, s: &Saved) {
        self.bytes_mut().copy_from_slice(&s.bytes);
        self.cells.clone_from(&s.cells);
        self.granule = s.granule;
    }

    /// A copy, without the accesses of a launch.
    pub fn keep(&self) -> Saved {
        let mut cells = self.cells.clone();
        cells.iter_mut().for_each(Cell::settle);
        Saved {
            base: self.base,
            name: self.name.clone(),
            bytes: self.bytes().to_vec(),
            cells,
            granule: self.granule,
        }
    }
}

/// Contents of a buffer at one time.
pub struct Saved {
    /// Address of the buffer.
    pub base: usize,
    /// Its name.
    pub name: String,
    /// What it held.
    pub bytes: Vec<u8>,
    cells: Vec<Cell>,
    granule: usize,
}
