//! Finds the kernels in `kernels/*.cu`, writes their names as Rust constants and compiles them for the emulator.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// A kernel and where it stands.
struct Entry {
    name: String,
    line: usize,
}

fn main() {
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-check-cfg=cfg(mtnas_corpus)");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut files = sources(Path::new("kernels"));
    // Kernels with a planted fault each, for the emulator's own tests: not part of a release.
    if env::var("PROFILE").is_ok_and(|p| p == "debug") {
        println!("cargo:rustc-cfg=mtnas_corpus");
        files.extend(sources(Path::new("kernels/corpus")));
    }
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .include("kernels")
        .opt_level(1)
        .debug(false)
        .flag("-fsanitize=thread") // a call before every memory access; src/backend/emulated supplies them
        .flag("-fno-exceptions")
        .flag("-ffp-contract=off")
        .flag_if_supported("--param=tsan-instrument-func-entry-exit=0")
        .flag("-Wall")
        .flag("-Wno-unused-variable");
    let mut rust = String::from("// Written by build.rs from kernels/*.cu.\n");
    let (mut tables, mut declared) = (String::new(), String::new());
    for path in &files {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let entries = scan(path, &text);
        let stem = stem(path);
        let full = fs::canonicalize(path).expect("a file just read");
        let mut cpp = format!("#include {:?}\n", full);
        let _ = writeln!(
            cpp,
            "extern \"C\" const EmuEntry *emu_entries_{stem}(size_t *n) {{"
        );
        let _ = writeln!(cpp, "    static const EmuEntry all[] = {{");
        for e in &entries {
            let _ = writeln!(cpp, "        EMU_ENTRY({}),", e.name);
            let (name, file) = (&e.name, path.display().to_string());
            let _ = writeln!(
                rust,
                "/// `{file}`, line {}.\npub const {}: Kernel = Kernel {{ name: {name:?}, file: {file:?} }};",
                e.line,
                name.to_uppercase()
            );
        }
        let _ = writeln!(
            cpp,
            "    }};\n    *n = sizeof all / sizeof *all;\n    return all;\n}}"
        );
        let unit = out.join(format!("emulated_{stem}.cc"));
        fs::write(&unit, cpp).expect("OUT_DIR can be written");
        build.file(unit);
        let _ = writeln!(tables, "    unsafe {{ table(emu_entries_{stem}) }},");
        let _ = writeln!(
            declared,
            "    fn emu_entries_{stem}(n: *mut usize) -> *const Entry;"
        );
    }
    build.compile("mtnas_kernels");
    fs::write(out.join("kernels.rs"), rust).expect("OUT_DIR can be written");
    let tables = format!(
        "unsafe extern \"C\" {{\n{declared}}}\nfn tables() -> Vec<&'static [Entry]> {{\n    // SAFETY: each returns its \
         static table and its length.\n    vec![\n{tables}    ]\n}}\n"
    );
    fs::write(out.join("tables.rs"), tables).expect("OUT_DIR can be written");
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .expect("a .cu file")
        .to_string_lossy()
        .into_owned()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "cu"))
        .collect();
    all.sort();
    all
}

/// Blanks comments and strings, so that only code is read; line breaks stay.
fn code_only(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |i| i + 2)
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.extend(
            rest[..skip]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' }),
        );
        rest = &rest[skip..];
    }
    out
}

/// The entries of a file. Every `__global__` must be a literal `extern "C" __global__ void NAME(`.
fn scan(path: &Path, text: &str) -> Vec<Entry> {
    let code = code_only(text);
    let line = |at: usize| code[..at].matches('\n').count() + 1;
    if let Some(at) = code.find("__shared__") {
        panic!(
            "{}:{}: use SHARED(type, name, count) in place of __shared__",
            path.display(),
            line(at)
        );
    }
    if let Some(at) = code.find("float4 *") {
        panic!(
            "{}:{}: use load4 or store4 in place of a pointer to float4",
            path.display(),
            line(at)
        );
    }
    let mut all = vec![];
    for (at, word) in code.match_indices("__global__") {
        let before = code[..at].trim_end();
        let after = code[at + word.len()..].trim_start();
        let name = after
            .strip_prefix("void ")
            .and_then(|a| a.split_once('('))
            .map(|(n, _)| n.trim());
        match name.filter(|n| {
            before.ends_with("extern \"C\"") && n.chars().all(|c| c.is_alphanumeric() || c == '_')
        }) {
            Some(name) => all.push(Entry {
                name: name.into(),
                line: line(at),
            }),
            None => panic!(
                "{}:{}: a kernel must begin with: extern \"C\" __global__ void NAME(",
                path.display(),
                line(at)
            ),
        }
    }
    all
}
