//! What a configuration names in the file system, and what each is for: for those who give up rights and have to know
//! which they need.

use std::path::Path;

use crate::config::endpoint::At;
use crate::config::logs::Destination;
use crate::config::model::Bind;
use crate::config::model::Config;
use crate::config::model::Proof;

/// What something is named for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A file that nobody but its owner may read.
    Secret,
    /// Another file that is read.
    Read,
    /// A file that is made when it is not there, and read.
    Make,
    /// A folder in which files come and go.
    Folder,
    /// A Unix socket that is made.
    Socket,
    /// A program that is run.
    Run,
}

impl Config {
    /// All of it. A path may stand twice.
    pub fn named(&self) -> Vec<(&Path, Use)> {
        let mut all = vec![
            (self.home.as_path(), Use::Folder),
            (self.control.socket.as_path(), Use::Socket),
        ];
        let mut put = |path, what| all.push((path, what));
        for folder in self.drops() {
            put(&folder.drop, Use::Folder);
        }
        if self.log.to == Destination::Files || self.log.form.is_classic() {
            put(&self.log.files.directory, Use::Folder);
        }
        for listen in &self.listen {
            if let At::Unix(path) = &listen.address {
                put(path, Use::Socket);
            }
        }
        if let Some(own) = &self.certificate {
            let what = if own.self_signed {
                Use::Make
            } else {
                Use::Read
            };
            put(&own.chain, what);
            put(&own.key, what);
        }
        let tickets = self.tickets.iter().map(|tickets| &tickets.keytab);
        let keys = self.dkim.iter().map(|dkim| &dkim.key);
        for path in self.users.iter().chain(tickets).chain(keys) {
            put(path, Use::Secret);
        }
        let directory = self.directory.as_ref();
        let identities = self.routes.iter().filter_map(|to| to.identity.as_ref());
        for (chain, key) in identities.chain(directory.and_then(|to| to.identity.as_ref())) {
            put(chain, Use::Read);
            put(key, Use::Secret);
        }
        let authorities = self.routes.iter().filter_map(|to| to.ca.as_ref());
        let authorities = authorities.chain(directory.and_then(|to| to.ca.as_ref()));
        for path in authorities.chain(&self.sts.ca).chain(&self.aliases) {
            put(path, Use::Read);
        }
        let bind = directory.and_then(|to| match &to.bind {
            Bind::Simple(login) => Some(login),
            Bind::Anonymous | Bind::External => None,
        });
        let logins = self.routes.iter().filter_map(|to| to.login.as_ref());
        for login in logins.chain(bind) {
            if let Proof::PasswordFile(path) | Proof::TokenFile(path) = &login.proof {
                put(path, Use::Secret);
            }
        }
        for hook in &self.hooks {
            if let Some(program) = hook.exec.first() {
                put(Path::new(program), Use::Run);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::Use;
    use crate::config::{File, Flags, load};
    use std::path::Path;

    #[test]
    fn every_path_that_a_file_has_is_named_with_what_it_is_for() {
        let text = "
            home = '/h'
            [[listen]]
            address = '/run/s'
            [tls]
            certificate = '/c1'
            key = '/k1'
            [users]
            file = '/users'
            [local]
            drop = '/drop'
            [[domain]]
            domains = ['d.example']
            drop = '/other'
            [aliases]
            file = '/aliases'
            [[route]]
            hosts = ['a.example']
            ca = '/ca'
            certificate = '/c2'
            key = '/k2'
            user = 'u'
            password_file = '/password'
            [[route]]
            to = ['b.example']
            hosts = ['b.example']
            user = 'u'
            token_file = '/token'
            [[dkim]]
            domain = 'd.example'
            selector = 's'
            key_file = '/dkim'
            [[hook]]
            on = ['drop']
            exec = ['/bin/hook', '/none']
            [sts]
            ca = '/sts'
            [log]
            to = 'files'
            directory = '/logs'
            [control]
            socket = '/run/control'";
        let file = File { name: "f", text };
        let config = load(Some(file), &Flags::default(), "box").unwrap().0;
        let mut named = config.named();
        named.sort_by_key(|(path, _)| *path);
        let mut want = [
            ("/h", Use::Folder),
            ("/run/s", Use::Socket),
            ("/run/control", Use::Socket),
            ("/c1", Use::Read),
            ("/k1", Use::Read),
            ("/users", Use::Secret),
            ("/drop", Use::Folder),
            ("/other", Use::Folder),
            ("/aliases", Use::Read),
            ("/ca", Use::Read),
            ("/c2", Use::Read),
            ("/k2", Use::Secret),
            ("/password", Use::Secret),
            ("/token", Use::Secret),
            ("/dkim", Use::Secret),
            ("/bin/hook", Use::Run),
            ("/sts", Use::Read),
            ("/logs", Use::Folder),
        ]
        .map(|(path, what)| (Path::new(path), what));
        want.sort_by_key(|(path, _)| *path);
        assert_eq!(named, want);
    }
}
