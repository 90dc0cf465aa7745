//! The tables in PostgreSQL.

diesel::table! {
    quotes (exchange, direction, received_at) {
        exchange -> Text,
        direction -> Text,
        received_at -> Timestamptz,
        quoted_at -> Nullable<Timestamptz>,
        bid -> Nullable<Numeric>,
        ask -> Nullable<Numeric>,
        last -> Nullable<Numeric>,
        valid_from -> Nullable<Timestamptz>,
        valid_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    candles (exchange, direction, length, starts_at) {
        exchange -> Text,
        direction -> Text,
        length -> Text,
        starts_at -> Timestamptz,
        open -> Numeric,
        high -> Numeric,
        low -> Numeric,
        close -> Numeric,
        opened_at -> Timestamptz,
        closed_at -> Timestamptz,
        num_quotes -> BigInt,
    }
}

diesel::table! {
    events (at, kind, exchange, reason) {
        at -> Timestamptz,
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
        rejected_at -> Timestamptz,
        reason -> Text,
        record -> Text,
    }
}
