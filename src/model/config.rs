//! Keys of the network frame: what is fixed around the cells.

use std::path::PathBuf;

use crate::error::{Code, Error, Result};
use crate::{choices, settings};

choices! {
    /// The frame that cells are put into.
    pub enum Frame {
        /// The released MTNAS network: stem to stride 4, 14 cells with taps, detection cells, segmentation top-down cells, SSD heads
        /// with 6 location values, segmentation head.
        MtnasRelease = "mtnas-release",
        /// The smaller frame of the PyTorch peer: stem to stride 4, searched backbone, FPN over strides 8, 16, 32 and SSD and FCN heads by hand.
        MtnasPeer = "mtnas-peer",
        /// The DARTS / PC-DARTS classifier: stem, cells with two reductions, global pooling, linear layer.
        Classification = "classification",
        /// The hand-crafted baseline of the MTNAS release, without cells: a ResNet-18 under the FPN, SSD and FCN of `mtnas-release` with
        /// hand-crafted branches. With a detection task alone SSD-ResNet18, with a segmentation task alone FCN-ResNet18.
        MtlResnet18 = "mtl-resnet18",
        /// A hand-crafted classifier without cells: `trunk`.
        Trunk = "trunk",
    }
}

choices! {
    /// Hand-crafted classifiers, layer by layer those of torchvision.
    pub enum TrunkKind {
        /// ResNet-18 (11.7 M parameters).
        Resnet18 = "resnet18",
        /// ResNet-34 (21.8 M).
        Resnet34 = "resnet34",
        /// ResNet-50 (25.6 M), the step in the 3x3 convolutions.
        Resnet50 = "resnet50",
        /// VGG-16 with batch normalisation, `vgg16_bn` (138.4 M).
        Vgg16 = "vgg16",
        /// VGG-16 in DeepLab's form: the last two poolings keep the map, the last convolutions are dilated by 2, convolutions classify.
        Vgg16Deeplab = "vgg16-deeplab",
        /// MobileNetV2 (3.5 M).
        MobileNetV2 = "mobilenet-v2",
    }
}

choices! {
    /// Where the task branches of `mtnas-release` come from.
    pub enum Branches {
        /// Searched cells (the method).
        Searched = "searched",
        /// The hand-crafted FPN and SSD layers of the released code ("without branch search", Table 1).
        HandCrafted = "hand-crafted",
    }
}

choices! {
    /// First layers of the classification frame.
    pub enum Stem {
        /// One 3x3 convolution to 3C channels, stride 1 (DARTS on CIFAR).
        Cifar = "cifar",
        /// Three stride-2 convolutions to C channels (DARTS and PC-DARTS on ImageNet).
        Imagenet = "imagenet",
    }
}

settings! {
    /// The network around the searched cells.
    pub struct FrameConfig {
        /// Which frame.
        pub frame: Frame = Frame::MtnasRelease,
        /// Initial width C, in channels (released network: 32). A multiple of 2 `partial_k`; of 4 `partial_k` where branches are searched,
        /// because the last segmentation cell is C/4 wide.
        pub channels: usize = 32,
        /// Number of backbone cells (released network: 14; the 9.04 GFLOPs sibling: 11 with reductions at 3, 6, 9).
        pub cells: usize = 14,
        /// Indices of the reduction cells, rising. Absent: 6, 9, 12 of 14 scaled to `cells` (`mtnas-release`), `cells` i / 4 for i = 1, 2, 3
        /// (`mtnas-peer`), `cells` / 3 and 2 `cells` / 3 (`classification`).
        pub reductions: Option<Vec<usize>> = None,
        /// Intermediate nodes of a cell (DARTS and MTNAS: 4).
        pub nodes: usize = 4,
        /// Partial channels k: one k-th of the channels goes through the mixed operations, 1 sends all (PC-DARTS on CIFAR: 4; MTNAS
        /// states none). Pre-search and backbone search share it, because weights of another k cannot be loaded.
        pub partial_k: usize = 4,
        /// Edge normalisation: a softmax weight beta for each incoming edge of a node (PC-DARTS; needed with partial channels).
        pub edge_norm: bool = true,
        /// Task branches of `mtnas-release`; `mtnas-peer` always has hand-crafted ones.
        pub branches: Branches = Branches::Searched,
        /// Number of detection levels. Absent: 7 (`mtnas-release` and `mtl-resnet18`, which then need sides of at least 320 pixels; 4 to 7; without a detection task 4), 4 (`mtnas-peer`; 3 or 4).
        pub det_levels: Option<usize> = None,
        /// Location values per anchor of `mtnas-release` and `mtl-resnet18`: 4 offsets and 2 unused ones in the released network (6), or 4.
        pub loc_values: usize = 6,
        /// Width of the hand-crafted FPN of `mtnas-peer`, in channels (peer program: 64). A multiple of 4.
        pub fpn_width: usize = 64,
        /// Network of the frame `trunk`.
        pub trunk: TrunkKind = TrunkKind::Resnet18,
        /// Weights that `mtnas train` starts from: a safetensors file with the names of torchvision or timm (ResNet, VGG-16, MobileNetV2), of
        /// DARTS (cells), or our own; none where it is empty. Every tensor must fit, see docs/networks.md.
        pub weights: PathBuf = PathBuf::new(),
        /// First layers of `classification`.
        pub stem: Stem = Stem::Cifar,
        /// Largest drop-path probability of the derived network, reached linearly over the finetune; 0 to below 1 (DARTS on CIFAR: 0.2;
        /// the released MTNAS network: 0).
        pub drop_path: f64 = 0.0,
        /// Added to the variance in batch norm (framework default).
        pub bn_eps: f64 = 1e-5,
        /// Share of the new batch in running batch-norm statistics (framework default).
        pub bn_momentum: f64 = 0.1,
    }
}

impl FrameConfig {
    /// Whether the network is made by hand throughout, without cells.
    pub fn is_hand_crafted(&self) -> bool {
        matches!(self.frame, Frame::MtlResnet18 | Frame::Trunk)
    }

    /// Whether it classifies images: detection and segmentation have other frames.
    pub fn classifies(&self) -> bool {
        matches!(self.frame, Frame::Classification | Frame::Trunk)
    }

    /// Indices of the reduction cells: the key, or the frame's rule for `cells` cells; none without cells.
    pub fn reduction_cells(&self) -> Vec<usize> {
        if self.is_hand_crafted() {
            return vec![];
        }
        if let Some(r) = &self.reductions {
            return r.clone();
        }
        let n = self.cells;
        match self.frame {
            Frame::MtnasRelease => [6, 9, 12].iter().map(|i| (n * i + 7) / 14).collect(),
            Frame::MtnasPeer => [1, 2, 3].iter().map(|i| n * i / 4).collect(),
            Frame::Classification => vec![n / 3, 2 * n / 3],
            Frame::MtlResnet18 | Frame::Trunk => vec![],
        }
    }

    /// Number of detection levels: the key, or the frame's own.
    pub fn detection_levels(&self) -> usize {
        self.det_levels.unwrap_or(match self.frame {
            Frame::MtnasRelease | Frame::MtlResnet18 => 7,
            Frame::MtnasPeer => 4,
            Frame::Classification | Frame::Trunk => 0,
        })
    }

    /// Total stride of what comes before the first reduction cell: 4 for the dense frames, 1 or 8 for classification; of the whole
    /// ResNet of `mtl-resnet18` 32. Trunks round halves up, so that any side will do.
    pub fn stem_stride(&self) -> usize {
        match (self.frame, self.stem) {
            (Frame::Classification, Stem::Cifar) => 1,
            (Frame::Classification, Stem::Imagenet) => 8,
            (Frame::MtlResnet18, _) => 32,
            (Frame::Trunk, _) => 1,
            _ => 4,
        }
    }

    /// Refuses an input of `size` = (height, width) pixels on which a cell's map would vanish or a stride-2 edge would meet an odd map
    /// (halving two shifted grids needs even sides).
    ///
    /// # Errors
    /// `NetworkDoesNotFit` naming the cell, its map, and the sides that would do.
    pub fn check_size(&self, size: [usize; 2]) -> Result<()> {
        let misfit = |cell: String, map: [usize; 2], need: &str, help: String| {
            let what = format!(
                "{cell} gets a map of {}x{}, which must {need}",
                map[0], map[1]
            );
            Err(Error::new(Code::NetworkDoesNotFit, what).help(help))
        };
        let reductions = self.reduction_cells();
        let unit = self.stem_stride() << reductions.len();
        let (by_stem, multiple) = (
            self.stem_stride(),
            format!("use sides that are multiples of {unit}"),
        );
        if size.iter().any(|s| s % by_stem != 0 || *s == 0) {
            let first = match self.is_hand_crafted() {
                true => "the trunk",
                false => "the stem",
            };
            return misfit(
                first.into(),
                size,
                &format!("have sides divisible by {by_stem}"),
                multiple,
            );
        }
        let mut map = size.map(|s| s / by_stem);
        for cell in reductions {
            if map.iter().any(|s| s % 2 != 0) {
                return misfit(
                    format!("backbone cell {cell} (reduction)"),
                    map,
                    "be even",
                    multiple,
                );
            }
            map = map.map(|s| s / 2);
        }
        if !matches!(self.frame, Frame::MtnasRelease | Frame::MtlResnet18) {
            return Ok(());
        }
        for level in 4..self.detection_levels() {
            let fewer = |least: usize| {
                format!(
                    "use sides of at least {least} that are multiples of 64, or `det_levels = {level}`"
                )
            };
            if level == 4 {
                if map.iter().any(|s| s % 2 != 0) {
                    return misfit(
                        "detection cell 0 (reduction)".into(),
                        map,
                        "be even",
                        fewer(64),
                    );
                }
                map = map.map(|s| s / 2);
            } else {
                let least = 64 * (2 * (level - 4) + 1);
                if map.iter().any(|s| *s < 3) {
                    return misfit(
                        format!("detection cell {}", level - 4),
                        map,
                        "be at least 3x3",
                        fewer(least),
                    );
                }
                map = map.map(|s| s - 2);
            }
        }
        Ok(())
    }

    /// True if the task branches are made of searched cells.
    pub fn searched_branches(&self) -> bool {
        self.frame == Frame::MtnasRelease && self.branches == Branches::Searched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_vanish_are_refused_by_name() {
        let with = |levels| FrameConfig {
            det_levels: Some(levels),
            ..Default::default()
        };
        assert!(with(7).check_size([320, 512]).is_ok());
        assert!(with(7).check_size([320, 320]).is_ok());
        for (levels, size, cell) in [
            (7, [256, 512], "detection cell 2 gets a map of 2x6"),
            (6, [128, 512], "detection cell 1 gets a map of 2x8"),
            (
                5,
                [96, 512],
                "detection cell 0 (reduction) gets a map of 3x16",
            ),
            (
                4,
                [80, 512],
                "backbone cell 12 (reduction) gets a map of 5x32",
            ),
            (4, [330, 512], "the stem gets a map of 330x512"),
            (4, [0, 512], "the stem"),
        ] {
            let e = with(levels).check_size(size).unwrap_err();
            assert!(
                e.code() == Code::NetworkDoesNotFit && e.message().starts_with(cell),
                "{e}"
            );
        }
        assert!(with(6).check_size([192, 512]).is_ok() && with(5).check_size([64, 64]).is_ok());
        let cifar = FrameConfig {
            frame: Frame::Classification,
            cells: 8,
            ..Default::default()
        };
        assert!(cifar.check_size([32, 32]).is_ok() && cifar.check_size([30, 32]).is_err());
    }

    #[test]
    fn reductions_follow_the_frame() {
        let with = |frame, cells| {
            FrameConfig {
                frame,
                cells,
                ..Default::default()
            }
            .reduction_cells()
        };
        assert_eq!(with(Frame::MtnasRelease, 14), [6, 9, 12]);
        assert_eq!(with(Frame::MtnasPeer, 8), [2, 4, 6]);
        assert_eq!(with(Frame::Classification, 8), [2, 5]);
        assert_eq!(with(Frame::Classification, 20), [6, 13]);
    }
}
