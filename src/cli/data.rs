//! `mtnas data`: makes, checks, counts, shows and converts data sets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{Context, running};
use crate::annotation::Annotation;
use crate::data::check::{check_folder, detect};
use crate::data::convert::{self, Images, To};
use crate::data::dataset::{Dataset, Kind};
use crate::data::image_file::encode_png;
use crate::data::preview::{BOXES, PALETTE, sheet};
use crate::data::stats::stats;
use crate::data::synth::{SynthConfig, generate};
use crate::error::{Code, Error, Result};
use crate::report::contact;

/// Defects printed before the rest is only counted.
const SHOWN: usize = 200;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas data synth scenes --train 500 --size 320x512\n  mtnas data check /data/kitti"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Draw driving scenes in the KITTI and Cityscapes formats, and an image folder
    #[command(
        after_help = "Examples:\n  mtnas data synth scenes\n  mtnas data synth scenes --size 320x512 --train 500 --seed 1"
    )]
    Synth {
        /// Where to write; absent or empty
        dir: PathBuf,
        /// Height x width of a scene
        #[arg(long, default_value = "96x160", value_parser = size)]
        size: [usize; 2],
        /// Training scenes of each part
        #[arg(long, default_value_t = 240)]
        train: usize,
        /// Held-out scenes of each part
        #[arg(long, default_value_t = 60)]
        val: usize,
        /// Also write the crops as CIFAR-10 binary files
        #[arg(long)]
        cifar: bool,
    },
    /// Read everything and report each defect with file and line
    #[command(
        after_help = "Examples:\n  mtnas data check /data/kitti\n  mtnas data check scenes --json"
    )]
    Check {
        /// A data set, or a folder of several
        dir: PathBuf,
    },
    /// Count classes, sizes, colours
    #[command(
        after_help = "Examples:\n  mtnas data stats scenes/kitti\n  mtnas data stats scenes --json"
    )]
    Stats {
        /// A data set, or a folder of several
        dir: PathBuf,
    },
    /// Draw a contact sheet of training samples with their labels
    #[command(
        after_help = "Examples:\n  mtnas data preview scenes/kitti\n  mtnas data preview scenes -o sheet.png --count 24\n  mtnas data preview scenes/kitti -o sheet.html"
    )]
    Preview {
        /// A data set, or a folder of several (a sheet for each)
        dir: PathBuf,
        /// The picture, or a page (.html); several data sets get a number each
        #[arg(short, long, default_value = "preview.png")]
        output: PathBuf,
        /// Samples shown
        #[arg(long, default_value_t = 12)]
        count: usize,
    },
    /// Write a data set in another format, into a new folder
    #[command(
        after_help = "Examples:\n  mtnas data convert /data/kitti kitti-coco --to coco --images link\n  mtnas data convert /data/cityscapes labels --to train-ids --images none\n\nThe source is only read, and nothing is overwritten."
    )]
    Convert {
        /// The data set
        dir: PathBuf,
        /// Where to write; absent or empty
        output: PathBuf,
        /// What to write
        #[arg(long, value_enum)]
        to: Target,
        /// What becomes of the pictures
        #[arg(long, value_enum, default_value_t = Pictures::Copy)]
        images: Pictures,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Target {
    /// Boxes: KITTI object
    Kitti,
    /// Boxes: VOC annotations, whole pixels
    Voc,
    /// Boxes: COCO detection JSON
    Coco,
    /// Label maps: Cityscapes label ids
    LabelIds,
    /// Label maps: Cityscapes train ids
    TrainIds,
    /// Label maps: palette PNG in Cityscapes colours
    Palette,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Pictures {
    /// Copied
    Copy,
    /// Hard links: no space, but one file
    Link,
    /// Left out
    None,
}

fn size(text: &str) -> std::result::Result<[usize; 2], String> {
    let parts = text
        .split_once('x')
        .and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
    parts.ok_or_else(|| "expected HEIGHTxWIDTH, for example 96x160".to_string())
}

fn sets(dir: &Path) -> Result<Vec<Box<dyn Dataset>>> {
    detect(dir)?.iter().map(|c| c.open_train()).collect()
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    running::threads(context.threads().unwrap_or(0))?;
    match arguments.what {
        What::Synth {
            dir,
            size,
            train,
            val,
            cifar,
        } => {
            let config = SynthConfig {
                seed: context.seed().unwrap_or(0),
                size,
                train,
                val,
                cifar,
                ..SynthConfig::default()
            };
            generate(&dir, &config)?;
            context.print(&format!("{}\n", dir.display()))?;
            Ok(0)
        }
        What::Check { dir } => {
            let report = check_folder(&dir)?;
            if context.json() {
                context.print_json(&report)?;
            } else {
                let mut text: String = report
                    .defects
                    .iter()
                    .take(SHOWN)
                    .map(|d| format!("{} {d}\n", d.code))
                    .collect();
                if report.defects.len() > SHOWN {
                    text.push_str(&format!("... and {} more\n", report.defects.len() - SHOWN));
                }
                report
                    .notes
                    .iter()
                    .for_each(|n| text.push_str(&format!("note: {n}\n")));
                text.push_str(&format!(
                    "{} pictures in {}: {} defects\n",
                    report.images,
                    report.sets.join(", "),
                    report.defects.len()
                ));
                context.print(&text)?;
            }
            Ok(u8::from(!report.defects.is_empty()))
        }
        What::Stats { dir } => {
            let all = sets(&dir)?
                .iter()
                .map(|s| stats(s.as_ref(), &(0..s.len()).collect::<Vec<_>>()))
                .collect::<Result<Vec<_>>>()?;
            if context.json() {
                context.print_json(&all)?;
                return Ok(0);
            }
            for s in all {
                let sizes: Vec<String> =
                    s.sizes.iter().map(|(k, n)| format!("{n} of {k}")).collect();
                let mut text =
                    format!("{}: {} samples ({})\n", s.name, s.samples, sizes.join(", "));
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
                    text.push_str(&format!(
                        "  {:16} in {:6} images  {:10}{more}\n",
                        c.name, c.images, c.count
                    ));
                }
                for (quantity, v) in &s.values {
                    let share = 100.0 * v.valid as f64 / v.pixels.max(1) as f64;
                    let range = v
                        .range
                        .map_or(String::new(), |[a, b]| format!("  {a} to {b}"));
                    text.push_str(&format!(
                        "  {quantity:16} known in {share:.1} % of pixels{range}\n"
                    ));
                }
                if s.ignored > 0 {
                    text.push_str(&format!("  ignored {:33}\n", s.ignored));
                }
                context.print(&text)?;
            }
            Ok(0)
        }
        What::Preview { dir, output, count } => {
            if count == 0 {
                return Err(Error::new(Code::Usage, "--count must be at least 1"));
            }
            let sets = sets(&dir)?;
            for (i, s) in sets.iter().enumerate() {
                let step = (s.len() / count).max(1);
                let indices: Vec<usize> = (0..s.len()).step_by(step).take(count).collect();
                let page = output.extension().is_some_and(|e| e == "html");
                let out = match sets.len() {
                    1 => output.clone(),
                    _ => output.with_file_name(format!(
                        "{}-{i}.{}",
                        output.file_stem().unwrap_or_default().to_string_lossy(),
                        if page { "html" } else { "png" }
                    )),
                };
                let bytes = match page {
                    true => page_of(s.as_ref(), &indices)?.into_bytes(),
                    false => encode_png(&sheet(s.as_ref(), &indices, 4, 320)?)?,
                };
                crate::files::write_atomic(&out, &bytes)?;
                context.print(&format!("{}  {}\n", out.display(), s.name()))?;
            }
            Ok(0)
        }
        What::Convert {
            dir,
            output,
            to,
            images,
        } => converted(&dir, &output, to, images, context),
    }
}

fn converted(
    dir: &Path,
    output: &Path,
    to: Target,
    images: Pictures,
    context: &Context,
) -> Result<u8> {
    let mut found = detect(dir)?;
    let to = match to {
        Target::Kitti => To::Kitti,
        Target::Voc => To::Voc,
        Target::Coco => To::Coco,
        Target::LabelIds => To::LabelIds,
        Target::TrainIds => To::TrainIds,
        Target::Palette => To::Palette,
    };
    if found.iter().any(|c| to.fits(c.format)) {
        found.retain(|c| to.fits(c.format));
    }
    if found.len() > 1 {
        return Err(Error::new(Code::Usage, "several data sets are here")
            .at(dir.display())
            .help("name the folder of one of them"));
    }
    let images = match images {
        Pictures::Copy => Images::Copy,
        Pictures::Link => Images::Link,
        Pictures::None => Images::None,
    };
    let summary = convert::convert(&found.remove(0), output, to, images)?;
    if context.json() {
        context.print_json(&summary)?;
        return Ok(0);
    }
    let mut text: String = (summary.notes.iter())
        .map(|n| format!("note: {n}\n"))
        .collect();
    text += &format!(
        "{}: {} pictures, {} labels\n",
        summary.output, summary.pictures, summary.labels
    );
    context.print(&text)?;
    Ok(0)
}

/// The contact sheet as a page: every sample under its name, with what is labelled in it.
fn page_of(set: &dyn Dataset, indices: &[usize]) -> Result<String> {
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
    contact::page(set.name(), set.len(), &legend, &samples)
}
