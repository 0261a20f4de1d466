//! What the sender of a message can do about its fate.

use crate::mail::outcome::Reason;
use crate::mail::report::action::Action;

/// What the sender can do about it, by subject and detail of the status (RFC 3463 s3).
pub(super) fn remedy(action: Action, reason: &Reason) -> &'static str {
    let status = reason.status;
    match (action, status.subject(), status.detail()) {
        (Action::Delayed, _, _) => {
            "Nothing for now. You will hear again if it cannot be delivered."
        }
        (_, 1, 0..=3 | 6) => "Check the address for mistakes and send the message again.",
        (_, 1, 7 | 8) => {
            "The sender address is not accepted there. Set a sender address that exists and that the server knows."
        }
        (_, 1, 10) => "This domain takes no mail at all. Use another address.",
        (_, 2, 1) => "The mailbox is switched off. Reach the recipient another way.",
        (_, 2, 2) => {
            "The mailbox is full. Ask the recipient to make room, then send the message again."
        }
        (_, 2, 3) | (_, 3, 4) => "The message is too large. Send a smaller one, or a link.",
        (_, 4, 6) => {
            "The message goes in a circle. Tell whoever looks after the servers named above."
        }
        (_, 4, 7) => {
            "It was tried until its time was over. Check the address and whether that server is up, then send again."
        }
        (_, 4, _) => {
            "The way to that server is broken. Try again later, or tell whoever looks after it."
        }
        (_, 5, 3) => "There were too many recipients. Send the message to fewer at a time.",
        (_, 5, _) => {
            "The servers do not understand each other. Tell whoever looks after this mail service."
        }
        (_, 6, _) => {
            "The server cannot take the content as it is. Send it in another form, for instance plain text."
        }
        (_, 7, _) => {
            "The server refuses the message by its rules. Read its answer above; the recipient's administrator can change them."
        }
        _ => {
            "Read the reason above. If it does not help, tell whoever looks after this mail service."
        }
    }
}
