//! Reads the SMTP part of a metabase: each virtual server with what it inherits, and its domains.
//!
//! Only the form is judged here; what a property means stands in `server` and `domains`.

use std::collections::BTreeMap;
use std::fmt;

use roxmltree::Document;
use roxmltree::Node;
use roxmltree::ParsingOptions;

use crate::base::limits;

/// Why there is nothing to import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadMetabase {
    /// It is larger than any.
    TooLarge,
    /// Its bytes are no text in UTF-8 or UTF-16.
    Charset,
    /// It is no XML; where and why.
    Xml(String),
    /// It is XML, and nothing of the SMTP service is in it.
    NoServer,
}

impl fmt::Display for BadMetabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(
                f,
                "larger than {} bytes, which no metabase is",
                limits::METABASE
            ),
            Self::Charset => f.write_str(
                "neither UTF-8 nor UTF-16; save it as UTF-8, or copy MetaBase.xml itself (from System32\\inetsrv, with \
                 the service stopped)",
            ),
            Self::Xml(why) => write!(
                f,
                "not whole, or no XML: {why}; copy MetaBase.xml again, with the service stopped"
            ),
            Self::NoServer => f.write_str(
                "there is no IIsSmtpServer in it; MetaBase.xml stands in System32\\inetsrv of the old host",
            ),
        }
    }
}

impl std::error::Error for BadMetabase {}

/// Properties by their names in lower case; taken out as they are translated, so that what is left can be named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(BTreeMap<String, (String, String)>);

impl Properties {
    /// Takes a property out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let (_, value) = self.0.remove(&name.to_ascii_lowercase())?;
        Some(value)
    }

    /// The same, as a number: decimal, hexadecimal, or -1 for the largest.
    pub fn number(&mut self, name: &str) -> Option<u64> {
        number(&self.take(name)?)
    }

    /// The same, as yes or no.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        Some(is_true(&self.take(name)?))
    }

    /// What is left, by name.
    pub fn rest(self) -> impl Iterator<Item = (String, String)> {
        self.0.into_values()
    }

    fn put(&mut self, name: &str, value: &str) {
        let pair = (name.to_owned(), value.to_owned());
        self.0.insert(name.to_ascii_lowercase(), pair);
    }
}

/// A number as the metabase has it.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None if text == "-1" => Some(u64::from(u32::MAX)),
        None => text.parse().ok(),
    }
}

/// A switch as the metabase has it.
pub fn is_true(text: &str) -> bool {
    let text = text.trim();
    text.eq_ignore_ascii_case("true") || number(text).is_some_and(|number| number != 0)
}

/// A domain of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainEntry {
    /// Its name; may begin with `*.`.
    pub name: String,
    /// What is set on it.
    pub properties: Properties,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerEntry {
    /// Its number: the last part of its location.
    pub number: u32,
    /// What is set on it, on its routing sources, and on the service where it says nothing itself.
    pub properties: Properties,
    /// Its domains, in the order of the file.
    pub domains: Vec<DomainEntry>,
}

/// Properties that say nothing about the service.
const NOISE: [&str; 4] = ["location", "keytype", "win32error", "adminacl"];

/// Names of properties that a `Custom` element may give by number alone.
const NUMBERED: &[(&str, &str)] = &[
    ("36871", "MaxBatchedMessages"),
    ("36886", "HopCount"),
    ("36887", "MaxSmtpErrors"),
    ("36891", "MaxMessageSize"),
    ("36892", "MaxSessionSize"),
    ("36895", "MaxRecipients"),
    ("36896", "LocalRetryAttempts"),
    ("36897", "LocalRetryInterval"),
    ("36898", "RemoteRetryAttempts"),
    ("36899", "RemoteRetryInterval"),
    ("36905", "SmartHostType"),
    ("36909", "BadMailDirectory"),
    ("36923", "SendBadTo"),
    ("36946", "RouteAction"),
    ("36970", "RelayIpList"),
    ("36995", "SmtpRemoteRetryThreshold"),
    ("36996", "SmtpRemoteProgressiveRetry"),
    ("36998", "SmtpInboundCommandSupportOptions"),
    ("37019", "SmtpRemoteDelayExpireMinutes"),
];

/// The text of a file: UTF-8, or UTF-16 with a byte order mark.
fn text(bytes: &[u8]) -> Result<String, BadMetabase> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        match String::from_utf16(&units) {
            Ok(text) if rest.is_empty() => Ok(text),
            _ => Err(BadMetabase::Charset),
        }
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] | rest => {
            String::from_utf8(rest.to_vec()).map_err(|_| BadMetabase::Charset)
        }
    }
}

/// Every virtual server in the file, by number.
pub fn read(bytes: &[u8]) -> Result<Vec<ServerEntry>, BadMetabase> {
    if bytes.len() > limits::METABASE {
        return Err(BadMetabase::TooLarge);
    }
    let text = text(bytes)?;
    // A parser of text wants no word about bytes.
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: limits::METABASE_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(&text, options)
        .map_err(|error| BadMetabase::Xml(error.to_string()))?;
    let mut service = Properties::default();
    let mut servers: BTreeMap<u32, ServerEntry> = BTreeMap::new();
    for node in document.descendants().filter(Node::is_element) {
        let Some(place) = node.attribute("Location").and_then(inside) else {
            continue;
        };
        let parts: Vec<&str> = place.split('/').filter(|part| !part.is_empty()).collect();
        let Some((first, below)) = parts.split_first() else {
            gather(&node, &mut service);
            continue;
        };
        let Ok(number) = first.parse::<u32>() else {
            continue;
        };
        let server = servers.entry(number).or_insert_with(|| ServerEntry {
            number,
            properties: Properties::default(),
            domains: Vec::new(),
        });
        match below {
            [] => gather(&node, &mut server.properties),
            [class, ..] if class.eq_ignore_ascii_case("RoutingSources") => {
                gather(&node, &mut server.properties);
            }
            [class, name] if class.eq_ignore_ascii_case("Domain") => {
                let mut properties = Properties::default();
                gather(&node, &mut properties);
                server.domains.push(DomainEntry {
                    name: (*name).to_owned(),
                    properties,
                });
            }
            _ => {}
        }
    }
    // Set on the service, it holds where a server says nothing.
    for server in servers.values_mut() {
        for (name, (shown, value)) in &service.0 {
            let pair = (shown.clone(), value.clone());
            server.properties.0.entry(name.clone()).or_insert(pair);
        }
    }
    if servers.is_empty() {
        return Err(BadMetabase::NoServer);
    }
    Ok(servers.into_values().collect())
}

/// What follows `/LM/SmtpSvc` in a location.
fn inside(location: &str) -> Option<&str> {
    let root = "/LM/SmtpSvc";
    let start = location.get(..root.len())?;
    let rest = location.get(root.len()..)?;
    let whole = rest.is_empty() || rest.starts_with('/');
    (start.eq_ignore_ascii_case(root) && whole).then_some(rest)
}

/// The attributes of an element, and its `Custom` children.
fn gather(node: &Node<'_, '_>, into: &mut Properties) {
    for attribute in node.attributes() {
        let name = attribute.name();
        if !NOISE.contains(&name.to_ascii_lowercase().as_str()) {
            into.put(name, attribute.value());
        }
    }
    for custom in node.children().filter(|child| child.has_tag_name("Custom")) {
        let id = custom.attribute("ID").unwrap_or_default().trim();
        let named = NUMBERED.iter().find(|(number, _)| *number == id);
        let name = match (named, custom.attribute("Name")) {
            (Some((_, name)), _) => *name,
            (None, Some(name)) => name,
            (None, None) => continue,
        };
        if !NOISE.contains(&name.to_ascii_lowercase().as_str()) {
            into.put(name, custom.attribute("Value").unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BadMetabase, read};

    fn wrap(inner: &str) -> String {
        format!(
            "<?xml version =\"1.0\"?>\n<configuration xmlns=\"urn:microsoft-catalog:XML_Metabase_V64_0\"><MBProperty>\
             {inner}</MBProperty></configuration>"
        )
    }

    #[test]
    fn a_server_has_what_its_service_says_and_what_it_says_itself() {
        let text = wrap(
            "<IIsSmtpService Location=\"/LM/SmtpSvc\" MaxRecipients=\"100\" HopCount=\"15\"/>\
             <IIsSmtpServer Location=\"/LM/SMTPSVC/2\" HopCount=\"20\"><Custom Name=\"Odd\" ID=\"36887\" Value=\"7\"/>\
             </IIsSmtpServer>\
             <IIsSmtpDomain Location=\"/LM/SmtpSvc/2/Domain/*.example.com\" RouteAction=\"0x1002\"/>\
             <IIsWebServer Location=\"/LM/W3SVC/1\" MaxConnections=\"3\"/>",
        );
        for bytes in [
            text.clone().into_bytes(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [0xfeff_u16]
                .into_iter()
                .chain(text.encode_utf16())
                .flat_map(u16::to_le_bytes)
                .collect(),
            [0xfeff_u16]
                .into_iter()
                .chain(text.encode_utf16())
                .flat_map(u16::to_be_bytes)
                .collect(),
        ] {
            let mut servers = read(&bytes).unwrap();
            assert_eq!(servers.len(), 1);
            let server = servers.first_mut().unwrap();
            assert_eq!(server.number, 2);
            assert_eq!(server.properties.number("hopcount"), Some(20));
            assert_eq!(server.properties.number("MaxRecipients"), Some(100));
            assert_eq!(server.properties.number("MaxSmtpErrors"), Some(7));
            assert_eq!(server.properties.take("MaxConnections"), None);
            let domain = server.domains.first_mut().unwrap();
            assert_eq!(domain.name, "*.example.com");
            assert_eq!(domain.properties.number("RouteAction"), Some(0x1002));
        }
    }

    #[test]
    fn what_is_no_metabase_gets_a_sentence() {
        let bomb = "<!DOCTYPE a [<!ENTITY b \"x\"><!ENTITY c \"&b;&b;\">]><a Location=\"/LM/SmtpSvc/1\">&c;</a>";
        for (bytes, want) in [
            (&b""[..], "not whole"),
            (b"[Settings]\nA=1\n", "not whole"),
            (b"\xff\xfe<\x00a", "UTF-16"),
            (b"caf\xe9 <a/>", "UTF-8"),
            (bomb.as_bytes(), "not whole, or no XML"),
            (
                wrap("<IIsSmtpServer Location=\"/LM/SmtpSvc/1\"").as_bytes(),
                "not whole",
            ),
            (wrap("").as_bytes(), "no IIsSmtpServer"),
            (b"<a Location=\"/LM/SmtpSvcX/1\"/>", "no IIsSmtpServer"),
        ] {
            let why = read(bytes).unwrap_err().to_string();
            assert!(why.contains(want), "{why}");
        }
        let much = vec![b' '; crate::base::limits::METABASE + 1];
        assert_eq!(read(&much), Err(BadMetabase::TooLarge));
    }
}
