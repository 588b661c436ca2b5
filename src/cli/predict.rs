//! `mtnas predict`: boxes and classes of a finished run's network on pictures.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Context, running};
use crate::data::image_file::read_image;
use crate::error::{Error, Result};
use crate::report::{draw, samples};
use crate::search::config::Config;
use crate::search::model_file;
use crate::search::samples::predict;
use crate::search::workbench::activation_dtype;
use crate::task::Prediction;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  mtnas predict runs/driving-small street.png\n  mtnas predict runs/driving-small *.jpg -o out --score 0.5 --json\n\nThe directory of the run is enough: its data set is not looked at."
)]
pub(super) struct Arguments {
    /// Directory of a finished run
    run: PathBuf,
    /// PNG or JPEG pictures
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Where the pictures with their overlay go
    #[arg(short, long, value_name = "DIR", default_value = "predictions")]
    output: PathBuf,
    /// Lowest score of a box that is shown
    #[arg(long, default_value_t = 0.3)]
    score: f32,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let config = Config::load(arguments.run.join("run.toml"), &context.overrides()?)?;
    running::threads(config.run.threads)?;
    let f = model_file::open(&arguments.run, config)?;
    let cx = f.config.run.cx()?;
    let dtype = activation_dtype(f.config.run.precision);
    std::fs::create_dir_all(&arguments.output).map_err(|e| Error::io(&arguments.output, e))?;
    let mut list = vec![];
    for path in &arguments.images {
        let image = read_image(path)?;
        let (mut boxes, mut map) = (None, None);
        for viewer in &f.tasks {
            match predict(viewer, &f.net, &f.store, cx, dtype, &image)? {
                Prediction::Objects(mut d) => {
                    d.retain(|d| d.score >= arguments.score);
                    boxes = Some((d, viewer.task.classes().to_vec()));
                }
                Prediction::Labels(m) => map = Some((m, viewer.task.classes().to_vec())),
                Prediction::Scores(_) => {}
            }
        }
        let picture = samples::prediction(
            &image,
            boxes.as_ref().map(|(d, c)| (d.as_slice(), c.as_slice())),
            map.as_ref().map(|(m, c)| (m, c.as_slice())),
        )?;
        let out = arguments.output.join(format!(
            "{}.png",
            path.file_stem().unwrap_or_default().to_string_lossy()
        ));
        crate::files::write_atomic(&out, &draw::png(&picture)?)?;
        let objects: Vec<_> = boxes
            .iter()
            .flat_map(|(d, c)| d.iter().map(move |d| (d, &c[d.class])))
            .collect();
        if context.json() {
            let row = |(d, class): &(&crate::annotation::Detection, &String)| json!({"class": class, "score": d.score, "box": [d.bbox.x1, d.bbox.y1, d.bbox.x2, d.bbox.y2]});
            list.push(json!({"image": path, "picture": out, "objects": objects.iter().map(row).collect::<Vec<_>>()}));
        } else {
            context.print(&format!("{}  {} objects\n", out.display(), objects.len()))?;
        }
    }
    if context.json() {
        context.print_json(&list)?;
    }
    Ok(0)
}
