//! Waymo Open Dataset, perception, v2 (systems.md 8.6): `ROOT/SPLIT/{camera_image,camera_box}/SEGMENT.parquet`, joined on
//! segment, time and camera.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::dataset::{Dataset, Kind, Sample};
use super::image_file::decode_image;
use super::parquet_file::Table;
use super::text_file::sorted_names;
use super::type_map::TypeMap;
use super::waymo_config::{Camera, WaymoConfig, folder, object};
use crate::annotation::Annotation;
use crate::error::{Code, Error, Result};

/// Folders of pictures and of their boxes.
const IMAGES: &str = "camera_image";
const BOXES: &str = "camera_box";
const SUFFIX: &str = ".parquet";

const SEGMENT: &str = "key.segment_context_name";
const TIME: &str = "key.frame_timestamp_micros";
const CAMERA: &str = "key.camera_name";
const PICTURE: &str = "[CameraImageComponent].image";
const TYPE: &str = "[CameraBoxComponent].type";
/// Middle along x and y, extent along x and y.
const EDGES: [&str; 4] = [
    "[CameraBoxComponent].box.center.x",
    "[CameraBoxComponent].box.center.y",
    "[CameraBoxComponent].box.size.x",
    "[CameraBoxComponent].box.size.y",
];

/// A picture in the files of its segment.
#[derive(Debug, Clone, Copy)]
struct Frame {
    camera: Camera,
    time: i64,
    /// Row group and row in it.
    group: usize,
    row: usize,
    /// First row group with a box of it and the one after the last; an empty range without boxes.
    boxes: (usize, usize),
}

/// A split of Waymo Open Dataset v2: every n-th frame of some cameras.
#[derive(Debug, Clone)]
pub struct WaymoV2 {
    name: String,
    /// Files of pictures.
    files: Vec<PathBuf>,
    /// (file, frame)
    samples: Vec<(usize, Frame)>,
    types: TypeMap,
}

/// The files of pictures of a split: those of its folder in alphabetical order, or one of them.
///
/// # Errors
/// `NotFound`, `EmptyData`.
pub fn files_of(root: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let dir = folder(root, split);
    if dir.is_file() {
        return Ok(vec![dir]);
    }
    let dir = dir.join(IMAGES);
    let help = "give the folder that holds `training` and `validation`, with the folders `camera_image` and `camera_box` in both";
    let names = sorted_names(&dir).map_err(|e| e.help(help))?;
    let files: Vec<PathBuf> = names
        .into_iter()
        .filter(|n| n.ends_with(SUFFIX))
        .map(|n| dir.join(n))
        .collect();
    match files.is_empty() {
        true => Err(Error::new(Code::EmptyData, "no *.parquet files")
            .at(dir.display())
            .help(help)),
        false => Ok(files),
    }
}

/// The file of boxes that belongs to a file of pictures.
fn boxes_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let split = path.parent().and_then(Path::parent);
    split.unwrap_or(Path::new("")).join(BOXES).join(name)
}

fn segment(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Time and camera of the rows of a group; all must be of the segment that the file is named after.
fn keys(table: &Table, path: &Path, group: usize) -> Result<Vec<(i64, i64)>> {
    let rows = table.rows(group);
    let name = segment(path);
    let segments = table.bytes(group, SEGMENT, 0, rows)?;
    if let Some(row) = segments.iter().position(|s| s[..] != *name.as_bytes()) {
        let found = String::from_utf8_lossy(&segments[row]);
        let found: String = found
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect();
        let text = format!("row {row} is of the segment {found:?}");
        return Err(Error::new(Code::BadFormat, text)
            .at(format!("{}, row group {group}", path.display()))
            .help("a file is named after its segment: rename it, or fetch it again"));
    }
    let times = table.integers(group, TIME, 0, rows)?;
    let cameras = table.integers(group, CAMERA, 0, rows)?;
    Ok(times.into_iter().zip(cameras).collect())
}

/// Where the boxes of each picture lie, as row groups; with `types` only those of a class count.
fn index_boxes(
    path: &Path,
    types: Option<&TypeMap>,
) -> Result<BTreeMap<(i64, i64), (usize, usize)>> {
    let table = Table::open(path).map_err(|e| match e.code() {
        Code::NotFound => e.help("fetch the component `camera_box` too"),
        _ => e,
    })?;
    let mut all = BTreeMap::new();
    for group in 0..table.groups() {
        let kinds = types.map(|_| table.integers(group, TYPE, 0, table.rows(group)));
        let kinds = kinds.transpose()?;
        for (row, key) in keys(&table, path, group)?.into_iter().enumerate() {
            let counts = types.zip(kinds.as_ref());
            if counts.is_none_or(|(types, kinds)| class_of(types, kinds[row]).is_some()) {
                let at = all.entry(key).or_insert((group, group));
                at.1 = group + 1;
            }
        }
    }
    Ok(all)
}

fn class_of(types: &TypeMap, kind: i64) -> Option<usize> {
    usize::try_from(kind).ok().and_then(|k| types.get(k))
}

/// The wanted pictures of one segment: by time, then in the order of the configured cameras.
fn index(path: &Path, config: &WaymoConfig, types: &TypeMap) -> Result<Vec<Frame>> {
    let table = Table::open(path)?;
    let mut pictures = BTreeMap::new();
    for group in 0..table.groups() {
        for (row, key) in keys(&table, path, group)?.into_iter().enumerate() {
            if pictures.insert(key, (group, row)).is_some() {
                let text = format!("a second picture of camera {} at {}", key.1, key.0);
                return Err(Error::new(Code::BadFormat, text)
                    .at(format!("{}, row group {group}, row {row}", path.display()))
                    .help("fetch the file again"));
            }
        }
    }
    let only = config.only_with_boxes.then_some(types);
    let boxes = index_boxes(&boxes_of(path), only)?;
    let mut times: Vec<i64> = pictures.keys().map(|k| k.0).collect();
    times.dedup();
    let mut frames = vec![];
    for time in times.into_iter().step_by(config.every) {
        for &camera in &config.cameras {
            let key = (time, camera.number() as i64);
            let (Some(&(group, row)), found) = (pictures.get(&key), boxes.get(&key)) else {
                continue;
            };
            if found.is_some() || !config.only_with_boxes {
                frames.push(Frame {
                    camera,
                    time,
                    group,
                    row,
                    boxes: found.copied().unwrap_or_default(),
                });
            }
        }
    }
    Ok(frames)
}

impl WaymoV2 {
    /// Indexes a split by the keys in its files: a folder below `root`, or a file of pictures.
    ///
    /// # Errors
    /// `NotFound`, `EmptyData`, `ConfigValue`; `BadFormat` for a damaged file or one of another segment or component.
    pub fn open(root: &Path, split: &str, config: &WaymoConfig, types: TypeMap) -> Result<WaymoV2> {
        config.check()?;
        let files = files_of(root, split)?;
        let mut samples = vec![];
        for (k, file) in files.iter().enumerate() {
            let frames = index(file, config, &types)?;
            samples.extend(frames.into_iter().map(|f| (k, f)));
        }
        if samples.is_empty() {
            let e = Error::new(Code::EmptyData, "no frame of these cameras")
                .at(folder(root, split).display())
                .help("see `waymo.cameras` and `waymo.only_with_boxes`");
            let read = |f: &PathBuf| format!("{} and {}", f.display(), boxes_of(f).display());
            return Err(files.iter().take(3).fold(e, |e, f| e.note(read(f))));
        }
        Ok(WaymoV2 {
            name: format!("waymo-v2/{split}"),
            files,
            samples,
            types,
        })
    }
}

impl Dataset for WaymoV2 {
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
    /// `SEGMENT-TIME-CAMERA`, the time in microseconds.
    fn id(&self, index: usize) -> String {
        let (file, frame) = &self.samples[index];
        let segment = segment(&self.files[*file]);
        format!("{segment}-{}-{}", frame.time, frame.camera)
    }
    fn place(&self, index: usize) -> String {
        let (file, f) = &self.samples[index];
        let file = self.files[*file].display();
        format!("{file}, row group {}, row {}", f.group, f.row)
    }
    /// An image without objects is a valid sample. Boxes are clipped to the picture.
    fn load(&self, index: usize) -> Result<Sample> {
        let (file, frame) = &self.samples[index];
        let path = &self.files[*file];
        let place = self.place(index);
        let picture = Table::open(path)?.bytes(frame.group, PICTURE, frame.row, 1)?;
        let image = decode_image(Path::new(&place), &picture[0])?;
        let mut objects = vec![];
        if frame.boxes.1 > frame.boxes.0 {
            let path = boxes_of(path);
            let table = Table::open(&path)?;
            for group in frame.boxes.0..frame.boxes.1.min(table.groups()) {
                let rows = table.rows(group);
                let keys = keys(&table, &path, group)?;
                let kinds = table.integers(group, TYPE, 0, rows)?;
                let mut edges = vec![];
                for column in EDGES {
                    edges.push(table.numbers(group, column, 0, rows)?);
                }
                let place = format!("{}, row group {group}", path.display());
                let own = (frame.time, frame.camera.number() as i64);
                for row in (0..rows).filter(|&row| keys[row] == own) {
                    if let Some(class) = class_of(&self.types, kinds[row]) {
                        let b = std::array::from_fn(|k| edges[k][row]);
                        objects.push(object(class, b, &image, &place, row)?);
                    }
                }
            }
        }
        Ok(Sample {
            id: self.id(index),
            image,
            annotation: Annotation::Objects(objects),
        })
    }
}

#[cfg(test)]
#[path = "waymo_v2_tests.rs"]
mod tests;
