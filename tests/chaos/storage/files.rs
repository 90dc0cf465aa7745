//! A file of SQLite that cannot be written, is gone, or is no database.

use std::fs;
use std::thread;
use std::time::Duration;

use rust_decimal::Decimal;
use tokio::time::Instant;

use super::LOAD;
use super::trial::Trial;
use crate::disk::Disk;
use crate::load::get;
use crate::outside::{Outside, wait_until};
use crate::row::{Figures, Options};
use crate::service::{Plan, bid_of};
use crate::target::Target;

/// The file is there and may only be read when the service starts; later it may be written.
pub(super) fn read_only(options: &Options) -> Figures {
    let disk = Disk::of(256 << 20);
    let target = Target::sqlite(&disk.path());
    target.migrate();
    disk.make_read_only();
    let length = options.scaled(Duration::from_secs(3), Duration::from_secs(15));
    let cost = Trial::of(options, &target).run(|service| {
        await_error(service, "cannot open");
        thread::sleep(length);
        disk.make_writable();
    });
    cost.figures(options).told("told in health and log").and(is_logged(&cost.log, "cannot open"))
}

/// Somebody deletes the file under a service that has it open.
pub(super) fn deleted(options: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::sqlite(directory.path());
    let mut deleted_at = 0;
    let mut in_history = false;
    let cost = Trial::of(options, &target).run(|service| {
        service.drain();
        // So that a reader has the file open too.
        get(service.address, HISTORY);
        fs::remove_file(directory.path().join("quotes.db")).unwrap();
        deleted_at = service.accepted_until(Instant::now()).unwrap();
        thread::sleep(options.scaled(Duration::from_secs(2), Duration::from_secs(15)));
        service.drain();
        let ticks = get(service.address, HISTORY).1;
        let first = ticks["ticks"][0]["bid"].to_string();
        in_history =
            first.parse().is_ok_and(|first: Decimal| first > bid_of(deleted_at.saturating_sub(LOAD / 2)));
    });
    let stored = target.numbers(1);
    let num_lost = (deleted_at + 1..=cost.told).filter(|number| !stored.contains(number)).count();
    let content = target.content();
    let is_told = is_logged(&cost.log, "was deleted or replaced while it was in use");
    let is_once = content.rows == content.distinct && content.in_candles == content.rows;
    let figures = cost.figures(options);
    Figures {
        pass: num_lost == 0 && is_once && is_told && in_history && cost.not_200() == 0,
        measured: format!(
            "{num_lost} lost of {} accepted after the deletion; {}; history reads {}; {} answers not 200",
            cost.told - deleted_at,
            if is_told { "told in the log" } else { "NOT told" },
            if in_history { "the new file" } else { "the DELETED file" },
            cost.not_200(),
        ),
        target: "0 lost and 0 twice of what comes after; told in the log; every answer 200".to_owned(),
        ..figures
    }
}

/// The stored quotes of the numbered stream.
const HISTORY: &str = "/v1/history?direction=BTC-USDT&exchanger=binance&interval=tick&limit=1";

/// The first page of the file is overwritten while nobody has it open.
pub(super) fn corrupt(_: &Options) -> Figures {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::sqlite(directory.path());
    let plan = target.plan(directory.path(), LOAD);
    let mut service = Outside::start(&plan, "");
    service.wait_for(LOAD);
    service.terminate();
    let path = directory.path().join("quotes.db");
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[..100].fill(0xA5);
    fs::write(&path, &damaged).unwrap();

    let again = Plan { from: 10 * LOAD, ..plan };
    let mut service = Outside::start(&again, "");
    service.wait_for(again.from + LOAD);
    await_error(&service, "not a database");
    let (status, _) = get(service.address, "/v1/courses");
    let is_left = fs::read(&path).unwrap() == damaged;
    // Whoever has a copy puts it back.
    fs::write(&path, &whole).unwrap();
    service.drain();
    service.quiet();
    service.settle();
    let told = service.accepted_until(Instant::now()).unwrap();
    service.terminate();
    let stored = target.numbers(again.from);
    let num_lost = (again.from..=told).filter(|number| !stored.contains(number)).count();
    let is_told = is_logged(&service.log(), "not a database");
    Figures {
        pass: status == 200 && is_left && is_told && num_lost == 0,
        n: told - again.from + 1,
        measured: format!(
            "courses {status}; the file {}; {}; after its repair {num_lost} lost",
            if is_left { "unchanged" } else { "CHANGED" },
            if is_told { "told in health and log" } else { "NOT told" },
        ),
        target: "courses 200; no byte of the file changed; told; 0 lost once it is mended".to_owned(),
        ..Figures::default()
    }
}

/// Waits until `/health` says that storage is not well, and why.
fn await_error(service: &Outside, why: &str) {
    wait_until("health tells what is wrong with the file", || {
        let storage = service.storage();
        storage["status"] != "ok" && storage["last_error"].to_string().contains(why)
    });
}

fn is_logged(log: &str, why: &str) -> bool {
    log.lines().any(|line| (line.contains("WARNING") || line.contains("ERROR")) && line.contains(why))
}
