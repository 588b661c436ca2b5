//! Runs the steps of a graph, each when those it waits for are done, independent ones at the same time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::node::lock;
use super::op::Path;
use crate::backend::threads;
use crate::error::{Error, Result};

/// Steps `0..n` of a graph, numbered so that a step waits for lower ones only.
pub(super) trait Graph: Sync {
    /// Number of steps.
    fn len(&self) -> usize;

    /// Steps that wait for step `i`, each as often as it does; higher than `i`.
    fn followers(&self, i: usize) -> &[usize];

    /// For how many steps step `i` waits.
    fn waits_for(&self, i: usize) -> usize;

    /// Does step `i`.
    fn run(&self, i: usize) -> Result<()>;
}

/// Runs all steps.
///
/// # Errors
/// Of those that fail the lowest, whatever the number of threads: steps below it still run, as in order.
pub(super) fn run(g: &impl Graph, path: Path) -> Result<()> {
    // A device does what it is given in order.
    if threads::count() == 1 || matches!(path, Path::Device(_)) {
        return (0..g.len()).try_for_each(|i| g.run(i));
    }
    let waiting: Vec<AtomicUsize> = (0..g.len())
        .map(|i| AtomicUsize::new(g.waits_for(i)))
        .collect();
    let ready: Vec<usize> = (0..g.len()).filter(|&i| g.waits_for(i) == 0).collect();
    let state = State {
        g,
        waiting,
        failed: AtomicUsize::new(usize::MAX),
        error: Mutex::default(),
    };
    rayon::scope(|s| {
        // The oldest of what a thread spawned is what another takes first, the youngest what it does next itself.
        for &i in ready.iter().rev() {
            state.spawn(s, i);
        }
    });
    match lock(&state.error).take() {
        Some((_, e)) => Err(e),
        None => Ok(()),
    }
}

struct State<'g, G> {
    g: &'g G,
    waiting: Vec<AtomicUsize>,
    /// The lowest step that failed.
    failed: AtomicUsize,
    error: Mutex<Option<(usize, Error)>>,
}

impl<'g, G: Graph> State<'g, G> {
    fn spawn<'s>(&'s self, s: &rayon::Scope<'s>, i: usize)
    where
        'g: 's,
    {
        threads::add_ready(1);
        s.spawn(move |s| {
            threads::take_ready(1);
            self.chain(s, i);
        });
    }

    /// Runs a step and, on the same thread, where its result is still in the cache, one that waited for it.
    fn chain<'s>(&'s self, s: &rayon::Scope<'s>, mut i: usize)
    where
        'g: 's,
    {
        loop {
            if i > self.failed.load(Ordering::Acquire) {
                return;
            }
            if let Err(e) = self.g.run(i) {
                self.failed.fetch_min(i, Ordering::AcqRel);
                let mut slot = lock(&self.error);
                if slot.as_ref().is_none_or(|(at, _)| i < *at) {
                    *slot = Some((i, e));
                }
                return;
            }
            let mut next = None;
            for &f in self.g.followers(i) {
                if self.waiting[f].fetch_sub(1, Ordering::AcqRel) == 1
                    && let Some(other) = next.replace(f)
                {
                    // Of two the lower goes on here.
                    let (low, high) = (other.min(f), other.max(f));
                    next = Some(low);
                    self.spawn(s, high);
                }
            }
            match next {
                Some(f) => i = f,
                None => return,
            }
        }
    }
}

/// Followers of every step in one list.
#[derive(Default)]
pub(super) struct Followers {
    starts: Vec<usize>,
    all: Vec<usize>,
    waits: Vec<usize>,
}

impl Followers {
    /// From the pairs (step, the step that waits for it).
    pub fn new(n: usize, pairs: &[(usize, usize)]) -> Followers {
        let (mut starts, mut waits) = (vec![0; n + 1], vec![0; n]);
        for &(from, to) in pairs {
            debug_assert!(from < to);
            starts[from + 1] += 1;
            waits[to] += 1;
        }
        for i in 0..n {
            starts[i + 1] += starts[i];
        }
        let (mut at, mut all) = (starts.clone(), vec![0; pairs.len()]);
        for &(from, to) in pairs {
            all[at[from]] = to;
            at[from] += 1;
        }
        Followers { starts, all, waits }
    }

    pub fn of(&self, i: usize) -> &[usize] {
        &self.all[self.starts[i]..self.starts[i + 1]]
    }

    pub fn waits_for(&self, i: usize) -> usize {
        self.waits[i]
    }
}
