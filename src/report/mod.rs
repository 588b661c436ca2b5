//! What a run leaves behind for people: the records of its logs and the page that shows them.

mod number;
pub mod records;
