//! The cells of a network in the language of Graphviz, for those who draw with it.

use super::cell::label;
use super::picture::colour_of;
use crate::space::NetworkGenotype;
use crate::space::genotype::INPUTS;
use crate::space::genotype_diff::source_text;

/// A directed graph with one cluster for each cell: inputs and nodes, an edge for each operation, the concatenation at the end.
pub fn network(genotype: &NetworkGenotype) -> String {
    let mut dot = String::from(
        "digraph genotype {\n  rankdir=LR;\n  compound=true;\n  fontname=\"Helvetica\";\n  \
         node [fontname=\"Helvetica\", shape=circle, fixedsize=true, width=0.45];\n  \
         edge [fontname=\"Helvetica\", fontsize=11, penwidth=1.6];\n",
    );
    for (part, g) in genotype.parts() {
        for reduction in [false, true] {
            let kind = if reduction { "reduction" } else { "normal" };
            let id = |source: &str| format!("\"{part} {kind} {source}\"");
            dot += &format!(
                "  subgraph \"cluster {part} {kind}\" {{\n    label=\"{part}, {kind} cell\";\n"
            );
            let ops = g.cell(reduction);
            for source in 0..INPUTS + ops.len() / 2 {
                let name = source_text(source);
                let shape = match source < INPUTS {
                    true => {
                        format!("label=\"{name}\", shape=box, style=rounded, width=0.8, height=0.4")
                    }
                    false => format!("label=\"{}\"", source - INPUTS),
                };
                dot += &format!("    {} [{shape}];\n", id(&name));
            }
            dot += &format!(
                "    {} [label=\"c[k]\", shape=box, style=rounded, width=0.8, height=0.4];\n",
                id("c[k]")
            );
            for (i, &(op, from)) in ops.iter().enumerate() {
                let to = source_text(INPUTS + i / 2);
                dot += &format!(
                    "    {} -> {} [label=\"{}\", color=\"{}\"];\n",
                    id(&source_text(from)),
                    id(&to),
                    label(op).replace('\u{d7}', "x"),
                    colour_of(op)
                );
            }
            for &node in g.concat(reduction) {
                dot += &format!(
                    "    {} -> {} [style=dashed, color=\"#596675\"];\n",
                    id(&source_text(node)),
                    id("c[k]")
                );
            }
            dot += "  }\n";
        }
    }
    dot + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::published;

    #[test]
    fn every_operation_is_an_edge_and_every_name_is_declared() {
        let dot = network(&published::mtnas());
        assert_eq!(dot.matches("subgraph").count(), 6);
        assert_eq!(dot.matches("color=\"#").count(), 6 * (8 + 4));
        assert_eq!(dot.matches('{').count(), dot.matches('}').count());
        for line in dot.lines().filter(|l| l.contains(" -> ")) {
            let (from, rest) = line.trim().split_once(" -> ").unwrap();
            let to = rest.split(" [").next().unwrap();
            for end in [from, to] {
                assert!(dot.contains(&format!("    {end} [label=")), "{end}");
            }
        }
        let edge = "\"det reduction node 1\" -> \"det reduction node 2\" [label=\"dil 5x5\"";
        assert!(
            dot.contains(edge) && dot.contains("label=\"seg, normal cell\""),
            "{dot}"
        );
        assert!(dot.is_ascii());
    }
}
