//! What settings do together: file, environment and defaults. Each test gives both sources as texts.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use super::*;

mod any;

/// Loads `file` (as TOML) under `environment` (`NAME=value` lines).
fn load(file: &str, environment: &str) -> Result<Loaded, ConfigError> {
    let variables = environment.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| {
        let (name, value) = line.split_once('=').unwrap();
        (OsString::from(name), OsString::from(value))
    });
    let mut settings_file = tempfile::NamedTempFile::new().unwrap();
    settings_file.write_all(file.as_bytes()).unwrap();
    Loaded::read(Some(settings_file.path()), variables)
}

fn settings(file: &str, environment: &str) -> Settings {
    load(file, environment).unwrap().settings
}

/// The problems of a file or an environment that is refused, one line each.
fn refusal(file: &str, environment: &str) -> String {
    match load(file, environment) {
        Ok(_) => panic!("accepted: {file}{environment}"),
        Err(ConfigError::Bad(problems)) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
        Err(other) => panic!("{other}"),
    }
}

fn exchange<'a>(settings: &'a Settings, name: &str) -> &'a ExchangeSettings {
    &settings.exchanges[&crate::exchange::row(name).unwrap().name]
}

fn warnings(file: &str, environment: &str) -> String {
    load(file, environment).unwrap().warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

#[test]
fn every_bad_setting_of_the_file_is_refused_with_its_key_its_line_and_what_is_allowed() {
    for (file, key, allowed) in [
        ("listn = \"127.0.0.1:8080\"", "listn", "known: listen"),
        ("listen = \"localhost:8080\"", "listen", "127.0.0.1:8080"),
        ("listen = \":8080\"", "listen", "127.0.0.1:8080"),
        ("listen = \"127.0.0.1\"", "listen", "127.0.0.1:8080"),
        ("listen = \"127.0.0.1:70000\"", "listen", "127.0.0.1:8080"),
        ("listen = 8080", "listen", "a number where a string in quotes belongs"),
        ("listen = \"\"", "listen", "an empty text"),
        ("database_url = \"mysql://db\"", "database_url", "postgres://"),
        ("database_url = \"ratebook.db\"", "database_url", "sqlite://PATH"),
        ("database_url = \"sqlite://\"", "database_url", "sqlite://PATH"),
        ("database_url = \"sqlite::memory:\"", "database_url", "sqlite://:memory:"),
        ("directions = [\"BTCUSD\"]", "directions", "BTC-USD"),
        ("directions = [\"BTC-USD\", \"btc-usd\"]", "directions", "named twice"),
        ("directions = [\"BTC-BTC\"]", "directions", "in itself"),
        ("directions = []", "directions", "empty"),
        ("directions = [\"BTC-USD\", \"\"]", "directions", "empty"),
        ("directions = \"BTC-USD\"", "directions", "list of strings"),
        ("directions = [1]", "directions", "list of strings"),
        ("priority = [\"binance\", \"krakn\"]", "priority", "unknown exchange `krakn` (known: binance"),
        ("priority = [\"binance\", \" \"]", "priority", "empty"),
        ("priority = [\"binance\", \"binance\"]", "priority", "named twice"),
        ("priority = [\"Binance\"]", "priority", "known: binance"),
        ("priority = []", "priority", "empty"),
        ("reference_priority = [\"nobody\"]", "reference_priority", "known: binance"),
        ("fiat_priority = [\"nobody\"]", "fiat_priority", "known: binance"),
        ("fail_back_after = \"\"", "fail_back_after", "`5s`"),
        ("fail_back_after = 15", "fail_back_after", "no unit"),
        ("fail_back_after = \"15\"", "fail_back_after", "`5s`"),
        ("fail_back_after = \"-5s\"", "fail_back_after", "`5s`"),
        ("fail_back_after = \"5 parsecs\"", "fail_back_after", "`5s`"),
        ("hold_reference = \"1000days\"", "hold_reference", "30days"),
        ("hold_reference = \"10us\"", "hold_reference", "1ms"),
        ("hold_reference = 1.5", "hold_reference", "string in quotes"),
        ("usdt_usd = \"pegged\"", "usdt_usd", "reference, peg"),
        ("max_fiat_difference = 0.01", "max_fiat_difference", "string in quotes"),
        ("max_fiat_difference = 1", "max_fiat_difference", "no unit"),
        ("max_fiat_difference = \"1\"", "max_fiat_difference", "`0.5%`"),
        ("max_fiat_difference = \"0%\"", "max_fiat_difference", "above `0%`"),
        ("max_fiat_difference = \"-1%\"", "max_fiat_difference", "above `0%`"),
        ("max_fiat_difference = \"50.01%\"", "max_fiat_difference", "up to `50%`"),
        ("simulator = \"localhost\"", "simulator", "`127.0.0.1:9900`"),
        ("simulator = \"http://localhost:9900\"", "simulator", "`127.0.0.1:9900`"),
        ("simulator = \"localhost:9900/x\"", "simulator", "`127.0.0.1:9900`"),
        ("simulator = \"me:planted@localhost:9900\"", "simulator", "`127.0.0.1:9900`"),
        ("state_file = \"\"", "state_file", "no path"),
        ("tls_ca_file = \"/nowhere/ca.pem\"", "tls_ca_file", "cannot be read"),
        ("tls_ca_file = \"/\"", "tls_ca_file", "not a file"),
        ("max_connections = 0", "max_connections", "from 1"),
        ("max_connections = -1", "max_connections", "from 1"),
        ("max_connections = \"2000\"", "max_connections", "whole number"),
        ("max_connections = 99999999999999999999", "max_connections", "from 1"),
        ("cors_origins = [\"shop.example\"]", "cors_origins", "https://shop.example"),
        ("cors_origins = [\"https://shop.example/\"]", "cors_origins", "https://shop.example"),
        ("cors_origins = [\"https://shop.example/page\"]", "cors_origins", "https://shop.example"),
        ("cors_origins = [\"*\"]", "cors_origins", "https://shop.example"),
        ("roles = [\"collect\", \"cook\"]", "roles", "collect, answer, store"),
        ("roles = []", "roles", "empty"),
        ("storage.every = \"\"", "storage.every", "`5s`"),
        ("storage.every = 1", "storage.every", "`1` has no unit"),
        ("storage.every = \"61s\"", "storage.every", "`61s` is too long (allowed: from 1ms to 1m, or 0s)"),
        ("storage.every = \"999us\"", "storage.every", "from 1ms"),
        ("storage.every = [\"1s\"]", "storage.every", "string in quotes"),
        (
            "storage.keep_quotes = 30",
            "storage.keep_quotes",
            "`30` has no unit (allowed: a string such as `\"30d\"`",
        ),
        ("storage.keep_quotes = \"30\"", "storage.keep_quotes", "`30` is no time to keep"),
        ("storage.keep_quotes = \"0s\"", "storage.keep_quotes", "from 1h to 100y"),
        ("storage.keep_quotes = \"3599s\"", "storage.keep_quotes", "from 1h to 100y"),
        ("storage.keep_quotes = false", "storage.keep_quotes", "a boolean where a string"),
        ("storage.keep_candles = \"101y\"", "storage.keep_candles", "from 1h to 100y"),
        ("storage.keep_candles = \"ever\"", "storage.keep_candles", "`10y`"),
        ("storage.outbox = \"\"", "storage.outbox", "no path"),
        (
            "storage.outbox_limit = 1048575",
            "storage.outbox_limit",
            "`1048575` is no size (allowed: from `1MiB`",
        ),
        ("storage.outbox_limit = \"1023KiB\"", "storage.outbox_limit", "from `1MiB`"),
        ("storage.outbox_limit = \"512MB\"", "storage.outbox_limit", "`512MiB`"),
        ("storage.outbox_limit = \"1.5GiB\"", "storage.outbox_limit", "`1GiB`"),
        ("storage.outbox_limit = \"-1GiB\"", "storage.outbox_limit", "`1GiB`"),
        ("storage.outbox_limit = \"GiB\"", "storage.outbox_limit", "`1GiB`"),
        ("storage.outbox_limit = \"\"", "storage.outbox_limit", "an empty text is no size"),
        ("storage.outbox_limit = \"99999999999GiB\"", "storage.outbox_limit", "no size"),
        ("storage.outbox_limit = true", "storage.outbox_limit", "a boolean where a string"),
        (
            "storage.retention = \"1d\"",
            "storage.retention",
            "known: every, keep_quotes, keep_candles, outbox",
        ),
        ("storage = 5", "storage", "a number where a section belongs"),
        ("[[storage]]", "storage", "a list of other things where a section belongs"),
        ("\"storage.every\" = \"1s\"", "storage.every", "unknown key"),
        ("exchanges = 5", "exchanges", "a number where a section belongs"),
        ("[exchanges.krakn]", "exchanges.krakn", "known: binance"),
        ("exchanges.binance = true", "exchanges.binance", "section"),
        ("exchanges.binance.url = \"https://h\"", "exchanges.binance.url", "known: enabled, rest_url"),
        ("exchanges.binance.enabled = \"yes\"", "exchanges.binance.enabled", "`true` or `false`"),
        ("exchanges.binance.rest_url = \"\"", "exchanges.binance.rest_url", "`https://`"),
        ("exchanges.binance.rest_url = \"h.example\"", "exchanges.binance.rest_url", "`https://`"),
        ("exchanges.binance.rest_url = \"wss://h.example\"", "exchanges.binance.rest_url", "wrong scheme"),
        ("exchanges.binance.rest_url = \"https://\"", "exchanges.binance.rest_url", "no URL"),
        ("exchanges.binance.rest_url = \"https://h x\"", "exchanges.binance.rest_url", "no URL"),
        ("exchanges.binance.rest_url = \"https://h:99999\"", "exchanges.binance.rest_url", "no URL"),
        ("exchanges.binance.rest_url = \"https://h?a=b\"", "exchanges.binance.rest_url", "without one"),
        (
            "exchanges.binance.ws_url = \"https://h.example\"",
            "exchanges.binance.ws_url",
            "`ws://` or `wss://`",
        ),
        ("exchanges.binance.stale_after = \"0s\"", "exchanges.binance.stale_after", "longer than zero"),
        ("exchanges.binance.poll_every = \"\"", "exchanges.binance.poll_every", "`5s`"),
        (
            "exchanges.coingecko.api_key = \"k\"",
            "exchanges.coingecko.api_key",
            "RATEBOOK_EXCHANGES__COINGECKO__API_KEY",
        ),
        ("api_key = \"k\"", "api_key", "known: listen"),
        ("nats_url = \"localhost:4222\"", "nats_url", "is no URL (allowed: `nats://` or `tls://`"),
        ("nats_url = \"nats://u:planted@h:4222\"", "nats_url", "holds a user or a password"),
        ("nats_url = \"http://h:4222\"", "nats_url", "wrong scheme"),
        ("nats_user = \"collector\"", "nats_user", "RATEBOOK_NATS_USER"),
        ("nats_password = \"planted\"", "nats_password", "RATEBOOK_NATS_PASSWORD"),
        ("roles = [\"answer\"]", "roles", "nothing to answer or to store (allowed: `nats_url`"),
        ("roles = [\"collect\"]", "roles", "`collect` alone collects for nobody"),
    ] {
        let refusal = refusal(&format!("# A comment.\n{file}\n"), "");
        assert!(refusal.starts_with(&format!("setting `{key}` (")), "{file}: {refusal}");
        assert!(refusal.contains(":2): "), "{file}: {refusal}");
        assert!(refusal.contains(allowed), "{file}: {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{file}: {refusal}");
    }
}

#[test]
fn every_bad_setting_of_the_environment_is_refused_with_its_key_and_its_variable() {
    for (variable, key, allowed) in [
        ("RATEBOOK_LISTEN=8080", "listen", "127.0.0.1:8080"),
        ("RATEBOOK_LISTEN=", "listen", "127.0.0.1:8080"),
        ("RATEBOOK_DIRECTIONS=BTC-USD,,ETH-USD", "directions", "empty"),
        ("RATEBOOK_DIRECTIONS=", "directions", "empty"),
        ("RATEBOOK_PRIORITY=binance,", "priority", "empty"),
        ("RATEBOOK_PRIORITY=nobody", "priority", "known: binance"),
        ("RATEBOOK_FIAT_PRIORITY=", "fiat_priority", "empty"),
        ("RATEBOOK_CORS_ORIGINS=https://a.example,", "cors_origins", "empty"),
        ("RATEBOOK_FAIL_BACK_AFTER=", "fail_back_after", "`5s`"),
        ("RATEBOOK_MAX_CONNECTIONS=many", "max_connections", "whole number"),
        ("RATEBOOK_STORAGE__EVERY=2m", "storage.every", "from 1ms to 1m"),
        ("RATEBOOK_STORAGE__KEEP_QUOTES=30", "storage.keep_quotes", "`30d`"),
        ("RATEBOOK_STORAGE__OUTBOX=", "storage.outbox", "no path"),
        ("RATEBOOK_STORAGE__OUTBOX_LIMIT=1", "storage.outbox_limit", "from `1MiB`"),
        ("RATEBOOK_EXCHANGES__BINANCE__ENABLED=1", "exchanges.binance.enabled", "`true` nor `false`"),
        ("RATEBOOK_EXCHANGES__BINANCE__WS=x", "exchanges.binance.ws", "known: ENABLED, REST_URL"),
        ("RATEBOOK_EXCHANGES__BINANCE=x", "exchanges.binance", "known: ENABLED"),
        ("RATEBOOK_EXCHANGES__KRAKN__ENABLED=true", "exchanges.krakn.enabled", "unknown exchange `krakn`"),
        ("RATEBOOK_EXCHANGES__binance__ENABLED=true", "exchanges.binance.enabled", "known: binance"),
        ("RATEBOOK_EXCHANGES__COINGECKO__API_KEY=ké", "exchanges.coingecko.api_key", "visible ASCII"),
        ("RATEBOOK_ROLES=store,answer", "roles", "nothing to answer or to store"),
        ("RATEBOOK_NATS_PASSWORD=a\tb", "nats_password", "control characters"),
    ] {
        let refusal = refusal("", variable);
        let name = variable.split('=').next().unwrap();
        assert!(refusal.starts_with(&format!("setting `{key}` ({name}): ")), "{variable}: {refusal}");
        assert!(refusal.contains(allowed), "{variable}: {refusal}");
        assert_eq!(refusal.lines().count(), 1, "{variable}: {refusal}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let refusal =
        refusal("listen = 1\nhold_reference = \"\"\n[exchanges.binance]\nbogus = 1", "RATEBOOK_ROLES=cook");
    for key in ["`listen`", "`hold_reference`", "`exchanges.binance.bogus`", "`roles`"] {
        assert!(refusal.contains(key), "{key}: {refusal}");
    }
    assert_eq!(refusal.lines().count(), 4, "{refusal}");
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_its_line_and_without_its_words() {
    let refusal = refusal("listen = \"127.0.0.1:80\"\napi_key = planted-secret\n", "");
    assert!(refusal.contains(":2: not TOML"), "{refusal}");
    assert!(!refusal.contains("planted"), "{refusal}");
}

#[test]
fn a_file_that_is_absent_is_told_apart_from_a_bad_one() {
    let error = Settings::load(Some(Path::new("/nowhere/ratebook.toml")), std::iter::empty()).unwrap_err();
    assert!(matches!(error, ConfigError::NoFile { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/ratebook.toml"), "{error}");
}

#[test]
fn a_file_without_an_end_is_refused() {
    let error = Settings::load(Some(Path::new("/dev/zero")), std::iter::empty()).unwrap_err();
    assert!(error.to_string().contains("larger than"), "{error}");
}

#[test]
fn values_that_are_not_utf8_are_refused_by_name() {
    let value = OsString::from_vec(vec![0xff, 0xfe]);
    let variables = [("RATEBOOK_LISTEN".into(), value.clone()), ("RATEBOOK_PORT".into(), value)];
    let error = Settings::load(None, variables.into_iter()).unwrap_err();
    assert_eq!(error.to_string(), "setting `listen` (RATEBOOK_LISTEN): the value is not UTF-8");
}

#[test]
fn the_environment_overrides_the_file_and_the_file_the_default() {
    let file = "fail_back_after = \"1s\"\nhold_reference = \"2s\"\n[exchanges.binance]\nstale_after = \"3s\"\nenabled = true";
    let settings =
        settings(file, "RATEBOOK_HOLD_REFERENCE=4s\nRATEBOOK_EXCHANGES__BINANCE__STALE_AFTER=500ms");
    assert_eq!(settings.fail_back_after, Duration::from_secs(1));
    assert_eq!(settings.hold_reference, Duration::from_secs(4));
    assert_eq!(exchange(&settings, "binance").stale_after, Duration::from_millis(500));
    assert_eq!(settings.max_connections, 2000);
}

#[test]
fn what_is_stored_is_set_by_file_and_environment() {
    let default = StorageSettings {
        every: Duration::from_secs(1),
        keep_quotes: Duration::from_secs(30 * 86_400),
        keep_candles: Duration::from_secs(10 * 31_557_600),
        outbox: "ratebook.outbox.db".into(),
        outbox_limit: 1 << 30,
    };
    assert_eq!(settings("", "").storage, default);
    let file =
        "[storage]\nevery = \"0s\"\nkeep_quotes = \"1h\"\noutbox = \"/data/out.db\"\noutbox_limit = 1048576";
    let environment = "RATEBOOK_STORAGE__KEEP_QUOTES=90d\nRATEBOOK_STORAGE__KEEP_CANDLES=100y";
    let expected = StorageSettings {
        every: Duration::ZERO,
        keep_quotes: Duration::from_secs(90 * 86_400),
        keep_candles: Duration::from_secs(36_525 * 86_400),
        outbox: "/data/out.db".into(),
        outbox_limit: 1 << 20,
    };
    assert_eq!(settings(file, environment).storage, expected);
}

#[test]
fn a_size_is_a_whole_number_with_a_unit_or_in_bytes() {
    for (text, size) in [
        ("1MiB", 1 << 20),
        ("1048577", (1 << 20) + 1),
        ("2048KiB", 2 << 20),
        ("512 MiB", 512 << 20),
        ("16GiB", 16 << 30),
    ] {
        let settings = settings("", &format!("RATEBOOK_STORAGE__OUTBOX_LIMIT={text}"));
        assert_eq!(settings.storage.outbox_limit, size, "{text}");
    }
}

#[test]
fn the_environment_mends_a_bad_value_of_the_file() {
    assert_eq!(settings("max_connections = 0", "RATEBOOK_MAX_CONNECTIONS=7").max_connections, 7);
}

#[test]
fn lists_of_the_environment_are_separated_by_commas() {
    let settings =
        settings("", "RATEBOOK_PRIORITY=coingecko, binance\nRATEBOOK_DIRECTIONS=btc-usd,usdttrc-rub");
    assert_eq!(
        settings.priority.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["coingecko", "binance"]
    );
    assert_eq!(
        settings.directions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["BTC-USD", "USDTTRC-RUB"]
    );
}

#[test]
fn values_may_be_empty_where_empty_means_none() {
    let file =
        "tls_ca_file = \"\"\ncors_origins = []\nfail_back_after = \"0s\"\n[exchanges.binance]\nws_url = \"\"";
    let environment =
        "RATEBOOK_CORS_ORIGINS=\nRATEBOOK_TLS_CA_FILE=\nRATEBOOK_EXCHANGES__COINGECKO__API_KEY=";
    let settings = settings(file, environment);
    assert_eq!(exchange(&settings, "binance").ws_url, "");
    assert_eq!(exchange(&settings, "coingecko").api_key, None);
    assert_eq!((settings.tls_ca_file, settings.cors_origins), (None, Vec::new()));
    assert_eq!(settings.fail_back_after, Duration::ZERO);
}

#[test]
fn one_slash_at_the_end_of_an_address_is_dropped() {
    let settings = settings("", "RATEBOOK_EXCHANGES__BINANCE__REST_URL=http://127.0.0.1:9900/binance/");
    assert_eq!(exchange(&settings, "binance").rest_url, "http://127.0.0.1:9900/binance");
}

#[test]
fn default_lists_lose_what_is_disabled_and_explicit_lists_refuse_it() {
    let disabled = "[exchanges.binance]\nenabled = false";
    let default = settings(disabled, "");
    assert!(!default.priority.iter().any(|name| name.as_str() == "binance"));
    assert!(default.priority.iter().any(|name| name.as_str() == "coingecko"));
    for list in ["priority", "reference_priority", "fiat_priority"] {
        let refusal = refusal(&format!("{list} = [\"coingecko\", \"binance\"]\n{disabled}"), "");
        assert!(
            refusal.starts_with(&format!("setting `{list}` (")) && refusal.contains("binance"),
            "{refusal}"
        );
    }
}

#[test]
fn an_exchange_that_needs_a_key_is_off_without_one_and_on_with_one() {
    let key = "RATEBOOK_EXCHANGES__FREECURRENCYAPI__API_KEY=planted";
    let off = "[exchanges.freecurrencyapi]\nenabled = false";
    for (file, environment, is_on) in [
        ("", "", false),
        ("", "RATEBOOK_EXCHANGES__FREECURRENCYAPI__API_KEY=", false),
        ("", key, true),
        ("[exchanges.freecurrencyapi]\nenabled = true", key, true),
        (off, "", false),
        (off, key, false),
    ] {
        let settings = settings(file, environment);
        assert_eq!(exchange(&settings, "freecurrencyapi").enabled, is_on, "{file} {environment}");
        let is_named = settings.fiat_priority.iter().any(|name| name.as_str() == "freecurrencyapi");
        assert_eq!(is_named, is_on, "{file} {environment}");
        assert_eq!(
            settings.fiat_priority[..2].iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            ["cbr", "ecb"]
        );
        assert!(warnings(file, environment).is_empty(), "{file} {environment}");
    }
}

#[test]
fn naming_an_exchange_that_lacks_its_key_is_refused_with_the_variable_that_gives_one() {
    for (file, environment, key) in [
        ("fiat_priority = [\"cbr\", \"freecurrencyapi\"]", "", "fiat_priority"),
        ("", "RATEBOOK_FIAT_PRIORITY=freecurrencyapi,erapi", "fiat_priority"),
        ("[exchanges.freecurrencyapi]\nenabled = true", "", "exchanges.freecurrencyapi.enabled"),
    ] {
        let refusal = refusal(file, environment);
        assert!(refusal.starts_with(&format!("setting `{key}` (")), "{refusal}");
        assert!(refusal.contains("set RATEBOOK_EXCHANGES__FREECURRENCYAPI__API_KEY"), "{refusal}");
        assert_eq!(refusal.lines().count(), 1, "{refusal}");
    }
    let key = "RATEBOOK_EXCHANGES__FREECURRENCYAPI__API_KEY=planted";
    let named = settings("fiat_priority = [\"freecurrencyapi\"]", key).fiat_priority;
    assert_eq!(named.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["freecurrencyapi"]);
}

#[test]
fn a_key_gives_the_pace_that_it_allows_unless_a_pace_is_set() {
    let key = "RATEBOOK_EXCHANGES__COINGECKO__API_KEY=planted";
    for (file, environment, expected) in [
        ("", "", 60),
        ("", key, 20),
        ("[exchanges.coingecko]\npoll_every = \"45s\"", key, 45),
        ("[exchanges.coingecko]\npoll_every = \"5s\"", "", 5),
    ] {
        let pace = exchange(&settings(file, environment), "coingecko").poll_every;
        assert_eq!(pace, Duration::from_secs(expected), "{file} {environment}");
    }
}

#[test]
fn what_an_exchange_or_the_service_suffers_from_is_honoured_with_a_warning() {
    let key = "RATEBOOK_EXCHANGES__COINGECKO__API_KEY=planted";
    for (file, environment, expected) in [
        ("", "", ""),
        (
            "[exchanges.coingecko]\npoll_every = \"59s\"",
            "",
            "`exchanges.coingecko.poll_every`: 59s is faster",
        ),
        ("[exchanges.coingecko]\npoll_every = \"60s\"", "", ""),
        ("[exchanges.coingecko]\npoll_every = \"20s\"", key, ""),
        ("[exchanges.coingecko]\npoll_every = \"19s\"", key, "with a key allows (20s)"),
        ("[exchanges.binance]\npoll_every = \"1ms\"\nenabled = false", "", ""),
        (
            "[exchanges.coingecko]\nstale_after = \"60s\"",
            "",
            "`exchanges.coingecko.stale_after`: 1m is not longer",
        ),
        ("[exchanges.binance]\npoll_every = \"50ms\"", "", "`exchanges.binance.poll_every`: 50ms is faster"),
        ("[exchanges.binance]\npoll_every = \"100ms\"", "", ""),
        (
            "",
            "RATEBOOK_EXCHANGES__BINANCE__API_KEY=planted",
            "`exchanges.binance.api_key`: binance has no use",
        ),
        ("[exchanges.coingecko]\nrest_url = \"http://proxy.example\"", key, "unencrypted"),
        ("[exchanges.coingecko]\nrest_url = \"http://127.0.0.1:9900\"", key, ""),
        ("database_url = \"postgres://me:planted@db/x\"", "", "`database_url`: a password in the file"),
        ("database_url = \"postgres://me@db/x\"", "", ""),
        ("", "RATEBOOK_DATABASE_URL=postgres://me:planted@db/x", ""),
        ("", "RATEBOOK_LISTN=1", "`RATEBOOK_LISTN`: no such setting, ignored"),
        (
            "",
            "RATEBOOK_EXCHANGES_SERVICE_HOST=10.0.0.1",
            "`RATEBOOK_EXCHANGES_SERVICE_HOST`: no such setting",
        ),
        ("", "RATEBOOK_LOG=debug\nRATEBOOK_CONFIG=x\nPATH=/bin\nratebook_listen=x", ""),
    ] {
        let warnings = warnings(file, environment);
        assert!(warnings.contains(expected), "{file} {environment}: {warnings}");
        assert_eq!(
            warnings.lines().count(),
            usize::from(!expected.is_empty()),
            "{file} {environment}: {warnings}"
        );
        assert!(!warnings.contains("planted"), "{warnings}");
    }
}

#[test]
fn nobody_left_to_answer_is_a_warning() {
    let file: String =
        EXCHANGES.iter().map(|row| format!("[exchanges.{}]\nenabled = false\n", row.name)).collect();
    let warnings = warnings(&file, "");
    for key in ["`priority`", "`reference_priority`", "`fiat_priority`"] {
        assert!(warnings.contains(key), "{warnings}");
    }
}

#[test]
fn the_effective_settings_read_back_to_the_same_settings() {
    let all_off: String =
        EXCHANGES.iter().map(|row| format!("[exchanges.{}]\nenabled = false\n", row.name)).collect();
    let odd = "state_file = \"a \\\"b\\\" \\\\ #\\n.json\"\ncors_origins = [\"https://Shop.Example:8443\"]\n\
               usdt_usd = \"peg\"\nmax_fiat_difference = \"0.25 %\"\nfail_back_after = \"1h 2m 3s 4ms\"\nroles = [\"answer\"]\n\
               nats_url = \"tls://[::1]:4222\"\ndatabase_url = \"sqlite://:memory:\"\n[storage]\nevery = \"1ms\"\nkeep_quotes = \"1h 1ns\"\n\
               keep_candles = \"36525d\"\noutbox = \"a \\\"b\\\" #\"\noutbox_limit = 1048577";
    for (file, environment) in [
        ("", ""),
        (all_off.as_str(), ""),
        (odd, "RATEBOOK_LISTEN=[::1]:0\nRATEBOOK_EXCHANGES__BINANCE__WS_URL=\nRATEBOOK_MAX_CONNECTIONS=1"),
    ] {
        let loaded = load(file, environment).unwrap();
        let page = loaded.to_toml();
        assert_eq!(settings(&page, ""), loaded.settings, "{page}");
    }
}

#[test]
fn who_we_are_to_the_broker_comes_from_the_environment_and_is_never_shown() {
    let environment = "RATEBOOK_NATS_URL=nats://broker:4222/\nRATEBOOK_NATS_USER=planted-user\n\
                       RATEBOOK_NATS_PASSWORD=planted-password\nRATEBOOK_ROLES=collect";
    let loaded = load("", environment).unwrap();
    let nats = loaded.settings.nats.as_ref().unwrap();
    assert_eq!(nats.url, "nats://broker:4222");
    let revealed = [&nats.user, &nats.password].map(|it| it.as_ref().unwrap().reveal());
    assert_eq!(revealed, ["planted-user", "planted-password"]);
    for shown in [loaded.to_toml(), format!("{:?}", loaded.settings), format!("{nats:?}")] {
        assert!(!shown.contains("planted"), "{shown}");
    }
    assert!(loaded.to_toml().contains("# nats_password is set, and not shown"));
    assert_eq!(settings("", "RATEBOOK_NATS_URL=\nRATEBOOK_NATS_USER=\nRATEBOOK_NATS_PASSWORD=").nats, None);
    for roles in ["collect", "answer", "store", "collect,answer", "answer,store", "collect,answer,store"] {
        settings("", &format!("RATEBOOK_NATS_URL=nats://broker\nRATEBOOK_ROLES={roles}"));
    }
    for roles in ["collect,answer", "store,collect"] {
        assert_eq!(settings("", &format!("RATEBOOK_ROLES={roles}")).nats, None);
    }
}

#[test]
fn lengths_and_sizes_are_shown_as_people_write_them_and_read_back_exactly() {
    for (kept, shown) in [
        ("1h", "1h"),
        ("24h", "1d"),
        ("30d", "30d"),
        ("1month", "30d 10h 33m 36s"),
        ("60days", "60d"),
        ("365d", "365d"),
        ("10y", "10y"),
        ("1y 1s 5ms", "365d 6h 1s 5ms"),
        ("100y", "100y"),
    ] {
        let loaded = load("", &format!("RATEBOOK_STORAGE__KEEP_QUOTES={kept}")).unwrap();
        let page = loaded.to_toml();
        assert!(page.contains(&format!("keep_quotes = \"{shown}\"  # RATEBOOK")), "{kept}: {page}");
        assert_eq!(settings(&page, ""), loaded.settings, "{kept}");
    }
    for (limit, shown) in [("1024MiB", "1GiB"), ("1536MiB", "1536MiB"), ("1048577", "1048577")] {
        let page = load("", &format!("RATEBOOK_STORAGE__OUTBOX_LIMIT={limit}")).unwrap().to_toml();
        assert!(page.contains(&format!("outbox_limit = \"{shown}\"  # RATEBOOK")), "{limit}: {page}");
        assert_eq!(
            settings(&page, "").storage,
            settings("", &format!("RATEBOOK_STORAGE__OUTBOX_LIMIT={limit}")).storage
        );
    }
}

#[test]
fn the_effective_settings_say_where_a_value_comes_from() {
    let page = load("max_connections = 5\n", "RATEBOOK_FAIL_BACK_AFTER=2s").unwrap().to_toml();
    let line = |name: &str| page.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("max_connections").ends_with(":1"), "{page}");
    assert_eq!(line("fail_back_after"), "fail_back_after = \"2s\"  # RATEBOOK_FAIL_BACK_AFTER");
    assert_eq!(line("hold_reference"), "hold_reference = \"1h\"");
}

#[test]
fn no_secret_is_ever_shown() {
    let urls = [
        "postgres://me:planted@db/x",
        "postgres://me:pl@nted?planted@db/x",
        "postgresql://db/x?user=me&password=planted&sslmode=require",
        "postgres://:planted@db",
    ];
    for url in urls {
        let environment =
            format!("RATEBOOK_DATABASE_URL={url}\nRATEBOOK_EXCHANGES__COINGECKO__API_KEY=planted");
        let loaded = load("", &environment).unwrap();
        for shown in [loaded.to_toml(), format!("{loaded:?}"), format!("{:?}", loaded.settings)] {
            assert!(!shown.contains("planted") && !shown.contains("nted"), "{shown}");
            toml::from_str::<toml::Table>(&loaded.to_toml()).unwrap();
        }
        assert_eq!(loaded.settings.database_url, url);
        assert!(loaded.to_toml().contains("# api_key is set, and not shown"));
        assert!(loaded.to_toml().contains("# api_key is not set, and needed"));
    }
    for (file, environment) in [
        ("database_url = \"mysql://me:planted@db\"", ""),
        ("[exchanges.coingecko]\napi_key = \"planted\"", ""),
        ("[exchanges.coingecko]\napikey = \"planted\"", ""),
        ("[exchanges.coingecko]\nrest_url = \"https://me:planted@h\"", ""),
        ("[exchanges.coingecko]\nrest_url = \"https://h?key=planted\"", ""),
        ("", "RATEBOOK_EXCHANGES__COINGECKO__APIKEY=planted"),
        ("", "RATEBOOK_EXCHANGES__COINGECKO__API_KEY=planted\u{7}"),
    ] {
        let refusal = refusal(file, environment);
        assert!(!refusal.contains("planted"), "{refusal}");
    }
}

#[test]
fn defaults_are_those_of_the_tables() {
    let default = Settings::default();
    assert_eq!(default.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(default.directions.len(), 8);
    assert_eq!(default.roles, Role::ALL);
    for row in EXCHANGES {
        assert_eq!(default.exchanges[&row.name], ExchangeSettings::of(row), "{}", row.name);
    }
    assert!(load("", "").unwrap().warnings.is_empty());
}

#[test]
fn a_simulator_plays_every_exchange_whose_address_was_not_said() {
    let settings = settings("simulator = \"sim.test:9900\"\n[exchanges.okx]\nws_url = \"wss://own\"\n", "");
    for row in EXCHANGES {
        let exchange = &settings.exchanges[&row.name];
        let (rest_url, ws_url) = row.served_at("sim.test:9900");
        let ws_url = if row.name.as_str() == "okx" { "wss://own".to_owned() } else { ws_url };
        assert_eq!((&exchange.rest_url, &exchange.ws_url), (&rest_url, &ws_url), "{}", row.name);
    }
}
