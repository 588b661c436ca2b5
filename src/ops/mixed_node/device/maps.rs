//! The maps before normalisations, on the way there and once more on the way back.

use super::Node;
use super::forward::Halves;
use crate::error::Result;
use crate::ops::mixed_node::Candidate;
use crate::ops::mixed_node::plan::Plan;
use crate::tensor::{DType, Shape, Tensor};

/// Shape of the statistics of all maps.
pub fn rows(p: &Plan) -> Shape {
    Shape::new(&[p.maps.max(1), 4, p.a])
}

impl Halves<'_> {
    /// All maps before normalisations, by first and second halves, and partial sums of the statistics of the last ones; those of first
    /// halves that have a second one are in `stats`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn maps(&self, stats: &mut Tensor, eps: f64) -> Result<(Vec<Tensor>, Tensor)> {
        let (e, p) = (self.node.e, self.node.p);
        let mut maps = vec![];
        for u in &p.units {
            for _ in u.maps.clone() {
                maps.push(match u.candidate {
                    Candidate::Pooled => self.node.x[u.own].clone(),
                    _ => Tensor::scratch_on(e, [p.n, p.a, p.h, p.w], self.node.dtype)?,
                });
            }
        }
        let part = [p.maps.max(1), self.chunks, p.a, 4];
        let mut part = Tensor::scratch_on(e, part, DType::F32)?;
        self.first(&mut maps, &mut part)?;
        self.second(&mut maps, &mut part, stats, eps)?;
        Ok((maps, part))
    }
}

/// The maps once more, by the launches of the way there and so bit by bit the same.
///
/// # Errors
/// Those of the device.
pub fn maps_again(node: &Node, eps: f64) -> Result<Vec<Tensor>> {
    let mut stats = Tensor::scratch_on(node.e, rows(node.p), DType::F32)?;
    Ok(Halves::new(node)?.maps(&mut stats, eps)?.0)
}
