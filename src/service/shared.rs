//! What the tasks of one virtual server share, and what may be done to it as a whole: schedule, retry, reload.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smol::channel::Sender;

use crate::base::MsgId;
use crate::base::Tick;
use crate::base::limits;
use crate::config::Config;
use crate::config::endpoint::At;
use crate::disk::body::Stored;
use crate::disk::folders::Folders;
use crate::disk::handle::Journal;
use crate::disk::worker::Worker;
use crate::mail::Domain;
use crate::mail::Envelope;
use crate::mail::Recipient;
use crate::net::Resolver;
use crate::net::TrustedClock;
use crate::net::clock;
use crate::net::local;
use crate::net::random;
use crate::net::tls::Tls;
use crate::policy::guard::Guard;
use crate::policy::guard::Rates;
use crate::policy::guard::Triggers;
use crate::policy::route::Next;
use crate::queue::Progress;
use crate::queue::Stage;
use crate::queue::schedule::Waiting;
use crate::service::active::Active;
use crate::service::active::Left;
use crate::service::ageing::Ageing;
use crate::service::clients::Clients;
#[cfg(feature = "ldap")]
use crate::service::directory::Reach;
use crate::service::envelopes::Envelopes;
use crate::service::event::Event;
use crate::service::line::Ordered;
use crate::service::line::Read;
use crate::service::live;
use crate::service::live::Live;
use crate::service::log;
use crate::service::log::emit;
use crate::service::logs::pump;
use crate::service::operators;
use crate::service::policies::Policies;
use crate::service::privileges;
use crate::service::signal::Ending;
use crate::service::signal::Pause;
use crate::service::signal::Wake;
use crate::service::tasks::Tasks;
use crate::service::ways::Ways;

/// What has happened since the start; the numbers wrap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Messages made durable.
    pub accepted: u32,
    /// Messages that were not.
    pub refused: u32,
    /// Recipients delivered to.
    pub delivered: u32,
    /// Recipients to be tried again.
    pub deferred: u32,
    /// Recipients given up.
    pub failed: u32,
}

/// What the tasks of one virtual server share.
pub struct Service {
    /// The configuration at work; ask [`Service::live`].
    pub(super) live: RefCell<Rc<Live>>,
    /// Reads it again.
    pub(super) reread: Read,
    /// The queue.
    pub journal: Journal,
    /// The one thread for file work.
    pub worker: Worker,
    /// Where everything stands.
    pub folders: Folders,
    /// Names to addresses.
    pub resolver: Resolver,
    /// Clients' addresses to names. What strangers make us ask for pushes nothing out of the other's cache.
    pub reverse: Resolver,
    /// What all TLS shares.
    pub tls: Rc<Tls>,
    /// The wall clock, as far as it is believed.
    pub clock: Arc<TrustedClock>,
    /// What waits where.
    pub ways: RefCell<Ways>,
    /// What is being tried.
    pub active: RefCell<Active>,
    /// While messages are put on the ways of new routes: which ones were put there since those count.
    pub rerouted: RefCell<Option<BTreeSet<MsgId>>>,
    /// What clients send is read to here and copied, so that a connection holds no memory while nothing comes.
    pub desk: RefCell<Box<[u8]>>,
    /// What the recipients of messages on their way in take.
    pub envelopes: Envelopes,
    /// Who is connected.
    pub clients: Rc<Clients>,
    /// Whose logins have failed.
    pub guard: RefCell<Guard>,
    /// Which queues were started from outside.
    pub triggers: RefCell<Triggers>,
    /// Who has sent how much in the last minute.
    pub rates: RefCell<Rates>,
    /// What has happened.
    pub counts: Cell<Counts>,
    /// The drop folders, in the order of their numbers.
    pub drops: RefCell<Vec<live::Drop>>,
    /// Claimed pickup files that the queue would not take; while there are any no more are claimed.
    pub parked: Cell<usize>,
    /// Rung when something may be due.
    pub due: Wake,
    /// Rung when what is in memory first may have to be written.
    pub memory: Wake,
    /// Before this tick nothing is in memory first.
    pub memory_rests: Cell<Tick>,
    /// Rung when a way may have gone down or become well.
    pub health: Wake,
    /// Rung when a session in or out has ended.
    pub idle: Wake,
    /// Begins when the service is to end.
    pub ending: Ending,
    /// While it is on nothing new comes in by the listeners or the pickup folder. It outlives a reload, not a stop.
    pub pause: Pause,
    /// Where tasks live.
    pub tasks: Tasks,
    /// The way to order the server as a whole.
    pub own: Sender<Ordered>,
    /// Where SMTP is spoken.
    pub listening: RefCell<Vec<SocketAddr>>,
    /// When the service started.
    pub started: Tick,
    /// How long the home has been run in all.
    pub ageing: Ageing,
    /// What domains say about TLS to their exchangers.
    pub policies: Policies,
}

impl Service {
    /// The configuration at work now. Hold it for one message or one connection, not longer.
    pub fn live(&self) -> Rc<Live> {
        Rc::clone(&self.live.borrow())
    }

    /// Now, for waits.
    pub fn now(&self) -> Tick {
        clock::tick()
    }

    /// What a directory is asked with.
    #[cfg(feature = "ldap")]
    pub fn reach(&self) -> Reach<'_> {
        Reach {
            resolver: &self.resolver,
            worker: &self.worker,
            now: self.now(),
        }
    }

    /// How long the home has been run in all: what messages age by.
    pub fn running(&self) -> Duration {
        self.ageing.running(self.now())
    }

    /// How long a message has been in the queue, in running time, over all restarts.
    pub fn age(&self, stored: &Stored) -> Duration {
        let known = stored.progress.as_ref().map_or(Duration::ZERO, |p| p.age);
        let came = stored.accept.running;
        if came.is_zero() {
            return known;
        }
        known.max(self.running().saturating_sub(came))
    }

    /// Notes the time in the journal now and then, and says when the clock turns out wrong or right. To be called when
    /// something happens to a message anyway.
    pub fn watch_clock(&self) {
        let believed = self.clock.believed();
        let floor = self.clock.floor();
        if self.ageing.is_news(believed.is_none()) {
            let (reads, known) = (&self.clock.raw().to_string(), &floor.to_string());
            emit(&match believed {
                None => Event::ClockWrong { reads, known },
                Some(_) => Event::ClockRight { reads },
            });
        }
        if self.ageing.is_due(self.now()) {
            self.journal
                .clock(believed.unwrap_or(floor), self.running());
        }
    }

    /// The ways of these recipients, each once; of a message that the directory is to be asked about or not.
    fn ways_of<'a>(
        &self,
        live: &Live,
        pending: bool,
        recipients: impl Iterator<Item = &'a Recipient>,
    ) -> Vec<(Next, &'a Domain)> {
        let (mut ways, mut seen) = (Vec::new(), BTreeSet::new());
        for recipient in recipients {
            let domain = recipient.destination();
            let next = live.way(pending, recipient);
            // Nearly always there is one way, and the set is for those who send to many.
            let first = ways.is_empty();
            if ways.last().is_some_and(|(last, _)| *last == next) {
                continue;
            }
            if seen.is_empty() {
                seen.extend(ways.last().map(|(last, _)| *last));
            }
            if first || seen.insert(next) {
                ways.push((next, domain));
            }
        }
        ways
    }

    /// The ways on which a message with this envelope goes out; `None` when it would begin more ways than there may
    /// be, unless it `must`.
    pub fn routed(&self, envelope: &Envelope, must: bool) -> Option<Vec<Next>> {
        let named = {
            let live = self.live();
            let pending = live.is_pending(envelope);
            self.ways_of(&live, pending, envelope.recipients.iter())
        };
        let ways: Vec<Next> = named.iter().map(|(next, _)| *next).collect();
        let mut all = self.ways.borrow_mut();
        if !must && !all.have_room(&ways) {
            return None;
        }
        for (next, domain) in named {
            if next.is_own() {
                all.call(next, domain);
            }
        }
        Some(ways)
    }

    /// A way as it is called in logs and commands.
    pub fn way_name(&self, next: Next) -> String {
        self.live().name(next, self.ways.borrow().domain(next))
    }

    /// Whether a host with this name and these addresses is this server, as seen from the port that mail exchangers
    /// are asked on.
    pub fn is_us(&self, host: &Domain, addresses: &[IpAddr], port: u16) -> bool {
        let live = self.live();
        if *host == live.config.hostname {
            return true;
        }
        let listening = self.listening.borrow();
        addresses.iter().any(|ip| {
            let heard =
                |at: &SocketAddr| at.port() == port && (at.ip() == *ip || at.ip().is_unspecified());
            listening.iter().any(heard) && local::is_ours(*ip)
        })
    }

    /// Lets the mail of a domain go now, as ETRN asks: what is held for it, or what waits for its next try; with
    /// `below` also that of all domains below it (RFC 1985 s5.3). Answers how many messages that are.
    pub fn release(&self, domain: &Domain, below: bool) -> usize {
        let next = self.live().next(domain);
        let mut ways = self.ways.borrow_mut();
        // On a way that is no domain's own others wait, too, and a stranger must not hurry them.
        let mut all: Vec<Next> = Some(next)
            .into_iter()
            .filter(|next| next.is_own())
            .collect();
        if below {
            all.extend(ways.below(domain));
        }
        let now = self.now();
        let count = all.into_iter().map(|next| ways.release(next, now)).sum();
        drop(ways);
        self.due.ring();
        count
    }

    /// How many messages are held for a domain; `None` when nothing is ever held for it.
    pub fn held(&self, domain: &Domain) -> Option<usize> {
        let next = self.live().next(domain);
        next.is_held().then(|| self.ways.borrow().len(next))
    }

    /// Ends work on a message. Answers whether it may go back on the way that it was taken from: not when the operator
    /// holds it, nor when the routes have changed meanwhile; then the last one to leave it puts it on its ways anew.
    pub fn leave(self: &Rc<Self>, id: MsgId) -> bool {
        let left = self.active.borrow_mut().leave(id);
        if left == Left::Last {
            let service = Rc::clone(self);
            // Gone meanwhile, or damaged: whoever tries it next finds out and says so.
            let anew = async move {
                let _ = service.schedule_loaded(id).await;
            };
            self.tasks.spawn(anew).detach();
        }
        left == Left::Usual && !self.journal.is_held(id)
    }

    /// Puts a message that was just accepted, and is in the hands of whoever took it, on its ways.
    pub fn schedule(self: &Rc<Self>, id: MsgId, ways: &[Next]) {
        if self.leave(id) {
            self.schedule_on(id, ways.iter().copied(), self.now(), Duration::ZERO);
        }
        self.due.ring();
        self.watch_clock();
    }

    /// When a message of this age is given up that is put on a way now, or back on it after a fault of the setup.
    ///
    /// Whose time was up before was kept by such a fault, for nothing else keeps it; it is not to be paid for with mail
    /// (promise G3), so it is tried for a while.
    pub fn expires(&self, next: Next, age: Duration) -> Tick {
        let expire = self.live().expire(next);
        let left = expire.checked_sub(age).filter(|left| !left.is_zero());
        self.now()
            .after(left.unwrap_or_else(|| expire.min(limits::MENDED)))
    }

    /// Gives all that waits on a way time to be tried: its setup was at fault, and is not any more.
    pub fn spare(&self, next: Next) {
        let time = self.live().expire(next).min(limits::MENDED);
        let until = self.now().after(time);
        self.ways.borrow_mut().spare(next, until);
    }

    /// Puts a message on these ways. `age` is the running time it has spent in the queue.
    fn schedule_on(&self, id: MsgId, ways: impl Iterator<Item = Next>, due: Tick, age: Duration) {
        if let Some(rerouted) = self.rerouted.borrow_mut().as_mut() {
            rerouted.insert(id);
        }
        let mut all = self.ways.borrow_mut();
        for way in ways {
            let waiting = Waiting {
                due,
                id,
                expires: self.expires(way, age),
            };
            all.add(way, waiting);
        }
    }

    /// Puts a queued message that is in nobody's hands on its ways again, unless it is held: after a release, or when the
    /// routes have changed.
    pub async fn schedule_loaded(&self, id: MsgId) -> Result<(), String> {
        loop {
            self.active.borrow_mut().enter(id);
            let loaded = self.journal.load(id).await;
            let left = self.active.borrow_mut().leave(id);
            if left == Left::Last {
                // The routes have changed once more.
                continue;
            }
            let message = loaded.map_err(|error| error.to_string())?;
            if left == Left::Usual && !self.journal.is_held(id) {
                self.schedule_stored(id, &message.stored);
            }
            return Ok(());
        }
    }

    /// The same, for one that is read already.
    pub fn schedule_stored(&self, id: MsgId, stored: &Stored) {
        let envelope = &stored.accept.envelope;
        let age = self.age(stored);
        let recipients = waiting(envelope, stored.progress.as_ref())
            .into_iter()
            .filter_map(|at| envelope.recipients.get(at));
        let live = self.live();
        let ways = self.ways_of(&live, live.is_pending(envelope), recipients);
        for (next, domain) in &ways {
            if next.is_own() {
                self.ways.borrow_mut().call(*next, domain);
            }
        }
        let ways = ways.into_iter().map(|(next, _)| next);
        self.schedule_on(id, ways, self.now(), age);
        self.due.ring();
    }

    /// Tries everything now.
    pub fn retry_all(&self) {
        self.resolver.forget();
        self.policies.forget_failures();
        self.ways.borrow_mut().hurry(self.now());
        self.due.ring();
    }

    /// The network is there again: tries what is down, after a wait that keeps many boxes apart.
    pub fn network_back(&self) {
        self.resolver.forget();
        self.policies.forget_failures();
        let chance = random::chance();
        let wait = self.ways.borrow_mut().on_network(self.now(), chance);
        if let Some(wait) = wait {
            emit(&Event::NetworkBack {
                wait_secs: wait.as_secs(),
            });
            self.due.ring();
        }
    }

    /// Tries one message now. False when it waits nowhere, or only until it is fetched.
    pub fn retry_one(&self, id: MsgId) -> bool {
        let found = self.ways.borrow_mut().hurry_one(id, self.now());
        self.due.ring();
        found
    }

    /// Does what the log needs done.
    pub fn bring_log(&self) {
        let names = live::names(&self.live().config);
        pump::start(&self.tasks, &self.worker, &self.clock, &names);
    }

    /// Reads the configuration again and puts it to work, or keeps the old one and says why. Listeners and folders
    /// stay as they are; what needs a restart is said.
    pub fn reload(self: &Rc<Self>) -> Result<(), String> {
        let config = match (self.reread)() {
            Ok(config) => config,
            Err(why) => {
                emit(&Event::ReloadRefused { why: &why });
                return Err(why);
            }
        };
        let old = self.live();
        let addresses = |config: &Config| -> Vec<At> {
            let each = config.listen.iter();
            each.map(|listen| listen.address.clone()).collect()
        };
        let fixed = [
            ("home", config.home == old.config.home),
            ("user", config.user == old.config.user),
            ("group", config.group == old.config.group),
            (
                "listen.address",
                addresses(&config) == addresses(&old.config),
            ),
            ("local.drop", config.local.drop == old.config.local.drop),
            ("control.socket", config.control == old.config.control),
        ];
        if let Some((key, _)) = fixed.iter().find(|(_, same)| !same) {
            let why = format!("{key} cannot change while the service runs; restart it");
            emit(&Event::ReloadRefused { why: &why });
            return Err(why);
        }
        let live = Live::new(config.clone(), &self.tls).inspect_err(|why| {
            emit(&Event::ReloadRefused { why });
        })?;
        let drops = live::drop_folders(&config, &self.folders).inspect_err(|why| {
            emit(&Event::ReloadRefused { why });
        })?;
        *self.drops.borrow_mut() = drops;
        log::start(&config);
        pump::start(
            &self.tasks,
            &self.worker,
            &self.clock,
            &live::names(&config),
        );
        self.tls.forget_roots();
        self.resolver.apply(live::names(&config));
        self.policies.forget_failures();
        self.clock.hold(config.clock_floor);
        if config.delivery.memory_first.is_none() {
            self.journal.hurry_memory();
            self.memory.ring();
        }
        self.reverse.forget();
        if let Err(error) = operators::guard(&config.control.socket, &config.operators) {
            let why = error.to_string();
            emit(&Event::Trouble {
                what: "control",
                why: &why,
            });
        }
        self.live.replace(live);
        privileges::tell_old(&self.live().config);
        // All at once: what is on a way from now on is there by the new routes, and what is in somebody's hands will be.
        self.ways.borrow_mut().clear();
        self.active.borrow_mut().reroute_all();
        self.rerouted.replace(Some(BTreeSet::new()));
        emit(&Event::Reloaded);
        let service = Rc::clone(self);
        self.tasks
            .spawn(async move { service.reroute().await })
            .detach();
        Ok(())
    }

    /// Puts every queued message on the ways of the new routing table, due now.
    async fn reroute(self: Rc<Self>) {
        let live = self.live();
        let mut after = None;
        while let Some(id) = self.journal.after(after) {
            after = Some(id);
            if !Rc::ptr_eq(&live, &self.live()) {
                // Another reload does it all over again.
                return;
            }
            let there = (self.rerouted.borrow().as_ref()).is_some_and(|all| all.contains(&id));
            if there || self.active.borrow().contains(id) || self.journal.is_held(id) {
                // What is in somebody's hands is put on its ways when it is let go.
                continue;
            }
            // Gone meanwhile, or damaged: whoever tries it next finds out and says so.
            let _ = self.schedule_loaded(id).await;
        }
        if Rc::ptr_eq(&live, &self.live()) {
            self.rerouted.replace(None);
        }
    }
}

/// Who still waits.
pub fn waiting(envelope: &Envelope, progress: Option<&Progress>) -> Vec<usize> {
    let waits = |at: &usize| progress.is_none_or(|p| p.stage(*at) == Stage::Waiting);
    (0..envelope.recipients.len()).filter(waits).collect()
}
