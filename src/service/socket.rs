//! A control socket: made, taken from, taken away.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

use async_net::unix::UnixListener;

use crate::base::limits;
use crate::config::Config;
use crate::service::line::StartError;
use crate::service::operators;
use crate::service::talk::Talk;

/// A control socket, and which file it is.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Socket {
    /// Makes the socket. The home is locked, so whatever stands there is left from an earlier run.
    pub fn bind(config: &Config) -> Result<Self, StartError> {
        let path = &config.control.socket;
        let fail = |error: std::io::Error| {
            StartError::Io(format!(
                "cannot make the control socket {}: {error}",
                path.display()
            ))
        };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(fail)?;
        operators::guard(path, &config.operators).map_err(fail)?;
        Ok(Self {
            listener,
            path: path.clone(),
            identity: identity(path),
        })
    }

    /// The next client.
    pub async fn accept(&self) -> Talk {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return Talk(stream),
                // Out of descriptors: the clients in front of us end, and then it goes on.
                Err(_) => smol::Timer::after(limits::ACCEPT_PAUSE).await,
            };
        }
    }

    /// Takes its file away, if it still is its own: while a server is stopped another process may take the home.
    pub fn remove(&self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
