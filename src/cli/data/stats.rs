//! `mtnas data stats`.

use clap::Args;

use super::chosen::Target;
use crate::cli::Context;
use crate::data::stats::{Stats, stats};
use crate::error::Result;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas data stats scenes/kitti
  mtnas data stats scenes --json
  mtnas data stats configs/mtnas-mixed.toml --only mixed-boxes --split val")]
pub(super) struct Count {
    #[command(flatten)]
    target: Target,
    /// train, val, or what the format has
    #[arg(long, default_value = "train")]
    split: String,
}

pub(super) fn run(a: &Count, context: &Context) -> Result<u8> {
    let mut all = vec![];
    for chosen in a.target.sets(context)? {
        let set = chosen.open(&a.split)?;
        let mut s = stats(set.as_ref(), &(0..set.len()).collect::<Vec<_>>())?;
        s.name = chosen.shown(set.name());
        all.push(s);
    }
    match context.json() {
        true => context.print_json(&all)?,
        false => all.iter().try_for_each(|s| context.print(&table(s)))?,
    }
    Ok(0)
}

fn table(s: &Stats) -> String {
    let sizes: Vec<String> = s.sizes.iter().map(|(k, n)| format!("{n} of {k}")).collect();
    let mut text = format!("{}: {} samples ({})\n", s.name, s.samples, sizes.join(", "));
    for c in &s.classes {
        let mut more = String::new();
        let sides = [("heights", c.heights), ("widths", c.widths)];
        for (name, spread) in sides {
            if let Some([a, b, z]) = spread {
                more += &format!("  {name} {a:.0} / {b:.0} / {z:.0} px");
            }
        }
        if let Some([small, medium, large]) = c.areas {
            more += &format!("  small {small}, medium {medium}, large {large}");
        }
        if let Some(share) = c.share {
            more += &format!("  {:5.2} % of the pixels", 100.0 * share);
        }
        text += &format!(
            "  {:16} in {:6} images  {:10}{more}\n",
            c.name, c.images, c.count
        );
    }
    for (quantity, v) in &s.values {
        let share = 100.0 * v.valid as f64 / v.pixels.max(1) as f64;
        let range = v
            .range
            .map_or(String::new(), |[a, b]| format!("  {a} to {b}"));
        text += &format!("  {quantity:16} known in {share:.1} % of pixels{range}\n");
    }
    if s.ignored > 0 {
        text += &format!("  ignored {:33}\n", s.ignored);
    }
    text
}
