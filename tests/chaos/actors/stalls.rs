//! An exchange that does not go on, and what it says when it does after all.

use std::time::Duration;

use tokio::time::Instant;

use super::healing::Look;
use super::{site_of, watch};
use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::Site;
use crate::wire::Wire;

/// The exchange that stalls, and its peers, which share the process with it.
const EXCHANGE: &str = "binance";
const PEERS: [&str; 3] = ["okx", "bybit", "kraken"];

/// Two heartbeats without progress, and what the order to stall and the looks take.
const NOTICED_WITHIN: Duration = Duration::from_millis(4_250);

/// The silence was a part of the delay before the next life.
const REPLACED_WITHIN: Duration = Duration::from_secs(5);

/// How old the newest quote of a peer may become: beside other rows every quote waits for a processor, but for less than
/// half of the stall.
const MOST_AGE_MS: u64 = 1_000;
const MOST_AGE_BESIDE_OTHERS_MS: u64 = 2_500;

/// Longer than it takes to replace an exchange, so that the old life speaks beside the new one; and beside other rows.
const LATE: Duration = Duration::from_secs(8);
const LATE_BESIDE_OTHERS: Duration = Duration::from_secs(10);

pub(super) fn blocked(options: &Options) -> Figures {
    stalled(options, "frame", "1*sleep(5000)")
}

pub(super) fn waiting(options: &Options) -> Figures {
    stalled(options, "wait", "1*return")
}

fn stalled(options: &Options, place: &str, actions: &str) -> Figures {
    let site = Site::settled(site_of(&[&[EXCHANGE], PEERS.as_slice()].concat(), options));
    let checker = watch(&site);
    let mut wire = Wire::to(site.address);
    let (mut noticed_after, mut replaced_after, mut most_age_ms) = (Duration::ZERO, Duration::ZERO, 0);
    let num_stalls = options.scaled(1, 4);
    for stall in 1..=num_stalls {
        let began = Instant::now();
        let mut noticed_at = None;
        site.fail(&format!("exchange::{place}({EXCHANGE})"), actions);
        wait_until("the exchange is replaced", || {
            let Some(look) = Look::at(&mut wire) else { return false };
            for peer in PEERS {
                most_age_ms = most_age_ms.max(look.number(peer, "last_quote_age_ms"));
            }
            // One `down` follows the `stale` of its silence, and says why.
            let is_noticed = look.text(EXCHANGE, "status") == "down"
                && look.text(EXCHANGE, "last_error").contains("made no progress");
            let is_replaced = look.restarts(EXCHANGE) >= stall;
            if is_noticed || is_replaced {
                noticed_at.get_or_insert(look.answered_at);
            }
            is_replaced
        });
        replaced_after = replaced_after.max(began.elapsed());
        noticed_after = noticed_after.max(noticed_at.map_or(replaced_after, |at| at - began));
        site.settle();
    }
    let told = site.service.log().matches("made no progress").count();
    let age_limit_ms = options.scaled(MOST_AGE_BESIDE_OTHERS_MS, MOST_AGE_MS);
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && noticed_after <= options.limit(NOTICED_WITHIN)
            && replaced_after <= options.limit(REPLACED_WITHIN)
            && most_age_ms <= age_limit_ms,
        n: num_stalls,
        violations: verdict.num_violations,
        measured: format!(
            "{num_stalls} stalls: noticed within {}, replaced within {}, said {told} times; peers' quotes at most \
             {most_age_ms} ms old; {}",
            ms(noticed_after),
            ms(replaced_after),
            verdict.told()
        ),
        target: format!(
            "noticed within {}, replaced within {}, peers' quotes at most {age_limit_ms} ms old, every answer 200",
            ms(options.limit(NOTICED_WITHIN)),
            ms(options.limit(REPLACED_WITHIN))
        ),
    }
}

/// The old life of an exchange goes on when the new one is at work, and says what it read before.
pub(super) fn late(options: &Options) -> Figures {
    let site = Site::settled(site_of(&[EXCHANGE, PEERS[0]], options));
    let checker = watch(&site);
    let (mut num_refused, late) = (0, options.scaled(LATE_BESIDE_OTHERS, LATE));
    let num_trials = options.scaled(1, 4);
    for trial in 1..=num_trials {
        let began = Instant::now();
        site.fail(&format!("exchange::frame({EXCHANGE})"), &format!("1*sleep({})", late.as_millis()));
        wait_until("the exchange is replaced", || site.health_of(EXCHANGE)["restarts"] == trial);
        site.settle();
        let settled_after = began.elapsed();
        assert!(settled_after < late, "the next life took {settled_after:?}");
        let before = num_refused;
        wait_until("the old life speaks", || {
            num_refused = num_old(&site);
            num_refused > before
        });
    }
    let verdict = checker.finish();
    let restarts = site.health_of(EXCHANGE)["restarts"].as_u64();
    Figures {
        pass: verdict.holds() && verdict.not_200 + verdict.broken == 0 && restarts == Some(num_trials),
        n: num_refused,
        violations: verdict.num_violations,
        measured: format!("{num_refused} quotes of {num_trials} old lives refused; {}", verdict.told()),
        target: "what an old life says is refused as `old_epoch`, and no answer shows it".to_owned(),
    }
}

/// Quotes that were refused because a replaced life said them.
fn num_old(site: &Site) -> u64 {
    let metrics = site.get("/metrics").body;
    let is_it = |line: &&str| {
        line.starts_with("ratebook_exchange_refused_quotes_total{")
            && line.contains(&format!("exchange=\"{EXCHANGE}\""))
            && line.contains("reason=\"old_epoch\"")
    };
    let line = metrics.lines().find(is_it);
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
}
