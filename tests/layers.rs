//! The arrows of the house (docs/architecture.md): a layer may use only the layers below it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every layer and the layers that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("annotation", &[]),
    ("error", &[]),
    ("rng", &[]),
    ("settings", &[]),
    ("dual", &[]),
    ("rounding", &["dual"]),
    ("files", &["error"]),
    // Tests only: every layer may be tested with damaged files.
    ("mutation", &["error", "rng"]),
    // `backend` and `tensor` are one storage: the buffer below, its shape above.
    ("backend", &["dual", "error", "rng", "tensor"]),
    ("tensor", &["backend", "error"]),
    ("portable", &["tensor"]),
    (
        "tape",
        &["backend", "dual", "error", "portable", "rounding", "tensor"],
    ),
    (
        "ops",
        &[
            "backend", "dist", "dual", "error", "portable", "rng", "tape", "tensor", "rounding",
        ],
    ),
    (
        "gradcheck",
        &[
            "backend", "dual", "error", "ops", "rng", "tape", "tensor", "rounding",
        ],
    ),
    (
        "microbench",
        &[
            "backend",
            "error",
            "gradcheck",
            "ops",
            "rng",
            "tape",
            "tensor",
        ],
    ),
    ("nn", &["backend", "error", "ops", "rng", "tape", "tensor"]),
    (
        "optim",
        &[
            "backend", "dual", "error", "nn", "ops", "settings", "tensor",
        ],
    ),
    (
        "space",
        &["error", "nn", "ops", "rng", "settings", "tape", "tensor"],
    ),
    ("metrics", &["annotation", "error", "rng", "settings"]),
    (
        "task",
        &[
            "annotation",
            "backend",
            "dual",
            "error",
            "metrics",
            "ops",
            "rng",
            "settings",
            "tape",
            "tensor",
        ],
    ),
    (
        "model",
        &[
            "error", "nn", "ops", "rng", "settings", "space", "tape", "task", "tensor",
        ],
    ),
    (
        "data",
        &[
            "annotation",
            "backend",
            "error",
            "files",
            "rng",
            "settings",
            "tensor",
        ],
    ),
    (
        "export",
        &[
            "annotation",
            "error",
            "files",
            "model",
            "nn",
            "ops",
            "portable",
            "rng",
            "space",
            "tape",
            "task",
            "tensor",
        ],
    ),
    (
        "infer",
        &[
            "backend", "error", "export", "model", "nn", "ops", "portable", "tape", "tensor",
        ],
    ),
    (
        "report",
        &[
            "annotation",
            "error",
            "files",
            "metrics",
            "model",
            "rng",
            "space",
            "tensor",
        ],
    ),
    ("dist", &["backend", "error", "tensor"]),
    (
        "search",
        &[
            "annotation",
            "backend",
            "data",
            "dist",
            "error",
            "export",
            "files",
            "metrics",
            "model",
            "nn",
            "ops",
            "optim",
            "report",
            "rng",
            "settings",
            "space",
            "tape",
            "task",
            "tensor",
        ],
    ),
    ("cli", &["*"]),
];

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir)
        .expect("a source directory")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// The layers named after `crate::` in `text`, comments and tests left out.
fn used(text: &str) -> Vec<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default()
        .lines()
        .filter(|l| !l.trim_start().starts_with("//"))
        .map(|l| format!("{l}\n"))
        .collect();
    let mut found = vec![];
    for (i, _) in code.match_indices("crate::") {
        let rest = &code[i + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list
                .split('}')
                .next()
                .unwrap_or_default()
                .split(',')
                .collect(),
            None => vec![rest],
        };
        for n in names {
            let word: String = n
                .trim()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.push(word);
        }
    }
    found
}

fn layer_of(root: &Path, path: &Path) -> Option<String> {
    let first = path.strip_prefix(root).ok()?.components().next()?;
    let name = first
        .as_os_str()
        .to_string_lossy()
        .trim_end_matches(".rs")
        .to_string();
    (name != "lib" && name != "main").then_some(name)
}

fn violations(files: &[(String, PathBuf, String)]) -> Vec<String> {
    let table: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut bad = vec![];
    for (layer, path, text) in files {
        let Some(allowed) = table.get(layer.as_str()) else {
            bad.push(format!(
                "{}: layer `{layer}` is not in the table",
                path.display()
            ));
            continue;
        };
        for u in used(text) {
            let known = table.contains_key(u.as_str());
            if known && u != *layer && !allowed.contains(&"*") && !allowed.contains(&u.as_str()) {
                bad.push(format!("{}: `{layer}` uses `{u}`", path.display()));
            }
        }
    }
    bad.sort();
    bad.dedup();
    bad
}

fn files() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = vec![];
    sources(&root, &mut paths);
    let test_file = |p: &Path| {
        let text = p.to_string_lossy();
        text.ends_with("_tests.rs")
            || text.ends_with("tests.rs")
            || text.contains("/tests/")
            // Compiled for tests only: mutants of the kernels are held against the operations.
            || text.contains("/emulated/mutation/")
            || text.contains("/fabricate/")
    };
    paths
        .into_iter()
        .filter(|p| !test_file(p))
        .filter_map(|p| {
            Some((
                layer_of(&root, &p)?,
                p.clone(),
                std::fs::read_to_string(&p).ok()?,
            ))
        })
        .collect()
}

#[test]
fn arrows_run_one_way() {
    let bad = violations(&files());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn an_arrow_that_runs_back_is_caught() {
    let planted = vec![(
        "ops".to_string(),
        PathBuf::from("src/ops/x.rs"),
        "use crate::model::Network;\n".to_string(),
    )];
    assert_eq!(violations(&planted).len(), 1);
    let listed = vec![(
        "tape".to_string(),
        PathBuf::from("t"),
        "use crate::{error::Error, ops::relu};\n".to_string(),
    )];
    assert_eq!(violations(&listed).len(), 1);
}

#[test]
fn unsafe_code_stays_under_backend() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = vec![];
    sources(&root, &mut paths);
    for p in paths {
        let text = std::fs::read_to_string(&p).expect("a source file");
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        let unsafe_here = code
            .filter(|l| {
                l.contains("unsafe {") || l.contains("unsafe fn") || l.contains("unsafe impl")
            })
            .count();
        let under_backend = p
            .strip_prefix(&root)
            .is_ok_and(|p| p.starts_with("backend"));
        assert!(
            unsafe_here == 0 || under_backend,
            "{} has unsafe code",
            p.display()
        );
    }
}
