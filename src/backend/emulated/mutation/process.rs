//! Processes that run mutants: what these do may crash or hang.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, thread};

use super::families::FAMILIES;
use super::library::Library;
use crate::backend::emulated::{Emulated, Limits};
use crate::error::{Code, Error, Result};

/// A mutant that says nothing for so long, and for `SLOWER` times as long as the kernels themselves take, hangs.
const SILENCE: Duration = Duration::from_secs(60);
const SLOWER: u32 = 8;
/// The kernels themselves may take so long.
const LONGEST: Duration = Duration::from_secs(600);
/// Accesses of a block after which it is taken for one that never ends.
const PATIENCE: u64 = 1 << 24;
/// Number of the kernel file itself, which must pass.
pub const ORIGINAL: usize = 0;

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Its cases fail, or it crashes.
    Killed,
    /// It hangs, or is so slow that it seems to.
    Silent,
    /// Its cases pass.
    Survived,
    /// The compiler refuses it.
    Unbuilt,
}

/// An error of the tests themselves.
pub fn says(dead: &str) -> Error {
    Error::new(Code::Internal, dead)
}

/// Runs a library's mutants in processes, a new one after each crash.
///
/// # Errors
/// `Internal` when a process cannot be started, and when the kernels themselves fail.
pub fn run(library: &Path, file: &str, numbers: &[usize]) -> Result<BTreeMap<usize, Verdict>> {
    let (mut verdicts, mut silence) = (BTreeMap::new(), SILENCE);
    let test = module_path!().split_once("::").map_or("", |p| p.1);
    while let Some(first) = numbers.iter().position(|n| !verdicts.contains_key(n)) {
        let left: Vec<String> = numbers[first..].iter().map(usize::to_string).collect();
        let exe = env::current_exe().map_err(|e| says(&e.to_string()))?;
        let mut child = Command::new(exe)
            .arg(format!("{test}::worker"))
            .args(["--exact", "--ignored", "--nocapture", "--test-threads=1"])
            .env("MTNAS_MUTANT_LIBRARY", library)
            .env("MTNAS_MUTANT_FILE", file)
            .env("MTNAS_MUTANT_NUMBERS", left.join(","))
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| says(&e.to_string()))?;
        let out = child.stdout.take().ok_or_else(|| says("no output"))?;
        let (send, lines) = mpsc::channel();
        let reader = thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(|l| l.ok());
            lines.for_each(|l| drop(send.send(l)));
        });
        let (mut current, mut begin) = (None, Instant::now());
        let silent = loop {
            let patience = match current {
                None | Some(ORIGINAL) => LONGEST,
                Some(_) => silence,
            };
            let line = match lines.recv_timeout(patience) {
                Ok(line) => line,
                Err(e) => break e == RecvTimeoutError::Timeout,
            };
            let mut words = line.split(' ');
            let number = |w: Option<&str>| w.and_then(|w| w.parse::<usize>().ok());
            match words.next() {
                Some("@start") => (current, begin) = (number(words.next()), Instant::now()),
                Some("@killed") if current == Some(ORIGINAL) => {
                    let text = format!("{file}: its cases fail on the kernels as they are: {line}");
                    return Err(says(&text));
                }
                Some("@killed") => {
                    verdicts.extend(number(words.next()).map(|n| (n, Verdict::Killed)));
                }
                Some("@survived") => {
                    if current == Some(ORIGINAL) {
                        silence = SILENCE.max(SLOWER * begin.elapsed());
                    }
                    verdicts.extend(number(words.next()).map(|n| (n, Verdict::Survived)));
                }
                Some("@error") => return Err(says(&line)),
                _ => {}
            }
        };
        // It has ended, or it hangs: then this ends it.
        drop(child.kill());
        drop(child.wait());
        drop(reader.join());
        let verdict = match silent {
            true => Verdict::Silent,
            false => Verdict::Killed,
        };
        match current {
            None => return Err(says("the process of the mutants did not start one")),
            Some(ORIGINAL) if !verdicts.contains_key(&ORIGINAL) => {
                let text =
                    format!("{file}: its cases do not come to an end on the kernels as they are");
                return Err(says(&text));
            }
            Some(n) => drop(verdicts.entry(n).or_insert(verdict)),
        }
    }
    Ok(verdicts)
}

/// Runs the mutants that the environment names and prints what became of each. Without any it has nothing to do.
#[test]
#[ignore = "a process that the other tests of this module start"]
fn worker() {
    let (Some(path), Ok(file), Ok(numbers)) = (
        env::var_os("MTNAS_MUTANT_LIBRARY"),
        env::var("MTNAS_MUTANT_FILE"),
        env::var("MTNAS_MUTANT_NUMBERS"),
    ) else {
        return;
    };
    std::panic::set_hook(Box::new(|_| {}));
    let mut out = std::io::stdout();
    let family = FAMILIES.iter().find(|f| f.file == file).unwrap();
    println!();
    let library = match Library::load(Path::new(&path)) {
        Ok(library) => library,
        Err(e) => return println!("@error {e}"),
    };
    for n in numbers.split(',').filter_map(|n| n.parse().ok()) {
        println!("@start {n}");
        drop(out.flush());
        let entries = match library.kernels(n) {
            Ok(entries) => entries,
            Err(e) => return println!("@error {e}"),
        };
        let device = Emulated::new(Limits::SM_80, 2)
            .with_patience(PATIENCE)
            .with_kernels(entries);
        let cases = || (family.cases)(Box::new(device));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(cases));
        match done {
            Ok(Ok(())) => println!("@survived {n}"),
            Ok(Err(e)) => println!("@killed {n} {}", e.render().replace('\n', " ")),
            Err(_) => println!("@killed {n} panic"),
        }
        drop(out.flush());
    }
}
