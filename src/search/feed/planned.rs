//! A batch for a plan: pictures of the size of the network input that lie on the device already.

use super::kernels::Recipe;
use super::table::{Place, row, tensor};
use crate::annotation::Annotation;
use crate::data::input::Input;
use crate::error::Result;
use crate::task::config::TaskKind;
use crate::tensor::{DType, Engine, Tensor};

/// A batch of made-up pictures.
pub struct Plain {
    /// What goes up of it.
    pub table: Tensor,
    there: Tensor,
    recipe: Recipe,
}

impl Plain {
    /// `n` pictures of `size` (height, width), black, for a task of this kind and images of `dtype`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(
        e: Engine,
        kind: TaskKind,
        n: usize,
        [height, width]: [usize; 2],
        dtype: DType,
    ) -> Result<Plain> {
        let (size, labels) = ((height, width), kind == TaskKind::Segmentation);
        let input = Input::new(height, width);
        let seen = input.see(size, &Annotation::Objects(vec![]), None);
        let picture = 3 * height * width;
        let own = picture + usize::from(labels) * height * width;
        let rows = (0..n).map(|i| row(&seen, Place::Sent(i * own), picture, i));
        Ok(Plain {
            table: tensor(&rows.collect::<Vec<_>>())?,
            there: Tensor::zeros_on(e, [(n * own).div_ceil(4)], DType::I32)?,
            recipe: Recipe {
                size,
                normalise: input.normalise,
                dtype,
                taps: 3,
                labels,
            },
        })
    }

    /// Images and label maps of its table, wherever that lies.
    ///
    /// # Errors
    /// Those of the device.
    pub fn make(&self, e: Engine, table: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        self.recipe.make(e, table, Some(&self.there))
    }
}
