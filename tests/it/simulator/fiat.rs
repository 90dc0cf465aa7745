//! Fiat sources beside the Bank of Russia as their clients see them.

use std::collections::BTreeMap;

use awc::http::header::HeaderMap;
use serde_json::{Value, json};

use super::{Sim, number};

/// A key that is taken for a right one.
const KEY: &str = "fca_live_of_a_test";

impl Sim {
    /// Status, headers and body of an answer of FreeCurrencyAPI.
    async fn with_key(&self, key: Option<&str>, path: &str) -> (u16, HeaderMap, Value) {
        let mut request = self.client.get(self.url(&format!("/freecurrencyapi{path}")));
        if let Some(key) = key {
            request = request.insert_header(("apikey", key));
        }
        let mut answer = request.send().await.unwrap();
        let body = serde_json::from_slice(&answer.body().await.unwrap()).unwrap();
        (answer.status().as_u16(), answer.headers().clone(), body)
    }

    /// The text of a body.
    async fn text(&self, path: &str) -> String {
        let body = self.client.get(self.url(path)).send().await.unwrap().body().await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("no header `{name}`")).to_str().unwrap()
}

#[actix_web::test]
async fn the_european_central_bank_has_a_table_of_one_day() {
    let sim = Sim::start(|_| {}).await;
    let mut answer =
        sim.client.get(sim.url("/ecb/stats/eurofxref/eurofxref-daily.xml")).send().await.unwrap();
    assert_eq!(answer.headers().get("content-type").unwrap(), "text/xml");
    let text = String::from_utf8(answer.body().await.unwrap().to_vec()).unwrap();
    assert!(text.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<gesmes:Envelope "), "{text}");
    assert_eq!((text.matches("<Cube time='").count(), text.matches("<Cube currency='").count()), (1, 29));
    assert!(text.contains("<Cube currency='USD' rate='1.0") && !text.contains("RUB"), "{text}");
    assert_eq!(sim.text("/ecb/stats/eurofxref/eurofxref-daily.xml").await, text);

    let bent = json!({"kind": "wrong_value", "symbol": "USD", "value": "N/A"});
    sim.fault("ecb", bent).await;
    let text = sim.text("/ecb/stats/eurofxref/eurofxref-daily.xml").await;
    assert!(text.contains("<Cube currency='USD' rate='N/A'/>"), "{text}");
    sim.clear("ecb").await;
    sim.fault("ecb", json!({"kind": "mute", "symbol": "USD"})).await;
    let text = sim.text("/ecb/stats/eurofxref/eurofxref-daily.xml").await;
    assert_eq!(text.matches("<Cube currency='").count(), 28);
}

#[actix_web::test]
async fn frankfurter_has_a_row_for_each_currency_with_a_date_of_its_own() {
    let sim = Sim::start(|_| {}).await;
    let rows = sim.get("/frankfurter/v2/rates?base=USD").await;
    let rows = rows.as_array().unwrap();
    let own = rows.iter().find(|row| row["quote"] == "USD").unwrap();
    assert_eq!((&own["base"], &own["rate"]), (&json!("USD"), &json!(1)));
    assert!(rows.len() > 30 && rows.iter().all(|row| row["base"] == "USD" && row["rate"].is_number()));
    let some = sim.get("/frankfurter/v2/rates?base=EUR&quotes=RUB,usd,XXX").await;
    let quotes: Vec<&str> =
        some.as_array().unwrap().iter().map(|row| row["quote"].as_str().unwrap()).collect();
    assert_eq!(quotes, ["RUB", "USD"]);
    assert!(sim.get("/frankfurter/v2/rate/USD/RUB").await["rate"].as_f64().unwrap() > 50.0);
    for (path, status) in [("/v2/rates?base=XXX", 422), ("/v2/rate/USD/XXX", 404), ("/v1/latest", 404)] {
        let (answered, body) = sim.body(&format!("/frankfurter{path}")).await;
        assert_eq!(
            (answered.as_u16(), body["status"].as_u64()),
            (status, Some(status.into())),
            "{path}: {body}"
        );
    }
}

#[actix_web::test]
async fn exchangerate_api_tells_when_it_was_updated_and_when_it_will_be() {
    let sim = Sim::start(|_| {}).await;
    let body = sim.get("/erapi/v6/latest/USD").await;
    assert_eq!((&body["result"], &body["base_code"]), (&json!("success"), &json!("USD")));
    assert_eq!((&body["rates"]["USD"], &body["time_eol_unix"]), (&json!(1), &json!(0)));
    let time = |name: &str| body[name].as_i64().unwrap();
    let now = chrono::Utc::now().timestamp();
    assert!(time("time_last_update_unix") <= now && now < time("time_next_update_unix"), "{body}");
    assert!(body["rates"]["NGN"].as_f64().unwrap() > 1000.0);
    assert_eq!(body["rates"]["GGP"], body["rates"]["GBP"]);
    let (status, body) = sim.body("/erapi/v6/latest/XXX").await;
    assert_eq!((status.as_u16(), body), (404, json!({"result": "error", "error-type": "unsupported-code"})));
}

#[actix_web::test]
async fn exchangerate_api_refuses_who_asks_too_often() {
    let sim = Sim::start(|_| {}).await;
    let url = sim.url("/erapi/v6/latest/XXX");
    for _ in 0..600 {
        assert_eq!(sim.client.get(&url).send().await.unwrap().status(), 404);
    }
    let answer = sim.client.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 429);
    assert!(answer.headers().get("retry-after").is_none());
}

#[actix_web::test]
async fn freecurrencyapi_wants_a_key_and_counts_what_it_gives_for_it() {
    let sim = Sim::start(|_| {}).await;
    for key in [None, Some(""), Some("wrong_key")] {
        let (status, _, body) = sim.with_key(key, "/v1/latest").await;
        assert_eq!(
            (status, body),
            (401, json!({"message": "Invalid authentication credentials"})),
            "{key:?}"
        );
    }
    let (status, _, body) = sim.with_key(Some(KEY), "/v1/latest?base_currency=XXX").await;
    assert_eq!((status, &body["message"]), (422, &json!("Validation error")));
    assert_eq!(body["errors"]["base_currency"], json!(["The selected base currency is invalid."]));

    // Refusals have used nothing.
    for left in (0..10).rev() {
        let (status, headers, body) = sim.with_key(Some(KEY), "/v1/latest?base_currency=USD").await;
        assert_eq!(
            (status, body["data"].as_object().unwrap().len(), &body["data"]["USD"]),
            (200, 33, &json!(1))
        );
        assert_eq!(header(&headers, "x-ratelimit-limit-quota-minute"), "10");
        assert_eq!(header(&headers, "x-ratelimit-remaining-quota-minute"), left.to_string());
        assert_eq!(header(&headers, "x-ratelimit-limit-quota-month"), "300");
        assert_eq!(header(&headers, "x-ratelimit-remaining-quota-month"), (left + 290).to_string());
    }
    let (status, headers, body) = sim.with_key(Some(KEY), "/v1/latest?base_currency=USD").await;
    assert_eq!((status, body), (429, json!({"message": "API rate limit exceeded for 'quota'"})));
    assert_eq!(header(&headers, "x-ratelimit-remaining-quota-month"), "290");
    // Another key has quotas of its own, and the status is not counted.
    let (_, _, body) = sim.with_key(Some("another"), "/v1/latest?currencies=EUR,RUB").await;
    assert_eq!(body["data"].as_object().unwrap().len(), 2);
    let (status, _, body) = sim.with_key(Some(KEY), "/v1/status").await;
    assert_eq!((status, &body["quotas"]["month"]["used"]), (200, &json!(10)));
}

/// A rate of every source, for one dollar.
#[actix_web::test]
async fn sources_agree_within_about_half_a_percent_unless_a_fault_says_otherwise() {
    let sim = Sim::start(|_| {}).await;
    let quotes = sim.get("/control/truth").await["quotes"].clone();
    let rate = |source: &str, direction: &str| Some(number(quotes[source].get(direction)?.get("last")?));
    let in_dollars = |source: &str, code: &str| match source {
        "cbr" => Some(
            rate(source, "USD-RUB")?
                / if code == "RUB" { 1.0 } else { rate(source, &format!("{code}-RUB"))? },
        ),
        "ecb" => Some(rate(source, &format!("EUR-{code}"))? / rate(source, "EUR-USD")?),
        _ => rate(source, &format!("USD-{code}")),
    };
    let sources = ["cbr", "ecb", "freecurrencyapi", "frankfurter", "erapi"];
    let mut num_compared = BTreeMap::new();
    for code in ["RUB", "CNY", "KZT", "AED", "GBP", "JPY", "TRY", "INR", "UAH", "NGN", "ISK"] {
        let rates: Vec<(&str, f64)> =
            sources.into_iter().filter_map(|source| Some((source, in_dollars(source, code)?))).collect();
        for (source, rate) in &rates {
            *num_compared.entry(*source).or_insert(0) += 1;
            for (other, other_rate) in &rates {
                let off = (rate / other_rate - 1.0).abs();
                assert!(off < 0.006, "{code} of {source} and {other} are {off} apart");
            }
        }
    }
    assert!(sources.iter().all(|source| num_compared[source] >= 5), "{num_compared:?}");
}
