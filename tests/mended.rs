//! A fault of the setup that lasts longer than mail is tried for: once it is mended the mail is tried anew, and no first
//! "later" ends it (promise G3).
#![cfg(test)]

mod common;

use std::fs;

use common::{Folder, Mailroot, Sink, have};

/// How the owner puts the mended configuration to work.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Reload,
    Restart,
}

#[test]
fn mail_that_a_wrong_setup_kept_past_its_time_is_put_off_and_not_returned_when_that_is_mended() {
    if !have("smtp-sink") {
        return;
    }
    for by in [By::Reload, By::Restart] {
        let folder = Folder::new("mended");
        let home = folder.path().join("home");
        // No TLS, which the first configuration demands, and nobody is taken at first, as by a greylist.
        let grey = Sink::start(folder.path(), &["-r", "RCPT"]);
        let config = |tls: &str| {
            format!(
                "home = \"{}\"\nhostname = \"box.example\"\n[delivery]\nretry = [\"1s\"]\njitter = 0\n\
                 expire = \"2s\"\ndelay_notice = \"off\"\n[[route]]\nhosts = [\"127.0.0.1:{}\"]\ntls = \"{tls}\"\n\
                 [[listen]]\naddress = \"127.0.0.1:0\"\n",
                home.display(),
                grey.port
            )
        };
        let file = folder.file("mailroot.toml", config("verify"));
        let mut box_ = Mailroot::run(&home, &file);
        let mail = "Subject: s\r\n\r\nbody\r\n";
        box_.submit("a@nas.example", &["b@office.example"], mail);
        // A second lies between two of them.
        box_.wait_count("its way is held", 4, |line| line.contains(" way-held "));
        fs::write(&file, config("off")).unwrap();
        match by {
            By::Reload => box_.signal("HUP"),
            By::Restart => {
                box_.stop();
                box_ = Mailroot::run(&home, &file);
            }
        }
        box_.wait_for("it is put off", |line| {
            line.contains(" deferred ") || line.contains(" failed ")
        });
        let log = box_.stop();
        assert!(!log.contains(" failed "), "{by:?}: {log}");
    }
}
