//! Turns `[directory]` into the model, and finds what is wrong between its keys.

use std::path::Path;
use std::path::PathBuf;

use crate::config::directory::BadDirectory;
use crate::config::endpoint;
use crate::config::fault::Complaint;
use crate::config::fault::Fault;
use crate::config::model::Bind;
use crate::config::model::Directory;
use crate::config::model::Login;
use crate::config::model::Proof;
use crate::config::settings::Block;
use crate::config::settings::Entry;
use crate::config::settings::Settings;
use crate::ldap::expand::Rules;
use crate::ldap::schema::Schema;
use crate::mail::Domain;
use crate::policy::rewrite::Rewrite;
use crate::smtp::sasl::mechanism::Mechanisms;

/// Reads the directory, and notes what is wrong with it.
pub struct DirectoryReader<'a> {
    /// Gets what is wrong.
    pub faults: &'a mut Vec<Fault>,
    /// The name of this host.
    pub hostname: &'a Domain,
    /// Where relative paths begin.
    pub home: &'a Path,
}

impl DirectoryReader<'_> {
    /// The directory, if there is one. The outer `None` is a disagreement of schema and model.
    pub fn directory(
        &mut self,
        settings: &Settings,
        rewrite: &Rewrite,
    ) -> Option<Option<Directory>> {
        let block = settings.one("directory")?;
        let users = settings.one("users")?;
        let wants_users: bool = users.get("directory")?;
        let servers: Vec<endpoint::Directory> = block.get("servers")?;
        if servers.is_empty() {
            // A default that is written down is no wish for a directory.
            let wish = |entry: &&Entry| entry.row.default.is_none();
            if let Some(entry) = block.entries.iter().find(wish) {
                self.blame_at(&block, entry.row.name(), BadDirectory::NoServers.into());
            }
            if wants_users {
                self.blame_at(&users, "directory", BadDirectory::NoServers.into());
            }
            return Some(None);
        }
        let file = |name| block.get(name).map(|file: PathBuf| self.home.join(file));
        let identity = file("certificate").map(|chain| {
            let key = file("key").unwrap_or_else(|| chain.clone());
            (chain, key)
        });
        let ca = file("ca");
        if identity.is_none() && block.entry("key").is_some() {
            self.blame_at(&block, "key", Complaint::KeyAlone);
        }
        let bind = self.bind(&block, identity.is_some(), &servers)?;
        let start_tls: bool = block.get("start_tls")?;
        let insecure: bool = block.get("insecure_auth")?;
        let clear = !start_tls && servers.iter().any(is_clear);
        if clear && !insecure {
            if matches!(bind, Bind::Simple(_)) {
                self.blame_at(&block, "start_tls", BadDirectory::InClear.into());
            } else if wants_users {
                self.blame_at(&users, "directory", BadDirectory::InClear.into());
            }
        }
        Some(Some(Directory {
            rules: self.rules(&block, rewrite)?,
            port: block.get("port"),
            timeout: block.get("timeout")?,
            keep_unknown: block.get::<&str>("unknown")? == "keep",
            cache_time: block.or_off("cache_time")?,
            cache_entries: usize::try_from(block.get::<u32>("cache_entries")?).ok()?,
            servers,
            start_tls,
            insecure,
            bind,
            ca,
            identity,
        }))
    }

    fn blame_at(&mut self, block: &Block, name: &str, complaint: Complaint) {
        if !block.spoiled {
            let place = block.place_of(name);
            self.faults.push(Fault { place, complaint });
        }
    }

    fn bind(
        &mut self,
        block: &Block,
        identity: bool,
        servers: &[endpoint::Directory],
    ) -> Option<Bind> {
        let way: &str = block.get("bind")?;
        let user: Option<String> = block.get("user");
        let secrets = ["password_file", "password_env"];
        if way != "simple" {
            let idle = ["user", "domain"].into_iter().chain(secrets);
            for name in idle.filter(|name| block.entry(name).is_some()) {
                self.blame_at(block, name, BadDirectory::Useless(way_word(way)).into());
            }
        }
        match way {
            "simple" => {
                let Some(user) = user else {
                    self.blame_at(block, "bind", BadDirectory::NoUser.into());
                    return Some(Bind::Anonymous);
                };
                if secrets.iter().all(|name| block.entry(name).is_some()) {
                    self.blame_at(block, "password_env", Complaint::TwoPasswords);
                }
                let proof = match (
                    block.get::<PathBuf>("password_file"),
                    block.get("password_env"),
                ) {
                    (Some(file), _) => Proof::PasswordFile(self.home.join(file)),
                    (None, Some(name)) => Proof::PasswordVariable(name),
                    (None, None) => {
                        Proof::PasswordVariable("MAILROOT_DIRECTORY_PASSWORD".to_owned())
                    }
                };
                let domain: Option<String> = block.get("domain");
                Some(Bind::Simple(Login {
                    user: account(&user, domain.as_deref()),
                    proof,
                    only: Mechanisms::default(),
                    insecure: false,
                }))
            }
            "external" => {
                let socket = |server| matches!(server, &endpoint::Directory::Unix(_));
                if !identity && !servers.iter().all(socket) {
                    self.blame_at(block, "bind", Complaint::ExternalWithoutCertificate);
                }
                Some(Bind::External)
            }
            _ => Some(Bind::Anonymous),
        }
    }

    fn rules(&mut self, block: &Block, rewrite: &Rewrite) -> Option<Rules> {
        let base: Option<String> = block.get("base");
        if base.is_none() {
            self.blame_at(block, "servers", BadDirectory::NoBase.into());
        }
        let name: &str = block.get("schema")?;
        let mut schema = match name {
            "active-directory" => Schema::active_directory(),
            "posix" => Schema::posix(),
            _ => Schema::default(),
        };
        for (key, list) in [
            ("address_attributes", &mut schema.address),
            ("forward_attributes", &mut schema.forward),
            ("host_attributes", &mut schema.host),
            ("member_attributes", &mut schema.member),
            ("member_uid_attributes", &mut schema.member_uid),
            ("member_address_attributes", &mut schema.member_address),
            ("login_attributes", &mut schema.login),
        ] {
            if let Some(own) = block.get::<Vec<String>>(key) {
                *list = own;
            }
        }
        if schema.address.is_empty() {
            self.blame_at(
                block,
                "schema",
                BadDirectory::NoAttributes("address_attributes").into(),
            );
        }
        if schema.login.is_empty() && !schema.member_uid.is_empty() {
            self.blame_at(
                block,
                "member_uid_attributes",
                BadDirectory::NoAttributes("login_attributes").into(),
            );
        }
        let domains: Option<Vec<Domain>> = block.get("domains");
        let local: Vec<Domain> = rewrite.local.iter().cloned().collect();
        let mut own = local.clone();
        own.push(self.hostname.clone());
        Some(Rules {
            schema,
            base: base.unwrap_or_default(),
            domains: domains.unwrap_or(local),
            own,
            members: usize::try_from(block.get::<u32>("members")?).ok()?,
            depth: block.get("depth")?,
        })
    }
}

impl From<BadDirectory> for Complaint {
    fn from(bad: BadDirectory) -> Self {
        Self::Directory(bad)
    }
}

fn way_word(way: &str) -> &'static str {
    if way == "external" {
        "external"
    } else {
        "anonymous"
    }
}

/// Whether passwords to this server could be read on the way.
fn is_clear(server: &endpoint::Directory) -> bool {
    match server {
        endpoint::Directory::Tcp(host) => {
            let loopback = host.name.ip().is_some_and(|ip| ip.is_loopback());
            !loopback && host.name.as_str() != "localhost"
        }
        endpoint::Directory::Tls(_) | endpoint::Directory::Unix(_) => false,
    }
}

/// What is bound as: a name of an entry as it is; else with the domain, `user@corp.example` or `CORP\user`.
fn account(user: &str, domain: Option<&str>) -> String {
    match domain {
        Some(domain) if !user.contains(['=', '@', '\\']) => {
            if domain.contains('.') {
                format!("{user}@{domain}")
            } else {
                format!("{domain}\\{user}")
            }
        }
        _ => user.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::account;
    use crate::config::model::{Bind, Config};
    use crate::config::{File, Flags, load};

    fn directory(text: &str) -> Result<Config, String> {
        let text = format!("[local]\ndomains = ['x.test']\n{text}");
        let file = File {
            name: "f",
            text: &text,
        };
        load(Some(file), &Flags::default(), "box")
            .map(|(config, _)| config)
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn an_account_is_written_as_its_domain_wants_it() {
        for (user, domain, want) in [
            ("svc", None, "svc"),
            ("svc", Some("corp.example"), "svc@corp.example"),
            ("svc", Some("CORP"), "CORP\\svc"),
            ("cn=svc,dc=x", Some("CORP"), "cn=svc,dc=x"),
            ("svc@else.example", Some("CORP"), "svc@else.example"),
        ] {
            assert_eq!(account(user, domain), want, "{user} {domain:?}");
        }
    }

    #[test]
    fn without_more_it_is_active_directory_and_the_local_domains() {
        let config =
            directory("[directory]\nservers = ['ldaps://dc.test']\nbase = 'dc=x'").unwrap();
        let directory = config.directory.unwrap();
        assert!(config.rewrite.local.iter().eq(&directory.rules.domains));
        assert_eq!(directory.rules.domains.len(), 1);
        assert_eq!(directory.rules.schema.member, ["member"]);
        assert!(directory.start_tls && directory.bind == Bind::Anonymous);
        assert_eq!(self::directory("").unwrap().directory, None);
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        let good = "[directory]\nservers = ['ldap://dc.test']\nbase = 'dc=x'\n";
        for (text, want) in [
            ("[directory]\nbase = 'dc=x'", "servers"),
            ("[users]\ndirectory = true", "servers"),
            ("[directory]\nservers = ['ldap://dc.test']", "base"),
            (&format!("{good}bind = 'simple'"), "user"),
            (&format!("{good}user = 'svc'"), "bind"),
            (&format!("{good}bind = 'external'"), "certificate"),
            (
                &format!("{good}bind = 'simple'\nuser = 'svc'\nstart_tls = false"),
                "start_tls",
            ),
            (
                &format!("{good}start_tls = false\n[users]\ndirectory = true"),
                "start_tls",
            ),
            (&format!("{good}schema = 'custom'"), "address_attributes"),
        ] {
            let why = directory(text).unwrap_err();
            assert!(why.contains(want), "{text}: {why}");
        }
        for text in [
            &format!("{good}start_tls = false"),
            &format!(
                "{good}bind = 'simple'\nuser = 'svc'\nstart_tls = false\ninsecure_auth = true"
            ),
            "[directory]\nservers = ['ldapi:///run/ldapi']\nbase = 'dc=x'\nbind = 'external'\n[users]\ndirectory = true",
        ] {
            directory(text).unwrap();
        }
    }
}
