//! `ratebook courses`: asks a running service, and prints what it answers as a table.
//!
//! It is a client like any other: it knows the HTTP contract and nothing of what is behind it. Values are shown
//! digit by digit as they were answered.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use awc::Client;
use chrono::SecondsFormat;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client;
use super::failure::written;
use super::{CoursesOptions, Failure};
use crate::clock;
use crate::logging::one_line;

/// Moves the cursor to the top left and clears the screen below.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Asks once, or again and again with `--watch`, where a failure is shown in place of the table.
///
/// # Errors
/// When the service does not answer, or answers with an error.
pub(super) fn run(options: &CoursesOptions) -> Result<(), Failure> {
    let url = question(options);
    actix_rt::System::new().block_on(async {
        let client = client::new();
        if !options.watch {
            let table = ask(&client, &url).await?;
            return written(io::stdout().lock().write_all(table.as_bytes()));
        }
        tokio::select! {
            ended = watch(&client, &url, options.every) => written(ended),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

async fn watch(client: &Client, url: &str, every: Duration) -> io::Result<()> {
    let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
    loop {
        let asked_at = clock::now();
        let shown = match ask(client, url).await {
            Ok(table) => table,
            Err(failure) => format!("{failure}\n"),
        };
        let at = clock::now().wall.to_rfc3339_opts(SecondsFormat::Secs, true);
        let mut output = io::stdout().lock();
        output.write_all(format!("{clear}{at}\n{shown}\n").as_bytes())?;
        output.flush()?;
        drop(output);
        tokio::time::sleep(every.saturating_sub(clock::now().since(asked_at))).await;
    }
}

fn question(options: &CoursesOptions) -> String {
    let directions: Vec<String> = options.directions.iter().map(ToString::to_string).collect();
    let directions = (!directions.is_empty()).then(|| format!("directions={}", directions.join(",")));
    let exchanger = options.exchanger.as_ref();
    let exchanger =
        exchanger.map(|name| format!("exchanger={}", utf8_percent_encode(name, NON_ALPHANUMERIC)));
    let parameters: Vec<String> = directions.into_iter().chain(exchanger).collect();
    let mark = if parameters.is_empty() { "" } else { "?" };
    format!("{}/v1/courses{mark}{}", options.url, parameters.join("&"))
}

/// What the service answers, as a table.
async fn ask(client: &Client, url: &str) -> Result<String, Failure> {
    let reply = client::get(client, url).await?;
    if !reply.is_success() {
        return Err(problem(reply.status, &reply.body));
    }
    let courses: Courses = serde_json::from_slice(&reply.body).map_err(|_| client::no_ratebook(url))?;
    let header = |name| reply.header(name);
    Ok(table(&courses, header("ratebook-age-ms"), header("ratebook-legs"), header("ratebook-missing")))
}

#[derive(Debug, Deserialize)]
struct Courses {
    exchanger: String,
    courses: Vec<Course>,
}

#[derive(Debug, Deserialize)]
struct Course {
    direction: String,
    value: Box<RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    reason: String,
    detail: String,
    exchanges: Vec<Judged>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Judged {
    name: String,
    status: String,
    reason: String,
}

/// The failure that the service tells; what is asked in vain (4xx) is the command line's mistake.
fn problem(status: u16, body: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let told = if problem.detail.is_empty() { "no detail".to_owned() } else { one_line(&problem.detail) };
    let mut text = format!("the service answers {status} {}: {told}", one_line(&problem.reason));
    for judged in problem.exchanges.iter().take(30) {
        let (name, status) = (one_line(&judged.name), one_line(&judged.status));
        text += &format!("; {name} is {status} ({})", one_line(&judged.reason));
    }
    match status {
        _ if problem.reason.is_empty() => Failure::Unavailable(format!(
            "what answers there ({status}) is no ratebook; name the service with `--url`"
        )),
        400..500 => Failure::Usage(text + "; ask for something else"),
        _ => Failure::Unavailable(text + "; look at `/health`, and ask again"),
    }
}

/// The courses with their decimal points below each other, and one line on where they come from.
fn table(courses: &Courses, age_ms: &str, legs: &str, missing: &str) -> String {
    let rows: Vec<(String, String, String)> = courses.courses.iter().map(row).collect();
    let width =
        |lengths: &dyn Fn(&(String, String, String)) -> usize| rows.iter().map(lengths).max().unwrap_or(0);
    let direction_width = width(&|row| row.0.chars().count()).max("DIRECTION".len());
    let whole_width = width(&|row| row.1.chars().count());
    let value_width = (whole_width + width(&|row| row.2.chars().count())).max("VALUE".len());
    let mut text = format!("{:direction_width$}  {:>value_width$}\n", "DIRECTION", "VALUE");
    let whole_width = whole_width.max(value_width - width(&|row| row.2.chars().count()));
    for (direction, whole, fraction) in &rows {
        text += &format!("{direction:direction_width$}  {whole:>whole_width$}{fraction}\n");
    }
    text += &format!("\nfrom {}", one_line(&courses.exchanger));
    if let Some(age) = seconds(age_ms) {
        text += &format!(", {age} old");
    }
    text.push('\n');
    for leg in legs.split(',').map(str::trim).filter(|leg| !leg.is_empty()) {
        text += &format!("over {}\n", shown_leg(leg));
    }
    if !missing.is_empty() {
        text += &format!("without {}, which it does not trade\n", one_line(missing));
    }
    text
}

/// Direction, and the value before and from the decimal point on.
fn row(course: &Course) -> (String, String, String) {
    let value = course.value.get();
    let point = value.find('.').unwrap_or(value.len());
    (one_line(&course.direction), one_line(&value[..point]), one_line(&value[point..]))
}

/// `USDT-USD=coingecko;age_ms=41000;held=0` in words.
fn shown_leg(leg: &str) -> String {
    let mut parts = leg.split(';');
    let (direction, source) = parts.next().and_then(|named| named.split_once('=')).unwrap_or((leg, ""));
    let mut text = match source {
        "" => one_line(direction),
        _ => format!("{} of {}", one_line(direction), one_line(source)),
    };
    for part in parts {
        match part.split_once('=') {
            Some(("age_ms", age)) => text.extend(seconds(age).map(|age| format!(", {age} old"))),
            Some(("held", "1")) => text.push_str(", held because its source is stale"),
            _ => {}
        }
    }
    text
}

fn seconds(milliseconds: &str) -> Option<String> {
    milliseconds.parse().ok().map(client::seconds)
}
