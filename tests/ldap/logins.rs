//! Users of the directory log in with their own passwords.

use crate::common::{Mailroot, Talk, user};
use crate::slapd::{Mood, Proxy, Slapd, Story, start};

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let all = [
            chunk[0],
            *chunk.get(1).unwrap_or(&0),
            *chunk.get(2).unwrap_or(&0),
        ];
        let number = u32::from_be_bytes([0, all[0], all[1], all[2]]);
        for place in 0..4 {
            let digit = number >> (18 - 6 * place) & 63;
            let padded = place > chunk.len();
            out.push(if padded {
                '='
            } else {
                char::from(DIGITS[usize::try_from(digit).unwrap()])
            });
        }
    }
    out
}

fn login(service: &Mailroot, name: &str, password: &str) -> String {
    let mut talk = service.client("client.test");
    let text = base64(format!("\0{name}\0{password}").as_bytes());
    let plain = talk.say(&format!("AUTH PLAIN {text}"));
    let mut talk = service.client("client.test");
    talk.say("AUTH LOGIN");
    talk.say(&base64(name.as_bytes()));
    let login = talk.say(&base64(password.as_bytes()));
    let code = |reply: &str| reply.split(' ').next().unwrap().to_owned();
    assert_eq!(code(&plain), code(&login), "{name}: {plain}{login}");
    plain
}

fn box_with(slapd: &Slapd, url: &str, more: &str) -> Mailroot {
    let ca = slapd.path("ca.pem").display().to_string();
    start(
        slapd,
        url,
        &format!("ca = '{ca}'\ntimeout = '5s'\n{more}\n[users]\ndirectory = true"),
        (9, 9),
    )
}

#[test]
fn users_of_the_directory_log_in_with_their_passwords_and_nobody_else_does() {
    let Some(slapd) = Slapd::start("ldap-login") else {
        return;
    };
    let service = box_with(&slapd, &slapd.url(), "");
    let offer = Talk::connect(service.address).greet("client.test");
    assert!(
        offer.contains("AUTH PLAIN LOGIN") && !offer.contains("SCRAM"),
        "{offer}"
    );
    for (name, password) in [
        ("ann", "apple"),
        ("ANN", "apple"),
        ("CORP\\ann", "apple"),
        ("ann@corp.test", "apple"),
        ("bob", "banana"),
    ] {
        let reply = login(&service, name, password);
        assert!(reply.starts_with("235"), "{name}: {reply}");
    }
    service.stop();
    for (name, password) in [
        ("ann", "banana"),
        ("ann", "Apple"),
        // The trap: a bind without a password is good, and nobody's.
        ("ann", ""),
        ("nobody", "apple"),
        ("*", "apple"),
        ("ann)(|(sAMAccountName=*", "apple"),
        ("cn=ann,dc=x,dc=test", "apple"),
        // He has a password, but by this schema no name.
        ("pat", "peach"),
    ] {
        // Guessing gets slower and slower, so each has a service of its own.
        let service = box_with(&slapd, &slapd.url(), "");
        let reply = login(&service, name, password);
        assert!(reply.starts_with("535"), "{name} {password}: {reply}");
        service.wait_for("it is told", |l| l.contains("login-failed"));
        service.stop();
    }
    let service = box_with(&slapd, &slapd.url(), "schema = 'posix'");
    for name in ["pat", "pat@x.test"] {
        assert!(login(&service, name, "peach").starts_with("235"), "{name}");
    }
    service.stop();
}

#[test]
fn a_login_is_put_off_while_the_directory_cannot_be_asked() {
    let Some(mut story) = Story::new("ldap-login-dead") else {
        return;
    };
    let proxy = Proxy::start(story.slapd.port);
    // By its name: the certificate has that, too.
    let url = proxy.url().replace("127.0.0.1", "localhost");
    let service = box_with(&story.slapd, &url, "");
    assert!(login(&service, "ann", "apple").starts_with("235"));
    proxy.set(Mood::Stalls(0));
    let reply = login(&service, "ann", "apple");
    assert!(reply.starts_with("454 4.7.0"), "{reply}");
    proxy.set(Mood::Passes);
    story.slapd.kill();
    // Often: what was not looked at does not count against the client.
    for _ in 0..5 {
        let reply = login(&service, "ann", "apple");
        assert!(reply.starts_with("454 4.7.0"), "{reply}");
    }
    story.slapd.run();
    assert!(login(&service, "ann", "apple").starts_with("235"));
    assert!(!service.log().contains("apple"));
    service.stop();
}

#[test]
fn a_name_in_the_file_counts_as_it_stands_there() {
    let Some(slapd) = Slapd::start("ldap-login-file") else {
        return;
    };
    let file = user(slapd.folder.path(), "ann", "apricot");
    let more = format!("file = '{}'", file.display());
    let ca = slapd.path("ca.pem").display().to_string();
    let text = format!("ca = '{ca}'\n[users]\ndirectory = true\n{more}");
    let service = start(&slapd, &slapd.url(), &text, (9, 9));
    assert!(login(&service, "ann", "apricot").starts_with("235"));
    assert!(login(&service, "bob", "banana").starts_with("235"));
    assert!(login(&service, "ann", "apple").starts_with("535"));
    service.stop();
}
