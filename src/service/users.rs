//! Who may log in: the file of users, read again when it changes.
//!
//! Everything here blocks on a file or computes for milliseconds, so it is for the file worker. Whether a name exists
//! shows neither in the answer nor in the time it takes.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::base::Stamp;
use crate::disk::users::Users as File;
use crate::net::random;
use crate::smtp::sasl::Verifier;
use crate::smtp::sasl::cram::Cram;
#[cfg(feature = "ntlm")]
use crate::smtp::sasl::ntlm::server::NtHash;
#[cfg(feature = "ntlm")]
use crate::smtp::sasl::ntlm::server::Refusal;
use crate::smtp::sasl::proof::Proof;
use crate::smtp::sasl::scram::NotAVerifier;

/// What the part of a line begins with that is for NTLM.
const NTLM_MARK: &str = "{NTLM}";

/// Why a login failed, for the log alone.
pub type Why = &'static str;

/// The users of a service.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    /// For the verifiers of names that do not exist.
    secret: [u8; 32],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stamp: Option<Stamp>,
    list: HashMap<String, Kept>,
}

/// What is kept of a password.
#[derive(Clone, Debug)]
struct Kept {
    scram: Verifier,
    /// For users who were given one.
    cram: Option<Cram>,
    /// Likewise.
    #[cfg(feature = "ntlm")]
    ntlm: Option<NtHash>,
}

impl Kept {
    /// A verifier, and behind a space each what other mechanisms need. A build without NTLM checks its part no further.
    fn parse(text: &str) -> Result<Self, NotAVerifier> {
        let mut parts = text.split(' ');
        let mut kept = Self {
            scram: Verifier::parse(parts.next().unwrap_or_default())?,
            cram: None,
            #[cfg(feature = "ntlm")]
            ntlm: None,
        };
        for part in parts {
            if !part.starts_with(NTLM_MARK) {
                kept.cram = Some(Cram::parse(part)?);
                continue;
            }
            #[cfg(feature = "ntlm")]
            {
                kept.ntlm = Some(NtHash::parse(part)?);
            }
        }
        Ok(kept)
    }
}

fn read(path: &Path) -> Result<HashMap<String, Kept>, String> {
    let file = File::read(path).map_err(|error| error.to_string())?;
    let bad = |name: &str| {
        let path = path.display();
        format!(
            "{path}: the line of {name} holds no verifier; run: mailroot passwd --users {path} {name}"
        )
    };
    let each = file.iter().map(|(name, text)| {
        let kept = Kept::parse(text).map_err(|_| bad(name))?;
        Ok((name.to_owned(), kept))
    });
    each.collect()
}

impl Users {
    /// Reads the file; the error says what to do.
    pub fn open(path: &Path) -> Result<Arc<Self>, String> {
        let mut secret = [0; 32];
        random::fill(&mut secret).map_err(|error| error.to_string())?;
        let users = Self {
            path: path.to_owned(),
            secret,
            state: Mutex::default(),
        };
        users.find("")?;
        Ok(Arc::new(users))
    }

    /// What is kept of the user's password, or something as good as it for a user that does not exist. An error is
    /// a file that cannot be used: then nobody is let in.
    pub fn find(&self, name: &str) -> Result<Verifier, String> {
        let found = self.kept(name)?.map(|kept| kept.scram);
        Ok(found.unwrap_or_else(|| Verifier::decoy(name, &self.secret)))
    }

    /// Whether this is the user's answer to a challenge, or why not, for the log; never for one of whose password
    /// nothing is kept for that mechanism, which takes as long.
    pub fn check_proof(&self, name: &str, proof: &Proof) -> Result<Result<(), Why>, String> {
        let kept = self.kept(name)?;
        Ok(match proof {
            Proof::Cram { challenge, digest } => {
                let cram = kept.and_then(|kept| kept.cram);
                let known = cram.is_some();
                let cram = cram.unwrap_or_else(|| Cram::derive(name));
                if cram.check(challenge, digest) && known {
                    Ok(())
                } else {
                    Err(
                        "wrong name or password, or no verifier for CRAM-MD5: mailroot passwd --cram-md5",
                    )
                }
            }
            #[cfg(feature = "ntlm")]
            Proof::Ntlm(answer) => {
                let hash = kept.and_then(|kept| kept.ntlm);
                let known = hash.is_some();
                // Nobody knows this password.
                let decoy = || NtHash::derive(&String::from_utf8_lossy(&self.secret));
                let checked = answer.check(&hash.unwrap_or_else(decoy));
                let checked = checked.and(if known { Ok(()) } else { Err(Refusal::Wrong) });
                checked.map_err(Refusal::text)
            }
        })
    }

    /// Whether anybody could log in by NTLM.
    #[cfg(feature = "ntlm")]
    pub fn has_ntlm(&self) -> Result<bool, String> {
        let state = self.fresh()?;
        Ok(state.list.values().any(|kept| kept.ntlm.is_some()))
    }

    fn kept(&self, name: &str) -> Result<Option<Kept>, String> {
        Ok(self.fresh()?.list.get(name).cloned())
    }

    /// What the file says now.
    fn fresh(&self) -> Result<MutexGuard<'_, State>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = rustix::fs::stat(&self.path).map(Stamp::from).ok();
        if stamp.is_none() || state.stamp != stamp {
            *state = State::default();
            state.list = read(&self.path)?;
            state.stamp = stamp;
        }
        Ok(state)
    }

    /// Whether there is a user with this name.
    pub fn knows(&self, name: &str) -> Result<bool, String> {
        Ok(self.kept(name)?.is_some())
    }

    /// Whether this is the user's password.
    pub fn check(&self, name: &str, password: &str) -> Result<bool, String> {
        Ok(self.find(name)?.check(password))
    }
}

#[cfg(test)]
mod tests {
    use super::Users;
    use crate::disk::users::Users as File;
    use crate::smtp::sasl;
    use crate::smtp::sasl::Verifier;
    use crate::smtp::sasl::cram::Cram;
    use crate::smtp::sasl::proof::Proof;
    use std::num::NonZeroU32;

    /// What cam answers to the challenge `<1@x>`, given as the answer to another or the same.
    fn cram(challenge: &str) -> Proof {
        let text = sasl::cram_md5("cam", "pear", b"<1@x>");
        let text = sasl::codec::decode_text(text.as_bytes()).unwrap();
        let digest = text.strip_prefix("cam ").unwrap().to_owned();
        let challenge = challenge.to_owned();
        Proof::Cram { challenge, digest }
    }

    #[cfg(feature = "ntlm")]
    #[test]
    fn ntlm_takes_who_was_given_a_hash() {
        use crate::base::Wall;
        use crate::smtp::sasl::ntlm::client;
        use crate::smtp::sasl::ntlm::server::{Begun, NtHash};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let verifier = Verifier::derive("pear", b"salt", NonZeroU32::new(4096).unwrap()).to_text();
        let mut file = File::default();
        file.put("eve", verifier.clone());
        file.write(&path).unwrap();
        let users = Users::open(&path).unwrap();
        assert_eq!(users.has_ntlm(), Ok(false));
        let hash = NtHash::derive("pear").to_text();
        let cram = Cram::derive("pear").to_text();
        file.put("tim", format!("{verifier} {hash}"));
        file.put("bob", format!("{verifier} {cram} {hash}"));
        file.write(&path).unwrap();
        assert_eq!(users.has_ntlm(), Ok(true));
        for (name, password, want) in [
            ("tim", "pear", Ok(())),
            ("bob", "pear", Ok(())),
            ("tim", "peat", Err("wrong name")),
            ("eve", "pear", Err("passwd --ntlm")),
            ("nobody", "pear", Err("wrong name")),
            ("", "pear", Err("without a name")),
        ] {
            let begun = Begun::read(&client::negotiate()).unwrap();
            let (challenged, message) = begun.challenge([7; 8], "nas.lan", Wall::from_secs(9));
            let answer = client::authenticate(&message, name, password, [8; 8]).unwrap();
            let answer = challenged.answer(&answer).unwrap();
            assert_eq!(answer.user(), name);
            let got = users
                .check_proof(name, &Proof::Ntlm(Box::new(answer)))
                .unwrap();
            match (got, want) {
                (Ok(()), Ok(())) => {}
                (Err(got), Err(want)) => assert!(got.contains(want), "{name}: {got}"),
                (got, _) => panic!("{name} {password}: {got:?}"),
            }
        }
    }

    #[test]
    fn users_are_known_by_their_password_and_changes_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users");
        let why = Users::open(&path).unwrap_err();
        assert!(why.contains("users"), "{why}");
        let rounds = NonZeroU32::new(4096).unwrap();
        let verifier = |password| Verifier::derive(password, b"salt", rounds).to_text();
        let mut file = File::default();
        file.put("tim", verifier("tan"));
        file.write(&path).unwrap();
        let users = Users::open(&path).unwrap();
        for (name, password, want) in [
            ("tim", "tan", true),
            ("tim", "tam", false),
            ("tim", "", false),
            ("Tim", "tan", false),
            ("nobody", "tan", false),
        ] {
            assert_eq!(users.check(name, password), Ok(want), "{name} {password}");
        }
        file.put("eve", verifier("apple"));
        file.remove("tim");
        file.write(&path).unwrap();
        assert_eq!(users.check("eve", "apple"), Ok(true));
        assert_eq!(users.check("tim", "tan"), Ok(false));
        let (proof, right) = (cram("<1@x>"), Ok(Ok(())));
        let wrong = |got: Result<Result<(), &'static str>, String>| got.unwrap().unwrap_err();
        let both = format!("{} {}", verifier("pear"), Cram::derive("pear").to_text());
        file.put("cam", both);
        file.write(&path).unwrap();
        assert_eq!(users.check("cam", "pear"), Ok(true));
        assert_eq!(users.check_proof("cam", &proof), right);
        for (name, proof) in [("cam", &cram("<2@x>")), ("eve", &proof), ("nobody", &proof)] {
            let why = wrong(users.check_proof(name, proof));
            assert!(why.contains("passwd --cram-md5"), "{why}");
        }
        file.put("bad", "not a verifier".to_owned());
        file.write(&path).unwrap();
        let why = users.check("eve", "apple").unwrap_err();
        assert!(why.contains("mailroot passwd"), "{why}");
        std::fs::remove_file(&path).unwrap();
        assert!(users.check("eve", "apple").is_err());
    }
}
