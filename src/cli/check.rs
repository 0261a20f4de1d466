//! `mailroot check FILE...`: every mistake in every file, at once; a folder is each `*.toml` in it.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::cli::load;
use crate::cli::load::Stop;
use crate::cli::servers;
use crate::cli::servers::Source;
use crate::cli::sysexits;
use crate::config::Config;
use crate::config::model::Proof;
use crate::disk::secret;
use crate::disk::users::Users;
use crate::mail::dkim::key::Key;
use crate::net::TrustedClock;
use crate::net::tls::Identity;
use crate::net::tls::Tls;
use crate::service::alias_file;
use crate::service::claims;
use crate::service::claims::Claim;
#[cfg(feature = "sso")]
use crate::service::tickets;

/// Runs it. 0 when all files are good, 78 when one is not, 66 when one cannot be read.
pub fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    load::on_terminal(args, answer)
}

/// The same with the world handed in.
pub fn answer(args: &mut lexopt::Parser, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let files = match files(args) {
        Ok(files) => files,
        Err(stop) => return stop.tell(err),
    };
    let mut code = sysexits::OK;
    let mut seen: Vec<(&PathBuf, Claim)> = Vec::new();
    for file in &files {
        let config = match servers::read_here(file) {
            Ok(config) => config,
            Err(stop) => {
                let _ = writeln!(err, "{stop}");
                code = code.max(stop.code());
                continue;
            }
        };
        let mut wrong = passwords(&config);
        wrong.extend(users(&config));
        #[cfg(feature = "sso")]
        wrong.extend(tickets(&config));
        wrong.extend(certificate(&config));
        wrong.extend(keys(&config));
        wrong.extend(aliases(&config));
        let claim = Claim::of(&config);
        for (other, theirs) in &seen {
            let shared = claim.shared(theirs);
            wrong.extend(shared.map(|what| claims::sentence(&what, &other.display().to_string())));
        }
        if wrong.is_empty() {
            let _ = writeln!(out, "{}: good", file.display());
        } else {
            code = sysexits::CONFIG;
        }
        for sentence in wrong {
            let _ = writeln!(err, "{}: {sentence}", file.display());
        }
        seen.push((file, claim));
    }
    code
}

fn files(args: &mut lexopt::Parser) -> Result<Vec<PathBuf>, Stop> {
    let mut files = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            lexopt::Arg::Value(file) => files.push(PathBuf::from(file)),
            other => return Err(load::unexpected(other)),
        }
    }
    if files.is_empty() {
        return Err(Stop::Usage("write mailroot check FILE...".to_owned()));
    }
    let sources: Vec<Source> = files.into_iter().map(Source::new).collect();
    servers::files(&sources)
}

/// Password files that the service could not use. One that only the service may open is no mistake.
fn passwords(config: &Config) -> Vec<String> {
    let places = config
        .routes
        .iter()
        .filter_map(|route| route.login.as_ref());
    places
        .filter_map(|login| match &login.proof {
            Proof::PasswordFile(path) | Proof::TokenFile(path) => secret::read(path).err(),
            Proof::PasswordVariable(_) | Proof::Certificate => None,
        })
        .filter(|why| !why.is_private())
        .map(|why| why.to_string())
        .collect()
}

/// Keys that could not sign.
fn keys(config: &Config) -> Vec<String> {
    if !cfg!(feature = "dkim") {
        return Vec::new();
    }
    let read = config.dkim.iter().map(|dkim| {
        let pem = match secret::key(&dkim.key) {
            Err(why) if why.is_private() => return Ok(()),
            pem => pem.map_err(|why| why.to_string())?,
        };
        let key = Key::from_pem(&pem).map_err(|why| format!("{}: {why}", dkim.key.display()));
        key.map(|_| ())
    });
    read.filter_map(Result::err).collect()
}

/// What is wrong with the aliases.
fn aliases(config: &Config) -> Option<String> {
    let file = config.aliases.as_ref()?;
    alias_file::read(file, &config.rewrite).err()
}

/// Why nobody could log in, though somebody should.
fn users(config: &Config) -> Option<String> {
    let bad = Users::read(config.users.as_ref()?).err()?;
    (!bad.is_private()).then(|| bad.to_string())
}

/// Likewise by a ticket.
#[cfg(feature = "sso")]
fn tickets(config: &Config) -> Option<String> {
    let keytab = &config.tickets.as_ref()?.keytab;
    // What only the service may open is no mistake.
    if secret::open(keytab).is_err_and(|bad| bad.is_private()) {
        return None;
    }
    tickets::read(keytab).err()
}

/// Why there would be no TLS, though there should. One that is still to be made is no mistake.
fn certificate(config: &Config) -> Option<String> {
    let certificate = config.certificate.as_ref()?;
    if certificate.self_signed && !certificate.chain.exists() {
        return None;
    }
    // What only the service may open is no mistake.
    for path in [&certificate.chain, &certificate.key] {
        let error = std::fs::File::open(path).err().map(|error| error.kind());
        if error == Some(std::io::ErrorKind::PermissionDenied) {
            return None;
        }
    }
    let identity = Identity {
        chain: certificate.chain.clone(),
        key: certificate.key.clone(),
    };
    let tls = Tls::new(Arc::new(TrustedClock::new()));
    tls.server(&identity).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::answer;
    use crate::cli::load::tests::run;

    #[test]
    fn check_ends_with_the_right_code() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let good = write("good.toml", b"home = '/a'");
        let same = write(
            "same.toml",
            b"home = '/a'\n[[listen]]\naddress = '127.0.0.1:26'",
        );
        let bad = write("bad.toml", b"hom = '/a'");
        let latin = write("latin.toml", b"name = '\xe4'");
        let large = write("large.toml", &vec![b'#'; 2_000_000]);
        let password = write("password", b"hunter2\n");
        let login = write(
            "login.toml",
            format!("[[route]]\nhosts = ['h.example']\nuser = 'u'\npassword_file = '{password}'")
                .as_bytes(),
        );
        fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
        for (args, code, says) in [
            (&[good.as_str()][..], 0, ""),
            (&[&good, &bad], 78, "did you mean `home`"),
            (&[&latin], 78, "byte 9 is not UTF-8"),
            (&[&large], 78, "larger than 1 MiB"),
            (&["/none.toml"], 66, "cannot be read"),
            (&[&good, &same], 78, "home /a is also that of"),
            (&[&login], 78, "chmod 600"),
            (&[], 64, "write mailroot check FILE..."),
            (&["--zebra"], 64, "--zebra"),
        ] {
            let (got, _, err) = run(answer, args);
            assert_eq!(got, code, "{args:?} {err}");
            assert!(err.contains(says), "{args:?} {err}");
        }
    }

    #[test]
    fn users_and_certificates_that_cannot_be_used_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().display();
        let path = folder.path().join("m.toml");
        let check = |text: &str| {
            fs::write(&path, format!("home = '{home}'\n{text}")).unwrap();
            let (code, _, err) = run(answer, &[path.to_str().unwrap()]);
            (code, err)
        };
        let (code, err) = check("[users]\nfile = 'users'");
        assert!(code == 78 && err.contains("/users"), "{err}");
        let (code, err) = check("[tls]\ncertificate = 'box.pem'");
        assert!(code == 78 && err.contains("/box.pem"), "{err}");
        assert_eq!(check("[tls]\nself_signed = true"), (0, String::new()));
        fs::write(folder.path().join("certificate.pem"), "x").unwrap();
        let (code, err) = check("[tls]\nself_signed = true");
        assert!(code == 78 && err.contains("certificate.pem"), "{err}");
    }
}
