-- What one direction of one exchange did in one minute, hour or day of UTC. Units are those of `quotes`.
CREATE TABLE candles (
    exchange     TEXT    NOT NULL CHECK (exchange <> ''),
    direction    TEXT    NOT NULL CHECK (direction LIKE '_%-_%'),
    length       TEXT    NOT NULL CHECK (length IN ('1m', '1h', '1d')),
    starts_at_us INTEGER NOT NULL,
    open         TEXT    NOT NULL CHECK (CAST(open AS REAL) > 0),
    high         TEXT    NOT NULL CHECK (CAST(high AS REAL) > 0),
    low          TEXT    NOT NULL CHECK (CAST(low AS REAL) > 0),
    close        TEXT    NOT NULL CHECK (CAST(close AS REAL) > 0),
    -- When the quotes behind `open` and `close` were received, so that batches may be merged in any order.
    opened_at_us INTEGER NOT NULL,
    closed_at_us INTEGER NOT NULL,
    num_quotes   INTEGER NOT NULL CHECK (num_quotes > 0),
    PRIMARY KEY (exchange, direction, length, starts_at_us),
    CHECK (opened_at_us <= closed_at_us)
) STRICT, WITHOUT ROWID;

-- Which markets there were on a day, and which day is the newest or the oldest, whatever the size of the tables.
CREATE INDEX candles_of_days ON candles (starts_at_us, exchange, direction) WHERE length = '1d';
