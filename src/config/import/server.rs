//! One virtual server of IIS as one configuration file.

use crate::config::Faults;
use crate::config::Flags;
use crate::config::iis;
use crate::config::import::addresses;
use crate::config::import::addresses::AddressList;
use crate::config::import::domains;
use crate::config::import::domains::Defaults;
use crate::config::import::logging;
use crate::config::import::metabase;
use crate::config::import::metabase::Properties;
use crate::config::import::metabase::ServerEntry;
use crate::config::import::paper::Paper;
use crate::config::load;

/// What the boxes of IIS that say "no limit" store.
const NO_LIMIT: u64 = 2_000_000_000;

/// This host itself, which may always send.
const LOOPBACK: &str = "127.0.0.0/8, ::1";

/// A file that an import made.
#[derive(Debug)]
pub struct Imported {
    /// The number of the virtual server.
    pub number: u32,
    /// What it was called.
    pub name: String,
    /// The configuration.
    pub text: String,
}

/// Where things go on this host.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The file that is imported, as it is to be named.
    pub source: &'a str,
    /// The home of this server.
    pub home: &'a str,
    /// The name of this host.
    pub hostname: &'a str,
}

/// Translates one server. The faults are mistakes of the translation, not of its input.
pub fn translate(entry: ServerEntry, places: Places<'_>) -> Result<Imported, Faults> {
    let number = entry.number;
    let mut properties = entry.properties;
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let name = properties.take("ServerComment").unwrap_or_default();
    let name: String = name.chars().map(plain).collect();
    let name = match name.trim() {
        "" => format!("SMTP Virtual Server {number}"),
        name => name.to_owned(),
    };
    let mut paper = Paper::new(format!(
        "SMTP virtual server {number} of IIS, \"{name}\", made from {} by `mailroot import-iis`. Above each setting stands \
         what it was there. `mailroot help settings` says what else can be set; `mailroot help iis` lists every property of IIS.",
        places.source
    ));
    let top = paper.once("");
    paper.put(top, "name", &name, "ServerComment.");
    identity(&mut properties, &mut paper, places);
    listeners(&mut properties, &mut paper);
    access(&mut properties, &mut paper);
    logins(&mut properties, &mut paper);
    limits(&mut properties, &mut paper);
    let defaults = Defaults::take(&mut properties, number);
    domains::translate(entry.domains, &defaults, &mut paper);
    domains::default_route(&defaults, &mut paper);
    delivery(&mut properties, &mut paper);
    let comment = "IIS takes one dot away at the start of each line of a pickup file.";
    paper.set("pickup", "dot_stuffed", "always", comment);
    logging::translate(&mut properties, &mut paper);
    directory(&mut properties, &mut paper);
    rest(properties, &mut paper);
    let text = paper.to_string();
    let file = crate::config::File {
        name: places.source,
        text: &text,
    };
    load(Some(file), &Flags::default(), places.hostname)?;
    Ok(Imported { number, name, text })
}

/// Home, folders and names.
fn identity(properties: &mut Properties, paper: &mut Paper, places: Places<'_>) {
    let mut was = Vec::new();
    for name in [
        "PickupDirectory",
        "QueueDirectory",
        "BadMailDirectory",
        "DropDirectory",
    ] {
        if let Some(folder) = properties.take(name) {
            was.push(format!("{name} = {folder}"));
        }
    }
    let mut comment = String::from(
        "The folder with pickup, queue, drop, badmail and sorttemp. Programs that wrote into \\Pickup write into pickup \
         below it, by a share where they run elsewhere.",
    );
    if !was.is_empty() {
        comment.push_str(&format!(" It was: {}.", was.join("; ")));
    }
    paper.set("", "home", places.home, &comment);
    if let Some(name) = properties
        .take("FullyQualifiedDomainName")
        .filter(|name| !name.trim().is_empty())
    {
        let comment = format!(
            "FullyQualifiedDomainName = {name}: the name in the greeting, EHLO and Received."
        );
        paper.set("", "hostname", name.trim(), &comment);
    }
    if let Some(domain) = properties
        .take("DefaultDomain")
        .filter(|name| !name.trim().is_empty())
    {
        let comment = format!(
            "DefaultDomain = {domain}: addresses without a domain get it, and its mail stays here."
        );
        if paper.set("", "default_domain", domain.trim(), &comment) {
            paper.set("local", "domains", domain.trim(), "DefaultDomain.");
        }
    }
    if let Some(domain) = properties
        .take("MasqueradeDomain")
        .filter(|name| !name.trim().is_empty())
    {
        let comment = format!("MasqueradeDomain = {domain}.");
        paper.set("sender", "masquerade", domain.trim(), &comment);
    }
}

/// Where it listened, and what it asked of clients.
fn listeners(properties: &mut Properties, paper: &mut Paper) {
    let bindings = properties
        .take("ServerBindings")
        .unwrap_or_else(|| ":25:".to_owned());
    let secure = properties.take("SecureBindings").unwrap_or_default();
    let reverse = properties.flag("EnableReverseDnsLookup");
    let (without, options) = verbs(properties);
    let certificate = properties
        .take("SSLCertHash")
        .is_some_and(|hash| !hash.is_empty());
    let _ = properties.take("SSLStoreName");
    let flags = properties.take("AccessSSLFlags").unwrap_or_default();
    let require_tls = properties.flag("AccessSSL").unwrap_or(false)
        || flags.contains("AccessSSL")
        || metabase::number(&flags).is_some_and(|bits| bits & 8 != 0);
    let _ = properties.take("AccessSSL128");
    let plain = bindings.split_whitespace().map(|one| (one, false));
    let secret = secure.split_whitespace().map(|one| (one, true));
    for (binding, implicit) in plain.chain(secret) {
        let (place, _) = binding.rsplit_once(':').unwrap_or((binding, ""));
        let (ip, port) = place.rsplit_once(':').unwrap_or(("", place));
        let mut comment = format!("ServerBindings = {binding}.");
        let address = if ip.is_empty() {
            comment
                .push_str(" All addresses of this host; 127.0.0.1 would be programs on it alone.");
            format!("0.0.0.0:{port}")
        } else {
            format!("{ip}:{port}")
        };
        let listen = paper.table("listen");
        if !paper.put(listen, "address", &address, &comment) {
            continue;
        }
        if implicit {
            paper.put(
                listen,
                "tls",
                "implicit",
                "SecureBindings: TLS from the first byte.",
            );
        }
        if require_tls {
            paper.put(
                listen,
                "require_tls",
                "true",
                "AccessSSL: no mail before TLS.",
            );
        }
        if !without.is_empty() {
            let comment =
                format!("SmtpInboundCommandSupportOptions = {options:#x}: these were off.");
            paper.put(listen, "without", &without.join(", "), &comment);
        }
        if reverse == Some(true) {
            paper.put(listen, "reverse_dns", "5s", "EnableReverseDnsLookup.");
        }
    }
    if certificate || require_tls || !secure.trim().is_empty() {
        let tls = paper.once("tls");
        paper.put(
            tls,
            "self_signed",
            "true",
            "There was a certificate in the store of Windows, and it does not come along: until another is named here by \
             certificate and key, one is made that no authority vouches for. To take the old one: export it with its key as a \
             .pfx file, then openssl pkcs12 -in old.pfx -nodes -out mailroot.pem.",
        );
    }
}

/// The extensions that were off, and the bits that said so. All bits that it was shipped with are the default.
fn verbs(properties: &mut Properties) -> (Vec<&'static str>, u64) {
    let bits = [
        (0x40, "DSN"),
        (0x80, "ETRN"),
        (0x400, "ATRN"),
        (0x10_0000, "CHUNKING"),
        (0x20_0000, "BINARYMIME"),
    ];
    let Some(options) = properties.number("SmtpInboundCommandSupportOptions") else {
        return (Vec::new(), 0);
    };
    let off = bits.iter().filter(|(bit, _)| options & bit == 0);
    (off.map(|(_, name)| *name).collect(), options)
}

/// How clients could log in, and whether they had to.
fn logins(properties: &mut Properties, paper: &mut Paper) {
    let flags = properties
        .take("AuthFlags")
        .unwrap_or_else(|| "AuthAnonymous".to_owned());
    let bits = metabase::number(&flags);
    let mut on = |bit: u64, name: &str| {
        let alone = properties.flag(name);
        alone.unwrap_or_else(|| bits.map_or_else(|| flags.contains(name), |bits| bits & bit != 0))
    };
    let (anonymous, basic, ntlm) = (
        on(1, "AuthAnonymous"),
        on(2, "AuthBasic"),
        on(4, "AuthNTLM"),
    );
    let domain = properties
        .take("DefaultLogonDomain")
        .or(properties.take("SaslLogonDomain"));
    if basic || ntlm {
        let users = paper.once("users");
        let mut comment = format!(
            "AuthFlags = {flags}: users of Windows could log in. Their passwords do not come along. For each user run \
             `mailroot passwd NAME`, then say here: file = \"/etc/mailroot.users\". A directory of users (LDAP) can be asked \
             instead, see [directory] in `mailroot help settings`."
        );
        if ntlm {
            comment.push_str(
                " Integrated authentication (NTLM) needs a build that has it; programs that know another way use that.",
            );
        }
        if let Some(domain) = domain.filter(|domain| !domain.trim().is_empty()) {
            comment.push_str(&format!(
                " The default domain of logins was {domain}; names are written without one here."
            ));
        }
        paper.remark(users, &comment);
    }
    if !anonymous {
        let access = paper.once("access");
        let comment = "AuthFlags had no anonymous access. Until there are users nobody could log in here, so only this host \
                       may connect. Then take this line away, and say require_auth = true in each [[listen]].";
        paper.put(access, "connect", LOOPBACK, comment);
        paper.changed(
            "Nobody could send without a login: access.connect is this host alone until [users] names a file.",
        );
    }
}

/// Who may connect and relay.
fn access(properties: &mut Properties, paper: &mut Paper) {
    let access = paper.once("access");
    match properties
        .take("RelayIpList")
        .map(|list| addresses::binary(&list))
    {
        None => {
            let comment = "RelayIpList is not set: only the list, and nobody in it. This host itself may send, as programs on it expect.";
            paper.put(access, "relay", LOOPBACK, comment);
        }
        Some(AddressList::Everybody) => {
            let comment = "RelayIpList = \"\" let everybody in the world send through IIS (all except the list, and nobody in it). \
                           Here it is this host alone; add the networks that need it, such as 192.168.1.0/24.";
            paper.put(access, "relay", LOOPBACK, comment);
            paper.changed("RelayIpList was empty, which is an open relay in IIS; access.relay is this host alone.");
        }
        Some(AddressList::Only(networks)) => {
            let comment = "RelayIpList: only the computers in the list; this host itself is added.";
            let list = [&[LOOPBACK.to_owned()], networks.as_slice()]
                .concat()
                .join(", ");
            paper.put(access, "relay", &list, comment);
        }
        Some(AddressList::Unknown) => {
            let comment = "RelayIpList has a form that is not known here, and nobody is let in by guessing. The property sheet \
                           (Access, Relay) shows the list.";
            paper.put(access, "relay", LOOPBACK, comment);
            paper.changed("RelayIpList could not be read; access.relay is this host alone.");
        }
    }
    if let Some(on) = properties.flag("RelayForAuth") {
        let word = if on { "true" } else { "false" };
        let comment = format!("RelayForAuth = {on}: whether who has logged in may send anywhere.");
        paper.put(access, "relay_logins", word, &comment);
    }
    connections(properties, paper);
}

fn connections(properties: &mut Properties, paper: &mut Paper) {
    let access = paper.once("access");
    let grant_all = properties.flag("GrantByDefault").unwrap_or(true);
    for (name, key, counts) in [
        ("IPGrant", "connect", !grant_all),
        ("IPDeny", "deny", grant_all),
    ] {
        let Some(list) = properties.take(name) else {
            continue;
        };
        let comment = format!("{name} = {list} (GrantByDefault = {grant_all}).");
        match addresses::texts(&list) {
            // The other list of the two does not count in IIS.
            _ if !counts => {}
            Ok(networks) if networks.is_empty() => {}
            Ok(networks) => {
                paper.put(access, key, &networks.join(", "), &comment);
            }
            Err(bad) => {
                paper.without(format!("{comment} '{bad}' is no address."));
                if !grant_all {
                    paper.put(access, "connect", LOOPBACK, &comment);
                    paper.changed("IPGrant could not be read; only this host may connect.");
                }
            }
        }
    }
    match properties
        .take("IPSecurity")
        .map(|list| addresses::binary(&list))
    {
        None | Some(AddressList::Everybody) => {}
        Some(AddressList::Only(networks)) if !networks.is_empty() => {
            let list = [&[LOOPBACK.to_owned()], networks.as_slice()]
                .concat()
                .join(", ");
            let comment = "IPSecurity: only the computers in the list may connect; this host itself is added.";
            paper.put(access, "connect", &list, comment);
        }
        Some(_) => {
            let comment = "IPSecurity (connection control) has a form that is not known here: only this host may connect. The \
                           property sheet (Access, Connection) shows the list.";
            paper.put(access, "connect", LOOPBACK, comment);
            paper.changed("IPSecurity could not be read; access.connect is this host alone.");
        }
    }
    for name in ["DomainGrant", "DomainDeny"] {
        if let Some(list) = properties.take(name).filter(|list| !list.trim().is_empty()) {
            paper.without(format!(
                "{name} = {list}: no access by name, which whoever runs a name server could claim; write networks into [access]."
            ));
        }
    }
}

/// What one client and one message may take.
fn limits(properties: &mut Properties, paper: &mut Paper) {
    let limits = paper.once("limits");
    let message = properties.number("MaxMessageSize").filter(|size| *size > 0);
    if let Some(size) = message {
        let comment = format!("MaxMessageSize = {size}.");
        paper.number(limits, "message_bytes", size, "", &comment);
    }
    match properties.number("MaxSessionSize") {
        Some(0) | None => {}
        Some(size) => {
            let least = size.max(message.unwrap_or(64_000_000));
            let mut comment = format!("MaxSessionSize = {size}.");
            if least > size {
                comment.push_str(" It cannot be less than one message.");
            }
            paper.number(limits, "session_bytes", least, "", &comment);
        }
    }
    for (name, key, unit) in [
        ("MaxRecipients", "recipients", ""),
        ("MaxConnections", "connections", ""),
        ("ConnectionTimeout", "command_timeout", "s"),
        ("MaxSmtpErrors", "errors", ""),
        ("HopCount", "hops", ""),
    ] {
        match properties.number(name) {
            Some(value) if (1..NO_LIMIT).contains(&value) => {
                let comment = format!("{name} = {value}.");
                paper.number(limits, key, value, unit, &comment);
            }
            Some(value) => paper.remark(
                limits,
                &format!("{name} = {value}: no limit. Here limits.{key} has one, its default."),
            ),
            None => {}
        }
    }
}

/// Attempts, expiry and reports.
fn delivery(properties: &mut Properties, paper: &mut Paper) {
    let delivery = paper.once("delivery");
    if let Some(value) = properties.number("MaxOutConnections") {
        let comment = format!("MaxOutConnections = {value}.");
        if (1..NO_LIMIT).contains(&value) {
            paper.number(delivery, "connections", value, "", &comment);
        } else {
            paper.remark(delivery, &format!("{comment} No limit; here the default."));
        }
    }
    if let Some(list) = properties.take("SmtpRemoteProgressiveRetry") {
        let minutes: Vec<String> = list
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .map(|part| format!("{part}m"))
            .collect();
        let all = [&["1m", "1m", "1m"].map(str::to_owned)[..], &minutes].concat();
        let comment = format!(
            "SmtpRemoteProgressiveRetry = {list} minutes, after three tries a minute apart as IIS made them (GlitchRetrySeconds)."
        );
        if !minutes.is_empty() {
            paper.put(delivery, "retry", &all.join(", "), &comment);
        }
    }
    for (name, key, of_local) in [
        (
            "SmtpRemoteNDRExpireMinutes",
            "expire",
            "SmtpLocalNDRExpireMinutes",
        ),
        (
            "SmtpRemoteDelayExpireMinutes",
            "delay_notice",
            "SmtpLocalDelayExpireMinutes",
        ),
    ] {
        let (remote, local) = (properties.number(name), properties.number(of_local));
        if let Some(minutes) = remote.filter(|minutes| *minutes > 0) {
            paper.number(delivery, key, minutes, "m", &format!("{name} = {minutes}."));
        }
        if let Some(minutes) = local.filter(|_| local != remote) {
            paper.without(format!(
                "{of_local} = {minutes}: local mail has the same waits as all other mail (delivery.{key})."
            ));
        }
    }
    let report = properties
        .take("SendNdrTo")
        .filter(|to| !to.trim().is_empty());
    let bad = properties
        .take("SendBadTo")
        .filter(|to| !to.trim().is_empty());
    if let Some(to) = report {
        let comment = format!("SendNdrTo = {to}: a copy of each report.");
        paper.put(delivery, "report_copy_to", to.trim(), &comment);
    }
    if let Some(to) = bad {
        paper.without(format!(
            "SendBadTo = {to}: bad mail stays in badmail/ (`mailroot badmail`); delivery.report_copy_to tells of failures."
        ));
    }
    for name in ["PostmasterEmail", "PostmasterName"] {
        if let Some(who) = properties.take(name).filter(|who| who.contains('@')) {
            paper.put(
                delivery,
                "report_from",
                who.trim(),
                &format!("{name} = {who}."),
            );
        }
    }
}

/// LDAP routing.
fn directory(properties: &mut Properties, paper: &mut Paper) {
    let mut take = |name: &str| {
        let value = properties.take(name).unwrap_or_default();
        value.trim().to_owned()
    };
    let (host, port) = (take("SmtpDsHost"), take("SmtpDsPort"));
    let (schema, bind) = (take("SmtpDsSchemaType"), take("SmtpDsBindType"));
    let (domain, account) = (take("SmtpDsDomain"), take("SmtpDsAccount"));
    let (base, password) = (take("SmtpDsNamingContext"), take("SmtpDsPassword"));
    let used = take("SmtpDsUseCat");
    if host.is_empty() || base.is_empty() || metabase::number(&used) == Some(0) {
        if !(host.is_empty() && base.is_empty()) {
            paper.without(format!(
                "LDAP routing was off, or without a server or a base: SmtpDsHost = {host}, SmtpDsNamingContext = {base}, \
                 SmtpDsUseCat = {used}. See [directory] in `mailroot help settings`."
            ));
        }
        return;
    }
    let directory = paper.once("directory");
    let port = if port.is_empty() {
        "389".to_owned()
    } else {
        port
    };
    let comment = format!(
        "SmtpDsHost = {host}, SmtpDsPort = {port}. The connection goes on inside TLS unless start_tls = false."
    );
    if !paper.put(
        directory,
        "servers",
        &format!("ldap://{host}:{port}"),
        &comment,
    ) {
        return;
    }
    paper.put(
        directory,
        "base",
        &base,
        &format!("SmtpDsNamingContext = {base}."),
    );
    let comment = format!(
        "SmtpDsSchemaType = {schema}. For another schema than Active Directory: posix, or custom."
    );
    paper.put(directory, "schema", "active-directory", &comment);
    if account.is_empty() {
        paper.put(
            directory,
            "bind",
            "anonymous",
            &format!("SmtpDsBindType = {bind}."),
        );
        return;
    }
    let comment = format!("SmtpDsBindType = {bind}: with an account and its password, inside TLS.");
    paper.put(directory, "bind", "simple", &comment);
    paper.put(
        directory,
        "user",
        &account,
        &format!("SmtpDsAccount = {account}."),
    );
    if !domain.is_empty() {
        paper.put(
            directory,
            "domain",
            &domain,
            &format!("SmtpDsDomain = {domain}."),
        );
    }
    if !password.is_empty() {
        let comment = "SmtpDsPassword is encrypted in the metabase and does not come along: give it to the service in this \
                       variable, or say password_file = \"FILE\" instead.";
        paper.put(
            directory,
            "password_env",
            "MAILROOT_DIRECTORY_PASSWORD",
            comment,
        );
    }
}

/// What nobody asked for.
fn rest(properties: Properties, paper: &mut Paper) {
    for (name, value) in properties.rest() {
        let why = iis::why_not(&name).unwrap_or("it is not known here");
        let why = why.strip_prefix("not offered: ").unwrap_or(why);
        let value = if value.chars().count() > 60 {
            value.chars().take(60).chain("...".chars()).collect()
        } else {
            value
        };
        paper.without(format!("{name} = {value}: {why}"));
    }
}
