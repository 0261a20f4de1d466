//! Every bound of the program, each with its reason. No other file holds a magic number.
//!
//! What an owner may want to change is a key of the configuration; what stands here is what keeps memory, disk and
//! loops bounded whatever the owner writes.

use std::time::Duration;

/// Longest command line, CRLF included. RFC 5321 s4.5.3.1.4 asks for 512; DSN parameters (RFC 3461 s5), SIZE and
/// AUTH= add to it, and a SCRAM answer or an XOAUTH2 token is longer still, so this is one page half.
pub const COMMAND_LINE: usize = 2048;

/// Longest SASL line, CRLF included (RFC 4954 s4 asks for 12,288).
pub const AUTH_LINE: usize = 12_288;

/// Rounds of PBKDF2 that a peer may make us compute for SCRAM: below, a stolen verifier is cheap to break (RFC 7677
/// s4 asks for 4,096); above, a hostile server could keep a small processor busy for minutes.
pub const SCRAM_ROUNDS: std::ops::RangeInclusive<u32> = 4096..=600_000;

/// Clients remembered for failed logins, and again for their message rate.
pub const GUARDED: usize = 1024;

/// Longest wait for an attempt to log in, after earlier ones have failed.
pub const LOGIN_WAIT: Duration = Duration::from_secs(30);

/// How long failed logins are held against a client.
pub const LOGIN_MEMORY: Duration = Duration::from_secs(15 * 60);

/// Queues that one client may start in a minute by ETRN.
pub const TRIGGERS: u32 = 10;

/// How long after such a start the queue of the same domain is not started again: its hosts are asked once a minute
/// at most, whoever asks for it.
pub const TRIGGER_WAIT: Duration = Duration::from_secs(60);

/// Largest file of users that is read: some ten thousand users.
pub const USERS_FILE: u64 = 2 * 1024 * 1024;

/// How long a client says nothing of use until its place goes to another when all are taken: longer than any honest
/// client needs between two commands, and short for who waits.
pub const IDLE_GOES: Duration = Duration::from_secs(5);

/// What is too little of a message at once to be of use: a sender of a byte now and then.
pub const DRIP: usize = 64;

/// Memory that the recipients of all messages on their way in may take together. What comes on top is to be sent in
/// another message, later.
pub const ENVELOPES: usize = 2 * 1024 * 1024;

/// Recipients over the limit that a session may name until it is ended: a client that reads the replies stops with the
/// first one or with the last of its list.
pub const OVERSHOOT: usize = 10_000;

/// Recipients that a message may have however many are on their way in with others.
pub const RECIPIENTS_ALWAYS: usize = 10;

/// Files that the service needs besides one for each client: the journal, bodies, folders, deliveries.
pub const FILES: u64 = 128;

/// Longest wait for a peer to take the end of a TLS session.
pub const GOODBYE: Duration = Duration::from_secs(5);

/// Longest TLS handshake with a client; shorter when its command time-out is.
pub const HANDSHAKE: Duration = Duration::from_secs(30);

/// Longest wait for the PROXY header of a connection; the load balancer sends it first of all.
pub const PROXY_HEADER: Duration = Duration::from_secs(5);

/// Longest line of a message in bytes, without its line end (RFC 5322 s2.1.1); peers refuse or break longer ones.
pub const TEXT_LINE: usize = 998;

/// Entities of one message that are told apart, for re-encoding; what comes behind them is left as it is.
pub const MIME_PARTS: usize = 1000;

/// Multiparts and messages inside each other, likewise. Honest mail has three or four.
pub const MIME_DEPTH: usize = 16;

/// What is read of a field that describes an entity: two long parameters and a boundary of 70 (RFC 2046 s5.1.1).
pub const MIME_FIELD: usize = 2048;

/// Longest user name and longest password taken in an AUTH exchange.
pub const CREDENTIAL: usize = 1024;

/// Longest message of NTLM taken: names of a kilobyte each do not come near it.
#[cfg(feature = "ntlm")]
pub const NTLM_MESSAGE: usize = 4096;

/// How far the clocks of a client and ours may be apart for Kerberos, as everywhere (RFC 4120 s8.2).
#[cfg(feature = "sso")]
pub const KERBEROS_SKEW: Duration = Duration::from_secs(5 * 60);

/// Logins by Kerberos in twice that time: each is remembered, so that none comes twice.
#[cfg(feature = "sso")]
pub const REPLAYS: usize = 4096;

/// Longest name in Kerberos, realm included.
#[cfg(feature = "sso")]
pub const PRINCIPAL: usize = 256;

/// Keys of mail in one keytab, and its size: a host has a handful.
#[cfg(feature = "sso")]
pub const KEYTAB_KEYS: usize = 256;
/// Bytes of it.
#[cfg(feature = "sso")]
pub const KEYTAB_FILE: u64 = 256 * 1024;

/// Longest reply line taken from a peer, CRLF included. RFC 5321 s4.5.3.1.5 says 512; real servers write more.
pub const REPLY_LINE: usize = 1024;

/// Most lines of one reply that are read; a server with more is broken or hostile.
pub const REPLY_LINES: usize = 128;

/// What is kept of a reply's text, for reports and logs.
pub const REPLY_TEXT: usize = 512;

/// What a server holds of replies to pipelined commands until it writes them all at once, and the room one more reply
/// must find in it: the longest are the answer to EHLO and a refusal that quotes an address.
pub const REPLIES_OUT: usize = 2048;

/// See [`REPLIES_OUT`].
pub const REPLY_ROOM: usize = 1024;

/// What is read at once from a client that sends a message.
pub const CLIENT_BLOCK: usize = 32 * 1024;

/// What is read at once from a client that sends commands: some fifty of them.
pub const COMMAND_BLOCK: usize = 4096;

/// Longest name a client may give itself in EHLO: a domain (RFC 5321 s4.5.3.1.2).
pub const HELLO_NAME: usize = DOMAIN;

/// What a client writes of pipelined commands before it reads their replies. Both ends waiting for room in a full
/// socket would be a deadlock (RFC 2920 s3.1), so this stays far below any socket's buffer.
pub const COMMANDS_OUT: usize = 4096;

/// Longest local part (RFC 5321 s4.5.3.1.1).
pub const LOCAL_PART: usize = 64;

/// Longest domain (RFC 5321 s4.5.3.1.2).
pub const DOMAIN: usize = 255;

/// Longest path, angle brackets included (RFC 5321 s4.5.3.1.3).
pub const PATH: usize = 256;

/// Most recipients of one message that are ever taken; the configured limit lies below. An index slot counts them
/// in 16 bits.
pub const RECIPIENTS: usize = 10_000;

/// Largest header block looked at. mail-parser needs some 20 bytes of memory per byte at worst (200,000 headers
/// cost 47 MB), so it is never given more.
pub const HEADER_BLOCK: usize = 64 * 1024;

/// Longest single line of a message that the header walker holds while it looks for a field name.
pub const FIELD_NAME: usize = 128;

/// What is kept of a field's value when the walker learns it (subject, message id): enough for a report and a log
/// line.
pub const FIELD_KEPT: usize = 512;

/// Longest envelope line at the top of a pickup file, folds included: a path, a long display name in encoded words,
/// and air.
pub const PICKUP_LINE: usize = 4096;

/// Files of a pickup folder that are remembered between two scans while they may still be written to. More are seen
/// once these are gone.
pub const PICKUP_WATCHED: usize = 4096;

/// Directory entries looked at in one step of a scan, so that a folder of a hundred thousand files stalls nobody.
pub const PICKUP_STEP: usize = 256;

/// How long a pickup file must not change before it is taken without an event that says it was closed.
pub const PICKUP_SETTLE: Duration = Duration::from_secs(2);

/// The same for one that was made and not closed, as events tell: a script that writes as its commands come along is
/// given time, a file whose closing was lost in a flood of events is not kept for ever.
pub const PICKUP_OPEN: Duration = Duration::from_secs(60);

/// Buffer for file events: some 100 names of usual length a read.
pub const WATCH_BUFFER: usize = 4096;

/// Largest metabase of IIS that is imported; they have some hundred kilobytes to a few megabytes.
pub const METABASE: usize = 16 * 1024 * 1024;

/// Elements and texts in it. Each takes some 64 bytes while it is read.
pub const METABASE_NODES: u32 = 500_000;

/// Largest reason file of a bad message that is read back.
pub const BADMAIL_REASON: usize = 1024 * 1024;

/// Longest line of the text databases of users and groups that is looked at: a group with two thousand members.
pub const ACCOUNT_LINE: u64 = 16 * 1024;

/// Operators that the control socket serves at one time; others wait.
pub const OPERATORS: usize = 8;

/// Bodies up to this many bytes live in their journal record: one sequential write, one sync.
pub const INLINE_BODY: usize = 64 * 1024;

/// Step in which large bodies move between disk and network.
pub const BODY_STEP: usize = 64 * 1024;

/// Size of a journal segment. Small enough that reclaiming one never stalls an accept for long on slow flash,
/// large enough that its header and its roll-over do not count.
pub const SEGMENT: u32 = 1024 * 1024;

/// Smallest segment a test may ask for.
pub const SEGMENT_LEAST: u32 = 4096;

/// Longest envelope in encoded form: what the most recipients at the longest path can need is cut to this, and an
/// envelope that is larger is refused at RCPT with 452 4.5.3.
pub const ENVELOPE: usize = 512 * 1024;

/// Size from which a Progress record keeps its states but drops further reason texts: ten thousand recipients with
/// a sentence each would not fit a segment.
pub const PROGRESS: usize = 128 * 1024;

/// Memory that all bodies on their way in may take together; what comes on top goes to its file at once.
pub const DRAFT_MEMORY: usize = 2 * 1024 * 1024;

/// Bytes of all bodies that are in memory first (`delivery.memory_first`); what comes on top is written at once.
pub const MEMORY_FIRST: usize = 1024 * 1024;

/// Messages that are in memory first: an envelope takes some memory, too.
pub const MEMORY_FIRST_MESSAGES: usize = 1000;

/// Bytes of records that may wait for a sync to ride on.
pub const UNSYNCED: usize = 256 * 1024;

/// What reclaiming reads and copies in one go: the longest an accept waits behind it.
pub const RECLAIM_STEP: usize = 128 * 1024;

/// Segments kept ready beyond those in use: one to go on with, one so that a full disk can still note what left.
pub const SPARE_SEGMENTS: usize = 2;

/// Bytes of free segments kept for every message in the queue, besides one whole segment: on a disk that others filled
/// up, a Done or a usual Progress of each still fits.
pub const RESERVE_EACH: u64 = 100;

/// Segments that may be in use before any live record is copied to free one: below that, space is not worth wear.
pub const RELAXED_SEGMENTS: usize = 4;

/// Longest text of a Hold or Note record.
pub const HOLD_TEXT: usize = 1024;

/// Damaged places that are listed one by one after a start; the rest is counted.
pub const DAMAGE_LISTED: usize = 64;

/// Longest wait between two tries to open a fresh segment after a failed write.
pub const REOPEN_WAIT: Duration = Duration::from_secs(60);

/// Largest DNS answer over TCP (RFC 1035 s4.2.2: the length is 16 bits).
pub const DNS_MESSAGE: usize = 65_535;

/// EDNS payload size that is asked for over UDP (the DNS flag day value: no fragmentation on any common link).
pub const DNS_UDP: u16 = 1232;

/// Most CNAMEs followed in one lookup: more than any honest zone, few enough that a loop ends at once.
pub const DNS_ALIASES: usize = 8;

/// Most addresses kept of one name.
pub const DNS_ADDRESSES: usize = 16;

/// Most mail exchangers kept of one domain, the best preferences first: nobody gets through more in one attempt.
pub const DNS_EXCHANGERS: usize = 16;

/// Most names kept of one address: more than any host of sense has.
pub const DNS_NAMES: usize = 4;

/// Most TLSA records kept of one name: a server has one or two for each certificate, and two certificates while it
/// changes them.
pub const DNS_TLSA: usize = 16;

/// Longest data of a TLSA record: a whole certificate with a large key.
pub const DNS_TLSA_DATA: usize = 4096;

/// Most texts kept of one name, and the longest of them: policies are far shorter.
pub const DNS_TEXTS: usize = 8;

/// See [`DNS_TEXTS`].
pub const DNS_TEXT: usize = 1024;

/// Most name servers asked in one lookup (the C library reads three).
pub const DNS_SERVERS: usize = 4;

/// Answers kept in memory: a device sends to a handful of domains, a small server by MX to some eighty at a time with
/// three answers each.
pub const DNS_CACHE: usize = 256;

/// Bytes of names and data in kept answers: whoever runs a domain decides how large its answers are.
pub const DNS_CACHE_BYTES: usize = 256 * 1024;

/// Shortest time an answer is kept, whatever its TTL: a burst of messages asks once.
pub const DNS_KEEP_LEAST: Duration = Duration::from_secs(5);

/// Longest time an answer is kept, whatever its TTL: a moved server is found within the hour.
pub const DNS_KEEP_MOST: Duration = Duration::from_secs(3600);

/// Longest time a "no" is kept, whatever its TTL: a record the owner has just added is found soon.
pub const DNS_KEEP_NO: Duration = Duration::from_secs(300);

/// How long a name's second kind of address is waited for once the first is there. Some home routers never answer
/// AAAA.
pub const DNS_GRACE: Duration = Duration::from_millis(500);

/// How long a server that was silent about one kind of address is not asked for it again, while the other kind is
/// there.
pub const DNS_SILENCE: Duration = Duration::from_secs(60);

/// Most ways of single domains that new mail may begin: each takes some 400 bytes. A device sends to a handful of
/// domains; what comes on top is refused for now, so that nobody fills the memory with names.
pub const WAYS: usize = 4096;

/// Hosts that a message is offered to in one try, when one after the other puts it off: two that share a disk or a list of
/// senders they make wait say the same, and so would the others.
pub const HOSTS_TRIED: usize = 3;

/// How long a smart host that stands in for another is kept before the first is tried again. Each of these tries may
/// cost a connection time-out.
pub const STAND_IN: Duration = Duration::from_secs(300);

/// Bytes read at once from the kernel's news about the network; longer news are cut, and only their head is read.
pub const NETLINK_STEP: usize = 4096;

/// Network links that are remembered as being down.
pub const LINKS: usize = 16;

/// Largest `resolv.conf` that is read.
pub const RESOLV_CONF: usize = 64 * 1024;

/// How much of a hosts file is searched: block lists of megabytes hold no mail server, and the search is done on
/// the executor.
pub const HOSTS_FILE: u64 = 256 * 1024;

/// Most bytes that wait inside one TLS session in each direction: one record.
pub const TLS_BUFFER: usize = 16 * 1024;

/// TLS sessions remembered for resumption, for each client and server configuration.
pub const TLS_SESSIONS: usize = 16;

/// Largest certificate, key or CA file that is read.
pub const PEM_FILE: u64 = 1024 * 1024;

/// How long the journal's thread holds what nobody waits for, so that it need not be woken for each message that went
/// out. A kill within it repeats a delivery.
pub const NOTES_PAUSE: Duration = Duration::from_millis(2);

/// Pause of a listener when the process or the system is out of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Largest configuration file that is read.
pub const CONFIG_FILE: usize = 1024 * 1024;

/// Largest file of aliases that is read.
pub const ALIASES_FILE: usize = 1024 * 1024;

/// Aliases that may lead from one to the next: more than people write, few enough for a stack.
pub const ALIAS_DEPTH: usize = 20;

/// Mistakes in one file of ours that are told at once.
pub const COMPLAINTS: usize = 100;

/// Received fields after which a message is taken to be in a loop, unless configured (RFC 5321 s6.3 asks for at
/// least 100; IIS had 15; a device is the first hop or nearly so).
pub const HOPS: u32 = 50;

/// How long the journal waits, with messages in hand, for the next of those that came at the same time as the last
/// ones. On flash a sync costs tens of milliseconds and wear; a client on loopback is back in less than this.
pub const COMPANY_PAUSE: Duration = Duration::from_millis(2);

/// Such waits for one sync, while each of them brings somebody: forty milliseconds, on a box where a message takes that
/// long to come back.
pub const COMPANY_PAUSES: usize = 20;

/// The other value of `durability`: how long what came waits for others to share its sync. Twenty syncs a second at most,
/// and nobody's client gives up over it.
pub const BATCH: Duration = Duration::from_millis(50);

/// How long progress records may wait for a sync to ride on.
pub const PROGRESS_SYNC: Duration = Duration::from_secs(2);

/// Backlog of a listening socket: a short one turns a burst of clients into SYN retries of seconds.
pub const LISTEN_BACKLOG: i32 = 1024;

/// How often the time and the home's running time are noted in the journal at most, and only when something happens
/// to a message: what a power cut may take of a message's age.
pub const CLOCK_NOTES: Duration = Duration::from_secs(600);

/// Bytes of a response over HTTPS, header and all: a policy of MTA-STS has a few hundred, and RFC 8461 s3.3 suggests
/// 64 KiB as the most.
pub const HTTPS_RESPONSE: usize = 64 * 1024;

/// Seconds for which a policy of MTA-STS may be kept: a year (RFC 8461 s3.2).
pub const STS_AGE: u32 = 31_557_600;

/// Exchangers that a policy of MTA-STS may list.
pub const STS_HOSTS: usize = 64;

/// Policies of MTA-STS that are kept, some hundred bytes each. A device writes to a few domains.
pub const STS_POLICIES: usize = 100;

/// Bytes of the file that they are kept in.
pub const STS_FILE: u64 = 1024 * 1024;

/// How long a policy that could not be fetched is not asked for again (RFC 8461 s3.3 suggests five minutes or more).
pub const STS_PAUSE: Duration = Duration::from_secs(300);

/// Bytes of one answer of a directory, however many messages it comes in: ten thousand members of a group at two hundred
/// bytes each.
pub const LDAP_ANSWER: usize = 2 * 1024 * 1024;

/// Values of one answer of a directory: ten thousand members, with all else that an entry has. Each takes some thirty
/// bytes besides its text.
pub const LDAP_VALUES: usize = 20_000;

/// Searches for one address besides two for each member that it may have.
pub const LDAP_SEARCHES: usize = 100;

/// Addresses that one address may have become to be remembered: a few kilobytes an entry at most.
pub const LDAP_CACHED: usize = 20;

/// Logins that ask a directory at the same time; the others wait for their turn.
pub const LDAP_LOGINS: usize = 8;

/// Members without an address that are named to the owner.
pub const LDAP_MISSING: usize = 5;

/// Log lines that wait for a receiver that is slow or gone, in bytes; what comes behind them is counted and left out.
pub const LOG_HELD: usize = 64 * 1024;

/// Events that wait for one hook; those that come behind them pass it by.
pub const HOOK_QUEUE: u32 = 1000;

/// What a hook is told of the recipients, in bytes: the kernel takes no longer variable than 128 KiB.
pub const HOOK_RECIPIENTS: usize = 16 * 1024;

/// What the log keeps of a command or a reply, in bytes.
pub const LOG_TEXT: usize = 1024;
/// How long what must not expire is tried: longer than any box runs, and short enough to be added to any time.
pub const FOREVER: Duration = Duration::from_secs(100 * 366 * 86_400);

/// What a message is tried for at least once a fault of the setup is mended, if its way gives it so long at all: a few
/// attempts, the longest wait between them included.
pub const MENDED: Duration = Duration::from_secs(6 * 3600);

/// Stack of the journal writer and of the file worker: their call depth is fixed and shallow.
pub const WORKER_STACK: usize = 256 * 1024;

/// Messages that may be handled three times without an end before they are held as poison.
pub const POISON_BEGINS: u8 = 3;

const _: () = assert!(COMMAND_BLOCK <= CLIENT_BLOCK);
const _: () = assert!(COMMAND_LINE >= 512 && AUTH_LINE >= 12_288);
const _: () = assert!(DNS_CACHE_BYTES > DNS_TLSA * DNS_TLSA_DATA + DOMAIN);
const _: () = assert!(REPLIES_OUT >= 2 * REPLY_ROOM);
const _: () = assert!(RECIPIENTS >= 100 && RECIPIENTS < 65_536);
const _: () =
    assert!(INLINE_BODY + ENVELOPE + PROGRESS + RECIPIENTS * 14 + 8192 < SEGMENT as usize);
