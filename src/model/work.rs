//! Work of a network on single values: normalisations, rectifiers, poolings, sums, enlargements, for one image in evaluation.

use std::collections::HashMap;

use super::network::{Mixing, Network};
use crate::error::Result;
use crate::nn::{Mode, Pass, Store};
use crate::tape::{Cx, Elementwise, Sketched};
use crate::tensor::{DType, Shape, Tensor};

/// Same operation, same operands, same result.
type Key = (&'static str, Vec<usize>, Shape);

/// Work of one image through all heads of `net`; what heads share is counted once. `store` holds values of any size the network was
/// declared with; they are not read.
///
/// # Errors
/// Those of shape rules.
pub fn elementwise(net: &Network, store: &Store) -> Result<Elementwise> {
    let mut total = Elementwise::default();
    for op in operations(net, store)? {
        total += op.work;
    }
    Ok(total)
}

/// The operations that this is the work of, in their order, those without any left out.
///
/// # Errors
/// As [`elementwise`].
pub fn operations(net: &Network, store: &Store) -> Result<Vec<Sketched>> {
    let p = Pass::new(store, Cx::default(), Mode::EVAL);
    let spec = net.spec();
    let image = Tensor::zeros([1, 3, spec.height, spec.width], DType::F32);
    let x = p.tape.leaf(image);
    // Heads are recorded one after the other on one tape. The n-th operation of a kind with the same operands is the same
    // operation for each of them.
    let (mut known, mut stands_for) = (HashMap::<Key, Vec<usize>>::new(), HashMap::new());
    let mut all = vec![];
    for task in net.tasks() {
        let run = || net.forward_with(&p, &x, task, Mixing::Parameters);
        let (_, list) = p.tape.sketch(run)?;
        let mut seen: HashMap<Key, usize> = HashMap::new();
        for op in list {
            let own = |id: &usize| *stands_for.get(id).unwrap_or(id);
            let key: Key = (op.name, op.inputs.iter().map(own).collect(), op.shape);
            let n = seen.entry(key.clone()).or_default();
            let same = known.entry(key).or_default();
            match same.get(*n) {
                Some(&first) => _ = stands_for.insert(op.id, first),
                None => {
                    same.push(op.id);
                    all.push(op);
                }
            }
            *n += 1;
        }
    }
    all.retain(|op| op.work != Elementwise::default());
    Ok(all)
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
