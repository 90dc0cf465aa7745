-- What people want to look up later: failovers, restarts, refusals.
CREATE TABLE events (
    -- Microseconds since 1970-01-01 UTC.
    at_us    INTEGER NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind <> ''),
    -- Empty where it concerns no single exchange.
    exchange TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    -- How many times; 1 but for refusals, which are told together.
    count    INTEGER NOT NULL CHECK (count > 0),
    PRIMARY KEY (at_us, kind, exchange, reason)
) STRICT, WITHOUT ROWID;

CREATE INDEX events_of_kinds ON events (kind, at_us);
