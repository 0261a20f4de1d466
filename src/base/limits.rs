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

/// Longest reply line taken from a peer, CRLF included. RFC 5321 s4.5.3.1.5 says 512; real servers write more.
pub const REPLY_LINE: usize = 1024;

/// Most lines of one reply that are read; a server with more is broken or hostile.
pub const REPLY_LINES: usize = 128;

/// What is kept of a reply's text, for reports and logs.
pub const REPLY_TEXT: usize = 512;

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

/// Most name servers asked in one lookup (the C library reads three).
pub const DNS_SERVERS: usize = 4;

/// Answers kept in memory: a device sends to a handful of domains.
pub const DNS_CACHE: usize = 64;

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

/// Pause of a listener when the process or the system is out of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Largest configuration file that is read.
pub const CONFIG_FILE: usize = 1024 * 1024;

/// Received fields after which a message is taken to be in a loop, unless configured (RFC 5321 s6.3 asks for at
/// least 100; IIS had 15; a device is the first hop or nearly so).
pub const HOPS: u32 = 50;

/// How long progress records may wait for a sync to ride on.
pub const PROGRESS_SYNC: Duration = Duration::from_secs(2);

/// Backlog of a listening socket: a short one turns a burst of clients into SYN retries of seconds.
pub const LISTEN_BACKLOG: i32 = 1024;

/// Stack of the journal writer and of the file worker: their call depth is fixed and shallow.
pub const WORKER_STACK: usize = 256 * 1024;

/// Messages that may be handled three times without an end before they are held as poison.
pub const POISON_BEGINS: u8 = 3;

const _: () = assert!(COMMAND_LINE >= 512 && AUTH_LINE >= 12_288);
const _: () = assert!(RECIPIENTS >= 100 && RECIPIENTS < 65_536);
const _: () = assert!(INLINE_BODY + ENVELOPE + 4096 < SEGMENT as usize);
