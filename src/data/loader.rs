//! Reads batches ahead in threads. The order and the bits of the batches depend on neither their number nor their speed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::batch::{Batch, Batches, Skipped, Stop};
use crate::error::{Code, Error, Result};

/// An iterator over batches from a start step on; endless in training.
///
/// A batch that cannot be read comes as its error, in its place; the iterator then goes on with the next batch.
pub struct Loader<B = Batch> {
    shared: Arc<Shared<B>>,
    threads: Vec<JoinHandle<()>>,
    next: u64,
    skipped: BTreeSet<usize>,
    max_corrupt: f64,
}

/// What a loader reads: it tells which samples were left out.
pub trait Skips {
    /// Those.
    fn skipped(&self) -> &[Skipped];
}

impl Skips for Batch {
    fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

/// Makes a batch of its number; asks whether to stop between samples.
pub type Read<B> = Box<dyn Fn(&Batches, u64, Stop<'_>) -> Result<B> + Send + Sync>;

struct Shared<B> {
    batches: Batches,
    make: Read<B>,
    end: Option<u64>,
    prefetch: u64,
    state: Mutex<State<B>>,
    /// Signalled when there is room for another batch, or to stop.
    room: Condvar,
    /// Signalled when a batch is ready.
    ready: Condvar,
    stop: AtomicBool,
}

struct State<B> {
    /// Next batch that no thread has taken.
    next: u64,
    /// Next batch that the consumer wants.
    wanted: u64,
    done: BTreeMap<u64, Result<B>>,
}

impl<B> Shared<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A batch; a panic in a decoder becomes an error of the batch, so that the consumer never waits for a dead thread.
    fn read(&self, batches: &Batches, step: u64) -> Result<B> {
        let stop = &self.stop;
        let stopped = || stop.load(Ordering::Relaxed);
        let read = || (self.make)(batches, step, &stopped);
        catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|p| {
            let text = p.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or(p.downcast_ref::<&str>().copied())
                .unwrap_or("unknown");
            let name = format!("{}, batch {step}", batches.dataset().name());
            Err(Error::new(Code::Internal, format!("a reader panicked: {text}")).at(name))
        })
    }

    /// Reads batches until all are taken, each by `threads` threads.
    fn work(&self, threads: usize) {
        let mut batches = self.batches.clone();
        batches.threads = threads;
        loop {
            let step = {
                let mut state = self.lock();
                while !self.stopped() && state.next >= state.wanted + self.prefetch {
                    state = self.room.wait(state).unwrap_or_else(|e| e.into_inner());
                }
                if self.stopped() || self.end.is_some_and(|end| state.next >= end) {
                    return;
                }
                state.next += 1;
                state.next - 1
            };
            let batch = self.read(&batches, step);
            self.lock().done.insert(step, batch);
            self.ready.notify_all();
        }
    }
}

/// How many of `threads` threads reader `i` of `readers` has, itself among them: together they have them all.
fn share_of(threads: usize, readers: usize, i: usize) -> usize {
    threads / readers + usize::from(i < threads % readers)
}

impl Loader {
    /// As [`Loader::with`], of whole batches.
    ///
    /// # Errors
    /// `Io` if a thread cannot be started.
    pub fn new(
        batches: Batches,
        start: u64,
        threads: usize,
        prefetch: usize,
        max_corrupt: f64,
    ) -> Result<Loader> {
        let whole = Box::new(|b: &Batches, step: u64, stop: Stop<'_>| b.get(step, stop));
        Loader::with(batches, start, threads, prefetch, max_corrupt, whole)
    }
}

impl<B: Skips + Send + 'static> Loader<B> {
    /// Reads `batches` from batch `start` on, by `make`, up to `prefetch` batches ahead in `threads` threads; with 0 of either, in the calling
    /// thread. Where there are more threads than batches ahead, several make the samples of one. `max_corrupt` is the largest share
    /// of the samples that [`OnCorrupt::Skip`] may leave out.
    ///
    /// [`OnCorrupt::Skip`]: super::config::OnCorrupt::Skip
    ///
    /// # Errors
    /// `Io` if a thread cannot be started.
    pub fn with(
        batches: Batches,
        start: u64,
        threads: usize,
        prefetch: usize,
        max_corrupt: f64,
        make: Read<B>,
    ) -> Result<Loader<B>> {
        let state = Mutex::new(State {
            next: start,
            wanted: start,
            done: BTreeMap::new(),
        });
        let readers = threads.min(prefetch);
        let shared = Arc::new(Shared {
            end: batches.len(),
            batches,
            make,
            prefetch: prefetch as u64,
            state,
            room: Condvar::new(),
            ready: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let mut loader = Loader {
            shared,
            threads: vec![],
            next: start,
            skipped: BTreeSet::new(),
            max_corrupt,
        };
        for i in 0..readers {
            let shared = loader.shared.clone();
            let own = share_of(threads, readers, i);
            let thread = std::thread::Builder::new()
                .name(format!("loader-{i}"))
                .spawn(move || shared.work(own));
            loader
                .threads
                .push(thread.map_err(|e| Error::io("loader thread", e))?);
        }
        Ok(loader)
    }

    /// Number of the batch that comes next.
    pub fn step(&self) -> u64 {
        self.next
    }

    /// What is read.
    pub fn batches(&self) -> &Batches {
        &self.shared.batches
    }

    /// The next batch of an endless loader.
    ///
    /// # Errors
    /// As [`Batches::get`]; `EmptyData` after the end of a sequential one.
    pub fn next_batch(&mut self) -> Result<B> {
        self.next().unwrap_or_else(|| {
            Err(Error::new(Code::EmptyData, "no batch is left").at(self
                .shared
                .batches
                .dataset()
                .name()))
        })
    }

    fn wait(&self, step: u64) -> Result<B> {
        let mut state = self.shared.lock();
        loop {
            if let Some(batch) = state.done.remove(&step) {
                state.wanted = step + 1;
                self.shared.room.notify_all();
                return batch;
            }
            state = self
                .shared
                .ready
                .wait(state)
                .unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Refuses a batch once too many samples were left out. Counted here, in batch order, so that it does not depend on
    /// the threads.
    fn count_skipped(&mut self, batch: B) -> Result<B> {
        self.skipped.extend(batch.skipped().iter().map(|s| s.index));
        let (bad, all) = (self.skipped.len(), self.shared.batches.samples());
        if bad as f64 > self.max_corrupt * all as f64 {
            let last = batch.skipped().last().map(|s| s.error.clone());
            let text = format!(
                "{bad} of {all} samples cannot be read, more than the share {} allowed",
                self.max_corrupt
            );
            let e = Error::new(Code::BadImage, text).at(self.shared.batches.dataset().name());
            let e = e.help("mend the files (`data check` lists them) or raise `max_corrupt`");
            return Err(match last {
                Some(l) => e.note(format!("the last one: {l}")),
                None => e,
            });
        }
        Ok(batch)
    }
}

impl<B: Skips + Send + 'static> Iterator for Loader<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        if self.shared.end.is_some_and(|end| self.next >= end) {
            return None;
        }
        let step = self.next;
        let batch = if self.threads.is_empty() {
            self.shared.read(&self.shared.batches, step)
        } else {
            self.wait(step)
        };
        self.next += 1;
        Some(batch.and_then(|b| self.count_skipped(b)))
    }
}

/// Stops the threads: each ends after the sample it is reading.
impl<B> Drop for Loader<B> {
    fn drop(&mut self) {
        {
            let _state = self.shared.lock();
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        self.shared.room.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing to hand over.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
