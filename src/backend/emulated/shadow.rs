//! What is known of each byte: was it written, by whom last, who read it since. Two accesses of which one writes must be
//! ordered by a barrier, or both be atomic; two blocks are never ordered within a launch.

/// A thread at an instant: accesses of one block with different `epoch` are ordered by the block barrier, those of one
/// warp with different `warp_epoch` by a warp operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instant {
    /// Block, counted from 1; 0: nobody.
    pub block: u32,
    /// Thread within the block.
    pub thread: u32,
    /// Block barriers passed.
    pub epoch: u32,
    /// Warp operations passed.
    pub warp_epoch: u32,
}

impl Instant {
    /// Whether `other`, later in the emulation, is ordered after `self` on a device too.
    fn before(self, other: Instant) -> bool {
        if self.block == 0 || (self.block == other.block && self.thread == other.thread) {
            return true;
        }
        self.block == other.block
            && (self.epoch != other.epoch
                || (self.thread / 32 == other.thread / 32 && self.warp_epoch != other.warp_epoch))
    }
}

/// How memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Read-modify-write that no other can interrupt.
    Atomic,
}

/// Why an access is a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Nobody wrote the byte.
    Unwritten,
    /// Not ordered with a write.
    WithWrite(Instant),
    /// Not ordered with a read.
    WithRead(Instant),
}

/// One byte. Of readers the last two of different threads are kept: one of them differs from any later writer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cell {
    written: bool,
    atomic: bool,
    writer: Instant,
    readers: [Instant; 2],
}

impl Cell {
    /// A byte that the host wrote.
    pub const UPLOADED: Cell = Cell {
        written: true,
        atomic: false,
        writer: NOBODY,
        readers: [NOBODY; 2],
    };

    /// Whether somebody wrote it.
    pub fn is_written(&self) -> bool {
        self.written
    }

    /// Forgets who accessed it: a launch has ended.
    pub fn settle(&mut self) {
        *self = Cell {
            written: self.written,
            ..Cell::default()
        };
    }

    /// Notes an access.
    ///
    /// # Errors
    /// The first rule that it breaks; nothing is noted then.
    pub fn access(&mut self, how: Access, at: Instant) -> Result<(), Conflict> {
        if how != Access::Write && !self.written {
            return Err(Conflict::Unwritten);
        }
        if !(self.writer.before(at) || (how == Access::Atomic && self.atomic)) {
            return Err(Conflict::WithWrite(self.writer));
        }
        if how == Access::Read {
            if self.readers[0].block != at.block || self.readers[0].thread != at.thread {
                self.readers[1] = self.readers[0];
            }
            self.readers[0] = at;
            return Ok(());
        }
        if let Some(r) = self.readers.iter().find(|r| !r.before(at)) {
            return Err(Conflict::WithRead(*r));
        }
        (self.written, self.atomic, self.writer) = (true, how == Access::Atomic, at);
        Ok(())
    }
}

const NOBODY: Instant = Instant {
    block: 0,
    thread: 0,
    epoch: 0,
    warp_epoch: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn at(block: u32, thread: u32, epoch: u32, warp_epoch: u32) -> Instant {
        Instant {
            block,
            thread,
            epoch,
            warp_epoch,
        }
    }

    #[test]
    fn barriers_order_what_else_races() {
        let fresh = Cell::UPLOADED;
        let pair = |a: (Access, Instant), b: (Access, Instant)| {
            let mut c = fresh;
            c.access(a.0, a.1).and_then(|()| c.access(b.0, b.1))
        };
        use Access::*;
        let one = at(1, 0, 0, 0);
        for (how, other, races) in [
            (Write, at(1, 0, 0, 0), false),  // itself
            (Write, at(1, 1, 0, 0), true),   // no barrier
            (Write, at(1, 1, 0, 1), false),  // a warp operation between
            (Write, at(1, 40, 0, 1), true),  // which does not order another warp
            (Write, at(1, 40, 1, 0), false), // the block barrier does
            (Write, at(2, 0, 5, 5), true),   // nothing orders another block
            (Read, at(2, 0, 5, 5), true),
        ] {
            assert_eq!(
                pair((Write, one), (how, other)).is_err(),
                races,
                "{how:?} {other:?}"
            );
            assert_eq!(
                pair((how, one), (Write, other)).is_err(),
                races,
                "{how:?} {other:?}"
            );
        }
        assert!(pair((Read, one), (Read, at(2, 1, 0, 0))).is_ok());
        assert!(pair((Atomic, one), (Atomic, at(2, 1, 0, 0))).is_ok());
        assert!(pair((Atomic, one), (Read, at(2, 1, 0, 0))).is_err());
    }

    #[test]
    fn a_reader_among_many_is_not_forgotten() {
        let mut c = Cell::UPLOADED;
        for t in [3, 4, 5, 3] {
            c.access(Access::Read, at(1, t, 0, 0)).unwrap();
        }
        assert!(c.access(Access::Write, at(1, 3, 0, 0)).is_err());
        assert!(c.access(Access::Write, at(1, 3, 1, 0)).is_ok());
    }

    #[test]
    fn unwritten_bytes_are_not_read() {
        let mut c = Cell::default();
        assert_eq!(
            c.access(Access::Read, at(1, 0, 0, 0)),
            Err(Conflict::Unwritten)
        );
        c.access(Access::Write, at(1, 0, 0, 0)).unwrap();
        c.settle();
        assert!(c.access(Access::Read, at(2, 7, 0, 0)).is_ok());
    }
}
