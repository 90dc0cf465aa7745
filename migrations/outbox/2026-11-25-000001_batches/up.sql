-- Batches of records that PostgreSQL does not have yet, the oldest first.
CREATE TABLE batches (
    id          INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    num_records INTEGER NOT NULL CHECK (num_records > 0),
    -- When the first record was received: microseconds since 1970-01-01 UTC.
    first_at_us INTEGER NOT NULL,
    body        BLOB    NOT NULL
) STRICT;
