//! `CoinGecko` and the Bank of Russia as their clients see them.

use serde_json::{Value, json};

use super::{Sim, eventually, number};

#[actix_web::test]
async fn coingecko_answers_many_coins_in_many_currencies() {
    let sim = Sim::start(|_| {}).await;
    let body = sim
        .get("/coingecko/api/v3/simple/price?ids=bitcoin,tether,unknown&vs_currencies=usd,rub,eur,zzz&include_last_updated_at=true&precision=full")
        .await;
    assert!(body["unknown"].is_null());
    assert!((body["bitcoin"]["usd"].as_f64().unwrap() / 64_000.0 - 1.0).abs() < 0.01);
    assert!(body["tether"]["rub"].as_f64().unwrap() > 50.0);
    assert!(body["bitcoin"]["zzz"].is_null());
    let now = chrono::Utc::now().timestamp();
    assert!((now - body["bitcoin"]["last_updated_at"].as_i64().unwrap()).abs() < 30);
    let unknown = sim.get("/coingecko/api/v3/simple/price?ids=bitcoin&vs_currencies=zzz").await;
    assert_eq!(unknown, json!({ "bitcoin": {} }));
    for missing in ["ids=bitcoin", "vs_currencies=usd"] {
        let (status, body) = sim.body(&format!("/coingecko/api/v3/simple/price?{missing}")).await;
        assert_eq!(status, 422);
        assert!(body["error"].as_str().unwrap().starts_with("Missing parameter"), "{body}");
    }
    let address = "0xdac17f958d2ee523a2206206994597c13d831ec7";
    let path = format!(
        "/coingecko/api/v3/simple/token_price/ethereum?contract_addresses={address}&vs_currencies=usd"
    );
    assert!(sim.get(&path).await[address]["usd"].is_f64());
    assert!(
        sim.get("/coingecko/api/v3/simple/supported_vs_currencies")
            .await
            .as_array()
            .unwrap()
            .contains(&json!("rub"))
    );
    assert!(sim.get("/coingecko/api/v3/coins/list").await.as_array().unwrap().len() > 10);
    assert_eq!(sim.get("/coingecko/api/v3/ping").await["gecko_says"], "(V3) To the Moon!");
}

#[actix_web::test]
async fn coingecko_says_the_same_until_it_refreshes_and_sooner_with_a_key() {
    // A refresh every 3 s, with a key every second.
    let sim = Sim::start(|options| options.speed = 20.0).await;
    let path = "/coingecko/api/v3/simple/price?ids=bitcoin&vs_currencies=usd&precision=full";
    let keyless = sim.get(path).await;
    let with_key = format!("{path}&x_cg_demo_api_key=k");
    let first = sim.get(&with_key).await;
    eventually("a refresh for the key's owner", async || sim.get(&with_key).await != first).await;
    assert_eq!(sim.get(path).await, keyless);
    let quote = async || sim.get("/control/truth").await["quotes"]["coingecko"]["BTC-USD"].clone();
    let before = quote().await;
    eventually("a refresh for everybody", async || quote().await != before).await;
    assert_ne!(sim.get(path).await, keyless);
}

#[actix_web::test]
async fn coingecko_refuses_who_asks_too_often() {
    let sim = Sim::start(|_| {}).await;
    let url = sim.url("/coingecko/api/v3/ping");
    for _ in 0..30 {
        assert_eq!(sim.client.get(&url).send().await.unwrap().status(), 200);
    }
    let mut answer = sim.client.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 429);
    let wait: u64 = answer.headers().get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"]["error_code"], 429);
}

#[actix_web::test]
async fn the_bank_of_russia_speaks_its_own_encoding_and_commas() {
    let sim = Sim::start(|_| {}).await;
    let mut answer =
        sim.client.get(sim.url("/cbr/scripts/XML_daily.asp?date_req=26/04/2026")).send().await.unwrap();
    assert_eq!(answer.headers().get("content-type").unwrap(), "text/xml; charset=windows-1251");
    let bytes = answer.body().await.unwrap();
    assert!(String::from_utf8(bytes.to_vec()).is_err(), "Cyrillic in windows-1251 is no UTF-8");
    let (text, _, had_errors) = encoding_rs::WINDOWS_1251.decode(&bytes);
    assert!(
        !had_errors && text.contains("Date=\"25.04.2026\"") && text.contains("<Name>Доллар США</Name>"),
        "{text}"
    );
    assert_eq!(text.matches("<Valute ").count(), 54);
    assert!(text.contains("E-0"), "no exponent: {text}");
    let bad = sim
        .client
        .get(sim.url("/cbr/scripts/XML_daily.asp?date_req=soon"))
        .send()
        .await
        .unwrap()
        .body()
        .await
        .unwrap();
    assert!(bad.ends_with(b"<ValCurs>Error in parameters</ValCurs>"));
    let range = "date_req1=20/04/2026&date_req2=26/04/2026&VAL_NM_RQ=R01235";
    let series = sim
        .client
        .get(sim.url(&format!("/cbr/scripts/XML_dynamic.asp?{range}")))
        .send()
        .await
        .unwrap()
        .body()
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&series).matches("<Record ").count(), 5);
    let quotes = sim.get("/control/truth").await["quotes"]["cbr"].clone();
    assert!(number(&quotes["USD-RUB"]["last"]) > 50.0);
}
