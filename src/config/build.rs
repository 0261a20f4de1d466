//! Turns settings into the model, and finds what is wrong between settings that are each good.

use std::path::Path;
use std::path::PathBuf;

use crate::base::limits;
#[cfg(feature = "ldap")]
use crate::config::build::directory::DirectoryReader;
use crate::config::build::domains::DomainReader;
use crate::config::build::routes::RouteReader;
use crate::config::endpoint::At;
use crate::config::fault::Complaint;
use crate::config::fault::Fault;
use crate::config::fault::Place;
use crate::config::hooks;
use crate::config::hooks::Hook;
use crate::config::logging;
use crate::config::logs::Destination;
use crate::config::logs::Log;
use crate::config::model::Access;
use crate::config::model::Badmail;
use crate::config::model::Begin;
use crate::config::model::Certificate;
use crate::config::model::Config;
use crate::config::model::Control;
use crate::config::model::Delivery;
use crate::config::model::Dkim;
use crate::config::model::Dns;
use crate::config::model::Limits;
use crate::config::model::Listen;
use crate::config::model::Operators;
use crate::config::model::Pickup;
use crate::config::model::Sandbox;
use crate::config::model::Sts;
use crate::config::model::Tickets;
use crate::config::settings::Block;
use crate::config::settings::Settings;
use crate::mail::Address;
use crate::mail::Domain;
use crate::policy::access::Networks;
use crate::policy::retry::Waits;
use crate::policy::route::Next;

#[cfg(feature = "ldap")]
mod directory;
mod domains;
mod routes;

/// Room in a Unix socket's address, without its final NUL (unix(7)).
const SOCKET_PATH: usize = 107;

/// The model of these settings. `hostname` is what the system calls itself.
pub fn config(settings: &Settings, hostname: &Domain) -> (Option<Config>, Vec<Fault>) {
    let mut build = Build { faults: Vec::new() };
    let config = build.config(settings, hostname);
    if config.is_none() {
        build.blame(Place::Default, Complaint::Schema);
    }
    (config, build.faults)
}

struct Build {
    faults: Vec<Fault>,
}

impl Build {
    fn blame(&mut self, place: Place, complaint: Complaint) {
        self.faults.push(Fault { place, complaint });
    }

    /// `None` when schema and model disagree, which a test rules out.
    fn config(&mut self, settings: &Settings, hostname: &Domain) -> Option<Config> {
        let top = settings.one("")?;
        let home: PathBuf = top.get("home")?;
        if matches!(top.place_of("home"), Place::File(_)) && !home.is_absolute() {
            self.blame(top.place_of("home"), Complaint::RelativeHome);
        }
        if top.entry("group").is_some() && top.entry("user").is_none() {
            self.blame(top.place_of("group"), Complaint::GroupAlone);
        }
        let hostname = top.get("hostname").unwrap_or_else(|| hostname.clone());
        let mut reader = DomainReader {
            faults: &mut self.faults,
            hostname: &hostname,
            home: &home,
        };
        let local = reader.local(settings)?;
        let mut rewrite = reader.rewrite(settings)?;
        let (folders, numbers) = reader.blocks(settings, &local, &mut rewrite)?;
        let mut reader = RouteReader {
            faults: &mut self.faults,
            hostname: &hostname,
            home: &home,
        };
        let (routing, routes) = reader.routes(settings, numbers)?;
        if top.entry("default_domain").is_none()
            && !matches!(routing.next(&hostname), Next::Drop(_))
        {
            rewrite.bare = Domain::localhost();
        }
        let certificate = self.certificate(&settings.one("tls")?, &home)?;
        let users = settings.one("users")?.get("file");
        let users: Option<PathBuf> = users.map(|file: PathBuf| home.join(file));
        #[cfg(feature = "ldap")]
        let (directory, directory_users) = {
            let mut reader = DirectoryReader {
                faults: &mut self.faults,
                hostname: &hostname,
                home: &home,
            };
            let directory = reader.directory(settings, &rewrite)?;
            let wanted = settings.one("users")?.get("directory")?;
            let users = wanted && directory.is_some();
            (directory, users)
        };
        #[cfg(not(feature = "ldap"))]
        let (directory, directory_users) = (None, false);
        let tickets = self.tickets(&settings.one("users")?, &home)?;
        let logins = users.is_some() || directory_users || tickets.is_some();
        Some(Config {
            name: top.get("name")?,
            user: top.get("user"),
            group: top.get("group"),
            sandbox: match top.get::<&str>("sandbox")? {
                "on" => Sandbox::On,
                "off" => Sandbox::Off,
                _ => Sandbox::Auto,
            },
            batch: (top.get::<&str>("durability")? != "always").then_some(limits::BATCH),
            listen: self.listen(settings, certificate.is_some(), (logins, users.is_some()))?,
            certificate,
            clock_floor: settings.one("tls")?.get("clock_floor")?,
            users,
            tickets,
            directory_users,
            directory,
            access: access(&settings.one("access")?)?,
            limits: self.limits(&settings.one("limits")?)?,
            delivery: self.delivery(&settings.one("delivery")?, &hostname)?,
            dkim: self.dkim(settings, &home)?,
            hooks: self.hooks(settings)?,
            pickup: pickup(&settings.one("pickup")?)?,
            badmail: badmail(&settings.one("badmail")?)?,
            dns: dns(&settings.one("dns")?)?,
            sts: sts(&settings.one("sts")?, &home)?,
            log: self.log(&settings.one("log")?, &home)?,
            control: self.control(&settings.one("control")?, &home)?,
            operators: operators(&settings.one("operators")?)?,
            local,
            folders,
            rewrite,
            aliases: settings
                .one("aliases")?
                .get("file")
                .map(|file: PathBuf| home.join(file)),
            routing,
            routes,
            hostname,
            home,
        })
    }

    fn listen(
        &mut self,
        settings: &Settings,
        certificate: bool,
        users: (bool, bool),
    ) -> Option<Vec<Listen>> {
        let mut list: Vec<Listen> = Vec::new();
        for block in settings.all("listen") {
            let one = listen(block)?;
            if !block.spoiled {
                let twice = list.iter().any(|other| other.address == one.address);
                self.check_listen(block, &one, twice, certificate, users);
            }
            list.push(one);
        }
        if list.is_empty() && !settings.none_of.contains(&"listen") {
            list.push(listen(&settings.one("listen")?)?);
        }
        Some(list)
    }

    /// What is wrong between the keys of a listener and those of other sections. `users`: whether anybody can log in,
    /// and whether there is a file of them.
    fn check_listen(
        &mut self,
        block: &Block,
        listen: &Listen,
        twice: bool,
        certificate: bool,
        users: (bool, bool),
    ) {
        let long = match &listen.address {
            At::Unix(path) => path.as_os_str().len() > SOCKET_PATH,
            At::Tcp(_) | At::Given(_) => false,
        };
        let implicit = listen.tls == Begin::Implicit;
        let never = !certificate || listen.tls == Begin::Never;
        let rules = [
            (twice, "address", Complaint::ListenTwice),
            (long, "address", Complaint::SocketPath),
            (
                implicit && !certificate,
                "tls",
                Complaint::NoCertificate("listen.tls"),
            ),
            (
                listen.require_tls && never,
                "require_tls",
                Complaint::NoCertificate("listen.require_tls"),
            ),
            (
                listen.require_auth && !users.0,
                "require_auth",
                Complaint::NoUsers,
            ),
            (listen.cram_md5 && !users.1, "cram_md5", Complaint::NoUsers),
            (listen.ntlm && !users.1, "ntlm", Complaint::NoUsers),
            (
                listen.ntlm && !cfg!(feature = "ntlm"),
                "ntlm",
                Complaint::NotBuilt("ntlm"),
            ),
        ];
        for (wrong, name, complaint) in rules {
            if wrong {
                self.blame(block.place_of(name), complaint);
            }
        }
    }

    fn tickets(&mut self, block: &Block, home: &Path) -> Option<Option<Tickets>> {
        let principals: Vec<String> = block.get("principals")?;
        let keytab = block.get("keytab").map(|file: PathBuf| home.join(file));
        let whole = |one: &String| {
            one.split_once('@').is_some_and(|(name, realm)| {
                !name.is_empty() && !realm.is_empty() && (name == "*" || !name.contains('*'))
            })
        };
        let rules = [
            (
                keytab.is_some() && !cfg!(feature = "sso"),
                "keytab",
                Complaint::NotBuilt("sso"),
            ),
            (
                keytab.is_some() && principals.is_empty(),
                "keytab",
                Complaint::NoPrincipals,
            ),
            (
                keytab.is_none() && !principals.is_empty(),
                "principals",
                Complaint::NoKeytab,
            ),
            (
                !principals.iter().all(whole),
                "principals",
                Complaint::BadPrincipal,
            ),
        ];
        for (wrong, name, complaint) in rules {
            if wrong {
                self.blame(block.place_of(name), complaint);
            }
        }
        Some(keytab.map(|keytab| Tickets { keytab, principals }))
    }

    fn certificate(&mut self, block: &Block, home: &Path) -> Option<Option<Certificate>> {
        let self_signed: bool = block.get("self_signed")?;
        if self_signed && !cfg!(feature = "self-signed") {
            self.blame(
                block.place_of("self_signed"),
                Complaint::NotBuilt("self-signed"),
            );
        }
        let given = |name: &str| block.get(name).map(|file: PathBuf| home.join(file));
        let (chain, key) = match (given("certificate"), given("key")) {
            (Some(chain), key) => (chain.clone(), key.unwrap_or(chain)),
            // One file, so that a power failure cannot leave half of the pair.
            (None, None) if self_signed => {
                let file = home.join("certificate.pem");
                (file.clone(), file)
            }
            (None, None) => return Some(None),
            (None, Some(key)) => {
                self.blame(block.place_of("key"), Complaint::KeyAlone);
                (key.clone(), key)
            }
        };
        Some(Some(Certificate {
            chain,
            key,
            self_signed,
        }))
    }

    fn limits(&mut self, block: &Block) -> Option<Limits> {
        let limits = Limits {
            message_bytes: block.get("message_bytes")?,
            recipients: block.get("recipients")?,
            connections: block.get("connections")?,
            connections_per_client: block
                .get::<u32>("connections_per_client")?
                .min(block.get("connections")?),
            messages_per_connection: block.or_off("messages_per_connection")?,
            messages_per_minute: block.or_off("messages_per_minute")?,
            session_bytes: block.or_off("session_bytes")?,
            command_timeout: block.get("command_timeout")?,
            data_timeout: block.get("data_timeout")?,
            session_timeout: block.get("session_timeout")?,
            errors: block.get("errors")?,
            tarpit: block.or_off("tarpit")?,
            hops: block.get("hops")?,
            queue_bytes: block.get("queue_bytes")?,
            queue_messages: block.get("queue_messages")?,
            free_bytes: block.get("free_bytes")?,
            free_files: block.get("free_files")?,
        };
        let message = limits.message_bytes;
        for (name, key, room) in [
            (
                "queue_bytes",
                "limits.queue_bytes",
                Some(limits.queue_bytes),
            ),
            (
                "session_bytes",
                "limits.session_bytes",
                limits.session_bytes,
            ),
        ] {
            if room.is_some_and(|room| room < message) && !block.spoiled {
                let complaint = Complaint::Below(key, "limits.message_bytes");
                self.blame(block.place_of(name), complaint);
            }
        }
        Some(limits)
    }

    fn delivery(&mut self, block: &Block, hostname: &Domain) -> Option<Delivery> {
        let retry: Vec<_> = block.get("retry")?;
        if retry.is_empty() {
            self.blame(
                block.place_of("retry"),
                Complaint::EmptyList("delivery.retry"),
            );
        }
        let daemon = || {
            let postmaster = Address::parse_with("MAILER-DAEMON", Some(hostname));
            postmaster.ok()
        };
        let delivery = Delivery {
            connections: block.get("connections")?,
            waits: Waits::new(retry, block.get("jitter")?),
            expire: block.get("expire")?,
            delay_notice: block.or_off("delay_notice")?,
            memory_first: block.or_off("memory_first")?,
            memory_first_from: block.get("memory_first_from")?,
            report_copy_to: block.get("report_copy_to"),
            report_from: block.get("report_from").or_else(daemon)?,
            report_full: block.get("report_full")?,
        };
        Some(delivery)
    }

    fn dkim(&mut self, settings: &Settings, home: &Path) -> Option<Vec<Dkim>> {
        let mut list = Vec::new();
        for block in settings.all("dkim") {
            if !cfg!(feature = "dkim") {
                self.blame(block.place.clone(), Complaint::NotBuilt("dkim"));
            }
            let (domain, selector) = (block.get("domain"), block.get("selector"));
            let key: Option<PathBuf> = block.get("key_file");
            let (Some(domain), Some(selector), Some(key)) = (domain, selector, key) else {
                if !block.spoiled {
                    self.blame(block.place.clone(), Complaint::HalfOfDkim);
                }
                continue;
            };
            list.push(Dkim {
                domain,
                selector,
                key: home.join(key),
                forms: block.get::<&str>("canonicalization")?.parse().ok()?,
            });
        }
        Some(list)
    }

    fn hooks(&mut self, settings: &Settings) -> Option<Vec<Hook>> {
        let mut list = Vec::new();
        for block in settings.all("hook") {
            if !cfg!(feature = "hooks") {
                self.blame(block.place.clone(), Complaint::NotBuilt("hooks"));
            }
            match hooks::hook(block)? {
                Some(hook) => {
                    if hook.exec.first().is_none_or(|path| !path.starts_with('/')) {
                        self.blame(block.place_of("exec"), Complaint::HookPath);
                    }
                    list.push(hook);
                }
                None if block.spoiled => {}
                None => self.blame(block.place.clone(), Complaint::HalfOfHook),
            }
        }
        Some(list)
    }

    fn log(&mut self, block: &Block, home: &Path) -> Option<Log> {
        let log = logging::log(block, home)?;
        if !cfg!(feature = "logs") {
            let wrong = [
                ("to", log.to != Destination::Stderr),
                ("form", log.form.is_classic()),
            ];
            for (name, _) in wrong.iter().filter(|(_, wrong)| *wrong) {
                self.blame(block.place_of(name), Complaint::NotBuilt("logs"));
            }
        }
        if log
            .files
            .file_bytes
            .is_some_and(|most| most > log.files.total_bytes)
            && !block.spoiled
        {
            let complaint = Complaint::Below("log.total_bytes", "log.file_bytes");
            self.blame(block.place_of("total_bytes"), complaint);
        }
        if log.fields.is_empty() {
            self.blame(block.place_of("fields"), Complaint::EmptyList("log.fields"));
        }
        Some(log)
    }

    fn control(&mut self, block: &Block, home: &Path) -> Option<Control> {
        let socket = home.join(block.get::<PathBuf>("socket")?);
        if socket.as_os_str().len() > SOCKET_PATH {
            self.blame(block.place_of("socket"), Complaint::SocketPath);
        }
        Some(Control { socket })
    }
}

fn listen(block: &Block) -> Option<Listen> {
    Some(Listen {
        address: block.get("address")?,
        tls: match block.get::<&str>("tls")? {
            "off" => Begin::Never,
            "implicit" => Begin::Implicit,
            _ => Begin::StartTls,
        },
        require_tls: block.get("require_tls")?,
        require_auth: block.get("require_auth")?,
        insecure_auth: block.get("insecure_auth")?,
        cram_md5: block.get("cram_md5")?,
        ntlm: block.get("ntlm")?,
        proxy_from: Networks::new(block.get("proxy_from")?),
        relay: block.get("relay").map(Networks::new),
        reverse_dns: block.or_off("reverse_dns")?,
        without: block.get("without")?,
    })
}

fn operators(block: &Block) -> Option<Operators> {
    Some(Operators {
        users: block.get("users")?,
        groups: block.get("groups")?,
        readers: block.get("readers")?,
        reader_groups: block.get("reader_groups")?,
    })
}

fn access(block: &Block) -> Option<Access> {
    Some(Access {
        connect: Networks::new(block.get("connect")?),
        deny: Networks::new(block.get("deny")?),
        relay: Networks::new(block.get("relay")?),
        relay_logins: block.get("relay_logins")?,
        etrn: Networks::new(block.get("etrn")?),
        relay_domains: block.get("relay_domains")?,
    })
}

fn pickup(block: &Block) -> Option<Pickup> {
    Some(Pickup {
        enabled: block.get("enabled")?,
        dot_stuffed: block.get::<&str>("dot_stuffed")? == "always",
        rescan: block.get("rescan")?,
    })
}

fn badmail(block: &Block) -> Option<Badmail> {
    Some(Badmail {
        bytes: block.get("bytes")?,
        files: block.get("files")?,
        age: block.get("age")?,
    })
}

fn dns(block: &Block) -> Option<Dns> {
    Some(Dns {
        servers: block.get("servers")?,
        timeout: block.get("timeout")?,
        trust_ad: block.get("trust_ad")?,
    })
}

fn sts(block: &Block, home: &Path) -> Option<Sts> {
    Some(Sts {
        port: u16::try_from(block.get::<u32>("port")?).ok()?,
        ca: block.get("ca").map(|ca: PathBuf| home.join(ca)),
        timeout: block.get("timeout")?,
    })
}
