//! Damage, faults and kills of checkpoints.

use std::cell::Cell;
use std::io;

use serde_json::json;

use super::*;
use crate::rng::Rng;

fn sample(step: u64) -> Checkpoint {
    let mut rng = Rng::new(step, &[]);
    let mut numbers = |n: usize| (0..n).map(|_| rng.f32()).collect::<Vec<f32>>();
    let mut c = Checkpoint {
        state: json!({"stage": "1-branch-det", "unchanged": step, "lr": 0.1}),
        ..Default::default()
    };
    c.tensors.insert(
        "w.stem".into(),
        Tensor::from_f32([4, 3, 2, 2], numbers(48)).unwrap(),
    );
    c.tensors.insert(
        "w.cells.0".into(),
        Tensor::from_f32([8, 4], numbers(32)).unwrap(),
    );
    c.tensors.insert(
        "alpha".into(),
        Tensor::from_f64([14, 8], numbers(112).iter().map(|&x| x as f64).collect()).unwrap(),
    );
    c.tensors.insert(
        "count".into(),
        Tensor::from_i32([1], vec![step as i32]).unwrap(),
    );
    c
}

fn same(a: &Checkpoint, b: &Checkpoint) -> bool {
    let list = |c: &Checkpoint| {
        c.tensors
            .iter()
            .map(|(n, t)| (n.clone(), t.dims().to_vec(), t.bytes().to_vec()))
            .collect::<Vec<_>>()
    };
    list(a) == list(b) && a.state == b.state
}

/// The file system without waiting for the device: what is tested here does not depend on it.
struct Fast;

impl Disk for Fast {
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        std::fs::write(path, parts.concat())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
}

fn store(steps: &[u64]) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("checkpoints"), 3);
    std::fs::create_dir(&store.dir).unwrap();
    for &s in steps {
        store.save_on(&Fast, s, &sample(s)).unwrap();
    }
    (dir, store)
}

#[test]
fn the_newest_comes_back_and_old_ones_go() {
    let (_dir, store) = store(&[]);
    assert!(store.load_latest().unwrap().is_none());
    for step in [20, 40, 60, 80, 1_000_000_000] {
        store.save(step, &sample(step)).unwrap();
    }
    let l = store.load_latest().unwrap().unwrap();
    assert!(
        l.step == 1_000_000_000 && same(&l.checkpoint, &sample(l.step)) && l.skipped.is_empty()
    );
    assert_eq!(store.steps(), [60, 80, 1_000_000_000]);
    assert_eq!(store.names().len(), 6);
    assert!(l.checkpoint.tensor("alpha").is_ok());
    assert_eq!(
        l.checkpoint.tensor("alfa").unwrap_err().code(),
        Code::BadCheckpoint
    );
    store.clear().unwrap();
    assert!(store.load_latest().unwrap().is_none());
}

#[test]
fn equal_content_gives_equal_files() {
    let (a, _) = store(&[7, 8]);
    let (b, sb) = store(&[8]);
    sb.save(7, &sample(7)).unwrap();
    for name in sb.names() {
        let read = |d: &tempfile::TempDir| {
            std::fs::read(d.path().join("checkpoints").join(&name)).unwrap()
        };
        assert_eq!(read(&a), read(&b), "{name}");
    }
}

#[test]
fn what_is_not_finite_is_not_saved() {
    let (_dir, store) = store(&[1]);
    let mut bad = sample(2);
    bad.tensors.insert(
        "w.stem".into(),
        Tensor::from_f32([2], vec![0.0, f32::NAN]).unwrap(),
    );
    let e = store.save(2, &bad).unwrap_err();
    assert!(
        e.code() == Code::Diverged && e.message().contains("w.stem"),
        "{e}"
    );
    assert_eq!(store.load_latest().unwrap().unwrap().step, 1);
}

#[test]
fn every_flip_and_cut_is_noticed_and_the_one_before_is_used() {
    let (_dir, store) = store(&[1, 2]);
    let names = store
        .names()
        .into_iter()
        .filter(|n| n.starts_with("000000002"));
    let newest: Vec<PathBuf> = names.map(|n| store.dir.join(n)).collect();
    assert_eq!(newest.len(), 2);
    let mut named = 0;
    for path in newest {
        let good = std::fs::read(&path).unwrap();
        let data = path.extension().unwrap() == "safetensors";
        for case in 0..1500 {
            let mut rng = Rng::new(3, &[case, data as u64]);
            let mut bytes = good.clone();
            if case % 5 == 0 {
                bytes.truncate(rng.below(good.len()));
            } else {
                bytes[rng.below(good.len())] ^= 1 << rng.below(8);
            }
            // Removed first: overwriting makes some file systems wait for the device.
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            let l = store.load_latest().unwrap().unwrap();
            assert_eq!(
                (l.step, l.skipped.len()),
                (1, 1),
                "case {case} of {}",
                path.display()
            );
            let e = &l.skipped[0];
            assert_eq!(e.code(), Code::BadCheckpoint, "{e}");
            assert!(e.place().unwrap().contains("000000002"), "{e}");
            named += usize::from(e.message().contains("in tensor \""));
        }
        std::fs::write(&path, &good).unwrap();
    }
    assert!(named > 500, "only {named} damages name their tensor");
    assert_eq!(store.load_latest().unwrap().unwrap().step, 2);
}

#[test]
fn the_damaged_tensor_is_named() {
    let (_dir, store) = store(&[1]);
    let m = store.read_manifest(1).unwrap();
    let path = store.dir.join(&m.file);
    let good = std::fs::read(&path).unwrap();
    for (name, start, end, _) in &m.parts[1..] {
        let mut bytes = good.clone();
        bytes[(start + (end - start) / 2) as usize] ^= 16;
        std::fs::write(&path, &bytes).unwrap();
        let e = store.load_latest().unwrap_err();
        assert_eq!(
            e.message(),
            format!("the checkpoint is damaged in tensor {name:?}")
        );
    }
}

/// A disk on which one operation goes wrong.
struct Faulty {
    at: usize,
    count: Cell<usize>,
    how: Fault,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fault {
    /// The operation fails; a write leaves half of its bytes.
    Full,
    /// The operation fails without having done anything.
    Broken,
    /// The process is gone: this and all later operations do not happen, a write leaves half of its bytes.
    Killed,
}

impl Faulty {
    fn pass(&self) -> io::Result<bool> {
        let n = self.count.replace(self.count.get() + 1);
        let hit = n == self.at || (n > self.at && self.how == Fault::Killed);
        match (hit, self.how) {
            (false, _) => Ok(true),
            (true, Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            (true, _) => Err(io::Error::other("fault")),
        }
    }
}

impl Disk for Faulty {
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let first = self.count.get() == self.at;
        self.pass().map(|_| ()).inspect_err(|_| {
            if first && self.how != Fault::Broken {
                let all: Vec<u8> = parts.concat();
                std::fs::write(path, &all[..all.len() / 2]).unwrap();
            }
        })?;
        Fast.write(path, parts)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?;
        Fast.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass()?;
        Fast.sync_dir(dir)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        Fast.remove(path)
    }
}

#[test]
fn a_fault_at_any_operation_leaves_a_good_checkpoint() {
    let mut operations = 0;
    for how in [Fault::Full, Fault::Broken, Fault::Killed] {
        for at in 0.. {
            let (_dir, store) = store(&[1, 2, 3]);
            let disk = Faulty {
                at,
                count: Cell::new(0),
                how,
            };
            let saved = store.save_on(&disk, 4, &sample(4));
            let l = store
                .load_latest()
                .unwrap()
                .unwrap_or_else(|| panic!("{how:?} at {at}: nothing left"));
            assert!(l.step == 3 || l.step == 4, "{how:?} at {at}");
            assert!(
                same(&l.checkpoint, &sample(l.step)) && l.skipped.is_empty(),
                "{how:?} at {at}"
            );
            assert!(
                saved.is_err() || l.step == 4,
                "{how:?} at {at}: reported as saved"
            );
            // The next save works and leaves nothing behind.
            store.save_on(&Fast, 5, &sample(5)).unwrap();
            store.save_on(&Fast, 6, &sample(6)).unwrap();
            assert!(
                store.names().len() <= 6,
                "{how:?} at {at}: {:?}",
                store.names()
            );
            if disk.count.get() <= at {
                operations = at;
                break;
            }
        }
    }
    assert!(
        operations >= 8,
        "{operations} operations of a save were tried"
    );
}

#[test]
fn a_step_saved_again_with_other_content_is_never_half_there() {
    for at in 0..8 {
        let (_dir, store) = store(&[1]);
        let mut other = sample(1);
        other.state = json!("other");
        let disk = Faulty {
            at,
            count: Cell::new(0),
            how: Fault::Killed,
        };
        let _ = store.save_on(&disk, 1, &other);
        let l = store.load_latest().unwrap().unwrap();
        assert!(
            same(&l.checkpoint, &sample(1)) || same(&l.checkpoint, &other),
            "killed at {at}"
        );
    }
}
