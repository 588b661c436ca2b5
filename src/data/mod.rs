//! Data from disk: one file a format, then splits, augmentation and the loader; a generator of made-up data sets; checks.
//!
//! Reading order: [`dataset`] (what a data set is), [`kitti`], [`cityscapes`], [`cifar`], [`image_folder`] (formats).
//!
//! **Invariant.** No data set folder is ever written to, except by the generator, which only fills a folder of its own.

pub mod cifar;
pub mod cityscapes;
pub mod class_map;
pub mod config;
pub mod dataset;
pub mod image_file;
pub mod image_folder;
mod jpeg_file;
pub mod kitti;
pub mod kitti_classes;
pub mod kitti_label;
mod png_file;
pub mod text_file;
