//! `mtnas arch`: genotypes and what their networks cost.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::Context;
use crate::error::{Code, Error, Result};
use crate::files::write_atomic;
use crate::report::picture;
use crate::rng::{Rng, word};
use crate::space::genotype::{INPUTS, NODES};
use crate::space::random::{NoneDraws, random_genotype};
use crate::space::{Genotype, NetworkGenotype, published};
use target::Target;

mod cost;
mod counted;
mod hand;
pub(super) mod target;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Count parameters and multiply-adds
    #[command(after_help = cost::HELP)]
    Cost(cost::Arguments),
    /// Show the cells of a genotype, or list the published ones
    #[command(
        after_help = "Examples:\n  mtnas arch show\n  mtnas arch show PC_DARTS_cifar\n  mtnas arch show runs/driving-small --svg cells.svg"
    )]
    Show {
        /// Run, genotype file (FILE:NAME of several), published name, or text
        target: Option<String>,
        /// Draw the cells into this file
        #[arg(long, value_name = "FILE", requires = "target")]
        svg: Option<PathBuf>,
    },
    /// Read genotype files and say what is wrong with them
    #[command(
        after_help = "Examples:\n  mtnas arch check genotype.txt\n  mtnas arch check genotypes.py:DARTS_V2 cells.json"
    )]
    Check {
        /// Genotype files; FILE:NAME names one of several
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Write a genotype in another form
    #[command(
        after_help = "Examples:\n  mtnas arch convert PDARTS --to json\n  mtnas arch convert genotypes.py:PC_DARTS -o pc.txt"
    )]
    Convert {
        /// Run, genotype file (FILE:NAME of several), published name, or text
        target: String,
        /// Text of the DARTS papers, or JSON
        #[arg(long, value_name = "FORM", default_value = "text")]
        to: Form,
        /// The file to write; the standard output without it
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Draw a random genotype: the one a run of this seed compares with
    #[command(
        after_help = "Examples:\n  mtnas arch random --seed 3\n  mtnas arch random --seed 3 --part det --nodes 2"
    )]
    Random {
        /// Draw for the backbone, or for a branch: det, seg
        #[arg(long, default_value = "backbone")]
        part: Part,
        /// Intermediate nodes of a cell
        #[arg(long, value_name = "N", default_value_t = NODES as u16, value_parser = clap::value_parser!(u16).range(1..=16))]
        nodes: u16,
        /// Draw `none` too
        #[arg(long)]
        allow_none: bool,
    },
}

/// Forms of a genotype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

/// Parts of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Backbone,
    Det,
    Seg,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Backbone => "backbone",
            Part::Det => "det",
            Part::Seg => "seg",
        }
    }
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    match arguments.action {
        Action::Cost(a) => cost::run(a, context)?,
        Action::Show { target: None, .. } => list(context)?,
        Action::Show {
            target: Some(target),
            svg,
        } => show(&target, svg.as_deref(), context)?,
        Action::Check { files } => check(&files, context)?,
        Action::Convert { target, to, output } => {
            let g = Target::genotype(&target)?;
            let text = match to {
                Form::Text => text(&g),
                Form::Json => g.to_json(),
            };
            match output {
                Some(path) => write_atomic(path, text.as_bytes())?,
                None => context.print(&text)?,
            }
        }
        Action::Random {
            part,
            nodes,
            allow_none,
        } => {
            let none = match allow_none {
                true => NoneDraws::Include,
                false => NoneDraws::Exclude,
            };
            let seed = context.seed().unwrap_or(0);
            let path = [word("random-genotype"), word(part.name())];
            print(
                single(random_genotype(
                    &mut Rng::new(seed, &path),
                    nodes.into(),
                    none,
                )),
                context,
            )?;
        }
    }
    Ok(0)
}

fn single(backbone: Genotype) -> NetworkGenotype {
    NetworkGenotype {
        backbone,
        det: None,
        seg: None,
    }
}

/// Text that reads back: one genotype alone as DARTS prints it, several with their names.
fn text(g: &NetworkGenotype) -> String {
    match (&g.det, &g.seg) {
        (None, None) => format!("{}\n", g.backbone),
        _ => g.to_string(),
    }
}

fn print(g: NetworkGenotype, context: &Context) -> Result<()> {
    match context.json() {
        true => context.print(&g.to_json()),
        false => context.print(&text(&g)),
    }
}

/// The published genotypes.
fn list(context: &Context) -> Result<()> {
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

fn show(target: &str, svg: Option<&Path>, context: &Context) -> Result<()> {
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
                let read = |&(op, input): &_| format!("{op}({})", source(input));
                let reads: Vec<String> = pair.iter().map(read).collect();
                lines += &format!("    node {node} = {}\n", reads.join(" + "));
            }
            let nodes: Vec<String> = part.concat(reduction).iter().map(|&n| source(n)).collect();
            lines += &format!("    output = concat({})\n", nodes.join(", "));
        }
    }
    context.print(&(lines + "\n" + &text(&g)))
}

/// Where an edge starts: the cell before the last, the last, or a node.
fn source(input: usize) -> String {
    match input {
        0 => "c[k-2]".into(),
        1 => "c[k-1]".into(),
        node => format!("node {}", node - INPUTS),
    }
}

fn check(files: &[String], context: &Context) -> Result<()> {
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
