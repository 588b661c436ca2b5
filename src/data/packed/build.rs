//! Makes a packed cache: records in the order of the samples into an unfinished file beside its place, then the places of the records, then
//! a new name. Whoever is stopped in between, by a signal or a crash, goes on after the last whole record.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::coding::encode;
use super::file::PackFile;
use super::layout::{HEAD, HEADER, Head, Header};
use crate::data::batch::Stop;
use crate::data::cached::at_size;
use crate::data::dataset::Dataset;
use crate::error::{Code, Error, Result};
use crate::files::{Disk, RealDisk};

/// Samples that are read before their records are written.
const CHUNK: usize = 32;
/// Time between two notes.
const PAUSE: Duration = Duration::from_secs(10);
/// Time between two looks at the lock of another program.
const GLANCE: Duration = Duration::from_millis(50);
/// Whether the process was asked to stop.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Asks all packing of this process to stop, as Ctrl-C does; there is no way back.
pub fn stop_packing() {
    STOPPED.store(true, Ordering::Relaxed);
}

/// Was that asked for?
pub fn packing_stopped() -> bool {
    STOPPED.load(Ordering::Relaxed)
}

/// Objects too small for the network are kept: whether one is may depend on rounding after it was mirrored, which is still to come.
pub const NO_LEAST: f32 = f32::NEG_INFINITY;

/// What goes into a packed cache.
pub struct Plan<'a> {
    /// Its samples.
    pub set: &'a dyn Dataset,
    /// What tells whether it is still of use.
    pub stamp: [u8; 32],
    /// Height and width of the pictures as they are kept; `None` for their own.
    pub size: Option<(usize, usize)>,
    /// Samples that cannot be read are left out.
    pub skip: bool,
    /// Says whether to stop; asked every few samples.
    pub stop: Stop<'a>,
}

impl Plan<'_> {
    /// The header of an unfinished file.
    fn begun(&self) -> Header {
        Header {
            stamp: self.stamp,
            count: self.set.len() as u64,
            places: 0,
            length: 0,
            crc: 0,
        }
    }

    fn record(&self, index: usize) -> Result<Vec<u8>> {
        let mut head = Head {
            crc: 0,
            index: index as u64,
            own: (0, 0),
            size: (0, 0),
            annotation: 0,
        };
        let sample = match self.set.load(index) {
            Ok(sample) => sample,
            Err(_) if self.skip => return Ok(head.record(&[], &[])),
            Err(e) => return Err(e.at(self.set.place(index))),
        };
        let sides = |h: usize, w: usize| (h as u32, w as u32);
        let (height, width) = (sample.image.height, sample.image.width);
        let own = self.set.own_size(index, (height, width));
        head.own = sides(own.0, own.1);
        let sample = at_size(sample, self.size, NO_LEAST)?;
        head.size = sides(sample.image.height, sample.image.width);
        let annotation = encode(&sample.annotation);
        head.annotation = annotation.len() as u64;
        Ok(head.record(&sample.image.data, &annotation))
    }
}

/// The name of an unfinished file.
pub fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("pack.part")
}

/// Makes the file at `path`, or goes on with it; waits where another program does so, and takes what that one has made.
///
/// # Errors
/// The first sample that cannot be read; those of writing; `Interrupted` when the plan says so, what was packed is gone on with next time.
pub fn build(path: &Path, plan: &Plan, note: &mut dyn FnMut(&str)) -> Result<PackFile> {
    let part = unfinished(path);
    let io = |e| Error::io(&part, e);
    let mut file = loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .map_err(io)?;
        lock(&file, &part, plan.stop, &mut || {
            let path = path.display();
            note(&format!("waiting for the program that makes {path}"));
        })?;
        // Whoever held the lock may have finished, and given the file its name.
        if let Ok(done) = PackFile::open(path)
            && done.fits(&plan.stamp, plan.set.len())
        {
            if has_name(&file, &part) {
                // Opening it may just have made it.
                RealDisk.remove(&part).map_err(io)?;
            }
            return Ok(done);
        }
        // A file that was given its name may be mapped elsewhere: it is not written to any more.
        if has_name(&file, &part) {
            break file;
        }
    };
    let (mut places, mut at) = found(&mut file, plan).map_err(io)?;
    if places.is_empty() {
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        file.write_all(&plan.begun().bytes()).map_err(io)?;
        at = HEADER as u64;
    }
    file.set_len(at).map_err(io)?;
    file.seek(SeekFrom::Start(at)).map_err(io)?;
    let (name, n) = (plan.set.name(), plan.set.len());
    note(&match places.len() {
        0 => format!("{name}: packing {n} samples into {}", path.display()),
        k => format!("{name}: {k} of {n} samples are packed, going on"),
    });
    let mut said = Instant::now();
    while places.len() < n {
        if (plan.stop)() {
            let text = format!("packing was stopped after {} of {n} samples", places.len());
            return Err(interrupted(text, &part));
        }
        let next = places.len()..(places.len() + CHUNK).min(n);
        let records = next.into_par_iter().map(|i| plan.record(i));
        for record in records.collect::<Vec<Result<Vec<u8>>>>() {
            let record = record?;
            file.write_all(&record).map_err(io)?;
            places.push(at);
            at += record.len() as u64;
        }
        if said.elapsed() > PAUSE {
            said = Instant::now();
            note(&format!("{name}: packed {} of {n} samples", places.len()));
        }
    }
    finish(&mut file, plan, &places, at).map_err(io)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    RealDisk.rename(&part, path).map_err(io)?;
    RealDisk.sync_dir(dir).map_err(|e| Error::io(dir, e))?;
    finished(path, plan)
}

/// Opens what was just made.
///
/// # Errors
/// As [`PackFile::open`]; `Busy` where another program has put something else there since.
pub fn finished(path: &Path, plan: &Plan) -> Result<PackFile> {
    let file = PackFile::open(path)?;
    if file.fits(&plan.stamp, plan.set.len()) {
        return Ok(file);
    }
    let text = "another program packed other files or settings under this name meanwhile";
    Err(Error::new(Code::Busy, text)
        .at(path.display())
        .help("start again when it has ended, or name another folder with `packed`"))
}

/// Takes the lock of the unfinished file at `part`, after a call of `wait` where another program has it.
///
/// # Errors
/// `Interrupted` when `stop` says so; those of the system.
fn lock(file: &File, part: &Path, stop: Stop, wait: &mut dyn FnMut()) -> Result<()> {
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(e)) => return Err(no_lock(part, e)),
            Err(TryLockError::WouldBlock) if stop() => {
                let text = "stopped while another program was packing".into();
                return Err(interrupted(text, part));
            }
            Err(TryLockError::WouldBlock) => {}
        }
        if !told {
            told = true;
            wait();
        }
        sleep(GLANCE);
    }
}

/// The error of a file that cannot be locked at all.
pub fn no_lock(part: &Path, e: std::io::Error) -> Error {
    Error::io(part, e)
        .note("it cannot be locked, and without a lock two programs might write to it at once")
        .help("name a folder of a file system that has locks, a local disk for example, with `packed`")
}

fn interrupted(text: String, part: &Path) -> Error {
    Error::new(Code::Interrupted, text)
        .at(part.display())
        .help("start again: what is packed is kept, and gone on with")
}

/// Is `file` what is at `path` now? Another program may have renamed it meanwhile, and a third have begun a new one.
#[cfg(unix)]
fn has_name(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let number = |m: std::fs::Metadata| (m.dev(), m.ino());
    let there = std::fs::metadata(path).map(number).ok();
    there.is_some() && there == file.metadata().map(number).ok()
}

/// Is there a file at `path`? Where open files have no numbers, that has to do.
#[cfg(not(unix))]
fn has_name(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Writes the places and the header, and forces all to disk.
fn finish(file: &mut File, plan: &Plan, places: &[u64], at: u64) -> std::io::Result<()> {
    let bytes: Vec<u8> = places.iter().flat_map(|p| p.to_le_bytes()).collect();
    file.write_all(&bytes)?;
    let header = Header {
        places: at,
        length: at + bytes.len() as u64,
        crc: crc32c::crc32c(&bytes),
        ..plan.begun()
    };
    file.rewind()?;
    file.write_all(&header.bytes())?;
    file.sync_all()
}

/// The places of the whole records of an unfinished file of this plan, and where they end.
fn found(file: &mut File, plan: &Plan) -> std::io::Result<(Vec<u64>, u64)> {
    let length = file.metadata()?.len();
    let (mut places, mut at) = (vec![], HEADER as u64);
    file.rewind()?;
    let mut file = BufReader::new(file);
    let mut header = [0; HEADER];
    if length < at {
        return Ok((places, at));
    }
    file.read_exact(&mut header)?;
    if Header::of(&header) != Ok(plan.begun()) {
        return Ok((places, at));
    }
    while places.len() < plan.set.len() {
        let mut head = [0; HEAD];
        if length - at < HEAD as u64 {
            break;
        }
        file.read_exact(&mut head)?;
        let Some(known) = Head::of(&head) else { break };
        let used = known.payload().and_then(|p| p.checked_add(HEAD as u64));
        let padded = used.and_then(|n| n.checked_next_multiple_of(HEAD as u64));
        // The length of the file bounds what is read into memory.
        let Some((used, padded)) = used.zip(padded).filter(|n| n.1 <= length - at) else {
            break;
        };
        let mut rest = vec![0; padded as usize - HEAD];
        file.read_exact(&mut rest)?;
        let crc = crc32c::crc32c(&head[8..]);
        let crc = crc32c::crc32c_append(crc, &rest[..used as usize - HEAD]);
        if crc != known.crc || known.index != places.len() as u64 {
            break;
        }
        places.push(at);
        at += padded;
    }
    Ok((places, at))
}
