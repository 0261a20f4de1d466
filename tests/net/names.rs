//! The resolver against name servers of our own.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use mailroot::dns::lookup::LookupError;
use mailroot::dns::message::Fault;
use mailroot::dns::tlsa::Tlsa;
use mailroot::mail::Domain;
use mailroot::net::resolver::{Resolver, Settings};
use simple_dns::rdata::{A, AAAA, CNAME, MX, PTR, RData};
use simple_dns::{CLASS, Name, Packet, QTYPE, RCODE, ResourceRecord, TYPE};
use smol::LocalExecutor;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, UdpSocket};

use crate::run;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

type Log = Rc<RefCell<Vec<String>>>;

/// A name server that sends whatever `script` makes of each question, and notes what it was asked.
async fn serve(
    executor: &LocalExecutor<'static>,
    script: impl Fn(&[u8], Over) -> Vec<Vec<u8>> + 'static,
) -> (SocketAddr, Log) {
    let (udp, tcp) = loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // The same number may be taken in the other protocol.
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            break (udp, tcp);
        }
    };
    let addr = udp.local_addr().unwrap();
    let log = Log::default();
    let script = Rc::new(script);
    let note = {
        let log = Rc::clone(&log);
        move |bytes: &[u8], over: Over| {
            // A question of a type that simple-dns does not know cannot be read with it.
            let Ok(packet) = Packet::parse(bytes) else {
                log.borrow_mut().push(format!("{over:?} unknown"));
                return;
            };
            let question = &packet.questions[0];
            let kind = match question.qtype {
                QTYPE::TYPE(kind) => format!("{kind:?}"),
                other => format!("{other:?}"),
            };
            log.borrow_mut()
                .push(format!("{over:?} {kind} {}", question.qname));
        }
    };
    let note = Rc::new(note);
    {
        let (script, note) = (Rc::clone(&script), Rc::clone(&note));
        executor
            .spawn(async move {
                let mut room = [0; 2048];
                loop {
                    let (length, peer) = udp.recv_from(&mut room).await.unwrap();
                    note(&room[..length], Over::Udp);
                    for answer in script(&room[..length], Over::Udp) {
                        udp.send_to(&answer, peer).await.unwrap();
                    }
                }
            })
            .detach();
    }
    executor
        .spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).await.unwrap();
                let mut room = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut room).await.unwrap();
                note(&room, Over::Tcp);
                for answer in script(&room, Over::Tcp) {
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    stream
                        .write_all(&[&length, answer.as_slice()].concat())
                        .await
                        .unwrap();
                }
            }
        })
        .detach();
    (addr, log)
}

/// An answer with these records to a question.
fn reply(question: &[u8], records: &[(&str, RData<'_>)]) -> Vec<u8> {
    let mut packet = Packet::parse(question).unwrap().into_reply();
    *packet.opt_mut() = None;
    packet.answers = records
        .iter()
        .map(|(owner, data)| {
            ResourceRecord::new(Name::new(owner).unwrap(), CLASS::IN, 60, data.clone())
        })
        .collect();
    packet.build_bytes_vec().unwrap()
}

fn code(question: &[u8], code: RCODE) -> Vec<u8> {
    let mut packet = Packet::parse(question).unwrap().into_reply();
    *packet.opt_mut() = None;
    *packet.rcode_mut() = code;
    packet.build_bytes_vec().unwrap()
}

fn kind(question: &[u8]) -> TYPE {
    match Packet::parse(question).unwrap().questions[0].qtype {
        QTYPE::TYPE(kind) => kind,
        other => panic!("{other:?}"),
    }
}

fn v4(last: u8) -> RData<'static> {
    RData::A(A {
        address: u32::from_be_bytes([192, 0, 2, last]),
    })
}

fn v6(last: u16) -> RData<'static> {
    RData::AAAA(AAAA {
        address: u128::from(last) | 0x2001_0db8 << 96,
    })
}

/// A friendly server for one name: both kinds of address.
fn both(question: &[u8], name: &str) -> Vec<u8> {
    match kind(question) {
        TYPE::A => reply(question, &[(name, v4(1))]),
        TYPE::AAAA => reply(question, &[(name, v6(1))]),
        _ => reply(question, &[]),
    }
}

fn resolver(servers: &[SocketAddr], timeout: u64) -> Resolver {
    Resolver::new(Settings {
        servers: servers.to_vec(),
        timeout: Some(Duration::from_millis(timeout)),
        attempts: Some(2),
        resolv_conf: PathBuf::from("/nonexistent/resolv.conf"),
        hosts: PathBuf::from("/nonexistent/hosts"),
        trust_ad: false,
    })
}

fn name(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

const LONG: u64 = 20_000;
const SHORT: u64 = 40;

#[test]
fn both_kinds_of_address_come_and_are_kept() {
    run(async |executor| {
        let (addr, log) = serve(&executor, |q, _| vec![both(q, "mail.example")]).await;
        let resolver = resolver(&[addr], LONG);
        for _ in 0..3 {
            let got = resolver.addresses(&name("mail.example")).await.unwrap();
            assert_eq!(got, ips(&["2001:db8::1", "192.0.2.1"]));
        }
        assert_eq!(
            log.borrow().len(),
            2,
            "the second time it comes out of the cache"
        );
        resolver.forget();
        resolver.addresses(&name("mail.example")).await.unwrap();
        assert_eq!(log.borrow().len(), 4);
    });
}

#[test]
fn lies_are_waited_past() {
    run(async |executor| {
        let (addr, _) = serve(&executor, |q, _| {
            let good = both(q, "mail.example");
            let evil = reply(q, &[("mail.example", v4(66))]);
            let (mut id, mut asked, mut query) = (evil.clone(), evil.clone(), evil);
            id[0] ^= 0x55;
            asked[13] ^= 0x03;
            query[2] &= 0x7F;
            vec![id, asked, query, b"\x00".to_vec(), Vec::new(), good]
        })
        .await;
        let got = resolver(&[addr], LONG)
            .addresses(&name("mail.example"))
            .await
            .unwrap();
        assert_eq!(got, ips(&["2001:db8::1", "192.0.2.1"]));
    });
}

#[test]
fn a_truncated_answer_is_fetched_over_tcp() {
    run(async |executor| {
        let (addr, log) = serve(&executor, |q, over| match over {
            Over::Udp => {
                let mut cut = reply(q, &[]);
                cut[2] |= 0x02;
                vec![cut]
            }
            Over::Tcp => vec![both(q, "mail.example")],
        })
        .await;
        let got = resolver(&[addr], LONG)
            .addresses(&name("mail.example"))
            .await
            .unwrap();
        assert_eq!(got.len(), 2);
        assert_eq!(
            log.borrow()
                .iter()
                .filter(|line| line.starts_with("Tcp"))
                .count(),
            2
        );
    });
}

#[test]
fn faults_of_servers_are_never_a_no() {
    run(async |executor| {
        let bomb = |q: &[u8]| [&q[..2], b"\x81\x82\x00\x00\x00\x00\xff\xff\xff\xff"].concat();
        let stray = |q: &[u8]| [&q[..2], b"\x81\x80\x00\x00\xff\xff\xff\xff\xff\xff"].concat();
        let circle = |q: &[u8]| {
            let alias = |to| RData::CNAME(CNAME(Name::new(to).unwrap()));
            reply(
                q,
                &[
                    ("mail.example", alias("b.example")),
                    ("b.example", alias("mail.example")),
                ],
            )
        };
        type Script = fn(&[u8]) -> Vec<u8>;
        let cases: [(Script, Fault); 7] = [
            (|q| code(q, RCODE::Refused), Fault::Refused),
            (|q| code(q, RCODE::ServerFailure), Fault::ServerFailure),
            (|q| code(q, RCODE::NotImplemented), Fault::Unwilling),
            (bomb, Fault::Malformed),
            (stray, Fault::Silent),
            (circle, Fault::Aliases),
            (
                |q| [&reply(q, &[]), b"junk".as_slice()].concat()[..20].to_vec(),
                Fault::Silent,
            ),
        ];
        for (script, want) in cases {
            let (addr, _) = serve(&executor, move |q, _| vec![script(q)]).await;
            let patience = if want == Fault::Silent { SHORT } else { LONG };
            let resolver = resolver(&[addr], patience);
            let host = name("mail.example");
            let failed = LookupError::Failed(host.clone(), want);
            assert_eq!(resolver.addresses(&host).await, Err(failed.clone()));
            assert_eq!(resolver.mx(&host).await, Err(failed.clone()));
            assert!(!failed.is_permanent(), "{failed}");
        }
    });
}

#[test]
fn a_no_is_a_no_and_is_kept() {
    run(async |executor| {
        let (addr, log) = serve(&executor, |q, _| vec![code(q, RCODE::NameError)]).await;
        let resolver = resolver(&[addr], LONG);
        let host = name("gone.example");
        for _ in 0..2 {
            let error = resolver.addresses(&host).await.unwrap_err();
            assert_eq!(error, LookupError::NoSuchName(host.clone()));
            assert!(error.is_permanent());
            assert_eq!(
                resolver.mx(&host).await.unwrap_err(),
                LookupError::NoSuchName(host.clone())
            );
        }
        assert_eq!(log.borrow().len(), 3);
    });
}

#[test]
fn when_one_server_is_silent_the_next_answers_and_is_asked_first_from_then_on() {
    run(async |executor| {
        let (dead, dead_log) = serve(&executor, |_, _| Vec::new()).await;
        let (live, _) = serve(&executor, |q, _| {
            let host = Packet::parse(q).unwrap().questions[0].qname.to_string();
            vec![both(q, &host)]
        })
        .await;
        let resolver = resolver(&[dead, live], 400);
        assert_eq!(
            resolver.addresses(&name("a.example")).await.unwrap().len(),
            2
        );
        assert_eq!(dead_log.borrow().len(), 2);
        for host in ["b.example", "c.example"] {
            assert_eq!(resolver.addresses(&name(host)).await.unwrap().len(), 2);
        }
        assert_eq!(
            dead_log.borrow().len(),
            2,
            "the dead one costs its time once"
        );
    });
}

#[test]
fn nobody_there_is_told_at_once_and_passes() {
    run(async |_| {
        let port = UdpSocket::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        let host = name("mail.example");
        let got = resolver(&[port], LONG).addresses(&host).await;
        assert_eq!(got, Err(LookupError::Failed(host, Fault::NotListening)));
    });
}

#[test]
fn a_server_that_never_answers_aaaa_costs_a_moment_and_not_the_timeout() {
    run(async |executor| {
        let (addr, log) = serve(&executor, |q, _| match kind(q) {
            TYPE::A => vec![both(q, "mail.example")],
            _ => Vec::new(),
        })
        .await;
        let resolver = resolver(&[addr], LONG);
        for _ in 0..2 {
            let got = resolver.addresses(&name("mail.example")).await.unwrap();
            assert_eq!(got, ips(&["192.0.2.1"]));
        }
        assert_eq!(log.borrow().len(), 2, "and only once: it is remembered");
    });
}

#[test]
fn exchangers_come_in_order_and_an_alias_is_followed() {
    run(async |executor| {
        let (addr, _) = serve(&executor, |q, _| {
            let asked = Packet::parse(q).unwrap().questions[0].qname.to_string();
            let mx = |preference, host| {
                RData::MX(MX {
                    preference,
                    exchange: Name::new(host).unwrap(),
                })
            };
            vec![match asked.as_str() {
                "alias.example" => {
                    let target = Name::new("real.example").unwrap();
                    reply(q, &[("alias.example", RData::CNAME(CNAME(target)))])
                }
                "real.example" => reply(
                    q,
                    &[
                        ("real.example", mx(20, "b.example")),
                        ("real.example", mx(10, "a.example")),
                    ],
                ),
                "null.example" => reply(q, &[("null.example", mx(0, "."))]),
                _ => reply(q, &[]),
            }]
        })
        .await;
        let resolver = resolver(&[addr], LONG);
        let hosts = async |domain| -> Result<Vec<String>, LookupError> {
            let list = resolver.mx(&name(domain)).await?;
            Ok(list
                .list
                .iter()
                .map(|mx| format!("{} {}", mx.preference, mx.host))
                .collect())
        };
        assert_eq!(
            hosts("alias.example").await.unwrap(),
            ["10 a.example", "20 b.example"]
        );
        assert_eq!(hosts("plain.example").await.unwrap(), ["0 plain.example"]);
        assert_eq!(hosts("[192.0.2.1]").await.unwrap(), ["0 [192.0.2.1]"]);
        let null = hosts("null.example").await.unwrap_err();
        assert_eq!(null, LookupError::NullMx(name("null.example")));
    });
}

#[test]
fn a_host_of_the_hosts_file_is_its_own_exchanger() {
    run(async |executor| {
        let (addr, _) = serve(&executor, |q, _| vec![code(q, RCODE::NameError)]).await;
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "192.168.1.9 nas.lan\n").unwrap();
        let resolver = Resolver::new(Settings {
            servers: vec![addr],
            hosts,
            ..Settings::default()
        });
        let found = resolver.mx(&name("nas.lan")).await.unwrap();
        assert_eq!(found.list[0].host, name("nas.lan"));
        let none = resolver.mx(&name("other.lan")).await.unwrap_err();
        assert_eq!(none, LookupError::NoSuchName(name("other.lan")));
    });
}

#[test]
fn texts_names_and_certificate_records_come_with_the_word_of_who_says_so() {
    run(async |executor| {
        let (addr, _) = serve(&executor, |q, _| {
            // Type 52 is unknown to simple-dns, so the answers are made by hand: the question, then one record.
            let end = q.len() - 11;
            let asked = u16::from_be_bytes([q[end - 4], q[end - 3]]);
            let data: &[u8] = match asked {
                52 => b"\x03\x01\x01\xab\xcd",
                16 => b"\x08v=STSv1;\x03 id",
                _ => b"\x03nas\x07example\x00",
            };
            let empty = q[13..].starts_with(b"_26") || q[13..].starts_with(b"none");
            let authentic = if q[13..].starts_with(b"none") {
                0x80
            } else {
                0xA0
            };
            let mut answer = vec![
                q[0],
                q[1],
                0x81,
                authentic,
                0,
                1,
                0,
                u8::from(!empty),
                0,
                0,
                0,
                0,
            ];
            answer.extend_from_slice(&q[12..end]);
            if !empty {
                answer.extend_from_slice(b"\xc0\x0c");
                answer.extend_from_slice(&asked.to_be_bytes());
                answer.extend_from_slice(b"\0\x01\0\0\0\x3c\0");
                answer.push(u8::try_from(data.len()).unwrap());
                answer.extend_from_slice(data);
            }
            vec![answer]
        })
        .await;
        let resolver = resolver(&[addr], LONG);
        for _ in 0..2 {
            // The second time out of the cache.
            let tlsa = resolver.tlsa(&name("mx.example"), 25).await.unwrap();
            assert_eq!(tlsa.list, Tlsa::parse(&[3, 1, 1, 0xAB, 0xCD]).as_slice());
            assert!(tlsa.authentic);
            let none = resolver.tlsa(&name("mx.example"), 26).await.unwrap();
            assert!(none.list.is_empty() && none.authentic, "a proved no");
            let none = resolver.txt(&name("none.example")).await.unwrap();
            assert!(none.list.is_empty() && !none.authentic);
            let texts = resolver.txt(&name("_mta-sts.example")).await.unwrap();
            assert_eq!(texts.list, ["v=STSv1; id"]);
            let names = resolver.ptr("192.0.2.1".parse().unwrap()).await.unwrap();
            assert_eq!(names.list, [name("nas.example")]);
        }
    });
}

#[test]
fn what_needs_no_server_asks_none() {
    run(async |_| {
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "192.0.2.9 nas.lan nas\n2001:db8::9 nas\n").unwrap();
        let resolver = Resolver::new(Settings {
            resolv_conf: folder.path().join("none"),
            hosts,
            ..Settings::default()
        });
        for (host, want) in [
            ("nas", ips(&["192.0.2.9", "2001:db8::9"])),
            ("NAS.lan", ips(&["192.0.2.9"])),
            ("localhost", ips(&["127.0.0.1", "::1"])),
            ("[192.0.2.1]", ips(&["192.0.2.1"])),
            ("[IPv6:2001:db8::1]", ips(&["2001:db8::1"])),
            ("192.0.2.1", ips(&["192.0.2.1"])),
        ] {
            assert_eq!(resolver.addresses(&name(host)).await, Ok(want), "{host}");
        }
        // Its form in ASCII would be longer than a label may be.
        let far_apart = (0..15).filter_map(|n| char::from_u32(0x1_0000 + n * 69_000));
        let wide = name(&format!("{}.example", far_apart.collect::<String>()));
        assert_eq!(
            resolver.addresses(&wide).await,
            Err(LookupError::NotAName(wide))
        );
    });
}

#[test]
fn an_address_has_the_name_that_leads_back_to_it() {
    run(async |executor| {
        let ptr = |to: &'static str| RData::PTR(PTR(Name::new(to).unwrap()));
        let (addr, log) = serve(&executor, move |q, _| {
            let asked = Packet::parse(q).unwrap().questions[0].qname.to_string();
            vec![match (kind(q), asked.as_str()) {
                (TYPE::PTR, "1.2.0.192.in-addr.arpa") => reply(
                    q,
                    &[
                        ("1.2.0.192.in-addr.arpa", ptr("bank.example")),
                        ("1.2.0.192.in-addr.arpa", ptr("cam.example")),
                    ],
                ),
                // Its owner claims somebody else's name, and his own address as one.
                (TYPE::PTR, "2.2.0.192.in-addr.arpa") => reply(
                    q,
                    &[
                        ("2.2.0.192.in-addr.arpa", ptr("bank.example")),
                        ("2.2.0.192.in-addr.arpa", ptr("192.0.2.2")),
                    ],
                ),
                (TYPE::A, "bank.example") => reply(q, &[("bank.example", v4(99))]),
                (TYPE::A, "cam.example") => reply(q, &[("cam.example", v4(1))]),
                _ => reply(q, &[]),
            }]
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "192.0.2.3 printer.lan printer\n").unwrap();
        let resolver = Resolver::new(Settings {
            servers: vec![addr],
            timeout: Some(Duration::from_millis(LONG)),
            attempts: Some(1),
            resolv_conf: PathBuf::from("/nonexistent/resolv.conf"),
            hosts,
            trust_ad: false,
        });
        for (ip, want) in [
            ("192.0.2.1", Some("cam.example")),
            ("::ffff:192.0.2.1", Some("cam.example")),
            ("192.0.2.2", None),
            ("192.0.2.3", Some("printer.lan")),
            ("192.0.2.4", None),
            ("127.0.0.1", Some("localhost")),
            ("::1", Some("localhost")),
        ] {
            let found = resolver.name_of(ip.parse().unwrap()).await;
            assert_eq!(found.as_ref().map(Domain::as_str), want, "{ip}");
        }
        let asked = log.borrow().len();
        // Nothing is asked about what only its own link knows, and what is known is not asked again.
        for ip in ["169.254.1.1", "fe80::1", "192.0.2.1", "192.0.2.4"] {
            resolver.name_of(ip.parse().unwrap()).await;
        }
        assert_eq!(log.borrow().len(), asked);
    });
}
