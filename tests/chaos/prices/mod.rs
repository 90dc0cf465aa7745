//! Rows about prices: whatever an exchange says that is wrong, no client ever sees it.
//!
//! Each is tried on Binance and on one exchange of every other family of wire protocol at once; `--full` tries it on
//! all, five at a time. Beside the course of whoever answers, the checker asks each of them by its name.

use ratebook::exchange::{EXCHANGES, Kind};
use serde_json::json;

use crate::row::{Figures, Options, Row};
use crate::site::{Plan, Site};
use crate::transport::FAMILIES;

mod calendar;
mod crosses;
pub(crate) mod digits;
mod refused;
mod standing;
mod times;

/// What the checker asks for, and so what exchanges listen to.
const DIRECTIONS: &str = "[\"BTC-USDT\", \"ETH-USDT\"]";

pub(crate) fn rows() -> Vec<Row> {
    let row = |id, claim, run: fn(&Options) -> Figures| Row { id, claim, run };
    vec![
        row("P-01", "a price of zero is refused, however it is written", refused::zero),
        row("P-02", "a negative price is refused", refused::negative),
        row("P-03", "what is no number is refused", refused::no_number),
        row("P-04", "a number that cannot be kept exactly is refused, and any other is exact", digits::forms),
        row("P-05", "a price of another magnitude is refused", refused::magnitude),
        row("P-06", "a slip of units is refused", refused::slip_of_units),
        row("P-07", "an inverted price is refused", refused::inverted),
        row(
            "P-08",
            "the price of another asset is refused where its magnitude tells",
            refused::another_asset,
        ),
        row("P-09", "a quote that is old when it comes is refused", times::old),
        row("P-10", "a quote from the future is refused, and none is fresh for ever", times::future),
        row("P-11", "quotes that overtake each other and come twice take nothing back", times::shuffled),
        row("P-13", "a crossed or locked book is refused", refused::crossed),
        row("P-14", "a book with one side is refused", refused::one_sided),
        row("P-24", "an aggregator's body without a price is no price", refused::empty_body),
        row("P-25", "an aggregator's old price is refused", refused::old_body),
        row(
            "P-26",
            "a fixing counts from its date on until the next, over weekends and holidays",
            calendar::fixings,
        ),
        row("P-27", "a market that is halted is not answered with", standing::halted),
        row("P-28", "a market that is delisted is missed alone", standing::delisted),
        row("P-30", "a cross is as old as its oldest leg, and goes with it alone", crosses::one_leg),
        row("P-31", "every digit of a price comes through", digits::every_digit),
        row("P-32", "bid and ask of a course come from one message", times::torn),
        row("P-38", "a price that nobody asked for changes nothing", standing::stray),
    ]
}

/// The markets on which a row is tried, those of each list at once.
fn groups(options: &Options) -> Vec<Vec<&'static str>> {
    if options.full { markets().chunks(5).map(<[_]>::to_vec).collect() } else { vec![FAMILIES.to_vec()] }
}

fn markets() -> Vec<&'static str> {
    let markets = EXCHANGES.iter().filter(|row| matches!(row.kind, Kind::Market));
    markets.map(|row| row.name.as_str()).collect()
}

/// Who stands behind the exchanges on trial and is never touched.
fn peer_of(group: &[&'static str]) -> &'static str {
    let is_free = |name: &&&str| !group.contains(*name);
    ["okx", "bybit", "gate"].iter().find(is_free).expect("at most five are on trial")
}

/// A site of these and of their peer.
fn site_of(group: &[&'static str], options: &Options) -> Plan {
    let exchanges: Vec<&'static str> = group.iter().copied().chain([peer_of(group)]).collect();
    // Nobody has to hurry: what clients have to do within minutes is no part of these rows.
    Plan::of(&exchanges, options.seed).with("directions", DIRECTIONS).with_simulator_speed(1)
}

/// Such a site, on which exchanges trade nothing else of these assets, so that every quote is of what is asked for.
fn settled(group: &[&'static str], options: &Options) -> Site {
    let site = Site::start_after(site_of(group, options), |control| {
        let told = control.get("truth");
        for exchange in group {
            let traded = told["quotes"][*exchange].as_object().expect("what it publishes").keys();
            let is_beside = |it: &&String| match it.split_once('-') {
                Some((base, counter)) => ["BTC", "ETH", "USDT"].contains(&base) && counter != "USDT",
                None => false,
            };
            for direction in traded.filter(is_beside) {
                let gone = json!({"direction": direction, "status": "ABSENT"});
                control.post(&format!("{exchange}/symbols"), &gone);
            }
        }
    });
    site.settle();
    site
}

/// Tries a row on one group after the other.
fn on_each(
    groups: Vec<Vec<&'static str>>,
    options: &Options,
    run: impl Fn(Vec<&'static str>, &Options) -> Figures,
) -> Figures {
    let all = groups.into_iter().map(|group| run(group, options));
    all.reduce(Figures::with).unwrap_or_default()
}
