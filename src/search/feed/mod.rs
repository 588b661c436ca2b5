//! Training batches for a device: 8-bit pictures lie in its memory, or go up with the batch where it has no room for them; kernels make
//! network input of them within the step (`kernels/feed.cu`). Readers decode what is not there yet and draw; per step one small table
//! goes up. The numbers are those of the host's batches, bit for bit: in which memory a picture lies, or when it came there, changes
//! nothing.

mod kernels;
mod planned;
mod resident;
mod table;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub use kernels::Recipe;
pub use planned::Plain;
use resident::Resident;
use table::{Place, check, row, taps, tensor};

use super::workbench::{Half, Workbench};
use crate::annotation::Annotation;
use crate::data::dataset::{Kind, Sample};
use crate::data::loader::Loader;
use crate::data::sight::{Sight, Sights};
use crate::error::Result;
use crate::tape::Path;
use crate::task::Targets;
use crate::tensor::{Buffer, DType, Engine, Tensor};

/// Bytes of device memory that the pictures of a stage may take.
pub type Budget = Rc<Cell<u64>>;

/// The pictures of a task that a device keeps, for all its readers.
#[derive(Clone)]
pub struct PictureStore(Rc<RefCell<Resident>>);

impl PictureStore {
    /// Those of `bench`: none yet.
    pub fn new(e: Engine, bench: &Workbench, budget: Budget) -> PictureStore {
        let part = &bench.source.train;
        let (n, used) = (part.dataset.len(), part.indices.len());
        PictureStore(Rc::new(RefCell::new(Resident::new(e, n, used, budget))))
    }

    /// Pictures that are there, and whether there is no room for more.
    pub fn held(&self) -> (usize, bool) {
        self.0.borrow().held()
    }
}

/// A batch before its pixels are made.
#[derive(Debug, Clone)]
pub struct Drawn {
    /// `(N, 64)` i32: a row of 32 words an image.
    pub table: Tensor,
    /// Pictures that the device does not keep, as i32.
    pub bytes: Option<Tensor>,
    /// How the pixels are made.
    pub recipe: Recipe,
}

/// Batches of one half of a task.
pub struct Feed {
    loader: Loader<Sights>,
    store: PictureStore,
    recipe: Recipe,
    /// Bytes that came with a batch at most so far, rounded up: few sizes, so that steps look alike.
    sent: usize,
}

impl Feed {
    /// Batches as [`Workbench::train`] has them, images of `dtype`.
    ///
    /// # Errors
    /// Those of the loader; an empty half.
    pub fn new(
        bench: &Workbench,
        store: &PictureStore,
        half: Half,
        weight_share: f64,
        batch: usize,
        (stage, start): (u64, u64),
        dtype: DType,
    ) -> Result<Feed> {
        let batches = bench.batches(half, weight_share, batch, stage)?;
        let recipe = Recipe {
            size: batches.input().size,
            normalise: batches.input().normalise,
            dtype,
            taps: 3,
            labels: batches.kind() == Kind::Segmentation,
        };
        let (kept, task) = (store.0.borrow().kept.clone(), bench.task.clone());
        let loader = bench.loader(
            batches,
            start,
            Box::new(move |b, step, stop| b.sights(step, &kept, &|a| task.check(a), stop)),
        )?;
        Ok(Feed {
            loader,
            store: store.clone(),
            recipe,
            sent: 0,
        })
    }

    /// The next batch and what goes up of its targets.
    ///
    /// # Errors
    /// Those of the loader; annotations that do not fit the task; `colour-jitter`, which is for readers; a fault of the device.
    pub fn next(&mut self, bench: &Workbench, path: Path) -> Result<(Drawn, Targets)> {
        let sights = self.loader.next_batch()?;
        let order = bench.label_order(sights.step, sights.images.len());
        let mut sent = vec![];
        let mut rows = vec![];
        for (i, s) in sights.images.iter().enumerate() {
            check(&s.seen)?;
            let whose = order.as_ref().map_or(i, |o| o[i]);
            let place = self.place(s, &mut sent)?;
            let (height, width) = s.seen.view.source();
            rows.push(row(&s.seen, place, 3 * height * width, whose));
            let needed = taps(&s.seen);
            while self.recipe.taps < needed {
                self.recipe.taps = 2 * self.recipe.taps - 1;
            }
        }
        let drawn = Drawn {
            table: tensor(&rows)?,
            bytes: self.bytes(&sent),
            recipe: self.recipe,
        };
        Ok((drawn, self.targets(bench, path, &sights)?))
    }

    /// Where the pixels of a sample are; those that do not stay are put into `sent`.
    fn place(&self, s: &Sight, sent: &mut Vec<u8>) -> Result<Place> {
        let mut store = self.store.0.borrow_mut();
        if let Some(at) = store.find(s.index) {
            return Ok(Place::Resident(at));
        }
        let sample = s.sample.as_ref();
        let parts = parts(sample.expect("read, as its pixels were not kept"));
        if let Some(at) = store.take(s.index, parts)? {
            return Ok(Place::Resident(at));
        }
        let from = sent.len();
        parts.iter().for_each(|p| sent.extend_from_slice(p));
        Ok(Place::Sent(from))
    }

    /// What goes up with the batch; its size never shrinks.
    fn bytes(&mut self, sent: &[u8]) -> Option<Tensor> {
        if sent.len() > self.sent {
            self.sent = sent.len().next_power_of_two();
        }
        if self.sent == 0 {
            return None;
        }
        let words = self.sent.div_ceil(4);
        let mut b = Buffer::scratch(DType::I32, words);
        b.bytes_mut()[..sent.len()].copy_from_slice(sent);
        Some(Tensor::from_buffer([words], b))
    }

    fn targets(&self, bench: &Workbench, path: Path, s: &Sights) -> Result<Targets> {
        let (h, w) = self.recipe.size;
        if let Some(t) = bench.task.inputs_beside_maps(s.images.len() * h * w) {
            return Ok(t);
        }
        let all: Vec<Annotation> = s.images.iter().map(|i| i.annotation.clone()).collect();
        let ids: Vec<&str> = s.images.iter().map(|i| i.id.as_str()).collect();
        let indices: Vec<usize> = s.images.iter().map(|i| i.index).collect();
        bench.inputs_of(&all, s.step, (&indices, &ids), path)
    }
}

/// The bytes of a sample: its picture, then its label map.
fn parts(s: &Sample) -> [&[u8]; 2] {
    match &s.annotation {
        Annotation::Labels(l) => [&s.image.data, &l.data],
        _ => [&s.image.data, &[]],
    }
}

#[cfg(test)]
pub(crate) mod tests;
