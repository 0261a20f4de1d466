//! The envelope as lines at the top of a file that the pickup folder understands (see `PICKUP.md`).

use std::fmt::Write;

use crate::mail::Envelope;
use crate::mail::envelope::Notify;
use crate::mail::envelope::Ret;

/// The lines for the recipients whose place in the envelope is wanted. The last of them ends the lines, so that
/// nothing in the message is taken for one; what follows is the message as it is, its dots its own.
pub fn of(envelope: &Envelope, wanted: impl Fn(usize) -> bool) -> String {
    let mut top = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = write!(top, "{name}: {value}\r\n");
    };
    match &envelope.sender {
        Some(address) => line("X-Sender", address),
        None => line("X-Sender", &"<>"),
    }
    match envelope.ret {
        Some(Ret::Full) => line("X-Ret", &"full"),
        Some(Ret::Headers) => line("X-Ret", &"hdrs"),
        None => {}
    }
    if let Some(envid) = &envelope.envid {
        line("X-Envid", envid);
    }
    let mut said = Notify::default();
    for (at, to) in envelope.recipients.iter().enumerate() {
        if !wanted(at) {
            continue;
        }
        if to.notify != said {
            said = to.notify;
            line("X-Notify", &notify(said));
        }
        line("X-Receiver", &to.address);
        if let Some(orcpt) = &to.orcpt {
            line("X-Orcpt", orcpt);
        }
    }
    line("X-Dot-Stuffed", &"no");
    top
}

fn notify(notify: Notify) -> String {
    let Notify::On {
        success,
        failure,
        delay,
    } = notify
    else {
        let word = if notify == Notify::Never {
            "never"
        } else {
            "default"
        };
        return word.to_owned();
    };
    let words = [(success, "success"), (failure, "failure"), (delay, "delay")];
    let said: Vec<&str> = words
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, word)| *word)
        .collect();
    match said.as_slice() {
        // Cannot be said on the wire, so it does not come from there.
        [] => "never".to_owned(),
        said => said.join(","),
    }
}
