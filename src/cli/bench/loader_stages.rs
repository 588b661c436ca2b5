//! From a file to network input and targets, one sample after another in one thread, every stage timed.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::data::augment::Augmentation;
use crate::data::config::OnCorrupt;
use crate::data::dataset::{Dataset, Sample};
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
/// Samples that cannot be read are passed over if `input` says so, and not timed.
///
/// # Errors
/// The first sample that cannot be read, or the last one where none can; annotations that do not fit a task.
pub(super) fn time(
    part: &Part,
    input: &Input,
    augment: &Augmentation,
    tasks: &[Arc<dyn Task>],
    from_files: bool,
    limit: Duration,
) -> Result<Vec<Stage>> {
    let set = part.dataset.as_ref();
    let readable = part.indices.iter().take(99).find(|&&i| set.load(i).is_ok());
    let pictures = from_files && readable.is_some_and(|&i| is_picture(&set.place(i)));
    let mut out = vec![0.0; 3 * input.size.0 * input.size.1];
    let mut stages = NAMES.map(|name| Stage { name, ms: vec![] });
    let (first, mut timed) = (Instant::now(), 0);
    for (k, &index) in part.indices.iter().cycle().enumerate() {
        if timed >= 3 && first.elapsed() >= limit {
            break;
        }
        let mut laps = Laps {
            from: Instant::now(),
            ms: vec![],
        };
        let sample = match read(set, index, pictures, &mut laps) {
            Ok(sample) => sample,
            // After a whole pass without any there is none.
            Err(e) if input.on_corrupt == OnCorrupt::Error => return Err(e),
            Err(e) if timed == 0 && k + 1 >= part.indices.len() => return Err(e),
            Err(_) => continue,
        };
        timed += 1;
        let source = (sample.image.height, sample.image.width);
        let mut rng = Rng::new(0, &[word("bench"), k as u64]);
        let seen = input.see(source, &sample.annotation, Some((augment, &mut rng)));
        let shown = seen.view.shown(&sample.image)?;
        laps.end(3);
        pixels::fill(&input.normalise, &seen, &shown, input.size, &mut out);
        black_box(&out);
        laps.end(4);
        let annotation = seen.view.annotation(&seen.annotation);
        laps.end(5);
        if !tasks.is_empty() {
            for task in tasks {
                black_box(task.targets(std::slice::from_ref(&annotation))?);
            }
            laps.end(6);
        }
        for (stage, ms) in laps.ms {
            stages[stage].ms.push(ms);
        }
    }
    Ok(stages.into_iter().filter(|s| !s.ms.is_empty()).collect())
}

/// The stages of one sample.
struct Laps {
    from: Instant,
    /// Number of a stage, milliseconds.
    ms: Vec<(usize, f64)>,
}

impl Laps {
    /// A stage ends, the next begins.
    fn end(&mut self, stage: usize) {
        let took = self.from.elapsed().as_secs_f64() * 1e3;
        self.ms.push((stage, took));
        self.from = Instant::now();
    }
}

/// A sample; where it is a picture file, that is read and decoded once more, by itself.
fn read(set: &dyn Dataset, index: usize, picture: bool, laps: &mut Laps) -> Result<Sample> {
    let place = set.place(index);
    if picture {
        let bytes = std::fs::read(&place).map_err(|e| Error::io(&place, e))?;
        laps.end(0);
        black_box(decode_image(Path::new(&place), &bytes)?);
        laps.end(1);
    }
    let sample = set.load(index).map_err(|e| e.at(place))?;
    laps.end(2);
    Ok(sample)
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
