//! Rows about connections: what an exchange's sockets and requests may do, and that clients do not feel it.
//!
//! Each is tried on Binance and on one exchange of every other family of wire protocol; `--full` tries it on all. Where a
//! row looks at what is done to an exchange, and not at who answers, all of them are tried together in one site.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use ratebook::exchange::{EXCHANGES, Kind};
use serde_json::Value;

use crate::relay::Relay;
use crate::row::{Figures, Options, Row, message, ms};
use crate::site::{Control, Plan};

mod bans;
mod certificates;
mod corpus;
mod dials;
mod ends;
mod lives;
mod names;
mod pace;
mod polls;
mod rubbish;
mod silence;
mod sizes;
mod subscriptions;

/// One of each family of wire protocol: plain JSON, JSON with the protocol's own heartbeats, packed frames with pings
/// of the server, and a hand-shake over REST before the dial.
pub(crate) const FAMILIES: [&str; 4] = ["binance", "kraken", "htx", "kucoin"];

/// Exchanges that are tried at the same time.
const LANES: usize = 4;

/// What clients ask.
const PATH: &str = "/v1/courses?directions=BTC-USDT,ETH-USDT";

pub(crate) fn rows() -> Vec<Row> {
    let row = |id, claim, run: fn(&Options) -> Figures| Row { id, claim, run };
    vec![
        row("C-01", "a socket that is closed is not felt, nor an exchange that is gone", ends::closed),
        row("C-02", "a socket that is reset in the middle of a frame is not felt", ends::reset),
        row("C-03", "a socket on which nothing comes any more is replaced in time", silence::half_open),
        row("C-04", "a socket that lives and says no price is found out by its data", silence::mute),
        row("C-05", "pings are answered in time, however much comes beside them", lives::pinged),
        row("C-06", "a socket is replaced before its exchange ends it", lives::aged),
        row("C-07", "an exchange that says it is going to close is left before it does", lives::announced),
        row("C-08", "an exchange that refuses is dialled seldom", dials::refused),
        row(
            "C-09",
            "an exchange that hangs up at once is dialled seldom, also across a restart",
            dials::flapping,
        ),
        row(
            "C-10",
            "a subscription that is not acknowledged is asked for once more",
            subscriptions::unanswered,
        ),
        row("C-11", "a subscription that is refused leaves the socket alone", subscriptions::refused),
        row("C-12", "an exchange with a bad certificate is never heard", certificates::bad),
        row("C-13", "a connection that is accepted and not answered is given up in time", silence::stalled),
        row("C-14", "a name that is not resolved keeps nobody else waiting", names::unresolved),
        row("C-15", "a byte a second is as good as nothing", silence::dripping),
        row("C-15.2", "over slow links nothing is told that is older than it says", pace::slow_links),
        row("C-16", "frames and messages that are too big are refused before they are kept", sizes::frames),
        row("C-17", "little that unpacks to much is refused before it is unpacked", sizes::bombs),
        row("C-18", "what is malformed is no price and no end of the socket", rubbish::malformed),
        row("C-19", "what is no text is no price, and leaves the log readable", rubbish::unprintable),
        row("C-20", "an exchange that asks for a pause gets it", bans::paused),
        row("C-21", "a ban outlives the process", bans::banned),
        row("C-23", "an exchange that fails is only probed", polls::storm),
        row("C-24", "nobody is followed to another host", polls::redirected),
        row("C-25", "an upgrade that is refused is understood by its status", bans::refused_upgrades),
        row("C-26", "a flood of frames delays nobody else", pace::flood),
        row("C-27", "a price that comes late is as old as it is", pace::delayed),
        row("C-28", "without any exchange nothing is told, and all of it again soon after", ends::gone),
        row("C-29", "requests wait for the one before them, and do not come in a burst", polls::stalled),
    ]
}

/// The markets on which a row is tried.
fn markets(options: &Options) -> Vec<&'static str> {
    let mut markets = all_markets();
    if options.exchanges.is_empty() {
        return if options.full { markets } else { FAMILIES.to_vec() };
    }
    let unknown = options.exchanges.iter().find(|name| !markets.contains(&name.as_str()));
    assert!(unknown.is_none(), "no market {unknown:?}, there are {markets:?}");
    markets.retain(|market| options.exchanges.iter().any(|name| name == market));
    markets
}

fn all_markets() -> Vec<&'static str> {
    let markets = EXCHANGES.iter().filter(|row| matches!(row.kind, Kind::Market));
    markets.map(|row| row.name.as_str()).collect()
}

/// A market that is well beside one that is not.
fn peer_of(exchange: &str) -> &'static str {
    if exchange == "okx" { "bybit" } else { "okx" }
}

/// The simulator's seconds in one of ours where sockets live for long. At its usual sixty some wait for a ping for less than
/// the time between two of ours.
const SPEED: u32 = 5;

/// A site whose first exchange is the one on trial; another market, an aggregator and a bank stand behind it.
fn site_of(exchange: &'static str, options: &Options) -> Plan {
    Plan::of(&[exchange, peer_of(exchange), "coingecko", "cbr"], options.seed)
}

/// Tries a row on some exchanges at a time.
fn on_each(
    exchanges: Vec<&'static str>,
    options: &Options,
    run: impl Fn(&'static str, &Options) -> Figures + Sync,
) -> Figures {
    let (waiting, done) = (Mutex::new(exchanges.iter()), Mutex::new(Vec::new()));
    let work = || {
        let next = || waiting.lock().unwrap().next();
        while let Some(exchange) = next() {
            let ran = catch_unwind(AssertUnwindSafe(|| run(exchange, options)));
            let broke_off =
                |panic: Box<dyn Any + Send>| Figures::failed(format!("{exchange}: {}", message(&*panic)));
            done.lock().unwrap().push((*exchange, ran.unwrap_or_else(broke_off)));
        }
    };
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(exchange, _)| exchanges.iter().position(|other| other == exchange));
    let figures = done.into_iter().map(|(_, figures)| figures).reduce(Figures::with);
    figures.unwrap_or_else(|| Figures::failed("none of these exchanges is tried in this row".to_owned()))
}

/// Markets that are on trial together, and one beside them that stays well.
struct Crowd {
    tried: Vec<&'static str>,
    well: &'static str,
}

impl Crowd {
    /// Crowds in which every market of a row is tried once.
    fn all(options: &Options) -> Vec<Self> {
        let markets = markets(options);
        let well = peer_of(FAMILIES[0]);
        let (last, tried): (Vec<_>, Vec<_>) = markets.into_iter().partition(|market| *market == well);
        let crowds = [Self { tried, well }, Self { tried: last, well: peer_of(well) }];
        crowds.into_iter().filter(|crowd| !crowd.tried.is_empty()).collect()
    }

    /// Their site: those on trial come first.
    fn plan(&self, options: &Options) -> Plan {
        let others = [self.well, "coingecko", "cbr"];
        Plan::of(&[self.tried.as_slice(), &others].concat(), options.seed)
    }

    /// The same, with all that are on trial behind a relay.
    fn plan_through(&self, relay: &Relay, options: &Options) -> Plan {
        self.through(relay, self.plan(options))
    }

    /// Where sockets live for long. Without the aggregator, whose answers come too seldom then.
    fn slow_plan(&self, options: &Options) -> Plan {
        let others = [self.well, "cbr"];
        Plan::of(&[self.tried.as_slice(), &others].concat(), options.seed).with_simulator_speed(SPEED)
    }

    fn through(&self, relay: &Relay, plan: Plan) -> Plan {
        self.tried.iter().fold(plan, |plan, exchange| plan.through(exchange, relay))
    }

    fn break_all(&self, control: Control, fault: &Value) {
        self.tried.iter().for_each(|exchange| control.break_exchange(exchange, fault));
    }

    fn mend_all(&self, control: Control) {
        self.tried.iter().for_each(|exchange| control.mend(exchange));
    }
}

/// Tries a row on every crowd.
fn on_crowds(options: &Options, run: impl Fn(&Crowd, &Options) -> Figures) -> Figures {
    let figures = Crowd::all(options).iter().map(|crowd| run(crowd, options)).reduce(Figures::with);
    figures.unwrap_or_default()
}

/// Tries parts of a row at the same time.
fn at_once<F: FnOnce() -> Figures + Send, const N: usize>(parts: [F; N]) -> Figures {
    let figures = thread::scope(|scope| {
        let parts = parts.map(|part| scope.spawn(part));
        parts.map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    figures.into_iter().reduce(Figures::with).unwrap_or_default()
}

/// How long something took, time after time.
fn spread(mut measured: Vec<Duration>) -> String {
    measured.sort();
    let at = |percent: usize| measured.get(measured.len().saturating_sub(1) * percent / 100).copied();
    let at = |percent| at(percent).map_or("-".to_owned(), ms);
    match measured.len() {
        1 => at(100),
        n => format!("n={n} p50={} p99={} max={}", at(50), at(99), at(100)),
    }
}

/// The longest of some lengths.
fn longest(measured: &[Duration]) -> Duration {
    measured.iter().max().copied().unwrap_or_default()
}
