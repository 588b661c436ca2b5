//! `mtnas arch diff`: two genotypes edge by edge.

use clap::Args;
use serde_json::{Value, json};

use super::super::Context;
use super::target::Target;
use crate::error::Result;
use crate::space::genotype_diff::{Difference, Edge, source_text};
use crate::space::{Genotype, NetworkGenotype};

pub(super) const HELP: &str = "\
Examples:
  mtnas arch diff PDARTS MTNAS_backbone
  mtnas arch diff runs/a runs/b --json

The order of the two operations of a node is no difference: they are added.
That of a concatenation is: channels come in its order. Exit status 0: the
same, 1: they differ.";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Run, genotype file, published name, or text
    a: String,
    /// What it is compared with
    b: String,
}

/// A part of both networks, or of one alone.
enum Part<'a> {
    Both(Difference, [&'a Genotype; 2]),
    Alone(&'static str),
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> Result<u8> {
    let [a, b] = [&arguments.a, &arguments.b].map(|t| Target::genotype(t));
    let (a, b) = (a?, b?);
    let parts = parts(&a, &b);
    let same = parts
        .iter()
        .all(|(_, p)| matches!(p, Part::Both(d, _) if d.is_empty()));
    match context.json() {
        true => context.print_json(&as_json(&parts, same))?,
        false => context.print(&as_text(&parts, same))?,
    }
    Ok(u8::from(!same))
}

fn parts<'a>(a: &'a NetworkGenotype, b: &'a NetworkGenotype) -> Vec<(&'static str, Part<'a>)> {
    let of = |g: &'a NetworkGenotype, name| g.parts().find(|p| p.0 == name).map(|p| p.1);
    let both = |name| match (of(a, name), of(b, name)) {
        (Some(x), Some(y)) => Some((name, Part::Both(Difference::between(x, y), [x, y]))),
        (Some(_), None) => Some((name, Part::Alone("first"))),
        (None, Some(_)) => Some((name, Part::Alone("second"))),
        (None, None) => None,
    };
    ["backbone", "det", "seg"]
        .into_iter()
        .filter_map(both)
        .collect()
}

fn cell(reduction: bool) -> &'static str {
    match reduction {
        true => "reduction",
        false => "normal",
    }
}

fn as_text(parts: &[(&str, Part)], same: bool) -> String {
    if same {
        return "the same\n".into();
    }
    let list = |sign: char, edges: &[Edge]| -> String {
        let one = |(op, from): &Edge| format!("  {sign} {op}({})", source_text(*from));
        edges.iter().map(one).collect()
    };
    let mut s = String::new();
    for (name, part) in parts {
        let (d, [a, b]) = match part {
            Part::Both(d, both) => (d, both),
            Part::Alone(whose) => {
                s += &format!("{name}: in the {whose} genotype alone\n");
                continue;
            }
        };
        for reduction in [false, true] {
            for n in d.nodes.iter().filter(|n| n.reduction == reduction) {
                s += &format!(
                    "{name}, {} cell, node {}:{}{}\n",
                    cell(reduction),
                    n.node,
                    list('-', &n.removed),
                    list('+', &n.added)
                );
            }
            for c in d.concat.iter().filter(|c| c.reduction == reduction) {
                let nodes = |all: &[usize]| -> String {
                    let names: Vec<String> = all.iter().map(|&n| source_text(n)).collect();
                    names.join(", ")
                };
                s += &format!(
                    "{name}, {} cell, output:  - concat({})  + concat({})\n",
                    cell(reduction),
                    nodes(&c.removed),
                    nodes(&c.added)
                );
            }
        }
        let edges = |g: &Genotype| g.normal.len() + g.reduce.len();
        s += &format!(
            "{name}: {} of {} edges differ\n",
            d.edges(),
            edges(a).max(edges(b))
        );
    }
    s
}

fn as_json(parts: &[(&str, Part)], same: bool) -> Value {
    let edges = |all: &[Edge]| -> Value {
        let one = |(op, from): &Edge| json!([op.name(), from]);
        all.iter().map(one).collect()
    };
    let part = |(name, p): &(&str, Part)| match p {
        Part::Alone(whose) => json!({"part": name, "only_in": whose}),
        Part::Both(d, [a, b]) => {
            let all = |g: &Genotype| g.normal.len() + g.reduce.len();
            let nodes = d.nodes.iter().map(|n| {
                json!({"cell": cell(n.reduction), "node": n.node, "removed": edges(&n.removed), "added": edges(&n.added)})
            });
            let concat = d.concat.iter().map(
                |c| json!({"cell": cell(c.reduction), "removed": c.removed, "added": c.added}),
            );
            json!({
                "part": name,
                "differ": d.edges(),
                "edges": all(a).max(all(b)),
                "nodes": nodes.collect::<Value>(),
                "concat": concat.collect::<Value>(),
            })
        }
    };
    json!({"same": same, "parts": parts.iter().map(part).collect::<Value>()})
}
