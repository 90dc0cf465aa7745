//! The table of every setting: name, form, default, meaning.
//!
//! Separate because it is the one place that says what a setting is called and what it is by default: the reader
//! takes its defaults from here, `--help` prints it, and tests hold the README and `.env.example` against it.

/// What is known of one setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name in the settings file.
    pub name: &'static str,
    /// What a value looks like.
    pub form: &'static str,
    /// Its default as the environment would say it, lists with commas; empty for none. For a setting of an
    /// exchange: where the default comes from, because each exchange has its own.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// The settings of the service, in the order of the README.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    Key {
        name: "listen",
        form: "address and port",
        default: "127.0.0.1:8080",
        meaning: "where the service listens",
    },
    Key {
        name: "database_url",
        form: "URL",
        default: "sqlite://ratebook.db",
        meaning: "where quotes are stored: `sqlite://PATH`, `sqlite://:memory:` or `postgres://…`",
    },
    Key {
        name: "directions",
        form: "list of directions",
        default: "BTC-RUB,BTC-USD,ETH-RUB,ETH-USD,USDTTRC-RUB,USDTTRC-USD,USDTERC-RUB,USDTERC-USD",
        meaning: "what `/v1/courses` answers without parameters; at most 100",
    },
    Key {
        name: "priority",
        form: "list of exchanges",
        default: "binance,kraken,coinbase,okx,bybit,kucoin,bitfinex,gate,htx,bitstamp,coingecko",
        meaning: "who may answer, best first",
    },
    Key {
        name: "fail_back_after",
        form: "duration",
        default: "15s",
        meaning: "how long an exchange has to be fresh without a gap before it gets its place back; `0s` for at once",
    },
    Key {
        name: "hold_reference",
        form: "duration",
        default: "1h",
        meaning: "how long the last USDT-USD is held once its last source is stale; `0s` for not at all",
    },
    Key {
        name: "usdt_usd",
        form: "`reference` or `peg`",
        default: "reference",
        meaning: "where USDT-USD comes from: the first fresh of `reference_priority`, or one to one",
    },
    Key {
        name: "reference_priority",
        form: "list of exchanges",
        default: "kraken,coinbase,bitstamp,bitfinex,okx,coingecko",
        meaning: "sources of USDT-USD, best first",
    },
    Key {
        name: "fiat_priority",
        form: "list of exchanges",
        default: "cbr,ecb,freecurrencyapi,frankfurter,erapi",
        meaning: "sources of fiat rates, best first",
    },
    Key {
        name: "max_fiat_difference",
        form: "share in per cent",
        default: "1%",
        meaning: "how far two sources of a fiat rate may be apart before `/health` and the log name them",
    },
    Key {
        name: "state_file",
        form: "path",
        default: "ratebook.state.json",
        meaning: "where bans by exchanges, and what was used of their quotas, are remembered across restarts",
    },
    Key {
        name: "tls_ca_file",
        form: "path",
        default: "",
        meaning: "certificates (PEM) of further authorities to trust; empty for none",
    },
    Key {
        name: "max_connections",
        form: "whole number",
        default: "2000",
        meaning: "connections that the HTTP server holds at once",
    },
    Key {
        name: "cors_origins",
        form: "list of origins",
        default: "",
        meaning: "web pages that may ask from a browser, such as `https://shop.example`; empty for none",
    },
    Key {
        name: "roles",
        form: "list of `collect`, `answer`, `store`",
        default: "collect,answer,store",
        meaning: "which parts of the service run in this process; without a broker `collect` and at least one other",
    },
    Key {
        name: "nats_url",
        form: "URL",
        default: "",
        meaning: "broker over which processes of different roles work together: `nats://HOST:PORT` or `tls://…`; empty for none",
    },
    Key {
        name: "nats_user",
        form: "text",
        default: "",
        meaning: "as whom we speak to the broker; from the environment only, never shown",
    },
    Key {
        name: "nats_password",
        form: "text",
        default: "",
        meaning: "the password for that; from the environment only, never shown",
    },
    Key {
        name: "simulator",
        form: "host and port",
        default: "",
        meaning: "a running `ratebook simulate` that plays every exchange, with prices that are made up; empty for none",
    },
    Key {
        name: "storage.every",
        form: "duration",
        default: "1s",
        meaning: "of each exchange and direction the last quote of every such step is stored; `0s` for all",
    },
    Key {
        name: "storage.keep_quotes",
        form: "duration",
        default: "30d",
        meaning: "how long quotes and events are kept",
    },
    Key {
        name: "storage.keep_candles",
        form: "duration",
        default: "10y",
        meaning: "how long candles are kept",
    },
    Key {
        name: "storage.outbox",
        form: "path",
        default: "ratebook.outbox.db",
        meaning: "where quotes wait on the disk until PostgreSQL has them; not used with SQLite",
    },
    Key {
        name: "storage.outbox_limit",
        form: "size",
        default: "1GiB",
        meaning: "size of the outbox above which the oldest quotes in it are given up",
    },
];

/// The settings of the service that come from the environment only, because a file is read by more people.
pub(super) const NOT_IN_FILE: [&str; 2] = ["nats_user", "nats_password"];

/// What the settings of the storage begin with.
pub(super) const STORAGE: &str = "storage.";

/// The settings that every exchange has, under `[exchanges.<name>]`.
#[rustfmt::skip]
pub const EXCHANGE_KEYS: &[Key] = &[
    Key {
        name: "enabled",
        form: "`true` or `false`",
        default: "true",
        meaning: "whether it is listened to; one that needs a key is off without it",
    },
    Key {
        name: "rest_url",
        form: "URL",
        default: "its own",
        meaning: "the part of its REST addresses before its own paths",
    },
    Key {
        name: "ws_url",
        form: "URL",
        default: "its own",
        meaning: "the part of its WebSocket addresses before its own paths; empty for REST only",
    },
    Key {
        name: "stale_after",
        form: "duration",
        default: "its own",
        meaning: "age at which its quotes are stale",
    },
    Key {
        name: "poll_every",
        form: "duration",
        default: "its own",
        meaning: "time between two polls by REST",
    },
    Key {
        name: "api_key",
        form: "text",
        default: "none",
        meaning: "your key, where the exchange knows keys; from the environment only, never shown",
    },
];

/// The environment variable that sets `key`: `exchanges.binance.ws_url` is `RATEBOOK_EXCHANGES__BINANCE__WS_URL`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "RATEBOOK_";

/// What the variables of exchanges begin with. Nothing else in a cluster begins like this by accident, so an
/// unknown one is a mistake and not an injected one.
pub(super) const EXCHANGES_PREFIX: &str = "RATEBOOK_EXCHANGES__";

/// Variables of ours that are no settings: the filter of the log, and the settings file itself.
pub(super) const NO_KEYS: [&str; 2] = ["RATEBOOK_LOG", "RATEBOOK_CONFIG"];
