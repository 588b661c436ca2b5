//! Names of values: those of the layers that make them, `cells.0.ops.1.op.2`, as the parameters have them.

use std::collections::BTreeSet;

use crate::portable::{Graph, Id, Kind, Source};

/// A name for every value of the graph, each once: outputs and inputs have theirs, parameters theirs; the result of a layer is named after
/// the layer, anything else after what its operands have in common.
pub fn names(graph: &Graph) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    let mut taken: BTreeSet<String> = graph.outputs().iter().map(|o| o.0.clone()).collect();
    let outer = |id: Id| graph.outputs().iter().find(|o| o.1 == id).map(|o| &o.0);
    for (at, id) in graph.values().enumerate() {
        let wanted = match (graph.source(id), outer(id)) {
            (Source::Input(name), _) => name.clone(),
            (Source::Constant(Some(name), _), _) => name.clone(),
            (Source::Constant(None, _), _) => format!("constant.{at}"),
            (Source::Node(_), Some(name)) => {
                all.push(name.clone());
                continue;
            }
            (Source::Node(i), None) => of_node(graph, *i, &all),
        };
        let mut name = wanted.clone();
        for n in 2.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}.{n}");
        }
        all.push(name);
    }
    all
}

/// The layer that a node is, by the name of a parameter that it reads: `cells.0.op.1` for `cells.0.op.1.weight`.
pub fn layer(graph: &Graph, at: usize) -> Option<&str> {
    let n = &graph.nodes()[at];
    let parameter = n.x.iter().find_map(|&x| graph.stored(x)?.0)?;
    parameter.rsplit_once('.').map(|p| p.0)
}

fn of_node(graph: &Graph, at: usize, all: &[String]) -> String {
    let n = &graph.nodes()[at];
    if let Some(layer) = layer(graph, at) {
        return layer.to_string();
    }
    let operands: Vec<&str> = n.x.iter().map(|&x| all[x.index()].as_str()).collect();
    let within = match operands[..] {
        [] => String::new(),
        // The rectified, pooled, subsampled of one value.
        [one] => one.into(),
        // The halves of a factorised reduction are joined in its own name.
        _ if n.kind == Kind::Concat => common(&operands, outer),
        _ => common(&operands, scope),
    };
    let word = n.kind.word();
    match within.as_str() {
        "" => word.into(),
        within => format!("{within}.{word}"),
    }
}

/// The cell or block that all names lie in; that of the first, where they lie in several, as in a top-down step.
fn common<'a>(names: &[&'a str], of: fn(&'a str) -> Vec<&'a str>) -> String {
    let scopes: Vec<Vec<&str>> = names.iter().map(|n| of(n)).collect();
    let shared = |a: &[&str], b: &[&str]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let first = &scopes[0];
    match scopes.iter().map(|s| shared(first, s)).min() {
        Some(len @ 1..) => first[..len].join("."),
        _ => first.join("."),
    }
}

/// All but the last of the parts of a name.
fn outer(name: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = name.split('.').collect();
    parts.pop();
    parts
}

/// `cells.3` of `cells.3.ops.1.op.2`, `seg.cells.0` of `seg.cells.0.sum`: up to the first number.
pub fn scope(name: &str) -> Vec<&str> {
    let parts: Vec<&str> = name.split('.').collect();
    let number = |p: &&str| p.bytes().all(|b| b.is_ascii_digit());
    let len = parts.iter().position(number).map_or(1, |at| at + 1);
    parts[..len].to_vec()
}
