//! Name servers that are real programs.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use super::{Running, command, free_port, until_true};

/// An NSD of a test's own.
pub struct Nsd {
    pub address: SocketAddr,
    _running: Running,
}

impl Nsd {
    /// Starts one with authority over these zones, each with its file in `dir`, and waits until it answers for the first.
    pub fn start(dir: &Path, zones: &[(&str, &str)]) -> Self {
        let port = free_port();
        let block = |(name, file)| format!("zone:\n name: {name}\n zonefile: {file}\n");
        let blocks: String = zones.iter().copied().map(block).collect();
        let config = format!(
            "server:\n ip-address: 127.0.0.1@{port}\n username: \"\"\n zonesdir: \"{dir}\"\n database: \"\"\n \
             logfile: \"{dir}/nsd.log\"\n pidfile: \"{dir}/nsd.pid\"\n xfrdfile: \"{dir}/xfrd\"\n xfrdir: \"{dir}\"\n \
             zonelistfile: \"{dir}/list\"\n server-count: 1\nremote-control:\n control-enable: no\n{blocks}",
            dir = dir.display()
        );
        let file = dir.join("nsd.conf");
        fs::write(&file, config).unwrap();
        let running = Running::start(command("nsd").arg("-d").arg("-c").arg(file));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_for_zone(address, zones[0].0, &dir.join("nsd.log"));
        Self {
            address,
            _running: running,
        }
    }
}

/// A zone's text: the records, below what every zone has.
pub fn zone(name: &str, records: &str) -> String {
    format!(
        "$ORIGIN {name}.\n$TTL 60\n@ SOA ns root 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n{records}\n"
    )
}

/// Until a name server answers a question about SOA of `zone` without an error.
pub fn wait_for_zone(server: SocketAddr, zone: &str, log: &Path) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let step = Duration::from_millis(200);
    socket.set_read_timeout(Some(step)).unwrap();
    let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    query.push(u8::try_from(zone.len()).unwrap());
    query.extend_from_slice(zone.as_bytes());
    query.extend_from_slice(b"\0\0\x06\0\x01");
    let mut room = [0; 512];
    until_true(
        &format!("{server} answers; its log is {}", log.display()),
        || {
            socket.send_to(&query, server).unwrap();
            let got = socket.recv(&mut room);
            got.is_ok_and(|got| got > 12 && room[3] & 0x0F == 0)
        },
    );
}
