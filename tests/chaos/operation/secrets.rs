//! Secrets that are planted, and looked for in everything that comes out.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::{PLANTED, every_source};
use crate::outside::wait_until;
use crate::row::{Figures, Options};
use crate::site::{Process, Site};
use crate::support::nats::Nats;
use crate::support::postgres::Postgres;
use crate::wire::Wire;

/// What is asked for, good and bad.
const PATHS: [&str; 12] = [
    "/v1/courses",
    "/v1/courses/BTC-USD",
    "/v1/courses?exchanger=coingecko",
    "/v1/courses?exchanger=nobody",
    "/v1/courses?max_age_ms=0",
    "/v1/history?direction=BTC-USDT",
    "/v1/events",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/nothing",
];

/// Everything that came out, and where the secret was in it.
#[derive(Default)]
struct Outputs {
    num_bytes: usize,
    hits: Vec<String>,
}

impl Outputs {
    fn look(&mut self, place: &str, text: &str) {
        self.num_bytes += text.len();
        for line in text.lines().filter(|line| line.contains(PLANTED)) {
            self.hits.push(format!("{place}: {line:.200}"));
        }
    }

    fn ask(&mut self, site: &Site) {
        let mut wire = Wire::to(site.address);
        for path in PATHS {
            let answer = wire.ask(path).unwrap_or_default();
            self.look(path, &answer.head);
            self.look(path, &answer.body);
        }
    }

    /// What a service left behind: its log, and every file but those of databases and the settings that we wrote.
    fn files(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap_or_default()).into_owned();
            self.look(&name, &text);
        }
    }
}

pub(super) fn planted(options: &Options) -> Figures {
    let mut outputs = Outputs::default();
    let (postgres, nats) = (Postgres::start(), Nats::start_guarded());
    let wrong_password = postgres.url().replace(":first@", &format!(":{PLANTED}-password@"));
    let is_planted = wrong_password != postgres.url();
    let variables = [
        ("RATEBOOK_DATABASE_URL", wrong_password),
        ("RATEBOOK_LOG", "debug".to_owned()),
        ("RATEBOOK_NATS_USER", format!("{PLANTED}-user")),
        ("RATEBOOK_NATS_PASSWORD", format!("{PLANTED}-password")),
    ];
    let plan = |is_with_broker: bool| {
        let mut plan = every_source(options);
        for (name, value) in &variables[..if is_with_broker { 4 } else { 2 }] {
            plan = plan.with_variable(name, value);
        }
        if is_with_broker { plan.with("nats_url", &json!(nats.url()).to_string()) } else { plan }
    };

    // Every source is fresh, so every key was sent; then each fails in its own words.
    let site = Site::settled(plan(false));
    wait_until("the database refuses us", || site.health()["storage"]["last_error"].is_string());
    outputs.ask(&site);
    for source in site.plan.exchanges() {
        site.control().break_exchange(source, &json!({"kind": "status", "status": 401}));
        site.control().break_exchange(source, &json!({"kind": "close"}));
    }
    wait_until("courses are gone", || site.get("/v1/courses").status == 503);
    outputs.ask(&site);
    outputs.files(site.directory());
    drop(site);

    let with_broker = Site::start(plan(true));
    wait_until("the broker refuses us", || with_broker.health()["bus"]["last_error"].is_string());
    outputs.ask(&with_broker);
    outputs.files(with_broker.directory());

    commands(&mut outputs, &variables);
    Figures {
        pass: outputs.hits.is_empty() && is_planted,
        n: outputs.num_bytes as u64,
        measured: format!(
            "{} hits in {} bytes of logs, answers, files and commands{}",
            outputs.hits.len(),
            outputs.num_bytes,
            outputs.hits.first().map_or(String::new(), |first| format!("; {first}"))
        ),
        target: "0 hits".to_owned(),
        ..Figures::default()
    }
}

/// What the commands print with these secrets, with good settings and with bad ones.
fn commands(outputs: &mut Outputs, variables: &[(&str, String)]) {
    let directory = tempfile::tempdir().unwrap();
    let good: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let with = |name: &str, value: &str| {
        let mut environment = good.clone();
        environment.insert(name.to_owned(), value.to_owned());
        environment
    };
    let trials = [
        (vec!["check-config"], good.clone()),
        (vec!["check-config", "--debug"], good.clone()),
        (vec!["exchanges"], good.clone()),
        (vec!["migrate"], good.clone()),
        (vec!["export", "--direction", "BTC-USDT"], good.clone()),
        (vec!["serve", "--debug"], with("RATEBOOK_ROLES", "cook")),
        (vec!["serve"], with("RATEBOOK_DATABASE_URL", &format!("mysql://me:{PLANTED}@db"))),
        (vec!["serve"], with("RATEBOOK_NATS_URL", &format!("nats://me:{PLANTED}@broker"))),
        (vec!["check-config"], with("RATEBOOK_EXCHANGES__COINGECKO__APIKEY", PLANTED)),
        (vec!["check-config"], with("RATEBOOK_EXCHANGES__COINGECKO__API_KEY", &format!("{PLANTED} key"))),
    ];
    for (number, (arguments, environment)) in trials.into_iter().enumerate() {
        let name = format!("command-{number}");
        let mut process = Process::start(directory.path(), &name, &arguments, &environment);
        process.wait();
        assert!(!process.log().is_empty(), "{arguments:?} says nothing");
    }
    outputs.files(directory.path());
}
