-- Records that broke a rule of the database and were set aside, so that the others could be stored.
CREATE TABLE rejected_quotes (
    id             INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    -- Microseconds since 1970-01-01 UTC.
    rejected_at_us INTEGER NOT NULL,
    -- What the database said.
    reason         TEXT    NOT NULL,
    -- The whole record, as JSON.
    record         TEXT    NOT NULL
) STRICT;
