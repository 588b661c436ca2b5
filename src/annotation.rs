//! What data yields and tasks and metrics read: images, boxes, label maps. A leaf: it depends on nothing.

/// An 8-bit RGB image, rows first, interleaved: `data[(y * width + x) * 3 + channel]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width * 3` bytes, R G B.
    pub data: Vec<u8>,
}

/// An axis-aligned box in pixels, edges at `x1 <= x < x2`; the pixel (0, 0) covers [0, 1) x [0, 1).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BBox {
    /// Left edge.
    pub x1: f32,
    /// Top edge.
    pub y1: f32,
    /// Right edge.
    pub x2: f32,
    /// Bottom edge.
    pub y2: f32,
}

impl BBox {
    /// Width times height; 0 for an inverted box.
    pub fn area(&self) -> f32 {
        (self.x2 - self.x1).max(0.0) * (self.y2 - self.y1).max(0.0)
    }
}

/// One labelled object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Object {
    /// Index in the data set's list of detection classes (0 is the first class, there is no background entry).
    pub class: usize,
    /// Where, in pixels of the image that it belongs to.
    pub bbox: BBox,
    /// True for objects that metrics neither reward nor punish (VOC `difficult`, KITTI `DontCare`, COCO crowd).
    pub ignore: bool,
}

/// An object as the official KITTI evaluation sees it, with facts of its label line that no other protocol asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KittiTruth {
    /// What it is to which class.
    pub role: KittiRole,
    /// Its box as labelled, in pixels of the picture itself whatever size a network sees.
    pub bbox: BBox,
    /// Share of the object outside the picture, 0 to 1.
    pub truncated: f32,
    /// 0 visible, 1 partly, 2 largely occluded, 3 unknown.
    pub occluded: i32,
}

/// What an object of KITTI is to a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KittiRole {
    /// An object of this class.
    Object(usize),
    /// Of a class so near to this one that finding it is neither right nor wrong (`Van` to car).
    Neighbour(usize),
    /// A region in which nothing was labelled; for all classes.
    DontCare,
}

/// One detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Index of the class, as in [`Object::class`].
    pub class: usize,
    /// Confidence in [0, 1].
    pub score: f32,
    /// Where, in pixels of the image that it belongs to.
    pub bbox: BBox,
}

/// A dense map of class ids, row-major; 255 means ignore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `height * width` class ids.
    pub data: Vec<u8>,
}

/// The class id of pixels that no loss and no metric looks at.
pub const IGNORE: u8 = 255;

/// What is known of one image.
#[derive(Debug, Clone, PartialEq)]
pub enum Annotation {
    /// Boxes (detection).
    Objects(Vec<Object>),
    /// Class of every pixel (segmentation).
    Labels(LabelMap),
    /// One class for the whole image (classification).
    Class(usize),
}
