//! The tables in SQLite: prices are plain decimals as text, and times count microseconds since the epoch.

diesel::table! {
    quotes (exchange, direction, received_at_us) {
        exchange -> Text,
        direction -> Text,
        received_at_us -> BigInt,
        quoted_at_us -> Nullable<BigInt>,
        bid -> Nullable<Text>,
        ask -> Nullable<Text>,
        last -> Nullable<Text>,
        valid_from_us -> Nullable<BigInt>,
        valid_until_us -> Nullable<BigInt>,
    }
}

diesel::table! {
    candles (exchange, direction, length, starts_at_us) {
        exchange -> Text,
        direction -> Text,
        length -> Text,
        starts_at_us -> BigInt,
        open -> Text,
        high -> Text,
        low -> Text,
        close -> Text,
        opened_at_us -> BigInt,
        closed_at_us -> BigInt,
        num_quotes -> BigInt,
    }
}

diesel::table! {
    events (at_us, kind, exchange, reason) {
        at_us -> BigInt,
        kind -> Text,
        exchange -> Text,
        reason -> Text,
        #[sql_name = "count"]
        num -> BigInt,
    }
}

diesel::table! {
    rejected_quotes (id) {
        id -> BigInt,
        rejected_at_us -> BigInt,
        reason -> Text,
        record -> Text,
    }
}
