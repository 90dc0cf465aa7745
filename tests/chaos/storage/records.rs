//! A record that the database refuses.

use super::LOAD;
use super::trial::{Cost, Trial};
use crate::outside::{Outside, wait_until};
use crate::row::{Figures, Options};
use crate::service::bid_of;
use crate::support::sqlite;
use crate::target::Target;

/// The record that is refused: it comes in the second second.
const POISON: u64 = LOAD * 3 / 2;

pub(super) fn poison_for_postgres(options: &Options) -> Figures {
    let target = Target::postgres();
    target.migrate();
    let bid = bid_of(POISON);
    target.server().psql(&format!("ALTER TABLE quotes ADD CONSTRAINT poison CHECK (bid <> {bid})"));
    let cost = Trial::of(options, &target).run(await_poison);
    judged(options, &target, &cost)
}

pub(super) fn poison_for_sqlite(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::sqlite(directory.path());
    target.migrate();
    // SQLite adds no rule to a table that is there, other than in its text.
    let bid = bid_of(POISON).normalize();
    let rule = format!("CHECK (bid <> ''{bid}''), CHECK (bid IS NOT NULL OR");
    sqlite::execute(
        &directory.path().join("quotes.db"),
        &format!(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'CHECK (bid IS NOT NULL OR', '{rule}') WHERE name = 'quotes';
             PRAGMA writable_schema = OFF;"
        ),
    );
    let cost = Trial::of(options, &target).run(await_poison);
    judged(options, &target, &cost)
}

fn await_poison(service: &Outside) {
    wait_until("a record is set aside", || service.storage()["rejected_rows"] == 1);
}

fn judged(options: &Options, target: &Target, cost: &Cost) -> Figures {
    let aside = target.query("SELECT record FROM rejected_quotes");
    let is_it = aside.len() == 1 && aside[0][0].contains(&bid_of(POISON).normalize().to_string());
    let missing: Vec<u64> = {
        let stored = target.numbers(1);
        (1..=cost.told).filter(|number| !stored.contains(number)).collect()
    };
    let figures = cost.figures(options);
    Figures {
        pass: is_it
            && missing == [POISON]
            && cost.num_lost == 1
            && cost.num_twice == 0
            && cost.not_200() == 0,
        target: "1 set aside, which is the poison; every other stored once; every answer 200".to_owned(),
        ..figures
    }
    .told(&format!("{} set aside, {} not stored", aside.len(), missing.len()))
}
