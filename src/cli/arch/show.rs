//! `mtnas arch show` and `mtnas arch check`: genotypes for people.

use std::path::Path;

use serde_json::json;

use super::super::Context;
use super::target::Target;
use super::text;
use crate::error::{Code, Error, Result};
use crate::files::write_atomic;
use crate::report::picture;
use crate::space::genotype_diff::source_text;
use crate::space::{Genotype, NetworkGenotype, published};

/// The published genotypes.
pub(super) fn list(context: &Context) -> Result<()> {
    if context.json() {
        let names: Vec<&str> = std::iter::once("MTNAS").chain(published::names()).collect();
        return context.print_json(&names);
    }
    let mut lines = String::from("MTNAS           backbone, det and seg of the released network\n");
    for name in published::names() {
        let g = published::by_name(name).expect("a name of the table");
        lines += &format!("{name:15} {}\n", shares(&g));
    }
    context.print(&lines)
}

fn shares(g: &Genotype) -> String {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let (skip, pool) = (percent(g.skip_share()), percent(g.pool_share()));
    format!(
        "{} nodes, {skip} skip-connects, {pool} poolings",
        g.normal.len() / 2
    )
}

pub(super) fn show(target: &str, svg: Option<&Path>, context: &Context) -> Result<()> {
    let g = Target::genotype(target)?;
    if let Some(path) = svg {
        write_atomic(path, picture::network(&g).as_bytes())?;
    }
    if context.json() {
        return context.print(&g.to_json());
    }
    let mut lines = String::new();
    for (name, part) in g.parts() {
        lines += &format!("{name}: {}\n", shares(part));
        for reduction in [false, true] {
            lines += if reduction {
                "  reduction cell\n"
            } else {
                "  normal cell\n"
            };
            for (node, pair) in part.cell(reduction).chunks(2).enumerate() {
                let read = |&(op, input): &_| format!("{op}({})", source_text(input));
                let reads: Vec<String> = pair.iter().map(read).collect();
                lines += &format!("    node {node} = {}\n", reads.join(" + "));
            }
            let nodes: Vec<String> = part
                .concat(reduction)
                .iter()
                .map(|&n| source_text(n))
                .collect();
            lines += &format!("    output = concat({})\n", nodes.join(", "));
        }
    }
    context.print(&(lines + "\n" + &text(&g)))
}

pub(super) fn check(files: &[String], context: &Context) -> Result<()> {
    let mut rows = vec![];
    for file in files {
        let path = Path::new(file);
        if path.is_dir() {
            return Err(
                Error::new(Code::Usage, "a directory is not a genotype file")
                    .at(file)
                    .help("give a file, for example RUN/final/genotype.txt"),
            );
        }
        let g = NetworkGenotype::resolve(file)?;
        let parts: Vec<&str> = g.parts().map(|p| p.0).collect();
        if context.json() {
            rows.push(json!({"file": file, "good": true, "parts": parts}));
        } else {
            context.print(&format!("{file}: good ({})\n", parts.join(", ")))?;
        }
    }
    match context.json() {
        true => context.print_json(&rows),
        false => Ok(()),
    }
}
