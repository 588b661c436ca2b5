//! Sizes of a made-up data set.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};

/// What to generate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SynthConfig {
    /// All pictures follow from it.
    pub seed: u64,
    /// Height and width of the scenes, from 48 x 64. KITTI is about 375 x 1242, Cityscapes 1024 x 2048.
    pub size: [usize; 2],
    /// Training scenes, of the KITTI and of the Cityscapes part each.
    pub train: usize,
    /// Held-out scenes of each part.
    pub val: usize,
    /// Cyclists, poles and grass in the Cityscapes part too: three to five more classes, small and rare ones.
    pub rare_classes: bool,
    /// Pictures of each class in the training part of the image folder; 0 for no image folder.
    pub folder_train: usize,
    /// Held-out pictures of each of its classes.
    pub folder_val: usize,
    /// Side of its pictures.
    pub folder_size: usize,
    /// Write the same classes as CIFAR-10 binary files too.
    pub cifar: bool,
}

impl Default for SynthConfig {
    /// The demo.
    fn default() -> Self {
        SynthConfig {
            seed: 0,
            size: [96, 160],
            train: 240,
            val: 60,
            rare_classes: false,
            folder_train: 48,
            folder_val: 12,
            folder_size: 40,
            cifar: false,
        }
    }
}

impl SynthConfig {
    /// # Errors
    /// `ConfigValue` for a size or count outside its range.
    pub fn check(&self) -> Result<()> {
        let bad = |text: String| Err(Error::new(Code::ConfigValue, text));
        let [h, w] = self.size;
        if !(48..=2048).contains(&h) || !(64..=4096).contains(&w) {
            return bad(format!(
                "`size` must be from 48 x 64 to 2048 x 4096, got {h} x {w}"
            ));
        }
        if self.train == 0 || self.val == 0 || self.train > 999_999 || self.val > 999_999 {
            return bad(format!(
                "`train` and `val` must be 1 to 999999, got {} and {}",
                self.train, self.val
            ));
        }
        if self.folder_train > 0 && self.folder_val == 0 {
            return bad("`folder_val` must be at least 1 with an image folder".into());
        }
        if !(16..=512).contains(&self.folder_size) {
            return bad(format!(
                "`folder_size` must be 16 to 512, got {}",
                self.folder_size
            ));
        }
        match self.cifar && self.folder_train == 0 {
            true => bad(
                "`cifar` needs `folder_train` and `folder_val`, the pictures of each class".into(),
            ),
            false => Ok(()),
        }
    }
}
