//! The directory at work: who gets the mail for an address, and whether a password is somebody's.
//!
//! What an address has become is remembered for a while; a reload makes a new one of these, so it forgets. Nothing here
//! decides about mail: [`crate::service::resolving`] does.

use std::cell::RefCell;
use std::rc::Rc;

use smol::lock::Semaphore;

use crate::base::Tick;
use crate::base::limits;
use crate::config::model;
use crate::config::model::Bind;
use crate::disk::worker::Worker;
use crate::ldap::cache::Cache;
use crate::ldap::expand;
use crate::ldap::expand::Expander;
use crate::ldap::expand::Resolution;
use crate::ldap::expand::Step;
use crate::ldap::message;
use crate::ldap::message::Request;
use crate::ldap::message::Scope;
use crate::ldap::message::Search;
use crate::mail::Address;
use crate::mail::Domain;
use crate::net::Resolver;
use crate::net::ldap::Access;
use crate::net::ldap::Connection;
use crate::net::ldap::Failure;
use crate::net::random;
use crate::net::tls;
use crate::net::tls::Identity;
use crate::net::tls::Trust;
use crate::service::event::Event;
use crate::service::log::emit;
use crate::service::proof;
use crate::smtp::client::settings::Secret;

/// What a directory needs of the service for one question.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    /// Names to addresses.
    pub resolver: &'a Resolver,
    /// Reads the password.
    pub worker: &'a Worker,
    /// Now.
    pub now: Tick,
}

/// A directory at work.
#[derive(Debug)]
pub struct Directory {
    /// Its settings.
    pub config: model::Directory,
    tls: tls::Client,
    cache: RefCell<Cache>,
    /// Logins that may ask at the same time.
    logins: Semaphore,
}

impl Directory {
    /// Puts settings to work; nothing is read or connected yet.
    pub fn new(config: model::Directory, tls: &Rc<tls::Tls>) -> Self {
        let trust = config.ca.clone().map_or(Trust::Roots, Trust::CaFile);
        let identity = config.identity.clone();
        let identity = identity.map(|(chain, key)| Identity { chain, key });
        Self {
            tls: tls.client(trust, identity),
            cache: RefCell::default(),
            logins: Semaphore::new(limits::LDAP_LOGINS),
            config,
        }
    }

    /// Whether recipients in this domain are looked up.
    pub fn resolves(&self, domain: &Domain) -> bool {
        self.config.rules.domains.contains(domain)
    }

    /// A connection to the first server that can be asked.
    async fn connect(&self, reach: Reach<'_>) -> Result<Connection, Failure> {
        let mut last = Failure::setup("no server is named");
        for server in &self.config.servers {
            let access = Access {
                resolver: reach.resolver,
                tls: &self.tls,
                port: self.config.port,
                start_tls: self.config.start_tls,
                wait: self.config.timeout,
            };
            let mut connection = match Connection::open(access, server).await {
                Ok(connection) => connection,
                Err(failure) => {
                    last = failure;
                    continue;
                }
            };
            match self.bind(reach, &mut connection).await {
                Ok(()) => return Ok(connection),
                // Another server would get the same password: one login for each step of the waits (promise G3).
                Err(failure) if failure.setup => return Err(failure),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn bind(&self, reach: Reach<'_>, connection: &mut Connection) -> Result<(), Failure> {
        let answer = match &self.config.bind {
            Bind::Anonymous => connection.ask(&Request::Anonymous).await?,
            Bind::External => connection.ask(&Request::External).await?,
            Bind::Simple(login) => {
                self.may_say_passwords(connection)?;
                let wanted = login.clone();
                // Read each time, so that a new password counts at once.
                let read = reach.worker.run(move || proof::read(&wanted)).await;
                let Secret::Password(password) = read.map_err(Failure::setup)? else {
                    return Err(Failure::setup("there is no password"));
                };
                let request = Request::Simple {
                    name: &login.user,
                    password: &password,
                };
                connection.ask(&request).await?
            }
        };
        if answer.outcome.code == message::SUCCESS {
            return Ok(());
        }
        let what = format!("{}: bind", connection.server);
        Err(Failure::refused(&what, &answer.outcome))
    }

    /// Passwords do not go where others can read them, unless the owner says so (promise G5).
    fn may_say_passwords(&self, connection: &Connection) -> Result<(), Failure> {
        if connection.is_clear() && !self.config.insecure {
            return Err(Failure::setup(format_args!(
                "{}: passwords would cross the network without TLS (directory.insecure_auth)",
                connection.server
            )));
        }
        Ok(())
    }

    /// What becomes of an address. The connection is opened when it is needed, and again when it has ended meanwhile.
    pub async fn resolve(
        &self,
        reach: Reach<'_>,
        connection: &mut Option<Connection>,
        address: &Address,
    ) -> Result<Resolution, Failure> {
        if let Some(found) = self.cache.borrow().find(address, reach.now) {
            return Ok(found.clone());
        }
        let used = connection.is_some();
        let mut found = self.expand(reach, connection, address).await;
        if used && found.as_ref().is_err_and(|failure| failure.ended) {
            found = self.expand(reach, connection, address).await;
        }
        let found = found?;
        if let Resolution::Known { missing, .. } = &found
            && !missing.is_empty()
        {
            emit(&Event::MembersMissing {
                group: &address.to_string(),
                members: &missing.join("; "),
            });
        }
        if let Some(wait) = self.config.cache_time {
            let (now, most) = (reach.now, self.config.cache_entries);
            let mut cache = self.cache.borrow_mut();
            cache.keep(address, &found, now, wait, most);
        }
        Ok(found)
    }

    async fn expand(
        &self,
        reach: Reach<'_>,
        connection: &mut Option<Connection>,
        address: &Address,
    ) -> Result<Resolution, Failure> {
        let mut expander = Expander::new(&self.config.rules, address);
        loop {
            let search = match expander.next_step() {
                Step::Done(found) => return Ok(found),
                Step::Search(search) => search,
            };
            let mut open = match connection.take() {
                Some(open) => open,
                None => self.connect(reach).await?,
            };
            let answer = open.ask(&Request::Search(&search)).await?;
            expander
                .on_found(&answer.outcome, answer.entries)
                .map_err(|outcome| {
                    let what = format!("{}: search below {}", open.server, search.base);
                    Failure::refused(&what, &outcome)
                })?;
            *connection = Some(open);
        }
    }

    /// Whether this is the password of the one user who logs in with this name. An error is a directory that cannot be
    /// asked now.
    ///
    /// The name goes into a filter as a value, so nothing in it is syntax. Whether it exists shows neither in the answer
    /// nor in the number of questions: for one that does not, an entry that is not there is tried.
    pub async fn check(
        &self,
        reach: Reach<'_>,
        name: &str,
        password: &str,
    ) -> Result<bool, Failure> {
        // RFC 4513 s5.1.2: to many servers a bind without a password is nobody's, and good.
        if name.is_empty() || password.is_empty() {
            return Ok(false);
        }
        let _turn = self.logins.acquire().await;
        let mut connection = self.connect(reach).await?;
        self.may_say_passwords(&connection)?;
        let rules = &self.config.rules;
        let search = Search {
            base: rules.base.clone(),
            scope: Scope::Subtree,
            filter: expand::by_login(&rules.schema, name),
            // RFC 4511 s4.5.1.8: no attributes at all.
            attributes: vec![String::from("1.1")],
            most: 2,
        };
        let answer = connection.ask(&Request::Search(&search)).await?;
        let dn = match (answer.outcome.code, answer.entries.as_slice()) {
            (message::SUCCESS, [one]) => Some(one.dn.as_str()),
            // Nobody, or more than one: the password of none of them counts.
            (message::SUCCESS | message::SIZE_LIMIT, _) => None,
            _ => {
                let what = format!("{}: search below {}", connection.server, rules.base);
                return Err(Failure::refused(&what, &answer.outcome));
            }
        };
        let found = dn.is_some_and(|dn| !dn.is_empty());
        let nobody = || format!("cn={:016x},{}", random::number().unwrap_or(0), rules.base);
        let dn = dn.filter(|_| found).map_or_else(nobody, str::to_owned);
        let request = Request::Simple {
            name: &dn,
            password,
        };
        let outcome = connection.ask(&request).await?.outcome;
        let server = connection.server.clone();
        connection.close().await;
        // 53, unwilling to perform, is how servers say that this account may not, or not now.
        if outcome.may_pass() && outcome.code != message::UNWILLING {
            return Err(Failure::refused(&format!("{server}: bind"), &outcome));
        }
        Ok(found && outcome.code == message::SUCCESS)
    }
}
