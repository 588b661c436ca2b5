//! `mtnas predict`: boxes and classes of a finished run's network on pictures.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Context, running};
use crate::annotation::{Image, LabelMap, ValueMap};
use crate::data::image_file::{encode_labels, read_image};
use crate::data::npy_file::npy_bytes;
use crate::data::preview::shaded;
use crate::data::results::{self, Found};
use crate::error::{Code, Error, Result};
use crate::files::{create_dir, write_atomic};
use crate::report::{draw, samples};
use crate::search::config::Config;
use crate::search::model_file::{self, Final};
use crate::search::samples::predict_all;
use crate::search::workbench::activation_dtype;
use crate::task::Prediction;
use crate::task::config::TaskKind;

const HELP: &str = "\
Examples:
  mtnas predict runs/driving-small street.png
  mtnas predict runs/driving-small *.jpg -o out --score 0.5 --json
  mtnas predict runs/driving-small *.png --format coco,kitti --score 0.01

The directory of the run is enough: its data set is not looked at.

Files in the output directory, STEM the name of a picture:
  overlay  STEM.png: the picture with boxes and class colours; of depth,
           normals, keypoints, edges values/STEM-TASK.png, normals in red,
           green and blue, the others grey, the largest value white
  coco     coco.json: image_id, category_id, bbox [x, y, w, h], score;
           coco-images.json: what the ids stand for. An image_id is the
           STEM where all are different numbers, else the place of the
           picture; a category_id the place of the class; both from 1
  kitti    kitti/STEM.txt: type, box, score; other fields unknown. A class
           has the type of its name, person is Pedestrian, others Misc
  voc      voc/comp4_det_test_CLASS.txt: STEM, score, box from pixel 1
  png      labels/STEM.png: 8-bit grey, the class id of every pixel
  npy      values/STEM-TASK.npy: depth, normals, keypoints, edges as NumPy
           arrays of f32, (planes, height, width) at the picture's size

Files that are scored want a low --score: 0.01 or 0.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Directory of a finished run
    run: PathBuf,
    /// PNG or JPEG pictures
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Where the files go
    #[arg(short, long, value_name = "DIR", default_value = "predictions")]
    output: PathBuf,
    /// What is written; several with commas
    #[arg(
        long,
        value_name = "FORMAT",
        value_delimiter = ',',
        num_args = 1,
        default_value = "overlay"
    )]
    format: Vec<Format>,
    /// Lowest score of a box that is shown or written
    #[arg(long, default_value_t = 0.3)]
    score: f32,
}

/// Files of predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Overlay,
    Coco,
    Kitti,
    Voc,
    Png,
    Npy,
}

impl Format {
    /// The head whose outputs it holds.
    fn of(self) -> Option<TaskKind> {
        match self {
            Format::Overlay | Format::Npy => None,
            Format::Coco | Format::Kitti | Format::Voc => Some(TaskKind::Detection),
            Format::Png => Some(TaskKind::Segmentation),
        }
    }
}

pub(super) fn run(a: Arguments, context: &Context) -> Result<u8> {
    let config = Config::load(a.run.join("run.toml"), &context.overrides()?)?;
    running::threads(config.run.threads)?;
    let f = model_file::open(&a.run, config)?;
    check(&a, &f)?;
    create_dir(&a.output)?;
    let (mut all, mut rows) = (vec![], vec![]);
    for path in &a.images {
        let seen = Seen::new(path, &f, a.score)?;
        let files = seen.write(&a)?;
        let objects = seen.found.detections.len();
        if context.json() {
            rows.push(seen.row(path, &files));
        } else {
            let names: Vec<String> = files.iter().map(|(_, p)| p.display().to_string()).collect();
            let names = match names.is_empty() {
                true => path.display().to_string(),
                false => names.join("  "),
            };
            context.print(&format!("{names}  {objects} objects\n"))?;
        }
        all.push(seen.found);
    }
    let classes = classes(&f, TaskKind::Detection);
    for path in together(&a, &all, &classes)? {
        if !context.json() {
            context.print(&format!("{}\n", path.display()))?;
        }
    }
    if context.json() {
        context.print_json(&rows)?;
    }
    Ok(0)
}

/// Refuses files that the network has no head for, and pictures whose files would be the same.
fn check(a: &Arguments, f: &Final) -> Result<()> {
    for format in &a.format {
        if let Some(kind) = format.of()
            && f.tasks.iter().all(|t| t.task.kind() != kind)
        {
            let value = format.to_possible_value().expect("no value is hidden");
            let what = format!("the network has no {kind} head");
            return Err(Error::new(Code::Usage, what)
                .at(format!("--format {}", value.get_name()))
                .help("leave that format out"));
        }
    }
    let values = f.tasks.iter().any(|t| t.task.quantity().is_some());
    if a.format.contains(&Format::Npy) && !values {
        let what = "the network has no head for depth, normals, keypoints or edges";
        return Err(Error::new(Code::Usage, what)
            .at("--format npy")
            .help("leave that format out"));
    }
    let mut seen = BTreeSet::new();
    for path in &a.images {
        let stem = stem(path);
        if !seen.insert(stem.clone()) {
            let what = format!("two pictures are named {stem}: their files would be the same");
            return Err(Error::new(Code::Usage, what)
                .at(path.display())
                .help("give them one after the other, with another -o"));
        }
    }
    Ok(())
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn classes(f: &Final, kind: TaskKind) -> Vec<String> {
    let task = f.tasks.iter().find(|t| t.task.kind() == kind);
    task.map_or(vec![], |t| t.task.classes().to_vec())
}

/// A picture and what the network says of it.
struct Seen {
    image: Image,
    found: Found,
    /// Names of object classes where there is detection.
    objects: Option<Vec<String>>,
    labels: Option<(LabelMap, Vec<String>)>,
    /// Maps of values by task.
    values: Vec<(&'static str, ValueMap)>,
}

impl Seen {
    fn new(path: &Path, f: &Final, score: f32) -> Result<Seen> {
        let image = read_image(path)?;
        let cx = f.config.run.cx()?;
        let dtype = activation_dtype(f.config.run.precision);
        let mut seen = Seen {
            found: Found {
                stem: stem(path),
                file: (path.file_name().unwrap_or_default().to_string_lossy()).into_owned(),
                height: image.height,
                width: image.width,
                detections: vec![],
            },
            image,
            objects: None,
            labels: None,
            values: vec![],
        };
        let said = predict_all(&f.tasks, &f.net, &f.store, cx, dtype, &seen.image)?;
        for (viewer, said) in f.tasks.iter().zip(said) {
            let classes = viewer.task.classes().to_vec();
            match said {
                Prediction::Objects(mut d) => {
                    d.retain(|d| d.score >= score);
                    (seen.found.detections, seen.objects) = (d, Some(classes));
                }
                Prediction::Labels(m) | Prediction::ScoredLabels(m, _) => {
                    seen.labels = Some((m, classes))
                }
                Prediction::Values(m) => seen.values.push((viewer.task.kind().key(), m)),
                Prediction::Scores(_) => {}
            }
        }
        Ok(seen)
    }

    /// Writes the files of this picture; returns what and where they are.
    fn write(&self, a: &Arguments) -> Result<Vec<(String, PathBuf)>> {
        let stem = &self.found.stem;
        let mut files = vec![];
        let mut put = |what: &str, directory: &str, name: String, bytes: &[u8]| -> Result<()> {
            let directory = a.output.join(directory);
            create_dir(&directory)?;
            let path = directory.join(name);
            write_atomic(&path, bytes)?;
            files.push((what.into(), path));
            Ok(())
        };
        for format in &a.format {
            match format {
                Format::Overlay => {
                    let detections = self.found.detections.as_slice();
                    let boxes = self.objects.as_ref().map(|c| (detections, c.as_slice()));
                    let map = self.labels.as_ref().map(|(m, c)| (m, c.as_slice()));
                    let picture = samples::prediction(&self.image, boxes, map)?;
                    put("picture", "", format!("{stem}.png"), &draw::png(&picture)?)?;
                    for (task, m) in &self.values {
                        let bytes = draw::png(&shaded(m))?;
                        let what = format!("{task}-picture");
                        put(&what, "values", format!("{stem}-{task}.png"), &bytes)?;
                    }
                }
                Format::Kitti => {
                    let classes = self.objects.as_deref().unwrap_or_default();
                    let text = results::kitti(&self.found, classes);
                    put("kitti", "kitti", format!("{stem}.txt"), text.as_bytes())?;
                }
                Format::Png => {
                    if let Some((map, _)) = &self.labels {
                        let bytes = encode_labels(map)?;
                        put("labels", "labels", format!("{stem}.png"), &bytes)?;
                    }
                }
                Format::Npy => {
                    for (task, m) in &self.values {
                        let shape = [m.quantity.planes(), m.height, m.width];
                        let bytes = npy_bytes(&shape, &m.data);
                        put(task, "values", format!("{stem}-{task}.npy"), &bytes)?;
                    }
                }
                Format::Coco | Format::Voc => {}
            }
        }
        Ok(files)
    }

    fn row(&self, path: &Path, files: &[(String, PathBuf)]) -> Value {
        let classes = self.objects.as_deref().unwrap_or_default();
        let objects = self.found.detections.iter().map(|d| {
            let b = &d.bbox;
            json!({"class": classes[d.class], "score": d.score, "box": [b.x1, b.y1, b.x2, b.y2]})
        });
        let mut row = json!({"image": path, "objects": objects.collect::<Value>()});
        for (what, file) in files {
            row[what.as_str()] = json!(file);
        }
        row
    }
}

/// Writes the files of all pictures together; returns where they are.
fn together(a: &Arguments, all: &[Found], classes: &[String]) -> Result<Vec<PathBuf>> {
    let mut files: Vec<(PathBuf, String)> = vec![];
    let text = |v: &Value| format!("{v:#}\n");
    if a.format.contains(&Format::Coco) {
        let [rows, meaning] = results::coco(all, classes);
        files.push((a.output.join("coco.json"), text(&rows)));
        files.push((a.output.join("coco-images.json"), text(&meaning)));
    }
    if a.format.contains(&Format::Voc) {
        let directory = a.output.join("voc");
        create_dir(&directory)?;
        for (i, class) in classes.iter().enumerate() {
            let name = format!("comp4_det_test_{}.txt", class.replace(['/', '\\'], "-"));
            files.push((directory.join(name), results::voc(all, i)));
        }
    }
    for (path, text) in &files {
        write_atomic(path, text.as_bytes())?;
    }
    Ok(files.into_iter().map(|f| f.0).collect())
}
