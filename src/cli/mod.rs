//! The commands: what can be asked on the command line, and which exit code it ends with.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::config::{self, Loaded, Settings};
use crate::exchange::{self, EXCHANGES, Row, Scope};
use crate::logging;
use crate::market::Direction;
use crate::rate_book::gates::check_form;

mod client;
mod courses;
mod exchanges;
mod failure;
mod health;
mod help;
mod simulate;
mod storage;

pub use failure::{EXIT_CODES, Failure};

/// The version with the commit that it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BUILT_FROM_COMMIT"), ")");

/// A self-hosted rate service: current courses of crypto and fiat directions that survive the failure of an
/// exchange. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "ratebook", version = VERSION, after_long_help = help::program(), max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    settings: SettingsOptions,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Listens to the exchanges and answers over HTTP, until SIGTERM or SIGINT
    #[command(after_long_help = help::serve())]
    Serve {
        #[command(flatten)]
        settings: SettingsOptions,
    },
    /// Simulator and service in one process: works with no network and no keys
    #[command(after_long_help = help::demo())]
    Demo {
        #[command(flatten)]
        settings: SettingsOptions,
        #[command(flatten)]
        prices: PriceOptions,
    },
    /// Local exchanges that speak the real protocols, to rehearse a failure with
    #[command(after_long_help = help::simulate())]
    Simulate(SimulateOptions),
    /// Asks a running service, and prints a table
    #[command(after_long_help = help::courses())]
    Courses(CoursesOptions),
    /// Asks a running service how it is; ends with 69 if it cannot do its work
    #[command(after_long_help = help::health())]
    Health(HealthOptions),
    /// Prints a table of every exchange: what it is, how it is reached, and what it needs
    #[command(after_long_help = help::exchanges())]
    Exchanges {
        #[command(flatten)]
        settings: SettingsOptions,
    },
    /// Checks the settings and prints the effective ones as TOML, secrets masked
    #[command(after_long_help = help::check_config())]
    CheckConfig {
        #[command(flatten)]
        settings: SettingsOptions,
    },
    /// Brings the database's tables up to date, which `serve` does by itself
    #[command(after_long_help = help::migrate())]
    Migrate {
        #[command(flatten)]
        settings: SettingsOptions,
        #[command(flatten)]
        options: MigrateOptions,
    },
    /// Writes what is stored of one direction to standard output
    #[command(after_long_help = help::export())]
    Export {
        #[command(flatten)]
        settings: SettingsOptions,
        #[command(flatten)]
        options: ExportOptions,
    },
    /// Reads frames of an exchange from standard input, and prints one JSON line for each
    #[command(after_long_help = help::decode())]
    Decode(DecodeOptions),
}

#[derive(Debug, Args)]
struct LogOptions {
    /// Logs this program at DEBUG, whatever `RATEBOOK_LOG` says of it
    #[arg(long, global = true, display_order = 100)]
    debug: bool,
    /// How log records are written
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t, display_order = 101)]
    log_format: logging::Format,
}

#[derive(Debug, Args)]
struct SettingsOptions {
    /// The settings file; else the one in `RATEBOOK_CONFIG`, else `ratebook.toml` if present
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct PriceOptions {
    /// Seed of the simulated prices: the same seed gives the same prices
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many seconds of prices pass in one second
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
}

#[derive(Debug, Args)]
struct SimulateOptions {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    listen: SocketAddr,
    #[command(flatten)]
    prices: PriceOptions,
    /// Plays a recording instead of seeded prices; may repeat
    #[arg(long, value_name = "FILE")]
    replay: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct CoursesOptions {
    /// Where the service is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = service_url)]
    url: String,
    /// Which directions, such as `BTC-USD,ETH-RUB`; without it, the configured ones
    #[arg(long, value_name = "DIRECTIONS", value_delimiter = ',')]
    directions: Vec<Direction>,
    /// Answer from this exchange only
    #[arg(long, value_name = "EXCHANGE")]
    exchanger: Option<String>,
    /// Keeps the table live until SIGINT
    #[arg(long)]
    watch: bool,
    /// Time between two questions of `--watch`
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = pace)]
    every: Duration,
}

#[derive(Debug, Args)]
struct HealthOptions {
    /// Where the service is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = service_url)]
    url: String,
    /// Asks only whether the process serves, whatever it could answer
    #[arg(long)]
    live: bool,
}

#[derive(Debug, Args)]
struct MigrateOptions {
    /// Only says which migrations are pending, with exit code 69 if there are any
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Args)]
struct ExportOptions {
    /// Which direction, as exchanges quote it, such as `BTC-USDT`
    #[arg(long, value_name = "DIRECTION")]
    direction: Direction,
    /// Whose; without it, the first exchange that has any, in the order of `priority`
    #[arg(long, value_name = "EXCHANGE")]
    exchanger: Option<String>,
    /// From this time on; without it, a day before `--to`
    #[arg(long, value_name = "TIME", value_parser = storage::time)]
    from: Option<DateTime<Utc>>,
    /// Until before this time; without it, now
    #[arg(long, value_name = "TIME", value_parser = storage::time)]
    to: Option<DateTime<Utc>>,
    /// What is written
    #[arg(long, value_name = "INTERVAL", value_enum, default_value = "tick")]
    interval: storage::Rows,
    /// How it is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "csv")]
    format: storage::Format,
}

#[derive(Debug, Args)]
struct DecodeOptions {
    /// Whose frames
    #[arg(value_name = "EXCHANGE", value_parser = known_exchange)]
    exchange: &'static str,
    /// Reads what these directions need; without it, every symbol whose base and counter are known
    #[arg(long, value_name = "DIRECTIONS", value_delimiter = ',')]
    directions: Option<Vec<Direction>>,
    /// Takes all of the input as one body of a REST answer
    #[arg(long)]
    body: bool,
}

/// Runs the program: reads the command line, runs the command, and ends with one CRITICAL line where it failed.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    // Tests tell in `FAILPOINTS` where to break; the points are forgotten when this is dropped.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    #[cfg(feature = "fault-injection")]
    if let Some(name) = config::seeded_bug() {
        crate::seeded_bug::choose(&name);
    }
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => {
            logging::start(config::log_filter().as_deref(), cli.log.debug, cli.log.log_format);
            cli.run()
        }
        Err(shown) if matches!(shown.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            failure::written(shown.print())
        }
        Err(error) => {
            logging::start(config::log_filter().as_deref(), false, logging::Format::Text);
            Err(Failure::Usage(help::usage_error(&error)))
        }
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            logging::critical(&failure);
            ExitCode::from(failure.code())
        }
    };
    logging::flush();
    code
}

impl Cli {
    fn run(self) -> Result<(), Failure> {
        let Some(command) = self.command else {
            return serve(self.settings);
        };
        // `ratebook --config FILE serve` means what it says; a command without settings has no use for a file.
        let file = self.settings.config;
        let with_file =
            |settings: SettingsOptions| SettingsOptions { config: settings.config.or(file.clone()) };
        match command {
            Command::Serve { settings } => serve(with_file(settings)),
            Command::Demo { settings, prices } => demo(with_file(settings), prices),
            Command::Exchanges { settings } => exchange_table(with_file(settings)),
            Command::CheckConfig { settings } => check_config(with_file(settings)),
            Command::Migrate { settings, options } => storage::migrate(with_file(settings), &options),
            Command::Export { settings, options } => storage::export(with_file(settings), &options),
            _ if file.is_some() => {
                Err(Failure::Usage("this command reads no settings; leave `--config` out".to_owned()))
            }
            Command::Simulate(options) => simulate::run(options),
            Command::Courses(options) => courses::run(&options),
            Command::Health(options) => health::run(&options),
            Command::Decode(options) => decode(options),
        }
    }
}

fn serve(options: SettingsOptions) -> Result<(), Failure> {
    let settings = start_settings(options)?;
    Ok(app::serve(settings)?)
}

fn demo(options: SettingsOptions, prices: PriceOptions) -> Result<(), Failure> {
    let settings = start_settings(options)?;
    Ok(app::demo(settings, prices.seed, prices.speed)?)
}

fn start_settings(options: SettingsOptions) -> Result<Settings, Failure> {
    let file = config::settings_file(options.config);
    let shown = file
        .as_ref()
        .map_or("no settings file".to_owned(), |file| format!("settings file `{}`", file.display()));
    log::info!("ratebook {VERSION} starts with {shown}");
    loaded_settings(SettingsOptions { config: file })
}

fn loaded_settings(options: SettingsOptions) -> Result<Settings, Failure> {
    let loaded = Loaded::read(config::settings_file(options.config).as_deref(), config::environment())?;
    warn_of(&loaded);
    Ok(loaded.settings)
}

fn check_config(options: SettingsOptions) -> Result<(), Failure> {
    let loaded = Loaded::read(config::settings_file(options.config).as_deref(), config::environment())?;
    warn_of(&loaded);
    let mut output = io::stdout().lock();
    failure::written(output.write_all(loaded.to_toml().as_bytes()).and_then(|()| output.flush()))
}

fn exchange_table(options: SettingsOptions) -> Result<(), Failure> {
    let settings = loaded_settings(options)?;
    let mut output = io::stdout().lock();
    let table = exchanges::table(&settings);
    failure::written(output.write_all(table.as_bytes()).and_then(|()| output.flush()))
}

fn warn_of(loaded: &Loaded) {
    for warning in &loaded.warnings {
        log::warn!(target: "ratebook::config", "{warning}");
    }
}

fn decode(options: DecodeOptions) -> Result<(), Failure> {
    let row: &'static Row =
        exchange::row(options.exchange).ok_or_else(|| Failure::Usage(no_exchange(options.exchange)))?;
    let scope = options.directions.map_or(Scope::Everything, Scope::Directions);
    let mut output = io::stdout().lock();
    let decoded =
        exchange::decode::decode(row, scope, options.body, check_form, &mut io::stdin().lock(), &mut output);
    failure::written(decoded.and_then(|()| output.flush()))
}

fn known_exchange(name: &str) -> Result<&'static str, String> {
    exchange::row(name).map(|row| row.name.as_str()).ok_or_else(|| no_exchange(name))
}

fn no_exchange(name: &str) -> String {
    let known: Vec<&str> = EXCHANGES.iter().map(|row| row.name.as_str()).collect();
    format!("unknown exchange `{name}` (known: {})", known.join(", "))
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (0.001..=1000.0).contains(speed));
    speed.ok_or_else(|| "allowed: a number from 0.001 to 1000".to_owned())
}

fn pace(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
    let pace = humantime::parse_duration(text).ok().filter(|pace| allowed.contains(pace));
    pace.ok_or_else(|| "allowed: a duration from `100ms` to `24h`, such as `5s`".to_owned())
}

fn service_url(text: &str) -> Result<String, String> {
    let is_http =
        text.strip_prefix("http://").or(text.strip_prefix("https://")).is_some_and(|host| !host.is_empty());
    let is_plain = !text.contains(['?', '#', '@']) && !text.contains(char::is_whitespace);
    match is_http && is_plain {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("allowed: `http://` or `https://`, then host and port".to_owned()),
    }
}

/// Rows below each other, every column as wide as its widest cell.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
