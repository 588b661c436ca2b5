//! From a file to network input and targets, one sample after another in one thread, every stage timed.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::data::augment::Augmentation;
use crate::data::image_file::decode_image;
use crate::data::input::Input;
use crate::data::pixels;
use crate::data::source::Part;
use crate::error::{Error, Result};
use crate::rng::{Rng, word};
use crate::task::Task;

/// One stage: milliseconds of each sample.
pub(super) struct Stage {
    /// Its name.
    pub name: &'static str,
    /// Milliseconds.
    pub ms: Vec<f64>,
}

/// In the order of time. `read` and `decode` are parts of `load`, measured by themselves.
const NAMES: [&str; 7] = [
    "read", "decode", "load", "resize", "colours", "labels", "targets",
];

/// Times the stages of the samples of a part, over and over until `limit` is reached. `from_files`: the samples may be picture files.
///
/// # Errors
/// The first sample that cannot be read; annotations that do not fit a task.
pub(super) fn time(
    part: &Part,
    input: &Input,
    augment: &Augmentation,
    tasks: &[Arc<dyn Task>],
    from_files: bool,
    limit: Duration,
) -> Result<Vec<Stage>> {
    let set = part.dataset.as_ref();
    let pictures = from_files
        && part
            .indices
            .first()
            .is_some_and(|&i| is_picture(&set.place(i)));
    let mut out = vec![0.0; 3 * input.size.0 * input.size.1];
    let mut stages = NAMES.map(|name| Stage { name, ms: vec![] });
    let first = Instant::now();
    for (k, &index) in part.indices.iter().cycle().enumerate() {
        if k >= 3 && first.elapsed() >= limit {
            break;
        }
        let mut from = Instant::now();
        let mut lap = |stage: usize| {
            let now = Instant::now();
            stages[stage].ms.push((now - from).as_secs_f64() * 1e3);
            from = Instant::now();
        };
        let place = set.place(index);
        if pictures {
            let bytes = std::fs::read(&place).map_err(|e| Error::io(&place, e))?;
            lap(0);
            black_box(decode_image(Path::new(&place), &bytes)?);
            lap(1);
        }
        let sample = set.load(index).map_err(|e| e.at(place))?;
        lap(2);
        let source = (sample.image.height, sample.image.width);
        let mut rng = Rng::new(0, &[word("bench"), k as u64]);
        let seen = input.see(source, &sample.annotation, Some((augment, &mut rng)));
        let shown = seen.view.shown(&sample.image)?;
        lap(3);
        pixels::fill(&input.normalise, &seen, &shown, input.size, &mut out);
        black_box(&out);
        lap(4);
        let annotation = seen.view.annotation(&seen.annotation);
        lap(5);
        if !tasks.is_empty() {
            for task in tasks {
                black_box(task.targets(std::slice::from_ref(&annotation))?);
            }
            lap(6);
        }
    }
    Ok(stages.into_iter().filter(|s| !s.ms.is_empty()).collect())
}

/// Is it the path of a picture, and not a place within a file?
fn is_picture(place: &str) -> bool {
    let path = Path::new(place);
    let bytes = match path.is_file() {
        true => std::fs::read(path).unwrap_or_default(),
        false => vec![],
    };
    decode_image(path, &bytes).is_ok()
}
