//! The configuration of one server, with everything read and checked: nothing behind it checks again.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::endpoint;
use crate::config::endpoint::At;
use crate::config::endpoint::Tls;
use crate::config::hooks::Hook;
use crate::config::logs::Log;
use crate::ldap::expand::Rules;
use crate::mail::Address;
use crate::mail::Domain;
use crate::mail::dkim::canon::Forms;
use crate::policy::access::Networks;
use crate::policy::retry::Waits;
use crate::policy::rewrite::Rewrite;
use crate::policy::route::Pattern;
use crate::policy::route::Routes;
use crate::smtp::sasl::mechanism::Mechanisms;

/// One virtual server.
///
/// Invariant: every path in it is absolute or counts from where `home` counts; relative ones were joined to `home`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Its name in logs and status.
    pub name: String,
    /// The folder with pickup, queue, drop, badmail and sorttemp.
    pub home: PathBuf,
    /// The name of this host in the greeting, EHLO and Received.
    pub hostname: Domain,
    /// Whom the service becomes when root starts it; `None` is nobody else.
    pub user: Option<String>,
    /// With which group; `None` is that user's own.
    pub group: Option<String>,
    /// Whether it locks itself out of files that it does not need.
    pub sandbox: Sandbox,
    /// How long messages that came are held back for others to share their sync.
    pub batch: Option<Duration>,
    /// Where SMTP is spoken; may be empty.
    pub listen: Vec<Listen>,
    /// What clients are shown; `None` is no TLS.
    pub certificate: Option<Certificate>,
    /// Whether certificates are held against the newest known time when the clock reads less.
    pub clock_floor: bool,
    /// The file of users; `None` is nobody.
    pub users: Option<PathBuf>,
    /// Whether those of the directory may log in, too; then there is one.
    pub directory_users: bool,
    /// Who says what becomes of recipients; `None` is nobody.
    pub directory: Option<Directory>,
    /// Whose tickets of Kerberos are taken; `None` is nobody's.
    pub tickets: Option<Tickets>,
    /// Who may connect and relay.
    pub access: Access,
    /// What one client, one message and the queue may take.
    pub limits: Limits,
    /// The drop folder of domains that have no other.
    pub local: Local,
    /// Those of domains that have one of their own.
    pub folders: Vec<Local>,
    /// What addresses become before they are routed.
    pub rewrite: Rewrite,
    /// The file of aliases.
    pub aliases: Option<PathBuf>,
    /// Where each domain goes; the routes it names count in `routes`.
    pub routing: Routes,
    /// The ways out. Routes to the drop folder are not among them.
    pub routes: Vec<Route>,
    /// Attempts, expiry and reports.
    pub delivery: Delivery,
    /// What signs mail that goes out.
    pub dkim: Vec<Dkim>,
    /// What is run when something happens.
    pub hooks: Vec<Hook>,
    /// The pickup folder.
    pub pickup: Pickup,
    /// The badmail folder.
    pub badmail: Badmail,
    /// How names are looked up.
    pub dns: Dns,
    /// How policies of MTA-STS are fetched.
    pub sts: Sts,
    /// What is logged, and how.
    pub log: Log,
    /// The control socket.
    pub control: Control,
    /// Who may use it.
    pub operators: Operators,
}

/// Whether the service locks itself out of files that it does not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Where that costs nobody anything: not as root, and not with hooks.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: At,
    /// How TLS begins.
    pub tls: Begin,
    /// Whether mail is refused before TLS.
    pub require_tls: bool,
    /// Whether mail is refused before a login.
    pub require_auth: bool,
    /// Whether other hosts may log in without TLS.
    pub insecure_auth: bool,
    /// Whether CRAM-MD5 is offered.
    pub cram_md5: bool,
    /// Whether NTLM is offered.
    pub ntlm: bool,
    /// Who speaks the PROXY protocol.
    pub proxy_from: Networks,
    /// Who may send to domains that are not local; `None` is what `access` says.
    pub relay: Option<Networks>,
    /// How long a client's name may be looked up; `None` is not at all.
    pub reverse_dns: Option<Duration>,
    /// Extensions that are not offered, by their keywords.
    pub without: Vec<&'static str>,
}

/// How TLS begins on a listener. Without a certificate it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Never.
    Never,
    /// When the client asks for it.
    StartTls,
    /// With the connection; there is a certificate.
    Implicit,
}

/// What tickets of Kerberos are held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tickets {
    /// The file of keys.
    pub keytab: PathBuf,
    /// Who may log in.
    pub principals: Vec<String>,
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and those that lead to its authority.
    pub chain: PathBuf,
    /// The key; may be the same file.
    pub key: PathBuf,
    /// Whether one is made when there is none.
    pub self_signed: bool,
}

impl Config {
    /// Every drop folder, in the order of their numbers ([`Next::Drop`](crate::policy::route::Next::Drop)).
    pub fn drops(&self) -> impl Iterator<Item = &Local> {
        std::iter::once(&self.local).chain(&self.folders)
    }
}

/// Who may connect and relay. An empty list is nobody (promise G5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Who may connect.
    pub connect: Networks,
    /// Who may not, though `connect` says so.
    pub deny: Networks,
    /// Who may send to domains that are not local.
    pub relay: Networks,
    /// Whether who has logged in may, too.
    pub relay_logins: bool,
    /// Who may start the queue of a domain.
    pub etrn: Networks,
    /// Where everybody who may connect may send to.
    pub relay_domains: Vec<Pattern>,
}

/// Caps (promise G4). What is `None` has no limit of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the largest message taken.
    pub message_bytes: u64,
    /// Recipients of one message.
    pub recipients: u32,
    /// Clients at one time.
    pub connections: u32,
    /// Clients at one time from one address; at most `connections`.
    pub connections_per_client: u32,
    /// Messages taken on one connection.
    pub messages_per_connection: Option<u32>,
    /// Messages of one client in a minute.
    pub messages_per_minute: Option<u32>,
    /// Bytes of all messages taken on one connection.
    pub session_bytes: Option<u64>,
    /// Wait for the next command.
    pub command_timeout: Duration,
    /// Wait for more of a message.
    pub data_timeout: Duration,
    /// Length of a connection.
    pub session_timeout: Duration,
    /// Refused commands on one connection.
    pub errors: u32,
    /// Wait before the answer to each of them.
    pub tarpit: Option<Duration>,
    /// Received fields of one message.
    pub hops: u32,
    /// Bytes of all queued messages.
    pub queue_bytes: u64,
    /// Queued messages.
    pub queue_messages: u32,
    /// Bytes that stay free on the disk.
    pub free_bytes: u64,
    /// Files that others can still make on it.
    pub free_files: u32,
}

/// A drop folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// What it is called in logs and commands.
    pub name: String,
    /// The folder.
    pub drop: PathBuf,
    /// Whether mail lies there in Maildirs, and not as `.eml` files.
    pub maildir: bool,
    /// Its quota in bytes.
    pub drop_bytes: Option<u64>,
    /// Its quota in files.
    pub drop_files: Option<u32>,
}

/// Which hosts a route's mail goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Those named in the route.
    SmartHost,
    /// The mail exchangers of each domain.
    Mx,
    /// Those, and the named ones when there are none or none answers.
    MxThenSmartHost,
    /// Those named in the route, by LMTP.
    Lmtp,
    /// None, until the mail is fetched; then those named in the route, else the domain's exchangers.
    Hold,
}

impl Via {
    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::SmartHost => "smart-host",
            Self::Mx => "mx",
            Self::MxThenSmartHost => "mx-then-smart-host",
            Self::Lmtp => "lmtp",
            Self::Hold => "hold",
        }
    }
}

/// One way out, or with [`Via::Mx`] one for each domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which hosts.
    pub via: Via,
    /// Those named here, in the order they are tried; never empty where `via` needs one. They stand in for each other.
    pub hosts: Vec<Peer>,
    /// Who may fetch what is held.
    pub fetched_by: Vec<String>,
    /// The port of mail exchangers.
    pub mx_port: u16,
    /// Whether they may have private addresses.
    pub private_addresses: bool,
    /// Addresses to connect from, at most one of each family.
    pub source: Vec<IpAddr>,
    /// How TLS is used with the hosts named here.
    pub tls: Tls,
    /// How it is used with mail exchangers.
    pub exchanger_tls: Tls,
    /// Whether mail exchangers are held to their domain's policy of MTA-STS.
    pub mta_sts: bool,
    /// What we show to hosts that ask for it: a certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A file with the only trusted authorities; `None` is the built-in ones.
    pub ca: Option<PathBuf>,
    /// How to log in; `None` is not at all.
    pub login: Option<Login>,
    /// Connections at one time, for each way.
    pub connections: u32,
    /// Connections at one time over all its ways.
    pub connections_total: u32,
    /// Messages over one connection.
    pub messages_per_connection: u32,
    /// Messages in any minute.
    pub messages_per_minute: Option<u32>,
    /// How long a message is tried or held here; `None` is as everywhere.
    pub expire: Option<Duration>,
    /// The name given in EHLO.
    pub helo: Domain,
    /// Whether EHLO is said, and not HELO at once.
    pub ehlo: bool,
    /// Waits by phase (RFC 5321 s4.5.3.2).
    pub timeouts: Timeouts,
}

/// A host to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, or its address as a literal.
    pub name: Domain,
    /// Its port.
    pub port: u16,
    /// The Unix socket that it is; then name and port mean nothing.
    pub socket: Option<PathBuf>,
    /// Whether TLS begins with the connection.
    pub implicit_tls: bool,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The account's name.
    pub user: String,
    /// What proves that it is ours.
    pub proof: Proof,
    /// The only mechanisms that may be used; none named is all that fit.
    pub only: Mechanisms,
    /// Whether it may be sent without TLS.
    pub insecure: bool,
}

/// What proves that an account is ours; `disk::secret` and the service read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A password: the only line of this file.
    PasswordFile(PathBuf),
    /// A password: this environment variable.
    PasswordVariable(String),
    /// An OAuth 2 access token: the only line of this file.
    TokenFile(PathBuf),
    /// The certificate shown in the handshake.
    Certificate,
}

/// Waits for a peer, by phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Opening a connection to one address.
    pub connect: Duration,
    /// The greeting, TLS included.
    pub greeting: Duration,
    /// The reply to a command.
    pub command: Duration,
    /// Room for the next piece of a message.
    pub data: Duration,
    /// The reply to the end of a message.
    pub end: Duration,
}

/// A directory that is asked about recipients and users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Its servers, in the order they are tried; one at least.
    pub servers: Vec<endpoint::Directory>,
    /// The port of those that name none.
    pub port: Option<u16>,
    /// Whether connections in clear text go on inside TLS.
    pub start_tls: bool,
    /// Whether passwords may go over one that does not.
    pub insecure: bool,
    /// Who we are to it.
    pub bind: Bind,
    /// A file with the only trusted authorities; `None` is the built-in ones.
    pub ca: Option<PathBuf>,
    /// What we show to servers that ask for it: a certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long each step may take.
    pub timeout: Duration,
    /// What its entries mean, and which domains are looked up.
    pub rules: Rules,
    /// Whether a recipient that it does not know stays as he is; else he is refused.
    pub keep_unknown: bool,
    /// How long what was found is remembered.
    pub cache_time: Option<Duration>,
    /// For how many addresses.
    pub cache_entries: usize,
}

/// Who we are to a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Nobody.
    Anonymous,
    /// The account, by its password.
    Simple(Login),
    /// Who our certificate, or the socket, says we are.
    External,
}

/// Attempts, expiry and reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Connections at one time, over all routes.
    pub connections: u32,
    /// The waits between attempts.
    pub waits: Waits,
    /// How long a message is tried, in running time.
    pub expire: Duration,
    /// After how long the sender is told that it takes long; `None` is never. In running time.
    pub delay_notice: Option<Duration>,
    /// How long mail of low priority may be in memory alone; `None` is not at all.
    pub memory_first: Option<Duration>,
    /// Senders whose mail counts as such.
    pub memory_first_from: Vec<Address>,
    /// Who gets a copy of each report of a failure or a delay.
    pub report_copy_to: Option<Address>,
    /// The From of reports.
    pub report_from: Address,
    /// Whether reports bring the whole message back.
    pub report_full: bool,
}

/// A key that signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dkim {
    /// Whose mail.
    pub domain: Domain,
    /// The name of the key.
    pub selector: Domain,
    /// Where it is.
    pub key: PathBuf,
    /// The canonical forms.
    pub forms: Forms,
}

/// The pickup folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pickup {
    /// Whether it is watched.
    pub enabled: bool,
    /// Whether one leading dot of each line is removed.
    pub dot_stuffed: bool,
    /// How often it is read in full.
    pub rescan: Duration,
}

/// Caps of the badmail folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badmail {
    /// Bytes.
    pub bytes: u64,
    /// Files; a message has three.
    pub files: u32,
    /// How long a message stays.
    pub age: Duration,
}

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Who is asked, in order; empty is those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// The wait for one of them.
    pub timeout: Duration,
    /// Whether those on other hosts are believed about DNSSEC.
    pub trust_ad: bool,
}

/// How policies of MTA-STS are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sts {
    /// The port of HTTPS.
    pub port: u16,
    /// A file with the only trusted authorities; `None` is the built-in ones.
    pub ca: Option<PathBuf>,
    /// The wait for all of it.
    pub timeout: Duration,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its path, at most 107 bytes.
    pub socket: PathBuf,
}

/// Who may use the control socket besides root and the service's own user: names or numbers of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operators {
    /// Users who may do everything.
    pub users: Vec<String>,
    /// Groups whose members may.
    pub groups: Vec<String>,
    /// Users who may look.
    pub readers: Vec<String>,
    /// Groups whose members may.
    pub reader_groups: Vec<String>,
}

impl Operators {
    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        let lists = [
            &self.users,
            &self.groups,
            &self.readers,
            &self.reader_groups,
        ];
        lists.iter().all(|list| list.is_empty())
    }
}
