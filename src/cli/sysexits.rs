//! Exit codes that programs which call a mailer know (sysexits.h).

/// It worked.
pub const OK: u8 = 0;
/// The arguments make no sense.
pub const USAGE: u8 = 64;
/// What came in makes no sense.
pub const DATAERR: u8 = 65;
/// An input file cannot be read.
pub const NOINPUT: u8 = 66;
/// An address cannot be read.
pub const NOUSER: u8 = 67;
/// The service does not run, or would not.
pub const UNAVAILABLE: u8 = 69;
/// A fault of ours.
pub const SOFTWARE: u8 = 70;
/// An output file cannot be made.
pub const CANTCREAT: u8 = 73;
/// Reading or writing failed.
pub const IOERR: u8 = 74;
/// It may work later.
pub const TEMPFAIL: u8 = 75;
/// We may not.
pub const NOPERM: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
