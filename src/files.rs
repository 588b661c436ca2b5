//! Files that are whole or absent: written beside their place, forced to disk, then renamed. A leaf.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};

/// The operations of a file system that a safe write needs, so that tests can let any of them fail.
pub trait Disk {
    /// Creates (or empties) `path`, writes `parts` one after the other, and forces them to the device.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()>;
    /// Renames over whatever is at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Forces a directory's entries to the device.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let mut file = File::create(path)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Windows has no handle on a directory to flush; its rename is durable by itself.
        if cfg!(unix) {
            File::open(dir)?.sync_all()
        } else {
            Ok(())
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
}

/// A new folder in `parent` to build `name` in, which nobody else has: not the rest of a program that was killed either, whose files may be
/// hard links to those of a data set.
///
/// # Errors
/// `Io`, `NotFound` where it cannot be made.
pub fn create_fresh(parent: &Path, name: &str) -> Result<PathBuf> {
    for n in 0.. {
        let path = parent.join(format!(".{name}.part-{}-{n}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io(&path, e)),
        }
    }
    unreachable!("there are more numbers than files")
}

/// The temporary name beside `path` that an unfinished write leaves behind.
pub fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Writes `bytes` to `path` so that a reader finds the old file or the new one, whole, whatever happens in between.
///
/// # Errors
/// `CannotCreate` for a full disk or missing permission, `NotFound` for a missing directory, `Io`; the old file is intact.
pub fn write_atomic(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    write_atomic_on(&RealDisk, path.as_ref(), &[bytes])
}

/// As [`write_atomic`], of several parts, on any [`Disk`].
///
/// # Errors
/// As [`write_atomic`].
pub fn write_atomic_on(disk: &dyn Disk, path: &Path, parts: &[&[u8]]) -> Result<()> {
    let temp = temporary(path);
    let dir = match path.parent() {
        Some(d) if !d.as_os_str().is_empty() => d,
        _ => Path::new("."),
    };
    disk.write(&temp, parts)
        .and_then(|()| disk.rename(&temp, path))
        .map_err(|e| {
            // The space of the unfinished file is needed more than its bytes; that it may fail again changes nothing.
            let _ = disk.remove(&temp);
            Error::io(path, e)
        })?;
    disk.sync_dir(dir).map_err(|e| Error::io(dir, e))
}

/// Creates `dir` and all above it.
///
/// # Errors
/// `CannotCreate` where the name is taken by a file or may not be created, `Io`.
pub fn create_dir(dir: impl AsRef<Path>) -> Result<()> {
    let dir = dir.as_ref();
    std::fs::create_dir_all(dir).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => Error::new(
            Code::CannotCreate,
            format!("not a directory: {}", dir.display()),
        )
        .at(dir.display())
        .help("a file of that name is in the way: move it or choose another name"),
        _ => Error::io(dir, e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_replaces_whole_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        write_atomic_on(&RealDisk, &path, &[b"n", b"ew"]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let e = write_atomic(dir.path().join("no/such/dir"), b"x").unwrap_err();
        assert_eq!(e.code(), Code::NotFound);
        let e = create_dir(path.join("below")).unwrap_err();
        assert_eq!(e.code(), Code::CannotCreate);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        // Everything written to the temporary name goes to a device that is always full.
        std::os::unix::fs::symlink("/dev/full", temporary(&path)).unwrap();
        let e = write_atomic(&path, &[7; 10_000]).unwrap_err();
        assert_eq!(e.code(), Code::CannotCreate);
        assert!(e.message().contains("no space left"), "{e}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        write_atomic(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
