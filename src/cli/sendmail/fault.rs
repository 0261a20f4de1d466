//! Why `sendmail` sent nothing: as a sentence and as an exit code.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::base::limits;
use crate::cli::load;
use crate::cli::sysexits;
use crate::mail::list::BadEntry;

/// Why nothing was sent.
#[derive(Debug)]
pub enum Fault {
    /// An argument that makes no sense.
    Usage(String),
    /// An address among the arguments that cannot be read.
    Address(BadEntry),
    /// An address in the header that cannot be read.
    HeaderAddress(BadEntry),
    /// `-t`, and nobody in To, Cc or Bcc.
    NoRecipient,
    /// `-t`, and a header that is larger than is read.
    HeaderTooLarge,
    /// More recipients than a message may have.
    TooMany,
    /// Standard input cannot be read.
    Input(io::Error),
    /// The pickup folder cannot be written to.
    Output(PathBuf, io::Error),
    /// The configuration cannot be used.
    Config(load::Stop),
}

impl Fault {
    /// The exit code, from sysexits.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => sysexits::USAGE,
            Self::Address(_) => sysexits::NOUSER,
            Self::HeaderAddress(_) | Self::NoRecipient | Self::HeaderTooLarge | Self::TooMany => {
                sysexits::DATAERR
            }
            Self::Input(_) => sysexits::IOERR,
            Self::Output(_, err) => match err.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => sysexits::CONFIG,
                io::ErrorKind::PermissionDenied => sysexits::NOPERM,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => sysexits::TEMPFAIL,
                io::ErrorKind::ReadOnlyFilesystem => sysexits::CANTCREAT,
                _ => sysexits::IOERR,
            },
            Self::Config(stop) => stop.code(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) => f.write_str(why),
            Self::Address(bad) => bad.fmt(f),
            Self::HeaderAddress(bad) => write!(f, "nothing was sent: {bad}"),
            Self::NoRecipient => f.write_str(
                "nothing was sent: with -t the recipients stand in To, Cc or Bcc, and there are none",
            ),
            Self::HeaderTooLarge => write!(
                f,
                "nothing was sent: with -t the header may have {} bytes; name the recipients as arguments",
                limits::HEADER_BLOCK
            ),
            Self::TooMany => write!(
                f,
                "nothing was sent: a message may have {} recipients",
                limits::RECIPIENTS
            ),
            Self::Input(err) => {
                write!(f, "nothing was sent: cannot read standard input: {err}")
            }
            Self::Output(path, err) => {
                write!(f, "nothing was sent: cannot write to {}: {err}", path.display())?;
                match err.kind() {
                    io::ErrorKind::NotFound => {
                        f.write_str("; start the service once, or name its folder with --home")
                    }
                    io::ErrorKind::PermissionDenied => {
                        f.write_str("; the folder should have mode 1733 and be reachable")
                    }
                    _ => Ok(()),
                }
            }
            Self::Config(stop) => stop.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

impl From<lexopt::Error> for Fault {
    fn from(err: lexopt::Error) -> Self {
        Self::Usage(err.to_string())
    }
}
