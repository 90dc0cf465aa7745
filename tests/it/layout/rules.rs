//! The rules themselves: each looks at one file and says what is wrong with it.
//!
//! Separate from the tests, which try every rule on samples before they hold the tree to it.

use super::source::{NamedPath, SourceFile};

/// Says what is wrong with a file: the line, and why.
pub(super) type Rule = fn(&SourceFile) -> Vec<(usize, String)>;

/// What each part of the crate may name of the others. `app` and `cli` put the parts together and may name all.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("market", &[]),
    ("rate_book", &["market", "seeded_bug"]),
    ("exchange", &["market", "rate_book", "supervisor", "clock", "config", "metrics", "seeded_bug"]),
    ("history", &["market", "rate_book"]),
    ("http", &["market", "rate_book", "history", "clock", "config", "metrics"]),
    ("persist", &["market", "rate_book", "history", "supervisor", "clock", "config"]),
    ("bus", &["market", "rate_book", "supervisor", "clock", "config"]),
    ("simulator", &["market", "exchange", "clock", "config"]),
    ("supervisor", &["market", "clock"]),
    ("config", &["market", "exchange"]),
    ("logging", &["config", "clock"]),
    ("clock", &["market"]),
    ("metrics", &["market"]),
    ("seeded_bug", &[]),
];

/// Crates that only some parts may name, and which.
const AT_HOME: &[(&str, &[&str])] = &[
    ("diesel", &["persist"]),
    ("diesel_migrations", &["persist"]),
    ("async_nats", &["bus"]),
    ("awc", &["exchange", "cli"]),
    ("actix_ws", &["http", "simulator"]),
    ("prometheus", &["metrics"]),
];

/// What a pure file names no part of, with the reason.
const IMPURE: &[(&str, &str)] = &[
    ("actix", "actors live elsewhere"),
    ("actix_rt", "actors live elsewhere"),
    ("actix_web", "HTTP lives elsewhere"),
    ("actix_http", "HTTP lives elsewhere"),
    ("awc", "sockets live elsewhere"),
    ("tokio", "waiting lives elsewhere"),
    ("rand", "a rule decides the same way every time"),
    ("std::net", "sockets live elsewhere"),
    ("std::fs", "files live elsewhere"),
    ("std::env", "settings come from `config`"),
    ("std::thread", "threads live elsewhere"),
    ("crate::clock", "a rule gets its `Moment` passed in"),
];

/// Readings of a clock outside `clock.rs`: file, what it reads, and why that is no way around `Moment`.
pub(super) const OTHER_CLOCKS: &[(&str, &str, &str)] = &[
    ("src/http/guard.rs", "Instant::now", "measures how long a request took, for the log alone"),
    ("src/http/guard.rs", "elapsed", "measures how long a request took, for the log alone"),
];

fn starts_with(path: &NamedPath, prefix: &str) -> bool {
    let mut segments = path.segments.iter();
    prefix.split("::").all(|wanted| segments.next().is_some_and(|segment| segment == wanted))
}

pub(super) fn is_plug_in(file: &SourceFile) -> bool {
    file.top() == "exchange" && !file.lines_with("ROW: Row").is_empty()
}

pub(super) fn parts_name_only_what_lies_below_them(file: &SourceFile) -> Vec<(usize, String)> {
    let part = file.top();
    if ["", "app", "cli"].contains(&part.as_str()) {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY_NAME.iter().find(|(name, _)| *name == part) else {
        return vec![(1, format!("`{part}` has no row in `MAY_NAME`: say what it may name"))];
    };
    let is_actor = !file.lines_with("impl Actor for").is_empty();
    let allows = |other: &str| {
        other == part || allowed.contains(&other) || (part == "rate_book" && other == "clock" && is_actor)
    };
    let ours = file.named_paths().into_iter().filter(|path| path.segments[0] == "crate");
    ours.filter(|path| path.segments.get(1).is_some_and(|other| !allows(other)))
        .map(|path| (path.line, format!("`{part}` may not name `{}`", path.segments.join("::"))))
        .collect()
}

pub(super) fn crates_stay_at_home(file: &SourceFile) -> Vec<(usize, String)> {
    let part = file.top();
    let is_away = |path: &NamedPath| {
        let home = AT_HOME.iter().find(|(name, _)| path.segments[0] == *name);
        home.is_some_and(|(_, parts)| !parts.contains(&part.as_str()))
    };
    let away = file.named_paths().into_iter().filter(is_away);
    away.map(|path| (path.line, format!("`{}` is not used in `{part}`", path.segments[0]))).collect()
}

fn names_nothing_impure(file: &SourceFile) -> Vec<(usize, String)> {
    let why =
        |path: &NamedPath| IMPURE.iter().find(|(impure, _)| starts_with(path, impure)).map(|(_, why)| *why);
    let named = file.named_paths();
    let impure = named.iter().filter_map(|path| Some((path, why(path)?)));
    impure.map(|(path, why)| (path.line, format!("names `{}`: {why}", path.segments.join("::")))).collect()
}

pub(super) fn market_and_rules_are_pure(file: &SourceFile) -> Vec<(usize, String)> {
    let is_shell = ["impl Actor for", "Message"].iter().any(|word| !file.lines_with(word).is_empty());
    match file.top().as_str() {
        "market" => names_nothing_impure(file),
        "rate_book" if !is_shell => names_nothing_impure(file),
        _ => Vec::new(),
    }
}

pub(super) fn plug_ins_are_pure(file: &SourceFile) -> Vec<(usize, String)> {
    if !is_plug_in(file) {
        return Vec::new();
    }
    let is_foreign = |path: &&NamedPath| {
        path.segments[0] == "crate"
            && !starts_with(path, "crate::market")
            && !starts_with(path, "crate::exchange")
            || starts_with(path, "crate::exchange::actor")
    };
    let named = file.named_paths();
    let foreign = named.iter().filter(is_foreign);
    let foreign = foreign.map(|path| (path.line, format!("names `{}`", path.segments.join("::"))));
    foreign.chain(names_nothing_impure(file)).collect()
}

pub(super) fn only_config_reads_the_environment(file: &SourceFile) -> Vec<(usize, String)> {
    if file.top() == "config" {
        return Vec::new();
    }
    let reads = |path: &NamedPath| {
        let mut pairs = path.segments.windows(2);
        pairs.any(|pair| {
            pair[0] == "env" && ["var", "vars", "var_os", "vars_os", "*"].contains(&pair[1].as_str())
        })
    };
    let named = file.named_paths().into_iter().filter(reads);
    named.map(|path| (path.line, "reads the environment, which only `config` does".to_owned())).collect()
}

pub(super) fn only_clock_reads_the_clocks(file: &SourceFile) -> Vec<(usize, String)> {
    // The simulator is the world outside: it has clocks of its own.
    if file.path == "src/clock.rs" || file.top() == "simulator" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (needle, reading) in [
        ("Instant::now", "Instant::now"),
        ("SystemTime::now", "SystemTime::now"),
        ("Utc::now", "Utc::now"),
        ("Local::now", "Local::now"),
        (".elapsed()", "elapsed"),
    ] {
        let is_known = OTHER_CLOCKS.iter().any(|(path, known, _)| *path == file.path && *known == reading);
        let lines = if is_known { Vec::new() } else { file.lines_with(needle) };
        found.extend(
            lines.into_iter().map(|line| (line, format!("`{needle}`: take a `Moment` from `clock`"))),
        );
    }
    found
}

pub(super) fn main_is_short(file: &SourceFile) -> Vec<(usize, String)> {
    let num_lines = file.text.lines().count();
    let is_long = file.path == "src/main.rs" && num_lines > 40;
    if is_long { vec![(41, format!("{num_lines} lines, and 40 are enough"))] } else { Vec::new() }
}

pub(super) fn nothing_is_unwrapped(file: &SourceFile) -> Vec<(usize, String)> {
    let lines = file.lines_with(".unwrap()");
    lines.into_iter().map(|line| (line, "`unwrap` says nothing when it fails".to_owned())).collect()
}

pub(super) fn every_file_says_what_it_is(file: &SourceFile) -> Vec<(usize, String)> {
    let says = file.text.lines().next().is_some_and(|line| line.starts_with("//! "));
    if says { Vec::new() } else { vec![(1, "does not open with `//!` and a sentence".to_owned())] }
}

pub(super) fn json_shapes_for_clients_stay_in_http(file: &SourceFile) -> Vec<(usize, String)> {
    if !["market", "rate_book", "supervisor", "clock", "app"].contains(&file.top().as_str()) {
        return Vec::new();
    }
    let lines = ["Serialize", "json!", "to_json"].iter().flat_map(|word| file.lines_with(word));
    lines.map(|line| (line, "gives something the shape of JSON, which `http` does".to_owned())).collect()
}

pub(super) fn prices_are_never_floats(file: &SourceFile) -> Vec<(usize, String)> {
    let touches_prices = ["market", "rate_book", "persist", "bus"].contains(&file.top().as_str());
    if !touches_prices && !is_plug_in(file) {
        return Vec::new();
    }
    let lines = ["f64", "f32"].iter().flat_map(|word| file.lines_with(word));
    lines.map(|line| (line, "a float where prices pass".to_owned())).collect()
}

pub(super) fn no_thread_sleeps(file: &SourceFile) -> Vec<(usize, String)> {
    let sleeps = file
        .named_paths()
        .into_iter()
        .filter(|path| path.segments.ends_with(&["thread".into(), "sleep".into()]));
    sleeps.map(|path| (path.line, "blocks every actor of its thread".to_owned())).collect()
}
