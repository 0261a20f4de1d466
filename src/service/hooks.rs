//! Tells the owner's programs what happens. Nobody waits for them here but messages that have just arrived
//! ([`crate::service::arrival`]).

use std::ffi::OsString;
use std::path::Path;
use std::rc::Rc;

use crate::base::Escaped;
use crate::base::MsgId;
use crate::base::limits;
use crate::config::hooks::On;
use crate::disk::stored::StoredBody;
use crate::disk::worker::Worker;
use crate::mail::Envelope;
use crate::service::event::Event;
use crate::service::log::emit;
use crate::service::program::Ended;
use crate::service::program::Hook;
use crate::service::shared::Service;
use crate::service::show;

/// What a program is told. Only in variables: what a stranger wrote is never an argument.
#[derive(Clone, Debug)]
pub struct Facts {
    on: On,
    /// The message or the way, for the log.
    about: String,
    variables: Vec<(&'static str, OsString)>,
}

impl Facts {
    fn new(service: &Service, on: On, about: String) -> Self {
        let name = service.live().config.name.clone();
        let mut facts = Self {
            on,
            about,
            variables: Vec::new(),
        };
        facts.put("MAILROOT_EVENT", on.word());
        facts.put("MAILROOT_SERVER", &name);
        facts
    }

    /// About a message.
    pub fn message(service: &Service, on: On, id: MsgId, envelope: &Envelope) -> Self {
        let mut facts = Self::new(service, on, id.to_string());
        facts.put("MAILROOT_ID", &id.to_string());
        facts.put("MAILROOT_SENDER", &show::path(envelope.sender.as_ref()));
        let mut recipients = String::new();
        for recipient in &envelope.recipients {
            let address = recipient.address.to_string();
            if recipients.len().saturating_add(address.len()) < limits::HOOK_RECIPIENTS {
                recipients.push_str(&address);
                recipients.push('\n');
            }
        }
        // Addresses have no line ends; the variable has nothing else that is not printable.
        let recipients = recipients.trim_end();
        let whole = recipients
            .split('\n')
            .map(|one| Escaped(one.as_bytes()).to_string());
        let lines: Vec<String> = whole.collect();
        facts
            .variables
            .push(("MAILROOT_RECIPIENTS", lines.join("\n").into()));
        facts
    }

    fn put(&mut self, name: &'static str, value: &str) {
        let value = Escaped(value.as_bytes()).to_string();
        self.variables.push((name, value.into()));
    }
}

/// Runs one program in the home folder; the log tells how it went.
pub async fn run(
    (worker, home): (&Worker, &Path),
    hook: &Hook,
    facts: &Facts,
    body: impl AsyncFnOnce() -> Option<StoredBody>,
) -> Option<Ended> {
    let (exec, on, about) = (hook.path(), facts.on.word(), facts.about.as_str());
    let ended = if hook.is_full() {
        Err(format!("{} wait for it already", limits::HOOK_QUEUE))
    } else {
        let variables = facts.variables.clone();
        // Mail waits for what is run on arrival, and for that alone.
        let hurry = facts.on == On::Arrival;
        hook.run(worker, (home, hurry), variables, body).await
    };
    match ended {
        Ok(ended) => {
            emit(&Event::HookRan {
                exec,
                on,
                about,
                code: ended.code,
                said: &ended.said,
            });
            Some(ended)
        }
        Err(why) => {
            let why = &why;
            emit(&Event::HookFailed {
                exec,
                on,
                about,
                why,
            });
            None
        }
    }
}

/// Runs every program that wants to know, some time.
fn tell(service: &Service, facts: &Facts, body: Option<&StoredBody>) {
    let live = service.live();
    for hook in live.hooks.iter().filter(|hook| hook.wants(facts.on)) {
        let (hook, facts, body) = (Rc::clone(hook), facts.clone(), body.cloned());
        let (worker, home) = (service.worker.clone(), service.folders.home.clone());
        let running = async move {
            run((&worker, &home), &hook, &facts, async || body).await;
        };
        service.tasks.spawn(Box::pin(running)).detach();
    }
}

fn is_wanted(service: &Service, on: On) -> bool {
    cfg!(feature = "hooks") && service.live().hooks.iter().any(|hook| hook.wants(on))
}

/// A message was put into the drop folder, as this file.
pub fn dropped(service: &Service, id: MsgId, envelope: &Envelope, body: StoredBody, path: &Path) {
    if is_wanted(service, On::Drop) {
        let mut facts = Facts::message(service, On::Drop, id, envelope);
        facts.variables.push(("MAILROOT_FILE", path.into()));
        tell(service, &facts, Some(&body));
    }
}

/// A message was put into badmail.
pub fn kept(service: &Service, id: MsgId, envelope: &Envelope, body: StoredBody, why: &str) {
    if is_wanted(service, On::Badmail) {
        let mut facts = Facts::message(service, On::Badmail, id, envelope);
        facts.put("MAILROOT_WHY", why);
        tell(service, &facts, Some(&body));
    }
}

/// A way is down, held or well.
pub fn way(service: &Service, on: On, way: &str, why: &str) {
    if is_wanted(service, on) {
        let mut facts = Facts::new(service, on, way.to_owned());
        facts.put("MAILROOT_WAY", way);
        facts.put("MAILROOT_WHY", why);
        tell(service, &facts, None);
    }
}
