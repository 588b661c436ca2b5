//! The class names of a data set as far as they are known without reading its labels.

use super::class_map::{ClassMap, Coding};
use super::class_rules::{ClassTable, Vocabulary};
use super::dataset::{DatasetConfig, Format};
use super::waymo::Waymo;
use super::{bdd100k, cifar, coco, coco_json, listed, mtnas_layout, voc, voc_masks};
use crate::error::Result;

impl DatasetConfig {
    /// The class names of a format with boxes or label maps; `None` where a file names them that is not there, and for the formats
    /// whose folders do.
    ///
    /// # Errors
    /// `ConfigValue` for classes that the format does not have; a file of classes that cannot be read.
    pub fn class_names(&self) -> Result<Option<Vec<String>>> {
        let boxes =
            |words: &Vocabulary| Ok(Some(ClassTable::new(&self.rules, words)?.names().to_vec()));
        let maps = |map: ClassMap| Ok(Some(map.names().to_vec()));
        match self.format {
            Format::Kitti => Ok(Some(self.kitti.classes.clone())),
            Format::Cityscapes => {
                let own = &self.cityscapes;
                maps(ClassMap::new(&own.classes, own.labels)?)
            }
            Format::Cifar10 => Ok(Some(cifar::CLASSES.map(String::from).to_vec())),
            Format::ImageFolder => Ok(None),
            Format::WaymoV1 | Format::WaymoV2 => {
                let types = Waymo::types(&self.rules.classes, &self.rules.merge)?;
                Ok(Some(types.names().to_vec()))
            }
            Format::Mixed => Ok(None),
            Format::Nyuv2Lists
            | Format::Nyuv2Json
            | Format::Nyuv2Npy
            | Format::CityscapesNpy
            | Format::Taskonomy => Ok(self.form()?.map(|(_, classes)| classes)),
            Format::Bdd100k => boxes(&bdd100k::VOCABULARY),
            Format::Bdd100kMasks => match self.rules.classes.as_slice() {
                [] => maps(ClassMap::new(&["cityscapes-19".into()], Coding::TrainIds)?),
                own => maps(ClassMap::new(own, Coding::TrainIds)?),
            },
            Format::Coco if self.rules.classes.is_empty() => {
                match coco::label_file(&self.root, &self.train) {
                    Ok(file) => coco_json::categories(&file).map(Some),
                    Err(_) => Ok(None),
                }
            }
            Format::Coco => Ok(Some(self.rules.classes.clone())),
            Format::MtnasBoxes => boxes(&mtnas_layout::VOCABULARY),
            Format::MtnasMasks => maps(mtnas_layout::class_map(&self.rules.classes)?),
            Format::ListBoxes | Format::ListMasks | Format::ListClasses => {
                match self.rules.classes.as_slice() {
                    [] if !self.root.join("classes.txt").exists() => Ok(None),
                    [] => listed::class_names(&self.root).map(Some),
                    own => Ok(Some(own.to_vec())),
                }
            }
            Format::Voc => boxes(&voc::VOCABULARY),
            Format::VocMasks => maps(ClassMap::of_indices(
                "Pascal VOC",
                &voc_masks::classes(),
                &self.rules.classes,
            )?),
        }
    }
}
