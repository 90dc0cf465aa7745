//! Subscriptions that the exchange does not answer, or refuses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::lives::lost as lost_sockets;
use super::{Crowd, PATH, longest, on_crowds, spread};
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::relay::{Act, Message, Relay, Request, Tamper, answer};
use crate::row::{Figures, Options, ms};
use crate::site::Site;

/// Longest time until a subscription is asked for once more, and how much later that may be seen.
const ASKED_AGAIN_WITHIN: Duration = Duration::from_secs(5);
const TOLERANCE: Duration = Duration::from_millis(500);

/// What every market could trade, and does not; and what it could be made of.
const ABSENT: &str = "DOGE-USDT";
const PARTS: [&str; 5] = ["DOGE-USDT", "DOGE-USD", "DOGE-USDC", "DOGE-EUR", "DOGE-BTC"];

/// How long requests fail, so that subscriptions are asked for before any list of what there is has come.
const LISTLESS: Duration = Duration::from_secs(1);

/// What became of the first subscription of each exchange: what was asked, when, and when again.
type Lost = Arc<Mutex<HashMap<String, (Vec<u8>, Instant, Option<Instant>)>>>;

/// Loses the first subscription of every exchange.
struct Lose(Lost);

impl Tamper for Lose {
    fn up(&mut self, exchange: &str, frame: Message) -> Vec<u8> {
        if !frame.is_data() {
            return frame.raw;
        }
        // Some tell the time at which they ask.
        let asked: Vec<u8> = frame.payload.iter().filter(|byte| !byte.is_ascii_digit()).copied().collect();
        let mut lost = self.0.lock().unwrap();
        match lost.get_mut(exchange) {
            None => {
                lost.insert(exchange.to_owned(), (asked, Instant::now(), None));
                Vec::new()
            }
            Some((first, _, again)) => {
                if *first == asked {
                    again.get_or_insert(Instant::now());
                }
                frame.raw
            }
        }
    }
}

/// The first subscription of every exchange gets lost: nobody acknowledges it, and nothing comes for it.
pub(super) fn unanswered(options: &Options) -> Figures {
    on_crowds(options, |crowd, options| {
        let lost = Lost::default();
        let relay = Relay::open(Lose(lost.clone()));
        let plan = crowd.plan_through(&relay, options);
        let site = Site::start_after(plan, |control| relay.lead_to(control.address));
        site.until(PATH, |answer| answer.status == 200);
        let checker = Checker::start(&site);
        let again = |exchange: &&str| {
            let lost = lost.lock().unwrap();
            lost.get(*exchange).and_then(|(_, first, again)| Some((*again)? - *first))
        };
        wait_until("all of them are asked again", || {
            crowd.tried.iter().all(|exchange| again(exchange).is_some())
        });
        site.settle();
        let verdict = checker.finish();
        let taken: Vec<Duration> = crowd.tried.iter().filter_map(again).collect();
        let (num_sockets, num_lost) = (sockets(&relay, crowd), lost_sockets(&site, crowd));
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken == 0
                && longest(&taken) <= ASKED_AGAIN_WITHIN + TOLERANCE
                && num_lost == 0
                && num_sockets.iter().all(|number| *number <= 2),
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!(
                "{}: asked again after {}, on {num_sockets:?} sockets, {num_lost} lost; {}",
                crowd.tried.join(" "),
                spread(taken),
                verdict.told()
            ),
            target: format!(
                "asked again within {} on the same socket or on one that replaces it, none lost, every answer 200",
                ms(ASKED_AGAIN_WITHIN + TOLERANCE)
            ),
        }
    })
}

/// How many sockets each exchange was asked for.
fn sockets(relay: &Relay, crowd: &Crowd) -> Vec<usize> {
    let requests = relay.requests();
    let of =
        |exchange: &&str| requests.iter().filter(|it| it.exchange == **exchange && it.is_upgrade).count();
    crowd.tried.iter().map(of).collect()
}

/// Refuses requests for a while.
struct Listless {
    until: Instant,
}

impl Tamper for Listless {
    fn request(&mut self, request: &Request) -> Act {
        match request.is_get && !request.is_upgrade && request.at < self.until {
            true => Act::Say(answer("500 Not Yet", "", b"")),
            false => Act::Pass,
        }
    }
}

/// One of the directions is not traded, and the service learns it from the socket first.
pub(super) fn refused(options: &Options) -> Figures {
    let length = Duration::from_secs(options.scaled(4, 300));
    on_crowds(options, |crowd, options| {
        let relay = Relay::open(Listless { until: Instant::now() + LISTLESS });
        let directions = format!("[\"BTC-USDT\", \"ETH-USDT\", \"{ABSENT}\"]");
        let plan = crowd.through(&relay, crowd.slow_plan(options)).with("directions", &directions);
        let site = Site::start_after(plan, |control| {
            relay.lead_to(control.address);
            for (exchange, part) in crowd.tried.iter().flat_map(|exchange| PARTS.map(|part| (exchange, part)))
            {
                let absence = json!({"direction": part, "status": "ABSENT"});
                control.post(&format!("{exchange}/symbols"), &absence);
            }
            relay.tamper(Listless { until: Instant::now() + LISTLESS });
        });
        site.until(PATH, |answer| answer.status == 200);
        let checker = Checker::start(&site);
        let is_well = |exchange: &&str| {
            let row = site.health_of(exchange);
            let unsupported = row["unsupported"].as_array().cloned().unwrap_or_default();
            row["status"] == "fresh"
                && row["transport"] == "websocket"
                && unsupported.iter().filter_map(|it| it.as_str()).any(|it| PARTS.contains(&it))
        };
        wait_until("all of them are heard without it", || crowd.tried.iter().all(&is_well));
        thread::sleep(length);
        let are_well = crowd.tried.iter().all(&is_well);
        let verdict = checker.finish();
        // One that asks for everything in one subscription asks anew, on a socket that replaces the first.
        let (num_sockets, num_lost) = (sockets(&relay, crowd), lost_sockets(&site, crowd));
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken == 0
                && are_well
                && num_lost == 0
                && num_sockets.iter().all(|number| *number <= 2),
            n: verdict.answers,
            violations: verdict.num_violations,
            measured: format!(
                "{}: {num_sockets:?} sockets in all, {num_lost} lost, {}; {}",
                crowd.tried.join(" "),
                if are_well { "all other directions fresh" } else { "not all of them are well" },
                verdict.told()
            ),
            target: "no socket lost, the direction told as unsupported, the others fresh".to_owned(),
        }
    })
}
