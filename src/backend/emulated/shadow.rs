//! What is known of each byte: was it written, by whom last, who read it since. Two accesses of which one writes must be
//! ordered by a barrier, or both be atomic; two blocks are never ordered within a launch.

/// A thread at an instant: accesses of one block with different `epoch` are ordered by the block barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Instant {
    /// Block, counted from 1; 0: nobody.
    pub block: u32,
    /// Thread within the block.
    pub thread: u32,
    /// Block barriers passed.
    pub epoch: u32,
    /// Warp barriers passed, and one.
    pub clock: u32,
}

/// A thread now, and for each lane of its warp how far that lane's accesses are ordered before it: a vector clock, which
/// `__syncwarp` joins among the lanes of its mask. Shuffles and votes order nothing (CUDA Programming Guide, warp functions).
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// The thread.
    pub at: Instant,
    /// The last clock of each lane that is ordered before.
    pub seen: &'a [u32; 32],
}

impl Instant {
    /// Whether `now`, later in the emulation, is ordered after `self` on a device too.
    fn before(self, now: Now) -> bool {
        let at = now.at;
        if self.block == 0 || self.is(at) {
            return true;
        }
        self.block == at.block
            && (self.epoch != at.epoch
                || (self.warp() == at.warp() && now.seen[self.thread as usize % 32] >= self.clock))
    }

    fn is(self, other: Instant) -> bool {
        self.block == other.block && self.thread == other.thread
    }

    fn warp(self) -> (u32, u32) {
        (self.block, self.thread / 32)
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

/// One byte. Of readers that nothing orders two are kept, of different warps where there are such: no later writer is ordered
/// after both unless a barrier is between.
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

    /// Whether the running launch has read it, and whether it has written it.
    pub fn accessed(&self) -> (bool, bool) {
        (self.readers[0].block != 0, self.writer.block != 0)
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
    pub fn access(&mut self, how: Access, now: Now) -> Result<(), Conflict> {
        let at = now.at;
        if how != Access::Write && !self.written {
            return Err(Conflict::Unwritten);
        }
        if !(self.writer.before(now) || (how == Access::Atomic && self.atomic)) {
            return Err(Conflict::WithWrite(self.writer));
        }
        if how == Access::Read {
            let [a, b] = self.readers;
            // One reader that is ordered before this one stands for it no longer; of unordered ones, two warps are enough.
            if a.before(now) {
                self.readers[0] = at;
            } else if b.before(now) || a.warp() == b.warp() {
                self.readers[1] = at;
            }
            return Ok(());
        }
        if let Some(r) = self.readers.iter().find(|r| !r.before(now)) {
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
    clock: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    fn at(block: u32, thread: u32, epoch: u32, clock: u32) -> Instant {
        Instant {
            block,
            thread,
            epoch,
            clock,
        }
    }

    /// Thread `at`, before which all lanes are ordered up to `seen`.
    fn now(at: Instant, seen: &[u32; 32]) -> Now<'_> {
        Now { at, seen }
    }

    #[test]
    fn barriers_order_what_else_races() {
        let fresh = Cell::UPLOADED;
        let pair = |a: (Access, Instant), b: (Access, Instant), seen: u32| {
            let (mut c, seen) = (fresh, [seen; 32]);
            c.access(a.0, now(a.1, &[0; 32]))
                .and_then(|()| c.access(b.0, now(b.1, &seen)))
        };
        use Access::*;
        let one = at(1, 0, 0, 1);
        for (how, other, seen, races) in [
            (Write, at(1, 0, 0, 1), 0, false),  // itself
            (Write, at(1, 1, 0, 1), 0, true),   // no barrier
            (Write, at(1, 1, 0, 2), 1, false),  // the warp's barrier between
            (Write, at(1, 1, 0, 2), 0, true),   // a barrier of other lanes
            (Write, at(1, 40, 0, 2), 1, true),  // which does not order another warp
            (Write, at(1, 40, 1, 1), 0, false), // the block barrier does
            (Write, at(2, 0, 5, 5), 5, true),   // nothing orders another block
            (Read, at(2, 0, 5, 5), 5, true),
        ] {
            assert_eq!(
                pair((Write, one), (how, other), seen).is_err(),
                races,
                "{how:?} {other:?}"
            );
            assert_eq!(
                pair((how, one), (Write, other), seen).is_err(),
                races,
                "{how:?} {other:?}"
            );
        }
        assert!(pair((Read, one), (Read, at(2, 1, 0, 1)), 0).is_ok());
        assert!(pair((Atomic, one), (Atomic, at(2, 1, 0, 1)), 0).is_ok());
        assert!(pair((Atomic, one), (Read, at(2, 1, 0, 1)), 0).is_err());
    }

    #[test]
    fn a_reader_among_many_is_not_forgotten() {
        // The writer is the last reader, or ordered after the other lanes of its warp: one of another warp is left.
        for readers in [[3, 4, 5, 3], [40, 4, 5, 3], [4, 40, 5, 3], [4, 5, 40, 3]] {
            let mut c = Cell::UPLOADED;
            for t in readers {
                c.access(Access::Read, now(at(1, t, 0, 1), &[0; 32]))
                    .unwrap();
            }
            let seen = [u32::from(readers.contains(&40)); 32];
            let write =
                |c: &mut Cell, epoch| c.access(Access::Write, now(at(1, 3, epoch, 2), &seen));
            assert!(write(&mut c, 0).is_err(), "{readers:?}");
            assert!(write(&mut c, 1).is_ok());
        }
    }

    #[test]
    fn unwritten_bytes_are_not_read() {
        let mut c = Cell::default();
        let first = at(1, 0, 0, 1);
        assert_eq!(
            c.access(Access::Read, now(first, &[0; 32])),
            Err(Conflict::Unwritten)
        );
        c.access(Access::Write, now(first, &[0; 32])).unwrap();
        c.settle();
        assert!(
            c.access(Access::Read, now(at(2, 7, 0, 1), &[0; 32]))
                .is_ok()
        );
    }
}
