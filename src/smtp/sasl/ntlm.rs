//! NTLM (MS-NLMP) as SMTP carries it (MS-SMTPNTLM), both sides, and of its versions only NTLMv2: a message of the
//! client, the server's challenge, the client's answer.
//!
//! It is built on MD4 and MD5, what a server keeps of a password is as good as the password, and whoever listens can
//! guess weak ones. It is here because Windows programs and Exchange on the premises speak it.
//!
//! Limits: no signing and sealing, which SMTP does not use, and no channel binding: a peer with "extended protection"
//! is refused by Exchange, and not told apart by us.

pub mod client;
mod message;
pub mod server;
