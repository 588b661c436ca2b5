//! A sequence of launches that is done again and again: rehearsed once to learn what memory it takes, recorded over an arena in
//! which that memory is planned, then replayed. All recordings of a device share one arena: they run one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::watch::{Noted, Planned, Watch, other};
use super::{DeviceBuffer, Engine, lock};
use crate::backend::buffer::DType;
use crate::backend::driver::{DevicePtr, Graph, Stream};
use crate::error::Result;

/// Memory that recordings lie in.
pub struct Arena {
    engine: Engine,
    /// Its address.
    pub at: DevicePtr,
    bytes: usize,
}

impl Drop for Arena {
    fn drop(&mut self) {
        lock(&self.engine.0.pool).resize(self.bytes, 0);
        // A device that has failed does not take it back.
        let _ = self.engine.driver().free(self.at);
    }
}

/// Memory for one buffer; without an arena it is the pool's.
pub struct Block {
    /// Its address.
    pub at: DevicePtr,
    /// What it is a part of.
    pub arena: Option<Arc<Arena>>,
}

/// What a sequence needs.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// Size and offset of each buffer, in order.
    pub(super) lives: Vec<(usize, usize)>,
    pub(super) bytes: usize,
    pub(super) tables: Vec<(DType, usize)>,
}

impl Rehearsal {
    /// Bytes of the arena.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A recorded sequence and what it leaves behind at each replay.
pub struct Recorded<R> {
    /// What the sequence returned when it was recorded: buffers in it hold values after a replay, until another recording is replayed.
    pub result: R,
    engine: Engine,
    graph: Graph,
    launches: u64,
    arena: Arc<Arena>,
    /// Tables that its launches read.
    _tables: Vec<Arc<DeviceBuffer>>,
}

impl<R> Recorded<R> {
    /// Kernels that a replay runs.
    pub fn launches(&self) -> u64 {
        self.launches
    }

    /// False once recordings lie in a larger arena: this one keeps the old one alive and is best given up.
    pub fn is_current(&self) -> bool {
        let now = lock(&self.engine.0.arena);
        now.as_ref().is_some_and(|a| Arc::ptr_eq(a, &self.arena))
    }
}

impl<R> Drop for Recorded<R> {
    fn drop(&mut self) {
        // A device that has failed does not take it back.
        let _ = self.engine.driver().forget(self.graph);
    }
}

impl Engine {
    /// True while a sequence is recorded: nothing is done then.
    pub fn is_recording(&self) -> bool {
        self.0.recording.load(Ordering::Relaxed)
    }

    /// Whether launches are waited for one by one, which a recording cannot.
    pub fn waits_for_launches(&self) -> bool {
        self.0.sync_launches
    }

    /// Refuses `what` while a sequence is recorded.
    pub(super) fn outside_recording(&self, what: &str) -> Result<()> {
        if !self.is_recording() {
            return Ok(());
        }
        let e = other(what);
        if let Watch::Recording(p) = &mut lock(&self.0.pool).watch {
            p.refused.get_or_insert(e.clone());
        }
        Err(e)
    }

    /// Does `f` and notes what it needs to be recorded; in place of that the reason why it cannot be.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn rehearse<R>(
        &self,
        f: impl FnOnce() -> Result<R>,
    ) -> Result<(R, std::result::Result<Rehearsal, String>)> {
        let (before, by_host) = (self.counts(), self.fallbacks());
        lock(&self.0.pool).watch = Watch::Rehearsing(Noted::default());
        let made = f();
        let watch = std::mem::take(&mut lock(&self.0.pool).watch);
        let made = made?;
        let Watch::Rehearsing(noted) = watch else {
            unreachable!("rehearsals do not nest");
        };
        let after = self.counts();
        let reason = if let Some((op, _)) = (self.fallbacks().into_iter())
            .find(|(op, n)| by_host.get(op).copied().unwrap_or(0) < *n)
        {
            Some(format!("`{op}` has no kernels for its operands"))
        } else if after.downloaded != before.downloaded {
            Some("the step reads values back".into())
        } else if after.uploads != before.uploads {
            Some("the step uploads values".into())
        } else if self.0.sync_launches {
            Some("every launch is waited for (sync_launches)".into())
        } else {
            None
        };
        let ready = reason.map_or_else(|| Ok(noted.plan()), Err);
        Ok((made, ready))
    }

    /// Records what `f` launches; nothing is done. `f` must be what was rehearsed.
    ///
    /// # Errors
    /// `Device` where `f` does what cannot be recorded, or not what was rehearsed: the device is as before. `OutOfMemory`.
    pub fn record<R>(
        &self,
        rehearsal: &Rehearsal,
        f: impl FnOnce() -> Result<R>,
    ) -> Result<Recorded<R>> {
        self.healthy()?;
        let arena = self.arena(rehearsal.bytes)?;
        let table = |&(dtype, len)| DeviceBuffer::scratch(*self, dtype, len).map(Arc::new);
        let tables: Vec<_> = rehearsal.tables.iter().map(table).collect::<Result<_>>()?;
        self.driver().begin_capture(Stream::MAIN)?;
        lock(&self.0.pool).watch = Watch::Recording(Planned {
            arena: arena.clone(),
            lives: rehearsal.lives.clone().into_iter(),
            tables: tables.clone().into_iter(),
            contents: vec![],
            refused: None,
        });
        self.0.recording.store(true, Ordering::Relaxed);
        let before = self.0.recorded.load(Ordering::Relaxed);
        let made = f();
        self.0.recording.store(false, Ordering::Relaxed);
        let watch = std::mem::take(&mut lock(&self.0.pool).watch);
        let graph = self.driver().end_capture(Stream::MAIN);
        let Watch::Recording(mut planned) = watch else {
            unreachable!("recordings do not nest");
        };
        let graph = match (planned.refused, made.is_ok(), graph) {
            (None, true, Ok(graph)) if planned.lives.len() + planned.tables.len() == 0 => graph,
            (refused, _, graph) => {
                if let Ok(graph) = graph {
                    self.driver().forget(graph)?;
                }
                made?;
                return Err(refused.unwrap_or_else(|| other("is not what was rehearsed")));
            }
        };
        let recorded = Recorded {
            result: made?,
            engine: *self,
            graph,
            launches: self.0.recorded.load(Ordering::Relaxed) - before,
            arena,
            _tables: tables,
        };
        let contents = std::mem::take(&mut planned.contents);
        contents
            .iter()
            .try_for_each(|(t, bytes)| t.write_table(bytes))?;
        Ok(recorded)
    }

    /// Does what was recorded.
    ///
    /// # Errors
    /// A fault of the device, then or before.
    pub fn replay<R>(&self, r: &Recorded<R>) -> Result<()> {
        self.healthy()?;
        self.0.launches.fetch_add(r.launches, Ordering::Relaxed);
        let done = self.driver().replay(Stream::MAIN, r.graph);
        done.map_err(|e| self.fault(e))
    }

    /// The arena, at least so large; a larger one takes the place of a smaller one.
    fn arena(&self, bytes: usize) -> Result<Arc<Arena>> {
        let mut now = lock(&self.0.arena);
        if let Some(a) = now.as_ref().filter(|a| a.bytes >= bytes) {
            return Ok(a.clone());
        }
        // Its memory first, if no recording needs it any more.
        *now = None;
        let at = lock(&self.0.pool).arena(self.driver(), bytes)?;
        let made = Arc::new(Arena {
            engine: *self,
            at,
            bytes,
        });
        *now = Some(made.clone());
        Ok(made)
    }

    /// Gives the arena back, once no recording lies in it any more.
    pub fn release_arena(&self) {
        *lock(&self.0.arena) = None;
    }

    /// Whether the arena is so large already.
    pub fn has_arena(&self, bytes: usize) -> bool {
        let now = lock(&self.0.arena);
        now.as_ref().is_some_and(|a| a.bytes >= bytes)
    }

    /// A table of `bytes` that launches read, for a recording of its own; `None` when nothing is recorded.
    ///
    /// # Errors
    /// `Device` when the rehearsal asked for other tables.
    pub fn recorded_table(&self, dtype: DType, bytes: &[u8]) -> Result<Option<Arc<DeviceBuffer>>> {
        let len = bytes.len() / dtype.size();
        match &mut lock(&self.0.pool).watch {
            Watch::None => Ok(None),
            Watch::Rehearsing(noted) => {
                noted.tables.push((dtype, len));
                Ok(None)
            }
            Watch::Recording(p) => match p.tables.next() {
                Some(t) if (t.dtype(), t.len()) == (dtype, len) => {
                    p.contents.push((t.clone(), bytes.to_vec()));
                    Ok(Some(t))
                }
                _ => Err(other("reads other tables than when it was rehearsed")),
            },
        }
    }
}
