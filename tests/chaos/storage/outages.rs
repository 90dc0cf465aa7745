//! A PostgreSQL that is away, ends, waits or refuses.

use std::thread;
use std::time::Duration;

use super::trial::Trial;
use crate::row::{Figures, Options};
use crate::support::postgres::Postgres;
use crate::target::Target;

/// Between two ends of the database: some batches.
const BETWEEN_ENDS: Duration = Duration::from_millis(700);

/// Every way in which a server or its connections end.
const ENDS: [fn(&mut Postgres); 4] = [
    Postgres::restart,
    |server| {
        server.stop_immediately();
        server.start_again();
    },
    |server| server.disconnect(),
    |server| server.kill_backend(),
];

pub(super) fn down(options: &Options) -> Figures {
    let target = Target::postgres();
    let length = options.scaled(Duration::from_secs(4), Duration::from_secs(60));
    let cost = Trial::of(options, &target).run(|_| {
        target.server().stop_immediately();
        thread::sleep(length);
        target.server().start_again();
    });
    cost.figures(options)
}

pub(super) fn restarts(options: &Options) -> Figures {
    let target = Target::postgres();
    let num_rounds = options.scaled(1, 5);
    let cost = Trial::of(options, &target).run(|_| {
        for end in ENDS.iter().cycle().take(num_rounds * ENDS.len()) {
            end(&mut target.server());
            thread::sleep(BETWEEN_ENDS);
        }
    });
    cost.figures(options).told(&format!("{} ends", num_rounds * ENDS.len()))
}

pub(super) fn slow_commits(options: &Options) -> Figures {
    let target = Target::postgres();
    let length = options.scaled(Duration::from_secs(4), Duration::from_secs(60));
    let cost = Trial::of(options, &target).run(|_| {
        target.server().psql(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$; \
             CREATE TRIGGER slow AFTER INSERT ON quotes FOR EACH STATEMENT EXECUTE FUNCTION slow();",
        );
        thread::sleep(length);
        target.server().psql("DROP TRIGGER slow ON quotes");
    });
    cost.figures(options)
}

pub(super) fn frozen(options: &Options) -> Figures {
    let target = Target::postgres();
    let length = options.scaled(Duration::from_secs(4), Duration::from_secs(60));
    let cost = Trial::of(options, &target).run(|_| {
        target.server().freeze();
        thread::sleep(length);
        target.server().thaw();
    });
    cost.figures(options)
}

/// It takes no writes, as after the lead went to another server; and then it wants another password.
pub(super) fn refusing(options: &Options) -> Figures {
    let target = Target::postgres();
    let length = options.scaled(Duration::from_secs(2), Duration::from_secs(30));
    let cost = Trial::of(options, &target).run(|service| {
        target.server().make_read_only();
        thread::sleep(length);
        target.server().make_writable();
        service.drain();
        target.server().change_password();
        thread::sleep(length);
        target.server().restore_password();
    });
    cost.figures(options)
}
