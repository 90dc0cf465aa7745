//! What is larger than anything that an exchange has to say.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_http::ws::OpCode;
use flate2::{Compress, Compression, FlushCompress};

use super::on_crowds;
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::relay::{Honest, Message, Relay, Request, Tamper, fragment};
use crate::row::{Figures, Options};
use crate::site::{Plan, Process, Site};

/// What is announced of a frame, and what is sent of it at most: more than the system takes of an unread frame.
const ANNOUNCED: u64 = 64 * 1024 * 1024;
const SENT: usize = 8 * 1024 * 1024;

/// Fragments of one message, and bytes of each.
const FRAGMENTS: usize = 100_000;
const FRAGMENT: usize = 16;

/// Most growth of memory in KiB: by frames of up to four exchanges and of each one more at the same time, and by what is
/// packed.
const MOST_BY_FRAMES: u64 = 8 * 1024;
const MOST_BY_ONE_MORE: u64 = 2 * 1024;
const MOST_BY_BOMBS: u64 = 16 * 1024;

/// Most work for one bomb.
const WORK_FOR_A_BOMB: Duration = Duration::from_millis(100);

/// The code of a goodbye to something too big.
const TOO_BIG: [u8; 2] = 1009_u16.to_be_bytes();

/// How often each exchange was said goodbye with that code.
type Goodbyes = Arc<Mutex<HashMap<String, usize>>>;

/// Puts bytes before the next frame of each exchange, once.
struct Inject {
    bytes: Vec<u8>,
    done: Vec<String>,
    goodbyes: Goodbyes,
}

impl Tamper for Inject {
    fn down(&mut self, exchange: &str, frame: Message) -> Vec<u8> {
        if self.done.iter().any(|done| done == exchange) {
            return frame.raw;
        }
        self.done.push(exchange.to_owned());
        self.bytes.clone()
    }

    fn up(&mut self, exchange: &str, frame: Message) -> Vec<u8> {
        if frame.opcode == OpCode::Close && frame.payload.starts_with(&TOO_BIG) {
            *self.goodbyes.lock().unwrap().entry(exchange.to_owned()).or_default() += 1;
        }
        frame.raw
    }
}

/// The growth of a process's memory at its highest from here on.
pub(super) struct Peak {
    before: u64,
}

impl Peak {
    pub(super) fn begin(process: &Process) -> Self {
        // 5 makes the highest mark begin anew.
        fs::write(format!("/proc/{}/clear_refs", process.pid()), "5").unwrap();
        Self { before: process.status_of("VmHWM") }
    }

    /// In KiB.
    pub(super) fn growth(&self, process: &Process) -> u64 {
        process.status_of("VmHWM").saturating_sub(self.before)
    }
}

/// A frame of 64 MiB, and a message of 100,000 fragments.
pub(super) fn frames(options: &Options) -> Figures {
    let mut huge = vec![0x82, 127];
    huge.extend_from_slice(&ANNOUNCED.to_be_bytes());
    huge.resize(SENT, 0);
    let mut fragments = fragment(OpCode::Text, &[b'['; FRAGMENT], false);
    let next = fragment(OpCode::Continue, &[b'['; FRAGMENT], false);
    (1..FRAGMENTS).for_each(|_| fragments.extend_from_slice(&next));

    on_crowds(options, |crowd, options| {
        let relay = Relay::open(Honest);
        let plan = crowd.plan_through(&relay, options);
        let site = Site::start_after(plan, |control| relay.lead_to(control.address));
        site.settle();
        let checker = Checker::start(&site);
        let peak = Peak::begin(&site.service);
        let mut num_goodbyes = Vec::new();
        for bytes in [&huge, &fragments] {
            let goodbyes = Goodbyes::default();
            relay.tamper(Inject { bytes: bytes.clone(), done: Vec::new(), goodbyes: goodbyes.clone() });
            wait_until("all of them are left for it", || goodbyes.lock().unwrap().len() == crowd.tried.len());
            site.settle();
            num_goodbyes.push(goodbyes.lock().unwrap().values().sum::<usize>());
        }
        let growth = peak.growth(&site.service);
        let most = MOST_BY_FRAMES + crowd.tried.len().saturating_sub(4) as u64 * MOST_BY_ONE_MORE;
        let verdict = checker.finish();
        let restarts = restarts(&site, &crowd.tried);
        Figures {
            pass: verdict.holds() && verdict.not_200 + verdict.broken == 0 && growth <= most && restarts == 0,
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!(
                "{}: left with 1009 {num_goodbyes:?} times, memory +{growth} KiB, {restarts} restarts, {} switches; {}",
                crowd.tried.join(" "),
                verdict.switches,
                verdict.told()
            ),
            target: format!("each left with 1009 each time, memory +{most} KiB, no restart"),
        }
    })
}

pub(super) fn restarts(site: &Site, exchanges: &[&str]) -> u64 {
    exchanges.iter().filter_map(|exchange| site.health_of(exchange)["restarts"].as_u64()).sum()
}

/// Packed zeros: `num_pieces` times 10 MB.
fn bomb(num_pieces: usize) -> Vec<u8> {
    let mut packer = Compress::new(Compression::best(), false);
    let zeros = vec![0; 10_000_000];
    let mut piece = Vec::with_capacity(64 * 1024);
    packer.compress_vec(&zeros, &mut piece, FlushCompress::Full).unwrap();
    // After a full flush the next piece needs nothing of the one before.
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    (0..num_pieces).for_each(|_| bomb.extend_from_slice(&piece));
    bomb
}

/// Every body of one exchange is a bomb.
struct Bodies {
    victim: &'static str,
    bombs: Vec<Vec<u8>>,
    num_sent: Arc<Mutex<usize>>,
}

impl Tamper for Bodies {
    fn body(&mut self, request: &Request, body: Vec<u8>) -> (String, Vec<u8>) {
        if request.exchange != self.victim {
            return (String::new(), body);
        }
        let mut num_sent = self.num_sent.lock().unwrap();
        *num_sent += 1;
        ("Content-Encoding: gzip\r\n".to_owned(), self.bombs[*num_sent % self.bombs.len()].clone())
    }
}

/// A bomb stands before every tenth frame.
struct Frames {
    bomb: Vec<u8>,
    num_seen: usize,
    num_sent: Arc<Mutex<usize>>,
}

impl Tamper for Frames {
    fn down(&mut self, _: &str, frame: Message) -> Vec<u8> {
        self.num_seen += 1;
        if !self.num_seen.is_multiple_of(10) {
            return frame.raw;
        }
        *self.num_sent.lock().unwrap() += 1;
        [fragment(OpCode::Binary, &self.bomb, true), frame.raw].concat()
    }
}

/// 10 MB that are 10 GB and 3 MB that are 3 GB as bodies, and 200 kB that are 200 MB as frames.
pub(super) fn bombs(options: &Options) -> Figures {
    on_crowds(options, |crowd, options| {
        let relay = Relay::open(Honest);
        let plan = crowd.plan_through(&relay, options);
        let site = Site::start_after(plan, |control| relay.lead_to(control.address));
        site.settle();
        let checker = Checker::start(&site);
        let work_of_a_second = idle_work(&site);
        let num_wanted = options.scaled(10, 100);
        let framed = explode(&site, work_of_a_second, num_wanted, |num_sent| {
            relay.tamper(Frames { bomb: bomb(20), num_seen: 0, num_sent });
        });
        relay.tamper(Honest);
        site.settle();
        let verdict = checker.finish();
        let restarts = restarts(&site, &crowd.tried);
        drop(site);

        // Over REST alone, so that bodies are asked for.
        let silent = |plan: Plan, exchange: &&'static str| plan.with_of(exchange, "ws_url", "\"\"");
        let plan = crowd.tried.iter().fold(crowd.plan_through(&relay, options), silent);
        let site = Site::start_after(plan, |control| relay.lead_to(control.address));
        let is_heard = |exchange: &&str| site.health_of(exchange)["status"] == "fresh";
        wait_until("all of them are heard", || crowd.tried.iter().all(&is_heard));
        let polled = Checker::start(&site);
        let work_of_a_second = idle_work(&site);
        let bombs = vec![bomb(300), bomb(1000)];
        let explode_at = |victim: &&'static str| {
            explode(&site, work_of_a_second, options.scaled(3, 10), |num_sent| {
                relay.tamper(Bodies { victim, bombs: bombs.clone(), num_sent });
            })
        };
        let bodies = crowd.tried.iter().map(explode_at).reduce(Bangs::worse).unwrap();
        relay.tamper(Honest);
        wait_until("all of them are heard again", || crowd.tried.iter().all(&is_heard));
        let polled = polled.finish();
        Figures {
            pass: verdict.holds()
                && polled.holds()
                && verdict.not_200 + verdict.broken + polled.not_200 + polled.broken == 0
                && [&framed, &bodies].iter().all(|bangs| bangs.are_bearable())
                && restarts == 0,
            n: framed.num + bodies.num,
            violations: polled.num_violations + verdict.num_violations,
            measured: format!(
                "{}: {} as frames, {} as bodies; {}; {}",
                crowd.tried.join(" "),
                framed.told(),
                bodies.told(),
                verdict.told(),
                polled.told()
            ),
            target: format!(
                "memory +{MOST_BY_BOMBS} KiB, {} ms of work for each, no restart",
                WORK_FOR_A_BOMB.as_millis()
            ),
        }
    })
}

/// Work of the service within a second of healthy times.
fn idle_work(site: &Site) -> Duration {
    let before = site.service.processor_time();
    std::thread::sleep(Duration::from_secs(1));
    site.service.processor_time() - before
}

/// What bombs cost.
struct Bangs {
    num: u64,
    /// KiB.
    growth: u64,
    /// Work for each, beyond that of healthy times.
    work: Duration,
}

impl Bangs {
    fn are_bearable(&self) -> bool {
        self.num > 0 && self.growth <= MOST_BY_BOMBS && self.work <= WORK_FOR_A_BOMB
    }

    /// The worst of two.
    fn worse(self, other: Self) -> Self {
        Self {
            num: self.num + other.num,
            growth: self.growth.max(other.growth),
            work: self.work.max(other.work),
        }
    }

    fn told(&self) -> String {
        format!("{} bombs with memory +{} KiB and {} ms each", self.num, self.growth, self.work.as_millis())
    }
}

fn explode(
    site: &Site,
    work_of_a_second: Duration,
    num_wanted: usize,
    begin: impl FnOnce(Arc<Mutex<usize>>),
) -> Bangs {
    let num_sent = Arc::<Mutex<usize>>::default();
    let (peak, worked) = (Peak::begin(&site.service), site.service.processor_time());
    let began = tokio::time::Instant::now();
    begin(num_sent.clone());
    wait_until("there are enough bombs", || *num_sent.lock().unwrap() >= num_wanted);
    let work = site.service.processor_time() - worked;
    let num = u32::try_from(*num_sent.lock().unwrap()).unwrap();
    let healthy = work_of_a_second.mul_f64(began.elapsed().as_secs_f64());
    Bangs {
        num: u64::from(num),
        growth: peak.growth(&site.service),
        work: work.saturating_sub(healthy) / num,
    }
}
