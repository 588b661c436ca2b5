//! What a run leaves behind for people: the records of its logs and the page that shows them.

mod cell;
mod chart;
pub mod draw;
#[cfg(test)]
mod fabricate;
pub mod font;
mod from_metrics;
mod heat;
mod history;
mod layout;
mod lines;
mod number;
pub mod overlay;
mod page;
pub mod palette;
pub mod records;
mod results;
mod run;
pub mod samples;
mod svg;
mod thin;

pub use page::{render, write};
pub use run::Run;

#[cfg(test)]
mod look {
    use super::*;
    use std::path::Path;

    /// Writes a made-up run, its report and its pictures into `target/look`.
    #[test]
    #[ignore = "for people: writes files to look at"]
    fn at_a_made_up_run() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/look");
        fabricate::run(&dir.join("driving"));
        write(&dir.join("driving"), &dir.join("report.html")).unwrap();
        fabricate::tiny(&dir.join("tiny"));
        write(&dir.join("tiny"), &dir.join("tiny.html")).unwrap();
    }
}
