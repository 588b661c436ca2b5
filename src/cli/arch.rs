//! `mtnas arch`: genotypes and what their networks cost.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Context;
use crate::error::Result;
use crate::files::write_atomic;
use crate::report::{dot, picture};
use crate::rng::{Rng, word};
use crate::space::genotype::NODES;
use crate::space::random::{NoneDraws, random_genotype};
use crate::space::{Genotype, NetworkGenotype};
use target::Target;

pub(super) mod cost;
mod counted;
mod difference;
mod evolve;
mod hand;
pub(super) mod in_network;
mod show;
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
    /// Say in which edges two genotypes differ; exit status 1 if they do
    #[command(after_help = difference::HELP)]
    Diff(difference::Arguments),
    /// Write a genotype in another form
    #[command(
        after_help = "Examples:\n  mtnas arch convert PDARTS --to json\n  mtnas arch convert genotypes.py:PC_DARTS -o pc.txt\n  mtnas arch convert MTNAS --to svg -o cells.svg\n  mtnas arch convert MTNAS --to dot | dot -Tpdf -o cells.pdf"
    )]
    Convert {
        /// Run, genotype file (FILE:NAME of several), published name, or text
        target: String,
        /// The form
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
    /// Change an operation or an input of a genotype at random
    #[command(after_help = evolve::HELP)]
    Mutate(evolve::Arguments),
}

/// Forms of a genotype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// As the DARTS papers write it
    Text,
    Json,
    /// Cells as a drawing
    Svg,
    /// Cells as a graph for Graphviz
    Dot,
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
        Action::Show { target: None, .. } => show::list(context)?,
        Action::Show {
            target: Some(target),
            svg,
        } => show::show(&target, svg.as_deref(), context)?,
        Action::Check { files } => show::check(&files, context)?,
        Action::Diff(a) => return difference::run(&a, context),
        Action::Mutate(a) => evolve::run(&a, context)?,
        Action::Convert { target, to, output } => {
            let g = Target::genotype(&target)?;
            let text = match to {
                Form::Text => text(&g),
                Form::Json => g.to_json(),
                Form::Svg => picture::network(&g),
                Form::Dot => dot::network(&g),
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
            let none = drawn(allow_none);
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

fn drawn(allow_none: bool) -> NoneDraws {
    match allow_none {
        true => NoneDraws::Include,
        false => NoneDraws::Exclude,
    }
}

fn single(backbone: Genotype) -> NetworkGenotype {
    NetworkGenotype {
        backbone,
        det: None,
        seg: None,
    }
}

/// Text that reads back: one genotype alone as DARTS prints it, several with their names.
pub(super) fn text(g: &NetworkGenotype) -> String {
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
