//! Other mail servers relay into mailroot: Postfix and OpenSMTPD, with STARTTLS, a verified certificate and a login.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use crate::common::postfix::Postfix;
use crate::common::{self, Mailroot, Running, Talk, command, free_port, have};
use crate::{Arrived, House, PASSWORD, USER, large, small};

/// Hands two messages for each of these addresses to the relay at this port, and compares what came out of it.
fn relays(house: &House, port: u16, ways: &[&str]) {
    common::wait_until_open(port);
    let mut talk = Talk::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    talk.say("EHLO me.example");
    for way in ways {
        for text in [small(), large()] {
            let text = text.replace("WAY", way).replace("\r\n.", "\r\n..");
            let to = format!("{way}@office.example");
            let reply = talk.send("alice@nas.example", &[&to], &text);
            assert!(reply.starts_with("250"), "{reply}");
        }
    }
    let mut sizes: Vec<(&str, usize)> = Vec::new();
    for arrived in house.arrived(2 * ways.len()) {
        let to = arrived.recipients.first().unwrap().clone();
        let way = ways.iter().find(|way| to.starts_with(*way)).unwrap();
        let text = without_trace(&arrived);
        let sent = [small(), large()].map(|text| text.replace("WAY", way));
        let same = sent.iter().position(|sent| *sent == text);
        assert!(same.is_some(), "{way}: {text}");
        sizes.push((way, same.unwrap()));
        arrived.came_by(way);
        assert_eq!(arrived.sender, "alice@nas.example");
    }
    sizes.sort_unstable();
    let mut each: Vec<_> = ways.iter().flat_map(|way| [(*way, 0), (*way, 1)]).collect();
    each.sort_unstable();
    assert_eq!(sizes, each);
}

/// The text below the relay's own Received field.
fn without_trace(arrived: &Arrived) -> String {
    assert!(arrived.text.starts_with("Received: "), "{}", arrived.text);
    let mut rest = arrived.text.split_once("\r\n").unwrap().1;
    while rest.starts_with([' ', '\t']) {
        rest = rest.split_once("\r\n").unwrap().1;
    }
    rest.to_owned()
}

#[test]
fn postfix_relays_into_us_with_verified_tls_and_scram() {
    let house = House::start("clients-postfix");
    let Some(postfix) = Postfix::prepare(house.folder.path().join("postfix")) else {
        return;
    };
    let port = free_port();
    let (starttls, implicit, ca) = (house.starttls, house.implicit, house.ca.display());
    postfix.start(
        &format!(
            "transport_maps=inline:{{ {{starttls@office.example=smtp:[localhost]:{starttls}}}, \
             {{implicit@office.example=tls:[localhost]:{implicit}}} }}\n\
             smtpd_relay_restrictions=permit_mynetworks,reject\nmynetworks=127.0.0.0/8\n\
             smtp_host_lookup=native\nsmtp_tls_security_level=secure\nsmtp_tls_CAfile={ca}\n\
             smtp_sasl_auth_enable=yes\nsmtp_sasl_security_options=noanonymous\n\
             smtp_sasl_password_maps=static:{USER}:{PASSWORD}\nsmtp_sasl_mechanism_filter=SCRAM-SHA-256\n"
        ),
        &format!(
            "127.0.0.1:{port} inet n - n - - smtpd\n\
             tls unix - - n - - smtp -o smtp_tls_wrappermode=yes -o smtp_sasl_mechanism_filter=PLAIN\n"
        ),
    );
    relays(&house, port, &["starttls", "implicit"]);
    let log = postfix.log();
    assert!(log.contains("status=sent"), "{log}");
}

/// OpenSMTPD runs where the folders it is built for are its own: in a namespace of mounts.
const IN_NAMESPACE: &str = r#"
set -e
program=$1 settings=$2 ca=$3
for place in /var/spool /var/lib /run; do mount -t tmpfs none $place; done
mkdir -p /var/lib/opensmtpd/empty
mkdir -m 711 /var/spool/smtpd
for kind in passwd group; do
    cp /etc/$kind /run/$kind
    mount --bind /run/$kind /etc/$kind
done
for user in opensmtpd:64001 opensmtpq:64002; do
    name=${user%:*} number=${user#*:}
    echo "$name:x:$number:$number::/var/lib/opensmtpd/empty:/bin/false" >>/etc/passwd
    echo "$name:x:$number:" >>/etc/group
done
mount --bind "$ca" /etc/ssl/certs/ca-certificates.crt
exec "$program" -d -f "$settings"
"#;

/// Runs an smtpd with these settings, which ends with its children.
fn open_smtpd(house: &House, program: &Path, settings: &str) -> Running {
    // It reads passwords from a file of its own only.
    let settings = house.folder.secret("smtpd.conf", settings);
    let log = fs::File::create(house.folder.path().join("smtpd.log")).unwrap();
    let child = command("unshare")
        .args(["--mount", "sh", "-c", IN_NAMESPACE, "sh"])
        .args([program, &settings, &house.ca])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    Running::child(child)
}

#[test]
fn opensmtpd_relays_into_us_with_verified_tls_and_a_login() {
    let Some(program) = crate::libraries::installed("clients/opensmtpd/usr/sbin/smtpd") else {
        return;
    };
    if !have("unshare") {
        return;
    }
    if !common::is_root() {
        println!("skipped: OpenSMTPD wants to be started by root");
        return;
    }
    let alone = command("unshare").args(["--mount", "true"]).output();
    if !alone.is_ok_and(|done| done.status.success()) {
        println!("skipped: OpenSMTPD (no namespaces of mounts here)");
        return;
    }
    let house = House::start("clients-opensmtpd");
    let port = free_port();
    let _smtpd = open_smtpd(
        &house,
        &program,
        &format!(
            "listen on 127.0.0.1 port {port}\ntable secrets {{ us = \"{USER}:{PASSWORD}\" }}\n\
             action starttls relay host smtp+tls://us@localhost:{} auth <secrets>\n\
             action implicit relay host smtps://us@localhost:{} auth <secrets>\n\
             match from any for rcpt-to \"starttls@office.example\" action starttls\n\
             match from any for rcpt-to \"implicit@office.example\" action implicit\n",
            house.starttls, house.implicit
        ),
    );
    relays(&house, port, &["starttls", "implicit"]);
    let log = fs::read_to_string(house.folder.path().join("smtpd.log")).unwrap();
    assert!(
        log.contains("server-cert-check result=\"success\""),
        "{log}"
    );
}

/// A mailroot relays into another: what it believes of the other's certificate, and the login it chooses.
#[test]
fn another_mailroot_relays_into_us_with_verified_tls_and_a_login() {
    let house = House::start("clients-mailroot");
    let ca = house.ca.display();
    for (way, port, scheme) in [
        ("starttls", house.starttls, "smtp"),
        ("implicit", house.implicit, "smtps"),
    ] {
        let url = format!("{scheme}://{USER}@localhost:{port}?tls=verify&ca={ca}");
        let home = house.folder.path().join(way);
        let relay = Mailroot::start_with(&home, &["--smart-host", &url], |c| {
            c.env("MAILROOT_PASSWORD", PASSWORD);
        });
        let mut talk = relay.client("me.example");
        for text in [small(), large()] {
            let text = text.replace("WAY", way).replace("\r\n.", "\r\n..");
            talk.send("alice@nas.example", &["bob@office.example"], &text);
        }
        relay.completed(2);
        relay.stop();
    }
    let arrived = house.arrived(4);
    for (way, arrived) in ["starttls", "implicit"].iter().zip(arrived.chunks(2)) {
        for (one, sent) in arrived.iter().zip([small(), large()]) {
            one.came_by(way);
            assert_eq!(without_trace(one), sent.replace("WAY", way));
        }
    }
}
