//! The domains of a virtual server: which stay here, and which way the others go.

use std::collections::BTreeSet;

use crate::config::import::metabase::DomainEntry;
use crate::config::import::metabase::Properties;
use crate::config::import::paper::Paper;
use crate::config::import::paper::Place;
use crate::config::lookup;

/// The bits of RouteAction.
mod bit {
    pub const DROP: u64 = 0x1;
    pub const SMART_HOST: u64 = 0x2;
    pub const SSL: u64 = 0x4;
    pub const SASL: u64 = 0x8;
    pub const ALIAS: u64 = 0x10;
    pub const DELIVER: u64 = 0x20;
    pub const DEFAULT: u64 = 0x40;
    pub const NTLM: u64 = 0x80;
    pub const CLEAR_TEXT: u64 = 0x100;
    pub const ETRN: u64 = 0x200;
    pub const DOMAIN_RELAY: u64 = 0x1000;
    pub const CLIENT_TURN: u64 = 0x2000;
    pub const CLIENT_ETRN: u64 = 0x4000;
    pub const USE_HELO: u64 = 0x40_0000;
}

/// Bits without a key, and why.
const NO_KEY: &[(u64, &str)] = &[
    (
        bit::CLIENT_TURN,
        "TURN as a client is not offered: it asks a host to send mail to whoever connected",
    ),
    (
        bit::CLIENT_ETRN,
        "ETRN as a client is not offered: run `mailroot` where mail is held and fetch it with ATRN",
    ),
    (0x2_0000, "CHUNKING is used when the host offers it"),
    (0x4_0000, "BINARYMIME is used when the host offers it"),
    (0x8_0000, "DSN is used when the host offers it"),
    (0x10_0000, "PIPELINING is used when the host offers it"),
];

/// What holds for every way out where a domain says nothing.
#[derive(Debug, Default)]
pub struct Defaults {
    number: u32,
    smart_host: Vec<String>,
    kind: Option<u64>,
    tls: bool,
    user: Option<String>,
    port: Option<u64>,
    batched: Option<u64>,
    per_domain: Option<u64>,
    timeout: Option<u64>,
    expire_days: Option<u64>,
}

impl Defaults {
    /// Takes them out of the properties of a server.
    pub fn take(properties: &mut Properties, number: u32) -> Self {
        let action = properties.number("RouteAction").unwrap_or(0);
        let user = properties.take("RouteUserName");
        let _ = properties.take("RoutePassword");
        Self {
            number,
            smart_host: hosts(&properties.take("SmartHost").unwrap_or_default()),
            kind: properties.number("SmartHostType"),
            tls: properties.flag("AlwaysUseSsl").unwrap_or(false) || action & bit::SSL != 0,
            user: user.filter(|user| !user.trim().is_empty()),
            port: properties.number("RemoteSmtpPort"),
            batched: properties.number("MaxBatchedMessages"),
            per_domain: properties.number("MaxOutConnectionsPerDomain"),
            timeout: properties.number("RemoteTimeout"),
            expire_days: properties.number("EtrnDays"),
        }
    }
}

/// The hosts of a smart host property: names, or addresses in brackets.
fn hosts(text: &str) -> Vec<String> {
    let parts = text.split([';', ',', ' ', '\t', '\r', '\n']);
    let parts = parts.filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let inside = part
                .strip_prefix('[')
                .and_then(|part| part.strip_suffix(']'));
            match inside {
                Some(ip) if ip.contains(':') => format!("[{ip}]"),
                Some(ip) => ip.to_owned(),
                None => part.to_owned(),
            }
        })
        .collect()
}

/// Translates the domains.
pub fn translate(entries: Vec<DomainEntry>, defaults: &Defaults, paper: &mut Paper) {
    let (mut stay, mut aliases, mut relayed, mut seen) =
        (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
    for mut entry in entries {
        let name = entry.name.to_ascii_lowercase();
        if !seen.insert(name.clone()) {
            continue;
        }
        let action = entry.properties.number("RouteAction").unwrap_or(0);
        let is_local = action & (bit::DROP | bit::ALIAS | bit::DELIVER | bit::DEFAULT) != 0;
        if is_local && !name.starts_with("*.") {
            let folder = entry.properties.take("DropDirectory");
            let folder = folder.filter(|folder| !folder.trim().is_empty());
            let usual = action & (bit::DEFAULT | bit::ALIAS) != 0;
            if let Some(folder) = folder {
                if !usual && lookup::row("domain.drop").is_some() {
                    let table = paper.table("domain");
                    let comment = format!(
                        "A local domain (RouteAction = {action:#x}) with a folder of its own."
                    );
                    paper.put(table, "domains", &name, &comment);
                    let comment = format!("DropDirectory = {folder}.");
                    paper.put(table, "drop", &format!("drop/{name}"), &comment);
                    for (property, value) in entry.properties.rest() {
                        paper.without(format!(
                            "{name}: {property} = {value}: nothing of that kind for one domain"
                        ));
                    }
                    continue;
                }
                paper.without(format!(
                    "{name}: DropDirectory = {folder}: its mail is in the drop folder of the home; see local.drop."
                ));
            }
            if action & bit::DEFAULT != 0 {
                let comment = format!("The default domain (RouteAction = {action:#x}).");
                paper.set("", "default_domain", &name, &comment);
                stay.insert(0, name.clone());
            } else if action & bit::ALIAS != 0 {
                aliases.push(name.clone());
            } else {
                stay.push(name.clone());
            }
        } else {
            if action & bit::DOMAIN_RELAY != 0 {
                relayed.push(name.clone());
            }
            remote(&name, action, &mut entry.properties, defaults, paper);
        }
        for (property, value) in entry.properties.rest() {
            paper.without(format!(
                "{name}: {property} = {value}: nothing of that kind for one domain"
            ));
        }
    }
    if !stay.is_empty() {
        paper.set(
            "local",
            "domains",
            &stay.join(", "),
            "Domains that IIS called local: their mail goes into the drop folder.",
        );
    }
    if !aliases.is_empty() {
        let comment = "Alias domains: their addresses become those of the default domain.";
        paper.set("local", "alias_domains", &aliases.join(", "), comment);
    }
    if !relayed.is_empty() {
        let comment = "Allow incoming mail to be relayed to this domain: everybody who may connect may send there.";
        paper.set("access", "relay_domains", &relayed.join(", "), comment);
    }
}

/// A domain with rules of its own for the way there.
fn remote(
    name: &str,
    action: u64,
    properties: &mut Properties,
    defaults: &Defaults,
    paper: &mut Paper,
) {
    let named = properties
        .take("RouteActionString")
        .or(properties.take("SmartHost"));
    let own = hosts(&named.unwrap_or_default());
    let users = properties.take("AuthTurnList").unwrap_or_default();
    let user = properties
        .take("RouteUserName")
        .filter(|user| !user.trim().is_empty());
    let _ = properties.take("RoutePassword");
    let etrn = properties.take("CSideEtrnDomains");
    for (bit, why) in NO_KEY.iter().filter(|(bit, _)| action & bit != 0) {
        paper.without(format!("{name}: RouteAction {bit:#x}: {why}."));
    }
    if let Some(list) = etrn.filter(|list| !list.trim().is_empty()) {
        paper.without(format!(
            "{name}: CSideEtrnDomains = {list}: ETRN as a client is not offered."
        ));
    }
    let held = action & bit::ETRN != 0;
    let smart = action & bit::SMART_HOST != 0 && !own.is_empty();
    let helo = action & bit::USE_HELO != 0;
    let tls = action & bit::SSL != 0;
    let login = action & (bit::SASL | bit::NTLM | bit::CLEAR_TEXT) != 0 && user.is_some();
    if !(held || smart || helo || tls || login) {
        // By DNS, or as everything else goes: no rule is needed where that is so without one.
        if defaults.smart_host.is_empty() || defaults.kind == Some(0) {
            return;
        }
    }
    let route = paper.table("route");
    let comment = format!("The remote domain {name} (RouteAction = {action:#x}).");
    if !paper.put(route, "to", name, &comment) {
        return;
    }
    if held {
        paper.put(
            route,
            "via",
            "hold",
            "Its mail waits until the domain's host fetches it by ETRN or ATRN.",
        );
        if !users.trim().is_empty() {
            let names: Vec<&str> = users.split_whitespace().collect();
            paper.remark(
                route,
                &format!(
                    "AuthTurnList = {}: once [users] names a file with them, say here: fetched_by = [\"{}\"]",
                    names.join(" "),
                    names.join("\", \"")
                ),
            );
        }
        if let Some(days) = defaults.expire_days.filter(|days| *days > 0) {
            paper.number(route, "expire", days, "d", &format!("EtrnDays = {days}."));
        }
    } else if smart {
        let port = defaults.port.unwrap_or(25);
        through(
            paper,
            route,
            &own,
            port,
            tls || defaults.tls,
            user.as_deref(),
            &password(defaults.number, name),
        );
    } else {
        paper.put(route, "via", "mx", "By DNS.");
        exchangers(paper, route, tls || defaults.tls, defaults.port);
    }
    if helo && (tls || defaults.tls || user.is_some()) {
        paper.without(format!(
            "{name}: RouteAction 0x400000 (HELO instead of EHLO): with HELO there is neither TLS nor a login, so EHLO is \
             said; a host that refuses it gets HELO anyway."
        ));
    } else if helo {
        if !smart {
            let comment = "There is no TLS without EHLO.";
            paper.put(route, "tls", "off", comment);
        }
        let comment = "RouteAction 0x400000: HELO instead of EHLO.";
        paper.put(route, "ehlo", "false", comment);
    }
    common(paper, route, defaults);
}

/// Where everything else goes.
pub fn default_route(defaults: &Defaults, paper: &mut Paper) {
    let route = paper.table("route");
    let kind = defaults.kind.unwrap_or(2);
    let host = defaults.smart_host.join("; ");
    paper.put(route, "to", "*", "All other domains.");
    if defaults.smart_host.is_empty() || kind == 0 {
        let comment = if defaults.smart_host.is_empty() {
            "No smart host: by DNS.".to_owned()
        } else {
            format!("SmartHostType = 0: SmartHost = {host} was not used; by DNS.")
        };
        paper.put(route, "via", "mx", &comment);
        exchangers(paper, route, defaults.tls, defaults.port);
        if let Some(user) = &defaults.user {
            paper.without(format!(
                "RouteUserName = {user}: no login at mail exchangers, which are whoever DNS says."
            ));
        }
    } else {
        let comment = format!("SmartHost = {host}, SmartHostType = {kind}.");
        if kind == 1 {
            paper.put(
                route,
                "via",
                "mx-then-smart-host",
                &format!("{comment} Attempt direct delivery before sending to smart host."),
            );
        } else {
            paper.put(route, "via", "smart-host", &comment);
        }
        let port = defaults.port.unwrap_or(25);
        through(
            paper,
            route,
            &defaults.smart_host,
            port,
            defaults.tls,
            defaults.user.as_deref(),
            &password(defaults.number, ""),
        );
    }
    common(paper, route, defaults);
}

/// The variable with the password of a way.
fn password(number: u32, domain: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let domain: String = domain.chars().map(plain).collect();
    match domain.trim_matches('_') {
        "" => format!("MAILROOT_PASSWORD_{number}"),
        domain => format!("MAILROOT_PASSWORD_{number}_{domain}"),
    }
}

/// Exchangers: TLS by DNS and MTA-STS unless IIS insisted on it.
fn exchangers(paper: &mut Paper, route: Place, tls: bool, port: Option<u64>) {
    if tls {
        paper.put(
            route,
            "tls",
            "require",
            "AlwaysUseSsl: never without TLS, as there.",
        );
    }
    if let Some(port) = port.filter(|port| *port != 25) {
        paper.number(
            route,
            "mx_port",
            port,
            "",
            &format!("RemoteSmtpPort = {port}."),
        );
    }
}

/// Named hosts, the TLS to them, and the account.
fn through(
    paper: &mut Paper,
    route: Place,
    hosts: &[String],
    port: u64,
    tls: bool,
    user: Option<&str>,
    variable: &str,
) {
    let list: Vec<String> = hosts.iter().map(|host| format!("{host}:{port}")).collect();
    let comment = format!("The smart host, at RemoteSmtpPort = {port}.");
    paper.put(route, "hosts", &list.join(", "), &comment);
    let by_address = hosts.iter().any(|host| {
        let host = host.trim_matches(['[', ']']);
        host.parse::<std::net::IpAddr>().is_ok()
    });
    match (tls, user) {
        (true, _) if by_address => {
            paper.put(route, "tls", "require", "AlwaysUseSsl. A host named by its address has no certificate that says so; give it a name and write verify.");
        }
        (true, _) => {
            paper.put(
                route,
                "tls",
                "verify",
                "AlwaysUseSsl: never without TLS, and the certificate must be good.",
            );
        }
        (false, Some(_)) => {
            paper.put(
                route,
                "tls",
                "require",
                "IIS sent the password in clear text. Here not without TLS; where the host has none: tls = \"off\" and \
                 insecure_auth = true.",
            );
            paper.changed(
                "A password that IIS sent in clear text goes with TLS only (see [[route]]).",
            );
        }
        (false, None) => {
            paper.put(
                route,
                "tls",
                "opportunistic",
                "IIS used no TLS here; it is used where the host offers it.",
            );
        }
    }
    if let Some(user) = user {
        paper.put(
            route,
            "user",
            user.trim(),
            &format!("RouteUserName = {user}."),
        );
        paper.put(
            route,
            "password_env",
            variable,
            "The password is encrypted in the metabase with a key of that host and does not come along. Give it to the \
             service in this variable; or write it into a file of its own (chmod 600) and say password_file = \"FILE\" instead.",
        );
    }
}

/// What every way has from the server.
fn common(paper: &mut Paper, route: Place, defaults: &Defaults) {
    for (value, name, key, unit) in [
        (
            defaults.batched,
            "MaxBatchedMessages",
            "messages_per_connection",
            "",
        ),
        (
            defaults.per_domain,
            "MaxOutConnectionsPerDomain",
            "connections",
            "",
        ),
        (defaults.timeout, "RemoteTimeout", "command_timeout", "s"),
    ] {
        if let Some(value) = value.filter(|value| (1..2_000_000_000).contains(value)) {
            paper.number(route, key, value, unit, &format!("{name} = {value}."));
        }
    }
}
