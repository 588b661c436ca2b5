//! What the two forms of Waymo Open Dataset have in common (systems.md 8.6): cameras, object types, splits, which frames count.

use std::path::{Path, PathBuf};

use super::kitti_label::{box_defect, clip_box};
use crate::annotation::{BBox, Image, Object};
use crate::error::{Code, Error, Result};
use crate::{choices, settings};

choices! {
    /// A camera of the car.
    pub enum Camera {
        /// Ahead, 1920 x 1280.
        Front = "front",
        /// Ahead to the left, 1920 x 1280.
        FrontLeft = "front-left",
        /// Ahead to the right, 1920 x 1280.
        FrontRight = "front-right",
        /// To the left, 1920 x 886.
        SideLeft = "side-left",
        /// To the right, 1920 x 886.
        SideRight = "side-right",
    }
}

impl Camera {
    /// Its number in the files, 1 to 5.
    pub fn number(self) -> i32 {
        1 + self as i32
    }
}

settings! {
    /// Which frames of Waymo Open Dataset are samples. A sample is one frame of one camera.
    pub struct WaymoConfig {
        /// Cameras.
        pub cameras: Vec<Camera> = vec![Camera::Front],
        /// Every how many frames of a segment, from its first on (it has about 200, ten a second).
        pub every: usize = 1,
        /// Leave out images without a box of a class. It is known only after a look into every frame, which takes minutes for the whole set.
        pub only_with_boxes: bool = false,
    }
}

impl WaymoConfig {
    /// # Errors
    /// `ConfigValue` without a camera or for a step of 0.
    pub(super) fn check(&self) -> Result<()> {
        let bad =
            |message: &str, help: &str| Err(Error::new(Code::ConfigValue, message).help(help));
        if self.cameras.is_empty() {
            return bad("no camera of Waymo", "name one, for example \"front\"");
        }
        match self.every {
            0 => bad("every 0 frames of Waymo are none", "use at least 1"),
            _ => Ok(()),
        }
    }
}

/// Object types by their number in the files. Cameras have no boxes of signs, and those of unknown things are dropped.
pub const TYPES: [&str; 5] = ["unknown", "vehicle", "pedestrian", "sign", "cyclist"];

/// Classes without a configuration.
pub const CLASSES: [&str; 3] = ["vehicle", "pedestrian", "cyclist"];

/// The folder of a split below `root`; `train`, `val` and `test` are also found by the names that Waymo gives them.
pub(super) fn folder(root: &Path, split: &str) -> PathBuf {
    let own = root.join(split);
    let theirs = match split {
        "train" => "training",
        "val" => "validation",
        "test" => "testing",
        _ => return own,
    };
    match own.exists() {
        true => own,
        false => root.join(theirs),
    }
}

/// An object out of middle and extent in pixels; `place` and `number` name it.
///
/// # Errors
/// `BadBox` for a box that is not finite, empty, or outside its picture.
pub(super) fn object(
    class: usize,
    [x, y, dx, dy]: [f64; 4],
    image: &Image,
    place: &str,
    number: usize,
) -> Result<Object> {
    let b = BBox {
        x1: (x - dx / 2.0) as f32,
        y1: (y - dy / 2.0) as f32,
        x2: (x + dx / 2.0) as f32,
        y2: (y + dy / 2.0) as f32,
    };
    let outside = || {
        format!(
            "the box ({}, {}, {}, {}) is outside the picture",
            b.x1, b.y1, b.x2, b.y2
        )
    };
    let bbox = match box_defect(&b) {
        Some(defect) => Err(defect),
        None => clip_box(&b, image.height, image.width).ok_or_else(outside),
    };
    let bbox = bbox.map_err(|what| {
        let (w, h) = (image.width, image.height);
        Error::new(Code::BadBox, what)
            .at(format!("{place}, box {number}"))
            .help(format!(
                "the picture has {w} x {h} pixels: fetch the file again, or take it out of the set"
            ))
    })?;
    Ok(Object {
        class,
        bbox,
        ignore: false,
    })
}
