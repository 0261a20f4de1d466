//! The control socket of a server that does not run: it says so, and takes the order to start.

use std::io;

use crate::config::Config;
use crate::service::asked::Asked;
use crate::service::event::Json;
use crate::service::line::Ordered;
use crate::service::line::Reply;
use crate::service::operators::Caller;
use crate::service::socket::Socket;
use crate::service::talk::STOPPED;
use crate::service::talk::Talk;

/// Answers requests, one after the other, until one is an order to the server as a whole. `state` is a word and, if
/// need be, why.
pub async fn order(socket: &Socket, config: &Config, state: (&str, &str)) -> Ordered {
    loop {
        // A client that hangs up has what it wanted.
        if let Ok(Some(ordered)) = answer(socket.accept().await, config, state).await {
            return ordered;
        }
    }
}

async fn answer(
    talk: Talk,
    config: &Config,
    (state, why): (&str, &str),
) -> io::Result<Option<Ordered>> {
    let caller = Caller::of(&talk.0)?;
    // Nothing else is done here meanwhile, so this may block on the files of users and groups.
    let standing = caller.standing(&config.operators);
    let Some(asked) = Asked::admit(talk, caller, standing).await? else {
        return Ok(None);
    };
    if let Some(order) = asked.order() {
        let reply = Reply::Client(asked.talk);
        return Ok(Some(Ordered { order, reply }));
    }
    let (json, mut talk) = (asked.json, asked.talk);
    let words: Vec<&str> = asked.words.iter().map(String::as_str).collect();
    let version = env!("CARGO_PKG_VERSION");
    match words.as_slice() {
        ["status"] if json => {
            let (name, state, why) = (Json(&config.name), Json(state), Json(why));
            talk.tell(Ok(format!(
                "{{\"name\":{name},\"version\":\"{version}\",\"state\":{state},\"why\":{why}}}\n"
            )))
            .await?;
        }
        ["status"] => {
            let (name, home) = (&config.name, config.home.display());
            let why = if why.is_empty() {
                String::new()
            } else {
                format!(": {why}")
            };
            talk.tell(Ok(format!(
                "{name} {version} on {home}\nstate: {state}{why}\n"
            )))
            .await?;
        }
        ["sync"] => {
            let text = "all mail is on the disk; the server does not run\n";
            talk.tell(Ok(text.to_owned())).await?;
        }
        ["pause" | "resume"] => {
            let name = &config.name;
            talk.tell(Err(format!(
                "{name} is {state}; `mailroot start` starts it"
            )))
            .await?;
        }
        _ => talk.say(format!("{STOPPED}\n").as_bytes()).await?,
    }
    Ok(None)
}
