//! Why an installation ends early.

use std::io;
use std::path::Path;

use crate::cli::load::Stop;

/// Why it ended early.
#[derive(Debug)]
pub enum Failure {
    /// Wrong arguments, or a configuration with mistakes.
    Stop(Stop),
    /// The reason as a sentence.
    Refused(String),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::Stop(error.into())
    }
}

/// The system refused this step.
pub fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Refused(format!("cannot {what}: {error}"))
}

/// The system refused this step on this file.
pub fn failed_at<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> Failure + use<'a> {
    move |error| Failure::Refused(format!("cannot {what} {}: {error}", path.display()))
}
