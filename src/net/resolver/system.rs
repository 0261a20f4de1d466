//! What the box itself knows of names: its `resolv.conf` and its hosts file.

use std::cell::RefCell;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::SocketAddrV6;
use std::path::Path;
use std::time::Duration;

use resolv_conf::ScopedIp;
use rustix::net::AddressFamily;
use rustix::net::SocketType;

use crate::base::Stamp;
use crate::base::limits;
use crate::dns::lookup::Plan;
use crate::net::resolver::exchange::socket;

/// What `resolv.conf` says.
#[derive(Clone, Debug)]
pub struct System {
    /// Whom to ask, how often and for how long.
    pub plan: Plan,
    /// Whether it says that those servers are to be believed about DNSSEC.
    pub trust_ad: bool,
}

/// `resolv.conf`, read again only when it has changed.
#[derive(Debug, Default)]
pub struct ResolvConf(RefCell<Option<(Stamp, System)>>);

impl ResolvConf {
    /// What the file says now.
    pub fn read(&self, path: &Path) -> System {
        let stamp = rustix::fs::stat(path).map(Stamp::from).ok();
        let mut known = self.0.borrow_mut();
        if let (Some((old, system)), Some(stamp)) = (&*known, &stamp)
            && old == stamp
        {
            return system.clone();
        }
        let mut text = Vec::new();
        if let Ok(file) = File::open(path) {
            let most = u64::try_from(limits::RESOLV_CONF).unwrap_or(u64::MAX);
            // A file that cannot be read to its end gives what it gave.
            let _ = file.take(most).read_to_end(&mut text);
        }
        let system = system_of(&text);
        *known = stamp.map(|stamp| (stamp, system.clone()));
        system
    }

    /// It is read at the next question whatever its stamp says.
    pub fn forget(&self) {
        self.0.borrow_mut().take();
    }
}

/// The first line of the hosts file that gives something. The file is read each time, line by line: it may have
/// changed, and block lists are too large to keep.
pub fn find_in_hosts<T>(path: &Path, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
    let file = File::open(path).ok()?;
    let mut lines = BufReader::new(file.take(limits::HOSTS_FILE));
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let found = std::str::from_utf8(&line).ok().and_then(&mut find);
        if found.is_some() {
            return found;
        }
        line.clear();
    }
    None
}

/// The meaning of a `resolv.conf`; a line that cannot be read is passed over.
fn system_of(text: &[u8]) -> System {
    let (config, _) = resolv_conf::Config::parse_with_errors(text);
    let mut servers: Vec<SocketAddr> = config.nameservers.iter().map(server).collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53));
    }
    System {
        plan: Plan {
            servers,
            attempts: u8::try_from(config.attempts.clamp(1, 5)).unwrap_or(2),
            timeout: Duration::from_secs(u64::from(config.timeout.clamp(1, 30))),
        },
        trust_ad: config.trust_ad,
    }
}

fn server(ip: &ScopedIp) -> SocketAddr {
    match ip {
        ScopedIp::V4(v4) => SocketAddr::new(IpAddr::V4(*v4), 53),
        ScopedIp::V6(v6, scope) => {
            let scope = scope.as_deref().map_or(0, interface);
            SocketAddr::V6(SocketAddrV6::new(*v6, 53, 0, scope))
        }
    }
}

/// The number of a network interface; zero when there is none of that name.
fn interface(name: &str) -> u32 {
    name.parse().unwrap_or_else(|_| {
        socket(AddressFamily::INET, SocketType::DGRAM)
            .and_then(|fd| rustix::net::netdevice::name_to_index(&fd, name))
            .unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::{Plan, system_of};
    use std::time::Duration;

    fn servers(plan: &Plan) -> String {
        let list: Vec<String> = plan.servers.iter().map(ToString::to_string).collect();
        list.join(" ")
    }

    #[test]
    fn resolv_conf_as_the_c_library_reads_it() {
        for (text, want, attempts, timeout) in [
            ("", "127.0.0.1:53", 2, 5),
            ("# nothing\nsearch lan\n", "127.0.0.1:53", 2, 5),
            (
                "nameserver 192.0.2.1\nnameserver 2001:db8::1\n",
                "192.0.2.1:53 [2001:db8::1]:53",
                2,
                5,
            ),
            (
                "nameserver nonsense\nwhat is this\nnameserver 192.0.2.1",
                "192.0.2.1:53",
                2,
                5,
            ),
            (
                "nameserver 192.0.2.1\noptions timeout:1 attempts:3",
                "192.0.2.1:53",
                3,
                1,
            ),
            (
                "nameserver 192.0.2.1\noptions timeout:0 attempts:0",
                "192.0.2.1:53",
                1,
                1,
            ),
            (
                "nameserver 192.0.2.1\noptions timeout:999 attempts:999",
                "192.0.2.1:53",
                5,
                30,
            ),
            ("nameserver fe80::1%7", "[fe80::1%7]:53", 2, 5),
            ("\u{fc}\nnameserver 192.0.2.1", "192.0.2.1:53", 2, 5),
        ] {
            let plan = system_of(text.as_bytes()).plan;
            assert_eq!(servers(&plan), want, "{text:?}");
            assert_eq!(plan.attempts, attempts, "{text:?}");
            assert_eq!(plan.timeout, Duration::from_secs(timeout), "{text:?}");
        }
    }
}
