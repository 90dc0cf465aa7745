//! Rows about operation: starts, settings, a busy machine, and what is logged and counted.

use ratebook::exchange::{EXCHANGES, Kind};

use crate::row::{Figures, Options, Row};
use crate::site::Plan;

mod cardinality;
mod logs;
mod secrets;
mod settings;
mod starts;
mod starvation;

pub(crate) fn rows() -> Vec<Row> {
    let row = |id, claim, run: fn(&Options) -> Figures| Row { id, claim, run };
    vec![
        row("O-04", "a start without network, database or broker heals by itself", starts::without),
        row("O-05", "bad settings stop the start, and are named", settings::refused),
        row("O-07", "a busy machine makes no answer wrong", starvation::busy),
        row("O-07.2", "frames that wait unread count as old", starvation::slow_reader),
        row("O-09", "sources that say rubbish do not fill the log", logs::storm),
        row("O-10", "no secret is in any output", secrets::planted),
        row("O-11", "questions for what nobody has make no series", cardinality::bogus),
    ]
}

/// A key that a source may ask for; every one that is planted anywhere contains this word.
const PLANTED: &str = "planted";

/// Every source of the table, each with a key.
fn every_source(options: &Options) -> Plan {
    let is_market = |kind: &Kind| matches!(kind, Kind::Market);
    let markets = EXCHANGES.iter().filter(|row| is_market(&row.kind));
    let others = EXCHANGES.iter().filter(|row| !is_market(&row.kind));
    let names: Vec<&'static str> = markets.chain(others).map(|row| row.name.as_str()).collect();
    let mut plan = Plan::of(&names, options.seed);
    for name in names {
        let variable = format!("RATEBOOK_EXCHANGES__{}__API_KEY", name.to_ascii_uppercase());
        plan = plan.with_variable(&variable, &format!("{PLANTED}-key-of-{name}"));
    }
    plan
}
