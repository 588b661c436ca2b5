//! Ctrl-C and SIGTERM: the first asks the search to stop after a checkpoint, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::data::packed::build::stop_packing;
use crate::error::{Code, Error, Result};

/// A wish to stop, shared between a signal handler and a loop that looks at it once a step.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens to Ctrl-C and SIGTERM from now on; once in a process.
    ///
    /// # Errors
    /// `Internal` if the handler cannot be installed.
    pub fn on_signals() -> Result<Stop> {
        let stop = Stop::default();
        let seen = stop.clone();
        ctrlc::set_handler(move || {
            if seen.0.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            stop_packing();
            eprintln!("\nstopping after a checkpoint; once more to stop at once");
        })
        .map_err(|e| Error::new(Code::Internal, format!("no handler for signals: {e}")))?;
        Ok(stop)
    }

    /// Asks for the stop, as the first signal does.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// True once a stop was asked for.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a run that was stopped on request ends with: how to go on, and exit status 75.
pub fn interrupted(run: &std::path::Path) -> Error {
    Error::new(
        Code::Interrupted,
        "stopped on request, a checkpoint is saved",
    )
    .at(run.display())
    .help(go_on(run))
}

/// How to go on with a run that was stopped.
pub fn go_on(run: &std::path::Path) -> String {
    format!("go on with: mtnas resume {}", run.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_wish() {
        let stop = Stop::default();
        let other = stop.clone();
        assert!(!other.requested());
        stop.request();
        assert!(other.requested());
        let e = interrupted(std::path::Path::new("runs/a"));
        assert_eq!(e.code().exit(), 75);
        assert!(e.render().contains("mtnas resume runs/a"));
    }
}
