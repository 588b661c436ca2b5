//! What a run leaves behind for people: the records of its logs and the page that shows them.

mod cell;
mod chart;
pub mod contact;
pub mod delta;
pub mod dot;
pub mod draw;
#[cfg(test)]
mod fabricate;
pub mod font;
mod from_metrics;
mod heat;
mod history;
mod layout;
mod lines;
#[cfg(test)]
mod mutation_tests;
mod number;
pub mod overlay;
mod page;
pub mod palette;
pub mod picture;
pub mod records;
mod results;
mod run;
pub mod samples;
mod svg;
mod thin;

pub use page::{render, write};
pub use run::Run;
