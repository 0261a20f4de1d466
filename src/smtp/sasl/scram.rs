//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), both sides: the password never crosses the wire, and
//! the server keeps only what cannot be used to log in elsewhere. PLUS ties the login to the TLS connection, so that
//! nobody in the middle can pass it on. As a client also SCRAM-SHA-1, for older servers.
//!
//! Limits: `tls-exporter` (RFC 9266) is the only channel binding, and passwords outside ASCII are taken as they are,
//! without SASLprep.

use std::fmt;
use std::fmt::Write;
use std::num::NonZeroU32;

use ring::digest;
use ring::hmac;
use ring::pbkdf2;

use crate::base::limits;
use crate::smtp::sasl::codec;

const KEY: usize = 32;

/// The `tls-exporter` value of a connection (RFC 9266 s2): the same at both ends, and nowhere else.
pub type Exporter = [u8; 32];

/// What one side makes of the TLS connection underneath (RFC 5802 s6).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// There is none to bind to: the flag is `n`.
    None,
    /// We could and the peer does not offer it: the client's flag is `y`. A server that did offer it, and finds this
    /// flag, knows that somebody cut its offer.
    Unused,
    /// The mechanism is PLUS: the flag is `p`.
    Used(Exporter),
}

/// Shows no key material.
impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Unused => "Unused",
            Self::Used(_) => "Used(secret)",
        })
    }
}

impl Binding {
    /// The first part of the client's first message.
    fn flag(&self) -> &'static str {
        match self {
            Self::None => "n",
            Self::Unused => "y",
            Self::Used(_) => "p=tls-exporter",
        }
    }

    /// The value of `c=`: the header, and behind it what is bound to, in base64.
    fn input(&self, gs2: &str) -> String {
        match self {
            Self::None | Self::Unused => codec::encode(gs2.as_bytes()),
            Self::Used(exporter) => codec::encode(&[gs2.as_bytes(), exporter].concat()),
        }
    }
}

/// What a server keeps of a password (RFC 5803): enough to check it, not enough to use it.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    stored_key: [u8; KEY],
    server_key: [u8; KEY],
}

/// Shows nothing: it is as good as a password to who can ask a server often.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(secret)")
    }
}

/// The text is not a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAVerifier;

impl Verifier {
    /// Computes it from a password. This takes a while: `rounds` hashes, 4,096 or more.
    pub fn derive(password: &str, salt: &[u8], rounds: NonZeroU32) -> Self {
        let salted = salted(password, salt, rounds);
        Self {
            rounds,
            salt: salt.to_vec(),
            stored_key: hash(&mac(&salted, b"Client Key")),
            server_key: mac(&salted, b"Server Key"),
        }
    }

    /// One for a user that does not exist: nothing matches it, and asking twice gives the same salt, made from a
    /// `secret` of this server, so that the answer does not tell who exists.
    pub fn decoy(name: &str, secret: &[u8]) -> Self {
        let made = mac(secret, name.as_bytes());
        Self {
            rounds: NonZeroU32::MIN.saturating_add(*limits::SCRAM_ROUNDS.start() - 1),
            salt: made.iter().copied().take(16).collect(),
            stored_key: mac(&made, b"stored"),
            server_key: mac(&made, b"server"),
        }
    }

    /// Reads `SCRAM-SHA-256$<rounds>:<salt>$<stored key>:<server key>`, the form PostgreSQL uses as well.
    pub fn parse(text: &str) -> Result<Self, NotAVerifier> {
        let mut parts = text.splitn(3, '$');
        let (scheme, cost, keys) = (parts.next(), parts.next(), parts.next());
        let (rounds, salt) = cost.and_then(|c| c.split_once(':')).ok_or(NotAVerifier)?;
        let (stored, server) = keys.and_then(|k| k.split_once(':')).ok_or(NotAVerifier)?;
        let bytes = |text: &str| codec::decode(text.as_bytes()).map_err(|_| NotAVerifier);
        let key = |text| <[u8; KEY]>::try_from(bytes(text)?).map_err(|_| NotAVerifier);
        let rounds: NonZeroU32 = rounds.parse().map_err(|_| NotAVerifier)?;
        if scheme != Some("SCRAM-SHA-256") || !limits::SCRAM_ROUNDS.contains(&rounds.get()) {
            return Err(NotAVerifier);
        }
        Ok(Self {
            rounds,
            salt: bytes(salt)?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// The text form; not `Display`, so that it is never printed by accident.
    pub fn to_text(&self) -> String {
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.rounds,
            codec::encode(&self.salt),
            codec::encode(&self.stored_key),
            codec::encode(&self.server_key)
        )
    }

    /// Whether this is the password, for PLAIN and LOGIN. Takes as long as [`Verifier::derive`].
    pub fn check(&self, password: &str) -> bool {
        let salted = salted(password, &self.salt, self.rounds);
        same(&hash(&mac(&salted, b"Client Key")), &self.stored_key)
    }
}

/// Why an exchange ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramFault {
    /// A message that cannot be read.
    Syntax,
    /// The peer wants what we do not do: another channel binding, an extension, acting for another user, too few or
    /// too many rounds.
    Unsupported,
    /// The proof does not match: a wrong password, a server that does not know it, or two ends of different
    /// connections.
    Proof,
}

impl fmt::Display for ScramFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "the SCRAM message cannot be read",
            Self::Unsupported => "the SCRAM message asks for something unsupported",
            Self::Proof => "the SCRAM proof does not match",
        })
    }
}

/// What a client's SCRAM is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SCRAM-SHA-1.
    Sha1,
    /// SCRAM-SHA-256.
    Sha256,
}

impl Hash {
    fn salted(self, password: &str, salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, KEY),
        };
        let mut out = vec![0; length];
        pbkdf2::derive(algorithm, rounds, salt, password.as_bytes(), &mut out);
        out
    }

    fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        let key = hmac::Key::new(algorithm, key);
        hmac::sign(&key, text).as_ref().to_vec()
    }

    fn hash(self, text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, text).as_ref().to_vec()
    }
}

/// The client's side, after its first message.
#[derive(Debug)]
pub struct ScramClient {
    hash: Hash,
    first_bare: String,
    nonce: String,
    /// The value of `c=`.
    bound: String,
}

impl ScramClient {
    /// Begins; `nonce` is fresh random text of printable ASCII without commas. Also gives the first message.
    pub fn begin(hash: Hash, name: &str, nonce: &str, binding: Binding) -> (Self, String) {
        let name = name.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={name},r={nonce}");
        let gs2 = format!("{},,", binding.flag());
        let message = format!("{gs2}{first_bare}");
        let client = Self {
            hash,
            first_bare,
            nonce: nonce.to_owned(),
            bound: binding.input(&gs2),
        };
        (client, message)
    }

    /// Answers the server's first message: the final message, and what the server must then say.
    pub fn answer(
        &self,
        server_first: &str,
        password: &str,
    ) -> Result<(String, String), ScramFault> {
        let mut fields = server_first.split(',');
        let mut field = |key| {
            fields
                .next()
                .and_then(|f| f.strip_prefix(key))
                .ok_or(ScramFault::Syntax)
        };
        let (nonce, salt, rounds) = (field("r=")?, field("s=")?, field("i=")?);
        // RFC 5802 s5.1: the client MUST verify that its own nonce opens the combined one.
        if !nonce.starts_with(&self.nonce) || nonce.len() <= self.nonce.len() {
            return Err(ScramFault::Proof);
        }
        let salt = codec::decode(salt.as_bytes()).map_err(|_| ScramFault::Syntax)?;
        let rounds: NonZeroU32 = rounds.parse().map_err(|_| ScramFault::Syntax)?;
        if !limits::SCRAM_ROUNDS.contains(&rounds.get()) {
            return Err(ScramFault::Unsupported);
        }
        let hash = self.hash;
        let salted = hash.salted(password, &salt, rounds);
        let key = hash.mac(&salted, b"Client Key");
        let bare_final = format!("c={},r={nonce}", self.bound);
        let said = format!("{},{server_first},{bare_final}", self.first_bare);
        let mask = hash.mac(&hash.hash(&key), said.as_bytes());
        let proof: Vec<u8> = key.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        let server = hash.mac(&hash.mac(&salted, b"Server Key"), said.as_bytes());
        let message = format!("{bare_final},p={}", codec::encode(&proof));
        Ok((message, format!("v={}", codec::encode(&server))))
    }
}

/// The server's side, after the client's first message.
#[derive(Debug)]
pub struct ScramServer {
    name: String,
    /// The value of `c=` that has to follow.
    bound: String,
    first_bare: String,
    client_nonce: String,
}

/// The server's side, after its own first message.
#[derive(Debug)]
pub struct ScramProof {
    said: String,
    bound: String,
    nonce: String,
    verifier: Verifier,
}

impl ScramServer {
    /// Reads the client's first message. With PLUS `binding` is what it has to bind to; without, whether PLUS was
    /// offered.
    pub fn begin(message: &str, binding: Binding) -> Result<Self, ScramFault> {
        let (flag, rest) = message.split_once(',').ok_or(ScramFault::Syntax)?;
        let (identity, bare) = rest.split_once(',').ok_or(ScramFault::Syntax)?;
        match (flag, binding) {
            ("n", Binding::None | Binding::Unused) | ("y", Binding::None) => {}
            // RFC 5802 s6: "If the flag is set to "y" and the server supports channel binding, the server MUST fail
            // authentication": what the client saw is not what we offered.
            ("y", Binding::Unused) => return Err(ScramFault::Proof),
            (flag, Binding::Used(_)) if flag == binding.flag() => {}
            _ => return Err(ScramFault::Unsupported),
        }
        let mut fields = bare.split(',');
        let name = fields.next().and_then(|f| f.strip_prefix("n="));
        let name = unescape(name.ok_or(ScramFault::Syntax)?)?;
        let nonce = fields.next().and_then(|f| f.strip_prefix("r="));
        let nonce = nonce.ok_or(ScramFault::Syntax)?;
        if name.is_empty() || nonce.is_empty() || name.len() > limits::CREDENTIAL {
            return Err(ScramFault::Syntax);
        }
        if !identity.is_empty() {
            let same = identity.strip_prefix("a=").map(unescape);
            if same != Some(Ok(name.clone())) {
                return Err(ScramFault::Unsupported);
            }
        }
        Ok(Self {
            bound: binding.input(&format!("{flag},{identity},")),
            first_bare: bare.to_owned(),
            client_nonce: nonce.to_owned(),
            name,
        })
    }

    /// Who wants to log in.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server's first message.
    pub fn challenge(self, verifier: Verifier, nonce: &str) -> (ScramProof, String) {
        let nonce = format!("{}{nonce}", self.client_nonce);
        let salt = codec::encode(&verifier.salt);
        let message = format!("r={nonce},s={salt},i={}", verifier.rounds);
        let proof = ScramProof {
            said: format!("{},{message}", self.first_bare),
            bound: self.bound,
            nonce,
            verifier,
        };
        (proof, message)
    }
}

impl ScramProof {
    /// Reads the client's final message; gives the server's.
    pub fn check(&self, message: &str) -> Result<String, ScramFault> {
        let (bare, proof) = message.rsplit_once(",p=").ok_or(ScramFault::Syntax)?;
        let mut fields = bare.split(',');
        let binding = fields.next().and_then(|f| f.strip_prefix("c="));
        let nonce = fields.next().and_then(|f| f.strip_prefix("r="));
        // RFC 5802 s6: "the server MUST fail" when this is not the connection it sees itself.
        if binding.ok_or(ScramFault::Syntax)? != self.bound {
            return Err(ScramFault::Proof);
        }
        if nonce.ok_or(ScramFault::Syntax)? != self.nonce {
            return Err(ScramFault::Proof);
        }
        let proof = codec::decode(proof.as_bytes()).map_err(|_| ScramFault::Syntax)?;
        let proof = <[u8; KEY]>::try_from(proof).map_err(|_| ScramFault::Syntax)?;
        let said = format!("{},{bare}", self.said);
        let key = xor(proof, mac(&self.verifier.stored_key, said.as_bytes()));
        if !same(&hash(&key), &self.verifier.stored_key) {
            return Err(ScramFault::Proof);
        }
        let server = mac(&self.verifier.server_key, said.as_bytes());
        Ok(format!("v={}", codec::encode(&server)))
    }
}

/// `=2C` and `=3D` as they were (RFC 5802 s5.1); any other `=` is an error.
fn unescape(name: &str) -> Result<String, ScramFault> {
    let mut out = String::new();
    let mut parts = name.split('=');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (c, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(ScramFault::Syntax),
        };
        write!(out, "{c}{rest}").map_err(|_| ScramFault::Syntax)?;
    }
    Ok(out)
}

fn salted(password: &str, salt: &[u8], rounds: NonZeroU32) -> [u8; KEY] {
    let mut out = [0; KEY];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(algorithm, rounds, salt, password.as_bytes(), &mut out);
    out
}

fn mac(key: &[u8], text: &[u8]) -> [u8; KEY] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    fixed(hmac::sign(&key, text).as_ref())
}

fn hash(text: &[u8]) -> [u8; KEY] {
    fixed(digest::digest(&digest::SHA256, text).as_ref())
}

/// Both hashes are of this length.
fn fixed(bytes: &[u8]) -> [u8; KEY] {
    bytes.first_chunk::<KEY>().copied().unwrap_or([0; KEY])
}

fn xor(mut a: [u8; KEY], b: [u8; KEY]) -> [u8; KEY] {
    for (a, b) in a.iter_mut().zip(b) {
        *a ^= b;
    }
    a
}

/// Compares without telling by its time where the difference lies.
fn same(a: &[u8; KEY], b: &[u8; KEY]) -> bool {
    a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::{Binding, Hash, ScramClient, ScramFault, ScramServer, Verifier};
    use crate::smtp::sasl::codec;
    use std::num::NonZeroU32;

    const ROUNDS: NonZeroU32 = NonZeroU32::new(4096).unwrap();
    const LAST: &str = "c=cD10bHMtZXhwb3J0ZXIsLAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=QC6CS20quADQRb3mT99YUH+n3VJxUvzuK0K0E1Vrs2M=";
    const WANTED: &str = "v=2GiAgapEppLVlUXbxUDksL3VgYHzuqiK5tR4mhJGgvs=";

    /// The exchange printed in RFC 7677 s3.
    #[test]
    fn the_example_of_the_standard() {
        let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (client, first) =
            ScramClient::begin(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO", Binding::None);
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, server_last) = client.answer(server_first, "pencil").unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(
            server_last,
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );

        let salt = codec::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::derive("pencil", &salt, ROUNDS);
        let server = ScramServer::begin(&first, Binding::None).unwrap();
        assert_eq!(server.name(), "user");
        let (proof, said) = server.challenge(verifier.clone(), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        assert_eq!(said, server_first);
        assert_eq!(proof.check(&last), Ok(server_last));
        let wrong = client.answer(server_first, "pen").unwrap().0;
        assert_eq!(proof.check(&wrong), Err(ScramFault::Proof));
        assert!(verifier.check("pencil") && !verifier.check("pen"));
        assert_eq!(Verifier::parse(&verifier.to_text()), Ok(verifier));
    }

    /// The exchange printed in RFC 5802 s5.
    #[test]
    fn the_example_of_the_older_standard() {
        let server_first = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let nonce = "fyko+d2lbbFgONRv9qkxdawL";
        let (client, _) = ScramClient::begin(Hash::Sha1, "user", nonce, Binding::None);
        let (last, server_last) = client.answer(server_first, "pencil").unwrap();
        assert!(last.ends_with(",p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="), "{last}");
        assert_eq!(server_last, "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
    }

    #[test]
    fn messages_that_are_refused() {
        for (message, want) in [
            ("", ScramFault::Syntax),
            ("n,,n=a", ScramFault::Syntax),
            ("n,,n=,r=x", ScramFault::Syntax),
            ("n,,n=a=b,r=x", ScramFault::Syntax),
            ("n,,m=x,n=a,r=x", ScramFault::Syntax),
            ("n,a=root,n=tim,r=x", ScramFault::Unsupported),
            ("p=tls-unique,,n=tim,r=x", ScramFault::Unsupported),
        ] {
            assert_eq!(
                ScramServer::begin(message, Binding::None).map(|_| ()),
                Err(want),
                "{message}"
            );
        }
        let (client, _) = ScramClient::begin(Hash::Sha256, "a", "abc", Binding::None);
        for (message, want) in [
            ("", ScramFault::Syntax),
            ("r=abc,s=AAAA,i=4096", ScramFault::Proof),
            ("r=xyz1,s=AAAA,i=4096", ScramFault::Proof),
            ("r=abcd,s=AAAA,i=1", ScramFault::Unsupported),
            ("r=abcd,s=AAAA,i=4000000000", ScramFault::Unsupported),
            ("r=abcd,s=!,i=4096", ScramFault::Syntax),
            ("m=1,r=abcd,s=AAAA,i=4096", ScramFault::Syntax),
        ] {
            assert_eq!(client.answer(message, "x"), Err(want), "{message}");
        }
        let decoy = Verifier::decoy("nobody", b"secret");
        assert_eq!(decoy, Verifier::decoy("nobody", b"secret"));
        assert!(!decoy.check(""));
        assert_eq!(
            ScramServer::begin("y,a=a=2Cb,n=a=2Cb,r=x", Binding::None)
                .unwrap()
                .name(),
            "a,b"
        );
    }

    /// The exchange above, bound to a connection; computed by another program from RFC 5802 s3 and s6.
    #[test]
    fn plus_proves_the_connection_as_well() {
        let here = Binding::Used(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let there = Binding::Used([7; 32]);
        let (client, first) =
            ScramClient::begin(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO", here);
        assert_eq!(first, "p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let salt = codec::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = Verifier::derive("pencil", &salt, ROUNDS);
        for (seen, same) in [(here, true), (there, false)] {
            let server = ScramServer::begin(&first, seen).unwrap();
            let (proof, said) =
                server.challenge(verifier.clone(), "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
            let (last, wanted) = client.answer(&said, "pencil").unwrap();
            assert_eq!(last, LAST);
            assert_eq!(wanted, WANTED);
            let want = if same {
                Ok(WANTED.to_owned())
            } else {
                Err(ScramFault::Proof)
            };
            assert_eq!(proof.check(&last), want);
        }
        for (flag, binding, want) in [
            ("n", here, Err(ScramFault::Unsupported)),
            ("y", here, Err(ScramFault::Unsupported)),
            ("p=tls-unique", here, Err(ScramFault::Unsupported)),
            ("p=tls-exporter", here, Ok(())),
            ("n", Binding::Unused, Ok(())),
            ("y", Binding::Unused, Err(ScramFault::Proof)),
            (
                "p=tls-exporter",
                Binding::Unused,
                Err(ScramFault::Unsupported),
            ),
            ("n", Binding::None, Ok(())),
            ("y", Binding::None, Ok(())),
            (
                "p=tls-exporter",
                Binding::None,
                Err(ScramFault::Unsupported),
            ),
        ] {
            let got = ScramServer::begin(&format!("{flag},,n=a,r=x"), binding);
            assert_eq!(got.map(|_| ()), want, "{flag} {binding:?}");
        }
        assert_eq!(format!("{here:?}"), "Used(secret)");
    }
}
