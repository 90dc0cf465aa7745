//! Markets that do not trade, that are gone, and that nobody asked for.

use std::thread;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::{groups, on_each, peer_of, settled, watch_of};
use crate::checker::{Checker, Watch};
use crate::counted::Counted;
use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::{Control, Site};
use crate::wire::Wire;

/// Within this time of its start the service knows what its exchanges trade.
const LISTED_WITHIN: Duration = Duration::from_secs(2);

/// The market that is taken away.
const MARKET: &str = "BTC-USDT";

/// The market beside it.
const OTHER: &str = "ETH-USDT";

/// Whoever does not trade one of them cannot answer.
const BOTH: &str = "/v1/courses?directions=BTC-USDT,ETH-USDT";

/// How an exchange calls the ways in which a market may stand; the first one trades.
fn words(control: Control, exchange: &str) -> Vec<String> {
    let asked = json!({"direction": MARKET, "status": "?"}).to_string();
    let reply =
        Wire::to(control.address).send("POST", &format!("/control/{exchange}/symbols"), &asked).unwrap();
    let (_, words) = reply.body.split_once("(allowed statuses: ").unwrap_or_else(|| panic!("{}", reply.body));
    let (words, _) = words.split_once(", ABSENT)").unwrap();
    words.split(", ").map(str::to_owned).collect()
}

fn set(control: Control, exchange: &str, status: &str) {
    control.post(&format!("{exchange}/symbols"), &json!({"direction": MARKET, "status": status}));
}

/// The same under way. Its last price is said for long enough before that everybody has seen it.
fn set_under_way(control: Control, exchanges: &[&str], status: impl Fn(usize) -> String) {
    let mute = json!({"kind": "mute", "symbol": MARKET});
    let numbers: Vec<u64> = exchanges.iter().map(|exchange| control.order(exchange, &mute)).collect();
    thread::sleep(SEEN_AFTER);
    for (at, exchange) in exchanges.iter().enumerate() {
        set(control, exchange, &status(at));
        control.end(exchange, numbers[at]);
    }
}

/// A published price is looked at every 20 ms.
const SEEN_AFTER: Duration = Duration::from_millis(150);

/// Halted under way: what the exchange goes on to say may be believed, and nothing else. Halted when its list is read:
/// nothing of it is listened to.
pub(super) fn halted(options: &Options) -> Figures {
    on_each(groups(options), options, |group, options| {
        let mut site = settled(&group, options);
        let control = site.control();
        let exchanges: &'static [&'static str] = group.leak();
        let peer = peer_of(exchanges);
        let words: Vec<Vec<String>> = exchanges.iter().map(|exchange| words(control, exchange)).collect();
        let checker = Checker::start_as(&site, watch_of(exchanges));
        set_under_way(control, exchanges, |at| words[at].last().unwrap().clone());
        thread::sleep(Duration::from_millis(2500));
        let verdict = checker.finish();
        let (mut slowest, mut problems, mut num_tried) = (Duration::ZERO, Vec::new(), 0);
        let longest = words.iter().map(Vec::len).max().unwrap_or_default();
        for at in 1..options.scaled(longest.min(3), longest) {
            let tried = exchanges.iter().zip(&words).filter_map(|(it, words)| Some((*it, words.get(at)?)));
            let tried: Vec<(&str, &String)> = tried.collect();
            tried.iter().for_each(|(exchange, word)| set(control, exchange, word));
            site.service.kill();
            site.restart();
            let began = Instant::now();
            wait_until("the markets are known to be halted", || {
                tried.iter().all(|(it, _)| is_unsupported(&site, it))
            });
            slowest = slowest.max(began.elapsed());
            site.until(BOTH, |answer| answer.json()["exchanger"] == peer);
            for (exchange, word) in tried {
                num_tried += 1;
                let (halted, other) = (ask(&site, exchange, MARKET), ask(&site, exchange, OTHER));
                if halted != 422 || !is_fresh(&site, exchange, OTHER) {
                    problems.push(format!("{exchange} {word}: {MARKET} {halted}, {OTHER} {other}"));
                }
            }
        }
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken == 0
                && problems.is_empty()
                && slowest <= LISTED_WITHIN,
            n: num_tried,
            violations: verdict.num_violations,
            measured: format!(
                "{}: {num_tried} words, known after at most {}; under way {}{}",
                exchanges.join(", "),
                ms(slowest),
                verdict.told(),
                problems.iter().map(|it| format!("; {it}")).collect::<String>()
            ),
            target: format!("422 for it alone within {} of the start", ms(LISTED_WITHIN)),
        }
    })
}

/// Gone from the list and from the socket, under way.
pub(super) fn delisted(options: &Options) -> Figures {
    on_each(groups(options), options, |group, options| {
        let mut site = settled(&group, options);
        let control = site.control();
        let watch = Watch { patient: Some(peer_of(&group)), ..Watch::default() };
        let checker = Checker::start_as(&site, watch);
        let (dialled, log) = (Counted::of_all(&site, &group), site.service.log().len());
        set_under_way(control, &group, |_| "ABSENT".to_owned());
        thread::sleep(options.scaled(Duration::from_secs(4), Duration::from_secs(60)));
        let dials: u64 = Counted::of_all(&site, &group)
            .iter()
            .zip(&dialled)
            .map(|(now, before)| now.since(before).dials)
            .sum();
        let mut alone: Vec<&str> = Vec::new();
        alone.extend(group.iter().filter(|exchange| is_fresh(&site, exchange, OTHER)));
        let said = site.service.log().split_off(log);
        let loudest = group.iter().map(|it| said.lines().filter(|line| is_warning(line, it)).count()).max();
        let verdict = checker.finish();
        site.service.kill();
        site.restart();
        wait_until("the markets are known to be gone", || group.iter().all(|it| is_unsupported(&site, it)));
        let peer = peer_of(&group);
        site.until(BOTH, |answer| answer.json()["exchanger"] == peer);
        let unsupported = group.iter().filter(|it| ask(&site, it, MARKET) == 422).count();
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken == 0
                && alone.len() == group.len()
                && unsupported == group.len()
                && dials <= group.len() as u64
                && loudest <= Some(MOST_WARNINGS),
            n: group.len() as u64,
            violations: verdict.num_violations,
            measured: format!(
                "{}: {} go on with {OTHER}, {dials} dials, at most {} warnings each; {}; started anew, {unsupported} say \
                 that they do not trade it",
                group.join(", "),
                alone.len(),
                loudest.unwrap_or_default(),
                verdict.told()
            ),
            target: "the other market goes on, no more than one dial and some warnings each".to_owned(),
        }
    })
}

/// A subscription or a poll that was refused, and a socket that was replaced for it.
const MOST_WARNINGS: usize = 5;

fn is_warning(line: &str, exchange: &str) -> bool {
    line.contains("WARNING") && line.contains(&format!("{exchange}: "))
}

/// Prices of markets that were not subscribed to.
pub(super) fn stray(options: &Options) -> Figures {
    on_each(groups(options), options, |group, options| {
        let site = settled(&group, options);
        let control = site.control();
        let exchanges: &'static [&'static str] = group.leak();
        let checker = Checker::start_as(&site, watch_of(exchanges));
        let before = Counted::of_all(&site, exchanges);
        exchanges.iter().for_each(|it| control.break_exchange(it, &json!({"kind": "stray"})));
        thread::sleep(options.scaled(Duration::from_secs(3), Duration::from_secs(30)));
        let now = Counted::of_all(&site, exchanges);
        let counted: Vec<Counted> = now.iter().zip(&before).map(|(now, before)| now.since(before)).collect();
        let refused: Vec<u64> = counted.iter().map(|it| it.refused_as("unexpected_symbol")).collect();
        let are_named =
            counted.iter().all(|it| it.refused.keys().all(|reason| reason == "unexpected_symbol"));
        let num_straying = refused.iter().filter(|number| **number > 0).count();
        let verdict = checker.finish();
        Figures {
            pass: verdict.holds()
                && verdict.not_200 + verdict.broken + verdict.switches == 0
                && are_named
                && counted.iter().all(|it| it.dials == 0 && it.accepted > 0)
                && num_straying >= LEAST_STRAYING.min(exchanges.len()),
            n: refused.iter().sum(),
            violations: verdict.num_violations,
            measured: format!("{}: {refused:?} refused; {}", exchanges.join(", "), verdict.told()),
            target: "each refused as unexpected_symbol, no switch and no dial".to_owned(),
        }
    })
}

/// On Bitfinex a symbol is the number of a channel, and there is none without a subscription.
const LEAST_STRAYING: usize = 4;

fn ask(site: &Site, exchange: &str, direction: &str) -> u16 {
    site.get(&format!("/v1/courses?exchanger={exchange}&directions={direction}")).status
}

/// Whether it answers, or does so in a moment.
fn is_fresh(site: &Site, exchange: &str, direction: &str) -> bool {
    let began = Instant::now();
    while ask(site, exchange, direction) != 200 {
        if began.elapsed() > LISTED_WITHIN {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Whether the service knows that the market does not trade there.
fn is_unsupported(site: &Site, exchange: &str) -> bool {
    ask(site, exchange, MARKET) == 422
}
