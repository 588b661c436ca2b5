//! `mtnas data`: makes, checks, counts and shows data sets.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Context, running};
use crate::data::check::{check_folder, detect};
use crate::data::dataset::Dataset;
use crate::data::image_file::encode_png;
use crate::data::preview::sheet;
use crate::data::stats::stats;
use crate::data::synth::{SynthConfig, generate};
use crate::error::{Code, Error, Result};

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
        after_help = "Examples:\n  mtnas data preview scenes/kitti\n  mtnas data preview scenes -o sheet.png --count 24"
    )]
    Preview {
        /// A data set, or a folder of several (a sheet for each)
        dir: PathBuf,
        /// The picture; several data sets get a number each
        #[arg(short, long, default_value = "preview.png")]
        output: PathBuf,
        /// Samples shown
        #[arg(long, default_value_t = 12)]
        count: usize,
    },
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
                    let heights = c.heights.map_or(String::new(), |[a, b, z]| {
                        format!("  heights {a:.0} / {b:.0} / {z:.0} px")
                    });
                    text.push_str(&format!(
                        "  {:16} in {:6} images  {:10}{heights}\n",
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
                let picture = sheet(s.as_ref(), &indices, 4, 320)?;
                let out = match sets.len() {
                    1 => output.clone(),
                    _ => output.with_file_name(format!(
                        "{}-{i}.png",
                        output.file_stem().unwrap_or_default().to_string_lossy()
                    )),
                };
                crate::files::write_atomic(&out, &encode_png(&picture)?)?;
                context.print(&format!("{}  {}\n", out.display(), s.name()))?;
            }
            Ok(0)
        }
    }
}
