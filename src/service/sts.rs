//! The policies of MTA-STS (RFC 8461): found through DNS and fetched over HTTPS.
//!
//! A policy that is kept goes on counting when its domain's record or its server cannot be reached: else whoever can
//! block them could take TLS away (RFC 8461 s10.2). Nothing is fetched unless mail is to go there, and nothing more
//! than once in a while, so no timer runs.

use std::net::SocketAddr;
use std::time::Duration;

use crate::disk::small;
use crate::mail::Domain;
use crate::net::https::Get;
use crate::policy::sts;
use crate::policy::sts::Kept;
use crate::policy::sts::Policy;
use crate::service::event::Event;
use crate::service::log::emit;
use crate::service::policies::grows_old;
use crate::service::shared::Service;

/// The policy for mail to a domain; `None` when it has none.
pub async fn policy(service: &Service, domain: &Domain) -> Option<Policy> {
    let policies = &service.policies;
    let now = service.clock.best();
    let kept = policies.find(domain, now);
    let name = Domain::parse(&format!("_mta-sts.{}", domain.to_ascii()?)).ok()?;
    let texts = match service.resolver.txt(&name).await {
        Ok(found) => found.list,
        Err(_) => Vec::new(),
    };
    // RFC 8461 s5.1: no record does not end a policy that is kept.
    let Some(id) = sts::id(&texts) else {
        return kept.map(|kept| kept.policy);
    };
    if let Some(kept) = &kept
        && kept.id == id
        && !grows_old(kept, now)
    {
        return Some(kept.policy.clone());
    }
    if policies.rests(domain, service.now()) {
        return kept.map(|kept| kept.policy);
    }
    match fetch(service, domain).await {
        Ok(policy) => {
            let age = Duration::from_secs(u64::from(policy.max_age));
            let new = Kept {
                domain: domain.clone(),
                id: id.to_owned(),
                policy: policy.clone(),
                until: now.after(age),
            };
            emit(&Event::StsPolicy {
                domain: domain.as_str(),
                mode: policy.mode.word(),
                max_age_secs: u64::from(policy.max_age),
            });
            save(service, policies.keep(new, now)).await;
            Some(policy)
        }
        Err(why) => {
            policies.failed(domain, service.now());
            emit(&Event::StsFailed {
                domain: domain.as_str(),
                why: &why,
                kept: kept.is_some(),
            });
            kept.map(|kept| kept.policy)
        }
    }
}

async fn fetch(service: &Service, domain: &Domain) -> Result<Policy, String> {
    let live = service.live();
    let settings = &live.config.sts;
    let ascii = domain.to_ascii().ok_or("its name is too long")?;
    let host = Domain::parse(&format!("mta-sts.{ascii}")).map_err(|error| error.to_string())?;
    let found = service.resolver.addresses(&host).await;
    let found = found.map_err(|error| error.to_string())?;
    let addresses = found.into_iter();
    let addresses: Vec<SocketAddr> = addresses
        .map(|ip| SocketAddr::new(ip, settings.port))
        .collect();
    let get = Get {
        host: &host,
        addresses: &addresses,
        path: "/.well-known/mta-sts.txt",
        wait: settings.timeout,
    };
    let response = get.fetch(&live.sts_tls).await;
    let response = response.map_err(|error| format!("https://{host}: {error}"))?;
    if response.status != 200 {
        // RFC 8461 s3.3: redirects are not followed.
        return Err(format!("https://{host} answers {}", response.status));
    }
    if response.media != "text/plain" {
        return Err(format!(
            "https://{host} shows something else than plain text"
        ));
    }
    let policy = Policy::parse(&response.body);
    policy.map_err(|bad| format!("the policy at https://{host} cannot be used: {bad}"))
}

/// Writes the file; that it cannot be written costs a fetch after the next start.
async fn save(service: &Service, text: String) {
    let file = service.policies.file();
    let job = move || small::replace(&file, &text);
    if let Err(error) = service.worker.run(job).await {
        emit(&Event::Trouble {
            what: "mta-sts",
            why: &error.to_string(),
        });
    }
}
