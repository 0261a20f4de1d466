//! `mailroot version`: the version, the commit it was built from where that is known, and the day of the build.

use std::io::Write;
use std::process::ExitCode;

use crate::base::Wall;
use crate::cli::sysexits;

/// Runs it.
pub fn run() -> ExitCode {
    match writeln!(std::io::stdout().lock(), "{}", line()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(sysexits::IOERR),
    }
}

/// `mailroot 0.1.0 (0123456789ab, 2026-11-22)`.
pub fn line() -> String {
    let built = env!("MAILROOT_BUILD_EPOCH").parse().unwrap_or(0);
    let day = Wall::from_secs(built).to_string();
    let day = day.split('T').next().unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    match env!("MAILROOT_COMMIT") {
        "" => format!("mailroot {version} ({day})"),
        commit => format!("mailroot {version} ({commit}, {day})"),
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn it_names_the_version_and_a_day() {
        let line = line();
        assert!(line.starts_with(concat!("mailroot ", env!("CARGO_PKG_VERSION"), " (")));
        assert!(line.contains("-") && line.ends_with(')') && !line.contains('T'));
    }
}
