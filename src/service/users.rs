//! Who may log in: the file of users, read again when it changes.
//!
//! Everything here blocks on a file or computes for milliseconds, so it is for the file worker. Whether a name exists
//! shows neither in the answer nor in the time it takes.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::disk::stamp::Stamp;
use crate::disk::users::Users as File;
use crate::net::random;
use crate::smtp::sasl::Verifier;
use crate::smtp::sasl::cram::Cram;
use crate::smtp::sasl::scram::NotAVerifier;

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
}

impl Kept {
    /// A verifier, and behind a space one for CRAM-MD5.
    fn parse(text: &str) -> Result<Self, NotAVerifier> {
        let (scram, cram) = match text.split_once(' ') {
            Some((scram, cram)) => (scram, Some(Cram::parse(cram)?)),
            None => (text, None),
        };
        let scram = Verifier::parse(scram)?;
        Ok(Self { scram, cram })
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

    /// Whether this is the user's answer to a challenge of CRAM-MD5; never for one who was given no verifier for it.
    pub fn check_proof(&self, name: &str, challenge: &str, digest: &str) -> Result<bool, String> {
        match self.kept(name)?.and_then(|kept| kept.cram) {
            Some(cram) => Ok(cram.check(challenge, digest)),
            None => {
                // As long as for one who has.
                let decoy = Cram::derive(name);
                let _ = decoy.check(challenge, digest);
                Ok(false)
            }
        }
    }

    fn kept(&self, name: &str) -> Result<Option<Kept>, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.path).ok();
        if stamp.is_none() || state.stamp != stamp {
            *state = State::default();
            state.list = read(&self.path)?;
            state.stamp = stamp;
        }
        Ok(state.list.get(name).cloned())
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
    use crate::smtp::sasl::Verifier;
    use crate::smtp::sasl::cram::Cram;
    use std::num::NonZeroU32;

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
        let both = format!("{} {}", verifier("pear"), Cram::derive("pear").to_text());
        file.put("cam", both);
        file.write(&path).unwrap();
        assert_eq!(users.check("cam", "pear"), Ok(true));
        let digest = "c3e1dd1ba9a2f8bb1bb0a1ed5f8eb8f1";
        assert_eq!(users.check_proof("cam", "<1@x>", digest), Ok(false));
        let pear = crate::smtp::sasl::cram_md5("cam", "pear", b"<1@x>");
        let pear = crate::smtp::sasl::codec::decode_text(pear.as_bytes()).unwrap();
        let digest = pear.strip_prefix("cam ").unwrap();
        assert_eq!(users.check_proof("cam", "<1@x>", digest), Ok(true));
        assert_eq!(users.check_proof("eve", "<1@x>", digest), Ok(false));
        assert_eq!(users.check_proof("nobody", "<1@x>", digest), Ok(false));
        file.put("bad", "not a verifier".to_owned());
        file.write(&path).unwrap();
        let why = users.check("eve", "apple").unwrap_err();
        assert!(why.contains("mailroot passwd"), "{why}");
        std::fs::remove_file(&path).unwrap();
        assert!(users.check("eve", "apple").is_err());
    }
}
