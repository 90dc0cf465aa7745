//! The hub itself panics or stands still.

use std::time::Duration;

use tokio::time::Instant;

use super::healing::{DELIVERS_WITHIN, Look};
use super::{site_of, watch};
use crate::outside::wait_until;
use crate::row::{Figures, Options, ms};
use crate::site::Site;
use crate::wire::Wire;

/// What a client asks for.
const COURSES: &str = "/v1/courses?directions=BTC-USDT,ETH-USDT";

/// Failures that a hub may have within a minute.
const NUM_PANICS: u64 = 3;

/// The exit code of a process whose hub cannot be healed.
const RATE_BOOK_FAILED: i32 = 70;

/// How long the hub stands still, and when clients are told at the latest.
const STILL: Duration = Duration::from_secs(4);
const TOLD_WITHIN: Duration = Duration::from_millis(1_500);

/// After the hub goes on, somebody answers within this time.
const BACK_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn panics(options: &Options) -> Figures {
    let site = Site::settled(site_of(&["binance", "okx"], options));
    let exchanges = site.plan.exchanges().to_vec();
    let checker = watch(&site);
    let mut wire = Wire::to(site.address);
    let mut longest = Duration::ZERO;
    for num_panics in 1..=NUM_PANICS {
        let mut well_at = Instant::now();
        site.fail("rate_book::apply", "1*panic");
        wait_until("the hub answers again", || {
            let Some(look) = Look::at(&mut wire) else { return false };
            let is_answering = wire.ask(COURSES).is_ok_and(|answer| answer.status == 200);
            // It forgets what it was told, so every exchange begins anew.
            let is_new = exchanges.iter().all(|exchange| look.restarts(exchange) == num_panics);
            if is_answering && exchanges.iter().all(|exchange| look.restarts(exchange) < num_panics) {
                well_at = look.asked_at;
            }
            is_answering && is_new
        });
        longest = longest.max(well_at.elapsed());
        site.settle();
    }
    let verdict = checker.finish();
    let forgotten = site.service.log().matches("forgetting every quote").count();
    Figures {
        pass: verdict.holds()
            && verdict.broken == 0
            && longest <= options.limit(DELIVERS_WITHIN)
            && forgotten as u64 == NUM_PANICS,
        n: NUM_PANICS,
        violations: verdict.num_violations,
        measured: format!(
            "{forgotten} panics, the longest was over after {}; {}",
            ms(longest),
            verdict.told()
        ),
        target: format!(
            "every exchange begins anew, answers again within {}",
            ms(options.limit(DELIVERS_WITHIN))
        ),
    }
}

pub(super) fn gives_up(options: &Options) -> Figures {
    let mut site = Site::settled(site_of(&["binance"], options));
    let began = Instant::now();
    site.fail("rate_book::apply", "panic");
    let code = site.service.wait();
    let took = began.elapsed();
    let log = site.service.log();
    let critical: Vec<&str> = log.lines().filter(|line| line.contains(" CRITICAL ")).collect();
    let is_told = matches!(critical.as_slice(), [line] if line.contains("rate book failed"));
    let has_cause = log.contains("rate_book::apply panic");
    Figures {
        pass: code == Some(RATE_BOOK_FAILED)
            && is_told
            && has_cause
            && took <= options.limit(DELIVERS_WITHIN),
        n: 1,
        measured: format!("exit {code:?} after {}, {} CRITICAL lines", ms(took), critical.len()),
        target: format!("exit {RATE_BOOK_FAILED} with one CRITICAL line, and the panic before it"),
        ..Figures::default()
    }
}

pub(super) fn stands_still(options: &Options) -> Figures {
    let site = Site::settled(site_of(&["binance", "okx"], options));
    let checker = watch(&site);
    let num_trials = options.scaled(1, 5);
    let (mut told_after, mut back_after, mut is_alive) = (Duration::ZERO, Duration::ZERO, true);
    let began = Instant::now();
    for _ in 0..num_trials {
        let stopped_at = Instant::now();
        site.fail("rate_book::tick", &format!("1*sleep({})", STILL.as_millis()));
        told_after = told_after.max(checker.until("it is told", |seen| seen.reason == "ratebook_stalled"));
        is_alive &= site.get("/health/live").status == 200 && site.get("/health/ready").status == 503;
        checker.until("somebody answers again", |seen| {
            seen.status == 200 && seen.asked_at > stopped_at + TOLD_WITHIN
        });
        back_after = back_after.max(stopped_at.elapsed().saturating_sub(STILL));
        site.settle();
    }
    let slowest = checker.since(began).map(|seen| seen.answered_at - seen.asked_at).max().unwrap_or_default();
    let verdict = checker.finish();
    Figures {
        pass: verdict.holds()
            && verdict.broken == 0
            && is_alive
            && told_after <= options.limit(TOLD_WITHIN)
            && slowest <= options.limit(TOLD_WITHIN)
            && back_after <= options.limit(BACK_WITHIN),
        n: verdict.answers,
        violations: verdict.num_violations,
        measured: format!(
            "{num_trials} times {STILL:?}: told after {}, the slowest answer took {}, a course {} after it went on; \
             alive and not ready meanwhile: {is_alive}; {}",
            ms(told_after),
            ms(slowest),
            ms(back_after),
            verdict.told()
        ),
        target: format!(
            "503 `ratebook_stalled` within {}, a course again within {}",
            ms(options.limit(TOLD_WITHIN)),
            ms(options.limit(BACK_WITHIN))
        ),
    }
}
