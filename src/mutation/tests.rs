//! The harness catches what it is there for.

use super::*;
use crate::error::Code;

fn harness(read: fn(&Path) -> Result<()>) -> Tally {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "a number 12 and a word\n").unwrap();
    let target = Target {
        name: "planted",
        file: "file",
        mend: None,
        read,
    };
    run(&target, dir.path(), 40, Duration::from_millis(500))
}

fn text(root: &Path) -> std::result::Result<String, std::string::FromUtf8Error> {
    String::from_utf8(std::fs::read(root.join("file")).unwrap())
}

fn bad(root: &Path) -> Error {
    Error::new(Code::BadLine, "not text").at(root.join("file").display())
}

#[test]
fn mutation_of_a_careful_reader_passes() {
    let tally = harness(|root| text(root).map(drop).map_err(|_| bad(root)));
    assert!(tally.refused > 3 && tally.accepted > 3, "{tally:?}");
}

#[test]
#[should_panic(expected = "panicked")]
fn mutation_finds_a_panic() {
    harness(|root| {
        text(root).unwrap();
        Ok(())
    });
}

#[test]
#[should_panic(expected = "took more than")]
fn mutation_finds_a_hang() {
    harness(|root| {
        if text(root).is_err() {
            std::thread::sleep(Duration::from_secs(3));
        }
        Ok(())
    });
}

#[test]
#[should_panic(expected = "does not name")]
fn mutation_finds_a_nameless_error() {
    harness(|root| {
        text(root)
            .map(drop)
            .map_err(|_| Error::new(Code::BadLine, "not text"))
    });
}

#[test]
fn mutants_differ_and_are_the_same_for_a_seed() {
    let good = b"Car 0.00 0 1.85 387.63 181.54\n".repeat(4);
    let mutants: Vec<Vec<u8>> = (0..200)
        .map(|k| mutate(&good, &mut Rng::new(k, &[])))
        .collect();
    assert_eq!(mutants[7], mutate(&good, &mut Rng::new(7, &[])));
    let mut kinds = mutants.clone();
    kinds.sort();
    kinds.dedup();
    assert!(kinds.len() > 190 && mutants.iter().filter(|m| **m == good).count() < 10);
    let lengths = |f: fn(&usize) -> bool| mutants.iter().map(Vec::len).filter(f).count();
    assert!(
        lengths(|&n| n < 120) > 20 && lengths(|&n| n > 120) > 20 && lengths(|&n| n == 120) > 20
    );
}
