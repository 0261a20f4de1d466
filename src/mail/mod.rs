//! The vocabulary of mail: addresses, envelopes, outcomes, status codes, the header walk, trace fields, reports.
//!
//! Everything here is plain values. A type that exists holds a good value: raw text is parsed once, at the door,
//! and only what was parsed can be printed into a command, a header or a file name.

pub mod adapt;
pub mod address;
pub mod date;
pub mod dkim;
pub mod domain;
pub mod envelope;
pub mod header;
pub mod idna;
pub mod list;
pub mod outcome;
pub mod redate;
pub mod report;
pub mod status;
pub mod trace;
pub mod words;
pub mod xtext;

pub use address::Address;
pub use domain::Domain;
pub use envelope::Envelope;
pub use envelope::Recipient;
pub use outcome::Outcome;
pub use outcome::Reason;
pub use status::Status;
