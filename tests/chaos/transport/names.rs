//! Names of exchanges that are not resolved.
//!
//! The service resolves names through the system, so it gets a `/etc/resolv.conf` of its own, in a mount namespace of
//! its own, that leads to a resolver of the row.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ratebook::exchange;
use tokio::time::Instant;

use super::{Crowd, PATH, longest, on_crowds};
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::relay::{Honest, Relay};
use crate::row::{Figures, Options, ms};
use crate::site::{STALE_AFTER, Site};

/// Longest time for a connection, its name included, and how much later that may be seen.
const TIME_LIMIT: Duration = Duration::from_secs(3);
const TOLERANCE: Duration = Duration::from_millis(500);

/// Longest time from the question for a name to the connection to its new address, and until all are heard: a question that
/// waits, a poll that has failed a few times, and the next one.
const CONNECTED_WITHIN: Duration = Duration::from_secs(1);
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// What a resolver says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    NoSuchName,
    Failure,
    Nothing,
    Address(Ipv4Addr),
}

/// An address of this machine at which nobody listens.
const NOBODY: Ipv4Addr = Ipv4Addr::new(127, 9, 9, 9);

/// How names fail, one after the other.
const FAILURES: [Saying; 4] = [Saying::NoSuchName, Saying::Failure, Saying::Nothing, Saying::Address(NOBODY)];

/// A resolver of names under `.test`.
struct Resolver {
    sayings: Arc<Mutex<HashMap<String, Saying>>>,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    fn start() -> Self {
        // Every address in 127.0.0.0/8 is this machine's; resolvers can only be told by address.
        let socket = (0..100).find_map(|_| {
            let ip = Ipv4Addr::new(127, 53, rand::random_range(1..255), rand::random_range(1..255));
            UdpSocket::bind((ip, 53)).ok()
        });
        let socket =
            socket.expect("this row needs root: a resolver listens at port 53 of an address of this machine");
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let address = socket.local_addr().unwrap();
        let sayings = Arc::<Mutex<HashMap<String, Saying>>>::default();
        let (asked, stopped) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (known, list, until) = (sayings.clone(), asked.clone(), stopped.clone());
        let thread = thread::spawn(move || {
            let mut query = [0; 512];
            while !until.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                let Some(name) = name(&query[..length]) else { continue };
                let saying = known.lock().unwrap().get(&name).copied();
                list.lock().unwrap().push((Instant::now(), name));
                if let Some(answer) = answer(&query[..length], saying.unwrap_or(Saying::NoSuchName)) {
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Self { sayings, asked, address, stopped, thread: Some(thread) }
    }

    fn say(&self, exchange: &str, saying: Saying) {
        self.sayings.lock().unwrap().insert(format!("{exchange}.test"), saying);
    }

    /// When a name was last asked for before a moment. An earlier question may be one that is repeated for a dial which was
    /// given up.
    fn asked_before(&self, exchange: &str, moment: Instant) -> Option<Instant> {
        let asked = self.asked.lock().unwrap();
        let of_it = asked.iter().filter(|(at, name)| *at <= moment && *name == format!("{exchange}.test"));
        of_it.map(|(at, _)| *at).max()
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// The name that a query asks for.
fn name(query: &[u8]) -> Option<String> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            return Some(labels.join("."));
        }
        labels.push(String::from_utf8_lossy(query.get(at + 1..at + 1 + length)?).to_ascii_lowercase());
        at += 1 + length;
    }
}

/// What is answered to a query; `None` if nothing is.
fn answer(query: &[u8], saying: Saying) -> Option<Vec<u8>> {
    let end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let is_ipv4 = query.get(end - 4..end - 2)? == [0, 1];
    let (code, address) = match saying {
        Saying::NoSuchName => (3, None),
        Saying::Failure => (2, None),
        Saying::Nothing => return None,
        Saying::Address(address) => (0, Some(address).filter(|_| is_ipv4)),
    };
    // The head of the query as an answer that is final, with the question and none or one address of 0 s life.
    let mut answer =
        vec![query[0], query[1], 0x85, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0];
    answer.extend_from_slice(query.get(12..end)?);
    if let Some(address) = address {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend_from_slice(&address.octets());
    }
    Some(answer)
}

pub(super) fn unresolved(options: &Options) -> Figures {
    let namespace = Command::new("unshare").args(["--mount", "true"]).output();
    assert!(
        namespace.is_ok_and(|output| output.status.success()),
        "this row needs root: the service gets a mount namespace of its own"
    );
    let turns = 0..options.scaled(1, FAILURES.len());
    let tried = turns.map(|turn| on_crowds(options, |crowd, options| unresolved_in(crowd, options, turn)));
    tried.reduce(Figures::with).unwrap_or_default()
}

fn unresolved_in(crowd: &Crowd, options: &Options, turn: usize) -> Figures {
    let resolver = Resolver::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolv.conf");
    fs::write(&file, format!("nameserver {}\n", resolver.address.ip())).unwrap();
    let relays: Vec<Relay> = crowd.tried.iter().map(|_| Relay::open(Honest)).collect();
    let failures = FAILURES.iter().cycle().skip(turn);
    let failing: Vec<(&&str, Saying)> = crowd.tried.iter().zip(failures.copied()).collect();
    failing.iter().for_each(|(exchange, saying)| resolver.say(exchange, *saying));

    let mount = format!("mount --bind '{}' /etc/resolv.conf && exec \"$@\"", file.display());
    let mut plan = crowd.plan(options).launched_by(&["unshare", "--mount", "sh", "-c", &mount, "sh"]);
    for (exchange, relay) in crowd.tried.iter().zip(&relays) {
        let host = format!("{exchange}.test:{}", relay.address.port());
        let (rest_url, ws_url) = exchange::row(exchange).unwrap().served_at(host);
        plan = plan.at(exchange, &rest_url, &ws_url);
    }
    let site =
        Site::start_after(plan, |control| relays.iter().for_each(|relay| relay.lead_to(control.address)));
    let began = Instant::now();
    site.until(PATH, |answer| answer.status == 200);
    let checker = Checker::start(&site);
    let is_told = |exchange: &str, saying: Saying| {
        let row = site.health_of(exchange);
        let words = match saying {
            Saying::NoSuchName | Saying::Failure => "name not resolved",
            Saying::Nothing => "not reached within",
            Saying::Address(_) => "connection refused",
        };
        row["status"] == "down" && row["last_error"].as_str().is_some_and(|it| it.contains(words))
    };
    wait_until("each of them is told as down", || {
        failing.iter().all(|(name, saying)| is_told(name, *saying))
    });
    let told_after = began.elapsed();

    // Every name gets another address, at which the exchange is.
    let healed_at = Instant::now();
    crowd.tried.iter().for_each(|exchange| resolver.say(exchange, Saying::Address(Ipv4Addr::LOCALHOST)));
    wait_until("each of them is reached", || relays.iter().all(|relay| !relay.accepted().is_empty()));
    let reached = crowd.tried.iter().zip(&relays).map(|(exchange, relay)| {
        let reached_at = *relay.accepted().first().unwrap();
        reached_at.saturating_duration_since(resolver.asked_before(exchange, reached_at).unwrap())
    });
    let reached: Vec<Duration> = reached.collect();
    site.settle();
    let healed_after = healed_at.elapsed();
    let ages: Vec<Duration> =
        checker.since(began).filter(|seen| seen.is_from(crowd.well)).map(|seen| seen.age).collect();
    let verdict = checker.finish();
    let limit = TIME_LIMIT + TOLERANCE;
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && told_after <= limit
            && longest(&ages) <= STALE_AFTER
            && longest(&reached) <= CONNECTED_WITHIN
            && healed_after <= options.limit(HEARD_WITHIN),
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{failing:?}: told as down after {}; meanwhile {} was at most {} old; new addresses used {} after their \
             question, all heard after {}; {}",
            ms(told_after),
            crowd.well,
            ms(longest(&ages)),
            ms(longest(&reached)),
            ms(healed_after),
            verdict.told()
        ),
        target: format!(
            "down within {}, the exchange beside them never older than {}, a new address used within {}",
            ms(limit),
            ms(STALE_AFTER),
            ms(CONNECTED_WITHIN)
        ),
    }
}
