//! Files as memory: read-only, so large ones cost nothing until a part of them is looked at.

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::Mmap;

/// The bytes of a file, mapped for reading.
///
/// The file must not be changed or cut while it is mapped; whoever maps a file replaces it as a whole, by renaming another one over it,
/// which leaves the mapped one as it was.
pub struct Mapped(Mmap);

impl Mapped {
    /// Maps all of `file`, which is expected to be read here and there.
    ///
    /// # Errors
    /// What the system says; an empty file cannot be mapped.
    #[allow(unsafe_code)]
    pub fn of(file: &File) -> io::Result<Mapped> {
        // SAFETY: the map is read-only. Nothing in this crate writes to a file that it maps: such files are written beside their place and
        // renamed. A stranger who cuts the file makes the system end the process (SIGBUS); nobody reads memory that is not the file's.
        let map = unsafe { Mmap::map(file)? };
        // A hint: without it the system reads ahead what a shuffled order does not ask for.
        #[cfg(unix)]
        let _ = map.advise(memmap2::Advice::Random);
        Ok(Mapped(map))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_bytes_also_after_it_was_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, [7; 5000]).unwrap();
        let map = Mapped::of(&File::open(&path).unwrap()).unwrap();
        let other = dir.path().join("b");
        std::fs::write(&other, b"short").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(&map[..], [7; 5000]);
        assert_eq!(&*Mapped::of(&File::open(&path).unwrap()).unwrap(), b"short");
    }
}
