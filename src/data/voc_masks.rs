//! Pascal VOC semantic segmentation with the further label maps of SBD (systems.md 8.7): `JPEGImages/ID.jpg` with
//! `SegmentationClass/ID.png` (palette indices), else `SegmentationClassAug/ID.png`, else SBD's `cls/ID.mat`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::class_map::ClassMap;
use super::dataset::{Dataset, Kind, Sample};
use super::image_file::read_labels;
use super::mask_set::{self, MaskSet};
use super::mat_file;
use super::text_file::{ListEntry, at_line, first_existing, read_list};
use super::voc::{self, list_file};
use crate::annotation::LabelMap;
use crate::error::{Code, Error, Result};

/// The 21 classes in the order of the values of the files.
pub fn classes() -> Vec<String> {
    let all = std::iter::once("background").chain(voc::CLASSES);
    all.map(String::from).collect()
}

/// SBD's folder, which holds `cls`: below the data set, or beside it.
fn sbd_folder(root: &Path, base: &Path) -> Option<PathBuf> {
    let names = [
        "SBD",
        "SBD/dataset",
        "sbd",
        "benchmark_RELEASE/dataset",
        "benchmark/dataset",
    ];
    let above = base.parent().and_then(Path::parent);
    let starts = [Some(base), Some(root), base.parent(), above];
    let places = starts
        .into_iter()
        .flatten()
        .flat_map(|s| names.map(|n| s.join(n)));
    first_existing(places.map(|p| p.join("cls"))).and_then(|p| p.parent().map(PathBuf::from))
}

/// A split of Pascal VOC with label maps.
pub struct VocMasks {
    name: String,
    base: PathBuf,
    sbd: Option<PathBuf>,
    /// Lists that name the ids.
    lists: Vec<PathBuf>,
    /// Ids, each with the number of its list.
    ids: Vec<(usize, ListEntry)>,
    map: ClassMap,
}

impl VocMasks {
    /// Reads the list of a split: `train`, `val`, `trainval`, or a path. Without a list of its own, `trainaug` is what is
    /// commonly called so: `train` of VOC and all of SBD but `val` of VOC (10,582 pictures), in alphabetical order.
    ///
    /// # Errors
    /// `NotFound` for a missing folder or list, `BadLine` and `EmptyData` in a list, `ConfigValue` for unknown classes.
    pub fn open(root: &Path, split: &str, names: &[String]) -> Result<VocMasks> {
        let map = ClassMap::of_indices("Pascal VOC", &classes(), names)?;
        let base = voc::base(root)?;
        let sbd = sbd_folder(root, &base);
        let list = |split: &str| list_file(&base, "Segmentation", split);
        let (lists, ids) = match (list(split), &sbd) {
            (Ok(own), _) => {
                let ids = read_list(&own)?.into_iter().map(|e| (0, e)).collect();
                (vec![own], ids)
            }
            (Err(_), Some(sbd)) if split == "trainaug" => {
                let lists = vec![list("train")?, sbd.join("train.txt"), sbd.join("val.txt")];
                let held: BTreeSet<String> = read_list(&list("val")?)?
                    .into_iter()
                    .map(|e| e.id)
                    .collect();
                let mut all: Vec<(usize, ListEntry)> = vec![];
                for (i, path) in lists.iter().enumerate() {
                    let entries = read_list(path)?.into_iter();
                    all.extend(entries.filter(|e| !held.contains(&e.id)).map(|e| (i, e)));
                }
                all.sort_by(|a, b| (&a.1.id, a.0).cmp(&(&b.1.id, b.0)));
                all.dedup_by(|b, a| a.1.id == b.1.id);
                (lists, all)
            }
            (Err(e), None) if split == "trainaug" => {
                return Err(e.help(
                    "write the list there, or put SBD beside it: benchmark_RELEASE/dataset with cls, train.txt and val.txt",
                ));
            }
            (Err(e), _) => return Err(e),
        };
        if ids.is_empty() {
            return Err(Error::new(Code::EmptyData, "no pictures in the split")
                .at(lists[0].display())
                .help("write one id a line"));
        }
        let stem = Path::new(split)
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        Ok(VocMasks {
            name: format!("voc-masks/{stem}"),
            base,
            sbd,
            lists,
            ids,
            map,
        })
    }
}

impl Dataset for VocMasks {
    fn name(&self) -> &str {
        &self.name
    }
    fn kind(&self) -> Kind {
        Kind::Segmentation
    }
    fn classes(&self) -> &[String] {
        self.map.names()
    }
    fn len(&self) -> usize {
        self.ids.len()
    }
    fn id(&self, index: usize) -> String {
        self.ids[index].1.id.clone()
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn load(&self, index: usize) -> Result<Sample> {
        mask_set::load(self, index)
    }
}

impl MaskSet for VocMasks {
    fn map(&self) -> &ClassMap {
        &self.map
    }
    fn image_path(&self, index: usize) -> PathBuf {
        let file = format!("{}.jpg", self.ids[index].1.id);
        let own = self.base.join("JPEGImages").join(&file);
        match &self.sbd {
            Some(sbd) if !own.exists() && sbd.join("img").join(&file).exists() => {
                sbd.join("img").join(file)
            }
            _ => own,
        }
    }
    fn label_path(&self, index: usize) -> PathBuf {
        let id = &self.ids[index].1.id;
        let own = self.base.join(format!("SegmentationClass/{id}.png"));
        let more = self.base.join(format!("SegmentationClassAug/{id}.png"));
        let sbd = self.sbd.iter().map(|s| s.join(format!("cls/{id}.mat")));
        first_existing([own.clone(), more].into_iter().chain(sbd)).unwrap_or(own)
    }
    fn named_at(&self, index: usize) -> String {
        let (list, entry) = &self.ids[index];
        at_line(&self.lists[*list], entry.line)
    }
    fn values(&self) -> &str {
        "values are 0 (background) to 20 and 255 (void)"
    }
    fn raw(&self, path: &Path) -> Result<LabelMap> {
        match path.extension().is_some_and(|e| e == "mat") {
            true => mat_file::read_bytes(path, "GTcls", "Segmentation"),
            false => read_labels(path),
        }
    }
}
