//! Settings of any kind: what is accepted can be shown and read back, and what is refused is named.

use proptest::prelude::*;

use super::*;

/// A length as people write it, between a millisecond and days.
fn length() -> impl Strategy<Value = String> {
    (1_u64..600, 0_usize..4).prop_map(|(number, unit)| format!("{number}{}", ["ms", "s", "m", "h"][unit]))
}

/// Some of these names, each at most once, in any order.
fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    proptest::sample::subsequence(names, 1..=names.len()).prop_shuffle()
}

/// A settings file of lines that are each of the right form.
fn file() -> impl Strategy<Value = String> {
    let directions = some_of(&["BTC-USD", "ETH-USD", "BTC-RUB", "usdttrc-rub", "EUR-KZT", "SOL-USDT"]);
    let priority = some_of(&["binance", "kraken", "okx", "bitstamp", "coingecko"]);
    let one_exchange = (length(), length(), any::<bool>());
    let whole = (directions, priority, length(), length(), 1_u32..5_000, 0_u32..1_000, one_exchange);
    whole.prop_map(|(directions, priority, fail_back, hold, connections, share, (stale, poll, enabled))| {
        format!(
            "directions = {directions:?}\npriority = {priority:?}\nfail_back_after = \"{fail_back}\"\n\
             hold_reference = \"{hold}\"\nmax_connections = {connections}\nmax_fiat_difference = \"{}%\"\n\
             [exchanges.gate]\nenabled = {enabled}\nstale_after = \"{stale}\"\npoll_every = \"{poll}\"\n",
            Decimal::new(share.into(), 2),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_accepted_is_shown_so_that_it_is_read_back_as_the_same(file in file()) {
        let Ok(loaded) = load(&file, "") else { return Ok(()) };
        let again = load(&loaded.to_toml(), "");
        let again = again.map_err(|error| TestCaseError::fail(format!("{error}\n{}", loaded.to_toml())))?;
        prop_assert_eq!(format!("{:?}", again.settings), format!("{:?}", loaded.settings));
        prop_assert_eq!(again.settings.fail_back_after, loaded.settings.fail_back_after);
        prop_assert_eq!(again.settings.max_fiat_difference, loaded.settings.max_fiat_difference);
    }

    #[test]
    fn a_value_that_is_refused_is_refused_by_the_name_of_its_key(
        at in 0..KEYS.len(), value in "[ -~]{1,30}",
    ) {
        let key = KEYS[at].name;
        if let Err(ConfigError::Bad(problems)) = load("", &format!("{}={value}", variable(key))) {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            prop_assert!(told.iter().any(|it| it.contains(key) || it.contains(&variable(key))), "{}: {:?}", key, told);
        }
    }

    #[test]
    fn no_file_is_too_odd_to_be_read(file in "([a-z_.]{1,20} ?= ?[ -~]{0,20}\n|\\[[ -~]{0,20}\\]\n|.{0,20}\n){0,6}") {
        if let Err(ConfigError::Bad(problems)) = load(&file, "") {
            prop_assert!(!problems.is_empty());
        }
    }
}
