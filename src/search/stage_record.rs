//! `stages/NAME/stage.json`, read back: the genotypes that a finished stage hands on.

use std::path::Path;

use super::networks::genotype;
use super::stage::Outcome;
use crate::error::{Code, Error, Result};
use crate::report::records::{StageRecord, read_file};
use crate::space::Genotype;

/// How a damaged record is mended.
const HELP: &str = "delete stage.json: the stage takes up its last checkpoint and writes it again";

/// Reads the record of a finished stage.
///
/// # Errors
/// `BadLine` for a file that is not one, `BadGenotype` for a genotype in it that does not parse; both name the file.
pub fn read_stage(path: &Path) -> Result<StageRecord> {
    let record: StageRecord = read_file(path)?;
    for (group, text) in &record.genotypes {
        genotype(text).map_err(|e| {
            e.within(format!("{}: genotypes.{group}", path.display()))
                .help(HELP)
        })?;
    }
    Ok(record)
}

impl Outcome {
    /// The genotype that the stage found for `group`.
    ///
    /// # Errors
    /// `BadCheckpoint` for a record without it, `BadGenotype` for text that does not parse.
    pub fn genotype(&self, group: &str) -> Result<Genotype> {
        let place = format!("stages/{}/stage.json", self.record.stage);
        match self.record.genotypes.get(group) {
            Some(text) => genotype(text).map_err(|e| e.within(place).help(HELP)),
            None => Err(Error::new(
                Code::BadCheckpoint,
                format!("the record of the stage has no genotype of `{group}`"),
            )
            .at(place)
            .help(HELP)),
        }
    }
}
