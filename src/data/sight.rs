//! A batch without its pixels: which samples it shows and how, for whoever keeps the pictures and makes the pixels elsewhere. The draws
//! are those of [`Batches::get`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::batch::{Batches, Skipped, Stop, check_stop};
use super::dataset::Sample;
use super::input::Seen;
use super::loader::Skips;
use super::slots;
use crate::annotation::{Annotation, LabelMap};
use crate::error::Result;

/// What is known of a sample besides its pixels.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// (height, width) of its picture.
    pub size: (usize, usize),
    /// Its annotation in pixels of the picture; of a label map only that there is one.
    pub annotation: Annotation,
}

impl Known {
    fn of(s: &Sample) -> Known {
        Known {
            id: s.id.clone(),
            size: (s.image.height, s.image.width),
            annotation: without_map(&s.annotation),
        }
    }
}

fn without_map(a: &Annotation) -> Annotation {
    match a {
        Annotation::Labels(_) => Annotation::Labels(LabelMap {
            height: 0,
            width: 0,
            data: vec![],
        }),
        other => other.clone(),
    }
}

/// What was read of a data set so far, and whose pixels somebody keeps: those are not read again.
#[derive(Debug)]
pub struct Kept {
    known: Vec<OnceLock<Known>>,
    pixels: Vec<AtomicBool>,
}

impl Kept {
    /// Nothing yet, of `n` samples.
    pub fn new(n: usize) -> Kept {
        Kept {
            known: (0..n).map(|_| OnceLock::new()).collect(),
            pixels: (0..n).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// From now on the pixels of sample `index`, which was read, are kept.
    pub fn keep(&self, index: usize) {
        self.pixels[index].store(true, Ordering::Release);
    }

    fn of(&self, index: usize) -> Option<&Known> {
        let kept = self.pixels[index].load(Ordering::Acquire);
        self.known[index].get().filter(|_| kept)
    }
}

/// One image of a batch.
#[derive(Debug)]
pub struct Sight {
    /// Index of the sample in its data set.
    pub index: usize,
    /// Its id.
    pub id: String,
    /// What the network sees of it.
    pub seen: Seen,
    /// Its annotation in network pixels; of a label map only that there is one.
    pub annotation: Annotation,
    /// The sample, unless its pixels were kept when the batch was made.
    pub sample: Option<Sample>,
}

/// A batch without its pixels.
#[derive(Debug)]
pub struct Sights {
    /// Step that it belongs to.
    pub step: u64,
    /// Its images.
    pub images: Vec<Sight>,
    /// Samples that could not be read and were left out.
    pub skipped: Vec<Skipped>,
}

impl Skips for Sights {
    fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

impl Batches {
    /// Batch number `step`, with the samples that `kept` has not; `check` refuses annotations. `stop` as of [`Batches::get`].
    ///
    /// # Errors
    /// As [`Batches::get`].
    pub fn sights(
        &self,
        step: u64,
        kept: &Kept,
        check: &(dyn Fn(&Annotation) -> Result<()> + Sync),
        stop: Stop,
    ) -> Result<Sights> {
        let load = |index: usize| -> Result<(Known, Option<Sample>)> {
            if let Some(known) = kept.of(index) {
                return Ok((known.clone(), None));
            }
            let read = self.dataset().load(index);
            let read = read.and_then(|s| check(&s.annotation).map(|()| s));
            let sample = read.map_err(|e| e.at(self.dataset().place(index)))?;
            let known = kept.known[index].get_or_init(|| Known::of(&sample)).clone();
            Ok((known, Some(sample)))
        };
        let wanted = self.wanted(step);
        let made = slots::each(wanted.len(), self.threads, &|slot| {
            check_stop(stop)?;
            let mut skipped = vec![];
            let found = self.load_or_next(wanted[slot].index, &mut skipped, &load)?;
            let Some((index, (known, sample))) = found else {
                return Ok((None, skipped));
            };
            let seen = self.see(wanted[slot], known.size, &known.annotation);
            let annotation = match &seen.annotation {
                Annotation::Labels(_) => seen.annotation.clone(),
                other => seen.view.annotation(other),
            };
            let sight = Sight {
                index,
                id: known.id,
                seen,
                annotation,
                sample,
            };
            Ok((Some(sight), skipped))
        })?;
        let (mut images, mut skipped) = (vec![], vec![]);
        for (sight, left_out) in made {
            images.extend(sight);
            skipped.extend(left_out);
        }
        if images.is_empty() {
            let first = skipped.swap_remove(0).error;
            return Err(first.note("no other sample of the batch can be read"));
        }
        Ok(Sights {
            step,
            images,
            skipped,
        })
    }
}
