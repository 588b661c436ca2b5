//! Images that do not label every class (systems.md 8.8): there a background prior may well be an object of such a class.
//!
//! With M the labelled classes of an image, the confidence term of its background priors is `ln sum_c exp z_c - z_0` over c in M and 0
//! alone, in the mining and in the loss; `dz_c = 0` for c outside M. It is the likelihood of background given that the prior shows no
//! object of an unlabelled class. Positive priors keep the sum over all classes: what is known to be a car is no sign.

use crate::error::{Code, Error, Result};
use crate::ops::leave_out::FAR;
use crate::ops::{LeaveOut, leave_out};
use crate::tape::Var;
use crate::task::Targets;
use crate::tensor::Tensor;

/// Name of the target tensor, `(N, 1 + classes)` i32: 1 where a class is labelled, the background always.
pub const LABELLED: &str = "labelled";

/// The target tensor of images with these classes labelled.
///
/// # Errors
/// [`Code::Argument`] for an image that speaks of another number of classes.
pub fn tensor(images: &[&[bool]], classes: usize) -> Result<Tensor> {
    let mut marks = Vec::with_capacity(images.len() * (1 + classes));
    for (i, labelled) in images.iter().enumerate() {
        if labelled.len() != classes {
            let text = format!("{} labelled or not of {classes} classes", labelled.len());
            return Err(Error::new(Code::Argument, text).at(format!("image {i} of the batch")));
        }
        marks.push(1);
        marks.extend(labelled.iter().map(|&l| i32::from(l)));
    }
    Tensor::from_i32([images.len(), 1 + classes], marks)
}

/// The scores `conf` `(N, P, 1 + classes)` as mining and loss shall see them; `None` where every image labels every class.
///
/// # Errors
/// Those of the op.
pub fn scores(conf: &Var, targets: &Targets) -> Result<Option<Var>> {
    let Some(labelled) = targets.find(LABELLED) else {
        return Ok(None);
    };
    let tape = conf.tape();
    let labels = tape.leaf(targets.get("label").clone());
    let labelled = tape.leaf(labelled.clone());
    leave_out(conf, &labels, &labelled, LeaveOut { low: FAR }).map(Some)
}

#[cfg(test)]
#[path = "unlabelled_tests.rs"]
mod tests;
