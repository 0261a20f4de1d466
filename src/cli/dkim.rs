//! `mailroot dkim new|show --domain DOMAIN --selector NAME FILE`: a key that signs mail, and what to publish of it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use ring::rand::SecureRandom;
use ring::rand::SystemRandom;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::sysexits;
use crate::disk::secret;
use crate::mail::Domain;
use crate::mail::dkim::key;
use crate::mail::dkim::key::Key;

const USAGE: &str = "write: mailroot dkim new|show --domain DOMAIN --selector NAME FILE";

/// Runs it.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, answer)
}

fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let task = match task(args) {
        Ok(task) => task,
        Err(stop) => return stop.tell(err),
    };
    match act(&task, out) {
        Ok(()) => sysexits::OK,
        Err((code, why)) => {
            let _ = writeln!(err, "mailroot: {why}");
            code
        }
    }
}

struct Task {
    new: bool,
    domain: Domain,
    selector: Domain,
    file: PathBuf,
}

fn task(args: &mut lexopt::Parser) -> Result<Task, Stop> {
    let usage = |why: &str| Stop::Usage(why.to_owned());
    let name = |text: String| {
        let domain = Domain::parse(&text).ok();
        let good = domain.filter(|domain| domain.is_ascii() && domain.ip().is_none());
        good.ok_or_else(|| usage("a domain and a selector are names such as example.com and nas"))
    };
    let (mut new, mut domain, mut selector, mut file) = (None, None, None, None);
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Long("domain") => domain = Some(name(load::text_of(args.value()?)?)?),
            lexopt::Arg::Long("selector") => selector = Some(name(load::text_of(args.value()?)?)?),
            lexopt::Arg::Value(word) if new.is_none() && word == "new" => new = Some(true),
            lexopt::Arg::Value(word) if new.is_none() && word == "show" => new = Some(false),
            lexopt::Arg::Value(path) if new.is_some() && file.is_none() => {
                file = Some(PathBuf::from(path));
            }
            lexopt::Arg::Value(_) => return Err(usage(USAGE)),
            other => return Err(load::unexpected(other)),
        }
    }
    match (new, domain, selector, file) {
        (Some(new), Some(domain), Some(selector), Some(file)) => Ok(Task {
            new,
            domain,
            selector,
            file,
        }),
        _ => Err(usage(USAGE)),
    }
}

fn act(task: &Task, out: &mut dyn Write) -> Result<(), (u8, String)> {
    let file = &task.file;
    if task.new {
        make(file).map_err(|error| {
            let why = match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    String::from("it is there already, and no key is written over")
                }
                _ => error.to_string(),
            };
            (sysexits::CANTCREAT, format!("{}: {why}", file.display()))
        })?;
    }
    let pem = secret::key(file).map_err(|why| (sysexits::NOINPUT, why.to_string()))?;
    let key = Key::from_pem(&pem)
        .map_err(|why| (sysexits::DATAERR, format!("{}: {why}", file.display())))?;
    let said = out.write_all(text(task, &key).as_bytes());
    said.map_err(|error| (sysexits::IOERR, error.to_string()))
}

/// Writes a new Ed25519 key into a file that is not there yet.
fn make(path: &Path) -> io::Result<()> {
    let mut seed = [0; 32];
    SystemRandom::new()
        .fill(&mut seed)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(Key::new_pem(&seed).as_bytes())?;
    file.sync_all()
}

/// The record as a zone file has it, and the settings that go with it.
fn text(task: &Task, key: &Key) -> String {
    let record = key.record();
    // One string of a TXT record holds 255 bytes; verifiers put the strings together.
    let parts: Vec<String> = record
        .as_bytes()
        .chunks(250)
        .map(|part| format!("\"{}\"", String::from_utf8_lossy(part)))
        .collect();
    let name = key::record_name(&task.selector, &task.domain);
    let record = match parts.as_slice() {
        [one] => one.clone(),
        several => format!("( {} )", several.join("\n    ")),
    };
    let more = match key {
        Key::Ed25519(_) => {
            "# Some receivers read RSA signatures only. For a second key: openssl genrsa -out RSA.pem 2048,\n\
             # chmod 600 RSA.pem, mailroot dkim show with another selector, and a second [[dkim]] block.\n"
        }
        Key::Rsa(_) => "",
    };
    // A key file is named as it was given: relative ones count from home in the configuration.
    format!(
        "# Publish this in DNS:\n{name}. IN TXT {record}\n\n# And write this into the configuration:\n[[dkim]]\n\
         domain = \"{}\"\nselector = \"{}\"\nkey_file = \"{}\"\n{more}",
        task.domain,
        task.selector,
        std::path::absolute(&task.file)
            .unwrap_or_else(|_| task.file.clone())
            .display()
    )
}

#[cfg(test)]
mod tests {
    use super::answer;
    use crate::cli::load::tests::run;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_key_is_private_and_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dkim.pem");
        let file = path.to_str().unwrap();
        let args = |word| [word, "--domain", "example.com", "--selector", "nas", file];
        assert_eq!(run(answer, &args("show")).0, 66);
        let (code, said, err) = run(answer, &args("new"));
        assert_eq!(code, 0, "{err}");
        assert!(
            said.contains("nas._domainkey.example.com. IN TXT \"v=DKIM1; k=ed25519; p=")
                && said.contains(&format!("key_file = \"{file}\"")),
            "{said}"
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(run(answer, &args("show")), (0, said, String::new()));
        let (code, _, err) = run(answer, &args("new"));
        assert!(code == 73 && err.contains("is there already"), "{err}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (code, _, err) = run(answer, &args("show"));
        assert!(code == 66 && err.contains("chmod 600"), "{err}");
        for args in [
            &["new"][..],
            &["old", "x"],
            &["new", "--domain", "[::1]", "x"],
        ] {
            assert_eq!(run(answer, args).0, 64, "{args:?}");
        }
    }
}
