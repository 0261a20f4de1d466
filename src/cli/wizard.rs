//! The questions of `mailroot init`: the four of the New Virtual Server Wizard of IIS (name, address, home, default
//! domain), then the account that mail goes out through, and where the file goes. Nothing is written here.
//!
//! An answer that the setting does not take is asked for again, with what it takes.

use std::io;
use std::io::BufRead;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::passwd;
use crate::config::Flags;
use crate::config::Secret;
use crate::config::lookup;
use crate::config::providers;
use crate::config::providers::Provider;
use crate::config::providers::User;
use crate::mail::Address;

/// Longest answer.
const ANSWER: u64 = 4096;

/// What was answered.
#[derive(Debug)]
pub struct Answers {
    /// The settings.
    pub flags: Flags,
    /// Where the configuration goes.
    pub output: PathBuf,
    /// Whether a file that is there may be replaced.
    pub force: bool,
    /// What goes into the file of the password.
    pub secret: Option<(PathBuf, Secret)>,
    /// The account's address, when one was given: a test mail can go there.
    pub address: Option<String>,
}

/// A route through an account at a provider.
#[derive(Debug)]
pub struct Account {
    /// The settings, as `--set` takes them.
    pub settings: Vec<String>,
    /// The file of the password or token.
    pub file: PathBuf,
}

/// Asks one question; an empty answer is `default`. Asks again until `fits` has nothing against it.
fn ask(
    out: &mut dyn Write,
    question: &str,
    default: &str,
    fits: impl Fn(&str) -> Option<String>,
) -> Result<String, Stop> {
    loop {
        let shown = if default.is_empty() {
            format!("{question}: ")
        } else {
            format!("{question} [{default}]: ")
        };
        let _ = out.write_all(shown.as_bytes()).and_then(|()| out.flush());
        let mut bytes = Vec::new();
        let stdin = io::stdin().lock();
        let read = io::Read::take(stdin, ANSWER).read_until(b'\n', &mut bytes);
        if !matches!(read, Ok(count) if count > 0) {
            let _ = writeln!(out);
            return Err(Stop::Usage(
                "the questions were not answered to the end; nothing was written".to_owned(),
            ));
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = match text.trim() {
            "" => default,
            text => text,
        };
        match fits(text) {
            None => return Ok(text.to_owned()),
            Some(complaint) => {
                let _ = writeln!(out, "  {complaint}");
            }
        }
    }
}

/// Asks for a setting, as its row of the schema takes it.
fn setting(out: &mut dyn Write, question: &str, key: &str, default: &str) -> Result<String, Stop> {
    ask(out, question, default, |text| {
        let row = lookup::row(key)?;
        let wrong = row.kind.read(text).is_err();
        wrong.then(|| format!("that cannot be read; write {}", row.kind.allowed()))
    })
}

/// Asks for yes or no.
pub fn yes(out: &mut dyn Write, question: &str, default: bool) -> Result<bool, Stop> {
    let usual = if default { "yes" } else { "no" };
    let answer = ask(out, question, usual, |text| {
        let first = text.to_ascii_lowercase();
        let known = ["y", "yes", "n", "no"].contains(&first.as_str());
        (!known).then(|| "write yes or no".to_owned())
    })?;
    Ok(answer.to_ascii_lowercase().starts_with('y'))
}

/// Asks where a test mail goes; `no` is nowhere.
pub fn test_address(out: &mut dyn Write, usual: &str) -> Result<Option<String>, Stop> {
    let answer = ask(out, "Send a test mail to (no: none)", usual, |text| {
        let fits = text == "no" || Address::parse(text).is_ok();
        (!fits).then(|| "write an address, such as me@example.com, or no".to_owned())
    })?;
    Ok(Some(answer).filter(|answer| answer != "no"))
}

/// Asks everything.
pub fn run(out: &mut dyn Write) -> Result<Answers, Stop> {
    let _ = out.write_all(
        b"A few questions; return alone takes what stands in brackets. Nothing is written before the last one.\n\n",
    );
    let mut flags = Flags::default();
    let name = setting(out, "Name of this server", "name", "mailroot")?;
    flags.push("set", &format!("name={name}"));
    let question =
        "IP address and port that programs and devices send to (0.0.0.0:25 is all addresses)";
    let address = setting(out, question, "listen.address", "127.0.0.1:25")?;
    flags.push("listen", &address);
    let home = setting(
        out,
        "Home folder, for the mail itself",
        "home",
        "/var/spool/mailroot",
    )?;
    flags.push("home", &absolute(&home)?);
    let host = load::hostname();
    let domain = setting(
        out,
        "Default domain, which addresses without one get",
        "default_domain",
        &host,
    )?;
    flags.push("default-domain", &domain);

    let (output, force) = output(out)?;
    let way = way_out(out, &output, &mut flags)?;
    Ok(Answers {
        flags,
        output,
        force,
        secret: way.secret,
        address: way.address,
    })
}

fn absolute(path: &str) -> Result<String, Stop> {
    match std::path::absolute(path) {
        Ok(path) => load::text_of(path.into_os_string()),
        Err(_) => Ok(path.to_owned()),
    }
}

fn output(out: &mut dyn Write) -> Result<(PathBuf, bool), Stop> {
    let root = rustix::process::geteuid().is_root();
    let usual = if root {
        "/etc/mailroot.toml"
    } else {
        "mailroot.toml"
    };
    loop {
        let path = ask(out, "Configuration file", usual, |_| None)?;
        let path = PathBuf::from(absolute(&path)?);
        if !path.exists() {
            return Ok((path, false));
        }
        if yes(out, "  It is there already; replace it", false)? {
            return Ok((path, true));
        }
    }
}

/// What came of the questions about the way out.
#[derive(Default)]
struct Way {
    secret: Option<(PathBuf, Secret)>,
    address: Option<String>,
}

fn way_out(out: &mut dyn Write, output: &Path, flags: &mut Flags) -> Result<Way, Stop> {
    let _ = out.write_all(
        b"\nMail for others goes out through an account, a host, or by itself. Write the account's e-mail address, the\n\
          name of a provider (sendgrid, mailgun, ses ...), a host with port, mx for the exchangers of each domain, or\n\
          none to keep everything in the drop folder.\n",
    );
    let answer = ask(out, "Way out", "none", |text| {
        let known = text.contains(['@', '.', ':'])
            || ["mx", "none"].contains(&text)
            || providers::find(text).is_some();
        (!known).then(|| "that is no address, no host and no provider that is known".to_owned())
    })?;
    let address = answer.contains('@').then(|| answer.clone());
    if answer == "none" {
        return Ok(Way::default());
    }
    if answer == "mx" {
        flags.push("set", "route.via=mx");
        return Ok(Way::default());
    }
    let account = match providers::find(&answer) {
        Some(provider) => known(out, provider, address.as_deref(), output)?,
        None => unknown(out, &answer, address.as_deref(), output)?,
    };
    for setting in &account.settings {
        flags.push("set", setting);
    }
    let asks = |key: &str| account.settings.iter().any(|one| one.starts_with(key));
    if !asks("route.password_file=") {
        let secret = None;
        return Ok(Way { secret, address });
    }
    let secret = match passwd::unseen("Password (return alone: later): ") {
        Ok(secret) => Some((account.file, secret)),
        Err(_) => {
            let _ = writeln!(out, "  Later, then: into {}", account.file.display());
            None
        }
    };
    Ok(Way { secret, address })
}

fn known(
    out: &mut dyn Write,
    provider: &Provider,
    address: Option<&str>,
    output: &Path,
) -> Result<Account, Stop> {
    let _ = writeln!(out, "  {} wants {}.", provider.name, provider.hint);
    let usual = format!("{}:{}", provider.host, provider.port);
    let host = setting(out, "Smart host", "route.hosts", &usual)?;
    let (question, usual) = match provider.user {
        User::Address => ("Account".to_owned(), address.unwrap_or_default()),
        User::Is(name) => ("Account".to_owned(), name),
        User::Given(what) => (format!("Account: {what}"), ""),
    };
    let user = setting(out, &question, "route.user", usual)?;
    Ok(through(&host, &user, provider.token, output))
}

fn unknown(
    out: &mut dyn Write,
    answer: &str,
    address: Option<&str>,
    output: &Path,
) -> Result<Account, Stop> {
    let usual = match answer.rsplit_once('@') {
        Some((_, domain)) => format!("smtp.{domain}:587"),
        None => answer.to_owned(),
    };
    let host = setting(out, "Smart host", "route.hosts", &usual)?;
    let question = "TLS: verify, require, opportunistic or off";
    let tls = setting(out, question, "route.tls", "verify")?;
    let mut account = Account {
        settings: vec![format!("route.hosts={host}"), format!("route.tls={tls}")],
        file: secret_file(output),
    };
    // What goes in clear text goes without a password.
    if tls != "off" {
        let user = ask(
            out,
            "Account (none: no login)",
            address.unwrap_or("none"),
            |_| None,
        )?;
        if user != "none" {
            account.settings.extend(login(&user, false, &account.file));
        }
    }
    Ok(account)
}

/// The settings of a route through `host`, with the password in a file beside the configuration.
pub fn through(host: &str, user: &str, token: bool, output: &Path) -> Account {
    let file = secret_file(output);
    let mut settings = vec![format!("route.hosts={host}")];
    settings.extend(login(user, token, &file));
    Account { settings, file }
}

fn login(user: &str, token: bool, file: &Path) -> [String; 2] {
    let key = if token { "token" } else { "password" };
    [
        format!("route.user={user}"),
        format!("route.{key}_file={}", file.display()),
    ]
}

/// `/etc/mailroot.toml` has `/etc/mailroot.password`.
fn secret_file(output: &Path) -> PathBuf {
    output.with_extension("password")
}
