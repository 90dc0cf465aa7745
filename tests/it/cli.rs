//! The command line: exit codes, messages, help, and that no secret is ever shown.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::program::{Running, ratebook};

pub(crate) fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    ratebook(directory.path()).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The one CRITICAL line.
pub(crate) fn critical(output: &Output) -> String {
    let stderr = stderr(output);
    let lines: Vec<&str> = stderr.lines().filter(|line| line.contains(" CRITICAL ")).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    lines[0].to_owned()
}

#[test]
fn every_failure_has_its_exit_code_and_one_critical_line_that_says_what_to_do() {
    let bad = [("RATEBOOK_FAIL_BACK_AFTER", "")];
    for (arguments, variables, code, told) in [
        (&["cook"][..], &[][..], 64, "`ratebook --help`"),
        (&["serve", "--bogus"], &[], 64, "--bogus"),
        (&["serve", "--config"], &[], 64, "--config"),
        (&["decode"], &[], 64, "<EXCHANGE>"),
        (&["decode", "krakn"], &[], 64, "known: binance"),
        (&["decode", "binance", "--directions", "BTCUSD"], &[], 64, "such as `BTC-USD`"),
        (&["demo", "--speed", "0"], &[], 64, "from 0.001"),
        (&["simulate", "--listen", "9900"], &[], 64, "--listen"),
        (&["courses", "--every", "1ms"], &[], 64, "from `100ms`"),
        (&["courses", "--url", "ftp://h"], &[], 64, "`http://`"),
        (&["--config", "x.toml", "courses"], &[], 64, "leave `--config` out"),
        (&["--config", "absent.toml"], &[], 66, "`absent.toml`"),
        (&["serve", "--config", "absent.toml"], &[], 66, "`absent.toml`"),
        (&["demo", "--config", "absent.toml"], &[], 66, "`absent.toml`"),
        (&["check-config", "--config", "absent.toml"], &[], 66, "`absent.toml`"),
        (&["serve"], &[("RATEBOOK_CONFIG", "absent.toml")], 66, "`absent.toml`"),
        (&["check-config", "--config", "."], &[], 66, "cannot be read"),
        (&["simulate", "--replay", "absent.jsonl"], &[], 66, "`absent.jsonl`"),
        (&[], &bad, 78, "`fail_back_after` (RATEBOOK_FAIL_BACK_AFTER)"),
        (&["serve"], &bad, 78, "`fail_back_after` (RATEBOOK_FAIL_BACK_AFTER)"),
        (&["demo"], &bad, 78, "`fail_back_after` (RATEBOOK_FAIL_BACK_AFTER)"),
        (&["check-config"], &bad, 78, "`fail_back_after` (RATEBOOK_FAIL_BACK_AFTER)"),
        (&["serve"], &[("RATEBOOK_EXCHANGES__KRAKN__ENABLED", "true")], 78, "`exchanges.krakn.enabled`"),
        (&["serve"], &[("RATEBOOK_FIAT_PRIORITY", "freecurrencyapi")], 78, "`fiat_priority`"),
    ] {
        let output = run(arguments, variables);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(critical(&output).contains(told), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", stdout(&output));
    }
}

#[test]
fn several_bad_settings_are_all_told() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ratebook.toml"), "listen = 1\n\n[exchanges.krakn]\n").unwrap();
    let output = ratebook(directory.path()).arg("serve").env("RATEBOOK_ROLES", "cook").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let stderr = stderr(&output);
    for told in
        ["`listen` (ratebook.toml:1)", "`exchanges.krakn` (ratebook.toml:3)", "`roles` (RATEBOOK_ROLES)"]
    {
        assert!(
            stderr.lines().any(|line| line.contains(" ERROR ") && line.contains(told)),
            "{told}: {stderr}"
        );
    }
    for key in ["`listen`", "`exchanges.krakn`", "`roles`"] {
        assert!(critical(&output).contains(key), "{key}: {stderr}");
    }
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let output = run(&["check-config"], &[("RATEBOOK_SERVICE_HOST", "10.0.0.1")]);
    assert_eq!(output.status.code(), Some(0));
    let stderr = stderr(&output);
    assert!(stderr.contains(" WARNING ") && stderr.contains("`RATEBOOK_SERVICE_HOST`"), "{stderr}");
}

#[test]
fn check_config_prints_settings_that_read_back_to_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("RATEBOOK_PRIORITY", "coingecko"), ("RATEBOOK_EXCHANGES__BINANCE__WS_URL", "")];
    let first = ratebook(directory.path()).arg("check-config").envs(variables).output().unwrap();
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    std::fs::write(directory.path().join("copy.toml"), &first.stdout).unwrap();
    let second = ratebook(directory.path()).args(["check-config", "--config", "copy.toml"]).output().unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", stderr(&second));
    let values = |output: &Output| toml::from_str::<toml::Table>(&stdout(output)).unwrap();
    assert_eq!(values(&first), values(&second));
    assert_eq!(values(&first)["priority"].as_array().unwrap().len(), 1);
}

#[test]
fn no_command_ever_shows_a_secret() {
    let key = ("RATEBOOK_EXCHANGES__COINGECKO__API_KEY", "planted-key");
    let needed_key = ("RATEBOOK_EXCHANGES__FREECURRENCYAPI__API_KEY", "planted-key");
    let database = ("RATEBOOK_DATABASE_URL", "postgres://me:planted-password@db/ratebook");
    let debug = ("RATEBOOK_LOG", "debug");
    let bad = ("RATEBOOK_ROLES", "");
    let misspelt = ("RATEBOOK_EXCHANGES__COINGECKO__APIKEY", "planted-key");
    let unsendable = ("RATEBOOK_EXCHANGES__COINGECKO__API_KEY", "planted key");
    for (arguments, variables) in [
        (&["check-config"][..], &[key, needed_key, database, debug][..]),
        (&["check-config"], &[key, database, bad]),
        (&["serve", "--debug"], &[key, database, bad]),
        (&["serve", "--log-format", "json"], &[misspelt]),
        (&["demo"], &[unsendable, database]),
        (&["check-config"], &[("RATEBOOK_DATABASE_URL", "mysql://me:planted-password@db")]),
    ] {
        let output = run(arguments, variables);
        let shown = stdout(&output) + &stderr(&output);
        assert!(!shown.contains("planted") && !shown.is_empty(), "{arguments:?}: {shown}");
    }
    for file in ["[exchanges.coingecko]\napi_key = \"planted\"", "[exchanges.coingecko]\napi_key = planted"] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ratebook.toml"), file).unwrap();
        let output = ratebook(directory.path()).arg("serve").output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        assert!(!stderr(&output).contains("planted"), "{}", stderr(&output));
    }
}

#[test]
fn log_lines_are_json_on_request() {
    let output = run(&["serve", "--log-format", "json"], &[("RATEBOOK_ROLES", "cook")]);
    let stderr = stderr(&output);
    let records: Vec<serde_json::Value> =
        stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let levels: Vec<&str> = records.iter().map(|record| record["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["INFO", "CRITICAL"], "{stderr}");
    assert!(records[1]["message"].as_str().unwrap().contains("`roles`"), "{stderr}");
}

#[test]
fn the_log_filter_keeps_critical_and_a_bad_one_is_a_warning() {
    let bad = ("RATEBOOK_ROLES", "cook");
    let quiet = run(&["serve"], &[bad, ("RATEBOOK_LOG", "off")]);
    assert_eq!(stderr(&quiet).lines().count(), 1, "{}", stderr(&quiet));
    critical(&quiet);
    let loud = run(&["check-config"], &[("RATEBOOK_LOG", "loud")]);
    assert_eq!(loud.status.code(), Some(0));
    assert!(
        stderr(&loud).contains("WARNING") && stderr(&loud).contains("`RATEBOOK_LOG`"),
        "{}",
        stderr(&loud)
    );
}

#[test]
fn version_tells_the_commit() {
    let output = run(&["--version"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let expected = format!("ratebook {} ({})\n", env!("CARGO_PKG_VERSION"), env!("BUILT_FROM_COMMIT"));
    assert_eq!(stdout(&output), expected);
    let git =
        Command::new("git").args(["rev-parse", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let is_repository = Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
    let head = git.ok().filter(|git| is_repository && git.status.success()).map(|git| stdout(&git));
    match head {
        Some(head) => assert!(head.starts_with(env!("BUILT_FROM_COMMIT")), "{head}: {expected}"),
        None => println!("no repository with git here, so there is nothing to compare {expected} with"),
    }
}

#[test]
fn help_of_every_command_is_complete() {
    for command in [
        "serve",
        "demo",
        "simulate",
        "courses",
        "health",
        "exchanges",
        "check-config",
        "migrate",
        "export",
        "decode",
    ] {
        let output = run(&[command, "--help"], &[]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = stdout(&output);
        for part in [
            &format!("Usage: ratebook {command}"),
            "Options:",
            "--debug",
            "Examples:",
            "Exit codes:",
            "  78  ",
        ] {
            assert!(help.contains(part), "{command} lacks {part}: {help}");
        }
        assert!(stdout(&run(&["--help"], &[])).contains(command));
    }
    let help = stdout(&run(&["serve", "--help"], &[]));
    for key in ratebook::config::KEYS.iter().chain(ratebook::config::EXCHANGE_KEYS) {
        assert!(help.contains(key.name), "{}: {help}", key.name);
    }
}

#[test]
fn the_table_of_exchanges_tells_each_with_its_symbols_and_needs() {
    let variables = [
        ("RATEBOOK_DIRECTIONS", "BTC-USD,ETH-BTC"),
        ("RATEBOOK_EXCHANGES__HTX__ENABLED", "false"),
        ("RATEBOOK_EXCHANGES__OKX__WS_URL", ""),
    ];
    let output = run(&["exchanges"], &variables);
    assert_eq!(output.status.code(), Some(0));
    let table = stdout(&output);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["NAME", "KIND", "TRANSPORT", "SYMBOLS", "NEEDS"]
    );
    assert_eq!(lines.len(), 1 + ratebook::exchange::EXCHANGES.len());
    for parts in [
        ["binance ", " market ", " websocket, rest ", " BTCUSDT ETHUSDT ", " nothing"],
        ["htx ", " market ", " websocket, rest ", " btcusdt ", " nothing (switched off)"],
        ["okx ", " market ", " rest ", " BTC-USDT ", " nothing"],
        [
            "coingecko ",
            " aggregator ",
            " rest ",
            " bitcoin",
            " faster with a key in RATEBOOK_EXCHANGES__COINGECKO__API_KEY",
        ],
        ["cbr ", " central bank (RUB) ", " rest ", " its whole table ", " nothing"],
    ] {
        let line = lines.iter().find(|line| line.starts_with(parts[0])).unwrap();
        for part in &parts[1..] {
            assert!(line.contains(part), "`{part}` is not in: {line}");
        }
    }
    let key = run(&["exchanges"], &[("RATEBOOK_EXCHANGES__COINGECKO__API_KEY", "planted")]);
    assert!(stdout(&key).contains("nothing: its key is set") && !stdout(&key).contains("planted"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = ratebook(directory.path())
        .args(["decode", "binance"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    // The write itself may fail once the program has ended, which is what it should do.
    drop(input.write_all("{}\n".repeat(1000).as_bytes()));
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

/// Answers one request with `response`, and gives the request's first line.
fn answer_once(response: String) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        while reader.read_line(&mut request).unwrap() > 2 {}
        reader.get_mut().write_all(response.as_bytes()).unwrap();
        request.lines().next().unwrap_or_default().to_owned()
    });
    (url, served)
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn courses_are_a_table_with_every_digit_and_its_sources() {
    let headers = "ratebook-age-ms: 1234\r\nratebook-legs: USDT-USD=coingecko;age_ms=41000;held=1\r\n\
                   ratebook-missing: BTC-EUR\r\n";
    let body = r#"{"exchanger":"binance","courses":[{"direction":"BTC-USD","value":63871.40215},{"direction":"USDTTRC-RUB","value":79.41},{"direction":"RUB-BTC","value":0.00000019714}]}"#;
    let (url, served) = answer_once(response("200 OK", headers, body));
    let arguments = ["courses", "--url", &url, "--directions", "btc-usd,USDTTRC-RUB", "--exchanger", "a b"];
    let output = run(&arguments, &[]);
    assert_eq!(
        stdout(&output),
        "DIRECTION                VALUE\n\
         BTC-USD      63871.40215\n\
         USDTTRC-RUB     79.41\n\
         RUB-BTC          0.00000019714\n\
         \n\
         from binance, 1.2 s old\n\
         over USDT-USD of coingecko, 41.0 s old, held because its source is stale\n\
         without BTC-EUR, which it does not trade\n",
        "{}",
        stderr(&output)
    );
    assert_eq!(output.status.code(), Some(0));
    let request = served.join().unwrap();
    assert_eq!(request, "GET /v1/courses?directions=BTC-USD,USDTTRC-RUB&exchanger=a%20b HTTP/1.1");
}

#[test]
fn courses_tell_why_there_are_none() {
    let stale = r#"{"status":503,"detail":"nothing fresh for what was asked","reason":"stale","exchanges":[{"name":"binance","status":"down","reason":"connection refused\u001b[2J","age_ms":null,"missing":[]}]}"#;
    let unknown = r#"{"status":422,"detail":"no enabled source has `XYZ`","reason":"unknown_direction"}"#;
    for (status, body, code, told) in [
        (
            "503 Service Unavailable",
            stale,
            69,
            "503 stale: nothing fresh for what was asked; binance is down",
        ),
        ("422 Unprocessable Content", unknown, 64, "422 unknown_direction: no enabled source has `XYZ`"),
        ("502 Bad Gateway", "<html>", 69, "502"),
        ("200 OK", "<html>", 69, "is no ratebook"),
        ("302 Found", "", 69, "302"),
    ] {
        let (url, _) = answer_once(response(status, "", body));
        let output = run(&["courses", "--url", &url], &[]);
        assert_eq!(output.status.code(), Some(code), "{status}: {}", stderr(&output));
        assert!(critical(&output).contains(told), "{status}: {}", stderr(&output));
        assert!(!stderr(&output).contains('\u{1b}'));
    }
}

#[test]
fn courses_say_so_when_nobody_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let output = run(&["courses", "--url", &url], &[]);
    assert_eq!(output.status.code(), Some(69));
    assert!(critical(&output).contains(&format!("no answer from {url}")), "{}", stderr(&output));
}

#[test]
fn the_simulator_says_where_it_is_and_ends_on_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = ratebook(directory.path());
        command.args(["simulate", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut simulator = Running(command.spawn().unwrap());
        let mut lines = BufReader::new(simulator.0.stdout.take().unwrap());
        let mut said = String::new();
        while !said.contains("curl -X DELETE") {
            assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
        }
        assert!(said.starts_with("simulator listens on http://127.0.0.1:"), "{said}");
        assert!(said.contains("export RATEBOOK_SIMULATOR=127.0.0.1:"), "{said}");
        assert!(said.contains("export RATEBOOK_EXCHANGES__FREECURRENCYAPI__API_KEY=simulated\n"), "{said}");
        simulator.signal(signal);
        assert_eq!(simulator.code(), Some(0), "{signal}");
    }
}

#[test]
fn watching_goes_on_when_the_service_does_not_and_ends_on_a_signal() {
    let (url, _) = answer_once(response(
        "200 OK",
        "",
        r#"{"exchanger":"binance","courses":[{"direction":"BTC-USD","value":1}]}"#,
    ));
    let directory = tempfile::tempdir().unwrap();
    let mut command = ratebook(directory.path());
    command.args(["courses", "--url", &url, "--watch", "--every", "100ms"]).stdout(Stdio::piped());
    let mut watching = Running(command.spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap());
    let mut said = String::new();
    while !(said.contains("from binance") && said.matches("no answer from").count() >= 2) {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    watching.signal("-INT");
    assert_eq!(watching.code(), Some(0));
    drop(lines.read_to_string(&mut said));
}

#[test]
fn health_is_a_table_and_an_exit_code() {
    let exchanges = r#"[
        {"name":"binance","status":"down","transport":"none","last_quote_age_ms":8250,"last_error":"connection <refused>"},
        {"name":"kraken","status":"fresh","transport":"websocket","last_quote_age_ms":41,"last_error":"an old one"}
    ]"#;
    for (status, body, code, parts) in [
        (
            "200 OK",
            format!(
                r#"{{"status":"degraded","reasons":["`binance` is not answering"],"answering":"kraken","exchanges":{exchanges}}}"#
            ),
            0,
            &[
                "binance   down    none       8.2 s       connection <refused>\n",
                "kraken    fresh   websocket  0.0 s\n",
                "\ndegraded, kraken answers\n- `binance` is not answering\n",
            ][..],
        ),
        (
            "503 Service Unavailable",
            r#"{"status":"down","reasons":["the book of quotes does not answer"],"answering":null,"exchanges":[]}"#
                .to_owned(),
            69,
            &["the service is down: the book of quotes does not answer"],
        ),
        ("200 OK", "{}".to_owned(), 69, &["is no ratebook"]),
        ("502 Bad Gateway", "<html>".to_owned(), 69, &["is no ratebook"]),
    ] {
        let (url, asked) = answer_once(response(status, "", &body));
        let output = run(&["health", "--url", &url], &[]);
        assert_eq!(output.status.code(), Some(code), "{body}");
        let said = stdout(&output) + &String::from_utf8_lossy(&output.stderr);
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        assert!(!said.contains("an old one"), "{said}");
        assert!(asked.join().unwrap().starts_with("GET /health "));
    }
    let (url, asked) = answer_once(response("200 OK", "", r#"{"status":"ok"}"#));
    assert_eq!(run(&["health", "--live", "--url", &url], &[]).status.code(), Some(0));
    assert!(asked.join().unwrap().starts_with("GET /health/live "));
}
