//! Which method a configuration asks for.

use super::config::Method;
use super::session::Session;
use super::{constraint, darts, given, p_darts, pipeline, random_search};
use crate::error::Result;
use crate::report::records::EvalRecord;

/// Runs the configured method to its end and returns the evaluation of the network it found.
///
/// # Errors
/// Those of its stages; `Interrupted` when a stop was asked for.
pub fn run(session: &mut Session) -> Result<EvalRecord> {
    constraint::check(&session.config)?;
    match session.config.search.method {
        Method::Mtnas => pipeline::run(session),
        Method::Darts | Method::PcDarts | Method::DartsPlus => darts::run(session),
        Method::PDarts => p_darts::run(session),
        Method::Random => random_search::run(session),
        Method::Given => given::run(session),
    }
}
