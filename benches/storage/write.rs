//! Rows a second into each database, beside its own ways to take rows.
//!
//! Ours writes candles too, and looks what is new; the others write the same rows into an equal table, and nothing else.

use ratebook::persist::Store;
use ratebook::rate_book::Record;
use tokio::time::Instant;

use crate::Scale;
use crate::bare::{self, Copy, Insert, Psql};
use crate::market_day::MarketDay;
use crate::measuring::rounds::{Contender, interleave, print_rates};
use crate::target::Target;

/// Records of a transaction.
const BATCHES: [usize; 3] = [100, 1_000, 10_000];

/// Rounds with batches of a hundred take longest.
const SHARE_OF_SMALL: usize = 5;

pub(crate) fn measure(scale: Scale) {
    let (sqlite, beside) = (Target::sqlite(), Target::sqlite());
    let servers = [Target::durable_postgres(), Target::postgres_without_fsync()];
    drop(beside.store());
    for batch in BATCHES {
        let share = if batch == BATCHES[0] { SHARE_OF_SMALL } else { 1 };
        let num_batches = (scale.rows_per_round / share / batch).max(1);
        let plan = Plan { batch, num_batches };
        let mut contenders = vec![plan.insert_into_sqlite(&beside), plan.ours(&sqlite)];
        let mut stores = vec![sqlite.store()];
        for server in &servers {
            stores.push(server.store());
        }
        drop(stores);
        for server in &servers {
            server.ask("DROP TABLE IF EXISTS copied, copied_by_psql, inserted");
            server.ask("TRUNCATE quotes, candles");
            bare::make_tables(server);
            contenders.push(plan.copy(server));
            contenders.push(plan.psql(server));
            contenders.push(plan.insert_into_postgres(server));
            contenders.push(plan.ours(server));
        }
        empty(&sqlite);
        empty(&beside);
        let mut measured = interleave(scale.num_rounds, contenders);
        for target in [&sqlite, &servers[0], &servers[1]] {
            let rest = measured.split_off(if target.name == sqlite.name { 2 } else { 4 });
            print_rates(&format!("{}, {batch} rows a transaction", target.name), "rows/s", &measured);
            measured = rest;
        }
    }
}

fn empty(sqlite: &Target) {
    let mut connection = Insert::sqlite(sqlite);
    connection.run("DELETE FROM quotes; DELETE FROM candles;");
}

/// How much is written in a round.
#[derive(Clone, Copy)]
struct Plan {
    batch: usize,
    num_batches: usize,
}

impl Plan {
    fn ours<'a>(self, target: &Target) -> Contender<'a> {
        let mut store: Box<dyn Store> = target.store();
        self.contender("ratebook, with candles", <[Record]>::to_vec, move |records| {
            let written = store.write(records).unwrap();
            assert_eq!(written.stored, records.len());
        })
    }

    fn copy<'a>(self, server: &Target) -> Contender<'a> {
        let mut copy = Copy::connect(server);
        self.contender("COPY alone", bare::copy_text, move |text| copy.run(text))
    }

    fn psql<'a>(self, server: &Target) -> Contender<'a> {
        let mut psql = Psql::connect(server);
        let statements = |records: &[Record]| {
            format!("COPY copied_by_psql FROM STDIN;\n{}\\.\n", bare::copy_text(records))
        };
        self.contender("COPY through psql", statements, move |statements| psql.run(statements))
    }

    fn insert_into_postgres<'a>(self, server: &Target) -> Contender<'a> {
        let mut insert = Insert::postgres(server);
        let statement = |records: &[Record]| bare::insert_into_postgres("inserted", records);
        self.contender("INSERT of many rows", statement, move |statement| insert.run(statement))
    }

    fn insert_into_sqlite<'a>(self, sqlite: &Target) -> Contender<'a> {
        let mut insert = Insert::sqlite(sqlite);
        self.contender("INSERT of many rows", bare::insert_into_sqlite, move |statement| {
            insert.run(statement)
        })
    }

    /// Somebody who writes what is made ready of each batch; every round has quotes that are new.
    fn contender<'a, P: 'a>(
        self,
        name: &str,
        make_ready: impl Fn(&[Record]) -> P + 'a,
        mut write: impl FnMut(&P) + 'a,
    ) -> Contender<'a> {
        let mut day = MarketDay::of_all();
        let round = move || {
            let ready: Vec<P> = (0..self.num_batches).map(|_| make_ready(&day.batch(self.batch))).collect();
            let began_at = Instant::now();
            ready.iter().for_each(&mut write);
            (self.num_batches * self.batch) as f64 / began_at.elapsed().as_secs_f64()
        };
        (name.to_owned(), Box::new(round))
    }
}
