//! Runs of bytes that kernels may access: buffers with zones around them that no kernel may touch, shared arrays.

use super::shadow::Cell;

/// Bytes before and after every buffer.
const ZONE: usize = 256;
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
    /// What is known of each byte.
    pub cells: Vec<Cell>,
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
            cells: vec![Cell::default(); len],
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
            cells: vec![Cell::default(); len],
            storage: vec![],
            role: Role::Shared,
            touched: false,
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
        if std::mem::take(&mut self.touched) {
            self.cells.iter_mut().for_each(Cell::settle);
        }
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
    /// What was known of each byte.
    pub cells: Vec<Cell>,
}
