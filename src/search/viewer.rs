//! A task without its data: what a network needs to say something about a picture.

use std::sync::Arc;

use super::config::Config;
use super::workbench::task_of;
use crate::annotation::{Annotation, Image};
use crate::data::config::DataSetConfig;
use crate::data::dataset::Sample;
use crate::data::input::Input;
use crate::data::normalise::Normalise;
use crate::error::{Code, Error, Result};
use crate::model::network::{Mixing, Network, Outputs};
use crate::nn::Pass;
use crate::tape::Var;
use crate::task::Task;
use crate::task::config::{TaskConfig, TaskKind};
use crate::tensor::{DType, Tensor};

/// A task and what its network sees of a picture.
#[derive(Clone)]
pub struct Viewer {
    /// Decoding of outputs; classes.
    pub task: Arc<dyn Task>,
    /// Size, mean and standard deviation.
    pub input: Input,
}

impl Viewer {
    /// The task `t` of a configuration, over these classes.
    ///
    /// # Errors
    /// `ConfigValue` if its data set is not configured; those of the task's own keys.
    pub fn new(config: &Config, t: &TaskConfig, classes: Vec<String>) -> Result<Viewer> {
        let data = config.data.get(&t.data).ok_or_else(|| {
            Error::new(
                Code::ConfigValue,
                format!("there is no data set `{}`", t.data),
            )
        })?;
        Ok(Viewer {
            task: task_of(config, t, classes, config.input.size)?,
            input: input(config, data, config.input.size)?,
        })
    }

    /// One picture as network input `(1, 3, H, W)`.
    ///
    /// # Errors
    /// `Internal` if the resizer refuses.
    pub fn input_of(&self, image: &Image) -> Result<Tensor> {
        let annotation = match self.task.kind() {
            TaskKind::Classification => Annotation::Class(0),
            _ => Annotation::Objects(vec![]),
        };
        let sample = Sample {
            id: String::new(),
            image: image.clone(),
            annotation,
        };
        let (values, _) = self.input.prepare(&sample, None)?;
        Tensor::from_f32([1, 3, self.input.size.0, self.input.size.1], values)
    }
}

/// What the network sees of the images of a data set, at `size` (height, width).
///
/// # Errors
/// Mean and standard deviation that cannot be.
pub fn input(config: &Config, data: &DataSetConfig, size: [usize; 2]) -> Result<Input> {
    let mut input = Input::new(size[0], size[1]);
    input.normalise = Normalise::new(
        data.mean.unwrap_or(config.input.mean),
        data.std.unwrap_or(config.input.std),
    )?;
    input.centre = (data.centre > 0.0).then_some(data.centre);
    input.on_corrupt = data.on_corrupt;
    Ok(input)
}

/// A head's outputs for images `(N, 3, H, W)`, in the order its task wants.
///
/// # Errors
/// Those of the ops.
pub fn outputs(
    kind: TaskKind,
    net: &Network,
    p: &Pass,
    images: &Tensor,
    dtype: DType,
    mixing: Mixing,
) -> Result<Vec<Var>> {
    let all = outputs_of_all(&[kind], net, p, images, dtype, mixing)?;
    Ok(all.into_iter().next().expect("outputs of the one head"))
}

/// As [`outputs`], of several heads over the same images: what they share is computed once.
///
/// # Errors
/// Those of the ops.
pub fn outputs_of_all(
    kinds: &[TaskKind],
    net: &Network,
    p: &Pass,
    images: &Tensor,
    dtype: DType,
    mixing: Mixing,
) -> Result<Vec<Vec<Var>>> {
    let x = p.tape.leaf(images.cast(dtype));
    let all = net.forward_all(p, &x, kinds, mixing)?;
    Ok(all.into_iter().map(Outputs::vars).collect())
}
