//! Configuration files that are damaged or hostile: no panic, no hang, and every error names the file.

use super::tests::FILES;
use super::*;
use crate::rng::Rng;

/// `text` with a few random edits: bytes changed, removed, doubled, lines swapped or cut, odd values put in.
fn mutate(text: &str, rng: &mut Rng) -> Vec<u8> {
    const PIECES: [&str; 16] = [
        "-1",
        "99999999999999999999",
        "nan",
        "inf",
        "\"\"",
        "[]",
        "{}",
        "[[",
        "]]",
        "=",
        "\"",
        "'''",
        "\u{0}",
        "é",
        "1979-05-27",
        "[a.b.c]\n",
    ];
    let mut out = text.as_bytes().to_vec();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(out.len() + 1);
        let end = (at + 1 + rng.below(12)).min(out.len());
        match rng.below(7) {
            0 if at < out.len() => out[at] ^= 1 << rng.below(8),
            1 => drop(out.drain(at..end)),
            2 => {
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            3 => out.truncate(at),
            4 => drop(out.splice(at..at, PIECES[rng.below(PIECES.len())].bytes())),
            5 => {
                // Replace a whole value.
                if let Some(eq) = out[at..].iter().position(|&b| b == b'=') {
                    let from = at + eq + 1;
                    let to = out[from..]
                        .iter()
                        .position(|&b| b == b'\n')
                        .map_or(out.len(), |n| from + n);
                    out.splice(from..to, PIECES[rng.below(PIECES.len())].bytes());
                }
            }
            _ => {
                let mut lines: Vec<Vec<u8>> =
                    out.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
                let (a, b) = (rng.below(lines.len()), rng.below(lines.len()));
                lines.swap(a, b);
                out = lines.join(&b'\n');
            }
        }
    }
    out
}

#[test]
fn mutated_files_never_panic_and_every_error_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mutant.toml");
    let (mut good, mut bad) = (0, 0);
    for case in 0..3000 {
        let mut rng = Rng::new(17, &[case]);
        let (_, text) = FILES[rng.below(FILES.len())];
        let bytes = mutate(text, &mut rng);
        let result = match std::str::from_utf8(&bytes) {
            Ok(t) if case % 20 != 0 => Config::from_toml(t, &path),
            _ => {
                std::fs::write(&path, &bytes).unwrap();
                Config::load(&path, &[])
            }
        };
        match result {
            Ok(c) => {
                good += 1;
                assert_eq!(Config::from_toml(&c.to_toml(), "again").unwrap(), c);
            }
            Err(e) => {
                bad += 1;
                let place = e.place().unwrap_or("(nowhere)");
                assert!(
                    place.starts_with(path.to_str().unwrap()),
                    "case {case}: {}",
                    e.render()
                );
                assert!(!e.message().is_empty());
            }
        }
    }
    assert!(
        good > 100 && bad > 1000,
        "{good} good, {bad} bad: the mutations are not in between"
    );
}

#[test]
fn deep_nesting_is_refused() {
    let n = 100_000;
    let deep = [
        format!("a = {}{}", "[".repeat(n), "]".repeat(n)),
        format!("a = {}", "[".repeat(n)),
        format!("a = {}", "{a=".repeat(n)),
        format!("{}a = 1", "a.".repeat(n)),
        format!("[{}a]\nb = 1", "a.".repeat(n)),
        format!("run.{}a = 1", "a.".repeat(n)),
        format!("tasks.det.{}a = 1", "a.".repeat(n)),
    ];
    for text in deep {
        let e = Config::from_toml(&text, "deep.toml").unwrap_err();
        assert!(
            e.place().unwrap().starts_with("deep.toml"),
            "{}",
            e.message()
        );
    }
    let o = Override::parse(&format!("run.{}a=1", "a.".repeat(n)));
    assert!(o.is_err() || Config::from_toml_with("", "deep.toml", &[o.unwrap()]).is_err());
}
