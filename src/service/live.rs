//! A configuration at work: the settings together with what is made from them once and kept, such as the TLS of a
//! route. A reload makes a new one; who holds the old one finishes with it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use crate::base::limits;
use crate::config::Config;
use crate::config::Tls as TlsMode;
use crate::config::model::Route;
use crate::disk::drop::DropFolder;
use crate::disk::drop::Form;
use crate::disk::drop::Quota;
use crate::disk::folders::Folders;
use crate::mail::Domain;
use crate::mail::Envelope;
use crate::mail::Recipient;
use crate::mail::dkim::signing::Signer;
use crate::net::resolver;
use crate::net::tls;
use crate::net::tls::Identity;
use crate::net::tls::Pin;
use crate::net::tls::Trust;
use crate::policy::aliases::Aliases;
use crate::policy::route::Next;
use crate::policy::stand_in::StandIn;
use crate::service::alias_file::AliasFile;
use crate::service::certificate::Certificate;
#[cfg(feature = "ldap")]
use crate::service::directory::Directory;
use crate::service::door::Door;
use crate::service::program::Hook;
use crate::service::sign;
#[cfg(feature = "sso")]
use crate::service::tickets::Tickets;
use crate::service::users::Users;
use crate::smtp::server;

/// A configuration at work.
#[derive(Debug)]
pub struct Live {
    /// The settings.
    pub config: Config,
    /// The ways out, in the order of the configuration.
    pub outs: Vec<Out>,
    /// The listeners, in the order of the configuration.
    pub doors: Vec<Door>,
    /// What clients are shown.
    pub certificate: Option<Certificate>,
    /// Who may log in.
    pub users: Option<Arc<Users>>,
    /// Who is behind which name.
    pub aliases: Option<Arc<AliasFile>>,
    /// Who says what becomes of recipients.
    #[cfg(feature = "ldap")]
    pub directory: Option<Directory>,
    /// Whose tickets are taken.
    #[cfg(feature = "sso")]
    pub tickets: Option<Arc<Tickets>>,
    /// What signs mail that goes out.
    pub signers: Vec<Signer>,
    /// What is run when something happens.
    pub hooks: Vec<Rc<Hook>>,
    /// TLS to servers of MTA-STS policies, and to exchangers that such a policy speaks of.
    pub sts_tls: tls::Client,
}

/// One way out at work.
#[derive(Debug)]
pub struct Out {
    /// Its settings.
    pub route: Route,
    /// Its TLS, with the sessions that can be resumed.
    pub tls: tls::Client,
    /// The same for mail exchangers that promise nothing.
    pub exchanger_tls: tls::Client,
    /// What we show to hosts that ask for it.
    pub identity: Option<Identity>,
    /// Which of the hosts named in it is tried first.
    pub stand_in: Cell<StandIn>,
}

impl Live {
    /// Puts settings to work. Our own certificate and the users are read now, so that a mistake is an error of the
    /// start or the reload; what routes need is read when it is needed.
    pub fn new(config: Config, tls: &Rc<tls::Tls>) -> Result<Rc<Self>, String> {
        let certificate = match &config.certificate {
            Some(certificate) => Some(Certificate::open(tls, certificate, &config.hostname)?),
            None => None,
        };
        let users = match &config.users {
            Some(file) => Some(Users::open(file)?),
            None => None,
        };
        let aliases = match &config.aliases {
            Some(file) => Some(AliasFile::open(file, &config.rewrite)?),
            None => None,
        };
        #[cfg(feature = "sso")]
        let tickets = match &config.tickets {
            Some(settings) => Some(Tickets::open(settings)?),
            None => None,
        };
        let base = smtp(&config);
        let doors = config.listen.iter();
        let doors = doors.map(|listen| Door::new(listen, &config, &base));
        let outs = config.routes.iter().map(|route| {
            let identity = route.identity.clone();
            let identity = identity.map(|(chain, key)| Identity { chain, key });
            let trust = |mode| match (mode, &route.ca) {
                (TlsMode::Pin(pin), _) => Trust::Pin(Pin(pin)),
                (TlsMode::Verify | TlsMode::Dane, Some(file)) => Trust::CaFile(file.clone()),
                (TlsMode::Verify | TlsMode::Dane | TlsMode::DaneOnly, _) => Trust::Roots,
                (TlsMode::Off | TlsMode::Opportunistic | TlsMode::Require, _) => Trust::Anybody,
            };
            let exchanger = match route.exchanger_tls {
                TlsMode::Dane | TlsMode::DaneOnly => Trust::Anybody,
                mode => trust(mode),
            };
            Out {
                route: route.clone(),
                tls: tls.client(trust(route.tls), identity.clone()),
                exchanger_tls: tls.client(exchanger, identity.clone()),
                identity,
                stand_in: Cell::default(),
            }
        });
        let sts_trust = match &config.sts.ca {
            Some(file) => Trust::CaFile(file.clone()),
            None => Trust::Roots,
        };
        Ok(Rc::new(Self {
            sts_tls: tls.client(sts_trust, None),
            #[cfg(feature = "ldap")]
            directory: config
                .directory
                .clone()
                .map(|directory| Directory::new(directory, tls)),
            outs: outs.collect(),
            doors: doors.collect(),
            certificate,
            users,
            aliases,
            #[cfg(feature = "sso")]
            tickets,
            signers: sign::signers(&config)?,
            hooks: config.hooks.iter().map(Hook::of).collect(),
            config,
        }))
    }

    /// The aliases as they were read last.
    pub fn aliases(&self) -> Arc<Aliases> {
        let file = self.aliases.as_ref();
        file.map_or_else(Arc::default, |file| file.last())
    }

    /// Where mail for the domain goes.
    pub fn next(&self, domain: &Domain) -> Next {
        self.config.routing.next(domain)
    }

    /// Whether the directory is to be asked about a message before it goes anywhere.
    #[cfg(feature = "ldap")]
    pub fn is_pending(&self, envelope: &Envelope) -> bool {
        let asked = |directory: &Directory| {
            let mut to = envelope.recipients.iter();
            to.any(|to| directory.resolves(to.address.domain()))
        };
        !envelope.resolved && self.directory.as_ref().is_some_and(asked)
    }

    /// Nothing is: there is none.
    #[cfg(not(feature = "ldap"))]
    pub const fn is_pending(&self, _: &Envelope) -> bool {
        false
    }

    /// Whether the directory knows who has a mailbox in this domain.
    #[cfg(feature = "ldap")]
    pub fn is_looked_up(&self, domain: &Domain) -> bool {
        let directory = self.directory.as_ref();
        directory.is_some_and(|one| one.resolves(domain))
    }

    /// Nobody does: there is none.
    #[cfg(not(feature = "ldap"))]
    pub const fn is_looked_up(&self, _: &Domain) -> bool {
        false
    }

    /// Where a message goes next for one recipient; `pending` is what [`Live::is_pending`] says of it.
    pub fn way(&self, pending: bool, to: &Recipient) -> Next {
        if pending {
            // All of them together: who they are may change.
            Next::Directory
        } else {
            self.next(to.destination())
        }
    }

    /// A way as it is called in logs and commands; one of a single domain, by that domain if it is known.
    pub fn name(&self, next: Next, domain: Option<&Domain>) -> String {
        match (next, domain) {
            (Next::Directory, _) => String::from("directory"),
            (Next::Drop(at), _) => {
                let folder = self.config.drops().nth(at);
                folder.map_or_else(|| String::from("drop"), |folder| folder.name.clone())
            }
            (Next::Domain(..) | Next::Held(..), Some(domain)) => domain.to_string(),
            (Next::Route(at) | Next::Domain(at, _) | Next::Held(at, _), _) => {
                match self.outs.get(at).and_then(|out| out.route.hosts.first()) {
                    Some(host) => match &host.socket {
                        Some(path) => path.display().to_string(),
                        None => format!("{}:{}", host.name, host.port),
                    },
                    None => format!("route {}", at.saturating_add(1)),
                }
            }
        }
    }

    /// The route of a way, unless a reload has taken it away.
    pub fn out(&self, next: Next) -> Option<&Out> {
        self.outs.get(next.route()?)
    }

    /// How many messages may go over a route in a minute.
    pub fn pace(&self, route: usize) -> Option<u32> {
        self.outs.get(route)?.route.messages_per_minute
    }

    /// How many sessions a route may have over all its ways.
    pub fn sessions_total(&self, route: usize) -> usize {
        let total = self.outs.get(route).map(|out| out.route.connections_total);
        total.map_or(0, |total| usize::try_from(total).unwrap_or(1))
    }

    /// How many sessions a way may have at once.
    pub fn sessions(&self, next: Next) -> usize {
        match next {
            // Messages share its connection and what is remembered.
            Next::Directory => 1,
            // One file worker writes them one after the other anyway.
            Next::Drop(_) => 1,
            Next::Route(_) | Next::Domain(..) | Next::Held(..) => self
                .out(next)
                .map_or(0, |out| usize::try_from(out.route.connections).unwrap_or(1)),
        }
    }

    /// How long a message is tried on a way, or held there.
    pub fn expire(&self, next: Next) -> Duration {
        if next == Next::Directory {
            // What the directory does not say is no message's fault (promise G3).
            return limits::FOREVER;
        }
        let own = self.out(next).and_then(|out| out.route.expire);
        own.unwrap_or(self.config.delivery.expire)
    }
}

/// What the configuration says to the server machine.
fn smtp(config: &Config) -> server::settings::Settings {
    use server::settings::Extensions;
    use server::settings::Settings;
    use server::settings::Timeouts;
    let count = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
    let limits = &config.limits;
    let fetched = config
        .routes
        .iter()
        .any(|route| !route.fetched_by.is_empty());
    Settings {
        // A name without a domain stays known as one until it is rewritten.
        default_domain: Some(Domain::localhost()),
        shown_domain: Some(config.rewrite.default_domain.clone()),
        message_size: Some(limits.message_bytes),
        session_size: limits.session_bytes,
        recipients: count(limits.recipients),
        messages: limits.messages_per_connection.map_or(usize::MAX, count),
        errors: count(limits.errors),
        tarpit: limits.tarpit.unwrap_or_default(),
        extensions: Extensions {
            // Who does not take it further gets it encoded.
            binary: true,
            etrn: fetched || !config.access.etrn.is_empty(),
            atrn: fetched,
            ..Extensions::default()
        },
        timeouts: Timeouts {
            command: limits.command_timeout,
            data: limits.data_timeout,
            session: Some(limits.session_timeout),
        },
        ..Settings::new(config.hostname.clone())
    }
}

/// What the configuration says to the resolver.
pub fn names(config: &Config) -> resolver::Settings {
    resolver::Settings {
        servers: config.dns.servers.clone(),
        timeout: Some(config.dns.timeout),
        trust_ad: config.dns.trust_ad,
        ..resolver::Settings::default()
    }
}

/// A drop folder with what is known of its fill; the file worker holds it while it writes.
pub type Drop = Arc<Mutex<DropFolder>>;

/// The drop folders as configured, in the order of their numbers; those that are not there are made. Blocks.
pub fn drop_folders(config: &Config, folders: &Folders) -> Result<Vec<Drop>, String> {
    let each = config.drops().map(|folder| {
        let quota = match (folder.drop_bytes, folder.drop_files) {
            (None, None) => None,
            (bytes, files) => Some(Quota {
                bytes: bytes.unwrap_or(u64::MAX),
                files: files.map_or(u64::MAX, u64::from),
            }),
        };
        let form = if folder.maildir {
            Form::Maildir(config.hostname.clone())
        } else {
            Form::Eml
        };
        let path = &folder.drop;
        let made = folders.create_drop(path);
        made.map_err(|error| error.to_string())?;
        let folder = DropFolder::new(path, &folders.sorttemp, form, quota, 0o600);
        let folder = folder.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Arc::new(Mutex::new(folder)))
    });
    each.collect()
}
