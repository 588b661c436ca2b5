//! Do the tests of kernels see faults? Every kernel file is given small faults, one at a time, and the agreement cases must fail on
//! each: a mutant that they let pass is listed with its line, and only those of [`survivors`] may be.
//!
//! Mutants run in processes of their own, which may crash or hang; the kernels as they are run there first.

mod cases;
mod families;
mod library;
mod map_cases;
mod process;
mod source;
mod survivors;
mod tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;
use std::{env, fs, thread};

use self::families::{FAMILIES, Family};
use self::process::{ORIGINAL, Verdict, run, says};
use self::source::{Mutant, mutants};
use self::survivors::survivors;
use super::lock;
use crate::error::Result;
use crate::rng::{Rng, word};

/// Mutants of one library.
const BATCH: usize = 24;

/// A file under test: its mutants are counted from 1.
struct Subject {
    family: &'static Family,
    text: String,
    mutants: Vec<Mutant>,
}

/// `kernels/`, where there are sources: not beside a test executable that was copied elsewhere.
fn kernels() -> Option<PathBuf> {
    let root = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let found = root.map(|r| r.join("kernels")).filter(|p| p.is_dir());
    if found.is_none() {
        println!("no sources of kernels here: nothing is mutated");
    }
    found
}

/// The lines, empty where only nvcc reads them or only the preprocessor.
fn emulated_lines(text: &str) -> Vec<&str> {
    let mut read = vec![];
    let mut line = |l| match l {
        "#ifdef __CUDACC__" => {
            read.push(false);
            ""
        }
        "#ifndef __CUDACC__" => {
            read.push(true);
            ""
        }
        "#else" => {
            read.iter_mut().rev().take(1).for_each(|r| *r = !*r);
            ""
        }
        "#endif" => {
            read.pop();
            ""
        }
        _ if read.contains(&false) => "",
        _ => l,
    };
    text.lines().map(&mut line).collect()
}

fn subjects(kernels: &Path) -> Vec<Subject> {
    let only = env::var("MTNAS_MUTANTS_OF").unwrap_or_default();
    let families = FAMILIES.iter().filter(|f| f.file.contains(&only));
    families
        .map(|family| {
            let files = || family.headers.iter().chain([&family.file]);
            let included = |l: &&str| {
                !family
                    .headers
                    .iter()
                    .any(|h| **l == format!("#include \"{h}\""))
            };
            let read = |file: &&str| {
                let text = fs::read_to_string(kernels.join(file)).unwrap();
                // An empty line for what stands in front already, so that lines keep their numbers.
                let lines = emulated_lines(&text).into_iter();
                let lines = lines.map(|l| if included(&l) { l } else { "" });
                lines.map(|l| format!("{l}\n")).collect::<String>()
            };
            let parts: Vec<String> = files().map(read).collect();
            let with = |i: usize, m: &str| {
                let of = |(j, p): (usize, &String)| if j == i { m.to_string() } else { p.clone() };
                parts.iter().enumerate().map(of).collect::<String>()
            };
            let of = |(i, file): (usize, &&'static str)| {
                let of_file = mutants(file, &parts[i]).into_iter();
                let whole = |m: Mutant| Mutant {
                    text: with(i, &m.text),
                    ..m
                };
                of_file.map(whole).collect::<Vec<_>>()
            };
            Subject {
                family,
                text: parts.concat(),
                mutants: files().enumerate().flat_map(of).collect(),
            }
        })
        .collect()
}

/// Compiles and runs the mutants of these numbers; the kernel itself runs with each batch, and must pass.
fn batch(
    dir: &Path,
    host: &Path,
    kernels: &Path,
    s: &Subject,
    numbers: &[usize],
) -> Result<BTreeMap<usize, Verdict>> {
    let mut texts = vec![(ORIGINAL, s.text.as_str())];
    texts.extend(numbers.iter().map(|&n| (n, s.mutants[n - 1].text.as_str())));
    let dir = dir.join(format!("{}-{}", s.family.file, numbers[0]));
    fs::create_dir(&dir).map_err(|e| says(&e.to_string()))?;
    let (library, built) = library::build(&dir, host, kernels, s.family.file, &texts)?;
    let mut verdicts = run(&library, s.family.file, &built)?;
    verdicts.remove(&ORIGINAL);
    for n in numbers {
        verdicts.entry(*n).or_insert(Verdict::Unbuilt);
    }
    drop(fs::remove_dir_all(&dir));
    Ok(verdicts)
}

/// Runs the chosen mutants, several batches at a time; the verdicts as the choice stands.
fn judge(
    kernels: &Path,
    subjects: &[Subject],
    chosen: &[(usize, usize)],
) -> Vec<((usize, usize), Verdict)> {
    let dir = tempfile::tempdir().unwrap();
    let host = library::host(dir.path()).unwrap();
    let mut jobs: Vec<(usize, Vec<usize>)> = vec![];
    for s in 0..subjects.len() {
        let of: Vec<usize> = chosen.iter().filter(|c| c.0 == s).map(|c| c.1).collect();
        jobs.extend(of.chunks(BATCH).map(|c| (s, c.to_vec())));
    }
    let (jobs, all) = (Mutex::new(jobs), Mutex::new(vec![]));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                loop {
                    let Some((s, numbers)) = lock(&jobs).pop() else {
                        break;
                    };
                    let got = batch(dir.path(), &host, kernels, &subjects[s], &numbers).unwrap();
                    lock(&all).extend(got.into_iter().map(|(n, v)| ((s, n), v)));
                }
            });
        }
    });
    let mut all = all.into_inner().unwrap();
    all.sort_by_key(|a: &((usize, usize), Verdict)| a.0);
    all
}

fn explained(m: &Mutant) -> bool {
    let same =
        |s: &survivors::Survivor| (s.file, s.before, s.after) == (m.file, &m.before, &m.after);
    survivors().any(same)
}

/// Runs the chosen mutants and prints what became of them; returns the share that was killed.
fn report(kernels: &Path, subjects: &[Subject], chosen: &[(usize, usize)]) -> f64 {
    let begin = Instant::now();
    let verdicts = judge(kernels, subjects, chosen);
    let mut unexplained = String::new();
    let (mut killed_of_all, mut built_of_all) = (0, 0);
    for (i, s) in subjects.iter().enumerate() {
        let of = |v: Verdict| {
            let same = move |a: &&((usize, usize), Verdict)| a.0.0 == i && a.1 == v;
            verdicts.iter().filter(same).map(|a| &s.mutants[a.0.1 - 1])
        };
        let [silent, unbuilt] = [Verdict::Silent, Verdict::Unbuilt].map(|v| of(v).count());
        let killed = of(Verdict::Killed).count() + silent;
        let survived: Vec<&Mutant> = of(Verdict::Survived).collect();
        let file = s.family.file;
        println!(
            "{file}: {} mutants, {killed} killed ({silent} of them silent), {} survived, {} of them explained, {unbuilt} do not compile",
            killed + survived.len(),
            survived.len(),
            survived.iter().filter(|m| explained(m)).count()
        );
        killed_of_all += killed;
        built_of_all += killed + survived.len();
        for m in survived.iter().filter(|m| !explained(m)) {
            unexplained += &format!(
                "kernels/{}:{}: {} survives\n    {}\n    {}\n",
                m.file, m.line, m.what, m.before, m.after
            );
        }
        // Of lines that stand in several places, an explanation may be of one.
        let only = |m: &&Mutant| {
            let as_m = |o: &&Mutant| (o.file, &o.before, &o.after) == (m.file, &m.before, &m.after);
            s.mutants.iter().filter(as_m).count() == 1
        };
        for m in of(Verdict::Killed).filter(|m| explained(m)).filter(only) {
            unexplained += &format!(
                "kernels/{}:{}: {} is killed, but explained as a survivor\n    {}\n    {}\n",
                m.file, m.line, m.what, m.before, m.after
            );
        }
    }
    let share = killed_of_all as f64 / built_of_all.max(1) as f64;
    println!("{:.1} % killed in {:.0?}", 100.0 * share, begin.elapsed());
    assert!(unexplained.is_empty(), "\n{unexplained}");
    share
}

/// So many mutants of each file, drawn by chance, the same ones each time.
fn sample(subjects: &[Subject], of_each: usize) -> Vec<(usize, usize)> {
    let of = |(i, s): (usize, &Subject)| {
        let mut r = Rng::new(1, &[word(s.family.file)]);
        let order = r.permutation(s.mutants.len());
        order.into_iter().take(of_each).map(move |n| (i, n + 1))
    };
    subjects.iter().enumerate().flat_map(of).collect()
}

#[test]
fn a_sample_of_mutants_is_killed() {
    const OF_EACH: usize = 3;
    let Some(kernels) = kernels() else { return };
    let subjects = subjects(&kernels);
    report(&kernels, &subjects, &sample(&subjects, OF_EACH));
}

#[test]
#[ignore = "minutes: every mutant of every kernel file, or MTNAS_MUTANTS of each (MTNAS_MUTANTS_OF=part of a file's name)"]
fn every_mutant_is_killed() {
    let Some(kernels) = kernels() else { return };
    let subjects = subjects(&kernels);
    let of_each = env::var("MTNAS_MUTANTS").map_or(usize::MAX, |n| n.parse().unwrap());
    let share = report(&kernels, &subjects, &sample(&subjects, of_each));
    assert!(share >= 0.95, "{share}");
}

#[test]
fn lines_for_nvcc_are_not_mutated() {
    let text = "a\n#ifdef __CUDACC__\nb\n#else\nc\n#endif\n#ifndef __CUDACC__\nd\n#endif\ne";
    let want = ["a", "", "", "", "c", "", "", "d", "", "e"];
    assert_eq!(emulated_lines(text), want);
}

#[test]
fn explanations_are_of_mutants_that_there_are() {
    let Some(kernels) = kernels() else { return };
    let subjects = subjects(&kernels);
    for e in survivors() {
        let mut all = subjects.iter().flat_map(|s| &s.mutants);
        let there = all.any(|m| (m.file, &*m.before, &*m.after) == (e.file, e.before, e.after));
        assert!(there && !e.why.is_empty(), "{}: {}", e.file, e.after);
    }
}
