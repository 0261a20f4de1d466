//! The command line: one file per command; nothing but arguments, text and exit codes.

use std::process::ExitCode;

/// Runs the command that the program's name and arguments ask for.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
