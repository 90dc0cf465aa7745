-- Every batch changes the newest candles: room in each page lets PostgreSQL do that without touching the indexes.
CREATE TABLE candles (
    exchange   TEXT        NOT NULL CHECK (exchange <> ''),
    direction  TEXT        NOT NULL CHECK (direction LIKE '_%-_%'),
    length     TEXT        NOT NULL CHECK (length IN ('1m', '1h', '1d')),
    starts_at  TIMESTAMPTZ NOT NULL,
    open       NUMERIC     NOT NULL CHECK (open > 0),
    high       NUMERIC     NOT NULL CHECK (high >= open),
    low        NUMERIC     NOT NULL CHECK (low > 0 AND low <= open),
    close      NUMERIC     NOT NULL CHECK (close BETWEEN low AND high),
    opened_at  TIMESTAMPTZ NOT NULL,
    closed_at  TIMESTAMPTZ NOT NULL,
    num_quotes BIGINT      NOT NULL CHECK (num_quotes > 0),
    PRIMARY KEY (exchange, direction, length, starts_at),
    CHECK (opened_at <= closed_at)
) WITH (fillfactor = 80);

-- Which markets there were on a day, and which day is the newest or the oldest, whatever the size of the tables.
CREATE INDEX candles_of_days ON candles (starts_at, exchange, direction) WHERE length = '1d';

COMMENT ON TABLE candles IS 'What one direction of one exchange did in one minute, hour or day of UTC';
COMMENT ON COLUMN candles.exchange IS 'Name of the source, as in the settings';
COMMENT ON COLUMN candles.direction IS 'Base and counter currency, such as BTC-USDT';
COMMENT ON COLUMN candles.length IS '1m, 1h or 1d: one minute, hour or day';
COMMENT ON COLUMN candles.starts_at IS 'Its first moment';
COMMENT ON COLUMN candles.open IS 'Value of the first quote, in counter currency per unit of base';
COMMENT ON COLUMN candles.high IS 'Largest value, in counter currency per unit of base';
COMMENT ON COLUMN candles.low IS 'Smallest value, in counter currency per unit of base';
COMMENT ON COLUMN candles.close IS 'Value of the last quote, in counter currency per unit of base';
COMMENT ON COLUMN candles.opened_at IS 'When the quote behind open was received';
COMMENT ON COLUMN candles.closed_at IS 'When the quote behind close was received';
COMMENT ON COLUMN candles.num_quotes IS 'Number of quotes that it is made of, those too that were not kept one by one';
