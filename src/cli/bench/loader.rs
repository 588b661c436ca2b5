//! `mtnas bench loader`: how many samples a second become batches, stage by stage, from the files and from a packed cache.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::loader_stages::{self, Stage};
use super::loader_table::{figures, table};
use super::peak_mib;
use crate::cli::arch::cost::size;
use crate::cli::{Context, running};
use crate::data::augment::Augmentation;
use crate::data::batch::Batches;
use crate::data::check::detect;
use crate::data::config::{Augment, DataSetConfig};
use crate::data::loader::Loader;
use crate::data::source::{Part, Source};
use crate::error::{Code, Error, Result};
use crate::search::config::Config;
use crate::search::step_timing::cpu_ms;
use crate::search::viewer;
use crate::search::workbench::task_of;
use crate::task::Task;
use crate::task::config::TaskConfig;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mtnas bench loader configs/driving-small.toml --threads 4 --step-ms 50,100
  mtnas bench loader /data/bdd100k --packed /scratch/packs --json

Training batches are read as a search reads them. Of a configuration every data
set of a task, with its own input and augmentation; of a folder each data set,
mirrored and with the colour changes of SSD, at 320x512 unless --input says so.

The stages are timed one after another on one thread. `load` is what a data set
does: reading, decoding and labels; `read` and `decode` are parts of it, shown
where a sample is a picture file. `one thread` makes whole batches in a single
thread, `loader` in --threads of them while nothing else runs. The last line is
the share of its time that a step of --step-ms waits for its batch: a step that
sleeps for so long and uses no processor, as one that a GPU takes. On the
processor the readers and the step share the cores, and both take longer.

With `on_corrupt = \"skip\"` samples that cannot be read are left out, up to
`max_corrupt`, as in a search.

--packed (or `packed` of the configuration) packs the split first, whole;
`cache` of the configuration is left out.
Files that were read before come from the system's memory: `read` is then not
the disk's.")]
pub(super) struct LoaderArguments {
    /// Configuration, data set, or folder of several
    target: PathBuf,
    /// Images of a batch
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Height and width of the input in pixels
    #[arg(long, value_name = "HxW", value_parser = size)]
    input: Option<[usize; 2]>,
    /// About so long for each figure
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0)]
    seconds: f64,
    /// Milliseconds of a step as on a GPU, without the processor; or several
    #[arg(long, value_name = "MS", value_delimiter = ',', default_value = "100")]
    step_ms: Vec<f64>,
    /// Folder for packed caches; measures them too
    #[arg(long, value_name = "FOLDER")]
    packed: Option<PathBuf>,
}

/// A data set, as training sees it.
#[derive(Default)]
pub(super) struct Subject {
    pub name: String,
    pub data: DataSetConfig,
    pub size: [usize; 2],
    tasks: Vec<TaskConfig>,
}

/// What was measured of one data set from the files, or from a packed cache.
pub(super) struct Measured {
    pub from: &'static str,
    pub stages: Vec<Stage>,
    /// Milliseconds an image of whole batches in one thread.
    pub whole: Vec<f64>,
    /// The same in processor time, on average, where the system tells.
    pub whole_cpu: Option<f64>,
    /// Images a second of the loader.
    pub rate: f64,
    /// Step in milliseconds, share of the time that it waits.
    pub waits: Vec<(f64, f64)>,
}

pub(super) fn run(a: LoaderArguments, context: &Context) -> Result<u8> {
    let seconds = a.seconds;
    let steps_fit = a.step_ms.iter().all(|ms| (0.0..=60_000.0).contains(ms));
    if !(0.0..=3600.0).contains(&seconds) || !steps_fit {
        let text = "--seconds must be 0 to 3600, --step-ms 0 to 60000";
        return Err(Error::new(Code::Usage, text));
    }
    let (config, subjects) = subjects(&a, context)?;
    running::threads(context.threads().unwrap_or(0))?;
    let threads = match context.threads() {
        None | Some(0) => config.loader.reader_threads(),
        Some(n) => n,
    };
    let (mut values, mut text) = (vec![], String::new());
    for s in &subjects {
        let all = measure(&a, &config, s, threads)?;
        values.push(figures(s, a.batch, threads, &all));
        text += &table(s, a.batch, threads, &all);
    }
    match context.json() {
        true => context.print_json(&json!({
            "sets": values, "batch": a.batch, "threads": threads, "prefetch": config.loader.prefetch,
            "memory": {"host_peak_rss_mib": peak_mib()},
        }))?,
        false => context.print(&text)?,
    }
    Ok(0)
}

/// What is measured, and the configuration around it.
fn subjects(a: &LoaderArguments, context: &Context) -> Result<(Config, Vec<Subject>)> {
    let input = |size: [usize; 2]| a.input.unwrap_or(size);
    if a.target.is_dir() {
        let config = Config::default();
        let one = |d: crate::data::dataset::DatasetConfig| Subject {
            name: d.root.display().to_string(),
            size: input(config.input.size),
            data: DataSetConfig {
                format: d.format,
                root: d.root,
                classes: d.dense.classes,
                augment: vec![Augment::Flip, Augment::Photometric],
                ..DataSetConfig::default()
            },
            tasks: vec![],
        };
        let found = detect(&a.target)?.into_iter().map(one).collect();
        return Ok((config, found));
    }
    let config = Config::load(&a.target, &context.overrides()?)?;
    let before = &config.search.presearch;
    let mut all = vec![];
    for (name, data) in &config.data {
        let tasks: Vec<TaskConfig> = (config.tasks.values())
            .filter(|t| t.data == *name)
            .cloned()
            .collect();
        let size = match () {
            _ if !tasks.is_empty() => config.input.size,
            _ if before.data == *name => before.size,
            _ => continue,
        };
        all.push(Subject {
            name: name.clone(),
            data: data.clone(),
            size: input(size),
            tasks,
        });
    }
    Ok((config, all))
}

fn measure(a: &LoaderArguments, config: &Config, s: &Subject, n: usize) -> Result<Vec<Measured>> {
    let packs = match &a.packed {
        Some(folder) => folder.clone(),
        None => s.data.packed.clone(),
    };
    let files = DataSetConfig {
        packed: PathBuf::new(),
        cache: false,
        ..s.data.clone()
    };
    let mut all = vec![measured("files", a, config, s, &files, n)?];
    if !packs.as_os_str().is_empty() {
        let packed = DataSetConfig {
            packed: packs,
            ..files
        };
        all.push(measured("packed cache", a, config, s, &packed, n)?);
    }
    Ok(all)
}

fn measured(
    from: &'static str,
    a: &LoaderArguments,
    config: &Config,
    s: &Subject,
    data: &DataSetConfig,
    threads: usize,
) -> Result<Measured> {
    let part = Source::train_only(data, (s.size[0], s.size[1]), config.run.seed)?;
    let classes = part.dataset.classes();
    let tasks = (s.tasks.iter())
        .map(|t| task_of(config, t, classes.to_vec(), s.size))
        .collect::<Result<Vec<Arc<dyn Task>>>>()?;
    let input = viewer::input(config, data, s.size)?;
    let augment = Augmentation {
        divide_depth: data.divide_depth,
        ..Augmentation::new(&data.augment)?
    };
    let limit = Duration::from_secs_f64(a.seconds);
    let in_files = from == "files";
    let stages = loader_stages::time(&part, &input, &augment, &tasks, in_files, limit)?;
    let batches = || {
        let Part { dataset, indices } = part.clone();
        let (batch, keys) = (a.batch.into(), (config.run.seed, 0));
        Batches::train(
            dataset,
            indices,
            input.clone(),
            batch,
            augment.clone(),
            keys,
        )
    };
    let (whole, whole_cpu) = one_thread(&batches()?, limit)?;
    let ahead = |step| {
        let (prefetch, share) = (config.loader.prefetch, data.max_corrupt);
        let loader = Loader::new(batches()?, 0, threads, prefetch, share)?;
        steps(loader, step, limit)
    };
    let (rate, _) = ahead(Duration::ZERO)?;
    let waits = (a.step_ms.iter())
        .map(|&ms| Ok((ms, ahead(Duration::from_secs_f64(ms / 1e3))?.1)))
        .collect::<Result<_>>()?;
    Ok(Measured {
        from,
        stages,
        whole,
        whole_cpu,
        rate,
        waits,
    })
}

/// Milliseconds an image of batches made in this thread, and the mean of the processor time where the system tells.
fn one_thread(batches: &Batches, limit: Duration) -> Result<(Vec<f64>, Option<f64>)> {
    let read = |step| batches.get(step, &|| false);
    black_box(read(0)?);
    let (mut ms, mut images) = (vec![], 0);
    let (first, cpu) = (Instant::now(), cpu_ms());
    for step in 1.. {
        let start = Instant::now();
        let batch = black_box(read(step)?);
        let took = start.elapsed().as_secs_f64() * 1e3;
        ms.push(took / batch.ids.len() as f64);
        images += batch.ids.len();
        if ms.len() >= 3 && first.elapsed() >= limit {
            break;
        }
    }
    // A process that has come so far has used some.
    let told = (cpu > 0.0).then(|| (cpu_ms() - cpu) / images as f64);
    Ok((ms, told))
}

/// Images a second where each step takes `step` beside the wait for its batch, and the share of the time that is wait.
fn steps(mut loader: Loader, step: Duration, limit: Duration) -> Result<(f64, f64)> {
    loader.next_batch()?;
    let (mut images, mut waited, mut count) = (0, Duration::ZERO, 0);
    let first = Instant::now();
    while count < 3 || first.elapsed() < limit {
        let start = Instant::now();
        images += black_box(loader.next_batch()?).ids.len();
        waited += start.elapsed();
        count += 1;
        std::thread::sleep(step);
    }
    let all = first.elapsed().as_secs_f64();
    Ok((images as f64 / all, waited.as_secs_f64() / all))
}
