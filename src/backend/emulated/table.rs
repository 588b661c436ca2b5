//! The compiled kernels and their C++ signatures.

use std::ffi::{CStr, c_char};

use crate::backend::driver::{Arg, Kernel};
use crate::error::{Code, Error, Result};

/// One parameter of a kernel.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    role: u8,
    kind: u8,
    size: u32,
    /// Arguments that it is made of: more than one for a list of pointers.
    count: u32,
}

/// One kernel: `EmuEntry` of the header.
#[repr(C)]
pub struct Entry {
    name: *const c_char,
    /// Calls it with pointers to its arguments.
    pub run: unsafe extern "C-unwind" fn(*const *mut u8),
    parameters: *const Parameter,
    count: usize,
}

// SAFETY: constant tables of compiled code; nobody writes them.
#[allow(unsafe_code)]
unsafe impl Send for Entry {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Entry {}

#[allow(unsafe_code)]
mod generated {
    use super::Entry;

    include!(concat!(env!("OUT_DIR"), "/tables.rs"));
}

#[allow(unsafe_code)]
fn entries() -> impl Iterator<Item = &'static Entry> {
    generated::TABLES.iter().flat_map(|f| {
        let mut n = 0;
        // SAFETY: the function returns its static table and stores its length.
        unsafe { std::slice::from_raw_parts(f(&mut n), n) }
    })
}

/// How many arguments make up each parameter of a kernel: more than one where it is a list of pointers.
///
/// # Errors
/// As [`find`].
pub fn groups(kernel: &Kernel) -> Result<Vec<usize>> {
    Ok(find(kernel, None)?.groups().collect())
}

/// The compiled form of `kernel`, in `others` first.
///
/// # Errors
/// `Internal` when the build does not hold it.
pub fn find(kernel: &Kernel, others: Option<&'static [Entry]>) -> Result<&'static Entry> {
    let mut all = others.into_iter().flatten().chain(entries());
    all.find(|e| e.name() == kernel.name).ok_or_else(|| {
        Error::new(
            Code::Internal,
            format!("kernel `{}` is not built in", kernel.name),
        )
    })
}

impl Entry {
    #[allow(unsafe_code)]
    fn name(&self) -> &'static str {
        // SAFETY: a string literal of the table.
        unsafe { CStr::from_ptr(self.name) }.to_str().unwrap_or("?")
    }

    #[allow(unsafe_code)]
    fn parameters(&self) -> &'static [Parameter] {
        // SAFETY: the static array of the kernel's trampoline.
        unsafe { std::slice::from_raw_parts(self.parameters, self.count) }
    }

    /// How many arguments make up each parameter.
    pub fn groups(&self) -> impl Iterator<Item = usize> + use<> {
        self.parameters().iter().map(|p| p.count as usize)
    }

    /// Holds arguments against the signature.
    ///
    /// # Errors
    /// `Device`: their number, or the first that does not fit.
    pub fn check(&self, args: &[Arg]) -> Result<()> {
        let parameters = self.parameters();
        let refuse = |text: String| {
            Err(Error::new(
                Code::Device,
                format!("kernel `{}`: {text}", self.name()),
            ))
        };
        let wanted: usize = self.groups().sum();
        if args.len() != wanted {
            return refuse(format!("{} arguments for {wanted} parameters", args.len()));
        }
        let each = parameters
            .iter()
            .flat_map(|p| std::iter::repeat_n(p, p.count as usize));
        for (i, (a, p)) in args.iter().zip(each).enumerate() {
            if a.is_null() && p.count == 1 {
                return refuse(format!("argument {i} points nowhere"));
            }
            let (role, kind) = match a {
                Arg::In(_, t) => (b'i', t.letter()),
                Arg::Out(_, t) => (b'o', t.letter()),
                Arg::F32(_) => (b'v', b'f'),
                Arg::I32(_) => (b'v', b'i'),
                Arg::I64(_) => (b'v', b'l'),
                Arg::U32(_) => (b'v', b'u'),
            };
            if (role, kind) != (p.role, p.kind) {
                let text = |r: u8, k: u8| {
                    let role = match r {
                        b'i' => "pointer to const",
                        b'o' => "pointer to",
                        _ => "value of type",
                    };
                    format!("{role} `{}`", char::from(k))
                };
                return refuse(format!(
                    "argument {i} is a {}, the parameter a {}",
                    text(role, kind),
                    text(p.role, p.kind)
                ));
            }
        }
        Ok(())
    }
}
