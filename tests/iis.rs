//! The page about every property of IIS is whole, tells the truth about the settings, and names tests that exist; the
//! importer makes of each metabase what is expected of it.
#![cfg(test)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{Folder, Mailroot, Sink, free_port, must, program, run};
use mailroot::config::iis::{Property, properties};
use mailroot::config::lookup;
use mailroot::config::schema::ROWS;

/// What the inventory of the service names, section by section.
const NAMED: &str = "
    PickupDirectory QueueDirectory DropDirectory BadMailDirectory SortTemp MaxBadMailFolderSize BadMailSyncPeriod
    DirectoryBuffSize MaxDirectoryBuffers MaxMessageObjects MessageObjectsInboundCutoffCount MaxAddressObjects
    MaxMailObjects MaxDSNSize
    ServerComment ServerBindings MaxConnections ConnectionTimeout SmtpMailFromTimeout SmtpRcptToTimeout SmtpRsetTimeout
    SmtpSaslTimeout SmtpTurnTimeout ServerAutoStart
    LogType LogPluginClsid LogFilePeriod LogFileTruncateSize LogFileDirectory LogExtFileFlags
    MaxMessageSize MaxSessionSize MaxRecipients MaxBatchedMessages HopCount MaxOutConnections MaxOutConnectionsPerDomain
    RemoteTimeout RemoteSmtpPort SmtpRemoteProgressiveRetry SmtpRemoteRetryThreshold SmtpRemoteDelayExpireMinutes
    SmtpRemoteNDRExpireMinutes SmtpLocalDelayExpireMinutes SmtpLocalNDRExpireMinutes RemoteRetryAttempts
    RemoteRetryInterval LocalRetryAttempts LocalRetryInterval MaxSmtpErrors SmtpInboundCommandSupportOptions
    SmtpOutboundCommandSupportOptions SendNdrTo SendBadTo GlitchRetrySeconds PerMsgFailuresBeforeMarkingAsProblem
    CatRetryMinutes AlwaysUseSsl MasqueradeDomain FullyQualifiedDomainName SmartHost SmartHostType
    EnableReverseDnsLookup DnsSocketTimeout NumDnsResolverSockets
    DefaultDomain RouteAction RouteActionString RouteUserName RoutePassword AuthTurnList CSideEtrnDomains EtrnDays
    AuthFlags RelayIpList RelayForAuth IPGrant GrantByDefault AdminACL
    DSN ETRN TURN ATRN ENHANCEDSTATUSCODES CHUNKING BINARYMIME 8BITMIME PIPELINING SIZE AllowVerify HELP EXPN
    SmtpDsHost SmtpDsPort SmtpDsSchemaType SmtpDsBindType SmtpDsDomain SmtpDsAccount SmtpDsPassword
    SmtpDsNamingContext SmtpDsFlags SmtpDsDataDirectory SmtpDsDefaultMailRoot SmtpDsUseCat
    MetaBase.xml ADSI WMI";

/// What it calls by more than one word.
const PHRASES: &[&str] = &[
    "Mailroot (home directory)",
    "Virtual server identity",
    "Current Sessions",
    "Wizard",
    "Forward unresolved recipients to host",
    "Outbound security",
    "MX look-up",
    "Flush queue",
    "Default local domain",
    "Alias domain",
    "Local delivery check",
    "Drop directory quota",
    "Remote domain",
    "Wildcard",
    "Allow incoming mail to be relayed to this domain",
    "Send HELO instead of EHLO",
    "Require TLS with basic auth",
    "Connection control",
    "Operators",
    "Performance counters",
    "Event log",
    "Event sinks, protocol",
    "Event sinks, transport",
    "Drop readers",
    "TLS protocol versions",
    "MMC snap-in",
];

/// Sections that small builds leave out.
const OPTIONAL: &[&str] = &["directory", "hook"];

fn row(name: &str) -> Option<Property> {
    properties().find(|property| property.name == name)
}

/// The names of all functions below a folder.
fn functions(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(path).unwrap();
            for after in text.split("fn ").skip(1) {
                let name = after.split(['(', '<']).next().unwrap();
                into.insert(name.to_owned());
            }
        }
    }
}

#[test]
fn every_property_of_iis_has_its_row() {
    let missing: Vec<&str> = NAMED
        .split_whitespace()
        .chain(PHRASES.iter().copied())
        .filter(|name| row(name).is_none())
        .collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
    let mut seen = BTreeSet::new();
    for property in properties() {
        assert!(seen.insert(property.name), "{} stands twice", property.name);
    }
}

#[test]
fn every_row_names_a_key_with_its_default_and_a_test_that_exists_or_says_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut tests = BTreeSet::new();
    functions(&root.join("src"), &mut tests);
    functions(&root.join("tests"), &mut tests);
    let mut wrong = Vec::new();
    for property in properties() {
        let name = property.name;
        if let Some(why) = property.here.strip_prefix("not offered: ") {
            if why.len() < 10 || (property.default, property.test) != ("-", "-") {
                wrong.push(format!("{name}: {property:?}"));
            }
            continue;
        }
        // This program may have been built without what these set.
        let section = property
            .here
            .split_once('.')
            .map_or("", |(section, _)| section);
        if OPTIONAL.contains(&section) && lookup::section(section).is_none() {
            continue;
        }
        if !tests.contains(property.test) {
            wrong.push(format!("{name}: there is no test {}", property.test));
        }
        if property.here.starts_with("always: ") && property.default == "-" {
            continue;
        }
        let Some(row) = lookup::row(property.here) else {
            wrong.push(format!("{name}: there is no key {}", property.here));
            continue;
        };
        let default = match row.default {
            None => "-",
            Some("") => "(empty)",
            Some(text) => text,
        };
        if property.default != default {
            wrong.push(format!("{name}: the default of {} is {default}", row.key));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_settings_and_the_page_say_the_same_of_iis() {
    let mut wrong = Vec::new();
    for key in ROWS {
        let Some((name, shipped)) = key.iis else {
            continue;
        };
        match row(name) {
            None => wrong.push(format!("{name} ({}) has no row; it was {shipped}", key.key)),
            // One that became several keys has the row of the first of them.
            Some(property)
                if lookup::row(property.here)
                    .and_then(|row| row.iis)
                    .is_some_and(|(first, _)| first == name)
                    && property.here != key.key => {}
            Some(property) if property.here != key.key || property.shipped != shipped => {
                wrong.push(format!(
                    "{name}: {} as shipped {shipped}, and {property:?}",
                    key.key
                ));
            }
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let page = must(program().args(["help", "iis"]), b"");
    assert!(
        page.contains("| MaxRecipients | 100 | 100 | `limits.recipients` | 1000 |"),
        "{page}"
    );
}

/// The metabases, and the files that each becomes.
const METABASES: &[(&str, &[u32])] = &[
    ("plain.xml", &[1]),
    ("several.xml", &[1, 2, 7]),
    ("binary.xml", &[1]),
    ("wide.xml", &[1]),
];

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/import")
        .join(name)
}

/// `wide.xml` is kept readable; as Windows saves "Unicode" it is UTF-16.
fn metabase(folder: &Folder, name: &str) -> std::path::PathBuf {
    if name != "wide.xml" {
        return fixture(name);
    }
    let text = fs::read_to_string(fixture(name)).unwrap();
    let units = [0xfeff].into_iter().chain(text.encode_utf16());
    let bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
    folder.file(name, bytes)
}

/// `MAILROOT_BLESS=1` writes down what comes out, for somebody to read.
#[test]
fn a_metabase_becomes_what_is_expected() {
    for (name, numbers) in METABASES {
        let folder = Folder::new(&format!("import-{name}"));
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let source = metabase(&folder, name);
        let mut command = program();
        command.arg("import-iis").arg(source).arg("--out").arg(&out);
        must(&mut command, b"");
        let (status, text) = run(&mut command, b"");
        assert_eq!(status.code(), Some(73), "nothing is written over: {text}");
        let stem = name.strip_suffix(".xml").unwrap();
        for number in *numbers {
            let file = out.join(format!("mailroot-{number}.toml"));
            let got = fs::read_to_string(&file).unwrap();
            let want = fixture(&format!("{stem}-{number}.toml"));
            if std::env::var_os("MAILROOT_BLESS").is_some() {
                fs::write(&want, &got).unwrap();
            }
            assert_eq!(
                got,
                fs::read_to_string(&want).unwrap(),
                "{name}, server {number}"
            );
            let said = must(program().arg("check").arg(&file), b"");
            assert!(said.ends_with(": good\n"), "{said}");
            assert!(got.contains("dot_stuffed = \"always\""));
        }
        assert_eq!(fs::read_dir(&out).unwrap().count(), numbers.len());
    }
}

#[test]
fn a_damaged_metabase_gets_a_sentence_and_leaves_nothing() {
    let folder = Folder::new("import-damaged");
    let whole = fs::read(fixture("several.xml")).unwrap();
    let wide: Vec<u8> = whole.iter().flat_map(|byte| [*byte, 0]).collect();
    let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\">]><x Location=\"/LM/SmtpSvc/1\">&b;</x>";
    let outside = "<!DOCTYPE x [<!ENTITY a SYSTEM \"/etc/passwd\">]><x Location=\"/LM/SmtpSvc/1\" ServerComment=\"&a;\"/>";
    for (name, bytes, want) in [
        (
            "truncated",
            &whole[..whole.len() / 2],
            "not whole, or no XML",
        ),
        ("text", b"[mailroot]\r\nport=25\r\n", "not whole, or no XML"),
        ("empty", b"", "not whole, or no XML"),
        ("latin", b"<a b=\"caf\xe9\"/>", "neither UTF-8 nor UTF-16"),
        ("unmarked", &wide, "not whole, or no XML"),
        (
            "web",
            b"<configuration><IIsWebServer Location=\"/LM/W3SVC/1\"/></configuration>",
            "no IIsSmtpServer",
        ),
        ("bomb", bomb.as_bytes(), "not whole, or no XML"),
        ("outside", outside.as_bytes(), "not whole, or no XML"),
    ] {
        let file = folder.file(name, bytes);
        let out = folder.path().join("out");
        fs::create_dir_all(&out).unwrap();
        let mut command = program();
        let (status, text) = run(
            command.arg("import-iis").arg(&file).arg("--out").arg(&out),
            b"",
        );
        assert_eq!(status.code(), Some(65), "{name}: {text}");
        assert!(text.contains(want), "{name}: {text}");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
    }
    let mut command = program();
    let (status, _) = run(command.args(["import-iis", "/nowhere/MetaBase.xml"]), b"");
    assert_eq!(status.code(), Some(66));
}

/// The plain one in the real service: its applications find what they knew.
#[test]
fn an_imported_server_runs_and_treats_mail_as_iis_did() {
    if !common::have("smtp-sink") {
        return;
    }
    let folder = Folder::new("import-run");
    let sink = Sink::start(folder.path(), &[]);
    let port = free_port();
    let text = fs::read_to_string(fixture("plain.xml")).unwrap();
    let text = text
        .replace(":25:", &format!("127.0.0.1:{port}:"))
        .replace(
            "RemoteSmtpPort=\"25\"",
            &format!("RemoteSmtpPort=\"{}\"", sink.port),
        )
        .replace("[192.0.2.25]", "[127.0.0.1]");
    let source = folder.file("MetaBase.xml", text);
    let home = folder.home();
    let mut command = program();
    command
        .arg("import-iis")
        .arg(source)
        .arg("--out")
        .arg(folder.path());
    must(command.arg("--home").arg(&home), b"");
    let mut command = program();
    command
        .arg("run")
        .arg(folder.path().join("mailroot-1.toml"));
    let box_ = Mailroot::spawn(&home, command);
    assert_eq!(box_.port(), port);
    // As .NET writes it, dots doubled; to a smart host, and to the default domain.
    fs::write(
        home.join("pickup/report.eml"),
        "X-Sender: app@old.example\r\nX-Receiver: boss@office.example\r\nX-Receiver: archive@old.example\r\n\
         From: app@old.example\r\nTo: boss@office.example\r\nSubject: report\r\n\r\n..dots\r\n...\r\nend\r\n",
    )
    .unwrap();
    box_.completed(1);
    let got = sink.only();
    assert!(
        got.rcpt_args[0].starts_with("<boss@office.example>"),
        "{got:?}"
    );
    assert!(got.text.ends_with(b"\n\n.dots\n..\nend\n"), "{got:?}");
    let dropped: Vec<_> = fs::read_dir(home.join("drop")).unwrap().collect();
    assert_eq!(dropped.len(), 1);
    // The size limit of IIS is announced, and who is not in the list may not relay from elsewhere.
    let mut talk = common::Talk::connect(box_.address);
    assert!(talk.say("EHLO printer").contains("SIZE 2097152"));
    assert!(talk.say("QUIT").starts_with("221"));
}

#[test]
fn helo_is_said_at_once_where_a_route_wants_it() {
    if !common::have("smtp-sink") {
        return;
    }
    let folder = Folder::new("import-helo");
    let sink = Sink::start(folder.path(), &[]);
    let home = folder.home();
    for (ehlo, protocol) in [("true", "ESMTP"), ("false", "SMTP")] {
        let set = format!("route.ehlo={ehlo}");
        let args = ["--smart-host", &sink.url(), "--set", &set];
        let box_ = Mailroot::start(&home, &args);
        fs::write(
            home.join("pickup/m.eml"),
            format!(
                "X-Sender: a@x.example\nX-Receiver: b@x.example\nSubject: by {protocol}\n\nhi\n"
            ),
        )
        .unwrap();
        box_.completed(1);
        box_.stop();
        let files = fs::read_dir(folder.path().join("sink")).unwrap();
        let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
        let text = texts
            .filter(|text| text.contains(&format!("Subject: by {protocol}\n")))
            .last();
        let text = text.unwrap();
        assert!(
            text.contains(&format!("X-Client-Proto: {protocol}\n")),
            "{text}"
        );
    }
}
