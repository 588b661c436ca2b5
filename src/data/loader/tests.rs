//! Order, errors, panics, skipping, stopping.

use super::*;
use crate::annotation::{Annotation, Image};
use crate::data::augment::{Augmentation, Crop};
use crate::data::config::OnCorrupt;
use crate::data::dataset::{Dataset, Kind, Sample};
use crate::data::input::Input;
use crate::data::sight::Kept;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

/// Pictures of one value each; some indices fail, panic or take long.
struct Made {
    len: usize,
    bad: Vec<usize>,
    panics: Vec<usize>,
    slow: Duration,
    classes: Vec<String>,
    /// How many are being read, and were at once at most.
    at_once: Arc<[AtomicUsize; 2]>,
}

fn made(len: usize) -> Made {
    Made {
        len,
        bad: vec![],
        panics: vec![],
        slow: Duration::ZERO,
        classes: vec!["x".into()],
        at_once: Arc::default(),
    }
}

impl Dataset for Made {
    fn name(&self) -> &str {
        "made"
    }
    fn kind(&self) -> Kind {
        Kind::Classification
    }
    fn classes(&self) -> &[String] {
        &self.classes
    }
    fn len(&self) -> usize {
        self.len
    }
    fn id(&self, index: usize) -> String {
        index.to_string()
    }
    fn place(&self, index: usize) -> String {
        format!("made/{index}.png")
    }
    fn load(&self, index: usize) -> Result<Sample> {
        let [now, most] = &*self.at_once;
        most.fetch_max(1 + now.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        std::thread::sleep(self.slow * (index as u32 % 3));
        now.fetch_sub(1, Ordering::SeqCst);
        assert!(!self.panics.contains(&index), "planted panic");
        if self.bad.contains(&index) {
            return Err(Error::new(Code::BadImage, "planted"));
        }
        let image = Image {
            height: 9,
            width: 7,
            data: (0..189).map(|i| (i + index) as u8).collect(),
        };
        Ok(Sample {
            id: index.to_string(),
            image,
            annotation: Annotation::Class(0),
        })
    }
}

fn train(set: Made, on_corrupt: OnCorrupt) -> Batches {
    train_by(set, on_corrupt, 4)
}

fn train_by(set: Made, on_corrupt: OnCorrupt, batch: usize) -> Batches {
    let augment = Augmentation {
        crop: Crop::RandomResized,
        flip: true,
        photometric: true,
        ..Default::default()
    };
    let input = Input {
        on_corrupt,
        ..Input::new(8, 8)
    };
    let indices = (0..set.len).collect();
    Batches::train(Arc::new(set), indices, input, batch, augment, (11, 2)).unwrap()
}

fn bits(b: &Batch) -> (Vec<u32>, Vec<String>) {
    (
        b.images.f32s().iter().map(|v| v.to_bits()).collect(),
        b.ids.clone(),
    )
}

#[test]
fn bits_depend_on_neither_threads_nor_start() {
    let slow = || Made {
        slow: Duration::from_micros(300),
        ..made(13)
    };
    let read = |threads, prefetch, start: u64| -> Vec<_> {
        let loader = Loader::new(
            train(slow(), OnCorrupt::Error),
            start,
            threads,
            prefetch,
            0.0,
        )
        .unwrap();
        loader
            .take(12 - start as usize)
            .map(|b| bits(&b.unwrap()))
            .collect()
    };
    let inline = read(0, 0, 0);
    assert_eq!(read(1, 2, 0), inline);
    assert_eq!(read(3, 5, 0), inline);
    // Several threads a batch.
    assert_eq!(read(8, 2, 0), inline);
    assert_eq!(read(5, 1, 7), inline[7..]);
    assert_eq!(
        read(2, 3, 5),
        inline[5..],
        "a loader that starts at step 5 resumes exactly"
    );
    assert_ne!(inline[0], inline[1]);
}

/// The images of the first `count` samples, in order.
fn stream(batch: usize, count: usize) -> Vec<(usize, Vec<u32>)> {
    let batches = train_by(made(13), OnCorrupt::Error, batch);
    let mut all = vec![];
    for step in 0..count.div_ceil(batch) as u64 {
        let b = batches.get(step, &|| false).unwrap();
        let words: Vec<u32> = b.images.f32s().iter().map(|v| v.to_bits()).collect();
        let images = words.chunks_exact(3 * 8 * 8).map(<[u32]>::to_vec);
        all.extend(b.indices.iter().copied().zip(images));
    }
    all.truncate(count);
    all
}

#[test]
fn every_batch_size_sees_the_same_samples_with_the_same_bits() {
    // Three passes over 13 samples: their ends lie within batches.
    let by_4 = stream(4, 39);
    assert_eq!(by_4, stream(8, 39));
    assert_eq!(by_4, stream(39, 39));
    // A sample does not look alike in every pass, nor all samples in one.
    let sorted = |pass: usize| {
        let mut all = by_4[13 * pass..][..13].to_vec();
        all.sort();
        all
    };
    let [first, second] = [sorted(0), sorted(1)];
    assert_eq!(first.len(), second.len());
    assert!(first.iter().zip(&second).all(|(a, b)| a.0 == b.0));
    assert!(
        first
            .iter()
            .zip(&second)
            .filter(|(a, b)| a.1 != b.1)
            .count()
            > 9
    );
}

#[test]
fn sights_have_the_same_draws_whatever_the_batch_size() {
    let of = |batch| {
        let batches = train_by(made(13), OnCorrupt::Error, batch);
        let kept = Kept::new(13);
        let one = |step| batches.sights(step, &kept, &|_| Ok(()), &|| false).unwrap();
        let all: Vec<_> = (0..24 / batch as u64).flat_map(|s| one(s).images).collect();
        all.iter()
            .map(|s| format!("{} {:?}", s.index, s.seen))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(4), of(8));
}

#[test]
fn readers_share_all_threads_and_no_more() {
    for threads in 1..20 {
        for readers in 1..=threads {
            let shares: Vec<usize> = (0..readers)
                .map(|i| share_of(threads, readers, i))
                .collect();
            assert_eq!(shares.iter().sum::<usize>(), threads);
            assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
    let set = Made {
        slow: Duration::from_millis(10),
        ..made(40)
    };
    let at_once = set.at_once.clone();
    let loader = Loader::new(train(set, OnCorrupt::Error), 0, 3, 2, 0.0).unwrap();
    assert_eq!(loader.take(10).filter(|b| b.is_ok()).count(), 10);
    assert_eq!(at_once[1].load(Ordering::SeqCst), 3);
}

#[test]
fn sequential_reading_ends() {
    let batches =
        Batches::sequential(Arc::new(made(10)), (0..10).collect(), Input::new(9, 7), 4).unwrap();
    let loader = Loader::new(batches, 0, 2, 2, 0.0).unwrap();
    let sizes: Vec<Vec<usize>> = loader.map(|b| b.unwrap().indices).collect();
    assert_eq!(sizes, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
}

#[test]
fn errors_and_panics_arrive_in_their_place() {
    for (threads, prefetch) in [(0, 0), (2, 3), (6, 2)] {
        let set = Made {
            bad: vec![5],
            panics: vec![9],
            ..made(12)
        };
        let batches =
            Batches::sequential(Arc::new(set), (0..12).collect(), Input::new(9, 7), 4).unwrap();
        let got: Vec<_> = Loader::new(batches, 0, threads, prefetch, 0.0)
            .unwrap()
            .collect();
        assert_eq!(got.len(), 3);
        assert!(got[0].is_ok());
        let e = got[1].as_ref().unwrap_err();
        assert!(
            e.code() == Code::BadImage && e.to_string().contains("made/5.png"),
            "{e}"
        );
        let e = got[2].as_ref().unwrap_err();
        assert!(
            e.code() == Code::Internal && e.to_string().contains("planted panic"),
            "{e}"
        );
    }
}

#[test]
fn skipping_keeps_the_order_of_the_rest() {
    let clean: Vec<_> = {
        let loader = Loader::new(train(made(40), OnCorrupt::Error), 0, 0, 0, 0.0).unwrap();
        loader.take(10).map(|b| b.unwrap().indices).collect()
    };
    let bad = || Made {
        bad: vec![7],
        ..made(40)
    };
    for threads in [0, 2, 13] {
        let loader = Loader::new(train(bad(), OnCorrupt::Skip), 0, threads, 4, 0.03).unwrap();
        let got: Vec<_> = loader.take(10).map(|b| b.unwrap()).collect();
        for (g, c) in got.iter().zip(&clean) {
            let expect: Vec<_> = c.iter().map(|&i| if i == 7 { 8 } else { i }).collect();
            assert_eq!(g.indices, expect);
        }
        assert_eq!(got.iter().map(|b| b.skipped.len()).sum::<usize>(), 1);
    }
    let mut loader = Loader::new(train(bad(), OnCorrupt::Skip), 0, 0, 0, 0.01).unwrap();
    let e = loader.by_ref().take(10).find_map(|b| b.err()).unwrap();
    assert!(e.to_string().contains("1 of 40"), "{e}");
}

#[test]
fn dropping_stops_at_once() {
    let set = Made {
        slow: Duration::from_millis(20),
        ..made(1000)
    };
    let mut loader = Loader::new(train(set, OnCorrupt::Error), 0, 2, 8, 0.0).unwrap();
    loader.next_batch().unwrap();
    let start = Instant::now();
    drop(loader);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn bad_arguments() {
    let seq = |indices, size, batch| {
        Batches::sequential(Arc::new(made(3)), indices, size, batch)
            .err()
            .unwrap()
    };
    assert_eq!(seq(vec![], Input::new(8, 8), 1).code(), Code::EmptyData);
    assert_eq!(seq(vec![3], Input::new(8, 8), 1).code(), Code::Argument);
    assert_eq!(seq(vec![0], Input::new(8, 8), 0).code(), Code::ConfigValue);
    assert_eq!(seq(vec![0], Input::new(0, 8), 1).code(), Code::ConfigValue);
}
