//! Data from disk: one file a format, then splits, augmentation and the loader; a generator of made-up data sets; checks.
//!
//! Reading order: [`dataset`] (what a data set is), [`kitti`], [`cityscapes`], [`cifar`], [`image_folder`], [`dense`] (formats),
//! [`box_set`] and [`mask_set`] with [`bdd100k`], [`coco`], [`voc`], [`listed`] (formats that share their checks);
//! [`split`] (who sees what when), [`augment`], [`photometric`], [`transform`], [`pixels`], [`input`] (what it looks like), [`batch`],
//! [`sight`] (a batch without its pixels), [`slots`], [`loader`]; [`cached`] and [`packed`] keep decoded pictures;
//! [`source`] opens what a configuration names. [`synth`] makes data sets; [`check`], [`stats`], [`preview`] look at them;
//! [`convert`] writes them in another format.
//!
//! **Invariant.** No data set folder is ever written to, except by the generator, which only fills a folder of its own.

pub mod augment;
#[cfg(test)]
mod bad_input_tests;
pub mod batch;
pub mod bdd100k;
pub mod bdd100k_masks;
pub mod bdd_json;
pub mod box_set;
pub mod cached;
pub mod check;
pub mod cifar;
pub mod cityscapes;
pub mod class_map;
mod class_names;
pub mod class_rules;
pub mod coco;
pub mod coco_json;
mod coco_stream;
pub mod config;
pub mod convert;
pub mod dataset;
pub mod dense;
pub mod image_file;
pub mod image_folder;
pub mod input;
mod jpeg_file;
pub mod json_stream;
pub mod kitti;
pub mod kitti_classes;
pub mod kitti_label;
mod list_file;
pub mod listed;
pub mod loader;
pub mod mask_set;
pub mod mat_file;
pub mod mixed;
mod mixed_classes;
pub mod mixed_config;
mod mixed_draw;
pub mod mtnas_layout;
#[cfg(test)]
mod mutation_tests;
pub mod normalise;
pub mod npy_file;
pub mod packed;
pub mod parquet_file;
mod parquet_pages;
pub mod photometric;
pub mod pixels;
mod png_file;
pub mod preview;
#[cfg(test)]
mod published_mutation_tests;
#[cfg(test)]
pub(crate) mod published_tests;
pub mod results;
pub mod sight;
pub mod slots;
pub mod source;
pub mod split;
pub mod stats;
pub mod synth;
pub mod text_boxes;
pub mod text_file;
pub mod tfrecord;
pub mod transform;
pub mod type_map;
pub mod voc;
pub mod voc_masks;
pub mod voc_xml;
pub mod waymo;
pub mod waymo_config;
pub mod waymo_frame;
pub mod waymo_v2;
