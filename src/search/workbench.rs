//! What the configuration says about tasks and data, opened: each task with its data, its batches and its loss.

use std::sync::Arc;

use super::bilevel::Loss;
use super::config::{Config, Precision};
use super::viewer::{self, Viewer};
use crate::annotation::Annotation;
use crate::data::augment::Augmentation;
use crate::data::batch::{Batch, Batches};
use crate::data::config::DataSetConfig;
use crate::data::input::Input;
use crate::data::loader::{Loader, Read, Skips};
use crate::data::source::Source;
use crate::error::{Code, Error, Result};
use crate::model::config::{Frame, FrameConfig};
use crate::model::network::{Mixing, Network};
use crate::nn::Pass;
use crate::rng::{Rng, word};
use crate::tape::{Path, Var};
use crate::task::config::{TaskConfig, TaskKind};
use crate::task::priors::PriorLayout;
use crate::task::{ClassificationTask, DetectionTask, SegmentationTask, Targets, Task, ValueTask};
use crate::tensor::{DType, Tensor};

/// One task, opened.
pub struct Workbench {
    /// Its name in the configuration.
    pub name: String,
    /// Targets, loss, decoding, metrics.
    pub task: Arc<dyn Task>,
    /// Its data.
    pub source: Source,
    /// Weight of its loss.
    pub weight: f64,
    input: Input,
    augment: Augmentation,
    max_corrupt: f64,
    threads: usize,
    prefetch: usize,
    seed: u64,
    /// Pixels and boxes keep their image, labels come from another one: nothing can be learnt.
    shuffled: bool,
}

/// Which samples of the training split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Those that train weights.
    Weight,
    /// Those that train architecture parameters.
    Arch,
    /// All of them.
    All,
}

/// dtype of images and activations.
pub fn activation_dtype(p: Precision) -> DType {
    match p {
        Precision::F32 => DType::F32,
        Precision::F64 => DType::F64,
        Precision::Bf16 => DType::Bf16,
    }
}

/// dtype of parameters: f32 masters for bf16.
pub fn parameter_dtype(p: Precision) -> DType {
    if p == Precision::F64 {
        DType::F64
    } else {
        DType::F32
    }
}

/// Where the priors of a frame lie.
///
/// # Errors
/// `MT0105` when the input does not fit the levels.
pub fn prior_layout(frame: &FrameConfig, size: [usize; 2]) -> Result<PriorLayout> {
    let (h, w) = (size[0], size[1]);
    let levels = frame.detection_levels();
    match frame.frame {
        Frame::MtnasPeer => PriorLayout::peer(h, w, levels),
        _ => PriorLayout::release(h, w, levels),
    }
}

/// The task that a table of the configuration describes, over `classes` and an input of `size` (height, width).
///
/// # Errors
/// Those of the task's own keys.
pub fn task_of(
    config: &Config,
    t: &TaskConfig,
    classes: Vec<String>,
    size: [usize; 2],
) -> Result<Arc<dyn Task>> {
    Ok(match t.kind {
        TaskKind::Detection => {
            let layout = prior_layout(&config.model, size)?;
            Arc::new(DetectionTask::new(
                classes,
                layout,
                &t.detection.clone().unwrap_or_default(),
            )?)
        }
        TaskKind::Segmentation => Arc::new(SegmentationTask::new(
            classes,
            &t.segmentation.clone().unwrap_or_default(),
        )?),
        TaskKind::Classification => Arc::new(ClassificationTask::new(
            classes,
            &t.classification.clone().unwrap_or_default(),
        )?),
        kind => {
            let data = config.data.get(&t.data);
            let space = data.map_or_else(Default::default, |d| d.normal_space);
            let own = t.values.clone().unwrap_or_default();
            Arc::new(ValueTask::new(kind, space, &own)?)
        }
    })
}

/// The data set of a task.
fn data_of<'a>(config: &'a Config, name: &str, t: &TaskConfig) -> Result<&'a DataSetConfig> {
    config.data.get(&t.data).ok_or_else(|| {
        Error::new(
            Code::ConfigValue,
            format!("`tasks.{name}.data`: there is no data set `{}`", t.data),
        )
        .help(format!("add a table [data.{}]", t.data))
    })
}

impl Workbench {
    /// Opens the task `name` of `config`.
    ///
    /// # Errors
    /// Those of the data set and of the task's own keys.
    pub fn open(config: &Config, name: &str, t: &TaskConfig) -> Result<Workbench> {
        let data = data_of(config, name, t)?;
        Workbench::with_data(config, name, t, data, config.input.size, Source::open)
    }

    /// As [`Workbench::open`], of the held-out split alone: nothing can be trained with it.
    ///
    /// # Errors
    /// As [`Workbench::open`].
    pub fn held_out_only(config: &Config, name: &str, t: &TaskConfig) -> Result<Workbench> {
        let data = data_of(config, name, t)?;
        Workbench::with_data(config, name, t, data, config.input.size, Source::held_out)
    }

    /// The classifier that the pre-search attaches, over its own data.
    ///
    /// # Errors
    /// As [`Workbench::open`].
    pub fn presearch(config: &Config) -> Result<Workbench> {
        let p = &config.search.presearch;
        let data = config.data.get(&p.data).ok_or_else(|| {
            Error::new(
                Code::ConfigValue,
                format!("`search.presearch.data`: there is no data set `{}`", p.data),
            )
            .help("name a classification data set, or set `search.ablation.presearch = false`")
        })?;
        let t = TaskConfig {
            kind: TaskKind::Classification,
            data: p.data.clone(),
            ..TaskConfig::default()
        };
        Workbench::with_data(config, "presearch", &t, data, p.size, Source::open)
    }

    fn with_data(
        config: &Config,
        name: &str,
        t: &TaskConfig,
        data: &DataSetConfig,
        size: [usize; 2],
        open: impl Fn(&DataSetConfig, (usize, usize), u64) -> Result<Source>,
    ) -> Result<Workbench> {
        let seed = config.run.seed;
        let source = open(data, (size[0], size[1]), seed)?;
        let classes = source.val.dataset.classes().to_vec();
        let task = task_of(config, t, classes, size)?;
        Ok(Workbench {
            name: name.into(),
            task,
            source,
            weight: t.loss_weight,
            input: viewer::input(config, data, size)?,
            augment: Augmentation {
                divide_depth: data.divide_depth,
                ..Augmentation::new(&data.augment)?
            },
            max_corrupt: data.max_corrupt,
            threads: config.loader.reader_threads(),
            prefetch: config.loader.prefetch,
            seed,
            shuffled: config.search.ablation.shuffle_labels,
        })
    }

    /// What it predicts.
    pub fn kind(&self) -> TaskKind {
        self.task.kind()
    }

    /// Whether kernels can make its training images: readers resample maps of values, and `colour-jitter` needs the mean of a picture.
    pub fn made_by_kernels(&self) -> bool {
        self.task.quantity().is_none() && !self.augment.colour_jitter
    }

    /// Endless training batches from number `start` on; `stage` keys the order and the augmentation.
    ///
    /// # Errors
    /// Those of the loader; an empty half.
    pub fn train(
        &self,
        half: Half,
        weight_share: f64,
        batch: usize,
        stage: u64,
        start: u64,
    ) -> Result<Loader> {
        let batches = self.batches(half, weight_share, batch, stage)?;
        Loader::new(
            batches,
            start,
            self.threads,
            self.prefetch,
            self.max_corrupt,
        )
    }

    /// Which samples training batches have, and how they look.
    ///
    /// # Errors
    /// As [`Workbench::train`].
    pub fn batches(
        &self,
        half: Half,
        weight_share: f64,
        batch: usize,
        stage: u64,
    ) -> Result<Batches> {
        let halves = || self.source.train.halves(weight_share, self.seed);
        let indices = match half {
            Half::All => self.source.train.indices.clone(),
            Half::Weight => halves()?.weight_split,
            Half::Arch => halves()?.arch_split,
        };
        Batches::train(
            self.source.train.dataset.clone(),
            indices,
            self.input.clone(),
            batch,
            self.augment.clone(),
            (self.seed, 2 * stage + u64::from(half == Half::Arch)),
        )
    }

    /// A loader that makes something else of training batches.
    ///
    /// # Errors
    /// As [`Workbench::train`].
    pub fn loader<B: Skips + Send + 'static>(
        &self,
        batches: Batches,
        start: u64,
        make: Read<B>,
    ) -> Result<Loader<B>> {
        let (threads, share) = (self.threads, self.max_corrupt);
        Loader::with(batches, start, threads, self.prefetch, share, make)
    }

    /// The architecture half of the training split once, in order and not augmented: what candidates are ranked on.
    ///
    /// # Errors
    /// As [`Workbench::train`].
    pub fn ranking(&self, weight_share: f64, batch: usize) -> Result<Loader> {
        let indices = self
            .source
            .train
            .halves(weight_share, self.seed)?
            .arch_split;
        let batches = Batches::sequential(
            self.source.train.dataset.clone(),
            indices,
            self.input.clone(),
            batch,
        )?;
        Loader::new(batches, 0, self.threads, self.prefetch, self.max_corrupt)
    }

    /// The held-out split once, in order.
    ///
    /// # Errors
    /// Those of the loader.
    pub fn held_out(&self, batch: usize, limit: usize) -> Result<Loader> {
        let mut indices = self.source.val.indices.clone();
        if limit > 0 {
            indices.truncate(limit);
        }
        let batches = Batches::sequential(
            self.source.val.dataset.clone(),
            indices,
            self.input.clone(),
            batch,
        )?;
        Loader::new(batches, 0, self.threads, self.prefetch, self.max_corrupt)
    }

    /// What it needs to look at a picture, without its data.
    pub fn viewer(&self) -> Viewer {
        Viewer {
            task: self.task.clone(),
            input: self.input.clone(),
        }
    }

    /// Targets of a batch for a pass on `path`.
    ///
    /// # Errors
    /// Annotations that do not fit the task, naming the sample.
    pub fn targets(&self, batch: &Batch, path: Path) -> Result<Targets> {
        self.task.targets_of(path, self.inputs(batch, path)?)
    }

    /// What [`Workbench::targets`] are made of where the pass runs.
    ///
    /// # Errors
    /// As there.
    pub fn inputs(&self, batch: &Batch, path: Path) -> Result<Targets> {
        let ids: Vec<&str> = batch.ids.iter().map(String::as_str).collect();
        let samples = (&batch.indices[..], &ids[..]);
        self.inputs_of(&batch.annotations, batch.step, samples, path)
    }

    /// As [`Workbench::inputs`], of the annotations of batch `step` in network pixels; `indices` are those of the samples in the training
    /// split, `ids` name them.
    ///
    /// # Errors
    /// As there.
    pub fn inputs_of(
        &self,
        annotations: &[Annotation],
        step: u64,
        (indices, ids): (&[usize], &[&str]),
        path: Path,
    ) -> Result<Targets> {
        let made = match self.label_order(step, annotations.len()) {
            None => self.inputs_with_marks(annotations, indices, path),
            Some(order) => {
                let all: Vec<Annotation> = order.iter().map(|&i| annotations[i].clone()).collect();
                let indices: Vec<usize> = order.iter().map(|&i| indices[i]).collect();
                self.inputs_with_marks(&all, &indices, path)
            }
        };
        made.map_err(|e| e.note(format!("samples: {}", ids.join(", "))))
    }

    /// The task's inputs, and which classes are labelled in each image where the data set says so.
    fn inputs_with_marks(
        &self,
        annotations: &[Annotation],
        indices: &[usize],
        path: Path,
    ) -> Result<Targets> {
        let mut inputs = self.task.inputs(path, annotations)?;
        let set = self.source.train.dataset.as_ref();
        let labelled: Option<Vec<&[bool]>> = indices.iter().map(|&i| set.labelled(i)).collect();
        if let Some(labelled) = labelled {
            inputs.tensors.extend(self.task.labelled(&labelled)?);
        }
        Ok(inputs)
    }

    /// Whose annotation each of the `n` images of batch `step` gets, where that is not its own (`search.ablation.shuffle_labels`).
    pub fn label_order(&self, step: u64, n: usize) -> Option<Vec<usize>> {
        let path = [word("shuffled-labels"), step];
        self.shuffled
            .then(|| Rng::new(self.seed, &path).permutation(n))
    }

    /// The loss of images `(N, 3, H, W)` and their targets on a pass, times the task's weight.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn loss(
        &self,
        net: &Network,
        p: &Pass,
        images: &Tensor,
        targets: &Targets,
        dtype: DType,
        mixing: Mixing,
    ) -> Result<Loss> {
        let outputs = self.outputs(net, p, images, dtype, mixing)?;
        let loss = self.task.loss(&outputs, targets)?;
        let total = if self.weight == 1.0 {
            loss.total
        } else {
            crate::ops::scale(&loss.total, self.weight)?
        };
        Ok(Loss {
            total,
            parts: loss.parts,
        })
    }

    /// The head's outputs for images `(N, 3, H, W)`, in the order the task wants.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn outputs(
        &self,
        net: &Network,
        p: &Pass,
        images: &Tensor,
        dtype: DType,
        mixing: Mixing,
    ) -> Result<Vec<Var>> {
        viewer::outputs(self.kind(), net, p, images, dtype, mixing)
    }
}

#[cfg(test)]
#[path = "workbench_mixed_tests.rs"]
mod mixed_tests;
