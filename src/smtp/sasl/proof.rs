//! What a client answered to a challenge of ours, by mechanism: whether it is right is for who keeps the passwords.

#[cfg(feature = "ntlm")]
use crate::smtp::sasl::ntlm::server::Answer;

/// The answer.
#[derive(Clone, Debug)]
pub enum Proof {
    /// CRAM-MD5 (RFC 2195 s2).
    Cram {
        /// As it was sent.
        challenge: String,
        /// As given, in lower case.
        digest: String,
    },
    /// NTLMv2.
    #[cfg(feature = "ntlm")]
    Ntlm(Box<Answer>),
}
