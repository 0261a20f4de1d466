//! Delivery by MX as the owner of a small server meets it: NSD says where domains get their mail, Postfix's sinks on
//! several loopback addresses get it, and some of them are dead, silent, wrong, or this host itself.
#![cfg(test)]

mod common;

use std::fmt::Write;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use common::names::{Nsd, zone};
use common::{Folder, Mailroot, PATIENCE, Sink, free_port, have, id_in, on, run};
use mailroot::dns::LookupError;
use mailroot::dns::message::Fault;
use mailroot::dns::tlsa::Tlsa;
use mailroot::mail::Domain;
use mailroot::net::resolver::{Resolver, Settings};

const MAIL: &str = "From: a@nas.example\r\nTo: b@office.example\r\nSubject: hello\r\n\r\nbody\r\n";

/// A name server with authority over `example`, and over `broken`, whose zone it cannot read.
fn name_server(folder: &Path, records: &str) -> Nsd {
    let dir = folder.join("nsd");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("zone"), zone("example", records)).unwrap();
    Nsd::start(&dir, &[("example", "zone"), ("broken", "none")])
}

/// A name server, a port that all exchangers of a test have, and a service whose routes lead there.
struct Story {
    box_: Mailroot,
    port: u16,
    nsd: Nsd,
    folder: Folder,
}

impl Story {
    /// `routes` are the `[[route]]` blocks; `PORT` in them is the exchangers' port.
    fn start(name: &str, records: &str, routes: &str) -> Option<Self> {
        if !have("nsd") || !have("smtp-sink") {
            return None;
        }
        let folder = Folder::new(name);
        let (nsd, port) = (name_server(folder.path(), records), free_port());
        let box_ = Self::run(&folder, &nsd, routes, port, "127.0.0.1:0");
        Some(Self {
            box_,
            port,
            nsd,
            folder,
        })
    }

    fn run(folder: &Folder, nsd: &Nsd, routes: &str, port: u16, listen: &str) -> Mailroot {
        let home = folder.home();
        let text = format!(
            "home = \"{}\"\nhostname = \"box.example\"\n[[listen]]\naddress = \"{listen}\"\n\
             [dns]\nservers = [\"{}\"]\ntimeout = \"10s\"\n{}\n",
            home.display(),
            nsd.address,
            routes.replace("PORT", &port.to_string())
        );
        Mailroot::run(&home, &folder.file("mailroot.toml", text))
    }

    fn sink(&self, ip: &str) -> Sink {
        Sink::start_at(self.folder.path(), ip, ip, self.port, &[])
    }

    fn send(&self, to: &[&str]) {
        self.box_.submit("a@nas.example", to, MAIL);
    }

    fn line(&self, words: &[&str]) -> String {
        self.box_.line(words)
    }

    /// How often this was told while the message to this recipient was queued: that counts the service's own steps, which
    /// no load of the machine makes more.
    fn meanwhile(&self, to: &str, what: &str) -> usize {
        let delivered = self.line(&[" delivered ", &format!(" to={to} ")]);
        let accepted = format!(" accepted id={} ", id_in(&delivered));
        let log = self.box_.log();
        let (_, after) = log.split_once(&accepted).unwrap();
        let (between, _) = after.split_once(&delivered).unwrap();
        between.matches(what).count()
    }

    /// What a command of ours says, whether it succeeds or not.
    fn ask(&self, words: &[&str]) -> String {
        run(&mut on(&self.box_.home, words), b"").1
    }
}

const BY_MX: &str = "[[route]]\nvia = \"mx\"\nmx_port = PORT\nprivate_addresses = true\n";

#[test]
fn mail_goes_where_its_domain_says() {
    let mut records = String::from(
        "plain A 127.0.1.1\n\
         one MX 10 mx.one\nmx.one A 127.0.1.2\n\
         six MX 5 six\nsix AAAA ::1\nsix A 127.0.1.3\n\
         alias CNAME one\n\
         first MX 10 gone.first\nfirst MX 20 down.first\nfirst MX 30 mx.one\ndown.first A 127.0.1.9\n",
    );
    // An answer that no datagram holds: the best exchanger stands last.
    for n in 0..80 {
        writeln!(
            records,
            "many MX 50 a-rather-long-name-for-an-exchanger-{n}.many"
        )
        .unwrap();
    }
    records.push_str("many MX 1 mx.many\nmx.many A 127.0.1.4\n");
    let Some(story) = Story::start("mx-where", &records, BY_MX) else {
        return;
    };
    let sinks: Vec<Sink> = (1..=4)
        .map(|n| story.sink(&format!("127.0.1.{n}")))
        .collect();
    for (to, at) in [
        ("b@plain.example", 0),
        ("b@one.example", 1),
        ("b@[127.0.1.1]", 0),
        ("b@six.example", 2),
        ("b@alias.example", 1),
        ("b@first.example", 1),
        ("b@many.example", 3),
    ] {
        let count = || {
            sinks
                .iter()
                .map(|sink| sink.messages().len())
                .collect::<Vec<_>>()
        };
        let mut want = count();
        story.send(&[to]);
        story.line(&[" delivered ", &format!(" to={to} ")]);
        want[at] += 1;
        assert_eq!(count(), want, "{to}");
    }
    // One message to several domains is one copy for each.
    story.send(&["x@plain.example", "y@one.example", "z@plain.example"]);
    story.box_.completed(8);
    let mail = sinks[0].messages();
    let both = mail.iter().find(|mail| mail.rcpt_args.len() == 2).unwrap();
    assert_eq!(both.rcpt_args, ["<x@plain.example>", "<z@plain.example>"]);
}

#[test]
fn domains_that_take_no_mail_or_are_none_are_told_to_the_sender_at_once() {
    let records = "null MX 0 .\nlost MX 10 nowhere.lost\nbare TXT \"only text\"\n";
    let Some(story) = Story::start("mx-none", records, BY_MX) else {
        return;
    };
    for (to, status) in [
        (
            "b@null.example",
            "5.1.10 null.example says that it takes no mail",
        ),
        (
            "b@missing.example",
            "5.1.2 there is no host or domain called missing.example",
        ),
        (
            "b@lost.example",
            "5.4.4 the mail exchanger of lost.example leads nowhere",
        ),
        (
            "b@bare.example",
            "5.4.4 bare.example exists and has no address, and no mail exchanger",
        ),
    ] {
        story.send(&[to]);
        let line = story.line(&[" failed ", &format!(" to={to} ")]);
        assert!(line.contains(status), "{line}");
    }
}

/// The sink does not take such addresses, and that it says so shows that it was found.
#[test]
fn a_domain_in_another_script_is_looked_up_under_its_ascii_name() {
    let records = "xn--bro-hoa MX 10 mx.one\nmx.one A 127.0.1.2\n";
    let Some(story) = Story::start("mx-idna", records, BY_MX) else {
        return;
    };
    let _sink = story.sink("127.0.1.2");
    let mut talk = story.box_.client("printer.lan");
    talk.say("MAIL FROM:<a@nas.example> SMTPUTF8");
    let reply = talk.say("RCPT TO:<b@B\u{fc}ro.example>");
    assert!(reply.starts_with("250"), "{reply}");
    assert!(talk.data(MAIL).starts_with("250"));
    let line = story.line(&[" failed "]);
    assert!(
        line.contains("mx.one.example") && line.contains("5.6.7"),
        "{line}"
    );
}

#[test]
fn what_name_servers_cannot_tell_passes() {
    let Some(story) = Story::start("mx-later", "", BY_MX) else {
        return;
    };
    // Zones that it has not, and one that it cannot read.
    for (to, why) in [
        (
            "b@elsewhere.test",
            "4.4.3 cannot look up elsewhere.test: the name server refuses to answer",
        ),
        (
            "b@zone.broken",
            "4.4.3 cannot look up zone.broken: the name server could not find out (SERVFAIL)",
        ),
    ] {
        story.send(&[to]);
        let domain = to.split_once('@').unwrap().1;
        let line = story.line(&[" way-down ", &format!(" way={domain} ")]);
        assert!(line.contains(why), "{line}");
    }
    let status = story.ask(&["status"]);
    assert!(
        status.contains("way elsewhere.test: down for ") && status.contains(", next try in "),
        "{status}"
    );
    assert!(status.contains("queued: 2 messages"), "{status}");
}

#[test]
fn exchangers_of_one_preference_share_the_work() {
    let records = "both MX 10 a.both\nboth MX 10 b.both\nboth MX 20 c.both\n\
                   a.both A 127.0.1.1\nb.both A 127.0.1.2\nc.both A 127.0.1.3\n";
    let routes = format!("{BY_MX}messages_per_connection = 1\n");
    let Some(story) = Story::start("mx-share", records, &routes) else {
        return;
    };
    let sinks: Vec<Sink> = (1..=3)
        .map(|n| story.sink(&format!("127.0.1.{n}")))
        .collect();
    // Forty connections that all go to one of two are a fault or a wonder (2 to the power of -39).
    for n in 0..40 {
        story.send(&[&format!("b{n}@both.example")]);
    }
    story.box_.completed(40);
    let counts: Vec<usize> = sinks.iter().map(|sink| sink.messages().len()).collect();
    assert!(
        counts[0] > 0 && counts[1] > 0 && counts[2] == 0,
        "{counts:?}"
    );
}

#[test]
fn a_silent_host_slows_nobody_else() {
    let records = "silent A 127.0.1.8\nwell A 127.0.1.1\n";
    let routes = format!("{BY_MX}connections = 2\nconnections_total = 4\n");
    let Some(story) = Story::start("mx-silent", records, &routes) else {
        return;
    };
    // It takes connections and never says a word.
    let _silent = TcpListener::bind(("127.0.1.8", story.port)).unwrap();
    let sink = story.sink("127.0.1.1");
    for n in 0..10 {
        story.send(&[
            &format!("b{n}@silent.example"),
            &format!("c{n}@well.example"),
        ]);
    }
    let delivered = |l: &str| l.contains(" delivered ") && l.contains("@well.example");
    story
        .box_
        .wait_count("all of the others are delivered", 10, delivered);
    assert_eq!(sink.messages().len(), 10);
    let status = story.ask(&["status"]);
    assert!(
        status.contains(
            "way silent.example: being tried, connected to silent.example [127.0.1.8], 9 waiting"
        ),
        "{status}"
    );
}

#[test]
fn mail_never_comes_back_to_this_host() {
    if !have("nsd") || !have("smtp-sink") {
        return;
    }
    let folder = Folder::new("mx-loop");
    let records = "best MX 10 box\nbest MX 20 other\nother A 127.0.1.2\n\
                   second MX 10 other\nsecond MX 20 me.second\nsecond MX 30 worse.second\n\
                   me.second A 127.0.1.7\nworse.second A 127.0.1.3\nbox A 192.0.2.1\n";
    let (nsd, port) = (name_server(folder.path(), records), free_port());
    let listen = format!("127.0.1.7:{port}");
    let box_ = Story::run(&folder, &nsd, BY_MX, port, &listen);
    let story = Story {
        box_,
        port,
        nsd,
        folder,
    };
    let worse = story.sink("127.0.1.3");
    // Ours is the best: whoever is worse would send it to us.
    story.send(&["b@best.example"]);
    let line = story.line(&[" way-held ", " way=best.example "]);
    assert!(
        line.contains("is this host (box.example), so mail to it would come back"),
        "{line}"
    );
    // A better one is down: it waits for that, and goes to none that is worse than us.
    story.send(&["b@second.example"]);
    let line = story.line(&[" way-down ", " way=second.example "]);
    assert!(
        line.contains("127.0.1.2") && line.contains("refused"),
        "{line}"
    );
    assert_eq!(worse.messages().len(), 0);
    let other = story.sink("127.0.1.2");
    story.ask(&["queue", "retry"]);
    story.line(&[" delivered ", " to=b@second.example "]);
    assert_eq!(other.only().rcpt_args, ["<b@second.example>"]);
}

#[test]
fn exchangers_in_private_networks_are_left_alone_unless_they_are_meant() {
    let records = "inside MX 10 mx.inside\nmx.inside A 127.0.1.1\nmx.inside A 192.168.77.1\n";
    let routes = "[[route]]\nvia = \"mx\"\nmx_port = PORT\n";
    let Some(story) = Story::start("mx-private", records, routes) else {
        return;
    };
    let sink = story.sink("127.0.1.1");
    story.send(&["b@inside.example"]);
    let line = story.line(&[" way-down ", " way=inside.example "]);
    assert!(line.contains("private_addresses = true"), "{line}");
    assert_eq!(sink.messages().len(), 0);
}

#[test]
fn a_domains_route_overrides_the_rest_and_the_smart_host_comes_when_mx_fails() {
    let records = "office MX 10 mx.office\nmx.office A 127.0.1.1\n\
                   dead A 127.0.1.9\nown A 127.0.1.1\nheld A 127.0.1.1\n";
    let routes = "[[route]]\nto = [\"office.example\"]\nhosts = [\"127.0.1.2:PORT\"]\ntls = \"off\"\n\
                  [[route]]\nvia = \"mx-then-smart-host\"\nmx_port = PORT\nprivate_addresses = true\n\
                  hosts = [\"127.0.1.3:PORT\"]\ntls = \"off\"\n";
    let Some(story) = Story::start("mx-override", records, routes) else {
        return;
    };
    let sinks: Vec<Sink> = (1..=3)
        .map(|n| story.sink(&format!("127.0.1.{n}")))
        .collect();
    for to in [
        "b@office.example",
        "b@own.example",
        "b@dead.example",
        "b@missing.example",
    ] {
        story.send(&[to]);
        story.line(&[" delivered ", &format!(" to={to} ")]);
    }
    let to = |sink: &Sink| {
        let mut all: Vec<String> = sink
            .messages()
            .into_iter()
            .flat_map(|m| m.rcpt_args)
            .collect();
        all.sort();
        all.join(" ")
    };
    assert_eq!(to(&sinks[0]), "<b@own.example>");
    assert_eq!(to(&sinks[1]), "<b@office.example>");
    assert_eq!(to(&sinks[2]), "<b@dead.example> <b@missing.example>");
}

#[test]
fn what_is_held_stays_until_it_is_asked_for_or_its_time_is_up() {
    let records = "branch A 127.0.1.1\n";
    let routes = "[delivery]\nretry = [\"1s\"]\n[[route]]\nto = [\"branch.example\"]\nvia = \"hold\"\nmx_port = PORT\n\
                  private_addresses = true\n\
                  [[route]]\nto = [\"late.example\"]\nvia = \"hold\"\nexpire = \"1s\"\n";
    let Some(story) = Story::start("mx-hold", records, routes) else {
        return;
    };
    let sink = story.sink("127.0.1.1");
    story.send(&["b@branch.example"]);
    let id = id_in(&story.line(&[" accepted id="]));
    let status = story.ask(&["status"]);
    assert!(
        status.contains("way branch.example: held until it is fetched (ETRN or ATRN), 1 waiting"),
        "{status}"
    );
    let shown = story.ask(&["queue", "show", &id]);
    assert!(
        shown.contains("next: -")
            && shown.contains("way: branch.example: held until it is fetched"),
        "{shown}"
    );
    // Neither a restart nor anything that makes other mail hurry lets it go.
    let Story {
        box_,
        port,
        nsd,
        folder,
    } = story;
    box_.kill();
    let box_ = Story::run(&folder, &nsd, routes, port, "127.0.0.1:0");
    let story = Story {
        box_,
        port,
        nsd,
        folder,
    };
    story.ask(&["queue", "retry"]);
    assert!(
        story
            .ask(&["queue", "retry", &id])
            .contains("until the host of its domain fetches it")
    );
    // That one expires tells that what was asked before is over.
    story.send(&["b@late.example"]);
    let line = story.line(&[" failed ", " to=b@late.example "]);
    assert!(
        line.contains("4.4.7") && line.contains("would fetch it"),
        "{line}"
    );
    assert_eq!(sink.messages().len(), 0);
    let said = story.ask(&["queue", "release", "branch.example"]);
    assert!(said.contains("1 message"), "{said}");
    story.line(&[" delivered ", " to=b@branch.example "]);
    assert_eq!(sink.only().rcpt_args, ["<b@branch.example>"]);
    let said = story.ask(&["queue", "release", "elsewhere.example"]);
    assert!(said.contains("nothing is held"), "{said}");
}

#[test]
fn a_smart_host_that_stands_in_is_kept_and_the_first_comes_back() {
    let routes = "[delivery]\nretry = [\"1s\"]\n[[route]]\nhosts = [\"127.0.1.1:PORT\", \"127.0.1.2:PORT\"]\ntls = \"off\"\n\
                  messages_per_connection = 1\n";
    let Some(story) = Story::start("mx-stand-in", "", routes) else {
        return;
    };
    let second = story.sink("127.0.1.2");
    story.send(&["b1@x.example"]);
    story.box_.completed(1);
    assert_eq!(second.messages().len(), 1);
    // The first is back, but nobody asks it yet.
    let first = story.sink("127.0.1.1");
    story.send(&["b2@x.example"]);
    story.box_.completed(2);
    assert_eq!((first.messages().len(), second.messages().len()), (0, 2));
    // The one that stood in goes: then the first is there.
    drop(second);
    story.send(&["b3@x.example"]);
    story.box_.completed(3);
    assert_eq!(first.messages().len(), 1);
}

/// A host that greets every connection with this line and says no more; answers who connected from where.
fn grumpy(ip: &str, port: u16, greeting: &'static str) -> std::sync::mpsc::Receiver<SocketAddr> {
    let listener = TcpListener::bind((ip, port)).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let peer = stream.peer_addr().unwrap();
            let _ = std::io::Write::write_all(&mut &stream, greeting.as_bytes());
            if tell.send(peer).is_err() {
                return;
            }
        }
    });
    told
}

#[test]
fn a_host_that_refuses_the_session_is_passed_over_for_the_next() {
    let records = "office MX 10 busy\noffice MX 20 closed\noffice MX 30 open\n\
                   busy A 127.0.1.5\nclosed A 127.0.1.6\nopen A 127.0.1.1\n\
                   nobody MX 10 busy\nnobody MX 20 closed\n";
    let routes = format!("{BY_MX}source = [\"127.0.1.77\"]\n");
    let Some(story) = Story::start("mx-refused", records, &routes) else {
        return;
    };
    let busy = grumpy("127.0.1.5", story.port, "421 4.3.2 too busy\r\n");
    let closed = grumpy("127.0.1.6", story.port, "554 5.7.1 not for you\r\n");
    let open = story.sink("127.0.1.1");
    story.send(&["b@office.example"]);
    story.line(&[" delivered ", " to=b@office.example "]);
    assert_eq!(open.messages().len(), 1);
    let line = story.line(&[" host-failed ", " way=office.example host=busy.example:"]);
    assert!(line.contains("421 4.3.2 too busy"), "{line}");
    let source: std::net::IpAddr = "127.0.1.77".parse().unwrap();
    assert_eq!(busy.recv_timeout(PATIENCE).unwrap().ip(), source);
    assert_eq!(closed.recv_timeout(PATIENCE).unwrap().ip(), source);
    // Where all refuse, the mail waits: a stranger's greeting is no verdict on it.
    story.send(&["b@nobody.example"]);
    let line = story.line(&[" way-down ", " way=nobody.example "]);
    assert!(
        line.contains("closed.example [127.0.1.6] said: 554 4.7.1 not for you"),
        "{line}"
    );
}

#[test]
fn a_pace_is_kept() {
    let routes =
        "[[route]]\nhosts = [\"127.0.1.1:PORT\"]\ntls = \"off\"\nmessages_per_minute = 2\n";
    let Some(story) = Story::start("mx-pace", "", routes) else {
        return;
    };
    let sink = story.sink("127.0.1.1");
    for n in 0..5 {
        story.send(&[&format!("b{n}@x.example")]);
    }
    story.box_.completed(2);
    let status = story.ask(&["status"]);
    assert!(status.contains("at most 2 a minute, 3 waiting"), "{status}");
    assert_eq!(sink.messages().len(), 2);
}

#[test]
fn many_dead_domains_leave_room_for_the_living() {
    let mut records = String::from("well A 127.0.1.1\n");
    for n in 0..30 {
        writeln!(records, "silent{n} A 127.0.1.8").unwrap();
    }
    let routes = format!(
        "[delivery]\nretry = [\"1s\"]\n{BY_MX}greeting_timeout = \"1s\"\nconnections = 1\nconnections_total = 6\n"
    );
    let Some(story) = Story::start("mx-crowd", &records, &routes) else {
        return;
    };
    let _silent = TcpListener::bind(("127.0.1.8", story.port)).unwrap();
    let sink = story.sink("127.0.1.1");
    for n in 0..30 {
        story.send(&[&format!("b@silent{n}.example")]);
    }
    // By now each of them is known to be dead, and all of them are tried again all the time.
    for n in 0..30 {
        story.line(&[" way-down ", &format!(" way=silent{n}.example ")]);
    }
    for n in 0..5 {
        let to = format!("b{n}@well.example");
        story.send(&[&to]);
        let before = story.meanwhile(&to, " way-down ");
        assert!(before < 20, "it let {before} of the thirty go first");
    }
    assert_eq!(sink.messages().len(), 5);
}

#[test]
fn a_long_queue_for_one_domain_lets_the_mail_of_others_in_between() {
    let records = "busy A 127.0.1.1\nother A 127.0.1.2\n";
    let routes = format!("{BY_MX}connections = 1\nconnections_total = 1\n");
    let Some(story) = Story::start("mx-between", records, &routes) else {
        return;
    };
    // It takes a second for each message.
    let _slow = Sink::start_at(
        story.folder.path(),
        "slow",
        "127.0.1.1",
        story.port,
        &["-w", "1"],
    );
    let other = story.sink("127.0.1.2");
    for n in 0..40 {
        story.send(&[&format!("b{n}@busy.example")]);
    }
    story.send(&["b@other.example"]);
    let before = story.meanwhile("b@other.example", "@busy.example");
    assert_eq!(other.messages().len(), 1);
    assert!(before < 20, "it let {before} of the others go first");
}

#[test]
fn a_reload_asks_other_name_servers() {
    let routes = BY_MX;
    let Some(mut story) = Story::start("mx-reload", "one A 127.0.1.1\n", routes) else {
        return;
    };
    let sink = story.sink("127.0.1.1");
    story.send(&["b@two.example"]);
    let line = story.line(&[" failed ", " to=b@two.example "]);
    assert!(line.contains("no host or domain"), "{line}");
    let old = story.nsd.address;
    let elsewhere = story.folder.path().join("other");
    story.nsd = name_server(&elsewhere, "two A 127.0.1.1\n");
    let file = story.folder.path().join("mailroot.toml");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replace(&old.to_string(), &story.nsd.address.to_string());
    fs::write(&file, text).unwrap();
    story.box_.signal("HUP");
    story.line(&[" reloaded"]);
    story.send(&["c@two.example"]);
    story.line(&[" delivered ", " to=c@two.example "]);
    assert_eq!(sink.messages().len(), 1);
}

#[test]
fn tlsa_and_cut_answers_of_a_real_server_are_read() {
    if !have("nsd") {
        return;
    }
    let folder = Folder::new("mx-tlsa");
    let mut records = String::from(
        "_25._tcp.mx TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n\
         text TXT \"v=STSv1; \" \"id=1\"\nnothing A 127.0.0.1\n",
    );
    for n in 1..=90 {
        writeln!(records, "wide A 10.0.0.{n}").unwrap();
    }
    let nsd = name_server(folder.path(), &records);
    let resolver = Resolver::new(Settings {
        servers: vec![nsd.address],
        timeout: Some(Duration::from_secs(20)),
        ..Settings::default()
    });
    let name = |text: &str| Domain::parse(text).unwrap();
    smol::block_on(async {
        let tlsa = resolver.tlsa(&name("mx.example"), 25).await.unwrap();
        let mut data = vec![3, 1, 1];
        for _ in 0..2 {
            data.extend((0..16).map(|n| n * 0x11));
        }
        assert_eq!(tlsa.list, Tlsa::parse(&data).as_slice());
        assert!(
            !tlsa.authentic,
            "an authoritative server vouches for nothing"
        );
        let none = resolver.tlsa(&name("mx.example"), 26).await.unwrap();
        assert!(none.list.is_empty());
        let text = resolver.txt(&name("text.example")).await.unwrap();
        assert_eq!(text.list, ["v=STSv1; id=1"]);
        let wide = resolver.addresses(&name("wide.example")).await.unwrap();
        assert_eq!(wide.len(), 16, "over TCP, and cut to what anybody tries");
        let refused = resolver.tlsa(&name("mx.test"), 25).await.unwrap_err();
        let fault = LookupError::Failed(name("_25._tcp.mx.test"), Fault::Refused);
        assert_eq!(refused, fault);
    });
}
