//! `sendmail -bs`: speaks SMTP on standard input and output, with the server machine that the listener uses.
//!
//! Each message becomes a pickup file, so this works with the service down; 250 comes only when the file is durable
//! (promise G1). Who can run this can write into the pickup folder anyway, so it may send to anybody.

use std::io;
use std::io::Read;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use crate::base::MsgId;
use crate::cli::load;
use crate::cli::sendmail;
use crate::cli::sysexits;
use crate::disk::lines;
use crate::disk::submit::Submission;
use crate::mail::Domain;
use crate::mail::Envelope;
use crate::mail::Status;
use crate::net::clock;
use crate::net::random;
use crate::smtp::fault::Fault;
use crate::smtp::fault::Told;
use crate::smtp::server::Order;
use crate::smtp::server::Server;
use crate::smtp::server::settings::Settings;

/// Runs it for the pickup folder of `home`. 0 when the dialog ended in good order, 74 when a pipe broke.
pub fn run(home: &Path) -> ExitCode {
    let hostname = Domain::parse(&load::hostname());
    let Ok(hostname) = hostname.or_else(|_| Domain::parse("localhost")) else {
        return ExitCode::from(sysexits::SOFTWARE);
    };
    let settings = Settings {
        // The service knows a better one.
        default_domain: Some(Domain::localhost()),
        shown_domain: Some(hostname.clone()),
        ..Settings::new(hostname)
    };
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    match talk(&home.join("pickup"), settings, &mut input, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sendmail::complain(&error);
            ExitCode::from(sysexits::IOERR)
        }
    }
}

fn talk(
    pickup: &Path,
    settings: Settings,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> io::Result<()> {
    let mut server = Server::new(Rc::new(settings), None, false, clock::tick());
    let mut block = vec![0; 16 * 1024];
    let (mut at, mut end) = (0, 0);
    let mut file: Option<Submission> = None;
    let mut broken = Ok(());
    loop {
        let mut rest = block.get(at..end).unwrap_or_default();
        let order = server.next_order(clock::tick(), &mut rest);
        at = end.saturating_sub(rest.len());
        match order {
            Order::Send(bytes) => {
                if let Err(error) = output.write_all(bytes).and_then(|()| output.flush()) {
                    broken = Err(error);
                    server.on_closed();
                }
            }
            Order::Read(_) => match input.read(&mut block) {
                Ok(count) if count > 0 => (at, end) = (0, count),
                Ok(_) => {
                    end = 0;
                    at = 0;
                    server.on_closed();
                }
                Err(error) => {
                    broken = Err(error);
                    server.on_closed();
                }
            },
            Order::AskMail { .. } | Order::AskRcpt { .. } => server.on_verdict(Ok(())),
            Order::Begin { envelope, .. } => match begin(pickup, envelope) {
                Ok(begun) => {
                    file = Some(begun);
                    server.on_verdict(Ok(()));
                }
                Err(error) => server.on_verdict(Err(told(pickup, &error))),
            },
            Order::Body(bytes) => {
                let written = file.as_mut().map_or(Ok(()), |file| file.append(bytes));
                if let Err(error) = written {
                    file = None;
                    server.on_trouble(told(pickup, &error));
                }
            }
            Order::Commit { .. } => {
                let stored = match file.take().map(Submission::finish) {
                    // The queue gives it its real id; this one only tells messages of one dialog apart.
                    Some(Ok(())) => Ok(MsgId::from_number(random::number().unwrap_or(0))),
                    Some(Err(error)) => Err(told(pickup, &error)),
                    None => Err(Fault::Ours),
                };
                server.on_stored(stored);
            }
            Order::Abort => file = None,
            Order::Pause(_) => {}
            Order::Close => return broken,
            // Not offered.
            _ => server.on_closed(),
        }
    }
}

/// Our caller is on this box, so it may hear what is wrong.
fn told(pickup: &Path, error: &io::Error) -> Fault {
    let text = format!("cannot write to {}: {error}", pickup.display());
    Fault::Told(Box::new(Told::new(451, Status::new(4, 3, 0), &text)))
}

fn begin(pickup: &Path, envelope: &Envelope) -> io::Result<Submission> {
    let mut file = Submission::begin(pickup)?;
    // The body has been through the protocol: its dots are its own.
    file.append(lines::of(envelope, |_| true).as_bytes())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::{Settings, talk};
    use crate::disk::folders::Folders;
    use crate::mail::Domain;
    use std::fs;

    #[test]
    fn a_dialog_becomes_pickup_files_and_a_missing_folder_a_451() {
        let dir = tempfile::tempdir().unwrap();
        let folders = Folders::below(dir.path());
        let script = b"EHLO me\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example> NOTIFY=NEVER ORCPT=rfc822;b\r\nRCPT TO:<c@y.example>\r\n\
                       DATA\r\n.no header\r\n..dot\r\n.\r\nQUIT\r\n";
        let say = || {
            let settings = Settings::new(Domain::parse("box.example").unwrap());
            let mut said = Vec::new();
            talk(&folders.pickup, settings, &mut &script[..], &mut said).unwrap();
            String::from_utf8(said).unwrap()
        };
        assert!(say().contains("\r\n451 4.3.0 cannot write to "));
        folders.create().unwrap();
        assert!(say().contains("Queued mail for delivery\r\n221 "));
        let [file] = fs::read_dir(&folders.pickup)
            .unwrap()
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert_eq!(
            text,
            "X-Sender: a@x.example\r\nX-Notify: never\r\nX-Receiver: b@y.example\r\nX-Orcpt: rfc822;b\r\n\
             X-Notify: default\r\nX-Receiver: c@y.example\r\nX-Dot-Stuffed: no\r\nno header\r\n.dot\r\n"
        );
    }
}
