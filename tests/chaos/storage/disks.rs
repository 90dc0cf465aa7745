//! Disks that are full.

use std::thread;
use std::time::Duration;

use super::trial::{Cost, Trial};
use crate::disk::Disk;
use crate::outside::{Outside, wait_until};
use crate::row::{Figures, Options};
use crate::target::Target;

/// What the service may take more while quotes wait in memory.
pub(super) const MOST_MEMORY_KIB: u64 = 32 << 10;

/// How soon a failure of the outbox is told.
pub(super) const TOLD_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn of_postgres(options: &Options) -> Figures {
    let target = Target::postgres_on_small_disk(96 << 20);
    let length = options.scaled(Duration::from_secs(4), Duration::from_secs(30));
    let cost = Trial::of(options, &target).run(|_| {
        target.server().fill_disk();
        thread::sleep(length);
        target.server().free_disk();
    });
    cost.figures(options)
}

pub(super) fn of_sqlite(options: &Options) -> Figures {
    let disk = Disk::of(256 << 20);
    let target = Target::sqlite(&disk.path());
    let length = options.scaled(Duration::from_secs(4), Duration::from_secs(15));
    let cost = Trial::of(options, &target).run(|service| {
        disk.fill();
        wait_until("the full disk is told", || service.storage()["status"] == "impaired");
        thread::sleep(length);
        disk.free();
    });
    cost.figures(options)
}

/// Something else fills the disk of the outbox, while PostgreSQL works.
pub(super) fn of_outbox(options: &Options) -> Figures {
    let disk = Disk::of(32 << 20);
    let target = Target::postgres();
    let length = options.scaled(Duration::from_secs(4), Duration::from_secs(15));
    let mut trial = Trial::of(options, &target);
    trial.plan.outbox = disk.path().join("outbox.db");
    let mut growth = 0;
    let cost = trial.run(|service| {
        let before = service.memory_kib();
        disk.fill();
        await_alarm(service);
        thread::sleep(length);
        growth = service.memory_kib().saturating_sub(before);
        disk.free();
    });
    judged(options, &cost, growth)
}

/// PostgreSQL is away so long that the outbox leaves no room on its disk; then it comes back.
pub(super) fn filled_by_outbox(options: &Options) -> Figures {
    let disk = Disk::of(12 << 20);
    let target = Target::postgres();
    let length = options.scaled(Duration::from_secs(2), Duration::from_secs(10));
    let mut trial = Trial::of(options, &target);
    trial.plan.outbox = disk.path().join("outbox.db");
    trial.plan.quotes_per_second = options.scaled(5_000, 2_000);
    let mut growth = 0;
    let cost = trial.run(|service| {
        let before = service.memory_kib();
        target.server().stop_immediately();
        wait_until("the outbox fills its disk", || service.log().contains("takes nothing"));
        await_alarm(service);
        thread::sleep(length);
        growth = service.memory_kib().saturating_sub(before);
        target.server().start_again();
    });
    judged(options, &cost, growth)
}

/// Waits until `/health` tells of an outbox that takes nothing.
pub(super) fn await_alarm(service: &Outside) {
    let told = || {
        let storage = service.storage();
        storage["status"] == "impaired" && storage["last_error"].to_string().contains("outbox")
    };
    let began = tokio::time::Instant::now();
    wait_until("the outbox that takes nothing is told", told);
    assert!(began.elapsed() < TOLD_WITHIN, "told after {:?} only", began.elapsed());
}

/// The row of an outbox that took nothing for a while: what fits into memory is stored, and memory stays.
pub(super) fn judged(options: &Options, cost: &Cost, growth: u64) -> Figures {
    let is_said = cost.log.contains("takes nothing") && cost.log.contains("takes quotes again");
    let is_small = growth <= MOST_MEMORY_KIB;
    let told =
        format!("memory +{:.1} MiB, {} conflated", growth as f64 / 1024.0, cost.storage["conflated_quotes"]);
    cost.figures(options).told(&told).and(is_said && is_small)
}
