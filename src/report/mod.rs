//! What a run leaves behind for people: the records of its logs and the page that shows them.

pub mod draw;
#[cfg(test)]
mod fabricate;
pub mod font;
mod number;
pub mod palette;
pub mod records;
mod run;
pub mod samples;
mod svg;

pub use run::Run;

#[cfg(test)]
mod look {
    use super::*;
    use std::path::Path;

    /// Writes pictures to look at into `target/look`.
    #[test]
    #[ignore = "for people: writes files to look at"]
    fn pictures() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/look");
        samples::write(&dir, &fabricate::samples()).unwrap();
    }
}
