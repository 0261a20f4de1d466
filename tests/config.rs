//! Configurations as owners write them: each mistake with the exact words it gets, flags, and noise.
#![cfg(test)]

#[path = "../src/base/dice.rs"]
mod dice;

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use dice::Dice;
use mailroot::config::Config;
use mailroot::config::File;
use mailroot::config::Flags;
use mailroot::config::load;

fn read(text: &str) -> Result<Config, String> {
    let file = File { name: "f", text };
    load(Some(file), &Flags::default(), "box")
        .map(|(config, _)| config)
        .map_err(|faults| faults.to_string())
}

fn flags(list: &[(&str, &str)]) -> Result<Config, String> {
    let mut flags = Flags::default();
    for (name, value) in list {
        assert!(flags.push(name, value), "{name}");
    }
    load(None, &flags, "box")
        .map(|(config, _)| config)
        .map_err(|faults| faults.to_string())
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_config");
    let mut list: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "toml"))
        .collect();
    list.sort();
    assert!(list.len() > 10);
    list
}

/// Each `NAME.toml` is refused in the words of `NAME.want`. `MAILROOT_WRITE_WANT=1` writes those anew.
#[test]
fn every_mistake_gets_its_sentence() {
    for path in cases() {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let file = File { name, text: &text };
        let faults = load(Some(file), &Flags::default(), "box").unwrap_err();
        let got = format!("{faults}\n");
        assert!(!got.contains("hunter2"), "{name} shows a password");
        let want = path.with_extension("want");
        if std::env::var_os("MAILROOT_WRITE_WANT").is_some() {
            fs::write(&want, &got).unwrap();
        }
        let want = fs::read_to_string(&want).unwrap();
        assert!(got == want, "{name}\n--- want\n{want}\n--- got\n{got}");
    }
}

#[test]
fn flags_are_enough() {
    let config = flags(&[
        ("home", "/data/mail"),
        ("smart-host", "smtp://me%40example.com@smtp.example.com"),
        ("local", "nas.lan"),
        ("local", "office.lan"),
        ("listen", "127.0.0.1:2525"),
        ("listen", "[::1]:2525"),
        ("set", "limits.message_bytes=10MB"),
        ("set", "route.connections=1"),
        ("set", "listen.2.address=[::1]:2526"),
    ])
    .unwrap();
    assert_eq!(config.home, Path::new("/data/mail"));
    assert_eq!(config.local.drop, Path::new("/data/mail/drop"));
    assert_eq!(config.rewrite.local.len(), 2);
    assert_eq!(config.limits.message_bytes, 10_000_000);
    let listen: Vec<String> = config
        .listen
        .iter()
        .map(|at| at.address.to_string())
        .collect();
    assert_eq!(listen, ["127.0.0.1:2525", "[::1]:2526"]);
    let [route] = &config.routes[..] else {
        panic!("one route");
    };
    assert_eq!((route.hosts[0].port, route.connections), (587, 1));
    assert_eq!(route.login.as_ref().unwrap().user, "me@example.com");
}

#[test]
fn wrong_flags_get_their_sentence() {
    for (list, want) in [
        (
            &[("set", "limits.recpients=5")][..],
            "--set limits.recpients: there is no key `recpients`; did you mean `recipients`?",
        ),
        (
            &[("set", "limits.hops")],
            "--set: write --set KEY=VALUE, such as --set limits.message_bytes=10MB",
        ),
        (
            &[("set", "limits.hops=0")],
            "--set limits.hops: `limits.hops`: out of bounds; write a number from 1 to 1000",
        ),
        (
            &[("set", "route.password=hunter2")],
            "--set route.password: a password does not stand in the configuration; write it into a file that only its owner can read and name that with password_file, or name a variable with password_env",
        ),
        (
            &[("set", "route.2.tls=off")],
            "--set route.2.tls: there is no such [[route]] block; there are 0",
        ),
        (
            &[("listen", "x")],
            "--listen: `listen.address`: cannot be read; write an IP address and a port, such as \"127.0.0.1:25\" or \"[::]:25\", a path, or \"systemd:NAME\"",
        ),
        (
            &[("listen", "127.0.0.1:25"), ("listen", "127.0.0.1:25")],
            "--listen: another listener has this address; keep one",
        ),
        (
            &[
                ("listen", "127.0.0.1:25"),
                ("listen", "127.0.0.1:26"),
                ("set", "listen.address=127.0.0.1:27"),
            ],
            "--set listen.address: there are several [[listen]] blocks; say which by number, as in --set listen.1.KEY=VALUE",
        ),
        (
            &[("smart-host", "smtp://me@h.example?tls=off")],
            "--smart-host: with tls = \"off\" everybody on the way can read the password; write tls = \"verify\", or insecure_auth = true when that is meant",
        ),
        (
            &[("smart-host", "smtp://me:hunter2@h.example")],
            "--smart-host: a password does not stand in the address, where every user of this host can read it; put it into the variable MAILROOT_PASSWORD, or into a file named with ?password_file=FILE (an @ in the account is written %40, a colon %3A)",
        ),
        (
            &[("hostname", "a b"), ("set", "log.level=x")],
            "--hostname: `hostname`: cannot be read; write a domain such as \"nas.example.com\"\n--set log.level: `log.level`: cannot be read; write \"error\" or \"warn\" or \"info\" or \"debug\"",
        ),
    ] {
        assert_eq!(flags(list).unwrap_err(), want, "{list:?}");
    }
}

#[test]
fn flags_go_over_a_file() {
    let text = "[[listen]]\naddress = '127.0.0.1:25'\n[[route]]\nhosts = ['a.example']\n[limits]\nhops = 5\nerrors = 6";
    let file = File { name: "f", text };
    let mut flags = Flags::default();
    for (name, value) in [
        ("listen", "127.0.0.1:2525"),
        ("set", "limits.hops=7"),
        ("set", "route.tls=off"),
    ] {
        assert!(flags.push(name, value));
    }
    let (config, _) = load(Some(file), &flags, "box").unwrap();
    assert_eq!(config.listen.len(), 1);
    assert_eq!(config.listen[0].address.to_string(), "127.0.0.1:2525");
    assert_eq!((config.limits.hops, config.limits.errors), (7, 6));
    assert_eq!(config.routes[0].tls, mailroot::config::Tls::Off);
}

#[test]
fn a_route_fills_in_what_was_not_said() {
    let config = read(
        "home = '/h'\n[[route]]\nhosts = ['a.example', 'b.example:465', '[192.0.2.1]:25', '2001:db8::1']\nuser = 'u'\nca = 'ca.pem'",
    )
    .unwrap();
    let route = &config.routes[0];
    let hosts: Vec<_> = route
        .hosts
        .iter()
        .map(|host| (host.name.as_str(), host.port, host.implicit_tls))
        .collect();
    assert_eq!(
        hosts,
        [
            ("a.example", 587, false),
            ("b.example", 465, true),
            ("[192.0.2.1]", 25, false),
            ("[IPv6:2001:db8::1]", 587, false),
        ]
    );
    assert_eq!(route.ca.as_deref(), Some(Path::new("/h/ca.pem")));
    assert_eq!(route.helo.as_str(), "box");
}

/// What is left of a good file after bites, doublings and strange bytes is read or refused, never a panic; and
/// what is refused says where.
#[test]
fn noise_is_read_or_refused() {
    let mut seeds: Vec<String> = cases()
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let sample = mailroot::config::sample::Sample(&mailroot::config::Settings::default());
    let lines: Vec<String> = sample
        .to_string()
        .lines()
        .filter(|line| !line.starts_with("# "))
        .map(|line| line.trim_start_matches('#').to_owned())
        .collect();
    seeds.push(lines.join("\n"));
    let mut dice = Dice::new(1);
    let mut chance = |below| dice.pick(below);
    let strange = [
        "\"",
        "'",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "#",
        "\n",
        "\0",
        "\u{fc}",
        "\u{1f4ee}",
        "9999999999999999999",
        "-",
        "\"\"\"",
        "\\",
        "\\u0000",
        "\r",
        "\t",
        "*",
        ":",
        "/",
        "@",
        "%",
        "off",
        "1e9",
        "0x",
    ];
    for round in 0..1_500 {
        let mut text: Vec<char> = seeds[chance(seeds.len())].chars().collect();
        for _ in 0..=chance(4) {
            let at = chance(text.len());
            let end = (at + chance(12)).min(text.len());
            match chance(3) {
                0 => drop(text.drain(at..end)),
                1 => {
                    let copy = text[at..end].to_vec();
                    let to = chance(text.len());
                    text.splice(to..to, copy);
                }
                _ => drop(text.splice(at..end, strange[chance(strange.len())].chars())),
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(said) = read(&text) {
            assert!(!said.is_empty(), "round {round}: {text:?}");
            assert!(
                !said.contains("please report"),
                "round {round}: {said}\n{text}"
            );
            assert!(
                said.lines().all(|line| line.chars().count() < 400),
                "{said}"
            );
            assert!(
                !said.chars().any(|c| c.is_control() && c != '\n'),
                "{said:?}"
            );
        }
        let url: String = text.chars().take(60).collect();
        let _ = mailroot::config::url::route(&url);
        let _ = mailroot::config::url::route(&format!("smtp://{url}"));
        let _ = flags(&[("set", &url), ("smart-host", &url), ("listen", &url)]);
    }
}
