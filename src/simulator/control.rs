//! `/control`: what a test or a person tells the simulator, and what it tells them.
//!
//! | request | answer |
//! |---|---|
//! | `GET /control/ports` | `{"binance":{"rest":PORT,"ws":PORT},"cbr":{"rest":PORT}}`: the fronts |
//! | `GET /control/truth` | `{"at","tick","usd":{"BTC":"64000.12"},"quotes":{"binance":{"BTC-USDT":{"bid","ask","last"}}}}`; `?exchange=a,b` and `?direction=A-B,C-D` for their quotes alone |
//! | `POST /control/truth` | `{"BTC":"50000"}` sets true prices in dollars; the walk goes on from there |
//! | `GET /control/log` | `{"entries":[{"id","at","exchange","kind","detail","status","client_port"}],"forgotten":0}`; `?exchange=`, `?kind=`, `?after=` filter |
//! | `DELETE /control/log` | forgets the log |
//! | `POST /control/<exchange>/faults` | plays a fault |
//! | `GET`, `DELETE /control/<exchange>/faults` | tells, clears all of them; `DELETE` with `?id=` clears one |
//! | `POST /control/<exchange>/<name>` | what only this exchange has (markets: `symbols`; Binance: `weight` too) |

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::market::Transport;
use crate::market::number;

use super::World;
use super::book::{Book, Price};
use super::exchange::Exchange;
use super::http::{Answer, Request};
use super::order::{self, Order};
use super::truth;

/// Longest wait for the fronts to close or to listen again before an answer is given.
const SETTLE_WITHIN: Duration = Duration::from_secs(1);

/// Answers a request below `/control/`.
pub(super) async fn answer(world: &Rc<World>, path: &str, request: &Request) -> Answer {
    let method = match request.method.as_str() {
        "HEAD" => "GET",
        method => method,
    };
    match (method, path) {
        ("GET", "ports") => Answer::json(200, &ports(world)),
        ("GET", "truth") => {
            let (exchange, direction) = (request.parameter("exchange"), request.parameter("direction"));
            Answer::json(200, &truth_told(world, exchange, direction))
        }
        ("POST" | "PUT", "truth") => set_truth(world, &request.body),
        ("GET", "log") => log_told(world, request),
        ("DELETE", "log") => {
            world.log.borrow_mut().clear();
            Answer::json(200, &json!({}))
        }
        (_, "ports") => wrong_method("GET"),
        (_, "truth") => wrong_method("GET, POST"),
        (_, "log") => wrong_method("GET, DELETE"),
        _ => of_exchange(world, method, path, request).await,
    }
}

fn wrong_method(allowed: &'static str) -> Answer {
    Answer::error(405, format!("wrong method (allowed: {allowed})")).with("Allow", allowed)
}

async fn of_exchange(world: &Rc<World>, method: &str, path: &str, request: &Request) -> Answer {
    let names: Vec<&str> = world.exchanges.iter().map(|exchange| exchange.row.name).collect();
    let Some((name, what)) = path.split_once('/') else {
        return Answer::error(
            404,
            format!(
                "nothing at `/control/{path}` (there are ports, truth, log, and below {}: faults)",
                names.join(", ")
            ),
        );
    };
    let Some(exchange) = world.exchanges.iter().find(|exchange| exchange.row.name == name) else {
        return Answer::error(404, format!("unknown exchange `{name}` (known: {})", names.join(", ")));
    };
    match (method, what) {
        ("GET", "faults") => Answer::json(200, &json!({ "faults": exchange.faults() })),
        ("POST", "faults") => {
            let ordered = Order::read(&request.body).and_then(|order| exchange.order(order));
            settle(world).await;
            match ordered {
                Ok(id) => Answer::json(200, &json!({ "id": id, "faults": exchange.faults() })),
                Err(error) => Answer::error(400, format!("{error}; {}", order::allowed())),
            }
        }
        ("DELETE", "faults") => {
            let cleared = match request.parameter("id").map(str::parse) {
                None => exchange.clear(),
                Some(Ok(id)) => usize::from(exchange.clear_one(id)),
                Some(Err(_)) => return Answer::error(400, "`id` is the number of a fault"),
            };
            settle(world).await;
            Answer::json(200, &json!({ "cleared": cleared }))
        }
        (_, "faults") => wrong_method("GET, POST, DELETE"),
        ("POST", what) => command(exchange, what, &request.body),
        _ => Answer::error(404, format!("nothing at `/control/{path}` (there is `/control/{name}/faults`)")),
    }
}

fn command(exchange: &Exchange, what: &str, body: &[u8]) -> Answer {
    let body: Value = match serde_json::from_slice(body) {
        Ok(body) => body,
        Err(error) => return Answer::error(400, format!("the body is no JSON: {error}")),
    };
    match exchange.stage(Transport::Rest, |protocol, scene| protocol.command(what, &body, scene)) {
        Some(Ok(value)) => Answer::json(200, &value),
        Some(Err(error)) => Answer::error(400, error),
        None => Answer::error(404, format!("`{}` has no `{what}`", exchange.row.name)),
    }
}

/// Waits until every front is as the faults want it, so that whoever ordered one can rely on it.
async fn settle(world: &World) {
    let give_up_at = Instant::now() + SETTLE_WITHIN;
    while !world.fronts.iter().all(|front| front.is_settled()) && Instant::now() < give_up_at {
        sleep(Duration::from_millis(1)).await;
    }
}

fn ports(world: &World) -> BTreeMap<&'static str, BTreeMap<&'static str, u16>> {
    let mut ports: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for front in &world.fronts {
        let transport = match front.transport {
            Transport::WebSocket => "ws",
            Transport::Rest => "rest",
        };
        ports.entry(front.exchange.row.name).or_default().insert(transport, front.address.port());
    }
    ports
}

#[derive(Serialize)]
struct TruthTold {
    at: String,
    tick: u64,
    seed: u64,
    usd: BTreeMap<&'static str, String>,
    quotes: BTreeMap<&'static str, BTreeMap<String, QuoteTold>>,
}

#[derive(Serialize)]
struct QuoteTold {
    #[serde(skip_serializing_if = "Option::is_none")]
    bid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<String>,
    last: Option<String>,
}

impl From<Book> for QuoteTold {
    fn from(book: Book) -> Self {
        let plain = |price: Price| price.number().map(number::plain);
        Self { bid: book.bid.and_then(plain), ask: book.ask.and_then(plain), last: plain(book.last) }
    }
}

/// The truth, with the quotes of the exchanges and directions that are named, or of all.
fn truth_told(world: &World, exchanges: Option<&str>, directions: Option<&str>) -> TruthTold {
    let is_among =
        |named: Option<&str>, it: &str| named.is_none_or(|named| named.split(',').any(|name| name == it));
    let is_wanted = |exchange: &&Rc<Exchange>| is_among(exchanges, exchange.row.name);
    let quotes = |exchange: &Rc<Exchange>| {
        let quotes = exchange.quotes().into_iter().filter(|(direction, _)| is_among(directions, direction));
        (exchange.row.name, quotes.map(|(direction, book)| (direction, book.into())).collect())
    };
    let truth = world.truth.borrow();
    TruthTold {
        at: crate::clock::now().wall.to_rfc3339_opts(SecondsFormat::Micros, true),
        tick: truth.tick(),
        seed: truth.seed(),
        usd: truth.all().map(|(code, usd)| (code, number::plain(usd))).collect(),
        quotes: world.exchanges.iter().filter(is_wanted).map(quotes).collect(),
    }
}

fn set_truth(world: &World, body: &[u8]) -> Answer {
    let prices: BTreeMap<String, Value> = match serde_json::from_slice(body) {
        Ok(prices) => prices,
        Err(error) => {
            return Answer::error(
                400,
                format!("the body is an object such as {{\"BTC\":\"50000\"}}: {error}"),
            );
        }
    };
    let mut read = Vec::new();
    for (code, value) in &prices {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let usd = number::decimal(&text).filter(|usd| usd.is_sign_positive() && !usd.is_zero());
        let Some(usd) = usd else {
            return Answer::error(400, format!("`{code}`: `{text}` is no price in dollars above zero"));
        };
        if code == "USD" {
            return Answer::error(400, "`USD` is what true prices are told in, and stays at 1");
        }
        if world.truth.borrow().usd(code).is_none() {
            let known: Vec<&str> = truth::codes().collect();
            return Answer::error(400, format!("unknown asset `{code}` (known: {})", known.join(", ")));
        }
        read.push((code, usd));
    }
    for (code, usd) in read {
        world.truth.borrow_mut().set(code, usd);
    }
    // Every symbol gets its turn to follow before the answer is given.
    for _ in 0..truth::TURNS {
        world.step();
    }
    Answer::json(200, &json!({ "set": prices.len() }))
}

fn log_told(world: &World, request: &Request) -> Answer {
    let after = match request.parameter("after").map(str::parse) {
        None => None,
        Some(Ok(after)) => Some(after),
        Some(Err(_)) => return Answer::error(400, "`after` is the id of an entry"),
    };
    let log = world.log.borrow();
    Answer::json(200, &log.told(request.parameter("exchange"), request.parameter("kind"), after))
}
