//! The directory, and the box that asks it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::common::{
    Authority, Folder, Mailroot, Sink, command, free_port, have, must, wait_until_open,
};

/// What Active Directory has and Debian's schemas have not, with its own names.
const SCHEMA: &str = "
attributetype ( 1.3.6.1.4.1.99999.1.1 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.1.2 NAME 'targetAddress' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.1.3 NAME 'sAMAccountName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.1.4 NAME 'userPrincipalName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.3.6.1.4.1.99999.1.5 NAME 'forwardTo' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.3.6.1.4.1.99999.2.1 NAME 'user' SUP top AUXILIARY MAY ( mail $ proxyAddresses $ targetAddress $ sAMAccountName $ userPrincipalName $ forwardTo ) )
objectclass ( 1.3.6.1.4.1.99999.2.2 NAME 'group' SUP top STRUCTURAL MUST cn MAY ( member $ mail $ proxyAddresses ) )
objectclass ( 1.3.6.1.4.1.99999.2.3 NAME 'mailList' SUP top AUXILIARY MAY ( mail $ rfc822MailMember ) )
";

/// The whole tree. Passwords are in clear, as only a test would have them.
const DATA: &str = "
dn: dc=x,dc=test
objectClass: domain
dc: x

dn: cn=svc,dc=x,dc=test
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: svc
userPassword: service

dn: cn=ann,dc=x,dc=test
objectClass: inetOrgPerson
objectClass: user
cn: ann
sn: ann
mail: ann@x.test
proxyAddresses: SMTP:ann@x.test
proxyAddresses: smtp:sales@x.test
sAMAccountName: ann
userPrincipalName: ann@corp.test
userPassword: apple

dn: cn=bob,dc=x,dc=test
objectClass: inetOrgPerson
objectClass: user
cn: bob
sn: bob
proxyAddresses: smtp:b@x.test
proxyAddresses: SMTP:bob@x.test
sAMAccountName: bob
userPassword: banana

dn: cn=eve,dc=x,dc=test
objectClass: inetOrgPerson
objectClass: user
cn: eve
sn: eve
mail: eve@x.test
targetAddress: SMTP:eve@else.test
forwardTo: eve@custom.test

dn: cn=all,dc=x,dc=test
objectClass: group
cn: all
mail: all@x.test
member: cn=ann,dc=x,dc=test
member: cn=half,dc=x,dc=test
member: cn=gone,dc=x,dc=test

dn: cn=half,dc=x,dc=test
objectClass: group
cn: half
mail: half@x.test
member: cn=bob,dc=x,dc=test
member: cn=eve,dc=x,dc=test
member: cn=all,dc=x,dc=test

dn: cn=none,dc=x,dc=test
objectClass: group
cn: none
mail: none@x.test

dn: cn=twin1,dc=x,dc=test
objectClass: inetOrgPerson
cn: twin1
sn: twin
mail: twin@x.test

dn: cn=twin2,dc=x,dc=test
objectClass: inetOrgPerson
cn: twin2
sn: twin
mail: twin@x.test

dn: uid=pat,dc=x,dc=test
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: pat
cn: pat
sn: pat
mail: pat@x.test
mailLocalAddress: info@x.test
mailHost: imap.test
userPassword: peach

dn: uid=rob,dc=x,dc=test
objectClass: inetOrgPerson
objectClass: inetLocalMailRecipient
uid: rob
cn: rob
sn: rob
mail: rob@x.test
mailRoutingAddress: rob@far.test

dn: cn=crew,dc=x,dc=test
objectClass: groupOfNames
objectClass: mailList
cn: crew
mail: crew@x.test
member: uid=rob,dc=x,dc=test
member: cn=unique,dc=x,dc=test

dn: cn=unique,dc=x,dc=test
objectClass: groupOfUniqueNames
objectClass: mailList
cn: unique
mail: unique@x.test
uniqueMember: uid=pat,dc=x,dc=test
uniqueMember: cn=crew,dc=x,dc=test

dn: cn=unix,dc=x,dc=test
objectClass: posixGroup
objectClass: mailList
cn: unix
gidNumber: 100
mail: unix@x.test
memberUid: rob
memberUid: pat

dn: cn=list,dc=x,dc=test
objectClass: groupOfNames
objectClass: mailList
cn: list
mail: list@x.test
member: cn=nobody,dc=x,dc=test
rfc822MailMember: out@far.test
rfc822MailMember: rob@x.test

dn: ou=hidden,dc=x,dc=test
objectClass: organizationalUnit
ou: hidden

dn: uid=vip,ou=hidden,dc=x,dc=test
objectClass: inetOrgPerson
uid: vip
cn: vip
sn: vip
mail: vip@x.test
";

/// A running directory. Its folder outlives it.
pub struct Slapd {
    child: Option<Child>,
    pub folder: Folder,
    pub port: u16,
    pub tls_port: u16,
}

impl Slapd {
    /// Loads the data and starts, unless this machine has no slapd.
    pub fn start(name: &str) -> Option<Self> {
        if !have("slapd") || !have("slapadd") || !have("smtp-sink") {
            return None;
        }
        let folder = Folder::new(name);
        let mut slapd = Self {
            child: None,
            port: free_port(),
            tls_port: free_port(),
            folder,
        };
        slapd.certificates();
        let dir = slapd.folder.path();
        fs::create_dir(dir.join("data")).unwrap();
        slapd.folder.file("own.schema", SCHEMA);
        let at = dir.display();
        let config = format!(
            "include /etc/ldap/schema/core.schema\n\
             include /etc/ldap/schema/cosine.schema\n\
             include /etc/ldap/schema/nis.schema\n\
             include /etc/ldap/schema/inetorgperson.schema\n\
             include /etc/ldap/schema/misc.schema\n\
             include {at}/own.schema\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             pidfile {at}/pid\n\
             TLSCACertificateFile {at}/ca.pem\n\
             TLSCertificateFile {at}/server.pem\n\
             TLSCertificateKeyFile {at}/server.key\n\
             TLSVerifyClient try\n\
             authz-regexp \"^cn=nas$\" \"cn=svc,dc=x,dc=test\"\n\
             database mdb\n\
             directory {at}/data\n\
             suffix dc=x,dc=test\n\
             index objectClass eq\n\
             access to dn.subtree=\"ou=hidden,dc=x,dc=test\" by dn.exact=\"cn=svc,dc=x,dc=test\" read by * none\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by * read\n"
        );
        let conf = slapd.folder.file("slapd.conf", config);
        let data = slapd.folder.file("data.ldif", DATA);
        must(
            command("slapadd").arg("-f").arg(&conf).arg("-l").arg(data),
            b"",
        );
        slapd.run();
        Some(slapd)
    }

    /// Starts it, or starts it again.
    pub fn run(&mut self) {
        let dir = self.folder.path();
        let socket = dir.join("ldapi").display().to_string().replace('/', "%2F");
        let urls = format!(
            "ldap://127.0.0.1:{} ldaps://127.0.0.1:{} ldapi://{socket}",
            self.port, self.tls_port
        );
        let child = command("slapd")
            .args(["-d", "0", "-h", &urls, "-f"])
            .arg(dir.join("slapd.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_until_open(self.port);
        wait_until_open(self.tls_port);
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An authority, the server's certificate, one of a client whose name is `nas`, and an authority that vouches for
    /// nobody here.
    fn certificates(&self) {
        let (ours, other) = (Authority::new("Directory CA"), Authority::new("Other CA"));
        self.folder.file("ca.pem", ours.pem());
        self.folder.file("other-ca.pem", other.pem());
        for (name, made) in [
            ("server", ours.vouch(&["localhost", "127.0.0.1"])),
            ("client", ours.vouch_for_client("nas")),
        ] {
            self.folder.file(&format!("{name}.pem"), &made.certificate);
            self.folder.secret(&format!("{name}.key"), made.key());
        }
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A box whose mail goes to a sink when the directory has spoken.
pub struct Story {
    pub slapd: Slapd,
    pub sink: Sink,
    /// Where mail for `imap.test` goes.
    pub imap: Sink,
}

impl Story {
    pub fn new(name: &str) -> Option<Self> {
        let slapd = Slapd::start(name)?;
        let dir = slapd.folder.path();
        let sink = Sink::start(dir, &[]);
        let imap = Sink::start_at(dir, "imap", "127.0.0.1", free_port(), &[]);
        Some(Self { slapd, sink, imap })
    }

    /// The box with these lines in `[directory]`, and what follows them.
    pub fn start(&self, directory: &str) -> Mailroot {
        self.start_over(&self.slapd.url(), directory)
    }

    pub fn start_over(&self, url: &str, directory: &str) -> Mailroot {
        start(
            &self.slapd,
            url,
            directory,
            (self.sink.port, self.imap.port),
        )
    }

    /// Who got the message with this subject, at the sink, in order; empty while it is not there.
    pub fn got(&self, subject: &str) -> Vec<String> {
        recipients(&self.sink, subject)
    }
}

/// The same with sinks that may not be there yet.
pub fn start(slapd: &Slapd, url: &str, directory: &str, (sink, imap): (u16, u16)) -> Mailroot {
    let configuration = format!(
        "[delivery]\nretry = ['1s']\n\
         [[route]]\nhosts = ['127.0.0.1:{sink}']\ntls = 'off'\n\
         [[route]]\nto = ['imap.test']\nhosts = ['127.0.0.1:{imap}']\ntls = 'off'\n\
         [directory]\nservers = ['{url}']\nbase = 'dc=x,dc=test'\ndomains = ['x.test']\n{directory}\n"
    );
    Mailroot::configured(&slapd.folder, &configuration)
}

pub fn recipients(sink: &Sink, subject: &str) -> Vec<String> {
    let wanted = |text: &Option<String>| text.as_deref() == Some(subject);
    let all = sink.messages();
    let mut to: Vec<String> = all
        .iter()
        .filter(|one| wanted(&one.header("Subject")))
        .flat_map(|one| one.rcpt_args.iter())
        .map(|args| args.split('>').next().unwrap().replace('<', ""))
        .collect();
    to.sort();
    to
}

/// Sends a message; it must be taken.
pub fn send(service: &Mailroot, to: &[&str], subject: &str) {
    let text = format!("From: me@here.test\r\nSubject: {subject}\r\n\r\nHello\r\n");
    service.submit("me@here.test", to, &text);
}

/// What a proxy does with the answers of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Passes them on.
    Passes,
    /// Passes so many on, of all connections together, then nothing.
    Stalls(usize),
}

/// A proxy in front of the directory.
pub struct Proxy {
    pub port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    mood: Mood,
    stalled: bool,
    connections: usize,
}

impl Proxy {
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new((
            Mutex::new(State {
                mood: Mood::Passes,
                stalled: false,
                connections: 0,
            }),
            Condvar::new(),
        ));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                shared.0.lock().unwrap().connections += 1;
                // A directory that is dead takes no connection: neither do we then.
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else {
                    continue;
                };
                let (mut from, mut into) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut into);
                    let _ = into.shutdown(std::net::Shutdown::Both);
                });
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answers(server, client, &shared));
            }
        });
        Self { port, state }
    }

    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    pub fn set(&self, mood: Mood) {
        let mut state = self.state.0.lock().unwrap();
        (state.mood, state.stalled) = (mood, false);
        self.state.1.notify_all();
    }

    pub fn connections(&self) -> usize {
        self.state.0.lock().unwrap().connections
    }

    /// Whether an answer was kept back.
    pub fn has_stalled(&self) -> bool {
        self.state.0.lock().unwrap().stalled
    }
}

/// Passes answers on as the mood is, until either end is gone.
fn answers(mut server: TcpStream, mut client: TcpStream, shared: &(Mutex<State>, Condvar)) {
    let mut block = [0; 4096];
    while let Ok(count) = server.read(&mut block) {
        if count == 0 {
            break;
        }
        let mut state = shared.0.lock().unwrap();
        loop {
            match state.mood {
                Mood::Passes => break,
                Mood::Stalls(left) if left > 0 => {
                    state.mood = Mood::Stalls(left - 1);
                    break;
                }
                Mood::Stalls(_) => {
                    state.stalled = true;
                    shared.1.notify_all();
                    // Who asked may go away meanwhile; nobody needs the answer then.
                    state = shared
                        .1
                        .wait_timeout(state, Duration::from_millis(100))
                        .unwrap()
                        .0;
                }
            }
        }
        drop(state);
        if client.write_all(&block[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}
