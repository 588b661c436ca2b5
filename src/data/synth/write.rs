//! Lays out generated pictures in the real formats.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::config::SynthConfig;
use super::crops::{self, crop};
use super::scene::{Contents, Scene, scene};
use super::town::{TRAIN_TOWNS, Town, VAL_TOWNS};
use crate::annotation::Image;
use crate::data::cifar;
use crate::data::image_file::{encode_jpeg, encode_labels, encode_png, write_file};
use crate::data::transform::resize;
use crate::error::{Code, Error, Result};
use crate::files::create_fresh;
use crate::rng::{Rng, word};

/// The file that says how a folder was made; written last, so that a folder that has it is complete.
pub const RECIPE: &str = "synth.toml";

/// Which half of a part a picture belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Training scenes.
    Train,
    /// Held-out scenes, in towns of their own.
    Val,
}

impl Half {
    /// Name of the split.
    pub fn name(self) -> &'static str {
        match self {
            Half::Train => "train",
            Half::Val => "val",
        }
    }

    fn towns(self) -> &'static [&'static str] {
        match self {
            Half::Train => &TRAIN_TOWNS,
            Half::Val => &VAL_TOWNS,
        }
    }
}

/// The generator of picture `number` of a part, and its town.
fn stream(config: &SynthConfig, part: &str, half: Half, number: usize) -> (Rng, Town) {
    let path = [word("synth"), word(part), word(half.name()), number as u64];
    let mut rng = Rng::new(config.seed, &path);
    let towns = half.towns();
    let town = Town::new(towns[rng.below(towns.len())], config.seed);
    (rng, town)
}

/// Scene `number` of the KITTI part.
pub fn kitti_scene(config: &SynthConfig, half: Half, number: usize) -> Scene {
    let (mut rng, town) = stream(config, "kitti", half, number);
    let contents = Contents {
        size: (config.size[0], config.size[1]),
        cyclists: true,
        poles: config.rare_classes,
    };
    scene(&mut rng, &town, contents)
}

/// Scene `number` of the Cityscapes part, and the name of its town.
pub fn cityscapes_scene(config: &SynthConfig, half: Half, number: usize) -> (Scene, &'static str) {
    let (mut rng, town) = stream(config, "cityscapes", half, number);
    let rare = config.rare_classes;
    let contents = Contents {
        size: (config.size[0], config.size[1]),
        cyclists: rare,
        poles: rare,
    };
    (scene(&mut rng, &town, contents), town.name)
}

/// Picture `number` of a class of the image folder.
pub fn folder_picture(config: &SynthConfig, half: Half, class: usize, number: usize) -> Image {
    let (mut rng, town) = stream(config, crops::CLASSES[class], half, number);
    crop(&mut rng, &town, class, config.folder_size)
}

/// Writes a data set into `dir`: `kitti/`, `cityscapes/`, `folder/` and `cifar/`, as configured. A folder that was made by
/// the same configuration is left as it is.
///
/// The set is built beside `dir` and moved there at the end, so that an interrupted run leaves no half of one.
///
/// # Errors
/// `ConfigValue`; `CannotCreate` if `dir` holds anything else; `CannotCreate` or `Io` for a disk that is full or not writable.
pub fn generate(dir: &Path, config: &SynthConfig) -> Result<()> {
    config.check()?;
    let recipe =
        toml::to_string(config).map_err(|e| Error::new(Code::Internal, format!("recipe: {e}")))?;
    if std::fs::read_to_string(dir.join(RECIPE)).is_ok_and(|old| old == recipe) {
        return Ok(());
    }
    if dir.exists()
        && std::fs::read_dir(dir)
            .map_err(|e| Error::io(dir, e))?
            .next()
            .is_some()
    {
        return Err(Error::new(Code::CannotCreate, "the folder is not empty")
            .at(dir.display())
            .help("name a new folder, or remove this one first"));
    }
    let parent = dir
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    make(parent)?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let building = create_fresh(parent, &name)?;
    let built = write_all(&building, config)
        .and_then(|()| write_file(&building.join(RECIPE), recipe.as_bytes()))
        .and_then(|()| {
            // An empty folder of that name gives way.
            let _ = std::fs::remove_dir(dir);
            std::fs::rename(&building, dir).map_err(|e| Error::io(dir, e))
        });
    if built.is_err() {
        let _ = std::fs::remove_dir_all(&building);
    }
    built
}

fn make(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))
}

/// Runs `job` for 0..n in threads; the first error in numeric order is returned.
fn each(n: usize, job: impl Fn(usize) -> Result<()> + Sync + Send) -> Result<()> {
    let results: Vec<Result<()>> = (0..n).into_par_iter().map(job).collect();
    results.into_iter().collect()
}

fn write_all(root: &Path, config: &SynthConfig) -> Result<()> {
    kitti(&root.join("kitti"), config)?;
    cityscapes(&root.join("cityscapes"), config)?;
    if config.folder_train > 0 {
        folder(&root.join("folder"), config)?;
    }
    if config.cifar {
        cifar10(&root.join("cifar"), config)?;
    }
    Ok(())
}

fn kitti(root: &Path, config: &SynthConfig) -> Result<()> {
    let (images, labels, lists) = (
        root.join("training/image_2"),
        root.join("training/label_2"),
        root.join("ImageSets"),
    );
    [&images, &labels, &lists]
        .into_iter()
        .try_for_each(|d| make(d))?;
    each(config.train + config.val, |i| {
        let (half, number) = if i < config.train {
            (Half::Train, i)
        } else {
            (Half::Val, i - config.train)
        };
        let scene = kitti_scene(config, half, number);
        write_file(
            &images.join(format!("{i:06}.png")),
            &encode_png(&scene.image)?,
        )?;
        let text: String = scene.objects.iter().map(|o| format!("{o}\n")).collect();
        write_file(&labels.join(format!("{i:06}.txt")), text.as_bytes())
    })?;
    let list =
        |range: std::ops::Range<usize>| range.map(|i| format!("{i:06}\n")).collect::<String>();
    write_file(&lists.join("train.txt"), list(0..config.train).as_bytes())?;
    write_file(
        &lists.join("val.txt"),
        list(config.train..config.train + config.val).as_bytes(),
    )
}

fn cityscapes(root: &Path, config: &SynthConfig) -> Result<()> {
    for half in [Half::Train, Half::Val] {
        let folder = |kind: &str, town: &str| root.join(kind).join(half.name()).join(town);
        for town in half.towns() {
            make(&folder("leftImg8bit", town))?;
            make(&folder("gtFine", town))?;
        }
        let count = if half == Half::Train {
            config.train
        } else {
            config.val
        };
        each(count, |i| {
            let (scene, town) = cityscapes_scene(config, half, i);
            let id = format!("{town}_{i:06}_000019");
            let image: PathBuf = folder("leftImg8bit", town).join(format!("{id}_leftImg8bit.png"));
            write_file(&image, &encode_png(&scene.image)?)?;
            let labels = folder("gtFine", town).join(format!("{id}_gtFine_labelIds.png"));
            write_file(&labels, &encode_labels(&scene.labels)?)
        })?;
        // A town that no scene fell to leaves empty folders.
        for town in half.towns() {
            let _ = std::fs::remove_dir(folder("leftImg8bit", town));
            let _ = std::fs::remove_dir(folder("gtFine", town));
        }
    }
    Ok(())
}

fn folder(root: &Path, config: &SynthConfig) -> Result<()> {
    for (half, count) in [
        (Half::Train, config.folder_train),
        (Half::Val, config.folder_val),
    ] {
        for (class, name) in crops::CLASSES.iter().enumerate() {
            let dir = root.join(half.name()).join(name);
            make(&dir)?;
            each(count, |i| {
                let image = folder_picture(config, half, class, i);
                // Both formats, as such folders have them.
                match i % 3 {
                    0 => write_file(&dir.join(format!("{i:05}.png")), &encode_png(&image)?),
                    _ => write_file(&dir.join(format!("{i:05}.jpg")), &encode_jpeg(&image, 92)?),
                }
            })?;
        }
    }
    Ok(())
}

fn cifar10(root: &Path, config: &SynthConfig) -> Result<()> {
    make(root)?;
    for (half, count, file) in [
        (Half::Train, config.folder_train, "data_batch_1.bin"),
        (Half::Val, config.folder_val, "test_batch.bin"),
    ] {
        let mut records = vec![];
        // Classes take turns, as if shuffled.
        for i in 0..count {
            for class in 0..crops::CLASSES.len() {
                let image = folder_picture(config, half, class, i);
                let small = resize(&image, cifar::SIDE, cifar::SIDE)?;
                records.extend(cifar::encode_record(&small, class)?);
            }
        }
        write_file(&root.join(file), &records)?;
    }
    Ok(())
}
