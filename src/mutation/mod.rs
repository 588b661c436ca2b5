//! Tests with damaged files: whatever is in a file, a reader returns soon, without a panic, and names the file in its error.
//!
//! Every layer that reads files keeps a list of [`Target`]s in its `mutation_tests.rs`, which `cargo test --lib mutation`
//! runs with [`CASES`] mutants a target, `scripts/mutate-readers` with [`MANY`]; CI runs the former once more within a limit of memory.

mod damage;
mod tests;

pub use damage::{mend_png, mend_tfrecord, mutate};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::rng::{Rng, word};

/// Mutants of a target in the ordinary tests: those of data sets alone are 55 and make 18,000 files.
pub const CASES: u64 = 330;
/// Mutants of a target in the long tests.
pub const MANY: u64 = 10_000;
/// No file takes longer, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// One kind of file and how the program reads it.
pub struct Target {
    /// For messages; it also keys the random changes.
    pub name: &'static str,
    /// The file that is damaged, from the root of the set that it belongs to; or how its name begins.
    pub file: &'static str,
    /// Repairs checksums, in half of the cases, so that damage reaches what is behind them.
    pub mend: Option<fn(&mut Vec<u8>)>,
    /// Reads the set as the program does.
    pub read: fn(&Path) -> Result<()>,
}

/// What became of the mutants.
#[derive(Debug, Default)]
pub struct Tally {
    /// Errors.
    pub refused: u64,
    /// Read without an error: the damage is in what any value is good for.
    pub accepted: u64,
}

/// Runs `cases` mutants of each target; `valid` writes the sets into an empty directory, one for each target.
pub fn run_all(targets: &[Target], cases: u64, valid: fn(&Path)) {
    for target in targets {
        let dir = tempfile::tempdir().unwrap();
        valid(dir.path());
        let tally = run(target, dir.path(), cases, LIMIT);
        println!("{}: {tally:?}", target.name);
        assert!(
            tally.refused > cases / 20,
            "{}: damage must be noticed, {tally:?}",
            target.name
        );
    }
}

/// Reads `cases` mutants of the target's file in the set at `root`.
///
/// # Panics
/// If the reader panics, needs more than `limit`, or gives an error that does not name the file.
pub fn run(target: &Target, root: &Path, cases: u64, limit: Duration) -> Tally {
    let path = find(&root.join(target.file));
    let good = std::fs::read(&path).unwrap();
    (target.read)(root).unwrap_or_else(|e| panic!("{} is not valid: {}", target.name, e.render()));
    let mut tally = Tally::default();
    // A thread of its own, which can be given up if it hangs.
    let (begin, begins) = channel::<()>();
    let (end, ends) = channel();
    let (read, set) = (target.read, root.to_path_buf());
    std::thread::spawn(move || {
        while begins.recv().is_ok() {
            let result = catch_unwind(AssertUnwindSafe(|| read(&set)));
            if end.send(result.map_err(drop)).is_err() {
                break;
            }
        }
    });
    for case in 0..cases {
        let who = format!("{} case {case}", target.name);
        let mut rng = Rng::new(case, &[word("mutation"), word(target.name)]);
        let mut bad = mutate(&good, &mut rng);
        if let Some(mend) = target.mend.filter(|_| rng.coin(0.5)) {
            mend(&mut bad);
        }
        // Removed first: overwriting makes some file systems wait for the device.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, &bad).unwrap();
        begin.send(()).unwrap();
        match ends.recv_timeout(limit) {
            Ok(Ok(Ok(()))) => tally.accepted += 1,
            Ok(Ok(Err(e))) => {
                check(&who, &path, &e);
                tally.refused += 1;
            }
            Ok(Err(())) | Err(RecvTimeoutError::Disconnected) => panic!("{who} panicked"),
            Err(RecvTimeoutError::Timeout) => panic!("{who} took more than {limit:?}"),
        }
    }
    tally
}

/// `path`, or the only file whose path begins like that.
fn find(path: &Path) -> PathBuf {
    if path.is_file() {
        return path.into();
    }
    let start = path.file_name().unwrap().to_string_lossy();
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let found: Vec<PathBuf> = entries
        .map(|e| e.unwrap())
        .filter(|e| e.file_name().to_string_lossy().starts_with(&*start))
        .map(|e| e.path())
        .collect();
    assert_eq!(found.len(), 1, "files that begin like {}", path.display());
    found[0].clone()
}

fn check(who: &str, path: &Path, e: &Error) {
    let text = e.render();
    assert!(
        text.contains(&*path.to_string_lossy()),
        "{who}: the error does not name {}:\n{text}",
        path.display()
    );
    let message = e.message();
    assert!(
        !message.is_empty() && !message.contains('\n'),
        "{who}: not one line: {message:?}"
    );
}
