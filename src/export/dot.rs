//! Cells as text for graphviz: one directed graph, a box for each cell of each part.

use std::fmt::Write;

use crate::space::genotype::INPUTS;
use crate::space::{Genotype, NetworkGenotype, Primitive};

/// The cells of a genotype: inputs, nodes and the output of each, edges labelled with their operation.
pub fn cells(g: &NetworkGenotype) -> String {
    let mut out = String::from(
        "digraph cells {\n  rankdir=LR;\n  compound=true;\n  node [shape=box, style=rounded, fontname=\"Helvetica\"];\n  edge [fontname=\"Helvetica\", fontsize=10];\n",
    );
    for (part, genotype) in g.parts() {
        for reduction in [false, true] {
            cell(&mut out, part, genotype, reduction);
        }
    }
    out + "}\n"
}

fn cell(out: &mut String, part: &str, g: &Genotype, reduction: bool) {
    let kind = if reduction { "reduction" } else { "normal" };
    let id = |value: usize| match value {
        0 => format!("{part}_{kind}_before_last"),
        1 => format!("{part}_{kind}_last"),
        n => format!("{part}_{kind}_node_{}", n - INPUTS),
    };
    let label = |value: usize| match value {
        0 => "c[k-2]".to_string(),
        1 => "c[k-1]".to_string(),
        n => format!("{}", n - INPUTS),
    };
    let edges: &[(Primitive, usize)] = g.cell(reduction);
    let mut lines =
        format!("  subgraph cluster_{part}_{kind} {{\n    label=\"{part}, {kind} cell\";\n");
    for value in 0..INPUTS + edges.len() / 2 {
        let _ = writeln!(lines, "    {} [label=\"{}\"];", id(value), label(value));
    }
    let _ = writeln!(lines, "    {part}_{kind}_output [label=\"c[k]\"];");
    for (i, (op, from)) in edges.iter().enumerate() {
        let (from, to) = (id(*from), id(INPUTS + i / 2));
        let _ = writeln!(lines, "    {from} -> {to} [label=\"{op}\"];");
    }
    for &node in g.concat(reduction) {
        let _ = writeln!(lines, "    {} -> {part}_{kind}_output;", id(node));
    }
    out.push_str(&(lines + "  }\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::published;

    #[test]
    fn every_edge_is_drawn_once() {
        let backbone = published::by_name("PC_DARTS_cifar").unwrap();
        let g = NetworkGenotype {
            det: Some(backbone.clone()),
            backbone,
            seg: None,
        };
        let text = cells(&g);
        assert_eq!(text.matches(" -> ").count(), 2 * 2 * (8 + 4));
        assert_eq!(text.matches("subgraph").count(), 4);
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        let edge = "backbone_normal_last -> backbone_normal_node_0 [label=\"sep_conv_3x3\"];";
        assert!(text.contains(edge), "{text}");
    }
}
