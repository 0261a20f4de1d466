//! Takes finished files out of the pickup folder: scan and claim. [`crate::disk::letter`] reads them.
//!
//! Trust: the folder is writable by every program on the box, so names, owners and contents are hostile. Links,
//! pipes, devices and files with a second name are left alone. Never: removes a file before its message is in the
//! journal (promise G1). The contract with the programs that write there is PICKUP.md.
//!
//! The order that keeps the promise, for the caller: [`claim`] (many), sync sorttemp once
//! ([`crate::disk::folders::sync_folder`]; without it a power cut can bring a file back under its old name after its
//! message was journaled), journal, then [`Claim::finish`]. At start [`leftovers`] lists the claims that a crash left;
//! those whose id the journal does not know go through [`reopen`].

mod across;
mod claim;
mod rules;
mod scan;

pub use across::mend;
pub use claim::Claim;
pub use claim::claim;
pub use claim::forget;
pub use claim::leftovers;
pub use claim::reopen;
pub use claim::shown;
pub use rules::Dots;
pub use rules::Left;
pub use rules::OWN_SUFFIX;
pub use rules::Rules;
pub use rules::is_ready;
pub use scan::Scanner;
pub use scan::Step;
