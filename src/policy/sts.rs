//! MTA-STS (RFC 8461): what a domain says about TLS to its mail exchangers, read and applied.
//!
//! Pure: the TXT record and the policy's text come from elsewhere, and so does the time.

use std::fmt;

use crate::base::Wall;
use crate::base::limits;
use crate::mail::Domain;

/// What a policy demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only listed hosts, and only with a certificate that a public authority vouches for.
    Enforce,
    /// The same, but mail goes all the same; what would have failed is told.
    Testing,
    /// Nothing any more.
    None,
}

impl Mode {
    /// As it stands in a policy (RFC 8461 s3.2).
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Enforce, Self::Testing, Self::None]
            .into_iter()
            .find(|mode| mode.word() == word)
    }
}

/// A domain's policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What it demands.
    pub mode: Mode,
    /// Seconds it may be kept, at most [`limits::STS_AGE`].
    pub max_age: u32,
    /// Its exchangers: names, or `*.` and a name. None only when it demands nothing.
    pub mx: Vec<String>,
}

/// Why a policy cannot be used (RFC 8461 s3.2). Then there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPolicy {
    /// Not UTF-8, or a line without a colon.
    Text,
    /// It does not begin with `version: STSv1`.
    Version,
    /// No mode, or one that nobody knows.
    Mode,
    /// No maximum age, or no number.
    MaxAge,
    /// It demands listed hosts and lists none, more than [`limits::STS_HOSTS`], or something that is no name.
    Mx,
}

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "it is not made of lines of a key and a value",
            Self::Version => "its version is not STSv1",
            Self::Mode => "it has no mode that is known",
            Self::MaxAge => "it has no maximum age",
            Self::Mx => "its list of exchangers cannot be used",
        })
    }
}

impl std::error::Error for BadPolicy {}

/// The id in the TXT records of `_mta-sts.DOMAIN` (RFC 8461 s3.1): none unless exactly one of them speaks of MTA-STS
/// and has one.
pub fn id(texts: &[String]) -> Option<&str> {
    let mut ours = texts.iter().filter(|text| {
        let rest = text.strip_prefix("v=STSv1");
        rest.is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with(';'))
    });
    let (Some(record), None) = (ours.next(), ours.next()) else {
        return None;
    };
    let fields = record.split(';').map(str::trim);
    let id = fields.filter_map(|field| {
        let (key, value) = field.split_once('=')?;
        (key.trim() == "id").then(|| value.trim())
    });
    let good = |id: &&str| {
        (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    id.take(1).find(good)
}

impl Policy {
    /// Reads the text of a policy (RFC 8461 s3.2): lines of a key, a colon and a value. The first of several equal
    /// keys counts, except that there may be many `mx`; unknown keys are passed over.
    pub fn parse(text: &[u8]) -> Result<Self, BadPolicy> {
        let text = std::str::from_utf8(text).map_err(|_| BadPolicy::Text)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let (key, value) = line.split_once(':').ok_or(BadPolicy::Text)?;
            let value = value.trim();
            match key.trim() {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" if mx.len() < limits::STS_HOSTS => mx.push(host(value).ok_or(BadPolicy::Mx)?),
                "mx" => return Err(BadPolicy::Mx),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(BadPolicy::Version);
        }
        let mode = mode.and_then(Mode::parse).ok_or(BadPolicy::Mode)?;
        let digits = |age: &&str| (1..=10).contains(&age.len());
        let max_age = max_age
            .filter(digits)
            .and_then(|age| age.parse::<u64>().ok())
            .ok_or(BadPolicy::MaxAge)?;
        if mx.is_empty() && mode != Mode::None {
            return Err(BadPolicy::Mx);
        }
        let most = u64::from(limits::STS_AGE);
        Ok(Self {
            mode,
            max_age: u32::try_from(max_age.min(most)).unwrap_or(limits::STS_AGE),
            mx,
        })
    }

    /// Whether the host is one of those listed. `*.` stands for exactly one label (RFC 8461 s4.1).
    pub fn lists(&self, host: &Domain) -> bool {
        let name = host.as_str().to_ascii_lowercase();
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.mx
            .iter()
            .any(|listed| match listed.strip_prefix("*.") {
                Some(below) => parent == Some(below),
                None => *listed == name,
            })
    }
}

/// A name of the list, in lower case.
fn host(text: &str) -> Option<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let domain = Domain::parse(name).ok()?;
    (domain.ip().is_none() && domain.is_ascii()).then(|| text.to_ascii_lowercase())
}

/// A policy as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The domain that it speaks of.
    pub domain: Domain,
    /// The id that its TXT record had when it was fetched.
    pub id: String,
    /// The policy.
    pub policy: Policy,
    /// Until when it may be used.
    pub until: Wall,
}

/// One line of the file that policies are kept in: domain, id, mode, end in seconds since 1970, and the exchangers.
impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (policy, until) = (&self.policy, self.until.as_secs());
        let (mode, age) = (policy.mode.word(), policy.max_age);
        write!(f, "{} {} {mode} {age} {until}", self.domain, self.id)?;
        policy.mx.iter().try_for_each(|mx| write!(f, " {mx}"))
    }
}

impl Kept {
    /// Reads such a line; `None` when it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let mut word = || words.next();
        let kept = Self {
            domain: Domain::parse(word()?).ok()?,
            id: word()?.to_owned(),
            policy: Policy {
                mode: Mode::parse(word()?)?,
                max_age: word()?.parse().ok()?,
                mx: Vec::new(),
            },
            until: Wall::from_secs(word()?.parse().ok()?),
        };
        let mx: Option<Vec<String>> = words.map(host).collect();
        let policy = Policy {
            mx: mx.filter(|list| list.len() <= limits::STS_HOSTS)?,
            ..kept.policy
        };
        Some(Self { policy, ..kept })
    }
}

#[cfg(test)]
mod tests {
    use super::{BadPolicy, Kept, Mode, Policy, id};
    use crate::base::{Wall, limits};
    use crate::mail::Domain;

    fn name(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    #[test]
    fn the_record_says_which_policy_is_the_newest() {
        for (texts, want) in [
            (&["v=STSv1; id=20260101T00;"][..], Some("20260101T00")),
            (&["v=STSv1;id=a"], Some("a")),
            (&["v=STSv1 ; id = a ; more=b"], Some("a")),
            (&["v=spf1 -all", "v=STSv1; id=a"], Some("a")),
            (&["v=STSv1; more=b; id=a"], Some("a")),
            (&["v=STSv1; id=a", "v=STSv1; id=b"], None),
            (&["v=STSv1; id=a; id=b"], Some("a")),
            (&["v=STSv1; id="], None),
            (&["v=STSv1; id=a-b"], None),
            (&["v=STSv1; id=123456789012345678901234567890123"], None),
            (&["v=STSv1"], None),
            (&["v=STSv10; id=a"], None),
            (&["v=STSv2; id=a"], None),
            (&["id=a; v=STSv1"], None),
            (&[], None),
        ] {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(id(&texts), want, "{texts:?}");
        }
    }

    #[test]
    fn policies() {
        let good = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.Example.net\r\n\
                    max_age: 604800\r\n";
        let policy = Policy::parse(good.as_bytes()).unwrap();
        assert_eq!((policy.mode, policy.max_age), (Mode::Enforce, 604_800));
        for (host, want) in [
            ("mail.example.com", true),
            ("MAIL.example.COM", true),
            ("x.example.net", true),
            ("example.net", false),
            ("y.x.example.net", false),
            ("xexample.net", false),
            ("other.example.com", false),
            ("mail.example.com.evil.example", false),
        ] {
            assert_eq!(policy.lists(&name(host)), want, "{host}");
        }
        for (text, want) in [
            ("version: STSv1\nmode: none\nmax_age: 1\n", Ok(())),
            ("mode:testing\nmx:a.b\nmax_age:1\nversion:STSv1", Ok(())),
            (
                "version: STSv1\nnew: thing\nmode: testing\nmx: a.b\nmax_age: 1\n",
                Ok(()),
            ),
            (
                "version: STSv1\nmode: none\nmode: enforce\nmax_age: 1\n",
                Ok(()),
            ),
            ("", Err(BadPolicy::Version)),
            ("<html>", Err(BadPolicy::Text)),
            (
                "version: STSv2\nmode: none\nmax_age: 1\n",
                Err(BadPolicy::Version),
            ),
            (
                "version: STSv1\nmax_age: 1\nmx: a.b\n",
                Err(BadPolicy::Mode),
            ),
            (
                "version: STSv1\nmode: hard\nmax_age: 1\nmx: a.b\n",
                Err(BadPolicy::Mode),
            ),
            ("version: STSv1\nmode: none\n", Err(BadPolicy::MaxAge)),
            (
                "version: STSv1\nmode: none\nmax_age: soon\n",
                Err(BadPolicy::MaxAge),
            ),
            (
                "version: STSv1\nmode: none\nmax_age: 99999999999\n",
                Err(BadPolicy::MaxAge),
            ),
            (
                "version: STSv1\nmode: enforce\nmax_age: 1\n",
                Err(BadPolicy::Mx),
            ),
            (
                "version: STSv1\nmode: enforce\nmax_age: 1\nmx: a b\n",
                Err(BadPolicy::Mx),
            ),
            (
                "version: STSv1\nmode: enforce\nmax_age: 1\nmx: *\n",
                Err(BadPolicy::Mx),
            ),
            (
                "version: STSv1\nmode: enforce\nmax_age: 1\nmx: [192.0.2.1]\n",
                Err(BadPolicy::Mx),
            ),
        ] {
            assert_eq!(Policy::parse(text.as_bytes()).map(|_| ()), want, "{text:?}");
        }
        assert_eq!(Policy::parse(b"\xff"), Err(BadPolicy::Text));
        let long = "version: STSv1\nmode: none\nmax_age: 4294967296\n";
        assert_eq!(
            Policy::parse(long.as_bytes()).unwrap().max_age,
            limits::STS_AGE
        );
        let many = "mx: a.b\n".repeat(limits::STS_HOSTS + 1);
        let many = format!("version: STSv1\nmode: enforce\nmax_age: 1\n{many}");
        assert_eq!(Policy::parse(many.as_bytes()), Err(BadPolicy::Mx));
    }

    #[test]
    fn what_is_kept_comes_back() {
        let kept = Kept {
            domain: name("example.com"),
            id: "a1".to_owned(),
            policy: Policy {
                mode: Mode::Enforce,
                max_age: 60,
                mx: vec!["mx.example.com".to_owned(), "*.example.net".to_owned()],
            },
            until: Wall::from_secs(1_795_305_600),
        };
        let line = kept.to_string();
        assert_eq!(
            line,
            "example.com a1 enforce 60 1795305600 mx.example.com *.example.net"
        );
        assert_eq!(Kept::parse(&line), Some(kept));
        for bad in [
            "",
            "example.com",
            "example.com a1 hard 60 5",
            "example.com a1 none 60 x",
        ] {
            assert_eq!(Kept::parse(bad), None, "{bad}");
        }
    }
}
