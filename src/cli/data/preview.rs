//! `mtnas data preview`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::chosen::{Chosen, Target};
use crate::annotation::Annotation;
use crate::cli::Context;
use crate::data::convert::outside;
use crate::data::dataset::{Dataset, Kind};
use crate::data::image_file::encode_png;
use crate::data::preview::{BOXES, PALETTE, sheet};
use crate::error::{Code, Error, Result};
use crate::report::contact;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas data preview scenes/kitti
  mtnas data preview scenes -o sheet.png --count 24
  mtnas data preview scenes/kitti -o sheet.html
  mtnas data preview configs/mtnas-mixed.toml --only mixed-boxes --split val

Several data sets get a sheet each: sheet-0.png, or sheet-NAME.png where they
have names. Nothing is written into a data set.")]
pub(super) struct Preview {
    #[command(flatten)]
    target: Target,
    /// The picture, or a page (.html)
    #[arg(short, long, default_value = "preview.png")]
    output: PathBuf,
    /// Samples shown
    #[arg(long, default_value_t = 12)]
    count: usize,
    /// train, val, or what the format has
    #[arg(long, default_value = "train")]
    split: String,
}

pub(super) fn run(a: &Preview, context: &Context) -> Result<u8> {
    if a.count == 0 {
        return Err(Error::new(Code::Usage, "--count must be at least 1"));
    }
    let sets = a.target.sets(context)?;
    let page = a.output.extension().is_some_and(|e| e == "html");
    let outputs: Vec<PathBuf> = (0..sets.len()).map(|i| output(a, &sets, i)).collect();
    // None may lie in any of the sets, and nothing is read or written before that is known.
    for out in &outputs {
        sets.iter().try_for_each(|s| outside(&s.config, out))?;
    }
    for (chosen, out) in sets.iter().zip(&outputs) {
        let set = chosen.open(&a.split)?;
        let set = set.as_ref();
        let step = (set.len() / a.count).max(1);
        let indices: Vec<usize> = (0..set.len()).step_by(step).take(a.count).collect();
        let name = chosen.shown(set.name());
        let bytes = match page {
            true => page_of(set, &name, &indices)?.into_bytes(),
            false => encode_png(&sheet(set, &indices, 4, 320)?)?,
        };
        crate::files::write_atomic(out, &bytes)?;
        context.print(&format!("{}  {name}\n", out.display()))?;
    }
    Ok(0)
}

/// Where the sheet of a set goes.
fn output(a: &Preview, sets: &[Chosen], index: usize) -> PathBuf {
    if sets.len() == 1 {
        return a.output.clone();
    }
    let part = |p: Option<&std::ffi::OsStr>| p.unwrap_or_default().to_string_lossy().into_owned();
    let stem = part(Path::file_stem(&a.output));
    let ending = match part(a.output.extension()) {
        e if e == "html" => e,
        _ => "png".into(),
    };
    let name = sets[index].name.clone().unwrap_or(index.to_string());
    a.output.with_file_name(format!("{stem}-{name}.{ending}"))
}

/// The contact sheet as a page: every sample under its name, with what is labelled in it.
fn page_of(set: &dyn Dataset, title: &str, indices: &[usize]) -> Result<String> {
    let names = set.classes();
    let mut samples = vec![];
    for &i in indices {
        let mut counts = BTreeMap::new();
        let note = match set.annotation(i)? {
            Annotation::Objects(objects) => {
                for o in &objects {
                    let name = if o.ignore { "ignored" } else { &names[o.class] };
                    *counts.entry(name.to_string()).or_insert(0usize) += 1;
                }
                let each: Vec<String> = counts.iter().map(|(n, k)| format!("{k} {n}")).collect();
                each.join(", ")
            }
            Annotation::Class(c) => names[c].clone(),
            _ => String::new(),
        };
        samples.push(contact::Shown {
            name: set.id(i),
            place: set.place(i),
            note,
            picture: sheet(set, &[i], 4, 480)?,
        });
    }
    let colours: &[[u8; 3]] = match set.kind() {
        Kind::Detection => &BOXES,
        Kind::Classification => &[],
        _ => &PALETTE,
    };
    let legend: Vec<(String, [u8; 3])> = (names.iter().cloned())
        .zip(colours.iter().copied().cycle())
        .collect();
    contact::page(title, set.len(), &legend, &samples)
}
