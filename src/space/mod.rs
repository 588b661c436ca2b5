//! What may be searched: primitives, cells, mixed operations, genotypes. It knows no task.

pub mod arch;
pub mod candidates;
pub mod cell;
pub mod config;
pub mod derive;
pub mod derived_cell;
pub mod expected;
pub mod genotype;
pub mod genotype_diff;
pub mod genotype_document;
mod genotype_json;
mod genotype_lexer;
mod genotype_parser;
pub mod genotype_text;
pub mod mixed_op;
pub mod mutate;
#[cfg(test)]
mod mutation_tests;
pub mod operation;
pub mod primitive;
pub mod published;
pub mod random;
pub mod search_cell;

pub use arch::{ArchGroup, ArchOptions, Mixture};
pub use candidates::Candidates;
pub use cell::{Cell, CellKind, CellSite, Preprocess};
pub use derive::CellLogits;
pub use derived_cell::DropPath;
pub use genotype::{CellGenotype, EDGES, Genotype, NODES, NetworkGenotype, SkipRule};
pub use primitive::{PRIMITIVES, Primitive};
