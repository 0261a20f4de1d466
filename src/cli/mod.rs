//! The command line: one file per command; nothing but arguments, text and exit codes.

pub mod check;
pub mod config;
pub mod help;
pub mod init;
pub mod load;
pub mod mail;
pub mod sendmail;
pub mod sysexits;
pub mod version;

use std::process::ExitCode;

/// Runs the command that the program's name and arguments ask for.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
