//! Which layers stand together: chains of one block, `op.0` to `op.7`, become one `Sequential`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::export::names::layer;
use crate::portable::{Graph, Id, Kind, Node};

/// One module of the written network and where it is called.
#[derive(Debug)]
pub(super) struct Block {
    /// Its dotted name.
    pub path: String,
    /// Its layers: name inside the block, constructor. One without a name stands for itself.
    layers: Vec<(usize, String)>,
    alone: bool,
    /// What it reads.
    pub x: Id,
}

/// All blocks by the value that they yield.
#[derive(Debug)]
pub(super) struct Blocks(pub BTreeMap<Id, Block>);

impl Blocks {
    pub fn new(graph: &Graph) -> Blocks {
        let (mut all, mut done) = (BTreeMap::new(), BTreeSet::new());
        for at in 0..graph.nodes().len() {
            if layer(graph, at).is_some() && !done.contains(&at) {
                let (y, block, members) = chain(graph, at);
                done.extend(members);
                all.insert(y, block);
            }
        }
        Blocks(all)
    }

    /// The lines of `__init__`, each module once, in the order of the network.
    pub fn layers(&self, graph: &Graph) -> String {
        let mut seen = BTreeSet::new();
        let mut lines = String::new();
        let order = graph.nodes().iter().filter_map(|n| self.0.get(&n.y));
        for b in order.filter(|b| seen.insert(&b.path)) {
            let own = match (b.alone, &b.layers[..]) {
                (true, [(_, constructor)]) => constructor.clone(),
                _ => sequential(&b.layers),
            };
            let _ = writeln!(lines, "        self.put(\"{}\", {own})", b.path);
        }
        lines
    }
}

fn sequential(layers: &[(usize, String)]) -> String {
    let counted = layers.iter().enumerate().all(|(i, l)| i == l.0);
    let (name, open) = match counted {
        true => ("nn.Sequential", ""),
        false => ("seq", "_"),
    };
    let one = |(i, constructor): &(usize, String)| match counted {
        true => format!("            {constructor},\n"),
        false => format!("            {open}{i}={constructor},\n"),
    };
    let inner: String = layers.iter().map(one).collect();
    format!("{name}(\n{inner}        )")
}

/// The block and the number inside it: `a.op`, 2 of `a.op.2`.
fn split(path: &str) -> Option<(&str, usize)> {
    let (block, number) = path.rsplit_once('.')?;
    Some((block, number.parse().ok()?))
}

/// The only node that reads a value, if it is no output.
fn reader(graph: &Graph, value: Id) -> Option<usize> {
    let mut all = graph
        .nodes()
        .iter()
        .enumerate()
        .filter(|(_, n)| n.x.contains(&value));
    let first = all.next()?.0;
    let others = all.next().is_some() || graph.outputs().iter().any(|o| o.1 == value);
    (!others).then_some(first)
}

fn is_relu(n: &Node) -> bool {
    n.kind == Kind::Relu
}

/// The block that starts with the layer at node `at`: its value, itself, and the layers in it.
fn chain(graph: &Graph, at: usize) -> (Id, Block, Vec<usize>) {
    let nodes = graph.nodes();
    let path = layer(graph, at).unwrap_or_default();
    let constructor = |i: usize| constructor(graph, &nodes[i]);
    let Some((block, first)) = split(path) else {
        return single(path, constructor(at), &nodes[at], at);
    };
    let (mut layers, mut members, mut last) = (vec![(first, constructor(at))], vec![at], first);
    let mut y = at;
    while let Some(mut next) = reader(graph, nodes[y].y) {
        let rectified = is_relu(&nodes[next]);
        if rectified {
            match reader(graph, nodes[next].y) {
                Some(after) => next = after,
                None => break,
            }
        }
        let number = match layer(graph, next).and_then(split) {
            Some((b, number)) if b == block && number > last + usize::from(rectified) => number,
            _ => break,
        };
        if rectified {
            layers.push((number - 1, "nn.ReLU()".into()));
        }
        layers.push((number, constructor(next)));
        members.push(next);
        (y, last) = (next, number);
    }
    // A block that rectifies first: the number before its first layer is free.
    let before = graph.maker(nodes[at].x[0]).filter(|n| is_relu(n));
    let x = match (before, first) {
        (Some(relu), 1) => {
            layers.insert(0, (0, "nn.ReLU()".into()));
            relu.x[0]
        }
        _ => nodes[at].x[0],
    };
    // Layers of one list that do not follow each other, as the heads of several levels, are modules by themselves.
    let numbers = (0..nodes.len()).filter_map(|i| split(layer(graph, i)?));
    let own: BTreeSet<usize> = numbers.filter(|s| s.0 == block).map(|s| s.1).collect();
    if layers.len() == 1 || own.len() != members.len() {
        return single(path, constructor(at), &nodes[at], at);
    }
    let block = Block {
        path: block.into(),
        layers,
        alone: false,
        x,
    };
    (nodes[y].y, block, members)
}

fn single(path: &str, constructor: String, n: &Node, at: usize) -> (Id, Block, Vec<usize>) {
    let block = Block {
        path: path.into(),
        layers: vec![(0, constructor)],
        alone: true,
        x: n.x[0],
    };
    (n.y, block, vec![at])
}

/// The module that a layer is.
fn constructor(graph: &Graph, n: &Node) -> String {
    let d = |i: usize| graph.shape(n.x[i]).dims();
    let bias = match n.x.len() {
        2 => ", bias=False",
        _ => "",
    };
    // Only what differs from the defaults.
    let said = |list: &[(&str, usize, usize)]| -> String {
        let unusual = list.iter().filter(|(_, v, usual)| v != usual);
        unusual
            .map(|(name, v, _)| format!(", {name}={v}"))
            .collect()
    };
    match n.kind {
        Kind::Conv {
            stride,
            padding,
            dilation,
            groups,
        } => {
            let (c_in, w) = (d(0)[1], d(1));
            let rest = said(&[
                ("stride", stride, 1),
                ("padding", padding, 0),
                ("dilation", dilation, 1),
                ("groups", groups, 1),
            ]);
            format!("nn.Conv2d({c_in}, {}, {}{rest}{bias})", w[0], w[2])
        }
        Kind::ConvTranspose { stride, padding } => {
            let w = d(1);
            let rest = said(&[("stride", stride, 1), ("padding", padding, 0)]);
            format!(
                "nn.ConvTranspose2d({}, {}, {}{rest}{bias})",
                w[0], w[1], w[2]
            )
        }
        Kind::BatchNorm { eps } => {
            let named = graph.stored(n.x[1]).is_some_and(|s| s.0.is_some());
            let affine = if named { "" } else { ", affine=False" };
            let eps = if eps == 1e-5 {
                String::new()
            } else {
                format!(", eps={eps:e}")
            };
            format!("nn.BatchNorm2d({}{eps}{affine})", d(0)[1])
        }
        Kind::Linear => format!("nn.Linear({}, {}{bias})", d(1)[1], d(1)[0]),
        _ => unreachable!("only these read parameters"),
    }
}
