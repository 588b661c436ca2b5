//! Networks at the sizes of the papers, into which a genotype is put to be counted.

use super::config::{Frame, FrameConfig, Stem, TrunkKind};
use super::spec::{Cells, DetHead, NetworkSpec};

/// A frame with input and heads; only the cells are missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Preset {
    /// The network around the cells.
    pub frame: FrameConfig,
    /// Height and width of the input in pixels.
    pub size: [usize; 2],
    /// Classes of the classifier.
    pub classes: Option<usize>,
    /// Classes of detection, background not counted, and of segmentation; 0 for a head that is not there.
    pub dense: Option<[usize; 2]>,
    /// Whether a derived classifier has its auxiliary head; it fits the published input only.
    pub auxiliary: bool,
}

/// Networks made by hand: name, frame, trunk, and whether there are heads of detection and of segmentation.
pub const HAND: [(&str, Frame, TrunkKind, [bool; 2]); 9] = [
    ("resnet18", Frame::Trunk, TrunkKind::Resnet18, [false; 2]),
    ("resnet34", Frame::Trunk, TrunkKind::Resnet34, [false; 2]),
    ("resnet50", Frame::Trunk, TrunkKind::Resnet50, [false; 2]),
    ("vgg16", Frame::Trunk, TrunkKind::Vgg16, [false; 2]),
    (
        "vgg16-deeplab",
        Frame::Trunk,
        TrunkKind::Vgg16Deeplab,
        [false; 2],
    ),
    (
        "mobilenet-v2",
        Frame::Trunk,
        TrunkKind::MobileNetV2,
        [false; 2],
    ),
    (
        "mtl-resnet18",
        Frame::MtlResnet18,
        TrunkKind::Resnet18,
        [true; 2],
    ),
    (
        "ssd-resnet18",
        Frame::MtlResnet18,
        TrunkKind::Resnet18,
        [true, false],
    ),
    (
        "fcn-resnet18",
        Frame::MtlResnet18,
        TrunkKind::Resnet18,
        [false, true],
    ),
];

impl Preset {
    /// DARTS on CIFAR-10 (systems.md 2.3): 36 channels and 20 cells to evaluate a genotype, 16 and 8 to search one.
    pub fn cifar(supernet: bool) -> Preset {
        let (channels, cells) = if supernet { (16, 8) } else { (36, 20) };
        Preset {
            frame: FrameConfig {
                frame: Frame::Classification,
                channels,
                cells,
                ..FrameConfig::default()
            },
            size: [32, 32],
            classes: Some(10),
            dense: None,
            auxiliary: !supernet,
        }
    }

    /// DARTS and PC-DARTS on ImageNet (2.3): 48 channels and 14 cells to evaluate, 16 and 8 to search.
    pub fn imagenet(supernet: bool) -> Preset {
        let (channels, cells) = if supernet { (16, 8) } else { (48, 14) };
        Preset {
            frame: FrameConfig {
                frame: Frame::Classification,
                stem: Stem::Imagenet,
                channels,
                cells,
                ..FrameConfig::default()
            },
            size: [224, 224],
            classes: Some(1000),
            dense: None,
            auxiliary: !supernet,
        }
    }

    /// The released MTNAS network (3.5): 32 channels, 14 cells, 320x512, 3 object classes and 16 labels.
    pub fn release() -> Preset {
        Preset {
            frame: FrameConfig::default(),
            size: [320, 512],
            classes: None,
            dense: Some([3, 16]),
            auxiliary: false,
        }
    }

    /// The shallower sibling of the released network (3.4): 11 cells with reductions at 3, 6 and 9, three cells less in front.
    pub fn sibling() -> Preset {
        let mut preset = Preset::release();
        preset.frame.cells = 11;
        preset.frame.reductions = Some(vec![3, 6, 9]);
        preset
    }

    /// The network of the PyTorch peer program: 16 channels, 8 cells, 320x512, 4 object classes and 16 labels.
    pub fn peer() -> Preset {
        Preset {
            frame: FrameConfig {
                frame: Frame::MtnasPeer,
                channels: 16,
                cells: 8,
                ..FrameConfig::default()
            },
            dense: Some([4, 16]),
            ..Preset::release()
        }
    }

    /// A network made by hand, by name ([`HAND`]): the classifiers of torchvision at 224x224 with 1000 classes, the baseline of the
    /// release as it is published (4). `None` for another name.
    pub fn hand(name: &str) -> Option<Preset> {
        let (_, frame, trunk, heads) = HAND.into_iter().find(|row| row.0 == name)?;
        let frame = FrameConfig {
            frame,
            trunk,
            ..FrameConfig::default()
        };
        let [det, seg] = heads;
        let release = Preset::release();
        Some(match frame.frame {
            Frame::Trunk => Preset {
                frame,
                size: [224, 224],
                classes: Some(1000),
                dense: None,
                auxiliary: false,
            },
            _ => Preset {
                frame,
                dense: release
                    .dense
                    .map(|[d, s]| [if det { d } else { 0 }, if seg { s } else { 0 }]),
                ..release
            },
        })
    }

    /// The network with these cells.
    pub fn spec(&self, backbone: Cells, det: Cells, seg: Cells) -> NetworkSpec {
        let [h, w] = self.size;
        let mut s = NetworkSpec::new(&self.frame, h, w, backbone);
        (s.det, s.seg) = (det, seg);
        s.classes = self.classes;
        s.auxiliary = self.auxiliary;
        if let Some([objects, labels]) = self.dense {
            let head = DetHead {
                classes: objects,
                anchors: NetworkSpec::anchors(&self.frame),
            };
            s.det_head = (objects > 0).then_some(head);
            s.seg_classes = (labels > 0).then_some(labels);
        }
        s
    }

    /// The network with search cells everywhere, as the PyTorch peer programs build it; one made by hand as it is.
    pub fn supernet(&self) -> NetworkSpec {
        if self.frame.is_hand_crafted() {
            let by_hand = || Cells::HandCrafted;
            return self.spec(by_hand(), by_hand(), by_hand());
        }
        let cells = |group: &str| Cells::search(group, &self.frame);
        let branch = |group: &str| match self.frame.searched_branches() {
            true => cells(group),
            false => Cells::HandCrafted,
        };
        self.spec(cells("backbone"), branch("det"), branch("seg"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Network;
    use crate::nn::LayerKind;

    /// The table of `benches/peers/README.md`.
    #[test]
    fn supernets_cost_what_the_peer_programs_count() {
        let table = [
            (Preset::release(), 5_137_587_968, 9_109_512),
            (Preset::peer(), 1_148_718_080, 1_004_144),
            (Preset::cifar(true), 56_594_432, 299_578),
        ];
        for (preset, macs, params) in table {
            let net = Network::plan(&preset.supernet()).unwrap();
            let linear = net
                .cost()
                .kinds()
                .get(&LayerKind::Linear)
                .map_or(0, |c| c.macs);
            let total = net.cost().total();
            assert_eq!(
                (total.macs - linear, total.params),
                (macs, params),
                "{preset:?}"
            );
        }
    }
}
