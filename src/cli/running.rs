//! What the commands that run something share: threads, directories, the line that repeats them.

use std::path::{Path, PathBuf};

use super::Context;
use crate::error::{Code, Error, Result};
use crate::report;
use crate::report::records::EvalRecord;
use crate::search::config::Config;
use crate::search::progress::Progress;
use crate::search::session::Session;
use crate::search::signals::Stop;

/// Sets the number of threads of the process; 0 is one for each core.
///
/// # Errors
/// `Internal` if the pool cannot be made.
pub(super) fn threads(n: usize) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(n)
        .build_global();
    pool.map_err(|e| Error::new(Code::Internal, format!("no thread pool: {e}")))
}

/// The first of `base`, `base-2`, `base-3`, ... that does not exist.
pub(super) fn free_directory(base: &Path) -> PathBuf {
    let numbered = |n: usize| PathBuf::from(format!("{}-{n}", base.display()));
    std::iter::once(base.to_path_buf())
        .chain((2..).map(numbered))
        .find(|p| !p.exists())
        .expect("some number is free")
}

/// Starts a run of `config` at `path`; [`threads`] comes first.
///
/// # Errors
/// As [`Session::create`].
pub(super) fn start(path: PathBuf, config: Config, context: &Context) -> Result<Session> {
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    Session::create(
        path,
        config,
        command,
        Progress::new(context.show()),
        Stop::on_signals()?,
    )
}

/// Writes the report of a finished run and says what came out.
///
/// # Errors
/// Those of reading the run and writing the page.
pub(super) fn conclude(session: &Session, result: &EvalRecord, context: &Context) -> Result<()> {
    let out = session.dir.path().join("report.html");
    for note in report::write(session.dir.path(), &out, &[])? {
        session.progress.warn(&note);
    }
    if context.json() {
        return context.print_json(result);
    }
    context.print(&format!("{}report  {}\n", summary(result), out.display()))
}

/// The figures of an evaluation in a few lines.
pub(super) fn summary(r: &EvalRecord) -> String {
    let percent = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{:.1} %", 100.0 * v));
    let mut text = String::new();
    if let Some(d) = &r.detection {
        for (name, p) in &d.protocols {
            text.push_str(&format!(
                "mAP     {:>7}  ({name}, {} images)\n",
                percent(p.mean),
                d.images
            ));
            // The official KITTI evaluation is quoted by class and difficulty.
            for class in d.classes.iter().filter(|_| name.starts_with("kitti")) {
                let levels = ["easy", "moderate", "hard"];
                let ap = levels.map(|l| percent(p.more.get(&format!("{class} {l}")).copied()));
                text.push_str(&format!(
                    "  {class:14} {:>7} easy  {:>7} moderate  {:>7} hard\n",
                    ap[0], ap[1], ap[2]
                ));
            }
        }
    }
    if let Some(s) = &r.segmentation {
        for (name, v) in &s.miou {
            text.push_str(&format!(
                "mIoU    {:>7}  ({name}, {} images)\n",
                percent(Some(*v)),
                s.images
            ));
        }
        let size = s
            .size
            .map_or("the pictures' own size".into(), |[h, w]| format!("{h}x{w}"));
        text.push_str(&format!(
            "pixels  {:>7}  right, compared at {size}\n",
            percent(Some(s.pixel_accuracy))
        ));
        for f in &s.more {
            text.push_str(&format!("{:28} {:>10}\n", f.name, f.text()));
        }
    }
    if let Some(c) = &r.classification {
        text.push_str(&format!(
            "top-1   {:>7}\ntop-5   {:>7}  ({} images)\n",
            percent(Some(c.top1)),
            percent(Some(c.top5)),
            c.images
        ));
    }
    for (task, v) in &r.values {
        text.push_str(&format!("{task}  ({} images)\n", v.images));
        for f in &v.figures {
            text.push_str(&format!("  {:28} {:>10}\n", f.name, f.text()));
        }
    }
    if let Some(d) = &r.delta {
        let each: Vec<String> = d
            .tasks
            .iter()
            .map(|(task, v)| format!("{task} {v:+.2} %"))
            .collect();
        let mean = d.mean.map_or("-".to_string(), |v| format!("{v:+.2} %"));
        text.push_str(&format!("delta_m {mean:>7}  ({})\n", each.join(", ")));
    }
    if let Some(c) = &r.cost {
        text.push_str(&format!(
            "cost    {:.3} GFLOPs (2 x conv MACs) at {}x{}, {} parameters\n",
            c.gflops, c.input[0], c.input[1], c.params
        ));
    }
    for (part, genotype) in &r.genotypes {
        text.push_str(&format!("{part:7} {genotype}\n"));
    }
    text
}
