//! GSSAPI (RFC 4752) on the server's side, with Kerberos V5 (RFC 4120, RFC 4121) as its one mechanism: a client shows a
//! ticket for the service `smtp` of this host, made with a key that the keytab has too. Nobody is asked.
//!
//! Limits: the encryption types are those of AES (RFC 3962, RFC 8009), never DES or RC4; of the security layers there
//! is only none, as there is TLS; no channel binding, no delegation, no SPNEGO. A token that does not fit in a line of
//! SASL (some 9,000 bytes: a user in hundreds of Windows groups) is refused.

pub mod accept;
pub mod cipher;
mod der;
pub mod keytab;
pub mod layer;
pub mod messages;
pub mod replay;
