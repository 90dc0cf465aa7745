//! The tables of the outbox.

diesel::table! {
    batches (id) {
        id -> BigInt,
        num_records -> BigInt,
        first_at_us -> BigInt,
        body -> Binary,
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
