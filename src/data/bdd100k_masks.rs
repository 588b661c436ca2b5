//! BDD100K semantic segmentation (systems.md 8.5): `images/10k/SPLIT/ID.jpg` with `labels/sem_seg/masks/SPLIT/ID.png`, or the
//! older `seg/images/SPLIT/ID.jpg` with `seg/labels/SPLIT/ID_train_id.png`. Values are the train ids of Cityscapes.

use std::path::{Path, PathBuf};

use super::bdd100k::base;
use super::class_map::{ClassMap, Coding};
use super::dataset::{Dataset, Kind, Sample};
use super::mask_set::{self, MaskSet};
use super::text_file::{id_defect, sorted_names};
use crate::error::{Code, Error, Result};

/// A split of BDD100K with label maps.
#[derive(Debug, Clone)]
pub struct Bdd100kMasks {
    name: String,
    images: PathBuf,
    labels: PathBuf,
    /// End of the name of a label file.
    suffix: &'static str,
    ids: Vec<String>,
    map: ClassMap,
}

impl Bdd100kMasks {
    /// Lists the label maps of a split, `train` or `val`; `classes` as in [`ClassMap::new`], the 19 if empty.
    ///
    /// # Errors
    /// `NotFound` for a missing folder, `EmptyData` without label maps, `ConfigValue` for unknown classes.
    pub fn open(root: &Path, split: &str, classes: &[String]) -> Result<Bdd100kMasks> {
        let standard = ["cityscapes-19".to_string()];
        let classes = if classes.is_empty() {
            &standard
        } else {
            classes
        };
        let map = ClassMap::new(classes, Coding::TrainIds)?;
        let base = base(root);
        let forms = [
            ("labels/sem_seg/masks", "images/10k", ".png"),
            ("sem_seg/masks", "images/10k", ".png"),
            ("seg/labels", "seg/images", "_train_id.png"),
            ("bdd100k/seg/labels", "bdd100k/seg/images", "_train_id.png"),
        ];
        let found = forms
            .iter()
            .find(|(labels, ..)| base.join(labels).join(split).is_dir());
        let Some((labels, images, suffix)) = found else {
            let text = format!("no BDD100K label maps of the split {split:?}");
            let (label, older) = (forms[0].0, forms[2].0);
            return Err(Error::new(Code::NotFound, text)
                .at(base.join(label).join(split).display())
                .help(format!("put {label}/{split} or {older}/{split} there")));
        };
        let (labels, images) = (base.join(labels).join(split), base.join(images).join(split));
        let ids: Vec<String> = sorted_names(&labels)?
            .iter()
            .filter_map(|n| n.strip_suffix(suffix))
            .filter(|id| id_defect(id).is_none())
            .map(String::from)
            .collect();
        if ids.is_empty() {
            let text = format!("no label maps named *{suffix}");
            return Err(Error::new(Code::EmptyData, text)
                .at(labels.display())
                .help("fetch the labels again"));
        }
        Ok(Bdd100kMasks {
            name: format!("bdd100k-masks/{split}"),
            images,
            labels,
            suffix,
            ids,
            map,
        })
    }
}

impl Dataset for Bdd100kMasks {
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
        self.ids[index].clone()
    }
    fn place(&self, index: usize) -> String {
        self.image_path(index).display().to_string()
    }
    fn load(&self, index: usize) -> Result<Sample> {
        mask_set::load(self, index)
    }
}

impl MaskSet for Bdd100kMasks {
    fn map(&self) -> &ClassMap {
        &self.map
    }
    fn image_path(&self, index: usize) -> PathBuf {
        self.images.join(format!("{}.jpg", self.ids[index]))
    }
    fn label_path(&self, index: usize) -> PathBuf {
        self.labels
            .join(format!("{}{}", self.ids[index], self.suffix))
    }
    fn named_at(&self, index: usize) -> String {
        self.label_path(index).display().to_string()
    }
    fn folder(&self) -> Option<PathBuf> {
        Some(self.images.clone())
    }
    fn values(&self) -> &str {
        "label ids are 0 to 18 and 255"
    }
}
