//! Whose tickets of Kerberos are taken: the keytab, read again when it changes, and what was shown already.
//!
//! Everything here blocks on a file, so it is for the file worker. What was shown is forgotten when the service ends;
//! the connection is encrypted, so that nobody has seen it who could show it again.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::base::Stamp;
use crate::base::Wall;
use crate::base::limits;
use crate::config::model;
use crate::disk::secret;
use crate::smtp::sasl::gssapi::accept;
use crate::smtp::sasl::gssapi::accept::Accepted;
use crate::smtp::sasl::gssapi::accept::Random;
use crate::smtp::sasl::gssapi::accept::Refusal;
use crate::smtp::sasl::gssapi::keytab::Keytab;
use crate::smtp::sasl::gssapi::replay::Replays;

/// What was shown, to any of the servers in this process: a reload does not forget it, and servers may share a name.
static SEEN: LazyLock<Mutex<Replays>> = LazyLock::new(Mutex::default);

/// The tickets of a service.
#[derive(Debug)]
pub struct Tickets {
    settings: model::Tickets,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    stamp: Option<Stamp>,
    keys: Keytab,
}

/// Reads a keytab that nobody else can; the error says what to do.
pub fn read(path: &Path) -> Result<Keytab, String> {
    let file = secret::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(limits::KEYTAB_FILE)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Keytab::parse(&bytes).map_err(|why| format!("{}: {why}", path.display()))
}

impl Tickets {
    /// Reads the keytab; the error says what to do.
    pub fn open(settings: &model::Tickets) -> Result<Arc<Self>, String> {
        let tickets = Self {
            settings: settings.clone(),
            state: Mutex::default(),
        };
        tickets.keys()?;
        Ok(Arc::new(tickets))
    }

    fn keys(&self) -> Result<Keytab, String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let path = &self.settings.keytab;
        let stamp = rustix::fs::stat(path).map(Stamp::from).ok();
        if stamp.is_none() || state.stamp != stamp {
            *state = State::default();
            state.keys = read(path)?;
            state.stamp = stamp;
        }
        Ok(state.keys.clone())
    }

    /// Whom a client's first token lets in. An error outside is a file that cannot be used: then nobody is let in.
    pub fn check(
        &self,
        token: &[u8],
        now: Wall,
        random: Random,
    ) -> Result<Result<Accepted, Refusal>, String> {
        let keys = self.keys()?;
        let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = &self.settings.principals;
        Ok(accept::accept(
            token, &keys, allowed, &mut seen, now, random,
        ))
    }
}
