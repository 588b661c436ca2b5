//! Which data sets lie in a folder, by the names of what is in it.

use std::path::{Path, PathBuf};

use super::named;
use crate::data::dataset::{DatasetConfig, Format};
use crate::data::dense::DenseConfig;
use crate::error::{Code, Error, Result};

/// The data sets in a folder: itself, or those of its subfolders (as the generator writes them).
///
/// # Errors
/// `NotFound` if there is none.
pub fn detect(root: &Path) -> Result<Vec<DatasetConfig>> {
    let formats_of = |dir: &Path| {
        let has = |p: &str| dir.join(p).is_dir();
        let binary = || crate::data::cifar::files_of(dir, "train").is_ok_and(|f| !f.is_empty());
        let classes = || {
            crate::data::image_folder::class_folders(&dir.join("train"))
                .is_ok_and(|c| !c.is_empty())
        };
        let records = || {
            ["train", "val"]
                .iter()
                .any(|split| crate::data::waymo::files_of(dir, split).is_ok())
        };
        let tables = || {
            ["train", "val"]
                .iter()
                .any(|split| crate::data::waymo_v2::files_of(dir, split).is_ok())
        };
        match () {
            _ if has("training/image_2") || has("image_2") => vec![Format::Kitti],
            _ if has("leftImg8bit") => vec![Format::Cityscapes],
            _ => match dense_format(dir) {
                Some(format) => vec![format],
                None if binary() => vec![Format::Cifar10],
                None if records() => vec![Format::WaymoV1],
                None if tables() => vec![Format::WaymoV2],
                None if classes() => vec![Format::ImageFolder],
                None => vec![],
            },
        }
    };
    let configs = |dir: PathBuf| {
        let config = |format| DatasetConfig {
            format,
            root: dir.clone(),
            dense: DenseConfig {
                classes: match format {
                    Format::CityscapesNpy => crate::data::dense::cityscapes_npy::lists_of(&dir),
                    _ => vec![],
                },
                ..Default::default()
            },
            ..Default::default()
        };
        // The folders of these formats say what they are; those above are more general.
        let own = named::formats(&dir);
        let formats = if own.is_empty() {
            formats_of(&dir)
        } else {
            own
        };
        formats.into_iter().map(config).collect::<Vec<_>>()
    };
    let here = configs(root.into());
    if !here.is_empty() {
        return Ok(here);
    }
    let names = crate::data::text_file::sorted_names(root)?;
    let found: Vec<_> = names
        .into_iter()
        .flat_map(|n| configs(root.join(n)))
        .collect();
    if found.is_empty() {
        return Err(Error::new(Code::NotFound, "no data set of a known format is here")
            .at(root.display())
            .help("expected training/image_2, leftImg8bit, data_batch_1.bin, train/CLASS/ folders, or a folder of docs/data.md"));
    }
    Ok(found)
}

/// The format of dense targets that lies in a folder.
fn dense_format(dir: &Path) -> Option<Format> {
    use crate::data::dense::{nyuv2_json, taskonomy};
    let file = |p: &str| dir.join(p).is_file();
    let arrays = |p: &str| dir.join("train").join(p).is_dir();
    match () {
        _ if file("list/training_seg.txt") || file("list/training_normal_mask.txt") => {
            Some(Format::Nyuv2Lists)
        }
        _ if file(nyuv2_json::LISTING) => Some(Format::Nyuv2Json),
        _ if file(taskonomy::LISTING) => Some(Format::Taskonomy),
        _ if arrays("image") && arrays("normal") => Some(Format::Nyuv2Npy),
        _ if arrays("image") && arrays("depth") => Some(Format::CityscapesNpy),
        _ => None,
    }
}
