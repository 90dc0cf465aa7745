//! Frames and bodies that nobody can read, among healthy ones and instead of them.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_http::ws::OpCode;
use serde_json::Value;

use super::corpus::{self, Break};
use super::sizes::restarts;
use super::{Crowd, at_once, on_crowds};
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::relay::{Honest, Message, Relay, Request, Tamper, said};
use crate::row::{Figures, Options};
use crate::site::{Plan, Site};

/// Unreadable frames in a row after which a socket is replaced, and more than that.
const IN_A_ROW: usize = 25;

/// Longest line of the log, in bytes: what comes from others is cut.
const LONGEST_LINE: usize = 1024;

/// How many cases each exchange has said.
type Told = Arc<Mutex<HashMap<String, usize>>>;

/// Puts a broken frame behind every healthy one, and every other body into pieces, until all cases were told.
struct Spoil {
    cases: Vec<Break>,
    told: Told,
    /// Which exchanges have given a whole body before.
    was_whole: HashMap<String, bool>,
}

impl Spoil {
    fn new(cases: Vec<Break>, told: &Told) -> Self {
        Self { cases, told: told.clone(), was_whole: HashMap::new() }
    }

    /// The next case, made of something healthy; `None` once all are told, and for what is no text.
    fn next(&self, exchange: &str, healthy: &[u8]) -> Option<Vec<u8>> {
        let text = corpus::unpacked(healthy)?;
        let mut told = self.told.lock().unwrap();
        let nth = told.entry(exchange.to_owned()).or_default();
        let case = self.cases.get(*nth)?;
        *nth += 1;
        Some(case(&corpus::bent(&text)))
    }
}

impl Tamper for Spoil {
    fn down(&mut self, exchange: &str, frame: Message) -> Vec<u8> {
        if !frame.is_data() {
            return frame.raw;
        }
        let Some(broken) = self.next(exchange, &frame.payload) else { return frame.raw };
        let broken = match frame.opcode {
            // What is packed breaks inside, and every other time outside.
            OpCode::Binary if broken.len().is_multiple_of(2) => {
                said(OpCode::Binary, &corpus::packed(&broken))
            }
            opcode => said(opcode, &broken),
        };
        [frame.raw, broken].concat()
    }

    fn body(&mut self, request: &Request, body: Vec<u8>) -> (String, Vec<u8>) {
        let was_whole = self.was_whole.entry(request.exchange.clone()).or_default();
        *was_whole = !*was_whole;
        if *was_whole {
            return (String::new(), body);
        }
        let broken = self.next(&request.exchange, &body);
        (String::new(), broken.unwrap_or(body))
    }
}

/// Says the same broken frame instead of every healthy one, some times in a row.
struct Repeat {
    num_left: HashMap<String, usize>,
}

impl Tamper for Repeat {
    fn down(&mut self, exchange: &str, frame: Message) -> Vec<u8> {
        let num_left = self.num_left.entry(exchange.to_owned()).or_insert(IN_A_ROW);
        if !frame.is_data() || *num_left == 0 {
            return frame.raw;
        }
        *num_left -= 1;
        said(frame.opcode, b"{\"truncated")
    }
}

pub(super) fn malformed(options: &Options) -> Figures {
    on_crowds(options, |crowd, options| {
        at_once::<&(dyn Fn() -> Figures + Sync), 2>([
            &|| spoil(crowd, options, corpus::malformed, true),
            &|| spoil_bodies(crowd, options, corpus::malformed),
        ])
    })
}

pub(super) fn unprintable(options: &Options) -> Figures {
    on_crowds(options, |crowd, options| {
        at_once::<&(dyn Fn() -> Figures + Sync), 2>([
            &|| spoil(crowd, options, corpus::unprintable, false),
            &|| spoil_bodies(crowd, options, corpus::unprintable),
        ])
    })
}

/// Spoils what comes over sockets, and then, where it is `repeated`, says nothing healthy for a while.
fn spoil(crowd: &Crowd, options: &Options, cases: fn() -> Vec<Break>, repeated: bool) -> Figures {
    let relay = Relay::open(Honest);
    let plan = crowd.plan_through(&relay, options).with_argument("--log-format").with_argument("json");
    let site = Site::start_after(plan, |control| relay.lead_to(control.address));
    site.settle();
    let checker = Checker::start(&site);
    let (told, num_cases) = (Told::default(), cases().len());
    let refused_before = refused(&site, crowd);
    relay.tamper(Spoil::new(cases(), &told));
    wait_until("all cases were told", || {
        let told = told.lock().unwrap();
        crowd.tried.iter().all(|exchange| told.get(*exchange).is_some_and(|told| *told == num_cases))
    });
    relay.tamper(Honest);
    site.settle();
    let num_refused = refused(&site, crowd) - refused_before;
    let mut replaced = String::new();
    if repeated {
        let sockets = |exchange: &&str| {
            let requests = relay.requests();
            requests.iter().filter(|it| it.exchange == **exchange && it.is_upgrade).count()
        };
        let before: Vec<usize> = crowd.tried.iter().map(sockets).collect();
        relay.tamper(Repeat { num_left: HashMap::new() });
        wait_until("every socket was replaced", || {
            crowd.tried.iter().zip(&before).all(|(exchange, before)| sockets(exchange) > *before)
        });
        site.settle();
        replaced = format!(", every socket replaced after {IN_A_ROW} in a row");
    }
    let verdict = checker.finish();
    let (restarts, log) = (restarts(&site, &crowd.tried), Log::read(&site));
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && restarts == 0
            && num_refused > 0.0
            && log.is_readable(),
        n: (num_cases * crowd.tried.len()) as u64,
        violations: verdict.num_violations,
        measured: format!(
            "{}: {num_cases} frames each, {num_refused:.0} counted as refused, {restarts} restarts{replaced}, {}; {}",
            crowd.tried.join(" "),
            log.told(),
            verdict.told()
        ),
        target: "no price of them, no restart, every answer 200, one JSON object in every line of the log"
            .to_owned(),
    }
}

/// Quotes and frames that were refused.
fn refused(site: &Site, crowd: &Crowd) -> f64 {
    let of =
        |exchange: &&str| site.metric("ratebook_exchange_refused_quotes_total", &[("exchange", exchange)]);
    crowd.tried.iter().map(of).sum()
}

/// Spoils bodies, of exchanges that have no socket for us; in the short form a few of them, as far apart as possible.
fn spoil_bodies(crowd: &Crowd, options: &Options, cases: fn() -> Vec<Break>) -> Figures {
    let relay = Relay::open(Honest);
    let silent = |plan: Plan, exchange: &&'static str| plan.with_of(exchange, "ws_url", "\"\"");
    let plan = crowd.tried.iter().fold(crowd.plan_through(&relay, options), silent);
    let plan = plan.with_argument("--log-format").with_argument("json");
    let site = Site::start_after(plan, |control| relay.lead_to(control.address));
    let is_heard = |exchange: &&str| site.health_of(exchange)["status"] == "fresh";
    wait_until("all of them are heard", || crowd.tried.iter().all(&is_heard));
    let checker = Checker::start(&site);
    let chosen = || -> Vec<Break> {
        let step = options.scaled(cases().len() / 10, 1);
        cases().into_iter().step_by(step).collect()
    };
    let (told, num_cases) = (Told::default(), chosen().len());
    relay.tamper(Spoil::new(chosen(), &told));
    // Failed polls wait longer and longer, and a good one lies between two of these.
    let limit = Duration::from_secs(3) * u32::try_from(num_cases).unwrap();
    let began = tokio::time::Instant::now();
    let is_done = || {
        let told = told.lock().unwrap();
        crowd.tried.iter().all(|exchange| told.get(*exchange).is_some_and(|told| *told == num_cases))
    };
    while !is_done() {
        assert!(began.elapsed() < limit, "not within {limit:?}: {:?}", told.lock().unwrap());
        std::thread::sleep(Duration::from_millis(20));
    }
    relay.tamper(Honest);
    wait_until("all of them are heard again", || crowd.tried.iter().all(&is_heard));
    let verdict = checker.finish();
    let (restarts, log) = (restarts(&site, &crowd.tried), Log::read(&site));
    Figures {
        pass: verdict.holds() && verdict.not_200 + verdict.broken == 0 && restarts == 0 && log.is_readable(),
        n: (num_cases * crowd.tried.len()) as u64,
        violations: verdict.num_violations,
        measured: format!("{num_cases} bodies each, {restarts} restarts, {}; {}", log.told(), verdict.told()),
        target: String::new(),
    }
}

/// What is wrong with a log.
#[derive(Debug, Default)]
struct Log {
    num_lines: usize,
    num_broken: usize,
    longest: usize,
    is_text: bool,
}

impl Log {
    fn read(site: &Site) -> Self {
        let bytes = fs::read(site.directory().join("service.log")).unwrap();
        let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let is_object = |line: &&&[u8]| serde_json::from_slice::<Value>(line).is_ok_and(|it| it.is_object());
        Self {
            num_lines: lines.len(),
            num_broken: lines.len() - lines.iter().filter(is_object).count(),
            longest: lines.iter().map(|line| line.len()).max().unwrap_or_default(),
            is_text: String::from_utf8(bytes.clone()).is_ok(),
        }
    }

    fn is_readable(&self) -> bool {
        self.num_lines > 0 && self.num_broken == 0 && self.is_text && self.longest <= LONGEST_LINE
    }

    fn told(&self) -> String {
        let text = if self.is_text { "" } else { ", no UTF-8" };
        format!(
            "{} lines of log{text}, {} of them broken, the longest of {} B",
            self.num_lines, self.num_broken, self.longest
        )
    }
}
