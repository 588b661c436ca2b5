//! A configured data set, opened: its training and held-out split, and which of their samples count.

use std::sync::Arc;

use super::cached::Cached;
use super::config::DataSetConfig;
use super::dataset::Dataset;
use super::packed::Packed;
use super::packed::build::packing_stopped;
use super::split::Split;
use crate::error::{Code, Error, Result};
use crate::rng::{Rng, word};

/// Most memory for the pictures of one split that `cache` keeps, in bytes.
const CACHE_LIMIT: usize = 512 << 20;

/// One split of a data set and the samples that are used.
#[derive(Clone)]
pub struct Part {
    /// The data set.
    pub dataset: Arc<dyn Dataset>,
    /// Indices of the samples in use, ascending.
    pub indices: Vec<usize>,
}

/// Training and held-out part of a configured data set.
#[derive(Clone)]
pub struct Source {
    /// Training split, after `fraction` and `limit`.
    pub train: Part,
    /// Held-out split, after `limit`.
    pub val: Part,
}

impl Source {
    /// Opens both splits; `size` (height, width) is the network input, for the cache.
    ///
    /// # Errors
    /// As [`DatasetConfig::open`](super::dataset::DatasetConfig::open); `ConfigValue` for a fraction outside (0, 1] or if the
    /// classes of the splits differ; `Interrupted` when packing was asked to stop.
    pub fn open(config: &DataSetConfig, size: (usize, usize), seed: u64) -> Result<Source> {
        let train = Source::train_only(config, size, seed)?;
        let val = kept(config, &config.val, config.dataset().open_val()?, size)?;
        if train.dataset.classes() != val.classes() {
            let names = (train.dataset.name(), val.name());
            let text = format!("{} and {} have different classes", names.0, names.1);
            return Err(Error::new(Code::ConfigValue, text).at(config.root.display()));
        }
        let val = Part {
            indices: limited((0..val.len()).collect(), config.limit, seed),
            dataset: val,
        };
        Ok(Source { train, val })
    }

    /// The training split alone.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn train_only(config: &DataSetConfig, size: (usize, usize), seed: u64) -> Result<Part> {
        let dataset = kept(config, &config.train, config.dataset().open_train()?, size)?;
        let used = fraction_of(dataset.as_ref(), config.fraction, seed)?;
        Ok(Part {
            indices: limited(used, config.limit, seed),
            dataset,
        })
    }

    /// The held-out split alone; the training part is empty.
    ///
    /// # Errors
    /// As [`DatasetConfig::open`](super::dataset::DatasetConfig::open).
    pub fn held_out(config: &DataSetConfig, size: (usize, usize), seed: u64) -> Result<Source> {
        let dataset = kept(config, &config.val, config.dataset().open_val()?, size)?;
        let indices = limited((0..dataset.len()).collect(), config.limit, seed);
        let train = Part {
            dataset: dataset.clone(),
            indices: vec![],
        };
        Ok(Source {
            train,
            val: Part { dataset, indices },
        })
    }
}

/// A split, from a packed cache and kept in memory if the configuration says so.
fn kept(
    config: &DataSetConfig,
    split: &str,
    set: Box<dyn Dataset>,
    size: (usize, usize),
) -> Result<Arc<dyn Dataset>> {
    let mut set: Arc<dyn Dataset> = set.into();
    if !config.packed.as_os_str().is_empty() {
        let folder = &config.packed;
        // Packing a large set takes long, and nothing else says that it is not a hang.
        let mut note = |text: &str| eprintln!("{text}");
        let stop = &packing_stopped;
        let packed = Packed::open(set, (config, split), size, folder, &mut note, stop)?;
        set = Arc::new(packed);
    }
    if config.cache {
        set = Arc::new(Cached::new(set, size, CACHE_LIMIT));
    }
    Ok(set)
}

impl Part {
    /// Disjoint halves of the samples in use for weight and architecture steps, as indices of the data set.
    ///
    /// # Errors
    /// As [`Split::random`].
    pub fn halves(&self, weight_share: f64, seed: u64) -> Result<Split> {
        let split = Split::random(self.indices.len(), weight_share, seed)?;
        let named = |half: Vec<usize>| half.into_iter().map(|i| self.indices[i]).collect();
        Ok(Split {
            weight_split: named(split.weight_split),
            arch_split: named(split.arch_split),
        })
    }
}

/// A seeded share of a training split, of each class if it is for classification.
fn fraction_of(set: &dyn Dataset, fraction: f64, seed: u64) -> Result<Vec<usize>> {
    if !(fraction > 0.0 && fraction <= 1.0) {
        let text = format!("`fraction` must be above 0 and at most 1, got {fraction}");
        return Err(Error::new(Code::ConfigValue, text).at(set.name()));
    }
    if fraction == 1.0 {
        return Ok((0..set.len()).collect());
    }
    let classes = (0..set.len())
        .map(|i| Ok(set.class_of(i)?.unwrap_or(0)))
        .collect::<Result<Vec<_>>>()?;
    let mut used = vec![];
    for c in 0..=classes.iter().copied().max().unwrap_or(0) {
        let members: Vec<usize> = (0..set.len()).filter(|&i| classes[i] == c).collect();
        let count = (members.len() as f64 * fraction + 1e-9).floor() as usize;
        let order = Rng::new(seed, &[word("fraction"), c as u64]).permutation(members.len());
        used.extend(order[..count].iter().map(|&k| members[k]));
    }
    if used.is_empty() {
        let text = format!("the fraction {fraction} of {} samples is none", set.len());
        return Err(Error::new(Code::EmptyData, text)
            .at(set.name())
            .help("raise `fraction`"));
    }
    used.sort_unstable();
    Ok(used)
}

/// A seeded choice of at most `limit` samples; all of them for 0.
fn limited(indices: Vec<usize>, limit: usize, seed: u64) -> Vec<usize> {
    if limit == 0 || indices.len() <= limit {
        return indices;
    }
    let order = Rng::new(seed, &[word("limit")]).permutation(indices.len());
    let mut kept: Vec<usize> = order[..limit].iter().map(|&k| indices[k]).collect();
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cifar::{RECORD, SIDE, encode_record};
    use crate::data::dataset::Format;

    fn config() -> (tempfile::TempDir, DataSetConfig) {
        let dir = tempfile::tempdir().unwrap();
        let image = crate::annotation::Image {
            height: SIDE,
            width: SIDE,
            data: vec![3; RECORD - 1],
        };
        let records = |n: usize| {
            (0..n)
                .flat_map(|i| encode_record(&image, i % 4).unwrap())
                .collect::<Vec<u8>>()
        };
        std::fs::write(dir.path().join("data_batch_1.bin"), records(80)).unwrap();
        std::fs::write(dir.path().join("test_batch.bin"), records(9)).unwrap();
        let root = dir.path().to_path_buf();
        (
            dir,
            DataSetConfig {
                format: Format::Cifar10,
                root,
                ..Default::default()
            },
        )
    }

    #[test]
    fn fraction_of_each_class_then_limit_then_halves() {
        let (_dir, mut c) = config();
        c.fraction = 0.5;
        let s = Source::open(&c, (32, 32), 1).unwrap();
        assert_eq!((s.train.indices.len(), s.val.indices.len()), (40, 9));
        for class in 0..4 {
            assert_eq!(
                s.train.indices.iter().filter(|&&i| i % 4 == class).count(),
                10
            );
        }
        let halves = s.train.halves(0.5, 1).unwrap();
        assert!(
            halves
                .weight_split
                .iter()
                .all(|i| s.train.indices.contains(i) && !halves.arch_split.contains(i))
        );
        c.limit = 7;
        c.cache = true;
        let s = Source::open(&c, (16, 16), 1).unwrap();
        assert_eq!((s.train.indices.len(), s.val.indices.len()), (7, 7));
        assert_eq!(s.train.dataset.load(0).unwrap().image.height, 16);
        let held_out = Source::held_out(&c, (16, 16), 1).unwrap();
        assert_eq!(held_out.val.indices, s.val.indices);
        assert!(held_out.train.indices.is_empty());
        c.fraction = 0.001;
        assert_eq!(
            Source::open(&c, (32, 32), 1).err().unwrap().code(),
            Code::EmptyData
        );
        c.fraction = 0.0;
        assert_eq!(
            Source::open(&c, (32, 32), 1).err().unwrap().code(),
            Code::ConfigValue
        );
    }
}
