//! Ends of the service as an orchestrator asks for them.

use std::time::Duration;

use tokio::time::Instant;

use super::LOAD;
use crate::outside::{Outside, numbers_in_outbox};
use crate::row::{Figures, Options};
use crate::service::Plan;
use crate::target::Target;

/// After which an orchestrator kills.
const GONE_WITHIN: Duration = Duration::from_secs(15);

pub(super) fn database_works(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let with_sqlite = end(options, &Target::sqlite(directory.path()), |_| {}, |_| {});
    with_sqlite.with(end(options, &Target::postgres(), |_| {}, |_| {}))
}

pub(super) fn database_is_down(options: &Options) -> Figures {
    let (stop, start) = (|target: &Target| target.server().stop_immediately(), start_again);
    end(options, &Target::postgres(), stop, start)
}

pub(super) fn database_is_frozen(options: &Options) -> Figures {
    let freeze = |target: &Target| target.server().freeze();
    end(options, &Target::postgres(), freeze, |target| target.server().thaw())
}

fn start_again(target: &Target) {
    target.server().start_again();
}

/// Ends a service under load some time after `harm`, and starts it again after `heal`.
fn end(options: &Options, target: &Target, harm: impl Fn(&Target), heal: impl Fn(&Target)) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let mut plan = target.plan(directory.path(), LOAD);
    let (mut num_told, mut num_lost, mut longest) = (0, 0, Duration::ZERO);
    let (mut codes, mut is_whole) = (Vec::new(), true);
    for _ in 0..options.scaled(1, 10) {
        let mut service = Outside::start(&plan, "");
        service.wait_for(plan.from + LOAD);
        harm(target);
        service.wait_for(service.accepted_until(Instant::now()).unwrap() + 2 * LOAD);
        let ended = service.terminate();
        let told = service.accepted_until(Instant::now()).unwrap();
        is_whole &= target.is_whole();
        heal(target);
        longest = longest.max(ended.took);
        codes.push(ended.code);

        let quiet = Plan { is_quoting: false, ..plan.clone() };
        let mut next = Outside::start(&quiet, "");
        next.settle();
        next.terminate();
        let mut stored = target.numbers(plan.from);
        stored.extend(numbers_in_outbox(&plan.outbox));
        num_lost += (plan.from..=told).filter(|number| !stored.contains(number)).count();
        num_told += told - plan.from + 1;
        plan.from = told.max(stored.last().copied().unwrap_or_default()) + 1_000;
    }
    let content = target.content();
    let num_twice = content.rows - content.distinct + content.in_candles.abs_diff(content.rows);
    let is_in_order = codes.iter().all(|code| *code == Some(0));
    Figures {
        pass: num_lost == 0 && num_twice == 0 && is_in_order && is_whole && longest <= GONE_WITHIN,
        n: num_told,
        measured: format!(
            "{}: {} ends: {num_lost} lost, {num_twice} twice of {num_told} accepted; exit {}; the longest took {:.1} s{}",
            target.name(),
            codes.len(),
            if is_in_order { "0".to_owned() } else { format!("{codes:?}") },
            longest.as_secs_f64(),
            if is_whole { "" } else { "; the file of SQLite is NOT whole without its log" },
        ),
        target: "0 lost, 0 twice after the next start; exit 0 within 15 s; the one file of SQLite holds everything".to_owned(),
        ..Figures::default()
    }
}
