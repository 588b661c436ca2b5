//! `mtnas arch mutate`: random changes of a genotype.

use clap::Args;

use super::super::Context;
use super::target::Target;
use super::{Part, drawn, print};
use crate::error::{Code, Error, Result};
use crate::rng::{Rng, word};
use crate::space::Primitive;
use crate::space::genotype_diff::source_text;
use crate::space::mutate::{Mutation, mutate};

pub(super) const HELP: &str = "\
Examples:
  mtnas arch mutate PDARTS --seed 3 --count 2
  mtnas arch mutate MTNAS --part det > neighbour.txt

A change is one of regularised evolution (Real et al. 2019): an edge gets
another operation, or another input that its node does not read yet. Changes
come one after the other and are told on the standard error.";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Run, genotype file (FILE:NAME of several), published name, or text
    target: String,
    /// Change the backbone, or a branch: det, seg
    #[arg(long, default_value = "backbone")]
    part: Part,
    /// How many changes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// `none` may come too
    #[arg(long)]
    allow_none: bool,
}

pub(super) fn run(a: &Arguments, context: &Context) -> Result<()> {
    let mut g = Target::genotype(&a.target)?;
    let part = match a.part {
        Part::Backbone => Some(&mut g.backbone),
        Part::Det => g.det.as_mut(),
        Part::Seg => g.seg.as_mut(),
    };
    let name = a.part.name();
    let Some(part) = part else {
        let what = format!("{} has no cells of `{name}`", a.target);
        return Err(Error::new(Code::Usage, what)
            .help("leave --part out, or give a genotype that has them, such as MTNAS"));
    };
    let seed = context.seed().unwrap_or(0);
    let mut rng = Rng::new(seed, &[word("mutate-genotype"), word(name)]);
    for _ in 0..a.count {
        let m = mutate(&mut rng, part, drawn(a.allow_none));
        if !context.quiet() {
            eprintln!("{}", told(name, &m));
        }
    }
    print(g, context)
}

fn told(part: &str, m: &Mutation) -> String {
    let cell = if m.reduction { "reduction" } else { "normal" };
    let edge = |(op, from): (Primitive, usize)| format!("{op}({})", source_text(from));
    format!(
        "{part}, {cell} cell, node {}: {} becomes {}",
        m.entry / 2,
        edge(m.before),
        edge(m.after)
    )
}
