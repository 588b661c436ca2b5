//! A made-up run, for the tests of the report: plausible records of a whole MTNAS search, without any search.

mod records;
mod results;
mod scene;

pub use records::{run, tiny};
pub use results::eval;
pub use scene::samples;

/// Detection classes of the made-up data.
pub const DET: [&str; 3] = ["car", "pedestrian", "cyclist"];
/// Segmentation classes of the made-up data.
pub const SEG: [&str; 9] = [
    "road",
    "sidewalk",
    "building",
    "pole",
    "traffic sign",
    "vegetation",
    "sky",
    "person",
    "car",
];
