//! Waymo Open Dataset, perception, v1 (systems.md 8.6): `ROOT/SPLIT/segment-*.tfrecord`, a frame of all cameras a record.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Kind, Sample};
use super::image_file::decode_image;
use super::text_file::sorted_names;
use super::tfrecord::{self, HEADER, Record};
use super::type_map::TypeMap;
use super::waymo_config::{Camera, TYPES, WaymoConfig, folder, object};
use super::waymo_frame::{box_types, camera};
use crate::annotation::Annotation;
use crate::error::{Code, Error, Result};

/// End of the name of a file.
pub const SUFFIX: &str = ".tfrecord";

/// A split of Waymo Open Dataset v1: every n-th frame of some cameras.
#[derive(Debug, Clone)]
pub struct Waymo {
    name: String,
    files: Vec<PathBuf>,
    /// (file, record, camera)
    samples: Vec<(usize, Record, Camera)>,
    types: TypeMap,
}

/// The files of a split: those of its folder in alphabetical order, or one file.
///
/// # Errors
/// `NotFound`, `EmptyData`.
pub fn files_of(root: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let dir = folder(root, split);
    if dir.is_file() {
        return Ok(vec![dir]);
    }
    let help = "give the folder that holds `training` and `validation`, with *.tfrecord files";
    let names = sorted_names(&dir).map_err(|e| e.help(help))?;
    let files: Vec<PathBuf> = names
        .into_iter()
        .filter(|n| n.ends_with(SUFFIX))
        .map(|n| dir.join(n))
        .collect();
    match files.is_empty() {
        true => Err(Error::new(Code::EmptyData, "no *.tfrecord files")
            .at(dir.display())
            .help(help)),
        false => Ok(files),
    }
}

/// The wanted samples of one file.
///
/// # Errors
/// As [`tfrecord::index`]; `BadFormat` for a damaged frame if it has to be looked into.
pub fn samples_of(
    path: &Path,
    config: &WaymoConfig,
    types: &TypeMap,
) -> Result<Vec<(Record, Camera)>> {
    let records = tfrecord::index(path)?;
    let mut samples = vec![];
    for record in records.into_iter().step_by(config.every) {
        let found = match config.only_with_boxes {
            true => Some(classed_cameras(path, &record, types)?),
            false => None,
        };
        let shown = |c: &Camera| found.as_ref().is_none_or(|f| f.contains(&c.number()));
        samples.extend(
            (config.cameras.iter().copied())
                .filter(shown)
                .map(|c| (record, c)),
        );
    }
    Ok(samples)
}

/// Numbers of the cameras that show an object of a class.
fn classed_cameras(path: &Path, record: &Record, types: &TypeMap) -> Result<Vec<i32>> {
    let io = |e| Error::io(path, e);
    let mut r = BufReader::with_capacity(64, File::open(path).map_err(io)?);
    r.seek(SeekFrom::Start(record.offset + HEADER))
        .map_err(io)?;
    let found =
        box_types(&mut r, record.length).map_err(|what| damaged(&record.place(path), what))?;
    let classed = |&(_, kind): &(i32, i32)| class_of(types, kind).is_some();
    Ok(found.into_iter().filter(classed).map(|(c, _)| c).collect())
}

fn class_of(types: &TypeMap, kind: i32) -> Option<usize> {
    usize::try_from(kind).ok().and_then(|k| types.get(k))
}

fn damaged(place: &str, what: String) -> Error {
    Error::new(Code::BadFormat, format!("damaged frame: {what}"))
        .at(place)
        .help("fetch the file again, or see that it is a file of frames with camera labels")
}

impl Waymo {
    /// Indexes a split by the headers of its records: a folder below `root`, or a file.
    ///
    /// # Errors
    /// `NotFound`, `EmptyData`, `ConfigValue`; as [`samples_of`].
    pub fn open(root: &Path, split: &str, config: &WaymoConfig, types: TypeMap) -> Result<Waymo> {
        config.check()?;
        let files = files_of(root, split)?;
        let mut samples = vec![];
        for (k, file) in files.iter().enumerate() {
            let of_file = samples_of(file, config, &types)?;
            samples.extend(of_file.into_iter().map(|(r, c)| (k, r, c)));
        }
        if samples.is_empty() {
            return Err(Error::new(Code::EmptyData, "no frame of these cameras")
                .at(folder(root, split).display())
                .help("see `waymo.cameras` and `waymo.only_with_boxes`"));
        }
        Ok(Waymo {
            name: format!("waymo/{split}"),
            files,
            samples,
            types,
        })
    }

    /// The map of a configuration's classes.
    ///
    /// # Errors
    /// As [`TypeMap::new`].
    pub fn types(
        classes: &[String],
        merge: &std::collections::BTreeMap<String, String>,
    ) -> Result<TypeMap> {
        let default = super::waymo_config::CLASSES.map(String::from);
        let classes = match classes.is_empty() {
            true => &default,
            false => classes,
        };
        TypeMap::new("Waymo", &TYPES, classes, merge)
    }
}

impl Dataset for Waymo {
    fn name(&self) -> &str {
        &self.name
    }
    fn kind(&self) -> Kind {
        Kind::Detection
    }
    fn classes(&self) -> &[String] {
        self.types.names()
    }
    fn len(&self) -> usize {
        self.samples.len()
    }
    /// `SEGMENT-FRAME-CAMERA`, for example `10017090168044687777_6380_000_6400_000-017-front`.
    fn id(&self, index: usize) -> String {
        let (file, record, camera) = &self.samples[index];
        let stem = self.files[*file].file_stem().unwrap_or_default();
        let stem = stem.to_string_lossy();
        let segment = stem.strip_prefix("segment-").unwrap_or(&stem);
        let segment = segment
            .strip_suffix("_with_camera_labels")
            .unwrap_or(segment);
        format!("{segment}-{:03}-{camera}", record.number)
    }
    fn place(&self, index: usize) -> String {
        let (file, record, camera) = &self.samples[index];
        format!("{}, camera {camera}", record.place(&self.files[*file]))
    }
    /// An image without objects is a valid sample. Boxes are clipped to the picture.
    fn load(&self, index: usize) -> Result<Sample> {
        let (file, record, which) = &self.samples[index];
        let payload = tfrecord::read(&self.files[*file], record)?;
        let place = self.place(index);
        let (jpeg, labels) = camera(&payload, *which).map_err(|what| damaged(&place, what))?;
        let image = decode_image(Path::new(&place), &jpeg)?;
        let mut objects = vec![];
        for (k, label) in labels.iter().enumerate() {
            let Some(class) = class_of(&self.types, label.kind) else {
                continue;
            };
            let b = label.bbox.unwrap_or_default();
            // Of a box in a picture the length lies along x, the width along y.
            let edges = [b.center_x, b.center_y, b.length, b.width];
            objects.push(object(class, edges, &image, &place, k)?);
        }
        Ok(Sample {
            id: self.id(index),
            image,
            annotation: Annotation::Objects(objects),
        })
    }
}

#[cfg(test)]
#[path = "waymo_tests.rs"]
mod tests;
