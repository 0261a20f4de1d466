//! A request on a control socket, from somebody who may make it. Everybody else is told why not, here.

use std::io;

use crate::service::event::Event;
use crate::service::line::Order;
use crate::service::log::emit;
use crate::service::operators;
use crate::service::operators::Caller;
use crate::service::operators::Standing;
use crate::service::talk::FORBIDDEN;
use crate::service::talk::Talk;

/// The request, and who waits for the answer.
#[derive(Debug)]
pub struct Asked {
    /// Who waits.
    pub talk: Talk,
    /// Whether the answer is wanted as JSON.
    pub json: bool,
    /// What is asked for.
    pub words: Vec<String>,
}

impl Asked {
    /// Reads the request, when whoever is there may make any; `None` when that one may not have it, and was told.
    pub async fn admit(
        mut talk: Talk,
        caller: Caller,
        standing: Standing,
    ) -> io::Result<Option<Self>> {
        let uid = caller.uid;
        if standing == Standing::Stranger {
            let why = "no operator of this service; [operators] in its configuration names them";
            emit(&Event::OrderRefused {
                uid,
                request: "",
                why,
            });
            // What it wanted is not even read: a stranger takes no place for longer than this.
            talk.say(format!("{FORBIDDEN}\nuser {uid} is {why}\n").as_bytes())
                .await?;
            return Ok(None);
        }
        let line = talk.request().await?;
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let json = words.iter().any(|word| word == "--json");
        words.retain(|word| word != "--json");
        let mut asked = Self { talk, json, words };
        if operators::only_looks(&asked.words()) {
            return Ok(Some(asked));
        }
        let request = asked.words.join(" ");
        let why = match (standing, asked.order()) {
            (Standing::Operator, Some(Order::ReloadAll)) if !caller.is_ours() => {
                "is an operator of this server only; root reloads all"
            }
            (Standing::Operator, _) => {
                emit(&Event::Ordered {
                    uid,
                    request: &request,
                });
                return Ok(Some(asked));
            }
            _ => "may look and change nothing; see [operators] in the configuration",
        };
        emit(&Event::OrderRefused {
            uid,
            request: &request,
            why,
        });
        asked
            .talk
            .say(format!("{FORBIDDEN}\nuser {uid} {why}\n").as_bytes())
            .await?;
        Ok(None)
    }

    fn words(&self) -> Vec<&str> {
        self.words.iter().map(String::as_str).collect()
    }

    /// What it orders the server as a whole, if it does.
    pub fn order(&self) -> Option<Order> {
        match self.words().as_slice() {
            ["stop"] => Some(Order::Stop),
            ["start"] => Some(Order::Start),
            ["reload"] => Some(Order::Reload),
            ["reload", "all"] => Some(Order::ReloadAll),
            _ => None,
        }
    }
}
