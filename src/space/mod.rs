//! What may be searched: primitives, cells, mixed operations, genotypes. It knows no task.

pub mod candidates;
pub mod config;
pub mod derive;
pub mod genotype;
pub mod genotype_document;
mod genotype_lexer;
mod genotype_parser;
pub mod genotype_text;
pub mod primitive;
pub mod published;
pub mod random;

pub use candidates::Candidates;
pub use derive::CellLogits;
pub use genotype::{CellGenotype, EDGES, Genotype, NODES, NetworkGenotype, SkipRule};
pub use primitive::{PRIMITIVES, Primitive};
