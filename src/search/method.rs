//! Which method a configuration asks for.

use super::config::Method;
use super::session::Session;
use super::{constraint, darts, given, p_darts, pipeline, random_search, signals};
use crate::error::{Code, Error, Result};
use crate::report::records::{EvalRecord, Status};

/// Runs the configured method to its end and returns the evaluation of the network it found.
///
/// # Errors
/// Those of its stages; `Interrupted` when a stop was asked for.
pub fn run(session: &mut Session) -> Result<EvalRecord> {
    constraint::check(&session.config)?;
    let result = match session.config.search.method {
        Method::Mtnas => pipeline::run(session),
        Method::Darts | Method::PcDarts | Method::DartsPlus => darts::run(session),
        Method::PDarts => p_darts::run(session),
        Method::Random => random_search::run(session),
        Method::Given => given::run(session),
    };
    result.map_err(|e| stopped(session, e))
}

/// An error of a run; of one that was stopped before its first step, while its data were packed, the run notes it and says how to go on.
fn stopped(session: &mut Session, e: Error) -> Error {
    if e.code() != Code::Interrupted {
        return e;
    }
    if let Err(other) = session.dir.set_status(Status::Interrupted) {
        return other;
    }
    let path = session.dir.path();
    e.at(path.display()).help(signals::go_on(path))
}
