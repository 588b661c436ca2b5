//! What data yields and tasks and metrics read: images, boxes, label maps, maps of values. A leaf: it depends on nothing.

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

/// How the components of normals are coded (systems.md 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NormalSpace {
    /// Components of -1 to 1: angles are angles between surfaces.
    #[default]
    True,
    /// Components as files store them, offset to 0 to 1, hence all positive: angles come out far smaller. The published NYUv2 tables
    /// are in this space.
    Encoded,
}

/// What the values of a [`ValueMap`] say about a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Distance in metres or the unit of the data set (Cityscapes: disparity in pixels), one plane.
    Depth,
    /// Surface normal, three planes: x to the right, y, z.
    Normals(NormalSpace),
    /// Strength of a 2-D keypoint, one plane.
    Keypoints,
    /// Strength of a texture edge, one plane.
    Edges,
}

impl Quantity {
    /// Planes of a map of it.
    pub fn planes(self) -> usize {
        match self {
            Quantity::Normals(_) => 3,
            _ => 1,
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::Depth => "depth",
            Quantity::Normals(_) => "normals",
            Quantity::Keypoints => "keypoints",
            Quantity::Edges => "edges",
        }
    }
}

/// Real values for every pixel.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueMap {
    /// What the values are.
    pub quantity: Quantity,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// `planes * height * width` finite values, plane after plane; 0 where nothing is known.
    pub data: Vec<f32>,
    /// `height * width` flags; no loss and no metric looks at a pixel that is not valid.
    pub valid: Vec<bool>,
}

impl ValueMap {
    /// A map of which nothing is known.
    pub fn unknown(quantity: Quantity, height: usize, width: usize) -> ValueMap {
        ValueMap {
            quantity,
            height,
            width,
            data: vec![0.0; quantity.planes() * height * width],
            valid: vec![false; height * width],
        }
    }
}

/// What is known of one image.
#[derive(Debug, Clone, PartialEq)]
pub enum Annotation {
    /// Boxes (detection).
    Objects(Vec<Object>),
    /// Class of every pixel (segmentation).
    Labels(LabelMap),
    /// One class for the whole image (classification).
    Class(usize),
    /// Values for every pixel (depth, normals, keypoints, edges).
    Values(ValueMap),
    /// Several of the above for the same picture, none of them joint (NYUv2: classes, normals and depth).
    Joint(Vec<Annotation>),
}

impl Annotation {
    /// Every target: the parts of a joint annotation, or the annotation itself.
    pub fn parts(&self) -> &[Annotation] {
        match self {
            Annotation::Joint(parts) => parts,
            one => std::slice::from_ref(one),
        }
    }

    /// The annotation of several targets; of one, that one.
    pub fn of_parts(mut parts: Vec<Annotation>) -> Annotation {
        match parts.len() {
            1 => parts.remove(0),
            _ => Annotation::Joint(parts),
        }
    }
}
