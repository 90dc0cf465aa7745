//! From what was said to what is meant: one function per form of a value, each with its limits.
//!
//! Separate because every rule here is pure, and the messages are read by somebody who has to mend a settings
//! file: each says what was found and what is allowed.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use actix_web::http::Uri;
use rust_decimal::Decimal;

use super::{ApiKey, Role, UsdtUsd};
use crate::exchange::{self, Row};
use crate::market::Direction;

/// What was said, before it is known what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A text of the environment, or a default.
    Plain(String),
    /// A string of the file.
    Text(String),
    /// A whole number of the file.
    Number(String),
    /// `true` or `false` in the file.
    Switch(bool),
    /// A list of strings in the file.
    List(Vec<String>),
    /// Anything else in the file, by the name of its type.
    Other(&'static str),
}

/// Longest time that a setting may say. Nothing here has a use for more, and what is longer is a slip of units.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Shortest time that is not zero: clocks and timers of this program count milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// Longest step of storing: above this a candle of a minute would be made of nothing.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// Shortest time that something is kept: below it, what is still written would already be dropped.
const SHORTEST_KEPT: Duration = Duration::from_secs(3600);

/// Longest time that something is kept; a century in days of 24 hours, with its leap days.
const LONGEST_KEPT: Duration = Duration::from_secs(36_525 * 24 * 3600);

/// Smallest outbox, in bytes: it has to hold a few batches.
const SMALLEST_OUTBOX: u64 = 1 << 20;

/// Largest share by which two rates may differ unnoticed: at twice or half of the other, one of them is wrong.
const MOST_PERCENT: Decimal = Decimal::from_parts(50, 0, 0, false, 0);

/// Units of sizes.
pub(super) const UNITS: [(&str, u64); 4] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Most directions in one list. The answer without parameters holds all of them, and a request may name no more.
const MOST_DIRECTIONS: usize = 100;

/// Most connections: beyond this an ordinary machine has no descriptors, and the number is a slip.
const MOST_CONNECTIONS: usize = 1_000_000;

/// Most characters of a value that a message repeats.
const SHOWN: usize = 60;

impl Value {
    fn text(&self) -> Result<&str, String> {
        match self {
            Self::Plain(text) | Self::Text(text) => Ok(text),
            other => Err(format!("{} where a string in quotes belongs", other.kind())),
        }
    }

    /// The items of a list, none of them empty.
    fn items(&self) -> Result<Vec<&str>, String> {
        let items: Vec<&str> = match self {
            Self::Plain(text) => text.split(',').map(str::trim).collect(),
            Self::List(items) => items.iter().map(|item| item.trim()).collect(),
            other => return Err(format!("{} where a list of strings belongs", other.kind())),
        };
        if items.iter().any(|item| item.is_empty()) {
            return Err("an item of the list is empty".to_owned());
        }
        for (at, item) in items.iter().enumerate() {
            if items[..at].iter().any(|earlier| earlier.eq_ignore_ascii_case(item)) {
                return Err(format!("{} is named twice", Shown(item)));
            }
        }
        Ok(items)
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Plain(_) | Self::Text(_) => "a string",
            Self::Number(_) => "a number",
            Self::Switch(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

/// A value as a message repeats it: on one line, and not all of a long one.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("an empty text");
        }
        let shown: String = self.0.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        let rest = if self.0.chars().count() > SHOWN { "…" } else { "" };
        write!(f, "`{shown}{rest}`")
    }
}

/// An address with a port. Names are not looked up: what a name means may differ from start to start.
pub(super) fn address(value: &Value) -> Result<SocketAddr, String> {
    let text = value.text()?;
    text.parse().map_err(|_| {
        let allowed = "an IP address with a port, such as `127.0.0.1:8080`, `0.0.0.0:80` or `[::1]:8080`";
        format!("{} is no address (allowed: {allowed})", Shown(text))
    })
}

/// A host, by name or address, with a port. Empty for none.
pub(super) fn host_and_port(value: &Value) -> Result<Option<String>, String> {
    let text = value.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    let is_whole = checked_url(&format!("http://{text}"), &["http"]).is_ok_and(|url| {
        let authority = url.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
        authority.is_some_and(|authority| authority.port_u16().is_some() && authority.as_str() == text)
    });
    match is_whole {
        true => Ok(Some(text.to_owned())),
        false => Err(format!("{} is no host with a port (allowed: such as `127.0.0.1:9900`)", Shown(text))),
    }
}

/// A length of time that is not zero.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    match duration_or_zero(value)? {
        Duration::ZERO => Err("must be longer than zero".to_owned()),
        duration => Ok(duration),
    }
}

/// A length of time.
pub(super) fn duration_or_zero(value: &Value) -> Result<Duration, String> {
    if let Value::Number(number) = value {
        return Err(format!(
            "`{number}` has no unit (allowed: a string such as `\"500ms\"`, `\"5s\"`, `\"1h\"`)"
        ));
    }
    let text = value.text()?;
    // The parser below would take a bare `0`, but a number without a unit is a slip wherever it stands.
    let has_unit = text.ends_with(|last: char| last.is_ascii_alphabetic());
    let duration = humantime::parse_duration(text).ok().filter(|_| has_unit);
    let Some(duration) = duration else {
        return Err(format!("{} is no duration (allowed: such as `500ms`, `5s`, `2m`, `1h`)", Shown(text)));
    };
    match duration {
        Duration::ZERO => Ok(duration),
        _ if duration < SHORTEST => Err(format!("{} is too short (allowed: from 1ms)", Shown(text))),
        _ if duration > LONGEST => Err(format!("{} is too long (allowed: up to 30days)", Shown(text))),
        _ => Ok(duration),
    }
}

/// A step within which quotes are conflated; zero for none.
pub(super) fn storage_step(value: &Value) -> Result<Duration, String> {
    let step = duration_or_zero(value)?;
    if step > LONGEST_STEP {
        return Err(format!("{} is too long (allowed: from 1ms to 1m, or 0s)", Shown(value.text()?)));
    }
    Ok(step)
}

/// For how long something is kept.
pub(super) fn retention(value: &Value) -> Result<Duration, String> {
    if let Value::Number(number) = value {
        return Err(format!("`{number}` has no unit (allowed: a string such as `\"30d\"`, `\"10y\"`)"));
    }
    let text = value.text()?;
    let kept = humantime::parse_duration(text).ok();
    let kept = kept.filter(|kept| (SHORTEST_KEPT..=LONGEST_KEPT).contains(kept));
    kept.ok_or_else(|| {
        let allowed = "from 1h to 100y, such as `30d`, `10y`";
        format!("{} is no time to keep something (allowed: {allowed})", Shown(text))
    })
}

/// A size in bytes: a whole number and its unit.
pub(super) fn size(value: &Value) -> Result<u64, String> {
    let text = match value {
        Value::Number(text) => text,
        other => other.text()?,
    };
    let allowed = || format!("{} is no size (allowed: from `1MiB`, such as `512MiB`, `1GiB`)", Shown(text));
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(allowed)?;
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    size.filter(|size| *size >= SMALLEST_OUTBOX).ok_or_else(allowed)
}

/// A share in per cent, as a fraction of one.
pub(super) fn share(value: &Value) -> Result<Decimal, String> {
    if let Value::Number(number) = value {
        return Err(format!("`{number}` has no unit (allowed: a string such as `\"1%\"`)"));
    }
    let text = value.text()?;
    let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<Decimal>().ok());
    let percent = percent.filter(|percent| *percent > Decimal::ZERO && *percent <= MOST_PERCENT);
    let share = percent.and_then(|percent| percent.checked_div(Decimal::ONE_HUNDRED));
    share.ok_or_else(|| {
        format!("{} is no share (allowed: above `0%` up to `50%`, such as `1%`, `0.5%`)", Shown(text))
    })
}

/// `true` or `false`.
pub(super) fn switch(value: &Value) -> Result<bool, String> {
    match value {
        Value::Switch(on) => Ok(*on),
        Value::Plain(text) if text == "true" => Ok(true),
        Value::Plain(text) if text == "false" => Ok(false),
        Value::Plain(text) => Err(format!("{} is neither `true` nor `false`", Shown(text))),
        other => Err(format!("{} where `true` or `false` belongs", other.kind())),
    }
}

/// A number of connections.
pub(super) fn connections(value: &Value) -> Result<usize, String> {
    let text = match value {
        Value::Plain(text) | Value::Number(text) => text,
        other => return Err(format!("{} where a whole number belongs", other.kind())),
    };
    let number = text.parse().ok().filter(|number| (1..=MOST_CONNECTIONS).contains(number));
    number
        .ok_or_else(|| format!("{} is not allowed (allowed: a whole number from 1 to 1000000)", Shown(text)))
}

/// Directions, each once.
pub(super) fn directions(value: &Value) -> Result<Vec<Direction>, String> {
    let items = not_empty(value.items()?)?;
    if items.len() > MOST_DIRECTIONS {
        return Err(format!("{} directions are too many (allowed: up to {MOST_DIRECTIONS})", items.len()));
    }
    items.into_iter().map(|item| item.parse().map_err(|error| format!("{error}"))).collect()
}

/// Rows of the exchange table, each once.
pub(super) fn exchanges(value: &Value) -> Result<Vec<&'static Row>, String> {
    let items = not_empty(value.items()?)?;
    items.into_iter().map(|item| exchange::row(item).ok_or_else(|| unknown_exchange(item))).collect()
}

/// The message for a name that is in no row of the exchange table.
pub(super) fn unknown_exchange(name: &str) -> String {
    let known: Vec<&str> = exchange::EXCHANGES.iter().map(|row| row.name.as_str()).collect();
    format!("unknown exchange {} (known: {})", Shown(name), known.join(", "))
}

/// Parts of the service, each once.
pub(super) fn roles(value: &Value) -> Result<Vec<Role>, String> {
    let items = not_empty(value.items()?)?;
    let known = |item: &str| Role::ALL.into_iter().find(|role| role.as_str() == item);
    let refuse = |item| format!("{} is no role (allowed: collect, answer, store)", Shown(item));
    items.into_iter().map(|item| known(item).ok_or_else(|| refuse(item))).collect()
}

/// Where the broker is. Empty for none.
pub(super) fn nats_url(value: &Value) -> Result<String, String> {
    match value.text()? {
        "" => Ok(String::new()),
        url => checked_url(url, &["nats", "tls"]),
    }
}

/// A part of how we show who we are. Empty for none. Never repeated.
pub(super) fn credential(value: &Value) -> Result<Option<ApiKey>, String> {
    let text = value.text()?;
    if text.chars().any(char::is_control) {
        return Err("it holds control characters".to_owned());
    }
    Ok((!text.is_empty()).then(|| ApiKey::new(text.to_owned())))
}

/// Where USDT-USD comes from.
pub(super) fn usdt_usd(value: &Value) -> Result<UsdtUsd, String> {
    match value.text()? {
        "reference" => Ok(UsdtUsd::Reference),
        "peg" => Ok(UsdtUsd::Peg),
        other => Err(format!("{} is not allowed (allowed: reference, peg)", Shown(other))),
    }
}

/// Origins as browsers send them. Empty for none.
pub(super) fn origins(value: &Value) -> Result<Vec<String>, String> {
    if matches!(value, Value::Plain(text) if text.is_empty()) {
        return Ok(Vec::new());
    }
    value.items()?.into_iter().map(origin).collect()
}

fn origin(item: &str) -> Result<String, String> {
    let refuse = |_| {
        format!(
            "{} is no origin (allowed: scheme, host and port, such as `https://shop.example`)",
            Shown(item)
        )
    };
    let url = checked_url(item, &["http", "https"]).map_err(refuse)?;
    let (_, host) = url.split_once("://").unwrap_or_default();
    if host.contains('/') || item.ends_with('/') {
        return Err(refuse(String::new()));
    }
    // Browsers send scheme and host in lower case, and origins are compared as texts.
    Ok(url.to_ascii_lowercase())
}

/// The beginning of REST addresses.
pub(super) fn rest_url(value: &Value) -> Result<String, String> {
    checked_url(value.text()?, &["http", "https"])
}

/// The beginning of WebSocket addresses. Empty for REST only.
pub(super) fn ws_url(value: &Value) -> Result<String, String> {
    match value.text()? {
        "" => Ok(String::new()),
        url => checked_url(url, &["ws", "wss"]),
    }
}

/// A URL to which paths can be appended, without the slash at its end. A refused one is not repeated where it may
/// hold a password.
fn checked_url(url: &str, schemes: &[&str]) -> Result<String, String> {
    let schemes_shown =
        schemes.iter().map(|scheme| format!("`{scheme}://`")).collect::<Vec<_>>().join(" or ");
    let allowed = || format!("allowed: {schemes_shown}, then the host");
    if url.contains('@') {
        return Err(format!("the URL holds a user or a password ({}, without either)", allowed()));
    }
    if url.contains(['?', '#']) {
        return Err(format!(
            "the URL holds a query, and paths are appended to it ({}, without one)",
            allowed()
        ));
    }
    let Some((scheme, _)) = url.split_once("://") else {
        return Err(format!("{} is no URL ({})", Shown(url), allowed()));
    };
    if !schemes.contains(&scheme) {
        return Err(format!("{} has the wrong scheme ({})", Shown(url), allowed()));
    }
    let has_good_authority =
        url.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned()).is_some_and(|authority| {
            let has_port = authority.as_str().len() > authority.host().len();
            !authority.host().is_empty() && (!has_port || authority.port_u16().is_some_and(|port| port > 0))
        });
    if !has_good_authority {
        return Err(format!("{} is no URL ({})", Shown(url), allowed()));
    }
    Ok(url.strip_suffix('/').unwrap_or(url).to_owned())
}

/// Where quotes are stored. A refused one is not repeated, because it may hold a password.
pub(super) fn database_url(value: &Value) -> Result<String, String> {
    let url = value.text()?;
    let refuse = || {
        "no database (allowed: `sqlite://PATH`, `sqlite://:memory:`, `postgres://USER@HOST/NAME`)".to_owned()
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(refuse)?;
    let is_known = ["sqlite", "postgres", "postgresql"].contains(&scheme);
    let is_whole = !rest.is_empty() && !rest.chars().any(char::is_control);
    if is_known && is_whole { Ok(url.to_owned()) } else { Err(refuse()) }
}

/// A path that has to be there.
pub(super) fn path(value: &Value) -> Result<PathBuf, String> {
    match value.text()? {
        "" => Err("an empty text is no path".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}

/// A file that can be opened. Empty for none.
pub(super) fn readable_file(value: &Value) -> Result<Option<PathBuf>, String> {
    let text = value.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    let path = PathBuf::from(text);
    let is_file = std::fs::metadata(&path).and_then(|metadata| match metadata.is_file() {
        true => std::fs::File::open(&path).map(drop),
        false => Err(std::io::Error::other("not a file")),
    });
    is_file.map_err(|error| format!("{} cannot be read: {error}", Shown(text)))?;
    Ok(Some(path))
}

/// A key. Empty for none, because that is how an orchestrator passes a secret that nobody filled in. Never
/// repeated.
pub(super) fn api_key(value: &Value) -> Result<Option<ApiKey>, String> {
    let text = value.text()?;
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the key holds characters that no header can carry (allowed: visible ASCII)".to_owned());
    }
    Ok((!text.is_empty()).then(|| ApiKey::new(text.to_owned())))
}

fn not_empty(items: Vec<&str>) -> Result<Vec<&str>, String> {
    if items.is_empty() { Err("the list is empty".to_owned()) } else { Ok(items) }
}
