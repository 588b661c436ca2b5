//! Trunks by hand: the convolutional part of ResNet, VGG and MobileNetV2, with the parameter names of torchvision, and the classifier that
//! each is published with.

mod classifier;
mod mobilenet;
mod resnet;
mod vgg;

use super::config::TrunkKind;
use crate::error::Result;
use crate::nn::{Builder, Map, Pass};
use crate::tape::Var;
pub use classifier::TrunkClassifier;
use mobilenet::MobileNetV2;
use resnet::Resnet;
use vgg::Vgg;

/// The convolutional part of a network.
#[derive(Debug)]
pub enum Trunk {
    /// ResNet.
    Resnet(Resnet),
    /// VGG-16.
    Vgg(Vgg),
    /// MobileNetV2.
    MobileNetV2(MobileNetV2),
}

impl Trunk {
    /// Declares one over an RGB image of these rows and columns; returns it with the maps it yields: of a ResNet that of the first
    /// convolution and those of its four stages, of the others the last one alone.
    ///
    /// # Errors
    /// `MT0105` for an image that vanishes under its windows.
    pub fn new(b: &mut Builder, kind: TrunkKind, [h, w]: [usize; 2]) -> Result<(Trunk, Vec<Map>)> {
        let image = Map::new(3, h, w);
        Ok(match kind {
            TrunkKind::Resnet18 | TrunkKind::Resnet34 | TrunkKind::Resnet50 => {
                let (trunk, maps) = Resnet::new(b, kind, image)?;
                (Trunk::Resnet(trunk), maps)
            }
            TrunkKind::Vgg16 | TrunkKind::Vgg16Deeplab => {
                let (trunk, last) = Vgg::new(b, kind == TrunkKind::Vgg16Deeplab, image)?;
                (Trunk::Vgg(trunk), vec![last])
            }
            TrunkKind::MobileNetV2 => {
                let (trunk, last) = MobileNetV2::new(b, image)?;
                (Trunk::MobileNetV2(trunk), vec![last])
            }
        })
    }

    /// The maps of images `(N, 3, H, W)`, as [`Trunk::new`] lists them.
    ///
    /// # Errors
    /// Those of the ops.
    pub fn forward(&self, p: &Pass, image: &Var) -> Result<Vec<Var>> {
        match self {
            Trunk::Resnet(t) => t.forward(p, image),
            Trunk::Vgg(t) => Ok(vec![t.forward(p, image)?]),
            Trunk::MobileNetV2(t) => Ok(vec![t.forward(p, image)?]),
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
