//! Opens a connection to a host, and sets up the client machine that talks over it.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use crate::config::model::Route;
use crate::config::model::Via;
use crate::mail::Reason;
use crate::mail::Status;
use crate::net::Stream;
use crate::net::dial::Dial;
use crate::net::random;
use crate::service::live::Out;
use crate::service::proof;
use crate::service::secure::Plan;
use crate::service::shared::Service;
use crate::service::targets::Failed;
use crate::service::targets::Target;
use crate::smtp::client::Client;
use crate::smtp::client::settings;
use crate::smtp::client::settings::Dialect;
use crate::smtp::client::settings::StartTls;
use crate::smtp::outcome::Role;

/// Connects to a host; answers the client that talks to it, and what the host is called.
pub async fn connect(
    service: &Rc<Service>,
    out: &Out,
    target: &Target,
    plan: &Plan<'_>,
) -> Result<(Stream, Client, String), Failed> {
    let login = match &out.route.login {
        // What was found in DNS gets no password.
        _ if target.role == Role::Exchanger => None,
        None => None,
        Some(login) => {
            let wanted = login.clone();
            let read = service.worker.run(move || proof::read(&wanted)).await;
            let secret = read.map_err(|why| Failed::hold(7, 8, why))?;
            Some(settings::Login {
                name: login.user.clone(),
                secret,
                only: login.only,
            })
        }
    };
    let (stream, address) = match &target.peer.socket {
        Some(path) => (socket(out, path).await?, None),
        None => {
            let (stream, address) = open(service, out, target, plan).await?;
            (stream, Some(address))
        }
    };
    let settings = dialog(&out.route, target, plan, address, login);
    let host = settings.peer.clone();
    let mut client = Client::new(settings, stream.is_tls(), nonce());
    if let Some(exporter) = stream.channel_binding() {
        client.on_exporter(exporter);
    }
    Ok((stream, client, host))
}

/// Fresh printable text for SCRAM.
pub fn nonce() -> String {
    let number = || random::number().unwrap_or(0);
    format!("{:016x}{:016x}", number(), number())
}

/// A connection to a Unix socket of this host. What is wrong with it is a matter of the setup here, or of a store that
/// starts later than we do; so it is tried again and costs no mail its time.
async fn socket(out: &Out, path: &Path) -> Result<Stream, Failed> {
    let dial = Dial {
        timeout: out.route.timeouts.connect,
        source: Vec::new(),
    };
    let failed = |fault| Failed::later(1, format!("cannot connect to {}: {fault}", path.display()));
    dial.local(path).await.map_err(failed)
}

async fn open(
    service: &Rc<Service>,
    out: &Out,
    target: &Target,
    plan: &Plan<'_>,
) -> Result<(Stream, SocketAddr), Failed> {
    let timeouts = &out.route.timeouts;
    let host = &target.peer;
    let found = if target.addresses.is_empty() {
        // A smart host whose name is gone is a slip of the pen, or a name server that lies: nothing to bounce mail for.
        let found = service.resolver.addresses(&host.name).await;
        found.map_err(|error| Failed {
            held: error.is_permanent(),
            reason: Reason::ours(Status::new(4, 4, 3), error.to_string()),
        })?
    } else {
        target.addresses.clone()
    };
    let targets: Vec<SocketAddr> = found
        .into_iter()
        .map(|ip| SocketAddr::new(ip, host.port))
        .collect();
    let dial = Dial {
        timeout: timeouts.connect,
        source: out.route.source.clone(),
    };
    let (stream, address) = dial
        .connect(&targets)
        .await
        .map_err(|error| Failed::later(1, format!("{}: {error}", host.name)))?;
    if !host.implicit_tls || plan.starttls == StartTls::Never {
        return Ok((stream, address));
    }
    let shaken = plan.client.start(stream, &host.name, timeouts.greeting);
    shaken
        .await
        .map(|stream| (stream, address))
        .map_err(|error| {
            let text = format!("{}: {error}{}", host.name, plan.because);
            if error.is_setup() {
                Failed::hold(7, 5, text)
            } else {
                Failed::later(2, text)
            }
        })
}

fn dialog(
    route: &Route,
    target: &Target,
    plan: &Plan<'_>,
    address: Option<SocketAddr>,
    login: Option<settings::Login>,
) -> settings::Settings {
    let host = &target.peer;
    let peer = match (&host.socket, address, host.name.ip()) {
        (Some(path), ..) => path.display().to_string(),
        (None, Some(address), None) => format!("{} [{}]", host.name, address.ip()),
        _ => host.name.to_string(),
    };
    let usual = talker(route, target.role, peer);
    settings::Settings {
        starttls: plan.starttls,
        proved: plan.proved,
        login_without_tls: route.login.as_ref().is_some_and(|login| login.insecure),
        login,
        messages: if plan.once { 1 } else { usual.messages },
        ..usual
    }
}

/// What every conversation of a route has.
pub fn talker(route: &Route, role: Role, peer: String) -> settings::Settings {
    settings::Settings {
        role,
        dialect: match route.via {
            Via::Lmtp => Dialect::Lmtp,
            _ if !route.ehlo => Dialect::Smtp,
            _ => Dialect::Esmtp,
        },
        messages: usize::try_from(route.messages_per_connection).unwrap_or(usize::MAX),
        timeouts: settings::Timeouts {
            greeting: route.timeouts.greeting,
            command: route.timeouts.command,
            data: route.timeouts.data,
            dot: route.timeouts.end,
            ..settings::Timeouts::default()
        },
        ..settings::Settings::new(route.helo.clone(), peer)
    }
}
