//! Where the batches of a stage come from.

use std::cell::Cell;
use std::rc::Rc;

use super::Running;
use super::fed::{Fed, Pictures};
use crate::data::config::InputOn;
use crate::data::loader::Loader;
use crate::error::Result;
use crate::search::feed::{Budget, Feed, PictureStore};
use crate::search::session::Session;
use crate::search::workbench::{Half, Workbench};
use crate::tape::Path;
use crate::tensor::DType;

/// Where the batches of one half of a task come from.
pub(super) enum Reader {
    /// Readers make all of them.
    Host(Loader),
    /// A device makes the pixels.
    Device(Box<Feed>),
}

impl Reader {
    /// The next batch, images in the type of activations.
    pub(super) fn next(&mut self, bench: &Rc<Workbench>, path: Path, dtype: DType) -> Result<Fed> {
        let (pictures, targets) = match self {
            Reader::Host(loader) => {
                let batch = loader.next_batch()?;
                let targets = bench.inputs(&batch, path)?;
                (Pictures::Whole(batch.images.cast(dtype)), targets)
            }
            Reader::Device(feed) => {
                let (drawn, targets) = feed.next(bench, path)?;
                (Pictures::Drawn(drawn), targets)
            }
        };
        Ok(Fed {
            bench: bench.clone(),
            pictures,
            targets,
        })
    }
}

impl Running<'_> {
    pub(super) fn open_loaders(&mut self, session: &Session) -> Result<()> {
        let (plan, dtype) = (self.plan, session.activation_dtype());
        let loader = &session.config.loader;
        if let (Path::Device(e), InputOn::Auto, true) =
            (session.cx.path, loader.input_on, self.stores.is_empty())
        {
            let free = e.free_memory()? as f64;
            let budget = Budget::new(Cell::new((free * loader.resident) as u64));
            let store = |t: &Rc<Workbench>| PictureStore::new(e, t, budget.clone());
            self.stores = plan.tasks.iter().map(store).collect();
        }
        let c = &self.counters;
        let half = if plan.arch.is_some() || plan.sample.is_some() {
            Half::Weight
        } else {
            Half::All
        };
        let (share, batch, number) = (plan.weight_split, plan.batch, plan.number);
        let open = |half: Half, starts: &[u64]| -> Result<Vec<Reader>> {
            let tasks = plan.tasks.iter().zip(starts).enumerate();
            tasks
                .map(|(i, (t, &start))| match self.stores.get(i) {
                    Some(store) if t.made_by_kernels() => {
                        let key = (number, start);
                        let feed = Feed::new(t, store, half, share, batch, key, dtype)?;
                        Ok(Reader::Device(Box::new(feed)))
                    }
                    _ => t.train(half, share, batch, number, start).map(Reader::Host),
                })
                .collect()
        };
        let weight = open(half, &c.weight_batches)?;
        let arch = match plan.arch.is_some() {
            true => open(Half::Arch, &c.arch_batches)?,
            false => vec![],
        };
        (self.weight_loaders, self.arch_loaders) = (weight, arch);
        Ok(())
    }

    /// How many pictures stay on the device, once it has no room for more; tells it once.
    pub(super) fn no_room(&mut self) -> Option<String> {
        let held: Vec<_> = self.stores.iter().map(PictureStore::held).collect();
        if self.told_of_room || !held.iter().any(|h| h.1) {
            return None;
        }
        self.told_of_room = true;
        let there: usize = held.iter().map(|h| h.0).sum();
        Some(format!(
            "{there} pictures stay on the device; there is no room for more (loader.resident), the others go up with every batch"
        ))
    }
}
