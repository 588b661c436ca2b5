//! Times of single candidates where the cells of a network have one: the table that the search's constraint reads.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::net::{Net, device_name, device_rounds, rounds, threads};
use crate::error::Result;
use crate::export::fold_norms;
use crate::export::trace::trace_of;
use crate::infer::{Program, Session};
use crate::model::{Network, NetworkSpec};
use crate::nn::{Builder, Map, Mode, Pass};
use crate::rng::Rng;
use crate::search::step_timing::median;
use crate::space::Primitive;
use crate::space::operation::{Norms, Site, State};
use crate::tape::{Cx, Path};
use crate::tensor::{DType, Shape, Tensor};

/// Channels, rows and columns of what an operation of a cell reads, and its stride.
type Place = ([usize; 3], usize);

/// The places that the cells of a network have: their inputs after preprocessing and, where they halve the map, their nodes.
fn places(spec: &NetworkSpec) -> Result<BTreeSet<Place>> {
    let net = Network::plan(spec)?;
    let reductions = spec.frame.reduction_cells();
    let mut all = BTreeSet::new();
    for layer in net.cost().layers() {
        let Some(cell) = layer.name.strip_suffix(".preprocess1.op.1") else {
            continue;
        };
        let number = |prefix: &str| cell.strip_prefix(prefix)?.parse::<usize>().ok();
        let reduction = match (number("cells."), number("det.cells.")) {
            (Some(i), _) => reductions.contains(&i),
            (_, Some(i)) => i == 0,
            _ => false,
        };
        let x = layer.output;
        all.insert(([x.c, x.h, x.w], if reduction { 2 } else { 1 }));
        if reduction {
            let y = [x.c, x.h.div_ceil(2), x.w.div_ceil(2)];
            all.insert((y, 1));
        }
    }
    Ok(all)
}

/// Every candidate at every place, `batch` images at a time: median microseconds. What computes nothing takes none.
///
/// # Errors
/// Those of the operations.
pub(super) fn table(a: &Net, spec: &NetworkSpec, batch: usize, cx: Cx) -> Result<Value> {
    let mut rows = vec![];
    for ([c, h, w], stride) in places(spec)? {
        let x = Map::new(c, h, w);
        for &primitive in Primitive::ALL {
            // Of maps of odd sides there is no factorised reduction.
            let Some(us) = time(a, primitive, x, stride, batch, cx)? else {
                continue;
            };
            rows.push(json!({
                "primitive": primitive.name(), "channels": x.c, "height": x.h, "width": x.w, "stride": stride,
                "batch": batch, "us": us,
            }));
        }
    }
    Ok(json!({"device": device_name(cx), "threads": threads(), "dtype": "f32", "rows": rows}))
}

fn time(
    a: &Net,
    primitive: Primitive,
    x: Map,
    stride: usize,
    batch: usize,
    cx: Cx,
) -> Result<Option<f64>> {
    let free = primitive == Primitive::Zero || (primitive == Primitive::Skip && stride == 1);
    if free {
        return Ok(Some(0.0));
    }
    let mut b = Builder::new();
    let norms = Norms::Derived;
    let Ok((op, _)) = primitive.declare(&mut b, Site { x, stride, norms }) else {
        return Ok(None);
    };
    let store = b.finish(0, DType::F32);
    let shape = Shape::from([batch, x.c, x.h, x.w]);
    let mut rng = Rng::new(0, &[1]);
    let v = (0..shape.numel()).map(|_| rng.normal() as f32);
    let values = Tensor::from_f32(shape, v.collect())?;
    let forward = |p: &Pass, x: &crate::tape::Var| {
        let y = op.forward(p, &State::new(x.clone()))?;
        Ok(vec![("y", y)])
    };
    let ms = match cx.path {
        Path::Device(e) => {
            values.on(e)?;
            device_rounds(a, e, || {
                let p = Pass::new(&store, cx, Mode::EVAL);
                forward(&p, &p.tape.leaf(values.clone())).map(|_| ())
            })?
        }
        _ => {
            let one = Shape::from([1, x.c, x.h, x.w]);
            let graph = trace_of(&store, one, forward)?;
            let program = Program::of_graph(&fold_norms(&graph)?.pruned())?;
            let mut session = Session::new(&program, batch);
            rounds(a, || session.run(&values))?
        }
    };
    Ok(Some(median(&ms) * 1e3))
}
