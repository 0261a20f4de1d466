//! The file of aliases, read again when it changes.

use std::fs::File;
use std::io::ErrorKind;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::base::Stamp;
use crate::base::kept;
use crate::base::limits;
use crate::policy::aliases::Aliases;
use crate::policy::aliases::Fault;
use crate::policy::rewrite::Rewrite;

/// The file of aliases, for a set of rules.
#[derive(Debug)]
pub struct AliasFile {
    path: PathBuf,
    rules: Rewrite,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The file that was looked at last, good or not.
    stamp: Option<Stamp>,
    /// What was read last that was good.
    last: Arc<Aliases>,
}

/// Reads a file of aliases and holds it against the rules. The error is every mistake on a line of its own, with the
/// file and the line that it is in. Blocks.
pub fn read(path: &Path, rules: &Rewrite) -> Result<Aliases, String> {
    let shown = path.display();
    let mut text = Vec::new();
    let most = limits::ALIASES_FILE;
    File::open(path)
        .and_then(|file| {
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            file.take(most.saturating_add(1)).read_to_end(&mut text)
        })
        .or_else(|error| match kept::bytes(path) {
            Some(kept) if error.kind() == ErrorKind::PermissionDenied => {
                text = kept.to_vec();
                Ok(text.len())
            }
            _ => Err(error),
        })
        .map_err(|error| format!("cannot read the aliases in {shown}: {error}"))?;
    if text.len() > most {
        return Err(format!(
            "{shown} is larger than 1 MiB; these are no aliases"
        ));
    }
    let told = |faults: Vec<Fault>| {
        let lines = faults.iter().map(|fault| format!("{shown}:{fault}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    let aliases = Aliases::parse(&text).map_err(told)?;
    let faults = rules.check(&aliases);
    if faults.is_empty() {
        Ok(aliases)
    } else {
        Err(told(faults))
    }
}

impl AliasFile {
    /// Reads the file; the error says what is wrong with it. Blocks.
    pub fn open(path: &Path, rules: &Rewrite) -> Result<Arc<Self>, String> {
        let stamp = rustix::fs::stat(path).map(Stamp::from).ok();
        let last = Arc::new(read(path, rules)?);
        Ok(Arc::new(Self {
            path: path.to_owned(),
            rules: rules.clone(),
            state: Mutex::new(State { stamp, last }),
        }))
    }

    /// The aliases that were read last.
    pub fn last(&self) -> Arc<Aliases> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&state.last)
    }

    /// Reads the file again if it is another than before. What is good takes the place of the old; of what is not, the
    /// error tells once. Blocks.
    pub fn refresh(&self) -> Result<Option<usize>, String> {
        let stamp = rustix::fs::stat(&self.path).map(Stamp::from).ok();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stamp == stamp {
            return Ok(None);
        }
        state.stamp = stamp;
        let aliases = read(&self.path, &self.rules)?;
        state.last = Arc::new(aliases);
        Ok(Some(state.last.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::AliasFile;
    use crate::config::{File, Flags, load};
    use crate::mail::Address;
    use std::fs;

    #[test]
    fn a_broken_file_keeps_the_old_aliases_and_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aliases");
        let text = "[local]\ndomains = ['nas.lan']\nmailboxes = ['tim']";
        let config = load(Some(File { name: "f", text }), &Flags::default(), "box")
            .unwrap()
            .0;
        let open = || AliasFile::open(&path, &config.rewrite);
        let missing = open().unwrap_err();
        assert!(
            missing.starts_with("cannot read the aliases in /"),
            "{missing}"
        );
        fs::write(&path, "root: tim@nas.lan\n").unwrap();
        let file = open().unwrap();
        assert_eq!(file.refresh(), Ok(None));
        fs::write(&path, "root: nobody@nas.lan\nx: |y\n").unwrap();
        let why = file.refresh().unwrap_err();
        assert!(
            why.contains("aliases:2: `|y`: mail is not given to programs"),
            "{why}"
        );
        assert_eq!(file.refresh(), Ok(None));
        fs::write(&path, "root: nobody@nas.lan\n").unwrap();
        let why = file.refresh().unwrap_err();
        assert!(
            why.contains("aliases:1: there is no mailbox nobody@nas.lan"),
            "{why}"
        );
        let root = Address::parse("root@nas.lan").unwrap();
        assert_eq!(file.last().find(&root).unwrap().1.line, 1);
        fs::remove_file(&path).unwrap();
        assert!(file.refresh().is_err() && file.refresh() == Ok(None));
        fs::write(&path, "# now in line two\nroot: tim@nas.lan\nx: root\n").unwrap();
        assert_eq!(file.refresh(), Ok(Some(2)));
        assert_eq!(file.last().find(&root).unwrap().1.line, 2);
    }
}
