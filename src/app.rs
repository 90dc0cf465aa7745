//! Composition root: which actors start, in which order, and who restarts whom.
//!
//! ```text
//! hub: caretaker ── hears of failed children and of a failed book
//!   ├─ RateBook            on a thread of its own
//!   └─ Supervisor
//!        └─ ExchangeActor  one per enabled exchange, each on a thread of its own
//! Supervisor
//!   └─ Persister           stores what RateBook left in the hand-over, on threads of its own
//! Librarian                reads what is stored, on a pool of its own
//! http server              asks RateBook and Librarian by message
//! ```
//!
//! The Persister has a supervisor to itself, because a book that forgot every quote makes the exchanges begin anew and
//! nothing else, and because it ends last.
//!
//! With a broker each role has its own way through it. The role `collect` has a hub as above, of which beside the Persister
//! a publisher tells the broker; `answer` has a hub whose book is fed by a follower; `store` has a consumer that fills the
//! hand-over of the Persister. A process may have any of them.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures_util::future;
use log::{error, info, warn};
use tokio::sync::{mpsc, oneshot};

use crate::bus::Bus;
use crate::clock;
use crate::config::{ExchangeSettings, Role, Settings, UsdtUsd};
use crate::exchange::actor::{ExchangeActor, ExchangeSetup, Limits};
use crate::exchange::bans::{Bans, BansError};
use crate::exchange::dial_budget::DialBudget;
use crate::exchange::tls::{TlsError, tls_config};
use crate::exchange::{self, Access, Scope};
use crate::history::HistoryPorts;
use crate::http::{self, HttpSetup};
use crate::market::{ExchangeName, Moment};
use crate::metrics::Metrics;
use crate::persist::Storage;
use crate::rate_book::{
    BookFailed, BookSettings, BookVersion, Epoch, EventKind, GetHealth, HandOver, Life, ListedExchange,
    Newest, RateBook, RecordedEvent, ReportLife, UsdtUsdLeg,
};
use crate::simulator::{Simulator, SimulatorError, SimulatorOptions};
use crate::supervisor::{
    ChildEvent, ChildEventKind, ChildSpec, Incarnation, RestartAll, RestartPolicy, StopAll, Supervisor, Why,
};

/// Failures of the book within [`BOOK_FAILURE_WINDOW`] that are survived. At one more the process gives up, so that
/// whatever started it starts it anew: what fails so often is a defect that no restart of ours mends.
const MAX_BOOK_FAILURES: usize = 3;
const BOOK_FAILURE_WINDOW: Duration = Duration::from_secs(60);

/// Time after which somebody without a network should be told of the demo. Longer than every first attempt takes.
const NETWORK_HINT_AFTER: Duration = Duration::from_secs(20);

/// How long the HTTP server may take to finish what it has begun, and the children to end: both together stay below
/// the 15 s in which an orchestrator expects a process to be gone.
const STOP_CHILDREN_WITHIN: Duration = Duration::from_secs(3);

/// How long the end waits until everything that was accepted is stored for good, and of that for the database: what the
/// outbox has is safe, and a database that is away must not hold up the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);
const FLUSH_DATABASE_WITHIN: Duration = Duration::from_secs(2);

/// How long the end waits for the threads that store, which put their files in order as they end. What they do not manage
/// is done at the next start.
const CLOSE_FILES_WITHIN: Duration = Duration::from_secs(1);

/// How long RateBook may take to begin.
const START_WITHIN: Duration = Duration::from_secs(5);

/// Why the service could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// Somebody else listens there.
    #[error("`{address}` is in use by another program")]
    AddressInUse {
        /// Where.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`: {error}; set `listen` to an address of this machine")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The state file cannot be written.
    #[error("`state_file`: {0}")]
    PathNotWritable(#[from] BansError),
    /// The certificates of `tls_ca_file` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The book failed again and again.
    #[error(
        "the rate book failed more than {MAX_BOOK_FAILURES} times within a minute: report the panic above"
    )]
    RateBookFailed,
    /// The simulator of the demo could not start.
    #[error(transparent)]
    Simulator(#[from] SimulatorError),
}

/// Runs the service until it is told to stop (SIGTERM or SIGINT).
///
/// # Errors
/// When it cannot start, or has to give up.
pub fn serve(settings: Settings) -> Result<(), AppError> {
    run(async move { until_signal(Service::start(settings).await?).await })
}

/// Runs the service against a simulator of its own, with nothing written to disk and no network.
///
/// # Errors
/// As [`serve`].
pub fn demo(settings: Settings, seed: u64, speed: f64) -> Result<(), AppError> {
    run(async move {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = SimulatorOptions { listen: any_port, seed, speed, replay: Vec::new() };
        let simulator = Simulator::start(options).await?;
        info!("demo: every price is simulated; the exchanges are at http://{}/", simulator.address());
        let settings = simulated(settings, simulator.address());
        let result = until_signal(Service::start_with(settings, Bans::in_memory()).await?).await;
        simulator.stop().await;
        result
    })
}

/// `settings` with every exchange at a simulator's address, the database in memory, and all in this process.
fn simulated(mut settings: Settings, simulator: SocketAddr) -> Settings {
    settings.database_url = "sqlite://:memory:".to_owned();
    if settings.nats.take().is_some() {
        settings.roles = Role::ALL.to_vec();
    }
    for row in exchange::EXCHANGES {
        if let Some(exchange) = settings.exchanges.get_mut(&row.name) {
            (exchange.rest_url, exchange.ws_url) = row.served_at(simulator);
        }
    }
    settings
}

fn run(service: impl Future<Output = Result<(), AppError>>) -> Result<(), AppError> {
    System::new().block_on(service)
}

async fn until_signal(mut service: Service) -> Result<(), AppError> {
    let result = tokio::select! {
        name = signal() => {
            info!("{name}: finishing what has begun; once more ends at once");
            Ok(())
        }
        failure = service.failure() => Err(failure),
    };
    tokio::select! {
        () = service.stop() => info!("stopped"),
        name = signal() => warn!("{name} again: ending at once"),
    }
    result
}

async fn signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        error!("signals cannot be heard: only a kill ends this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// The running service.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    book: Addr<RateBook>,
    storage: Storage,
    bus: Option<Bus>,
    /// Of those who feed the books, and of those who pass on what was accepted, which end after them.
    feeders: Vec<Addr<Supervisor>>,
    keepers: Addr<Supervisor>,
    server: actix_web::dev::ServerHandle,
    failures: mpsc::Receiver<AppError>,
}

impl Service {
    /// Starts every part on the current actix system, and returns once it listens.
    ///
    /// # Errors
    /// When an address, a path or a certificate of the settings cannot be used.
    pub async fn start(settings: Settings) -> Result<Self, AppError> {
        let bans = Bans::load(&settings.state_file)?;
        Self::start_with(settings, bans).await
    }

    async fn start_with(settings: Settings, bans: Bans) -> Result<Self, AppError> {
        if let Some(simulator) = &settings.simulator {
            warn!("every exchange is the simulated one at {simulator}: prices are made up");
        }
        let listener = listen(settings.listen)?;
        let tls = tls_config(settings.tls_ca_file.as_deref())?;
        let (failed, failures) = mpsc::channel(1);

        let has = |role| settings.roles.contains(&role);
        let rules = book_settings(&settings);
        let metrics = Metrics::new();
        let stored = has(Role::Store).then(|| HandOver::new(settings.storage.every));
        let exchanges = |book: &Addr<RateBook>| match has(Role::Collect) {
            true => children(&settings, book, &tls, &bans, &metrics),
            false => Vec::new(),
        };
        let mut storage = Storage::new(&settings.database_url, settings.storage.clone(), stored.clone());
        let mut bus = Bus::new(&settings, &tls);
        let (mut hubs, mut keepers) = (Vec::new(), Vec::new());
        if let Some(bus) = &mut bus {
            if has(Role::Collect) {
                let (newest, hand_over) = (Newest::default(), HandOver::new(settings.storage.every));
                keepers.push(bus.publisher(newest.clone(), hand_over.clone()));
                let ports = BookPorts::Collecting { storage: Some(hand_over), newest: Some(newest) };
                hubs.push(Hub::start(&rules, ports, exchanges, &failed).await?);
            }
            if has(Role::Answer) {
                let follower = |book: &Addr<RateBook>| vec![bus.follower(book.clone().recipient())];
                hubs.push(Hub::start(&rules, BookPorts::Following, follower, &failed).await?);
            }
            if let Some(hand_over) = &stored {
                keepers.push(bus.consumer(hand_over.clone()));
                storage = storage.of_a_stream();
            }
        }
        if hubs.is_empty() {
            let ports = BookPorts::Collecting { storage: stored, newest: None };
            hubs.push(Hub::start(&rules, ports, exchanges, &failed).await?);
        }
        keepers.extend(storage.child());
        // The last hub is the one that answers; what happens to those who store is told to the first.
        let keepers = supervise(keepers, &hubs[0].caretaker);
        let answering = &hubs[hubs.len() - 1];
        let (book, version) = (answering.book.clone(), answering.version.clone());
        let feeders = hubs.into_iter().map(|hub| hub.feeders).collect();

        let address = listener.local_addr().unwrap_or(settings.listen);
        let librarian = storage.start_librarian(rules);
        let setup = http_setup(&settings, &book, version, librarian, bus.as_ref(), metrics);
        let server = http::serve(listener, setup).map_err(|error| AppError::Listen { address, error })?;
        let handle = server.handle();
        actix::spawn(async move {
            if let Err(error) = server.await {
                error!("http: {error}");
            }
        });
        info!("listening on http://{address}/v1/courses");
        Ok(Self { address, book, storage, bus, feeders, keepers, server: handle, failures })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The hub, for those who ask it without HTTP.
    pub fn book(&self) -> &Addr<RateBook> {
        &self.book
    }

    /// Waits for a failure that ends the service.
    pub async fn failure(&mut self) -> AppError {
        match self.failures.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Finishes the requests that have begun, ends the exchanges, and then those who store once all is stored.
    pub async fn stop(self) {
        self.server.stop(true).await;
        future::join_all(self.feeders.iter().map(stop_all)).await;
        let told = async {
            match &self.bus {
                Some(bus) => bus.flush(FLUSH_WITHIN).await,
                None => true,
            }
        };
        let (is_stored, is_told) =
            future::join(self.storage.flush(FLUSH_WITHIN, FLUSH_DATABASE_WITHIN), told).await;
        if !is_stored {
            error!("storage: not everything that was accepted could be stored in time");
        }
        if !is_told {
            error!("bus: not everything that was accepted could be told in time");
        }
        stop_all(&self.keepers).await;
        self.storage.ended(CLOSE_FILES_WITHIN).await;
    }
}

/// A book, with those who feed it and the one who looks after both.
struct Hub {
    book: Addr<RateBook>,
    version: BookVersion,
    feeders: Addr<Supervisor>,
    caretaker: Addr<Caretaker>,
}

/// Where the quotes of a book come from, and where it leaves what it accepts.
#[derive(Clone)]
enum BookPorts {
    /// From exchanges that this process listens to.
    Collecting { storage: Option<HandOver>, newest: Option<Newest> },
    /// From a stream.
    Following,
}

impl Hub {
    async fn start(
        rules: &BookSettings,
        ports: BookPorts,
        feeders: impl FnOnce(&Addr<RateBook>) -> Vec<ChildSpec>,
        failed: &mpsc::Sender<AppError>,
    ) -> Result<Self, AppError> {
        // The three know each other, so the caretaker's address is there before it begins.
        let context = Context::<Caretaker>::new();
        let caretaker = context.address();
        let version = BookVersion::default();
        let failures = caretaker.clone().recipient();
        let book = start_book(rules.clone(), version.clone(), failures, ports.clone()).await?;
        let feeders = supervise(feeders(&book), &caretaker);
        let (hand_over, is_collecting) = match ports {
            BookPorts::Collecting { storage, .. } => (storage, true),
            BookPorts::Following => (None, false),
        };
        context.run(Caretaker {
            book: book.clone(),
            feeders: feeders.clone(),
            is_collecting,
            hand_over,
            book_failures: VecDeque::new(),
            failed: failed.clone(),
        });
        Ok(Self { book, version, feeders, caretaker })
    }
}

fn supervise(children: Vec<ChildSpec>, caretaker: &Addr<Caretaker>) -> Addr<Supervisor> {
    Supervisor::new(children, RestartPolicy::default(), caretaker.clone().recipient()).start()
}

async fn stop_all(supervisor: &Addr<Supervisor>) {
    let stop = StopAll { limit: STOP_CHILDREN_WITHIN };
    // The supervisor keeps the limit; ours is for a supervisor that is stuck itself.
    let stopped = supervisor.send(stop).timeout(STOP_CHILDREN_WITHIN * 2).await;
    for name in stopped.unwrap_or_default() {
        warn!("{name}: did not end in time");
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, AppError> {
    http::listen(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => AppError::AddressInUse { address },
        _ => AppError::Listen { address, error },
    })
}

async fn start_book(
    settings: BookSettings,
    version: BookVersion,
    failures: Recipient<BookFailed>,
    ports: BookPorts,
) -> Result<Addr<RateBook>, AppError> {
    let (started, address) = oneshot::channel();
    Arbiter::new().spawn_fn(move || {
        let book = match ports {
            BookPorts::Collecting { storage, newest: None } => {
                RateBook::new(settings, version, failures, storage)
            }
            BookPorts::Collecting { storage, newest: Some(newest) } => {
                RateBook::new(settings, version, failures, storage).telling(newest)
            }
            BookPorts::Following => RateBook::new(settings, version, failures, None).following(),
        };
        // Nobody waits any more only if the start has been given up.
        drop(started.send(book.start()));
    });
    match tokio::time::timeout(START_WITHIN, address).await {
        Ok(Ok(address)) => Ok(address),
        _ => Err(AppError::RateBookFailed),
    }
}

fn book_settings(settings: &Settings) -> BookSettings {
    let listed = |(name, exchange): (&ExchangeName, &ExchangeSettings)| ListedExchange {
        name: *name,
        enabled: exchange.enabled,
        stale_after: exchange.stale_after,
        official_of: exchange::row(name.as_str()).and_then(|row| row.kind.official_of()),
    };
    BookSettings {
        directions: settings.directions.clone(),
        priority: settings.priority.clone(),
        fail_back_after: settings.fail_back_after,
        hold_reference: settings.hold_reference,
        usdt_usd: match settings.usdt_usd {
            UsdtUsd::Reference => UsdtUsdLeg::Reference,
            UsdtUsd::Peg => UsdtUsdLeg::Peg,
        },
        reference_priority: settings.reference_priority.clone(),
        fiat_priority: settings.fiat_priority.clone(),
        max_fiat_difference: settings.max_fiat_difference,
        exchanges: settings.exchanges.iter().map(listed).collect(),
    }
}

fn children(
    settings: &Settings,
    book: &Addr<RateBook>,
    tls: &Arc<rustls::ClientConfig>,
    bans: &Bans,
    metrics: &Metrics,
) -> Vec<ChildSpec> {
    let enabled = exchange::EXCHANGES.iter().filter_map(|row| {
        let exchange = settings.exchanges.get(&row.name)?;
        exchange.enabled.then_some((row, exchange))
    });
    let child = |(row, exchange): (&'static exchange::Row, &ExchangeSettings)| {
        let access = Access {
            rest_url: exchange.rest_url.clone(),
            api_key: exchange.api_key.as_ref().map(|key| key.reveal().to_owned()),
        };
        let directions = settings.directions.clone();
        let setup = ExchangeSetup {
            name: row.name,
            plugin: Arc::new(move || (row.make)(&access, Scope::Directions(directions.clone()))),
            rest_url: exchange.rest_url.clone(),
            ws_url: exchange.ws_url.clone(),
            stale_after: exchange.stale_after,
            poll_every: exchange.poll_every,
            quotes: book.clone().recipient(),
            links: book.clone().recipient(),
            listings: book.clone().recipient(),
            reconnects: book.clone().recipient(),
            tls: tls.clone(),
            bans: bans.clone(),
            budget: DialBudget::default(),
            metrics: metrics.exchanges.clone(),
            limits: Limits::default(),
        };
        ChildSpec::new(row.name.as_str(), move |incarnation| {
            let Incarnation { epoch, lifeline, progress } = incarnation;
            ExchangeActor::new(setup.clone(), Epoch(epoch), lifeline, progress).start();
        })
    };
    enabled.map(child).collect()
}

fn http_setup(
    settings: &Settings,
    book: &Addr<RateBook>,
    version: BookVersion,
    history: HistoryPorts,
    bus: Option<&Bus>,
    metrics: Metrics,
) -> HttpSetup {
    let enabled = settings.exchanges.iter().filter(|(_, exchange)| exchange.enabled);
    // Without a broker there is a book, whatever else this process does.
    let has = |role| bus.is_none() || settings.roles.contains(&role);
    HttpSetup {
        courses: book.clone().recipient(),
        version,
        answers: has(Role::Answer),
        health: (has(Role::Answer) || has(Role::Collect)).then(|| book.clone().recipient()),
        bus: bus.map(Bus::status),
        directions: settings.directions.clone().into(),
        exchanges: enabled.map(|(name, _)| *name).collect(),
        max_connections: settings.max_connections,
        cors_origins: settings.cors_origins.clone(),
        history: Some(history),
        metrics: Some(metrics),
        started_at: clock::now(),
    }
}

/// Hears of what ends, and tells those who have to know.
struct Caretaker {
    book: Addr<RateBook>,
    feeders: Addr<Supervisor>,
    /// Whether exchanges feed the book.
    is_collecting: bool,
    /// Where events are left to be stored.
    hand_over: Option<HandOver>,
    /// When the book failed lately.
    book_failures: VecDeque<Moment>,
    failed: mpsc::Sender<AppError>,
}

impl Actor for Caretaker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if !self.is_collecting {
            return;
        }
        ctx.run_later(NETWORK_HINT_AFTER, |actor, ctx| {
            let health = actor.book.send(GetHealth).timeout(START_WITHIN).into_actor(actor);
            ctx.spawn(health.map(|health, _, _| {
                let is_unheard = |health: &crate::rate_book::BookHealth| {
                    health.exchanges.iter().all(|exchange| exchange.quotes_total == 0)
                };
                if health.is_ok_and(|health| is_unheard(&health)) {
                    warn!("no exchange can be reached; `ratebook demo` needs no network");
                }
            }));
        });
    }
}

impl Caretaker {
    /// Leaves what happened to a child to be stored.
    fn record(&self, event: ChildEvent) {
        let (kind, reason) = match event.kind {
            ChildEventKind::Ended { why, .. } => (EventKind::Restart, why.as_str().to_owned()),
            ChildEventKind::Quarantined { why, length, .. } => {
                (EventKind::Quarantine, quarantined(why, length))
            }
            ChildEventKind::Started { .. } | ChildEventKind::Leaked { .. } => return,
        };
        let exchange = exchange::row(event.name).map(|row| row.name);
        let reason = if exchange.is_some() { reason } else { format!("{}: {reason}", event.name) };
        if let Some(hand_over) = &self.hand_over {
            hand_over.push_event(RecordedEvent { at: event.at.wall, kind, exchange, reason, count: 1 });
        }
    }
}

/// What is said of a child that ended too often.
fn quarantined(why: Why, length: Duration) -> String {
    format!("{} too often, left alone for {} s", why.as_str(), length.as_secs())
}

impl Handler<ChildEvent> for Caretaker {
    type Result = ();

    fn handle(&mut self, event: ChildEvent, _: &mut Self::Context) {
        self.record(event);
        // The Persister is no exchange, and the book does not depend on it.
        let Some(row) = exchange::row(event.name) else { return };
        let life = match event.kind {
            ChildEventKind::Started { epoch } => Life::Started(Epoch(epoch)),
            ChildEventKind::Ended { why, .. } => Life::Ended { detail: why.as_str().to_owned() },
            ChildEventKind::Quarantined { why, length, .. } => {
                Life::Quarantined { detail: quarantined(why, length) }
            }
            ChildEventKind::Leaked { .. } => return,
        };
        // Passes the mailbox's limit: there are few such events, and one that is lost leaves an exchange refused.
        self.book.do_send(ReportLife { exchange: row.name, at: event.at, life });
    }
}

impl Handler<BookFailed> for Caretaker {
    type Result = ();

    fn handle(&mut self, _: BookFailed, _: &mut Self::Context) {
        let now = clock::now();
        self.book_failures.push_back(now);
        self.book_failures.retain(|at| now.since(*at) <= BOOK_FAILURE_WINDOW);
        if self.book_failures.len() > MAX_BOOK_FAILURES {
            // A failure that is already on its way ends the process just as well.
            drop(self.failed.try_send(AppError::RateBookFailed));
            return;
        }
        // Everything that was told is forgotten, so it is told again.
        self.feeders.do_send(RestartAll { reason: "the rate book forgot every quote".to_owned() });
    }
}
