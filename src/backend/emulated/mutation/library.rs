//! Many mutants of a kernel file compiled into one shared library, each in a namespace of its own, and loaded.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::super::{calls, table};
use crate::error::{Code, Error, Result};

/// The flags that `build.rs` compiles kernels with.
const FLAGS: &str = env!("MTNAS_EMULATED_FLAGS");

fn failed(text: impl Into<String>) -> Error {
    Error::new(Code::Internal, text)
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |e| failed(format!("{path}: {e}"))
}

fn compiler() -> Command {
    Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()))
}

fn run(c: &mut Command) -> Result<std::process::Output> {
    c.output().map_err(|e| failed(format!("{c:?}: {e}")))
}

/// The part of every library that hands calls on to the program, compiled once into `dir`.
///
/// # Errors
/// `Internal` with the compiler's words.
pub fn host(dir: &Path) -> Result<PathBuf> {
    let (source, object) = (dir.join("host.cc"), dir.join("host.o"));
    fs::write(&source, include_str!("host.cc")).map_err(io(&source))?;
    let mut c = compiler();
    c.args(["-c", "-fPIC", "-O1", "-std=c++17"]).arg(&source);
    let done = run(c.arg("-o").arg(&object))?;
    match done.status.success() {
        true => Ok(object),
        false => Err(failed(String::from_utf8_lossy(&done.stderr))),
    }
}

/// `text` in namespace `m{number}`, with a table of its kernels.
fn wrapped(file: &str, number: usize, text: &str) -> String {
    const ENTRY: &str = "extern \"C\" __global__ void ";
    let name = |after: &str| after.split('(').next().unwrap_or_default().to_string();
    let entries: String = text
        .split(ENTRY)
        .skip(1)
        .map(|after| format!("EMU_ENTRY({}), ", name(after)))
        .collect();
    let include = |line: &str| line.starts_with("#include") || line.starts_with("#pragma once");
    let body: String = text
        .lines()
        .map(|l| {
            if include(l) {
                "\n".into()
            } else {
                format!("{l}\n")
            }
        })
        .collect();
    let body = body.replace(ENTRY, "__global__ void ");
    let macros: String = text
        .lines()
        .filter_map(|l| l.strip_prefix("#define "))
        .filter_map(|l| l.split(|c: char| !c.is_alphanumeric() && c != '_').next())
        .map(|m| format!("#undef {m}\n"))
        .collect();
    format!(
        "namespace m{number} {{\n#line 1 \"m{number}/{file}\"\n{body}\n\
         extern \"C\" const EmuEntry *emu_entries_m{number}(size_t *n) {{\n    static const EmuEntry all[] = {{{entries}}};\n    \
         *n = sizeof all / sizeof *all;\n    return all;\n}}\n}}\n{macros}"
    )
}

/// Compiles mutants by number; returns the library and the numbers in it: those left out do not compile.
///
/// # Errors
/// `Internal` when the compiler cannot be run or blames no mutant.
pub fn build(
    dir: &Path,
    host: &Path,
    kernels: &Path,
    file: &str,
    mutants: &[(usize, &str)],
) -> Result<(PathBuf, Vec<usize>)> {
    let mut left: Vec<(usize, &str)> = mutants.to_vec();
    let name = format!("{file}-{}", mutants.first().map_or(0, |m| m.0));
    let source = dir.join(format!("{name}.cc"));
    let library = dir.join(format!("{name}.so"));
    while !left.is_empty() {
        let mut includes: Vec<&str> = vec![];
        for line in left.iter().flat_map(|m| m.1.lines()) {
            if line.starts_with("#include") && !includes.contains(&line) {
                includes.push(line);
            }
        }
        let mut text = includes.join("\n") + "\n";
        left.iter().for_each(|(n, m)| text += &wrapped(file, *n, m));
        fs::write(&source, text).map_err(io(&source))?;
        let mut c = compiler();
        c.args(FLAGS.split(' '))
            .args(["-w", "-O0", "-fPIC", "-shared", "-I"]);
        c.arg(kernels).arg(&source);
        // The object by itself is linked without the sanitizers' own libraries.
        let object = dir.join(format!("{name}.o"));
        let done = run(c.arg("-c").arg("-o").arg(&object))?;
        if done.status.success() {
            let mut link = compiler();
            link.arg("-shared")
                .arg(&object)
                .arg(host)
                .arg("-o")
                .arg(&library);
            let done = run(&mut link)?;
            if !done.status.success() {
                return Err(failed(String::from_utf8_lossy(&done.stderr)));
            }
            return Ok((library, left.iter().map(|m| m.0).collect()));
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let number = |part: &str| {
            let digits = part.find(|c: char| !c.is_ascii_digit())?;
            part[digits..]
                .starts_with('/')
                .then(|| part[..digits].parse().ok())?
        };
        let blamed = |only_errors: bool| -> BTreeSet<usize> {
            let lines = said
                .lines()
                .filter(|l| !only_errors || l.contains("error:"));
            lines
                .flat_map(|l| l.split('m').skip(1).filter_map(number))
                .collect()
        };
        let mut guilty = blamed(true);
        if guilty.is_empty() {
            guilty = blamed(false);
        }
        let before = left.len();
        left.retain(|(n, _)| !guilty.contains(n));
        if left.len() == before {
            return Err(failed(format!("{file}: {said}")));
        }
    }
    Ok((library, vec![]))
}

#[allow(unsafe_code)]
mod system {
    use super::*;

    unsafe extern "C" {
        pub fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
        pub fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
        pub fn dlerror() -> *const c_char;
    }
}

/// All names bound at once, seen by nobody else.
const RTLD_NOW: c_int = 2;

/// A library of mutants, for the rest of the process.
pub struct Library(*mut c_void);

impl Library {
    /// Loads it and connects it to the emulator.
    ///
    /// # Errors
    /// `Internal` when it cannot be loaded, or lacks a word that kernels call.
    #[allow(unsafe_code)]
    pub fn load(path: &Path) -> Result<Library> {
        let name =
            CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| failed(e.to_string()))?;
        // SAFETY: a library that `build` made, whose constructors call `__tsan_init` of its own at most.
        let library = unsafe { system::dlopen(name.as_ptr(), RTLD_NOW) };
        if library.is_null() {
            // SAFETY: dlopen has failed on this thread, so there is a text.
            let why = unsafe { CStr::from_ptr(system::dlerror()) };
            return Err(failed(why.to_string_lossy()));
        }
        let library = Library(library);
        for (word, function) in calls::words() {
            if word == "__tsan_init" {
                continue;
            }
            let at = library.symbol(&format!("emu_host_{word}"))?.cast::<usize>();
            // SAFETY: a variable of the library that holds a pointer to a function of this signature.
            unsafe { *at = function };
        }
        Ok(library)
    }

    #[allow(unsafe_code)]
    fn symbol(&self, name: &str) -> Result<*mut c_void> {
        let c = CString::new(name).map_err(|e| failed(e.to_string()))?;
        // SAFETY: the handle is that of a loaded library.
        let at = unsafe { system::dlsym(self.0, c.as_ptr()) };
        match at.is_null() {
            true => Err(failed(format!("the library of mutants lacks `{name}`"))),
            false => Ok(at),
        }
    }

    /// The kernels of mutant `number`.
    ///
    /// # Errors
    /// `Internal` when it is not in the library.
    #[allow(unsafe_code)]
    pub fn kernels(&self, number: usize) -> Result<&'static [table::Entry]> {
        type Entries = unsafe extern "C" fn(*mut usize) -> *const table::Entry;
        let at = self.symbol(&format!("emu_entries_m{number}"))?;
        let mut n = 0;
        // SAFETY: `wrapped` defines this function with this signature; it returns a static table, and libraries are never unloaded.
        unsafe {
            let entries = std::mem::transmute::<*mut c_void, Entries>(at);
            Ok(std::slice::from_raw_parts(entries(&mut n), n))
        }
    }
}
