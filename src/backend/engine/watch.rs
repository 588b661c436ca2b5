//! What a pool notes of a rehearsal, and what it hands out while a sequence is recorded.

use std::collections::HashMap;
use std::sync::Arc;

use super::DeviceBuffer;
use super::graph::{Arena, Block, Rehearsal};
use super::plan::{Life, plan};
use crate::backend::buffer::DType;
use crate::backend::driver::{DevicePtr, Driver};
use crate::error::{Code, Error, Result};

/// What a pool does besides.
#[derive(Default)]
pub enum Watch {
    /// Nothing.
    #[default]
    None,
    /// It notes what is taken and given back.
    Rehearsing(Noted),
    /// It hands out what was planned.
    Recording(Planned),
}

/// Lives so far.
#[derive(Default)]
pub struct Noted {
    lives: Vec<Life>,
    there: HashMap<DevicePtr, usize>,
    tick: usize,
    /// Type and length of the tables that were asked for.
    pub tables: Vec<(DType, usize)>,
}

impl Noted {
    /// A block was taken.
    pub fn taken(&mut self, at: DevicePtr, bytes: usize) {
        let (from, to) = (self.tick, usize::MAX);
        self.there.insert(at, self.lives.len());
        self.lives.push(Life { bytes, from, to });
        self.tick += 1;
    }

    /// A block was given back.
    pub fn given(&mut self, at: DevicePtr) {
        if let Some(i) = self.there.remove(&at) {
            self.lives[i].to = self.tick;
            self.tick += 1;
        }
    }

    /// What it needs to be recorded.
    pub fn plan(self) -> Rehearsal {
        let plan = plan(&self.lives);
        let sizes = self.lives.iter().map(|l| l.bytes);
        Rehearsal {
            lives: sizes.zip(plan.offsets).collect(),
            bytes: plan.bytes,
            tables: self.tables,
        }
    }
}

/// What is left of a plan.
pub struct Planned {
    /// Where it lies.
    pub arena: Arc<Arena>,
    /// Sizes and offsets to come.
    pub lives: std::vec::IntoIter<(usize, usize)>,
    /// Tables to come.
    pub tables: std::vec::IntoIter<Arc<DeviceBuffer>>,
    /// What is to be in those that were taken.
    pub contents: Vec<(Arc<DeviceBuffer>, Vec<u8>)>,
    /// The first thing that was asked for and cannot be recorded.
    pub refused: Option<Error>,
}

impl Planned {
    /// The next block.
    ///
    /// # Errors
    /// `Device` when the rehearsal asked for something else.
    pub fn take(&mut self, driver: &dyn Driver, bytes: usize) -> Result<Block> {
        match self.lives.next() {
            Some((planned, offset)) if planned == bytes => {
                let at = DevicePtr(self.arena.at.0 + offset);
                driver.renew(at, bytes.max(1));
                let arena = Some(self.arena.clone());
                Ok(Block { at, arena })
            }
            _ => Err(other("takes other memory than when it was rehearsed")),
        }
    }
}

/// The error of a sequence that does `what`.
pub fn other(what: &str) -> Error {
    Error::new(Code::Device, format!("a step that is recorded {what}"))
}
