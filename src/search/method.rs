//! Which method a configuration asks for.

use super::config::Method;
use super::pipeline;
use super::session::Session;
use crate::error::{Code, Error, Result};
use crate::report::records::EvalRecord;

/// Runs the configured method to its end and returns the evaluation of the network it found.
///
/// # Errors
/// Those of its stages; `Interrupted` when a stop was asked for.
pub fn run(session: &mut Session) -> Result<EvalRecord> {
    match session.config.search.method {
        Method::Mtnas => pipeline::run(session),
        other => Err(Error::new(
            Code::ConfigValue,
            format!("`search.method`: \"{other}\" cannot be run yet"),
        )
        .help("use \"mtnas\"")),
    }
}
