//! Samples to batches: which samples a step sees, and how each becomes network input. A pure function of the step.

use std::sync::{Arc, Mutex};

use super::augment::Augmentation;
use super::config::OnCorrupt;
use super::dataset::{Dataset, Kind, Sample};
use super::input::{Input, Seen};
use super::slots;
use super::split::Epochs;
use crate::annotation::Annotation;
use crate::error::{Code, Error, Result};
use crate::rng::{Rng, word};
use crate::tensor::Tensor;

/// One batch of network input.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Step that it belongs to; for sequential reading, its number from 0.
    pub step: u64,
    /// `(N, 3, H, W)`, f32, normalised, R G B.
    pub images: Tensor,
    /// For each image, boxes in network pixels, a label map of H x W, or a class.
    pub annotations: Vec<Annotation>,
    /// Ids of the samples.
    pub ids: Vec<String>,
    /// Indices of the samples in their data set.
    pub indices: Vec<usize>,
    /// Original (height, width) of each picture.
    pub sizes: Vec<(usize, usize)>,
    /// Samples that could not be read and were left out ([`OnCorrupt::Skip`]).
    pub skipped: Vec<Skipped>,
}

/// A sample that was left out.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Its index.
    pub index: usize,
    /// Why.
    pub error: Error,
}

/// Which samples each step sees.
#[derive(Debug, Clone)]
enum Order {
    /// Shuffled passes, augmented with draws keyed by (seed, stage, epoch, sample).
    Train {
        epochs: Arc<Epochs>,
        augment: Augmentation,
        seed: u64,
        stage: u64,
    },
    /// Once through the list, not augmented; the last batch may be smaller.
    Sequential,
}

/// A sample that a batch asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its index in the data set.
    pub index: usize,
    /// The pass over the list in which it is asked for, from 0.
    epoch: u64,
}

/// The batches of a list of samples, by number. A copy is cheap.
#[derive(Clone)]
pub struct Batches {
    dataset: Arc<dyn Dataset>,
    input: Input,
    order: Order,
    indices: Arc<[usize]>,
    batch: usize,
    /// Threads that make the samples of a batch.
    pub(super) threads: usize,
}

/// Says whether reading shall stop.
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// # Errors
/// `Interrupted` when it says yes.
pub(super) fn check_stop(stop: Stop) -> Result<()> {
    match stop() {
        true => Err(Error::new(Code::Interrupted, "reading was stopped")),
        false => Ok(()),
    }
}

impl Batches {
    fn new(
        dataset: Arc<dyn Dataset>,
        indices: Vec<usize>,
        input: Input,
        batch: usize,
        order: Order,
    ) -> Result<Batches> {
        input.check()?;
        let name = dataset.name();
        if batch == 0 {
            return Err(
                Error::new(Code::ConfigValue, "the batch size must be at least 1").at(name),
            );
        }
        if indices.is_empty() {
            return Err(Error::new(Code::EmptyData, "no samples to read").at(name));
        }
        if let Some(&i) = indices.iter().find(|&&i| i >= dataset.len()) {
            let text = format!("sample {i} of a data set of {}", dataset.len());
            return Err(Error::new(Code::Argument, text).at(name));
        }
        Ok(Batches {
            dataset,
            input,
            order,
            indices: indices.into(),
            batch,
            threads: 1,
        })
    }

    /// Endless shuffled, augmented batches of `indices`. Order and augmentation are a function of the seed, the stage, the epoch and the
    /// sample, so that other batch sizes see the same samples with the same bits, cut elsewhere.
    ///
    /// # Errors
    /// `ConfigValue`, `EmptyData`; `Argument` for an index outside the data set.
    pub fn train(
        dataset: Arc<dyn Dataset>,
        mut indices: Vec<usize>,
        input: Input,
        batch: usize,
        augment: Augmentation,
        (seed, stage): (u64, u64),
    ) -> Result<Batches> {
        augment.check()?;
        indices.sort_unstable();
        if indices.is_empty() {
            return Err(Error::new(Code::EmptyData, "no samples to read").at(dataset.name()));
        }
        let order = Order::Train {
            epochs: Arc::new(Epochs::new(indices.clone(), seed, stage)),
            augment,
            seed,
            stage,
        };
        Batches::new(dataset, indices, input, batch, order)
    }

    /// Each of `indices` once, in order, without augmentation.
    ///
    /// # Errors
    /// As [`Batches::train`].
    pub fn sequential(
        dataset: Arc<dyn Dataset>,
        indices: Vec<usize>,
        input: Input,
        batch: usize,
    ) -> Result<Batches> {
        Batches::new(dataset, indices, input, batch, Order::Sequential)
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// Number of samples in the list.
    pub fn samples(&self) -> usize {
        self.indices.len()
    }

    /// Number of batches; `None` if they never end.
    pub fn len(&self) -> Option<u64> {
        match self.order {
            Order::Train { .. } => None,
            Order::Sequential => Some(self.indices.len().div_ceil(self.batch) as u64),
        }
    }

    /// Does the list end at once? Never: it has at least one sample.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Kind of annotation in the batches.
    pub fn kind(&self) -> Kind {
        self.dataset.kind()
    }

    fn load(&self, index: usize) -> Result<Sample> {
        self.dataset
            .load(index)
            .map_err(|e| e.at(self.dataset.place(index)))
    }

    /// What `load` makes of the sample at `index`, or of the first readable one after it in the list, with what was skipped.
    pub(super) fn load_or_next<T>(
        &self,
        index: usize,
        skipped: &mut Vec<Skipped>,
        load: &(dyn Fn(usize) -> Result<T> + Sync),
    ) -> Result<Option<(usize, T)>> {
        let error = match load(index) {
            Ok(sample) => return Ok(Some((index, sample))),
            Err(e) if self.input.on_corrupt == OnCorrupt::Error => return Err(e),
            Err(error) => error,
        };
        skipped.push(Skipped { index, error });
        if matches!(self.order, Order::Sequential) {
            return Ok(None);
        }
        let n = self.indices.len();
        let here = self.indices.partition_point(|&i| i < index);
        for k in 1..n {
            let next = self.indices[(here + k) % n];
            match load(next) {
                Ok(sample) => return Ok(Some((next, sample))),
                Err(error) => skipped.push(Skipped { index: next, error }),
            }
        }
        Err(
            Error::new(Code::EmptyData, "no sample of the split can be read")
                .at(self.dataset.name()),
        )
    }

    /// Which samples batch number `step` asks for.
    pub(super) fn wanted(&self, step: u64) -> Vec<Wanted> {
        let n = self.indices.len();
        match &self.order {
            Order::Train { epochs, .. } => {
                let indices = epochs.batch(step, self.batch).into_iter();
                let one = |(position, index): (u64, usize)| Wanted {
                    index,
                    epoch: position / n as u64,
                };
                (step * self.batch as u64..).zip(indices).map(one).collect()
            }
            Order::Sequential => {
                let start = step as usize * self.batch;
                let indices = &self.indices[start..(start + self.batch).min(n)];
                let one = |&index: &usize| Wanted { index, epoch: 0 };
                indices.iter().map(one).collect()
            }
        }
    }

    /// What the network sees of a picture where `wanted` was asked for.
    pub(super) fn see(
        &self,
        wanted: Wanted,
        source: (usize, usize),
        annotation: &Annotation,
    ) -> Seen {
        match &self.order {
            Order::Sequential => self.input.see(source, annotation, None),
            Order::Train { augment, .. } => {
                let mut rng = self.draws(wanted);
                let augment = Some((augment, &mut rng));
                self.input.see(source, annotation, augment)
            }
        }
    }

    /// The random numbers of a sample; what stands in for one that cannot be read has those of the one that was asked for.
    fn draws(&self, wanted: Wanted) -> Rng {
        let (seed, stage) = match self.order {
            Order::Train { seed, stage, .. } => (seed, stage),
            Order::Sequential => (0, 0),
        };
        let path = [word("augment"), stage, wanted.epoch, wanted.index as u64];
        Rng::new(seed, &path)
    }

    /// What an image looks like to the network.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Batch number `step`. `stop` is asked between samples; when it says yes the batch is an `Interrupted` error.
    ///
    /// # Errors
    /// The first sample that cannot be read, with its file.
    pub fn get(&self, step: u64, stop: Stop) -> Result<Batch> {
        let wanted = self.wanted(step);
        let (height, width) = self.input.size;
        let values = 3 * height * width;
        let mut data = vec![0.0; wanted.len() * values];
        let places: Vec<_> = data.chunks_exact_mut(values).map(Mutex::new).collect();
        let made = slots::each(wanted.len(), self.threads, &|slot| {
            check_stop(stop)?;
            let mut skipped = vec![];
            let found = self.load_or_next(wanted[slot].index, &mut skipped, &|i| self.load(i))?;
            let Some((index, sample)) = found else {
                return Ok((None, skipped));
            };
            // Nobody else asks for the place of this slot.
            let mut out = places[slot].lock().unwrap_or_else(|e| e.into_inner());
            let annotation = match &self.order {
                Order::Sequential => self.input.prepare_into(&sample, None, &mut out)?,
                Order::Train { augment, .. } => {
                    let mut rng = self.draws(wanted[slot]);
                    let augment = Some((augment, &mut rng));
                    self.input.prepare_into(&sample, augment, &mut out)?
                }
            };
            let loaded = (sample.image.height, sample.image.width);
            let size = self.dataset.own_size(index, loaded);
            Ok((Some((index, sample.id, size, annotation)), skipped))
        })?;
        drop(places);
        let (mut annotations, mut ids, mut indices, mut sizes) = (vec![], vec![], vec![], vec![]);
        let mut skipped = vec![];
        for (slot, (sample, left_out)) in made.into_iter().enumerate() {
            skipped.extend(left_out);
            let Some((index, id, size, annotation)) = sample else {
                continue;
            };
            let place = ids.len();
            if place < slot {
                data.copy_within(slot * values..(slot + 1) * values, place * values);
            }
            annotations.push(annotation);
            ids.push(id);
            indices.push(index);
            sizes.push(size);
        }
        if ids.is_empty() {
            let first = skipped.swap_remove(0).error;
            return Err(first.note("no other sample of the batch can be read"));
        }
        data.truncate(ids.len() * values);
        let images = Tensor::from_f32([ids.len(), 3, height, width], data)?;
        Ok(Batch {
            step,
            images,
            annotations,
            ids,
            indices,
            sizes,
            skipped,
        })
    }
}
