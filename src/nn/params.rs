//! Parameters: ordered names with values. Weights, architecture parameters and buffers are three separate sets.

use std::collections::BTreeMap;

use crate::error::{Code, Error, Result};
use crate::tensor::Tensor;

/// Position of a parameter in its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ParamId(pub usize);

/// Named tensors in the order of their creation.
#[derive(Debug, Clone, Default)]
pub struct ParamSet {
    names: Vec<String>,
    values: Vec<Tensor>,
    index: BTreeMap<String, ParamId>,
}

impl ParamSet {
    /// Adds a tensor; asserts that the name is new.
    pub fn add(&mut self, name: String, value: Tensor) -> ParamId {
        let id = ParamId(self.values.len());
        let old = self.index.insert(name.clone(), id);
        assert!(old.is_none(), "two parameters are named `{name}`");
        self.names.push(name);
        self.values.push(value);
        id
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The tensor.
    pub fn get(&self, id: ParamId) -> &Tensor {
        &self.values[id.0]
    }

    /// The tensor, to be changed in place.
    pub fn get_mut(&mut self, id: ParamId) -> &mut Tensor {
        &mut self.values[id.0]
    }

    /// Replaces a tensor; asserts the shape.
    pub fn set(&mut self, id: ParamId, value: Tensor) {
        assert_eq!(
            self.values[id.0].shape(),
            value.shape(),
            "{}",
            self.names[id.0]
        );
        self.values[id.0] = value;
    }

    /// Its name.
    pub fn name(&self, id: ParamId) -> &str {
        &self.names[id.0]
    }

    /// The parameter of that name.
    pub fn find(&self, name: &str) -> Option<ParamId> {
        self.index.get(name).copied()
    }

    /// `(id, name, value)` in order.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, &str, &Tensor)> {
        self.names
            .iter()
            .zip(&self.values)
            .enumerate()
            .map(|(i, (n, v))| (ParamId(i), n.as_str(), v))
    }

    /// Number of single values.
    pub fn numel(&self) -> usize {
        self.values.iter().map(Tensor::numel).sum()
    }

    /// Takes over the values of `named`, which must have exactly this set's names and shapes.
    ///
    /// # Errors
    /// [`Code::BadCheckpoint`], naming the tensor that is missing, left over or of another shape.
    pub fn load(&mut self, named: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, id) in &self.index {
            let bad = |what: String| {
                Error::new(Code::BadCheckpoint, what)
                    .help("the checkpoint belongs to another network")
            };
            let t = named
                .get(name)
                .ok_or_else(|| bad(format!("tensor `{name}` is missing")))?;
            let mine = &self.values[id.0];
            if t.shape() != mine.shape() || t.dtype() != mine.dtype() {
                return Err(bad(format!(
                    "tensor `{name}` is {} {}, expected {} {}",
                    t.dtype().name(),
                    t.shape(),
                    mine.dtype().name(),
                    mine.shape()
                )));
            }
        }
        if let Some(extra) = named.keys().find(|k| !self.index.contains_key(*k)) {
            return Err(Error::new(
                Code::BadCheckpoint,
                format!("tensor `{extra}` is not part of this network"),
            ));
        }
        for (name, id) in &self.index {
            self.values[id.0] = named[name].clone();
        }
        Ok(())
    }

    /// Takes over those values of `other` whose name and shape agree; returns how many.
    pub fn load_matching(&mut self, other: &ParamSet) -> usize {
        let mut taken = 0;
        for (_, name, value) in other.iter() {
            if let Some(id) = self.find(name)
                && self.get(id).shape() == value.shape()
            {
                self.values[id.0] = value.cast(self.values[id.0].dtype());
                taken += 1;
            }
        }
        taken
    }
}

/// The three sets of a network.
#[derive(Debug, Clone, Default)]
pub struct Store {
    /// Trained by weight steps.
    pub weights: ParamSet,
    /// Trained by architecture steps: alphas and betas.
    pub arch: ParamSet,
    /// Running statistics of batch normalisation.
    pub buffers: ParamSet,
}
