//! From a network to the graph that other programs know: the operations of one forward pass in evaluation mode, recorded and not run.

use std::collections::BTreeMap;

use crate::error::{Code, Error, Result};
use crate::model::{Mixing, Network, Outputs};
use crate::nn::{Mode, Pass, Store};
use crate::portable::{Graph, Id, Kind};
use crate::tape::{Cx, Operand, Recorded, Var};
use crate::task::config::TaskKind;
use crate::tensor::{DType, Shape, Tensor};

/// Name of the input.
pub const IMAGE: &str = "image";

/// Values of a head under the names that files give them, in the order of [`outputs`].
pub fn names(task: TaskKind) -> &'static [&'static str] {
    match task {
        TaskKind::Detection => &["loc", "conf"],
        TaskKind::Segmentation => &["seg"],
        TaskKind::Classification => &["logits"],
        TaskKind::Depth => &["depth"],
        TaskKind::Normals => &["normals"],
        TaskKind::Keypoints => &["keypoints"],
        TaskKind::Edges => &["edges"],
    }
}

/// What the heads of a network yield for images `(N, 3, H, W)`, by name. The auxiliary head is not read in evaluation mode.
///
/// # Errors
/// Those of the network.
pub fn outputs(net: &Network, p: &Pass, image: &Var) -> Result<Vec<(&'static str, Var)>> {
    let (tasks, mut all) = (tasks(net), vec![]);
    let heads = net.forward_all(p, image, &tasks, Mixing::Parameters)?;
    for (task, outputs) in tasks.into_iter().zip(heads) {
        let values = match outputs {
            Outputs::Detection { loc, conf } => vec![loc, conf],
            Outputs::Segmentation(y) | Outputs::Values(y) => vec![y],
            Outputs::Classification { logits, .. } => vec![logits],
        };
        all.extend(names(task).iter().copied().zip(values));
    }
    Ok(all)
}

/// The tasks that a network has heads for.
pub fn tasks(net: &Network) -> Vec<TaskKind> {
    net.tasks()
}

/// The network over the f32 values of `store`: input [`IMAGE`] `(1, 3, H, W)`, outputs as [`outputs`]. What several heads read is computed
/// once, parameters have their names.
///
/// # Errors
/// [`Code::Argument`], naming the operation, for a network with one that other programs do not know: a search network.
pub fn trace(net: &Network, store: &Store) -> Result<Graph> {
    let spec = net.spec();
    let image = Shape::from([1, 3, spec.height, spec.width]);
    trace_of(store, image, |p, image| outputs(net, p, image))
}

/// As [`trace()`], of whatever `f` computes over the values of `store` from one map of this shape, with its results by name.
///
/// # Errors
/// As there; those of `f`.
pub fn trace_of(
    store: &Store,
    map: Shape,
    f: impl FnOnce(&Pass, &Var) -> Result<Vec<(&'static str, Var)>>,
) -> Result<Graph> {
    let p = Pass::new(store, Cx::default(), Mode::EVAL);
    let image = p.tape.leaf(Tensor::zeros(map, DType::F32));
    let (heads, recorded) = p.tape.recorded(|| f(&p, &image))?;
    let mut graph = Graph::default();
    let mut known = BTreeMap::new();
    known.insert(image.id(), graph.input(IMAGE, *image.shape()));
    for set in [&store.weights, &store.buffers] {
        for (_, name, value) in set.iter() {
            graph.parameter(name, value);
        }
    }
    for r in &recorded {
        let y = add(&mut graph, &known, r)?;
        known.insert(r.y, y);
    }
    for (name, y) in heads {
        let y = *known
            .get(&y.id())
            .ok_or_else(|| refuse(name, "it does not depend on the image"))?;
        graph.output(name, y);
    }
    Ok(graph.pruned())
}

fn refuse(what: &str, why: &str) -> Error {
    Error::new(
        Code::Argument,
        format!("`{what}` cannot be exported: {why}"),
    )
    .help("export a derived network: a finished run, or a genotype")
}

/// Appends what a recorded operation is.
fn add(graph: &mut Graph, known: &BTreeMap<usize, Id>, r: &Recorded) -> Result<Id> {
    let mut x = vec![];
    for operand in &r.x {
        x.push(match known.get(&operand.id) {
            Some(&id) => id,
            None => leaf(graph, operand, r.op.name())?,
        });
    }
    r.op.portable(graph, &x, r.shape)
        .ok_or_else(|| refuse(r.op.name(), "other programs do not know this operation"))
}

/// A value that no operation made: a parameter, or the zeros of a `none`, of which there are as many as images.
fn leaf(graph: &mut Graph, operand: &Operand, op: &str) -> Result<Id> {
    let value = operand
        .value
        .as_ref()
        .ok_or_else(|| refuse(op, "an operand is not known"))?;
    let id = graph.constant(value);
    if matches!(graph.stored(id), Some((Some(_), _))) {
        return Ok(id);
    }
    let image = graph.inputs().next().map(|i| i.1);
    match (value.dims(), image) {
        (&[1, c, h, w], Some(image)) if value.to_f32().iter().all(|&v| v == 0.0) => {
            Ok(graph.node(Kind::Zeros, &[image], Shape::from([1, c, h, w])))
        }
        _ => Err(refuse(op, "an operand is neither a parameter nor computed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Cells;
    use crate::model::preset::Preset;
    use crate::nn::LayerKind;
    use crate::space::published;

    /// Every declared layer is there once.
    #[test]
    fn heads_share_what_they_read() {
        let cells = |name| Cells::Derived(published::by_name(name).unwrap());
        let hand = || Cells::HandCrafted;
        let mut presets = [Preset::release(), Preset::peer(), Preset::cifar(false)];
        presets[2].auxiliary = false;
        for mut preset in presets {
            preset.frame.channels = 8;
            let (det, seg) = match preset.frame.searched_branches() {
                true => (cells("MTNAS_det"), cells("MTNAS_seg")),
                false => (hand(), hand()),
            };
            let spec = preset.spec(cells("MTNAS_backbone"), det, seg);
            let (net, store) = Network::build(&spec, 0, DType::F32).unwrap();
            let graph = trace(&net, &store).unwrap();
            let count = |f: fn(&Kind) -> bool| graph.nodes().iter().filter(|n| f(&n.kind)).count();
            let norms = count(|k| matches!(k, Kind::BatchNorm { .. }));
            let layers = count(|k| {
                let conv = matches!(k, Kind::Conv { .. } | Kind::ConvTranspose { .. });
                conv || *k == Kind::Linear
            });
            let declared = net.cost().layers();
            let of_norms = declared
                .iter()
                .filter(|l| l.kind == LayerKind::Norm)
                .count();
            assert_eq!((layers, norms), (declared.len() - of_norms, of_norms));
            let stored: usize = graph
                .values()
                .filter_map(|v| graph.stored(v))
                .map(|(name, t)| {
                    assert!(name.is_some());
                    t.numel()
                })
                .sum();
            assert_eq!(stored, store.weights.numel() + store.buffers.numel());
        }
    }
}
