//! The forward as straight code: a line for each value that is read more than once or by another cell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::blocks::Blocks;
use crate::export::names::{names, scope};
use crate::portable::{Graph, Id, Kind, Node};

/// Longest expression that is put where it is read instead of a line of its own.
const INLINE: usize = 56;

/// One line to be.
struct Line {
    y: Id,
    scope: String,
    x: Vec<Id>,
}

/// The body of `forward`.
pub(super) fn forward(graph: &Graph, blocks: &Blocks) -> String {
    let lines = lines(graph, blocks, &names(graph));
    let mut readers: BTreeMap<Id, Vec<&str>> = BTreeMap::new();
    for line in &lines {
        for &x in &line.x {
            readers.entry(x).or_default().push(&line.scope);
        }
    }
    let outputs: BTreeSet<Id> = graph.outputs().iter().map(|o| o.1).collect();
    let identifiers = identifiers(graph, blocks, &lines, &readers, &outputs);
    let mut expressions: BTreeMap<Id, String> = BTreeMap::new();
    for (name, id) in graph.inputs() {
        expressions.insert(id, name.into());
    }
    let (mut text, mut at) = (String::new(), "");
    for line in &lines {
        let of = |x: &Id| expressions[x].clone();
        let own = match blocks.0.get(&line.y) {
            Some(b) => format!("{}({})", module(&b.path), of(&b.x)),
            None => {
                let n = graph.maker(line.y).expect("a line computes a node");
                expression(graph, n, &n.x.iter().map(of).collect::<Vec<_>>())
            }
        };
        let read_here = readers
            .get(&line.y)
            .is_some_and(|r| r[..] == [line.scope.as_str()]);
        let binary = graph
            .maker(line.y)
            .is_some_and(|n| matches!(n.kind, Kind::Add | Kind::Mul | Kind::Scale(_)));
        if read_here && !outputs.contains(&line.y) && !binary && own.len() <= INLINE {
            expressions.insert(line.y, own);
            continue;
        }
        if at != line.scope {
            let _ = writeln!(text, "        # {}", line.scope);
            at = &line.scope;
        }
        let name = &identifiers[&line.y];
        let _ = writeln!(text, "        {name} = {own}");
        expressions.insert(line.y, name.clone());
    }
    let entry = |(name, id): &(String, Id)| format!("\"{name}\": {}", expressions[id]);
    let entries: Vec<String> = graph.outputs().iter().map(entry).collect();
    let _ = writeln!(text, "        return {{{}}}", entries.join(", "));
    text
}

/// What is computed, in order: blocks, and nodes that are in none and are read by a line.
fn lines(graph: &Graph, blocks: &Blocks, names: &[String]) -> Vec<Line> {
    let mut wanted: BTreeSet<Id> = graph.outputs().iter().map(|o| o.1).collect();
    let mut lines: Vec<Line> = vec![];
    // Of each value the first line that reads it: what a cell makes of another one's output stands in the cell that reads it.
    let mut reader: BTreeMap<Id, String> = BTreeMap::new();
    for n in graph.nodes().iter().rev() {
        if !wanted.contains(&n.y) {
            continue;
        }
        let (x, name) = match blocks.0.get(&n.y) {
            Some(b) => (vec![b.x], b.path.as_str()),
            None => (n.x.clone(), names[n.y.index()].as_str()),
        };
        wanted.extend(&x);
        let there = reader.get(&n.y).filter(|_| n.x.len() == 1);
        let scope = match (there, blocks.0.contains_key(&n.y)) {
            (Some(there), false) => there.clone(),
            _ => scope(name).join("."),
        };
        for &x in &x {
            reader.insert(x, scope.clone());
        }
        lines.push(Line { y: n.y, scope, x });
    }
    lines.reverse();
    lines
}

/// A variable for each line: short inside its cell, with the cell's name where others read it.
fn identifiers(
    graph: &Graph,
    blocks: &Blocks,
    lines: &[Line],
    readers: &BTreeMap<Id, Vec<&str>>,
    outputs: &BTreeSet<Id>,
) -> BTreeMap<Id, String> {
    let names = names(graph);
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    let mut before = "";
    for line in lines {
        if line.scope != before {
            *runs.entry(&line.scope).or_default() += 1;
        }
        before = &line.scope;
    }
    let (mut all, mut taken) = (BTreeMap::new(), BTreeSet::new());
    for line in lines {
        let here = |r: &&str| *r == line.scope;
        let local = readers.get(&line.y).is_some_and(|r| r.iter().all(here));
        let whole = outputs.contains(&line.y) || !local || runs[line.scope.as_str()] > 1;
        let own = &names[line.y.index()];
        // A block goes by its own name rather than by that of its last layer.
        let block = blocks.0.get(&line.y).map(|b| &b.path);
        let block = block.filter(|_| !outputs.contains(&line.y));
        let numbered = format!("{own}.{}", line.y.index());
        for name in block.into_iter().chain([own, &numbered]) {
            let text = identifier(name, &line.scope, whole);
            let within = if whole { "" } else { &line.scope };
            if taken.insert((within, text.clone())) {
                all.insert(line.y, text);
                break;
            }
        }
    }
    all
}

/// The name of a value as a variable: whole, or what its cell adds to it.
fn identifier(name: &str, scope: &str, whole: bool) -> String {
    let inner = name.strip_prefix(scope).unwrap_or(name);
    let inner = inner.trim_start_matches('.');
    let text = match (whole, inner) {
        (true, "concat") => scope.to_string(),
        (true, _) => name.to_string(),
        // What starts with a number is no name.
        (false, inner) if inner.starts_with(|c: char| c.is_ascii_alphabetic()) => inner.into(),
        (false, inner) => format!("x{inner}"),
    };
    text.replace('.', "_")
}

/// `self.cells[0].ops[1].op` of `cells.0.ops.1.op`.
fn module(path: &str) -> String {
    let part = |p: &str| match p.bytes().all(|b| b.is_ascii_digit()) {
        true => format!("[{p}]"),
        false => format!(".{p}"),
    };
    format!("self{}", path.split('.').map(part).collect::<String>())
}

/// A node over the expressions of its operands.
fn expression(graph: &Graph, n: &Node, x: &[String]) -> String {
    let (first, to) = (&x[0], graph.shape(n.y).dims());
    let rest = || {
        let sizes: Vec<String> = to[1..].iter().map(usize::to_string).collect();
        format!("{first}.shape[0], {}", sizes.join(", "))
    };
    let truth = |v: bool| if v { "True" } else { "False" };
    match n.kind {
        Kind::Relu => format!("F.relu({first})"),
        Kind::Relu6 => format!("F.relu6({first})"),
        Kind::MaxPool(w) => format!(
            "F.max_pool2d({first}, {}, {}, {})",
            w.k, w.stride, w.padding
        ),
        Kind::AvgPool(w) => format!(
            "F.avg_pool2d({first}, {}, {}, {}, count_include_pad=False)",
            w.k, w.stride, w.padding
        ),
        Kind::GlobalAvgPool => format!("{first}.mean((2, 3))"),
        Kind::Add => format!("{first} + {}", x[1]),
        Kind::Mul => format!("{first} * {}", x[1]),
        Kind::Scale(factor) => format!("{factor:?} * {first}"),
        Kind::Concat => format!("torch.cat([{}], 1)", x.join(", ")),
        Kind::Slice { start, channels } => format!("{first}[:, {start}:{}]", start + channels),
        Kind::Subsample { stride, offset } => {
            format!("{first}[:, :, {offset}::{stride}, {offset}::{stride}]")
        }
        Kind::Nearest { factor } => format!("F.interpolate({first}, scale_factor={factor})"),
        Kind::Bilinear {
            height,
            width,
            align_corners,
        } => format!(
            "F.interpolate({first}, size=({height}, {width}), mode=\"bilinear\", align_corners={})",
            truth(align_corners)
        ),
        Kind::ToRows { width } => format!("rows({first}, {width})"),
        Kind::ChannelShuffle { groups } => format!("F.channel_shuffle({first}, {groups})"),
        Kind::Softmax { axis } => format!("{first}.softmax({axis})"),
        Kind::Reshape => format!("{first}.reshape({})", rest()),
        Kind::Zeros => format!("{first}.new_zeros({})", rest()),
        Kind::Conv { .. } | Kind::ConvTranspose { .. } | Kind::BatchNorm { .. } | Kind::Linear => {
            unreachable!("a layer is a block")
        }
    }
}
