//! `ratebook health`: asks a running service how it is, prints a table, and ends with 69 if it cannot do its work.
//!
//! It is a client like any other; containers and monitors run it as their check.

use std::io::{self, Write};

use serde::Deserialize;

use super::client::{self, seconds};
use super::failure::written;
use super::{Failure, HealthOptions};
use crate::logging::one_line;

/// Asks once.
///
/// # Errors
/// When the service does not answer, or says that it is down.
pub(super) fn run(options: &HealthOptions) -> Result<(), Failure> {
    let url = format!("{}/health{}", options.url, if options.live { "/live" } else { "" });
    let reply = actix_rt::System::new().block_on(client::get(&client::new(), &url))?;
    let told: Health = serde_json::from_slice(&reply.body).map_err(|_| client::no_ratebook(&url))?;
    written(io::stdout().lock().write_all(table(&told).as_bytes()))?;
    match reply.is_success() {
        true => Ok(()),
        false => {
            let reasons = told.reasons.iter().map(|reason| one_line(reason)).collect::<Vec<_>>().join("; ");
            let reasons = if reasons.is_empty() { "no reason told".to_owned() } else { reasons };
            Err(Failure::Unavailable(format!("the service is {}: {reasons}", one_line(&told.status))))
        }
    }
}

#[derive(Debug, Deserialize)]
struct Health {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    answering: Option<String>,
    #[serde(default)]
    exchanges: Vec<Exchange>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Exchange {
    name: String,
    status: String,
    transport: String,
    last_quote_age_ms: Option<u64>,
    last_error: Option<String>,
}

/// One line for each exchange, and how the whole is.
fn table(health: &Health) -> String {
    let row = |it: &Exchange| {
        let age = it.last_quote_age_ms.map(seconds).unwrap_or_else(|| "never".to_owned());
        // An old error of who is well again says nothing.
        let error = it.last_error.as_deref().filter(|_| it.status != "fresh" && it.status != "disabled");
        [&it.name, &it.status, &it.transport, &age, error.unwrap_or_default()].map(one_line)
    };
    let headings = ["EXCHANGE", "STATUS", "OVER", "LAST QUOTE", "WHY"].map(str::to_owned);
    let mut text = String::new();
    if !health.exchanges.is_empty() {
        let rows: Vec<[String; 5]> =
            std::iter::once(headings).chain(health.exchanges.iter().map(row)).collect();
        text = super::columns(&rows);
        text.push('\n');
    }
    text += &one_line(&health.status);
    if let Some(answering) = &health.answering {
        text += &format!(", {} answers", one_line(answering));
    }
    text.push('\n');
    for reason in &health.reasons {
        text += &format!("- {}\n", one_line(reason));
    }
    text
}
