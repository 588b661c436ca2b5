//! Finds the kernels in `kernels/*.cu`, writes their names as Rust constants, compiles them for the emulated device, and for GPUs
//! where there is an nvcc.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// How kernels are compiled for the emulated device: a call before every memory access, and where arithmetic is undefined;
/// src/backend/emulated supplies the functions.
const FLAGS: &[&str] = &[
    "-std=c++17",
    "-fsanitize=thread",
    "-fsanitize=bounds,signed-integer-overflow,integer-divide-by-zero,shift",
    "-fno-exceptions",
    "-fno-semantic-interposition",
    "-Wno-attributes", // functions that are inlined without being declared inline
    "-ffp-contract=off",
];
/// One more where the compiler knows it: calls that the emulator has no use for.
const FLAG: &str = "--param=tsan-instrument-func-entry-exit=0";

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
    gpu_binaries(&files, &out);
    // Kernels with a planted fault each, for the emulator's own tests: not part of a release.
    if env::var("PROFILE").is_ok_and(|p| p == "debug") {
        println!("cargo:rustc-cfg=mtnas_corpus");
        files.extend(sources(Path::new("kernels/corpus")));
    }
    let mut build = cc::Build::new();
    build.cpp(true);
    let mut flags = FLAGS.to_vec();
    if build.is_flag_supported(FLAG).unwrap_or(false) {
        flags.push(FLAG);
    }
    // The tests compile kernels with planted faults in the same way.
    println!("cargo:rustc-env=MTNAS_EMULATED_FLAGS={}", flags.join(" "));
    build
        .include("kernels")
        .opt_level(1)
        .debug(false)
        .flag("-Wall")
        .flag("-Wno-unused-variable");
    for f in flags {
        build.flag(f);
    }
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
        let _ = writeln!(tables, "    emu_entries_{stem},");
        let _ = writeln!(
            declared,
            "    fn emu_entries_{stem}(n: *mut usize) -> *const Entry;"
        );
    }
    build.compile("mtnas_kernels");
    fs::write(out.join("kernels.rs"), rust).expect("OUT_DIR can be written");
    let tables = format!(
        "unsafe extern \"C\" {{\n{declared}}}\n/// One for each file of kernels.\n\
         pub const TABLES: &[unsafe extern \"C\" fn(*mut usize) -> *const Entry] = &[\n{tables}];\n"
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

/// Where nvcc may be, the first that is there: variables, `.cuda` beside or above the sources, the usual place, the path.
fn nvcc() -> Option<PathBuf> {
    for name in ["MTNAS_NVCC", "CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let var = |name: &str| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = var("MTNAS_NVCC") {
        assert!(
            path.is_file(),
            "MTNAS_NVCC={}: no such file",
            path.display()
        );
        return Some(path);
    }
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let homes = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"]
        .into_iter()
        .filter_map(var);
    let local = here.ancestors().map(|d| d.join(".cuda/nvidia/cu13"));
    let usual = [PathBuf::from("/usr/local/cuda")];
    let bins = homes.chain(local).chain(usual).map(|d| d.join("bin"));
    let path = var("PATH").unwrap_or_default();
    bins.chain(env::split_paths(&path))
        .map(|d| d.join("nvcc"))
        .find(|p| p.is_file())
}

/// Compiles every file into one compressed binary for all architectures, several files at a time, and writes the list of them.
fn gpu_binaries(files: &[PathBuf], out: &Path) {
    println!("cargo:rerun-if-env-changed=MTNAS_CUDA_ARCHS");
    let mut list = String::from("&[\n");
    let archs = env::var("MTNAS_CUDA_ARCHS").unwrap_or_else(|_| "80,89,90a,100".into());
    let none = archs.trim().is_empty();
    if let Some(nvcc) = nvcc().filter(|_| !none) {
        let archs: Vec<&str> = archs.split(',').map(str::trim).collect();
        let least = archs
            .iter()
            .map(|a| a.trim_end_matches(char::is_alphabetic))
            .min_by_key(|a| a.parse::<u32>().ok());
        println!(
            "cargo:rustc-env=MTNAS_GPU_ARCHITECTURES={}, PTX of {}",
            archs.join(" "),
            least.unwrap_or_default()
        );
        let compile = |file: &PathBuf| {
            let target = out.join(format!("{}.fatbin", stem(file)));
            let mut c = std::process::Command::new(&nvcc);
            c.args([
                "-std=c++17",
                "-O3",
                "--fatbin",
                "--compress-mode=size",
                "-fmad=true",
                "-Ikernels",
            ]);
            for a in &archs {
                c.arg(format!("-gencode=arch=compute_{a},code=sm_{a}"));
            }
            if let Some(a) = least {
                c.arg(format!("-gencode=arch=compute_{a},code=compute_{a}"));
            }
            let done = c.arg(file).arg("-o").arg(&target).output();
            let done = done.unwrap_or_else(|e| panic!("{}: {e}", nvcc.display()));
            let said = format!(
                "{}{}",
                String::from_utf8_lossy(&done.stdout),
                String::from_utf8_lossy(&done.stderr)
            );
            assert!(
                done.status.success(),
                "nvcc does not compile {}:\n{said}",
                file.display()
            );
            target
        };
        let at_once = env::var("NUM_JOBS")
            .ok()
            .and_then(|n| n.parse().ok())
            .unwrap_or(1usize);
        let next = std::sync::Mutex::new(files.iter());
        let worker = || {
            let mut made = vec![];
            loop {
                // In a statement of its own: the lock is held for it alone.
                let file = next.lock().expect("nobody panics with it").next();
                let Some(file) = file else { return made };
                made.push(compile(file));
            }
        };
        let mut made: Vec<PathBuf> = std::thread::scope(|s| {
            let running: Vec<_> = (0..at_once.max(1)).map(|_| s.spawn(worker)).collect();
            running
                .into_iter()
                .flat_map(|r| r.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
                .collect()
        });
        made.sort();
        for m in made {
            let _ = writeln!(list, "    ({:?}, include_bytes!({:?})),", stem(&m), m);
        }
    } else {
        println!("cargo:rustc-env=MTNAS_GPU_ARCHITECTURES=");
        if !none {
            println!(
                "cargo:warning=no nvcc: built without GPU kernels (MTNAS_NVCC or CUDA_HOME name one; the CPU needs none)"
            );
        }
    }
    list += "]\n";
    fs::write(out.join("gpu_binaries.rs"), list).expect("OUT_DIR can be written");
}
