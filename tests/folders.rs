//! The folders as programs and users see them: the round trip from drop to pickup, `sendmail` to drop, many files.
#![cfg(test)]

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use mailroot::base::MsgId;
use mailroot::base::Tick;
use mailroot::cli::sendmail;
use mailroot::disk::badmail::Badmail;
use mailroot::disk::badmail::Caps;
use mailroot::disk::badmail::Verdict;
use mailroot::disk::drop::DropFolder;
use mailroot::disk::drop::Form;
use mailroot::disk::envelope;
use mailroot::disk::envelope::Given;
use mailroot::disk::folders::Folders;
use mailroot::disk::folders::sync_folder;
use mailroot::disk::letter::Letter;
use mailroot::disk::pickup;
use mailroot::disk::pickup::Claim;
use mailroot::disk::pickup::Dots;
use mailroot::disk::pickup::Rules;
use mailroot::disk::pickup::Scanner;
use mailroot::mail::Address;
use mailroot::mail::Domain;
use mailroot::mail::header::Field;
use mailroot::mail::header::Plan;

const RULES: Rules = Rules {
    size: 1_000_000,
    dots: Dots::Never,
    settle: Duration::ZERO,
};

fn home() -> (tempfile::TempDir, Folders) {
    let dir = tempfile::tempdir().unwrap();
    let folders = Folders::below(dir.path());
    folders.create().unwrap();
    (dir, folders)
}

/// Claims the one file that is in the folder.
fn take(folders: &Folders, id: u64) -> Claim {
    let name = fs::read_dir(&folders.pickup).unwrap().next().unwrap();
    let name = name.unwrap().file_name();
    let id = MsgId::from_number(id);
    let claim = pickup::claim(&folders.pickup, &name, &folders.sorttemp, id, &RULES).unwrap();
    sync_folder(&folders.sorttemp).unwrap();
    claim
}

fn read(claim: Claim, dots: Dots) -> (Given, Vec<u8>) {
    let domain = Domain::parse("nas.lan").unwrap();
    let given = envelope::envelope(&claim, dots, &domain).unwrap();
    let plan = Plan {
        repair: true,
        without: &[Field::Bcc, Field::ResentBcc, Field::ReturnPath],
        ..Plan::default()
    };
    let mut letter = Letter::new(claim, &given, plan).unwrap();
    let mut message = Vec::new();
    while letter.step(&mut message).unwrap() {}
    let claim = letter.into_claim();
    assert!(claim.stood_still());
    claim.finish().unwrap();
    (given, message)
}

#[test]
fn a_drop_file_in_any_pickup_folder_is_sent_again_with_its_envelope() {
    let message =
        b"Received: by nas.lan; d\r\nFrom: someone@else.example\r\nTo: list@else.example\r\n\r\n\
        .dots\r\n..\r\n.\r\nend\r\n";
    let addresses = [
        "\"odd one\"@x.example",
        "j\u{f6}rg@x.example",
        "plain@x.example",
    ];
    let addresses = addresses.map(|text| Address::parse(text).unwrap());
    let receivers: Vec<&Address> = addresses.iter().collect();
    let sender = Address::parse("\"s@t\"@x.example").unwrap();
    for sender in [Some(&sender), None] {
        for dots in [Dots::Never, Dots::Always] {
            let (_dir, folders) = home();
            let mut folder =
                DropFolder::new(&folders.drop, &folders.sorttemp, Form::Eml, None, 0o600).unwrap();
            let letter = mailroot::disk::drop::Letter {
                id: MsgId::from_number(7),
                came: mailroot::base::Wall::from_millis(0),
                sender,
                receivers: &receivers,
                mailbox: None,
                size: u64::try_from(message.len()).unwrap(),
            };
            let mut file = folder.begin(letter).unwrap();
            for piece in message.chunks(5) {
                file.append(piece).unwrap();
            }
            let path = file.finish().unwrap();
            fs::rename(path, folders.pickup.join("again.eml")).unwrap();

            let claim = take(&folders, 8);
            let (given, again) = read(claim, dots);
            assert_eq!(given.envelope.sender.as_ref(), sender);
            let back: Vec<&Address> = given
                .envelope
                .recipients
                .iter()
                .map(|to| &to.address)
                .collect();
            assert_eq!(back, receivers);
            assert!(given.envelope.utf8);
            assert_eq!(
                String::from_utf8_lossy(&again),
                String::from_utf8_lossy(message)
            );
        }
    }
}

#[test]
fn what_sendmail_takes_comes_out_as_it_went_in() {
    let (dir, folders) = home();
    let args = [
        "-t",
        "-oi",
        "-f",
        "<>",
        "-F",
        "J\u{f6}rg \"D\"",
        "-N",
        "never",
    ];
    let order = sendmail::parse(args.iter().map(OsString::from)).unwrap();
    let input = "To: root, A <a@x.example>\nBcc: b@x.example\nSubject: s\n\n.one\n.\n..\nend";
    sendmail::submit(&order, dir.path(), "pi", &mut input.as_bytes()).unwrap();

    let claim = take(&folders, 1);
    // Also where the owner has said that pickup files are stuffed.
    let (given, message) = read(claim, Dots::Always);
    assert_eq!(given.envelope.sender, None);
    assert_eq!(given.sender_name, "J\u{f6}rg \"D\"");
    let to: Vec<String> = given
        .envelope
        .recipients
        .iter()
        .map(|to| to.address.to_string())
        .collect();
    assert_eq!(to, ["root@nas.lan", "a@x.example", "b@x.example"]);
    assert_eq!(
        String::from_utf8(message).unwrap(),
        "To: root, A <a@x.example>\r\nSubject: s\r\n\r\n.one\r\n.\r\n..\r\nend\r\n"
    );
}

#[test]
fn what_sendmail_took_is_never_too_large_for_the_folder() {
    let (dir, folders) = home();
    let order = sendmail::parse([OsString::from("a@x.example")].into_iter()).unwrap();
    let input = vec![b'x'; 1_500_000];
    sendmail::submit(&order, dir.path(), "pi", &mut input.as_slice()).unwrap();
    let claim = take(&folders, 1);
    assert!(claim.size() > RULES.size);
}

#[test]
fn ten_thousand_files_at_once_are_taken_once_each() {
    let (_dir, folders) = home();
    for number in 0..10_000 {
        let text = format!("X-Sender: a@x.example\nX-Receiver: r{number}@x.example\n\n{number}\n");
        fs::write(folders.pickup.join(format!("{number}.eml")), text).unwrap();
    }
    let domain = Domain::parse("nas.lan").unwrap();
    let mut scanner = Scanner::new(&folders.pickup);
    let mut seen = std::collections::HashSet::new();
    let mut at = 0;
    while seen.len() < 10_000 {
        at += 1;
        assert!(at < 1_000, "{} taken", seen.len());
        let step = scanner.step(&RULES, Tick::from_millis(at)).unwrap();
        for name in step.ready {
            let id = MsgId::from_number(u64::try_from(seen.len()).unwrap());
            let claim =
                pickup::claim(&folders.pickup, &name, &folders.sorttemp, id, &RULES).unwrap();
            let given = envelope::envelope(&claim, Dots::Never, &domain).unwrap();
            let to = given
                .envelope
                .recipients
                .first()
                .unwrap()
                .address
                .to_string();
            assert!(seen.insert(to));
            claim.finish().unwrap();
        }
    }
    assert_eq!(count(&folders.pickup) + count(&folders.sorttemp), 0);
}

#[test]
fn a_malformed_file_goes_to_badmail_as_it_was() {
    let (_dir, folders) = home();
    let file = b"Subject: nobody\n\nat all\n";
    fs::write(folders.pickup.join("odd \u{202e} name"), file).unwrap();
    let claim = take(&folders, 3);
    let domain = Domain::parse("nas.lan").unwrap();
    let fault = envelope::envelope(&claim, Dots::Never, &domain).unwrap_err();
    let caps = Caps {
        bytes: 1_000_000,
        count: 10,
        age: None,
    };
    let badmail = Badmail::new(&folders.badmail, caps);
    let verdict = Verdict {
        reason: fault.to_string(),
        origin: format!(
            "pickup file {} of uid {}",
            pickup::shown(claim.name()),
            claim.uid()
        ),
        ..Verdict::default()
    };
    assert_eq!(badmail.take(&claim, &verdict).unwrap(), "3");
    assert_eq!(fs::read(folders.badmail.join("3.bad")).unwrap(), file);
    assert!(
        badmail
            .show("3")
            .unwrap()
            .contains("Reason: there is no sender")
    );
    assert_eq!(count(&folders.sorttemp), 0);
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}
