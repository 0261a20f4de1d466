//! Every setting there is: one row each, with what it may hold, its default, and a sentence about it.
//!
//! From this table come the parser's errors, `Config::default`, the commented sample, the manual and
//! `mailroot config --all`. A row is written when what it sets works, never before: a key that does nothing is a lie.

use crate::config::kind::Kind;
use crate::config::logs;
use crate::smtp::sasl::mechanism;

/// One setting.
#[derive(Debug)]
pub struct Row {
    /// Its path: `section.name`, or a bare name at the top of the file.
    pub key: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Its default in the form [`Kind::read`] takes; `None` when it is unset unless given.
    pub default: Option<&'static str>,
    /// A value to show where there is no default.
    pub example: &'static str,
    /// What it does, as a sentence or two. For an unset row it says what holds without it.
    pub help: &'static str,
    /// What it was called in the SMTP service of IIS (the property of the metabase, or the words of the property
    /// sheet), and what it was set to there as shipped.
    pub iis: Option<(&'static str, &'static str)>,
}

/// A table of the file.
#[derive(Debug)]
pub struct Section {
    /// Its name; the empty one is the top of the file.
    pub name: &'static str,
    /// Whether it may stand several times, as `[[name]]`.
    pub many: bool,
    /// What it is about.
    pub help: &'static str,
}

impl Row {
    const fn set(key: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Self {
        Self {
            key,
            kind,
            default: Some(default),
            example: "",
            help,
            iis: None,
        }
    }

    const fn unset(
        key: &'static str,
        kind: Kind,
        example: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            key,
            kind,
            default: None,
            example,
            help,
            iis: None,
        }
    }

    const fn iis(mut self, name: &'static str, value: &'static str) -> Self {
        self.iis = Some((name, value));
        self
    }

    /// The name of its section.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// Its name inside the section.
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }
}

const KB: u64 = 1000;
const MB: u64 = 1000 * KB;
const GB: u64 = 1000 * MB;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// What the programs of `[[hook]]` are run for, in the order of [`crate::config::hooks::On`].
pub const HOOK_EVENTS: &[&str] = &["arrival", "drop", "badmail", "down", "held", "well"];

/// Every section, in the order of the sample.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "",
        many: false,
        help: "The server as a whole.",
    },
    Section {
        name: "listen",
        many: true,
        help: "Where SMTP is spoken: one block for each address. Without a block it is the default address; \
               `listen = []` at the top of the file is no listener at all.",
    },
    Section {
        name: "tls",
        many: false,
        help: "The certificate that clients are shown. A changed file is used from the next connection on.",
    },
    Section {
        name: "users",
        many: false,
        help: "Who may log in. Who has may send to every domain.",
    },
    Section {
        name: "access",
        many: false,
        help: "Who may connect, and who may send on to other domains. An empty list is nobody.",
    },
    Section {
        name: "limits",
        many: false,
        help: "What one client, one message and the whole queue may take. At a limit the answer is a clear \
               temporary failure.",
    },
    Section {
        name: "local",
        many: false,
        help: "Domains whose mail stays here, in the drop folder.",
    },
    Section {
        name: "domain",
        many: true,
        help: "Local domains with mailboxes or a drop folder of their own: one block for each set. Mail for them is taken from \
               every client that may connect.",
    },
    Section {
        name: "aliases",
        many: false,
        help: "Names that stand for addresses, so that mail to root reaches a person.",
    },
    Section {
        name: "sender",
        many: false,
        help: "What senders become on their way out.",
    },
    Section {
        name: "route",
        many: true,
        help: "Where mail for other domains goes: one block for each way out. The closest pattern wins. What no \
               block fits goes to the drop folder.",
    },
    Section {
        name: "delivery",
        many: false,
        help: "Attempts, expiry, and reports to senders.",
    },
    Section {
        name: "dkim",
        many: true,
        help: "Signatures on mail that goes out, one block for each key. Mail is signed whose From is in the domain or below it; \
               `mailroot dkim new` makes a key and prints what to publish.",
    },
    #[cfg(feature = "ldap")]
    Section {
        name: "directory",
        many: false,
        help: "An LDAP directory that says who gets mail: aliases, forwarding, groups. Mail for its domains is accepted, then \
               looked up; while no server answers it waits. Senders are not looked up.",
    },
    Section {
        name: "pickup",
        many: false,
        help: "The folder that programs put messages into.",
    },
    Section {
        name: "badmail",
        many: false,
        help: "The folder for what could be neither delivered nor returned. The oldest goes first when a cap is reached.",
    },
    Section {
        name: "hook",
        many: true,
        help: "Programs that are run when something happens, one block for each; the place of the event sinks of IIS. A \
               program has the message on its standard input, if it is about one, and facts in MAILROOT_ variables: \
               _EVENT, _SERVER, and as far as they apply _ID, _SENDER, _RECIPIENTS (one a line), _WHY, _FILE, _WAY. What \
               it says first on standard error is logged. No other mail waits for it.",
    },
    Section {
        name: "dns",
        many: false,
        help: "How names are looked up.",
    },
    Section {
        name: "sts",
        many: false,
        help: "MTA-STS: what domains say about TLS to their mail exchangers.",
    },
    Section {
        name: "log",
        many: false,
        help: "What is written down, in which form, and where to.",
    },
    Section {
        name: "control",
        many: false,
        help: "The socket that `mailroot status` and `mailroot queue` speak to.",
    },
    Section {
        name: "operators",
        many: false,
        help: "Who may use that socket, besides root and the user that the service runs as. To send mail nobody has to \
               be named here.",
    },
];

/// Every setting, in the order of the sample; the rows of a section stand together.
pub const ROWS: &[Row] = &[
    // The server.
    Row::set(
        "name",
        Kind::Text,
        "mailroot",
        "The name of this server in logs, in the status and for commands. Where several servers run, one without it is \
         called like its file.",
    )
        .iis("Virtual server identity", "Default SMTP Virtual Server"),
    Row::set(
        "home",
        Kind::Path,
        "/var/spool/mailroot",
        "The folder that holds pickup, queue, drop, badmail and sorttemp. Relative paths elsewhere in this file \
         count from it.",
    )
    .iis("Mailroot (home directory)", "Inetpub\\Mailroot"),
    Row::unset(
        "hostname",
        Kind::Domain,
        "nas.example.com",
        "The name of this host in the greeting, EHLO and Received. Without it: the name the system has.",
    )
    .iis("Fully qualified domain name", "the computer's name"),
    Row::unset(
        "default_domain",
        Kind::Domain,
        "example.com",
        "The domain that addresses without one get. Without it: hostname; but a recipient whose mail would then \
         leave this host stays here instead, for nobody has said that such names have mailboxes elsewhere.",
    )
    .iis("Default local domain", "the computer's name"),
    Row::set(
        "durability",
        Kind::Word(&["always", "batch 50ms"]),
        "always",
        "When mail is made durable. Either way nobody is told yes before it is. \"always\": at once, together with what \
         else waits. \"batch 50ms\": once in 50 milliseconds at most, for flash that wears or syncs slowly; what it gives \
         up is time: each message is answered up to 50 milliseconds later, and a client that sends one after the other \
         gets at most 20 a second through.",
    ),
    Row::unset(
        "user",
        Kind::Text,
        "mailroot",
        "The user that the service becomes when root starts it, by name or number. The home is given to it; files that only \
         root can read are read before; ports below 1024 stay possible. One process has one user: several files must \
         not disagree, and a change needs a restart. Without it the service stays who it is, and says so when that is \
         root; \"root\" stays root without a word.",
    ),
    Row::unset(
        "group",
        Kind::Text,
        "mail",
        "The group that it becomes, by name or number. Without it: the user's own, as /etc/passwd has it.",
    ),
    Row::set(
        "sandbox",
        Kind::Word(&["auto", "on", "off"]),
        "auto",
        "Whether the service locks itself out of every file that it does not need (Landlock, Linux 5.19 and later): it reads \
         settings and certificates of the box, changes what is in its folders, and runs nothing. \"auto\": when it is not \
         root and there are no hooks, whose programs would be locked out, too. \"on\": always. A reload that names other \
         places is refused until a restart.",
    ),
    // Listeners.
    Row::set(
        "listen.address",
        Kind::Listen,
        "127.0.0.1:25",
        "The IP address and port; [::] and 0.0.0.0 are all addresses of this host. Or the path of a Unix socket: \
         who may open it (its owner and group) may send to every domain. Or systemd:NAME, the sockets that the \
         service manager hands over under this name.",
    )
    .iis("ServerBindings", ":25: (all addresses)"),
    Row::set(
        "listen.tls",
        Kind::Word(&["off", "starttls", "implicit"]),
        "starttls",
        "starttls: clients may begin TLS, once [tls] has a certificate. implicit: TLS begins with the connection \
         (port 465). off: never.",
    ),
    Row::set(
        "listen.require_tls",
        Kind::Bool,
        "false",
        "Whether mail is refused before TLS.",
    )
    .iis("AccessSSL", "off"),
    Row::set(
        "listen.require_auth",
        Kind::Bool,
        "false",
        "Whether mail is refused before a login, as on the submission port 587.",
    )
    .iis("AuthAnonymous", "on, so no login was required"),
    Row::set(
        "listen.insecure_auth",
        Kind::Bool,
        "false",
        "Whether other hosts may log in without TLS, where everybody on the way can read the password. Programs on \
         this host always may.",
    ),
    Row::set(
        "listen.cram_md5",
        Kind::Bool,
        "false",
        "Whether CRAM-MD5 is offered to old devices, also without TLS: the password does not cross the wire, but who \
         listens can guess weak ones at leisure. For users made with `mailroot passwd --cram-md5`.",
    ),
    Row::set(
        "listen.ntlm",
        Kind::Bool,
        "false",
        "Whether NTLM (version 2 only) is offered to Windows programs, also without TLS: the password does not cross \
         the wire, but who listens can guess weak ones at leisure. While there are users made with `mailroot passwd \
         --ntlm`. Only in builds with the feature ntlm.",
    )
    .iis("AuthNTLM", "on"),
    Row::set(
        "listen.proxy_from",
        Kind::List(&Kind::Network),
        "",
        "The load balancers that speak the PROXY protocol, version 2. A connection from one of them must begin with \
         it, and counts as coming from the address in it; anybody else's may not.",
    ),
    Row::unset(
        "listen.relay",
        Kind::List(&Kind::Network),
        "192.168.1.0/24",
        "The networks that may send mail to domains that are not local by this listener. Without it: access.relay.",
    ),
    Row::set(
        "listen.reverse_dns",
        Kind::OrOff(&Kind::Wait(1, 30)),
        "off",
        "How long the name of a client's address may be looked up, so that the Received line can tell it. Only a name \
         that leads back to the address counts, and nothing is decided by it.",
    )
    .iis("EnableReverseDnsLookup", "off"),
    Row::set(
        "listen.without",
        Kind::List(&Kind::Word(&["DSN", "CHUNKING", "BINARYMIME", "SMTPUTF8", "ETRN", "ATRN", "LIMITS"])),
        "",
        "Extensions of SMTP that are neither named in the answer to EHLO nor taken, for clients that use them wrongly.",
    )
    .iis("SmtpInboundCommandSupportOptions", "7697601"),
    // TLS.
    Row::unset(
        "tls.certificate",
        Kind::Path,
        "/etc/ssl/nas.example.com.pem",
        "A PEM file with the certificate of this host, then those that lead to its authority. Without it: no TLS, \
         unless self_signed is set.",
    ),
    Row::unset(
        "tls.key",
        Kind::Path,
        "/etc/ssl/private/nas.example.com.key",
        "A PEM file with the private key. Without it: the key is in the certificate's file.",
    ),
    Row::set(
        "tls.self_signed",
        Kind::Bool,
        "false",
        "Whether a certificate is made when there is none yet: certificate.pem in home, unless other files are named \
         here. It keeps who listens out; no authority vouches for it, so a client that asks for that has to be told \
         to trust it.",
    ),
    Row::set(
        "tls.clock_floor",
        Kind::Bool,
        "true",
        "Whether the certificates of other hosts are held against the newest time that is known to have been, while \
         this host's clock reads an earlier one. Without it a box that boots in 1970 can verify nobody until its clock \
         is set.",
    ),
    // Users.
    Row::unset(
        "users.file",
        Kind::Path,
        "/etc/mailroot.users",
        "The file that `mailroot passwd` writes. Without it: nobody can log in.",
    )
    .iis("AuthFlags", "anonymous"),
    #[cfg(feature = "ldap")]
    Row::set(
        "users.directory",
        Kind::Bool,
        "false",
        "Whether users of the [directory] may log in with the password that they have there (PLAIN and LOGIN; a name that \
         is in the file counts as it stands there). The password is only asked for inside TLS, and passed on only inside TLS.",
    ),
    Row::unset(
        "users.keytab",
        Kind::Path,
        "/etc/mailroot.keytab",
        "The keys of the service smtp/HOST of a Kerberos realm or a Windows domain, as `ktadd` and `ktpass` write them: \
         listeners then offer GSSAPI under TLS, and a user's ticket does for a password. Only the keys of AES are used. \
         Only in builds with the feature sso.",
    )
    .iis("AuthNTLM", "on: integrated authentication, Kerberos included"),
    Row::set(
        "users.principals",
        Kind::List(&Kind::Text),
        "",
        "Who may log in by a ticket: names such as \"tim@OFFICE.EXAMPLE\", or \"*@OFFICE.EXAMPLE\" for all users of a \
         realm, but not its services. An empty list is nobody.",
    ),
    // Access.
    Row::set(
        "access.connect",
        Kind::List(&Kind::Network),
        "0.0.0.0/0, ::/0",
        "The networks that may connect.",
    )
    .iis("Connection control", "all allowed"),
    Row::set(
        "access.deny",
        Kind::List(&Kind::Network),
        "",
        "The networks that may not connect, whatever else is said here.",
    )
    .iis("IPDeny", "none"),
    Row::set(
        "access.relay",
        Kind::List(&Kind::Network),
        "127.0.0.0/8, ::1",
        "The networks that may send mail to domains that are not local.",
    )
    .iis("RelayIpList", "none"),
    Row::set(
        "access.relay_logins",
        Kind::Bool,
        "true",
        "Whether who has logged in may send to domains that are not local, wherever he calls from.",
    )
    .iis("RelayForAuth", "on"),
    Row::set(
        "access.relay_domains",
        Kind::List(&Kind::Pattern),
        "",
        "The domains to which everybody who may connect may send, though they are not local: this host stands in \
         for their own.",
    )
    .iis("Allow incoming mail to be relayed to this domain", "off"),
    Row::set(
        "access.etrn",
        Kind::List(&Kind::Network),
        "",
        "The networks that may ask by ETRN that the mail of a domain be sent to its hosts now, where the domain has a \
         route with via = \"hold\" or \"mx\". The users of route.fetched_by may, too.",
    ),
    // Limits.
    Row::set(
        "limits.message_bytes",
        Kind::Size(KB, 2 * GB),
        "64MB",
        "The largest message taken. It is announced as SIZE.",
    )
    .iis("MaxMessageSize", "2048 KB"),
    Row::set(
        "limits.recipients",
        Kind::Int(1, 10_000),
        "1000",
        "Recipients of one message. A client that has more sends the rest in another message.",
    )
    .iis("MaxRecipients", "100"),
    Row::set(
        "limits.connections",
        Kind::Int(1, 10_000),
        "500",
        "Connections from clients at one time, over all listeners. When all are taken, the stranger that has been silent \
         longest makes room: at once for a client that may relay, after five seconds for another stranger.",
    )
    .iis("MaxConnections", "no limit"),
    Row::set(
        "limits.connections_per_client",
        Kind::Int(1, 10_000),
        "200",
        "Connections from one IP address at one time.",
    ),
    Row::set(
        "limits.messages_per_connection",
        Kind::OrOff(&Kind::Int(1, 1_000_000)),
        "off",
        "Messages taken on one connection before the client is asked to open a new one.",
    ),
    Row::set(
        "limits.messages_per_minute",
        Kind::OrOff(&Kind::Int(1, 10_000)),
        "off",
        "Messages taken from one IP address in a minute. What is over it is refused for now.",
    ),
    Row::set(
        "limits.session_bytes",
        Kind::OrOff(&Kind::Size(KB, 1000 * GB)),
        "off",
        "Bytes of all messages taken on one connection.",
    )
    .iis("MaxSessionSize", "10240 KB"),
    Row::set(
        "limits.command_timeout",
        Kind::Wait(1, HOUR),
        "5m",
        "How long a client may wait with its next command.",
    )
    .iis("ConnectionTimeout", "10 minutes"),
    Row::set(
        "limits.data_timeout",
        Kind::Wait(1, HOUR),
        "3m",
        "How long a client may pause inside a message.",
    ),
    Row::set(
        "limits.session_timeout",
        Kind::Wait(1, 7 * DAY),
        "1h",
        "How long one connection may last in all.",
    ),
    Row::set(
        "limits.errors",
        Kind::Int(1, 1000),
        "10",
        "Refused commands after which the connection is closed.",
    )
    .iis("MaxSmtpErrors", "no limit"),
    Row::set(
        "limits.tarpit",
        Kind::OrOff(&Kind::Wait(1, 60)),
        "off",
        "How long a client waits for the answer after each refused command, so that guessing is slow.",
    )
    .iis("TarpitTime", "off"),
    Row::set(
        "limits.hops",
        Kind::Int(1, 1000),
        "50",
        "Received lines after which a message is taken to be in a loop.",
    )
    .iis("HopCount", "15"),
    Row::set(
        "limits.queue_bytes",
        Kind::Size(MB, 1000 * GB),
        "1GB",
        "Bytes of all messages in the queue. Above it new mail is refused until there is room.",
    ),
    Row::set(
        "limits.queue_messages",
        Kind::Int(1, 10_000_000),
        "250000",
        "Messages in the queue.",
    ),
    Row::set(
        "limits.free_bytes",
        Kind::Size(0, 1000 * GB),
        "16MB",
        "Free space left to everybody else on the disk of home. Below it new mail is refused.",
    ),
    Row::set(
        "limits.free_files",
        Kind::Int(0, 1_000_000_000),
        "100",
        "Files that everybody else can still make on the disk of home (free inodes). Below it new mail that needs a \
         file is refused.",
    ),
    // Local domains.
    Row::set(
        "local.domains",
        Kind::List(&Kind::Domain),
        "",
        "Domains whose mail goes to the drop folder. It is taken from every client that may connect.",
    )
    .iis("Local and alias domains", "the computer's name"),
    Row::set(
        "local.alias_domains",
        Kind::List(&Kind::Domain),
        "",
        "Further names of the first of these domains: a recipient there is stamped with that one.",
    )
    .iis("Alias domain", "none"),
    Row::unset(
        "local.mailboxes",
        Kind::List(&Kind::Text),
        "alerts",
        "The mailboxes that exist in these domains: local parts, or whole addresses for one domain alone; an empty \
         list is postmaster alone, which always exists. Without it: all do.",
    ),
    Row::set("local.drop", Kind::Path, "drop", "The drop folder.")
        .iis("DropDirectory", "Mailroot\\Drop"),
    Row::set(
        "local.format",
        Kind::Word(&["eml", "maildir"]),
        "eml",
        "How mail lies there. eml: a file for each message, ID.eml, with its envelope in front, which can be moved into a \
         pickup folder. maildir: a Maildir; where `mailboxes` names them, one for each mailbox below the folder.",
    ),
    Row::set(
        "local.drop_bytes",
        Kind::OrOff(&Kind::Size(KB, 1000 * GB)),
        "250MB",
        "Bytes in the drop folder above which local mail waits in the queue.",
    )
    .iis("Drop directory quota", "off, or 10 times the message limit"),
    Row::set(
        "local.drop_files",
        Kind::OrOff(&Kind::Int(1, 10_000_000)),
        "10000",
        "Files in the drop folder above which local mail waits in the queue.",
    ),
    // Local domains with a folder of their own.
    Row::unset(
        "domain.domains",
        Kind::List(&Kind::Domain),
        "office.example",
        "The domains. They share the mailboxes and the folder of this block.",
    ),
    Row::set(
        "domain.alias_domains",
        Kind::List(&Kind::Domain),
        "",
        "Further names of the first of these domains: a recipient there is stamped with that one.",
    ),
    Row::unset(
        "domain.mailboxes",
        Kind::List(&Kind::Text),
        "alerts",
        "The mailboxes that exist in these domains, as in local.mailboxes. Without it: all do.",
    ),
    Row::unset(
        "domain.drop",
        Kind::Path,
        "drop/office",
        "Their drop folder. Without it: local.drop, with its format and quota.",
    ),
    Row::set(
        "domain.format",
        Kind::Word(&["eml", "maildir"]),
        "eml",
        "How mail lies there, as in local.format.",
    ),
    Row::set(
        "domain.drop_bytes",
        Kind::OrOff(&Kind::Size(KB, 1000 * GB)),
        "250MB",
        "Bytes in that folder above which its mail waits in the queue.",
    ),
    Row::set(
        "domain.drop_files",
        Kind::OrOff(&Kind::Int(1, 10_000_000)),
        "10000",
        "Files in that folder above which its mail waits in the queue.",
    ),
    // Aliases.
    Row::unset(
        "aliases.file",
        Kind::Path,
        "/etc/aliases",
        "A file in the format of /etc/aliases: `name: who, who` on each line. It holds for local domains, for names without a \
         domain, and for this host by its own name; `*` is everybody of the first two kinds who has neither alias nor \
         mailbox. A change counts from the next message on; `newaliases` says whether the file is good. Without it: a \
         name without a domain gets default_domain, and stays in the drop folder where that is not given and would \
         lead elsewhere.",
    ),
    // Senders.
    Row::unset(
        "sender.masquerade",
        Kind::Domain,
        "example.com",
        "What takes the place of local domains and of this host's name in the envelope of mail that begins its way here \
         (that has no Received line yet). The header stays as it was written. Without it: nothing does.",
    )
    .iis("MasqueradeDomain", "none"),
    // Routes.
    Row::set(
        "route.to",
        Kind::List(&Kind::Pattern),
        "*",
        "The domains that go this way: example.com, *.example.com (all below it, not itself), or * for all others.",
    )
    .iis("Remote domain", "none"),
    Row::set(
        "route.via",
        Kind::Word(&["smart-host", "mx", "mx-then-smart-host", "lmtp", "hold", "drop"]),
        "smart-host",
        "The way. smart-host: to the hosts named here. mx: to the mail exchangers that DNS names for each domain. \
         mx-then-smart-host: to those, and to the hosts named here when DNS names none or none of them answers. hold: \
         mail waits until the domain's host fetches it with ETRN (then it goes to the hosts named here, else to the \
         domain's exchangers) or ATRN. lmtp: by LMTP to the mail store named here, which \
         answers for each recipient. drop: into the drop folder.",
    )
    .iis("RouteAction", "0 (by DNS)"),
    Row::set(
        "route.hosts",
        Kind::List(&Kind::Host),
        "",
        "The smart hosts in the order they are tried; one that stands in for another is kept for a while before the \
         first is tried again. Without a port it is 587, with via = \"hold\" 25, with via = \"lmtp\" 24. With that it may also be the path of a \
         Unix socket.",
    )
    .iis("SmartHost", "none"),
    Row::set(
        "route.fetched_by",
        Kind::List(&Kind::Text),
        "",
        "The users who may fetch what is held here: after a login by ATRN over their own connection, or by ETRN. Only \
         with via = \"hold\".",
    )
    .iis("AuthTurnList", "none"),
    Row::set(
        "route.mx_port",
        Kind::Int(1, 65_535),
        "25",
        "The port of mail exchangers.",
    )
    .iis("RemoteSmtpPort", "25"),
    Row::set(
        "route.private_addresses",
        Kind::Bool,
        "false",
        "Whether mail exchangers may have addresses of private networks or of this host. Whoever runs a domain says \
         where its exchangers are, and could point into your network.",
    ),
    Row::set(
        "route.source",
        Kind::List(&Kind::Ip),
        "",
        "The addresses of this host to connect from, one for IPv4 and one for IPv6 at most. Empty: the system chooses.",
    ),
    Row::set(
        "route.tls",
        Kind::Tls,
        "verify",
        "verify: always, and the certificate must be good (with via = \"lmtp\" to this host: off unless it is written). require: always, any certificate. opportunistic: when \
         offered, any certificate. pin:HEX: always, and the certificate or its public key must have this SHA-256. off: never. \
         dane: as the host's TLSA records say, where DNSSEC vouches for them, else verify for smart hosts and opportunistic \
         for mail exchangers. dane-only: never without them. Mail exchangers get dane unless another is written with via = \"mx\".",
    )
    .iis("AlwaysUseSsl", "off"),
    Row::set(
        "route.mta_sts",
        Kind::Bool,
        "true",
        "Whether mail exchangers are held to the policy that their domain publishes with MTA-STS.",
    ),
    Row::unset(
        "route.certificate",
        Kind::Path,
        "/etc/ssl/nas.pem",
        "A PEM file with the certificate that is shown to hosts that ask for one, then those that lead to its authority. \
         A changed file is used from the next connection on. Without it: none is shown.",
    ),
    Row::unset(
        "route.key",
        Kind::Path,
        "/etc/ssl/private/nas.key",
        "A PEM file with its private key, readable by its owner alone (chmod 600). Without it: the key is in the \
         certificate's file.",
    ),
    Row::unset(
        "route.implicit_tls",
        Kind::Bool,
        "true",
        "Whether TLS begins with the connection, without STARTTLS. Without it: true for port 465, else false.",
    ),
    Row::unset(
        "route.ca",
        Kind::Path,
        "/etc/ssl/office-ca.pem",
        "A PEM file with the only certificates that are trusted here: authorities, or the host's own. Without it: the public authorities built in.",
    ),
    Row::unset(
        "route.user",
        Kind::Text,
        "me@example.com",
        "The account to log in with. Without it: no login.",
    )
    .iis("Outbound security", "anonymous"),
    Row::unset(
        "route.password_file",
        Kind::SecretFile,
        "/etc/mailroot.password",
        "A file that holds the password on its only line; it must be readable by its owner alone (chmod 600).",
    ),
    Row::unset(
        "route.password_env",
        Kind::Variable,
        "MAILROOT_PASSWORD",
        "The environment variable that holds the password. Without it and password_file: MAILROOT_PASSWORD.",
    ),
    Row::unset(
        "route.token_file",
        Kind::SecretFile,
        "/etc/mailroot.token",
        "Instead of a password: a file that holds an OAuth 2 access token on its only line (chmod 600). It is read for each connection, so whoever renews the token only writes the file.",
    ),
    Row::set(
        "route.auth",
        Kind::List(&Kind::Word(mechanism::NAMES)),
        "",
        "The only ways to log in that are used, for a host that offers one that does not work. Empty: the strongest that is offered. EXTERNAL is never used unless it is named here.",
    )
    .iis("RouteUserName, secure", "basic or NTLM"),
    Row::set(
        "route.insecure_auth",
        Kind::Bool,
        "false",
        "Whether the password may be sent without TLS, where everybody on the way can read it.",
    ),
    Row::set(
        "route.connections",
        Kind::Int(1, 1000),
        "4",
        "Connections to the hosts named in this route at one time, and to the exchangers of one domain.",
    )
    .iis("MaxOutConnectionsPerDomain", "100"),
    Row::set(
        "route.connections_total",
        Kind::Int(1, 10_000),
        "50",
        "Connections of this route at one time, over all its domains.",
    ),
    Row::set(
        "route.messages_per_minute",
        Kind::OrOff(&Kind::Int(1, 1_000_000)),
        "off",
        "Messages sent over this route in any minute; the others wait for their turn. For providers that close an \
         account that sends too fast.",
    ),
    Row::set(
        "route.messages_per_connection",
        Kind::Int(1, 100_000),
        "100",
        "Messages sent over one connection before a new one is opened.",
    )
    .iis("MaxBatchedMessages", "20"),
    Row::unset(
        "route.expire",
        Kind::Wait(1, 365 * DAY),
        "14d",
        "How long a message is tried on this route, or held there. Without it: delivery.expire.",
    )
    .iis("EtrnDays", "10 days"),
    Row::unset(
        "route.helo",
        Kind::Domain,
        "nas.example.com",
        "The name this host gives itself in EHLO. Without it: hostname.",
    ),
    Row::set(
        "route.ehlo",
        Kind::Bool,
        "true",
        "Whether EHLO is said. false: HELO at once, for a host that stumbles over EHLO; one that refuses EHLO gets HELO \
         anyway. With HELO there is neither TLS nor a login.",
    )
    .iis("RouteAction, USE_HELO", "off"),
    Row::set(
        "route.connect_timeout",
        Kind::Wait(1, HOUR),
        "30s",
        "How long a connection may take to open, for each address.",
    ),
    Row::set(
        "route.greeting_timeout",
        Kind::Wait(1, HOUR),
        "5m",
        "How long the host may take to greet, TLS included.",
    ),
    Row::set(
        "route.command_timeout",
        Kind::Wait(1, HOUR),
        "5m",
        "How long the host may take to answer a command.",
    )
    .iis("RemoteTimeout", "10 minutes"),
    Row::set(
        "route.data_timeout",
        Kind::Wait(1, HOUR),
        "3m",
        "How long the host may take to accept the next piece of a message.",
    ),
    Row::set(
        "route.final_timeout",
        Kind::Wait(1, HOUR),
        "10m",
        "How long the host may take to answer after the end of a message. Too short makes duplicates.",
    ),
    // Delivery.
    Row::set(
        "delivery.connections",
        Kind::Int(1, 10_000),
        "200",
        "Connections to other hosts at one time, over all routes. When they are all in use, ways without one come \
         first, and those that have failed get half of them at most.",
    )
    .iis("MaxOutConnections", "1000"),
    Row::set(
        "delivery.retry",
        Kind::List(&Kind::Wait(1, 7 * DAY)),
        "1m, 1m, 1m, 15m, 30m, 1h, 4h",
        "The waits between attempts; the last one repeats. A way that cannot be reached at all is looked at again after a \
         quarter of an hour, or of its outage, where the list says longer.",
    )
    .iis("SmtpRemoteProgressiveRetry", "15,30,60,240 minutes"),
    Row::set(
        "delivery.jitter",
        Kind::Int(0, 100),
        "10",
        "Percent of a wait that chance may add, so that many boxes do not come back in the same second.",
    ),
    Row::set(
        "delivery.expire",
        Kind::Wait(1, 365 * DAY),
        "5d",
        "How long a message is tried before it is returned. Only time in which this host ran counts.",
    )
    .iis("SmtpRemoteNDRExpireMinutes", "2 days"),
    Row::set(
        "delivery.delay_notice",
        Kind::OrOff(&Kind::Wait(1, 365 * DAY)),
        "off",
        "After how long a sender is told, once, that a message still waits; by default never, for most senders here are programs. \
         A way that waits for its owner (a wrong password, say) tells nobody.",
    )
    .iis("SmtpRemoteDelayExpireMinutes", "12 hours"),
    Row::set(
        "delivery.memory_first",
        Kind::OrOff(&Kind::Wait(1, HOUR)),
        "off",
        "How long mail that says it is of low priority may be in memory alone: when it leaves sooner the flash never sees \
         it. A power cut or a crash loses what is there, though its sender was told yes. It is written when the time is up, \
         when an attempt fails, at a stop, and on `mailroot sync`, which the script of a UPS can call. off: nobody is told \
         yes before the message is on the disk.",
    ),
    Row::set(
        "delivery.memory_first_from",
        Kind::List(&Kind::Address),
        "",
        "Senders (envelope addresses) whose mail counts as of low priority for this, whatever it says.",
    ),
    Row::unset(
        "delivery.report_copy_to",
        Kind::Address,
        "owner@example.com",
        "An address that gets a copy of every report of a failure or a delay. Without it: nobody does.",
    )
    .iis("SendNdrTo", "none"),
    Row::unset(
        "delivery.report_from",
        Kind::Address,
        "postmaster@example.com",
        "The From of reports; their envelope sender is always empty. Without it: MAILER-DAEMON at hostname.",
    ),
    Row::set(
        "delivery.report_full",
        Kind::Bool,
        "false",
        "Whether a report brings the whole message back, and not its header only.",
    ),
    // Signatures.
    Row::unset(
        "dkim.domain",
        Kind::Domain,
        "example.com",
        "Whose mail is signed. Of several blocks those with the closest domain sign, each for itself.",
    ),
    Row::unset(
        "dkim.selector",
        Kind::Domain,
        "nas",
        "The name of the key: its record stands at SELECTOR._domainkey.DOMAIN.",
    ),
    Row::unset(
        "dkim.key_file",
        Kind::Path,
        "/etc/mailroot.dkim.pem",
        "The private key in PEM form, Ed25519 or RSA; it must be readable by its owner alone (chmod 600).",
    ),
    Row::set(
        "dkim.canonicalization",
        Kind::Word(&["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"]),
        "relaxed/relaxed",
        "What relays on the way may do to white space in the header and in the body without breaking the signature.",
    ),
    // The directory.
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.servers",
        Kind::List(&Kind::Directory),
        "",
        "The servers in the order they are tried: ldaps://HOST:PORT, ldap://HOST:PORT or ldapi://PATH. Empty: no directory.",
    )
    .iis("SmtpDsHost", "none"),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.port",
        Kind::Int(1, 65_535),
        "3268",
        "The port of servers that name none. Without it: 389, with ldaps 636.",
    )
    .iis("SmtpDsPort", "389"),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.start_tls",
        Kind::Bool,
        "true",
        "Whether connections to ldap:// servers go on inside TLS before anything else is said, with a certificate that is good.",
    ),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.insecure_auth",
        Kind::Bool,
        "false",
        "Whether passwords may be sent to ldap:// servers without TLS, where everybody on the way can read them.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.ca",
        Kind::Path,
        "/etc/ssl/office-ca.pem",
        "A PEM file with the only authorities that are trusted for its servers. Without it: the public authorities built in.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.certificate",
        Kind::Path,
        "/etc/ssl/nas.pem",
        "A PEM file with the certificate that is shown to its servers, for bind = \"external\". Without it: none is shown.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.key",
        Kind::Path,
        "/etc/ssl/private/nas.key",
        "A PEM file with its private key, readable by its owner alone (chmod 600). Without it: the key is in the \
         certificate's file.",
    ),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.schema",
        Kind::Word(&["active-directory", "posix", "custom"]),
        "active-directory",
        "What its attributes mean. active-directory: mail, proxyAddresses, targetAddress, member. posix: mail, mailLocalAddress, \
         mailRoutingAddress, mailHost, member, uniqueMember, memberUid, rfc822MailMember. custom: what the keys below name. \
         Each of those keys may also replace one list of the other two.",
    )
    .iis("SmtpDsSchemaType", "none"),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.bind",
        Kind::Word(&["anonymous", "simple", "external"]),
        "anonymous",
        "Who this server is to the directory. simple: user with a password. external: whom the certificate names, or on ldapi \
         the user of this process.",
    )
    .iis("SmtpDsBindType", "anonymous"),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.domain",
        Kind::Text,
        "CORP",
        "The domain of that user: with a dot he is user@domain, without one DOMAIN\\user. Not used for a user that is the \
         name of an entry. Without it: user as it stands.",
    )
    .iis("SmtpDsDomain", "none"),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.user",
        Kind::Text,
        "cn=mailroot,ou=services,dc=example,dc=com",
        "The account for bind = \"simple\": the name of an entry, or with domain a user.",
    )
    .iis("SmtpDsAccount", "none"),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.password_file",
        Kind::SecretFile,
        "/etc/mailroot.directory",
        "A file that holds its password on its only line; it must be readable by its owner alone (chmod 600).",
    )
    .iis("SmtpDsPassword", "none"),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.password_env",
        Kind::Variable,
        "LDAP_PASSWORD",
        "The environment variable that holds the password. Without it and password_file: MAILROOT_DIRECTORY_PASSWORD.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.base",
        Kind::Text,
        "dc=example,dc=com",
        "The entry below which everything is searched. It must be set when there are servers.",
    )
    .iis("SmtpDsNamingContext", "none"),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.domains",
        Kind::List(&Kind::Domain),
        "example.com",
        "The domains whose recipients are looked up. Without it: local.domains.",
    ),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.unknown",
        Kind::Word(&["refuse", "keep"]),
        "refuse",
        "What becomes of a recipient that the directory does not know. refuse: the sender gets a report (5.1.1), after the \
         message was accepted. keep: it goes on as it is written. Postmaster and what local.mailboxes names always go on.",
    ),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.members",
        Kind::Int(1, 10_000),
        "1000",
        "Addresses that one address may become. A group with more holds its messages until this is raised.",
    ),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.depth",
        Kind::Int(1, 100),
        "10",
        "Groups inside groups, and forwardings behind each other, that are followed.",
    ),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.timeout",
        Kind::Wait(1, 600),
        "10s",
        "How long a server may take to connect, for TLS, and for each answer.",
    ),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.cache_time",
        Kind::OrOff(&Kind::Wait(1, DAY)),
        "5m",
        "How long it is remembered what an address became, or that it is unknown. A reload forgets it all.",
    ),
    #[cfg(feature = "ldap")]
    Row::set(
        "directory.cache_entries",
        Kind::Int(1, 100_000),
        "1000",
        "Addresses that are remembered. Large groups are not.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.address_attributes",
        Kind::List(&Kind::Text),
        "mail",
        "The attributes with the addresses of an entry; the first is the one that mail goes to. Without it: as schema says.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.forward_attributes",
        Kind::List(&Kind::Text),
        "mailRoutingAddress",
        "Those with an address that gets the mail instead. Without it: as schema says.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.host_attributes",
        Kind::List(&Kind::Text),
        "mailServer",
        "Those with the host that keeps the mail: it goes there as mail for a domain of that name would, so a [[route]] \
         whose `to` fits the host decides whether and how. Without it: as schema says.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.member_attributes",
        Kind::List(&Kind::Text),
        "uniqueMember",
        "Those of groups with the names of their members' entries. Without it: as schema says.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.member_uid_attributes",
        Kind::List(&Kind::Text),
        "memberUid",
        "Those of groups with the user names of their members, as the first of login_attributes has them. Without it: as \
         schema says.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.member_address_attributes",
        Kind::List(&Kind::Text),
        "rfc822MailMember",
        "Those of groups with the addresses of their members. Without it: as schema says.",
    ),
    #[cfg(feature = "ldap")]
    Row::unset(
        "directory.login_attributes",
        Kind::List(&Kind::Text),
        "uid",
        "Those with what a user logs in with. Without it: as schema says.",
    ),
    // Pickup.
    Row::set(
        "pickup.enabled",
        Kind::Bool,
        "true",
        "Whether the pickup folder is watched. sendmail needs it.",
    ),
    Row::set(
        "pickup.dot_stuffed",
        Kind::Word(&["never", "always"]),
        "never",
        "always: one leading dot of each line is removed, as IIS did. never: every byte is the message's.",
    ),
    Row::set(
        "pickup.rescan",
        Kind::Wait(1, DAY),
        "5m",
        "How often the folder is read in full, since the system's notices of new files can get lost.",
    ),
    // Badmail.
    Row::set(
        "badmail.bytes",
        Kind::Size(MB, 1000 * GB),
        "50MB",
        "Bytes in the folder.",
    ),
    Row::set(
        "badmail.files",
        Kind::Int(3, 1_000_000),
        "3000",
        "Files in the folder; a message has three.",
    ),
    Row::set(
        "badmail.age",
        Kind::Wait(1, 3650 * DAY),
        "30d",
        "How long a message stays; looked at when another one comes and when the service starts.",
    ),
    // Hooks.
    Row::unset(
        "hook.on",
        Kind::List(&Kind::Word(HOOK_EVENTS)),
        "held, well",
        "When it is run: a message has arrived (and waits until the program has ended), was put into the drop folder or \
         into badmail; a way is down, is held (its setup is at fault), or is well: each change once.",
    )
    .iis("smtpreg.vbs", "OnArrival sinks"),
    Row::unset(
        "hook.exec",
        Kind::List(&Kind::Text),
        "/usr/local/bin/tell, owner",
        "The program and its arguments, run without a shell. If it ends with 65 on arrival, the message is returned to \
         its sender as refused; with any other end, or none in time, it goes on its way. Do not take it for a lock.",
    ),
    Row::set(
        "hook.timeout",
        Kind::Wait(1, HOUR),
        "30s",
        "How long it may take; then it is killed, with everything it has started. A message that has arrived waits no \
         longer for the turn of its program, either.",
    ),
    Row::set(
        "hook.at_once",
        Kind::Int(1, 16),
        "2",
        "How often it may run at the same time. What comes meanwhile waits its turn.",
    ),
    // Names.
    Row::set(
        "dns.servers",
        Kind::List(&Kind::NameServer),
        "",
        "The name servers in the order they are asked. An empty list is those of /etc/resolv.conf.",
    ),
    Row::set(
        "dns.timeout",
        Kind::Wait(1, 60),
        "5s",
        "How long a name server may take before the next one is asked.",
    ),
    Row::set(
        "dns.trust_ad",
        Kind::Bool,
        "false",
        "Whether a name server on another host is believed when it says that DNSSEC has proved an answer; whoever is \
         on the way there could say so. One on this host always is.",
    ),
    // MTA-STS.
    Row::set(
        "sts.port",
        Kind::Int(1, 65_535),
        "443",
        "The port at which policies are fetched.",
    ),
    Row::unset(
        "sts.ca",
        Kind::Path,
        "/etc/ssl/test-ca.pem",
        "A PEM file with the only authorities that are trusted for the servers of policies, and for the exchangers \
         that a policy speaks of. Without it: the public authorities built in.",
    ),
    Row::set(
        "sts.timeout",
        Kind::Wait(1, HOUR),
        "1m",
        "How long fetching a policy may take.",
    ),
    // Log.
    Row::set(
        "log.level",
        Kind::Word(&["error", "warn", "info", "debug"]),
        "info",
        "The least important event that is written.",
    ),
    Row::set(
        "log.form",
        Kind::Word(&["text", "json", "w3c", "iis", "ncsa"]),
        "text",
        "Lines for people, or one JSON object a line, which any database takes (the place of IIS's ODBC logging). w3c, \
         iis and ncsa are the forms of IIS: every command and reply, of clients and of hosts that mail goes to, in files \
         in log.directory; events are text then.",
    )
    .iis("Log format", "W3C extended"),
    Row::set(
        "log.dialogue",
        Kind::Bool,
        "false",
        "Whether every command and reply is an event, too, in the forms text and json. Passwords and messages never \
         are.",
    )
    .iis("LogType", "0, no log"),
    Row::set(
        "log.to",
        Kind::Word(&["stderr", "files", "syslog", "journald"]),
        "stderr",
        "Where events go: standard error, files in log.directory, the receiver log.syslog, or the journal of systemd. \
         None of them holds up mail: lines that cannot be written are counted, and the count is told later.",
    ),
    Row::set(
        "log.syslog",
        Kind::Receiver,
        "/dev/log",
        "The receiver of syslog (RFC 5424): the socket of this box, or udp://HOST:PORT or tcp://HOST:PORT.",
    ),
    Row::set(
        "log.facility",
        Kind::Word(logs::FACILITIES),
        "mail",
        "The facility of lines for syslog and the journal.",
    ),
    Row::set(
        "log.directory",
        Kind::Path,
        "logs",
        "The folder of log files, on a disk of this box. A program that renames them sends SIGHUP.",
    )
    .iis("LogFileDirectory", "System32\\LogFiles"),
    Row::set(
        "log.rotate",
        Kind::Word(&["hourly", "daily", "weekly", "monthly", "never"]),
        "daily",
        "When the next file is begun (UTC), besides when one is full; its name says when, such as ex261122.log.",
    )
    .iis("LogFilePeriod", "1, daily"),
    Row::set(
        "log.file_bytes",
        Kind::OrOff(&Kind::Size(10 * KB, 2 * GB)),
        "20480000",
        "How long one file may get; the next has the same name and a number.",
    )
    .iis("LogFileTruncateSize", "20480000 bytes"),
    Row::set(
        "log.total_bytes",
        Kind::Size(10 * KB, 1000 * GB),
        "100MB",
        "How long all log files in the folder may be together. The oldest are removed.",
    )
    .iis("no such setting", "old files were removed by hand"),
    Row::set(
        "log.fields",
        Kind::List(&Kind::Word(logs::NAMES)),
        "time, c-ip, cs-method, cs-uri-stem, sc-status",
        "What stands in a W3C line, and in which order.",
    )
    .iis("Extended logging options", "Time, Client IP Address, Method, URI Stem, Protocol Status"),
    // Control.
    Row::set(
        "control.socket",
        Kind::Path,
        "control.sock",
        "The Unix socket. Who may use it stands in [operators].",
    ),
    // Operators.
    Row::set(
        "operators.users",
        Kind::List(&Kind::Text),
        "",
        "Users of this host, by name or number, who may do everything that `mailroot queue` and `mailroot reload` can.",
    )
    .iis("Operators", "Administrators"),
    Row::set(
        "operators.groups",
        Kind::List(&Kind::Text),
        "",
        "Groups of this host, by name or number, whose members may do so.",
    ),
    Row::set(
        "operators.readers",
        Kind::List(&Kind::Text),
        "",
        "Users who may see the status and the queue, and change nothing.",
    ),
    Row::set(
        "operators.reader_groups",
        Kind::List(&Kind::Text),
        "",
        "Groups whose members may see the status and the queue, and change nothing.",
    ),
];
