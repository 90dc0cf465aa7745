//! `ratebook decode`: what a plug-in makes of recorded frames, one line of JSON for each.
//!
//! Separate because it is how people look at an exchange's frames without its socket, and how a recording becomes
//! a test. It goes through the same plug-ins and the same time-free gates as the service.

use std::io::{self, BufRead, Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::SecondsFormat;
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Access, Exchange, FrameError, Kind, Reading, Row, Scope, Signal, Source};
use crate::market::{Direction, Quote, Refusal, number};

/// Longest line, or body, that is read. The largest real bodies (lists of instruments) have about 20 MB; without a
/// limit, a file that is no recording could take all memory.
const MAX_FRAME: usize = 64 << 20;

/// Reads frames from `input`, one per line, or all of it as one `body`, and writes exactly one line of JSON for
/// each. `check` is the gates that need no clock.
///
/// A line that is a JSON string is unquoted first; `b64:` marks the base64 of a binary frame. A line is read as a
/// frame of the socket; where the exchange has none, or where that reading says nothing or fails, as a body of a
/// poll. A frame that cannot be read is a line with `error`, and the next one is read.
///
/// # Errors
/// When reading `input` or writing `output` fails; never for what a frame holds.
pub fn decode(
    row: &'static Row,
    scope: Scope,
    body: bool,
    check: fn(&Quote) -> Result<(), Refusal>,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> io::Result<()> {
    let access = Access { rest_url: row.rest_url.to_owned(), api_key: None };
    // A bank's table is always read as a whole, so what was not asked for is left out here.
    let asked = match (&scope, row.kind) {
        (Scope::Directions(directions), Kind::Fiat { .. }) => Some(directions.clone()),
        _ => None,
    };
    let has_socket = !row.ws_url.is_empty();
    let mut decoder = Decoder { exchange: (row.make)(&access, scope), asked, has_socket, check };
    let mut frame = Vec::new();
    if body {
        input.take(MAX_FRAME as u64 + 1).read_to_end(&mut frame)?;
        let reading = match frame.len() <= MAX_FRAME {
            true => decoder.exchange.read(Source::Poll, &frame),
            false => Err(FrameError::TooBig { limit: MAX_FRAME }),
        };
        write_line(output, decoder.outcome(reading))?;
        return output.flush();
    }
    while let Some(is_whole) = read_line(input, &mut frame)? {
        let outcome = match is_whole {
            true => decoder.line(&frame),
            false => Outcome::Failure { error: FrameError::TooBig { limit: MAX_FRAME }.to_string() },
        };
        write_line(output, outcome)?;
    }
    output.flush()
}

/// Reads the next line without its end into `line`. `None` at the end of the input; `false` if the line is too
/// long, in which case all of it is skipped.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    let mut bounded = (&mut *input).take(MAX_FRAME as u64 + 1);
    if bounded.read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > MAX_FRAME {
        input.skip_until(b'\n')?;
        return Ok(Some(false));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(true))
}

fn write_line(output: &mut dyn Write, outcome: Outcome) -> io::Result<()> {
    serde_json::to_writer(&mut *output, &outcome)?;
    output.write_all(b"\n")
}

/// One line of output.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Reading { quotes: Vec<QuoteLine>, refused: Vec<RefusedLine> },
    Failure { error: String },
}

/// A quote as it is written: exact numbers, and `null` for what is absent.
#[derive(Debug, Serialize)]
struct QuoteLine {
    direction: String,
    bid: Option<Box<RawValue>>,
    ask: Option<Box<RawValue>>,
    last: Option<Box<RawValue>>,
    quoted_at: Option<String>,
}

/// A row that gave no quote.
#[derive(Debug, Serialize)]
struct RefusedLine {
    symbol: String,
    reason: &'static str,
}

struct Decoder {
    exchange: Box<dyn Exchange>,
    /// The directions of which quotes are wanted; `None` for all that are read.
    asked: Option<Vec<Direction>>,
    has_socket: bool,
    check: fn(&Quote) -> Result<(), Refusal>,
}

impl Decoder {
    fn line(&mut self, line: &[u8]) -> Outcome {
        match frame_of(line) {
            Ok(frame) => {
                let reading = self.read(&frame);
                self.outcome(reading)
            }
            Err(error) => Outcome::Failure { error },
        }
    }

    fn read(&mut self, frame: &[u8]) -> Result<Reading, FrameError> {
        if !self.has_socket {
            return self.exchange.read(Source::Poll, frame);
        }
        let reading = self.exchange.read(Source::Socket, frame);
        if reading.as_ref().is_ok_and(|reading| *reading != Reading::default()) {
            return reading;
        }
        match (reading, self.exchange.read(Source::Poll, frame)) {
            (_, Ok(as_body)) if as_body != Reading::default() => Ok(as_body),
            (reading, _) => reading,
        }
    }

    fn outcome(&self, reading: Result<Reading, FrameError>) -> Outcome {
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => return Outcome::Failure { error: error.to_string() },
        };
        if reading.quotes.is_empty()
            && reading.refused.is_empty()
            && let Some(error) = reading.signals.iter().find_map(complaint)
        {
            return Outcome::Failure { error };
        }
        let mut refused: Vec<RefusedLine> = Vec::new();
        for (symbol, refusal) in reading.refused {
            refused.push(RefusedLine { symbol, reason: refusal.as_str() });
        }
        let mut quotes = Vec::new();
        for quote in reading.quotes {
            let is_asked = |asked: &Vec<Direction>| {
                asked.contains(&quote.direction) || asked.contains(&quote.direction.inverse())
            };
            let expected = if self.asked.as_ref().is_none_or(is_asked) {
                Ok(())
            } else {
                Err(Refusal::UnexpectedSymbol)
            };
            match expected.and_then(|()| (self.check)(&quote)) {
                Ok(()) => quotes.push(QuoteLine::new(&quote)),
                Err(refusal) => {
                    let symbol = self.exchange.symbol(quote.direction);
                    refused.push(RefusedLine { symbol, reason: refusal.as_str() });
                }
            }
        }
        Outcome::Reading { quotes, refused }
    }
}

impl QuoteLine {
    fn new(quote: &Quote) -> Self {
        let number =
            |value: Option<Decimal>| value.and_then(|v| RawValue::from_string(number::plain(v)).ok());
        Self {
            direction: quote.direction.to_string(),
            bid: number(quote.bid),
            ask: number(quote.ask),
            last: number(quote.last),
            quoted_at: quote.quoted_at.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}

/// The bytes of the frame that a line stands for.
fn frame_of(line: &[u8]) -> Result<Vec<u8>, String> {
    let unquoted = match line.trim_ascii_start().first() {
        Some(b'"') => serde_json::from_slice::<String>(line).map(String::into_bytes).ok(),
        _ => None,
    };
    let frame = unquoted.unwrap_or_else(|| line.to_vec());
    match frame.strip_prefix(b"b64:") {
        Some(encoded) => {
            BASE64.decode(encoded.trim_ascii()).map_err(|error| format!("not base64 after `b64:`: {error}"))
        }
        None => Ok(frame),
    }
}

/// What the exchange complains about; `None` for other signals.
fn complaint(signal: &Signal) -> Option<String> {
    match signal {
        Signal::Error(detail) => Some(detail.clone()),
        Signal::SubscriptionRefused { id, detail } => Some(format!("subscription {id} refused: {detail}")),
        Signal::RateLimited { .. } => Some("the exchange asks for fewer requests".to_owned()),
        Signal::Greeted
        | Signal::Acknowledged(_)
        | Signal::FeedChanged
        | Signal::ReconnectSoon
        | Signal::Dial { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::row;

    fn run(
        exchange: &str,
        body: bool,
        check: fn(&Quote) -> Result<(), Refusal>,
        input: &[u8],
    ) -> Vec<String> {
        let mut output = Vec::new();
        decode(row(exchange).unwrap(), Scope::Everything, body, check, &mut &input[..], &mut output).unwrap();
        String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
    }

    fn lines(input: &[u8]) -> Vec<String> {
        run("binance", false, |_| Ok(()), input)
    }

    const FRAME: &str = r#"{"u":7,"s":"BTCUSDT","b":"61000.50000000","B":"1","a":"61000.5100","A":"2"}"#;
    const READ: &str = r#"{"quotes":[{"direction":"BTC-USDT","bid":61000.5,"ask":61000.51,"last":null,"quoted_at":null}],"refused":[]}"#;
    const NOTHING: &str = r#"{"quotes":[],"refused":[]}"#;

    #[test]
    fn every_form_of_a_line_gives_the_same_quote() {
        let quoted = serde_json::to_string(FRAME).unwrap();
        let binary = format!("b64:{}", BASE64.encode(FRAME));
        let quoted_binary = format!("\"{binary}\"");
        let body = r#"{"symbol":"BTCUSDT","bidPrice":"61000.5","askPrice":"61000.51"}"#;
        for line in
            [FRAME, &quoted, &binary, &quoted_binary, body, &format!("[{body}]"), &format!("{FRAME}\r")]
        {
            assert_eq!(lines(line.as_bytes()), [READ], "{line}");
        }
    }

    #[test]
    fn one_line_goes_out_for_every_line_that_comes_in() {
        let mut input = Vec::new();
        for line in [
            &b""[..],
            b"   ",
            b"shout",
            b"\xff\xfe",
            b"\"unfinished",
            b"b64:?",
            b"{\"result\":null,\"id\":1}",
            b"[]",
            b"\"\"",
            FRAME.as_bytes(),
        ] {
            input.extend_from_slice(line);
            input.push(b'\n');
        }
        let output = lines(&input);
        assert_eq!(output.len(), 10);
        let is_error: Vec<bool> = output.iter().map(|line| line.starts_with(r#"{"error":""#)).collect();
        assert_eq!(is_error, [true, true, true, true, true, true, false, false, true, false]);
        assert_eq!((output[6].as_str(), output[7].as_str(), output[9].as_str()), (NOTHING, NOTHING, READ));
    }

    #[test]
    fn the_last_line_needs_no_end_and_no_input_gives_no_line() {
        assert_eq!(lines(FRAME.as_bytes()).len(), 1);
        assert_eq!(lines(format!("{FRAME}\n").as_bytes()).len(), 1);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn a_body_is_one_line_whatever_it_holds() {
        let body = "[\n{\"symbol\":\"BTCUSDT\",\"bidPrice\":\"61000.5\",\n\"askPrice\":\"61000.51\"}]\n";
        assert_eq!(run("binance", true, |_| Ok(()), body.as_bytes()), [READ]);
        for body in [&b""[..], b"\n\n", b"<html>\n</html>"] {
            let output = run("binance", true, |_| Ok(()), body);
            assert_eq!(output.len(), 1);
            assert!(output[0].starts_with(r#"{"error":"#), "{output:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_an_error_and_the_next_one_is_read() {
        let mut input = vec![b' '; MAX_FRAME + 1];
        input.extend_from_slice(format!("   \n{FRAME}\n").as_bytes());
        let output = lines(&input);
        assert_eq!(output.len(), 2);
        assert!(output[0].contains("larger than"), "{output:?}");
        assert_eq!(output[1], READ);
    }

    #[test]
    fn a_gate_refuses_by_the_exchanges_own_symbol() {
        let output = run("binance", false, |_| Err(Refusal::Crossed), FRAME.as_bytes());
        assert_eq!(output, [r#"{"quotes":[],"refused":[{"symbol":"BTCUSDT","reason":"crossed"}]}"#]);
    }

    #[test]
    fn what_the_exchange_complains_about_is_an_error() {
        for line in [
            r#"{"code":2,"msg":"Invalid request: unknown method","id":4}"#,
            r#"{"error":{"code":2,"msg":"Invalid request"},"id":4}"#,
            r#"{"code":-1121,"msg":"Invalid symbol."}"#,
        ] {
            assert!(lines(line.as_bytes())[0].starts_with(r#"{"error":"#), "{line}");
        }
    }
}
